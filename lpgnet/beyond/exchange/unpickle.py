"""Pickles and arrays of other people, read without running anything of theirs.

`pickle.load` calls whatever a file names.  Here a file may name what stands in `allowlist.ALLOWED` and
nothing else, and each of those names stands for a function of ours: no module is imported, no class looked
up, no `__setstate__` but ndarray's reached, and opcodes that make objects in other ways are refused.
It builds on the Python form of Python's own reader, because there single opcodes can be replaced, and
because a short file can make the C form ask for gigabytes.  Nothing bigger than the file is ever made.
"""

import math
import pickle
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from lpgnet.beyond.exchange.allowlist import ALLOWED, Allowed, Dtype, Refused, fill, key
from lpgnet.machine.files import shown

TORCH = "open it where it was made and save the arrays as .npz, or one .npy per utterance"
COPIED = (str, bytes, bytearray, list, tuple, dict)
SPARE = 1024  # short strings that many calls share
TIMES, FLOOR = 32, 2**25  # what a file may be written out: so many times its bytes, and so many bytes
DEEPEST = 16  # lists in lists; 4 in the files of the literature
BITS = 512  # of a number
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, struct.error)
UNREADABLE += (pickle.UnpicklingError, MemoryError, RuntimeError, SystemError)
BLOCKS = 16  # of a MiB, by which line ends are judged


def load(path: Path) -> Any:
    """What a pickle holds: containers, numbers, text and numpy arrays; strings of Python 2 as latin1."""
    with path.open("rb") as file:
        first = file.read(4)
        if path.suffix in (".pt", ".pth") or first == b"PK\x03\x04":
            raise ValueError(f"{path} is a torch file or another archive, no plain pickle: {TORCH}")
        if first[:1] != b"\x80":  # text, where every opcode may end a line
            _refuse_crlf(file, path)
        try:
            file.seek(0)
            return _read(file, path.stat().st_size, str(path))
        except ValueError:
            _refuse_crlf(file, path)  # the better reason, where it is one
            raise


def _refuse_crlf(file: BinaryIO, path: Path) -> None:
    """A ValueError where, in the first `BLOCKS`, no line feed stands without a carriage return before it."""
    file.seek(0)
    last, ends = b"", 0
    for _ in range(BLOCKS):
        block = file.read(2**20)
        found = (last + block).count(b"\r\n")
        if found != block.count(b"\n"):
            return
        last, ends = block[-1:], ends + found
    if ends:
        raise ValueError(
            f"{path}: its line ends were changed to CRLF (by git on Windows, or a transfer as text), so "
            "it is not the file that was published: fetch it again as it is (git: core.autocrlf false)"
        )


def array(path: Path, member: str | None = None, mapped: bool = False) -> np.ndarray:
    """A .npy file, or one member of a .npz; objects in it go through the allow-list.

    mapped: the numbers of a .npy stay on disk until they are used; it stays open as long.
    """
    if not member:
        with path.open("rb") as file:
            shape, dtype, left = _header(file, path.stat().st_size, str(path))
            if dtype.hasobject:
                return _objects(file, left, str(path))
        return np.load(path, mmap_mode="r" if mapped and math.prod(shape) else None, allow_pickle=False)
    name, held = f"{path}[{member}]", path.stat().st_size
    try:
        with _archive(path) as archive, archive.open(f"{member}.npy") as file:
            size = archive.getinfo(f"{member}.npy").file_size
            if size > FLOOR + TIMES * held:
                raise ValueError(f"{name} would be {size} bytes, in a file of {held}: no features are so alike")
            shape, dtype, left = _header(file, size, name)
            if dtype.hasobject:
                return _objects(file, left, name)
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise ValueError(f"{name} can't be read ({shown(error)}): fetch it again") from None


def members(path: Path) -> list[str]:
    """The names of the arrays in a .npz."""
    with _archive(path) as archive:
        names = archive.namelist()
    foreign = [name for name in names if not name.endswith(".npy")]
    if foreign or not names:
        what = f"holds {', '.join(foreign[:3])}" if foreign else "is empty"
        raise ValueError(f"{path} is no .npz: it {what}; of a torch file {TORCH}")
    return [name.removesuffix(".npy") for name in names]


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        raise ValueError(f"{path} is no whole zip archive (.npz): fetch it again") from None


def _header(file: BinaryIO, size: int, name: str) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape, dtype and how many bytes follow; of numbers they must be as many as the shape asks for."""
    try:
        version = np.lib.format.read_magic(file)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = header[version](file)
        if not all(type(n) is int and 0 <= n < 2**48 for n in shape) or not dtype.itemsize or len(shape) > 8:
            raise ValueError
    except (zipfile.BadZipFile, zlib.error):
        raise  # the archive's fault
    except Exception:  # of numpy, ast and tokenize
        raise ValueError(f"{name} is no numpy array (.npy) that can be read: fetch it again") from None
    left, want = size - file.tell(), math.prod(shape) * dtype.itemsize
    if want != left and not dtype.hasobject:
        raise ValueError(f"{name} holds {left} bytes; {dtype} of shape {shape} is {want}: fetch it again")
    return shape, dtype, left


def _objects(file: BinaryIO, size: int, name: str) -> np.ndarray:
    found = _read(file, size, name)
    if not isinstance(found, np.ndarray):
        raise ValueError(f"{name} holds a {type(found).__name__} where an array should be")
    return found


def _read(file: BinaryIO, size: int, name: str) -> Any:
    """The pickle in the next `size` bytes of an open file."""
    if not size:
        raise ValueError(f"{name} is empty: want a pickle")
    try:
        value = _Unpickler(file, size).load()
        _weigh(value, FLOOR + TIMES * size)
    except Refused as error:
        raise ValueError(f"{name} {error}") from None
    except EOFError:
        raise ValueError(f"{name} ends too early ({size} bytes) for a pickle: fetch it again") from None
    except UNREADABLE as error:
        raise ValueError(f"{name} is no pickle that can be read ({shown(error)}): fetch it again") from None
    if isinstance(value, Allowed | Dtype):
        raise ValueError(f"{name} holds a type and no data")
    return value


def _weigh(value: Any, most: int) -> None:
    """Refuses what is small only because its parts are shared: more than `most` bytes when written out."""
    sizes: dict[int, int] = {}
    todo = [(value, 0)]  # how deep it lies; -1: all that it holds is weighed
    while todo:
        held, depth = todo.pop()
        parts = _parts(held)
        if depth < 0:
            sizes[id(held)] = 8 + sum(sizes.get(id(part)) or _own(part) for part in parts)
            if sizes[id(held)] > most:
                raise Refused(f"repeats the same data until it is more than {most} bytes; save it written out")
        elif id(held) not in sizes:
            if depth > DEEPEST:
                raise Refused(f"nests lists more than {DEEPEST} deep, or in themselves")
            todo += [(held, -1), *((part, depth + 1) for part in parts if _parts(part))]


def _parts(value: Any) -> list:
    """What a container holds; nothing where it is none."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, np.ndarray):
        return value.ravel().tolist() if value.dtype.hasobject else []
    return list(value) if isinstance(value, list | tuple | set | frozenset) else []


def _own(value: Any) -> int:
    if isinstance(value, int) and value.bit_length() > BITS:
        raise Refused(f"holds a number of {value.bit_length()} bits")
    return 8 + (value.nbytes if isinstance(value, np.ndarray) else len(value) if isinstance(value, COPIED) else 0)


class _Bounded:
    """A file that never makes room for more than it has left."""

    def __init__(self, file: BinaryIO, size: int):
        self.file, self.left = file, size

    def read(self, n: int) -> bytes:
        if n > self.left:
            raise EOFError
        self.left -= n
        return self.file.read(n)

    def readline(self) -> bytes:
        line = self.file.readline(self.left)
        self.left -= len(line)
        return line


class _Unpickler(pickle._Unpickler):
    """Python's reader, with the opcodes that call, fill and collect put through checks."""

    dispatch: ClassVar = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: BinaryIO, size: int):
        super().__init__(_Bounded(file, size), encoding="latin1")
        self.room = 2 * size + SPARE  # what may be copied: bytes by _codecs.encode, then by an array

    def find_class(self, module: str, name: str) -> Allowed:
        try:
            return ALLOWED[module, name]
        except KeyError:
            what = shown(f"{module}.{name}")
            raise Refused(f"names {what}, which is no type of data; nothing of it was run") from None

    def persistent_load(self, pid: object) -> None:
        raise Refused("refers to an object outside the file (a persistent id)")

    def _instance(self) -> None:
        module, name = (self.readline()[:-1].decode("latin-1") for _ in range(2))
        self.find_class(module, name)
        self._refuse()

    def _refuse(self) -> None:
        raise Refused("makes an object in a way that data doesn't need")

    def _spend(self, *values: object) -> None:
        self.room -= sum(len(value) for value in values if isinstance(value, COPIED))
        if self.room < 0:
            raise Refused("copies the same data again and again, into more than the file holds")

    def _reduce(self) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Allowed) or type(args) is not tuple:
            raise Refused("calls something that is no type of data")
        self._spend(*args)
        try:
            self.append(function.call(*args))
        except (TypeError, AttributeError):
            given = ", ".join(type(a).__name__ for a in args)
            raise Refused(f"gives {function.name} the arguments ({shown(given)})") from None

    def _build(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if type(made) is Dtype and type(state) is tuple and state[2:5] == (None, None, None):
            if state[1] not in ("<", ">", "|", "="):
                raise Refused(f"holds a dtype with the byte order {shown(state[1])!r}")
            made.order = state[1]
        elif type(made) is np.ndarray and type(state) is tuple and [type(s) for s in state[2:3]] == [Dtype]:
            self._spend(*state)
            fill(made, state)
        else:
            raise Refused(f"sets the state of a {type(made).__name__}")

    def _checked(self, kind: type, held: object, keys: Sequence = ()) -> None:
        """Refuses what is added to a container of another kind, and keys that a container can't have."""
        if type(held) is not kind:
            raise Refused(f"adds to a {type(held).__name__} as to a {kind.__name__}")
        for value in keys:
            key(value)

    def _append_one(self) -> None:
        self._checked(list, self.stack[-2])
        self.load_append()

    def _append_many(self) -> None:
        self._checked(list, self.metastack[-1][-1])
        self.load_appends()

    def _add_items(self) -> None:
        self._checked(set, self.metastack[-1][-1], self.stack)
        self.load_additems()

    def _set_item(self) -> None:
        self._checked(dict, self.stack[-3], self.stack[-2:-1])
        self.load_setitem()

    def _set_items(self) -> None:
        self._checked(dict, self.metastack[-1][-1], self.stack[::2])
        self.load_setitems()

    def _make_dict(self) -> None:
        self._checked(dict, {}, self.stack[::2])
        self.load_dict()

    def _make_frozenset(self) -> None:
        self._checked(set, set(), self.stack)
        self.load_frozenset()

    def _make_bytearray(self) -> None:
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    dispatch |= {pickle.REDUCE[0]: _reduce, pickle.BUILD[0]: _build}
    dispatch |= {pickle.APPEND[0]: _append_one, pickle.APPENDS[0]: _append_many}
    dispatch |= {pickle.SETITEM[0]: _set_item, pickle.SETITEMS[0]: _set_items, pickle.DICT[0]: _make_dict}
    dispatch |= {pickle.ADDITEMS[0]: _add_items, pickle.FROZENSET[0]: _make_frozenset}
    dispatch |= {pickle.BYTEARRAY8[0]: _make_bytearray, pickle.INST[0]: _instance}
    dispatch |= dict.fromkeys((pickle.OBJ[0], pickle.NEWOBJ[0], pickle.NEWOBJ_EX[0]), _refuse)
    dispatch |= dict.fromkeys((pickle.EXT1[0], pickle.EXT2[0], pickle.EXT4[0]), _refuse)
    dispatch |= dict.fromkeys((pickle.NEXT_BUFFER[0], pickle.READONLY_BUFFER[0]), _refuse)
