"""Feature store -> records: what a run reads, how it is trained, and what it leaves."""
