"""The forms of other people's feature and label files, read without running anything of theirs."""
