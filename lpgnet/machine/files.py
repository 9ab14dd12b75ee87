"""Files that are whole or not there (temporary name, fsync, rename), and what they are by hash."""

import contextlib
import hashlib
import json
import os
import shutil
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


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """The same for a folder; one that is there already is replaced."""
    part = path.with_name(f"{PART}{os.getpid()}-{path.name}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        for file in (p for p in part.rglob("*") if p.is_file()):
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())
        shutil.rmtree(path, ignore_errors=True)
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_json(path: Path, value) -> None:
    """JSON with sorted keys and a line feed at the end, so that equal values are equal bytes."""
    with whole(path) as part:
        part.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def write_csv(path: Path, frame) -> Path:
    """A frame without its index; equal frames, equal bytes."""
    with whole(path) as part:
        frame.to_csv(part, index=False, lineterminator="\n")
    return path


def write_forms(stem: Path, texts: dict[str, str]) -> list[Path]:
    """The same thing in several forms: <stem>.<suffix> per suffix and text; returns the paths."""
    paths = []
    for suffix, text in texts.items():
        paths.append(stem.with_name(f"{stem.name}.{suffix}"))
        with whole(paths[-1]) as part:
            part.write_bytes(text.encode("utf-8"))
    return paths


def sha256(*paths: Path) -> str:
    """Of the bytes of all files, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def sweep(folder: Path) -> None:
    """Remove what a killed process left half-written below a folder; a living one's is left alone."""
    for part in list(folder.rglob(f"{PART}*")):
        if not _alive(part.name.removeprefix(PART).partition("-")[0]):
            shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return int(pid) != os.getpid()
