"""How the simulated corpus is made: who says what, its sound and files, and the best reachable score."""
