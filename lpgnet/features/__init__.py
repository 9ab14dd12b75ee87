"""Utterance table -> feature store -> what a run reads."""
