"""Transcripts by machine: text as a recogniser hears it, its features, and what its errors cost."""
