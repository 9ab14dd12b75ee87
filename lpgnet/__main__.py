"""`python -m lpgnet`: the one command line.  An error that we raise is one line; a fault of ours is shown whole."""

import sys
import traceback

from lpgnet.cli import app


def main() -> None:
    try:
        app(prog_name="python -m lpgnet")
    except (ValueError, LookupError, OSError, RuntimeError) as error:
        raiser = traceback.extract_tb(error.__traceback__)[-1].filename
        if "lpgnet" not in raiser:
            raise
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
