"""Records -> what the paper prints, statistics and figures.  Nothing here needs torch."""
