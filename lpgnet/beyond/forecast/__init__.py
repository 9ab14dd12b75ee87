"""What `reproduce` will take on this machine, from short measurements of the real code on the corpus's own sizes."""
