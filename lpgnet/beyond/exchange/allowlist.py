"""The types that a pickle of other people may name, and what stands in for each of them.

`ALLOWED` maps module and name, as files of Python 2 and 3 and of numpy 1 and 2 write them, to a function
of this page.  It checks its arguments and makes nothing but containers, numbers, text and arrays, none of
them bigger than the bytes that describe it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lpgnet.machine.files import shown

DTYPE = re.compile(r"[<>|=]?(?:[?bBhHiIlLqQefdO]|[iu][1248]|f[248]|b1|O[48]|[SU][1-9]\d{0,5})")
KEYS = (str, bytes, int, float, type(None), np.generic)  # what a set or dict may be keyed by


class Refused(ValueError):
    """A pickle holds something that isn't data.  The message goes on after the file's name."""


@dataclass(frozen=True)
class Allowed:
    """What a pickle's reader gets where the file names a type."""

    name: str
    call: Callable[..., Any]


@dataclass
class Dtype:
    """A dtype on its way: a pickle makes it first and gives it its byte order afterwards."""

    code: str
    order: str = "="

    def real(self) -> np.dtype:
        return np.dtype("O" if "O" in self.code else self.code).newbyteorder(self.order)


def key(value: Any) -> Any:
    """Refuses keys that nest deeply: hashing a tuple of tuples of tuples ... can end the process."""
    parts = value if type(value) is tuple else (value,)
    if not all(isinstance(part, KEYS) for part in parts):
        raise Refused(f"uses a {type(value).__name__} as a key")
    return value


def fill(array: np.ndarray, state: tuple) -> None:
    """What ndarray.__setstate__ does, with its arguments checked: it trusts the length of a list."""
    _, shape, kind, fortran, data = state
    if isinstance(data, str):
        data = data.encode("latin-1")  # bytes, written by Python 2
    dtype = kind.real()
    if type(data) is not (list if dtype.hasobject else bytes) or array.shape != (0,):
        raise Refused("fills an array in a way that numpy doesn't")
    _fits(shape, dtype, data)
    array.__setstate__((1, shape, dtype, bool(fortran), data))


def _fits(shape: tuple, dtype: np.dtype, data: bytes | bytearray | list) -> None:
    """The shape must ask for exactly what is there, so that none can ask for more than the file holds."""
    if type(shape) is not tuple or not all(type(n) is int and 0 <= n < 2**48 for n in shape):
        raise Refused(f"holds an array of shape {shown(shape)}")
    count, have = 1, len(data) if dtype.hasobject else len(data) / dtype.itemsize
    for n in shape:
        count *= n
    if len(shape) > 8 or count != have:
        raise Refused(f"holds an array of shape {shown(shape)}, {dtype}, but the data of {have:g} values")


def _reconstruct(kind: Allowed, shape: tuple, code: str | bytes) -> np.ndarray:
    if kind is not ALLOWED["numpy", "ndarray"] or shape != (0,) or code not in ("b", b"b"):
        raise Refused("makes an array in a way that numpy doesn't")
    return np.ndarray(0, np.int8)


def _frombuffer(data: bytes, kind: Dtype, shape: tuple, order: str) -> np.ndarray:
    dtype = kind.real()
    if dtype.hasobject or type(data) not in (bytes, bytearray) or order not in ("C", "F"):
        raise Refused("makes an array in a way that numpy doesn't")
    _fits(shape, dtype, data)
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _scalar(kind: Dtype, data: bytes | str) -> np.generic:
    raw, dtype = data.encode("latin-1") if isinstance(data, str) else data, kind.real()
    if dtype.hasobject or type(raw) is not bytes:
        raise Refused("holds a numpy scalar that is an object")
    _fits((1,), dtype, raw)
    return np.frombuffer(raw, dtype)[0]


def _dtype(code: str, align: int = 0, copy: int = 1) -> Dtype:
    if not (isinstance(code, str) and DTYPE.fullmatch(code)):
        raise Refused(f"holds an array of dtype {shown(code)!r}; want numbers, text or objects")
    return Dtype(code)


def _encode(text: str, encoding: str = "") -> bytes:
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise Refused(f"encodes text as {shown(encoding)!r}; pickles write bytes in latin1")
    return text.encode("latin-1")


def _bytes(data: bytes | str = b"", encoding: str = "latin-1") -> bytes:
    return data if type(data) is bytes else _encode(data, encoding)


def _bytearray(data: bytes | str = b"", encoding: str = "latin-1") -> bytearray:
    return bytearray(_bytes(data, encoding))  # never of a number: that would be a size


def _sequence(items: list | tuple) -> list | tuple:
    if type(items) not in (list, tuple):
        raise Refused(f"makes a container of a {type(items).__name__}")
    return items


def _dict(items: list | tuple | dict = ()) -> dict:
    pairs = items.items() if type(items) is dict else [_sequence(pair) for pair in _sequence(items)]
    return {key(name): value for name, value in pairs}


def _defaultdict(factory: Allowed | None = None, items: list | dict = ()) -> dict:
    """A plain dict: a key that isn't there is an error."""
    if factory is not None and factory not in (ALLOWED["builtins", "list"], ALLOWED["builtins", "dict"]):
        raise Refused("holds a defaultdict of something else than list or dict")
    return _dict(items)


def _no_call(*_: object) -> None:
    raise Refused("calls a type that is no container")


def _table() -> dict[tuple[str, str], Allowed]:
    python = {"bytes": _bytes, "bytearray": _bytearray, "dict": _dict}
    python |= {"list": lambda items=(): list(_sequence(items)), "tuple": lambda items=(): tuple(_sequence(items))}
    python |= {"set": lambda items=(): set(map(key, _sequence(items)))}
    python |= {"frozenset": lambda items=(): frozenset(map(key, _sequence(items)))}
    calls = {("numpy", "ndarray"): _no_call, ("numpy", "dtype"): _dtype, ("_codecs", "encode"): _encode}
    calls |= {("collections", "OrderedDict"): _dict, ("collections", "defaultdict"): _defaultdict}
    for core in ("numpy.core", "numpy._core"):
        calls |= {(f"{core}.multiarray", "_reconstruct"): _reconstruct}
        calls |= {(f"{core}.multiarray", "scalar"): _scalar, (f"{core}.numeric", "_frombuffer"): _frombuffer}
    table = {name: Allowed(".".join(name), call) for name, call in calls.items()}
    for name, call in python.items():  # one object under Python 2's name and Python 3's
        table["builtins", name] = table["__builtin__", name] = Allowed(f"builtins.{name}", call)
    return table


ALLOWED = _table()
