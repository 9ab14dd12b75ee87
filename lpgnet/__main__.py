"""`python -m lpgnet`: the one command line."""

from lpgnet.cli import app

app(prog_name="python -m lpgnet")
