"""What is read off finished runs: scores, intervals, tables and figures.  Nothing here needs torch."""
