"""Files that are whole or not there (temporary name, fsync, rename), what they are by hash, and what files
of other people may say: strings, names that become parts of paths, JSON."""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

PART = ".part-"
UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # controls, line ends, half characters
NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # a text may have lines
NO_NAME = re.compile(rf"{UNFIT.pattern}|[/\\]|^\.")
MISREAD = {code: bytes([code]).decode("cp1252", "ignore") for code in range(0x80, 0xA0)}  # read as Latin-1


def plain_string(value: Any, where: str, unfit: re.Pattern = UNFIT) -> str:
    """A string that CSVs, names of files and terminals can hold; else a ValueError that says where."""
    odd = unfit.search(value) if isinstance(value, str) else None
    if odd or not isinstance(value, str):
        why = f"it may have no {odd[0]!r} there" if odd else "want a string"
        raise ValueError(f"{where} is {shown(repr(value))}, {why}; mend it where it was made")
    return value


def plain_name(value: Any, where: str) -> str:
    """A string that can be one part of a path: no separators, not "..", nothing hidden."""
    if not 0 < len(plain_string(value, where, NO_NAME).encode()) <= 200:
        raise ValueError(f"{where} is {shown(repr(value))}: want a name of 1 to 200 bytes")
    return value


def plain_text(text: str) -> str:
    """A text that CSVs can hold: what they can't is a space, or the Windows-1252 that was read as Latin-1."""
    return NO_TEXT.sub(" ", text.translate(MISREAD)) if NO_TEXT.search(text) else text


def below(root: Path, name: Any, where: str) -> Path:
    """root / name, where a file says the name; a ValueError where that leads out of root, by a link too."""
    path = root / plain_string(name, where)
    real, top = (os.path.realpath(p) for p in (path, root))  # a loop of links ends there
    parts = Path(name).parts
    inside = Path(real).is_relative_to(top) and not Path(name).is_absolute() and ".." not in parts
    if not inside or any(len(part.encode()) > 255 for part in parts):
        raise ValueError(f"{where} is {shown(repr(name))}, which lies outside {root} (or is too long a name)")
    return path


def parsed_json(text: str, where: object) -> Any:
    """What JSON holds; a ValueError that says where it is none, nests too deeply or has endless numbers."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} can't be read as JSON: {str(error).partition(';')[0]}") from None


def misfit(error: ValidationError) -> str:
    """The first fault that pydantic sees: where, what came, what is wanted."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'it'} is {shown(repr(first['input']))}: {first['msg']}"


def shown(value: object) -> str:
    """A value for a message, however long it is."""
    text = str(value)
    return text if len(text) < 80 else f"{text[:80]} ..."


def listed(names: Sequence[str], most: int = 20) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


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


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One command at a time on a folder of results; a RuntimeError where another is at work there."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise RuntimeError(f"another command is at work on {folder}; wait for it to end") from None
    try:
        yield
    finally:
        lock.release()


def at_work(folder: Path) -> bool | None:
    """Whether a command is at work on a folder of results, from any process or node; None: it can't be told."""
    from filelock import FileLock, Timeout

    if not (folder / ".lock").exists():
        return False
    try:
        with FileLock(folder / ".lock", timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a folder that may only be read
        return None


def json_sha256(value: Any) -> str:
    """SHA-256 of a value as JSON, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


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
