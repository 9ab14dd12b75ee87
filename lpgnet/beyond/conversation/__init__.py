"""A conversation of your own: read, predicted, played."""
