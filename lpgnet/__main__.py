"""`python -m lpgnet`, installed as `lpgnet` too: the one command line.

An error that this package raises is told in one line, and so is what the system refuses (a full disk, a
folder that can't be written); any other comes with its traceback.  Exit code 1 for these, 2 for a command
that can't be understood, 130 for Ctrl-C; `audit`, `corpus check` and `compare` have meanings of their own.
"""

import sys
import traceback
from pathlib import Path

import typer
from typer.exceptions import TyperException

from lpgnet.cli import app

COMMAND = "lpgnet" if Path(sys.argv[0]).stem == "lpgnet" else "python -m lpgnet"


def main() -> None:
    sys.stdout.reconfigure(errors="backslashreplace")  # a path that is no UTF-8, an ASCII locale
    try:
        sys.exit(app(prog_name=COMMAND, standalone_mode=False))
    except typer.Abort:
        sys.exit(130)
    except TyperException as error:
        if not (said := error.format_message()):  # the help, where a command was wanted and none came
            error.show()
            sys.exit(2)
        context = getattr(error, "ctx", None)
        print(
            f"error: {said.rstrip('.')} (see: {context.command_path if context else COMMAND} --help)",
            file=sys.stderr,
        )
        sys.exit(2)
    except (ValueError, LookupError, OSError, RuntimeError) as error:
        raiser = traceback.extract_tb(error.__traceback__)[-1].filename
        known = getattr(error, "errno", None) or "home directory" in str(error)  # ~nosuchuser
        if "lpgnet" not in raiser and not known:
            raise
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
