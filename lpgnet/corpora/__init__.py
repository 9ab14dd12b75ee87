"""Something on disk -> the utterance table: one row per turn, the same columns for every corpus."""
