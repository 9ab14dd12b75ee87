"""What the other readings of the paper are worth, and what a dialogue's context is."""
