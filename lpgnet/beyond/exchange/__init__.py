"""Other people's feature and label files, in and out."""
