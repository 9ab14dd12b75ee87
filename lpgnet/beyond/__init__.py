"""What the paper doesn't have.  No stage from a corpus to the tables imports it."""
