"""Check a bundle: `python BUNDLE.zip`, or `python FOLDER/__main__.py` once it is unpacked.  Python alone.

This file stands in every bundle as its __main__.py.  Exit code 0 where each file is there and as its SHA-256
in MANIFEST.sha256 says, and nothing more is there; else 1, with a line for each bad, missing or extra one.
Whoever changed a bundle may have changed this file too: then a copy of it from elsewhere checks, with the
bundle as its argument, and the manifest's own SHA-256 is what to compare.
"""

import sys

if __name__ == "__main__":  # nothing of what is checked may be imported: Python's own library alone is left
    sys.path[:] = [path for path in sys.path[1:] if path.startswith(sys.base_prefix)]

import hashlib
import marshal
import stat
import zipfile
import zlib
from pathlib import Path

MANIFEST = "MANIFEST.sha256"
LARGEST = 4 << 30  # bytes, unpacked
DAMAGED = (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, ValueError, EOFError)


class Folder:
    """An unpacked bundle, read as the archive is."""

    def __init__(self, root: Path):
        self.root = root

    def namelist(self) -> list[str]:
        """Links and pipes too, and folders (with / at their end) in which there is nothing."""
        names = []
        for path in self.root.rglob("*"):
            folder = path.is_dir() and not path.is_symlink()
            if not folder or not any(path.iterdir()):
                names.append(path.relative_to(self.root).as_posix() + "/" * folder)
        return [name for name in names if not self._of_python(name)]

    def _of_python(self, name: str) -> bool:
        """What Python itself leaves where `python FOLDER` runs this file: the same, compiled."""
        if name != f"__pycache__/__main__.{sys.implementation.cache_tag}.pyc":
            return False
        code = compile((self.root / "__main__.py").read_bytes(), "__main__.py", "exec")
        try:
            return marshal.loads((self.root / name).read_bytes()[16:]) == code
        except (ValueError, EOFError, TypeError, OSError):
            return False

    def read(self, name: str) -> bytes:
        path = self.root / name
        if not stat.S_ISREG(path.lstat().st_mode):
            raise OSError("a link, a pipe or a device")
        return path.read_bytes()

    def size(self) -> int:
        return 0

    def beside(self) -> list[str]:
        return []


class Archive(zipfile.ZipFile):
    """A bundle as it was made."""

    def size(self) -> int:
        """Bytes that reading all of it can take: zipfile gives no more than an entry says of itself."""
        return sum(entry.file_size for entry in self.infolist())

    def beside(self) -> list[str]:
        """What a zip can hold beside its files: entries that become links, comments, bytes of no entry."""
        entries = sorted(self.infolist(), key=lambda entry: entry.header_offset)
        kinds = (stat.S_IFMT(entry.external_attr >> 16) for entry in entries)
        pairs = zip(entries, kinds, strict=True)
        found = [f"no plain file: {e.filename}" for e, kind in pairs if kind not in (0, stat.S_IFREG)]
        at = behind = 0
        for entry in entries:
            if entry.header_offset != at:
                break
            at += 30 + len(entry.filename.encode()) + entry.compress_size
            behind += 46 + len(entry.filename.encode())
        if at + behind + 22 != Path(self.filename).stat().st_size:
            found.append("extra: a comment, or bytes before, between or after the files")
        return found


def problems(bundle) -> list[str]:
    """One line per file that is not what the manifest says.  bundle: an Archive or a Folder."""
    names = bundle.namelist()
    if bundle.size() > LARGEST:
        return [f"unpacks to {bundle.size() >> 30} GiB: no bundle is larger than {LARGEST >> 30}"]
    if MANIFEST not in names:
        return [f"missing: {MANIFEST}; without it nothing can be checked"]
    found = [f"twice: {name}" for name in sorted({n for n in names if names.count(n) > 1})]
    wanted = {}
    for line in bundle.read(MANIFEST).decode("utf-8", "replace").splitlines():
        digest, _, name = line.partition("  ")
        wanted[name] = digest
    found += [f"missing: {name}" for name in wanted if name not in names]
    found += [f"extra: {name}" for name in sorted(set(names) - set(wanted) - {MANIFEST})]
    for name in (n for n in wanted if n in names):
        try:
            same = hashlib.sha256(bundle.read(name)).hexdigest() == wanted[name]
        except DAMAGED:
            same = False
        if not same:
            found.append(f"bad: {name}")
    return found + bundle.beside()


def main(path: Path) -> int:
    try:
        bundle = Folder(path) if path.is_dir() else Archive(path)
        found = problems(bundle)
        text = b"" if found else bundle.read(MANIFEST)
    except DAMAGED as error:
        found = [f"can't be read: {path} ({error})"]
    if found:
        lines = [line.encode("ascii", "backslashreplace").decode() for line in found]
        print("\n".join([*lines, f"{len(found)} problems: this is not the bundle that was made"]))
        return 1
    print(f"{len(text.splitlines())} files, all as {MANIFEST} says")
    print(f"the manifest's own sha256, to compare: {hashlib.sha256(text).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else __file__.rpartition("__main__.py")[0])))
