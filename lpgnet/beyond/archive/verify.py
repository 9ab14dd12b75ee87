"""Check a bundle: `python BUNDLE.zip`, or `python FOLDER` once it is unpacked.  Python alone, nothing else.

This file stands in every bundle as its __main__.py.  Exit code 0 where each file is there and as its SHA-256
in MANIFEST.sha256 says, and nothing more is there; else 1, with a line for each bad, missing or extra one.
"""

import hashlib
import sys
import zipfile
import zlib
from pathlib import Path

MANIFEST = "MANIFEST.sha256"


class Folder:
    """An unpacked bundle, read as the archive is."""

    def __init__(self, root: Path):
        self.root = root

    def namelist(self) -> list[str]:
        paths = (p for p in self.root.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        return [p.relative_to(self.root).as_posix() for p in paths]

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()


def problems(bundle) -> list[str]:
    """One line per file that is not what the manifest says.  bundle: a ZipFile or a Folder."""
    names = [name for name in bundle.namelist() if not name.endswith("/")]
    if MANIFEST not in names:
        return [f"missing: {MANIFEST}; without it nothing can be checked"]
    found = [f"twice: {name}" for name in sorted({n for n in names if names.count(n) > 1})]
    wanted = {}
    for line in bundle.read(MANIFEST).decode("utf-8").splitlines():
        digest, _, name = line.partition("  ")
        wanted[name] = digest
    found += [f"missing: {name}" for name in wanted if name not in names]
    found += [f"extra: {name}" for name in sorted(set(names) - set(wanted) - {MANIFEST})]
    for name in (n for n in wanted if n in names):
        try:
            same = hashlib.sha256(bundle.read(name)).hexdigest() == wanted[name]
        except (zipfile.BadZipFile, zlib.error, OSError):
            same = False
        if not same:
            found.append(f"bad: {name}")
    return found


def main(path: Path) -> int:
    bundle = Folder(path) if path.is_dir() else zipfile.ZipFile(path)
    found = problems(bundle)
    if found:
        print("\n".join([*found, f"{len(found)} problems: this is not the bundle that was made"]))
        return 1
    text = bundle.read(MANIFEST)
    print(f"{len(text.splitlines())} files, all as {MANIFEST} says")
    print(f"the manifest's own sha256, to compare: {hashlib.sha256(text).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent))
