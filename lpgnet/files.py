"""Files that are whole or not there: temporary name, fsync, rename."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

PART = ".part-"


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it becomes `path` only when the block ends without error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{PART}{os.getpid()}-{path.name}")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value) -> None:
    """JSON with sorted keys and a line feed at the end, so that equal values are equal bytes."""
    with whole(path) as part:
        part.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def sweep(folder: Path) -> None:
    """Remove what a killed process left half-written below a folder."""
    for part in folder.rglob(f"{PART}*"):
        part.unlink(missing_ok=True)
