"""`python -m lpgnet`: the one command line.

An error that this package raises is told in one line, and so is what the system refuses (a full disk, a
folder that can't be written); any other comes with its traceback.
"""

import sys
import traceback

from lpgnet.cli import app


def main() -> None:
    sys.stdout.reconfigure(errors="backslashreplace")  # a path that is no UTF-8, an ASCII locale
    try:
        app(prog_name="python -m lpgnet")
    except (ValueError, LookupError, OSError, RuntimeError) as error:
        raiser = traceback.extract_tb(error.__traceback__)[-1].filename
        known = getattr(error, "errno", None) or "home directory" in str(error)  # ~nosuchuser
        if "lpgnet" not in raiser and not known:
            raise
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
