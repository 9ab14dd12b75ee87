"""The report: one page that a reviewer opens offline."""
