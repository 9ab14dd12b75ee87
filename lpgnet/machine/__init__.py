"""Files that are whole or not there, and worker processes.  Knows nothing of the paper."""
