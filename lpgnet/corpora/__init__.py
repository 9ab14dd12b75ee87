"""Something on disk -> the utterance table."""
