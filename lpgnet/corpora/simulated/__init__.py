"""The project's own corpus: a tree in IEMOCAP's layout, spoken by a synthesiser."""
