"""Does the paper agree with itself, and do the data leak?  Reads CSVs, the store and records; no torch."""
