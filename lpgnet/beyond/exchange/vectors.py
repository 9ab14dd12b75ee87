"""The features of a file, utterance by utterance: numbers, all finite, all of one size, as float32."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lpgnet.features.store import Modality

MOST = 2**31  # values of one modality: one vector that a whole file shares could fill the memory
Key = str | int  # a dialogue in a file: IEMOCAP's are named, MELD's numbered


@dataclass(frozen=True)
class Source:
    """One field of features: dialogue -> per utterance (F,) numbers, or (T, F) where it has frames."""

    name: str
    values: dict[Key, Sequence]


def modality(encoder: str, sources: Sequence[Source], ids: dict[Key, list[str]], path: Path) -> Modality:
    """One modality in the order of `ids`; several sources are averaged in float32, as COSMIC's code does."""
    vectors, frames = _read(sources[0], ids, path)
    for source in sources[1:]:
        more, _ = _read(source, ids, path)
        if more.shape != vectors.shape:
            sizes = f"{sources[0].name} has {vectors.shape[1]} values, {source.name} {more.shape[1]}"
            raise ValueError(f"{path}: {sizes}: they can't be averaged")
        vectors = vectors + more
    return Modality(encoder, vectors / np.float32(len(sources)) if len(sources) > 1 else vectors, frames)


def numbers(value: object) -> np.ndarray | None:
    """An array of real numbers of one or two dimensions; None where that isn't what it is."""
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return value if value.dtype.kind in "fiub" and value.ndim in (1, 2) else None
    if not nested(value):
        return None
    if any(map(nested, value)):
        rows = [numbers(row) for row in value]
        same = all(row is not None and row.ndim == 1 and row.shape == rows[0].shape for row in rows)
        return np.stack(rows) if same else None
    real = all(isinstance(x, int | float | np.integer | np.floating | np.bool_) for x in value)
    return np.array([float(x) for x in value]) if real else None


def nested(value: object) -> bool:
    """Whether a value has entries: a list, a tuple, an array of at least one dimension."""
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _read(source: Source, ids: dict[Key, list[str]], path: Path) -> tuple[np.ndarray, list | None]:
    vectors, frames, bad, first = [], [], [], None
    for name, key, array in _arrays(source, ids, path):
        where = f"{path}: {source.name} of utterance {name} (dialogue {key!r})"
        first = first or (name, array.ndim, array.shape[-1])
        if (array.ndim, array.shape[-1]) != first[1:] or not array.size:
            raise ValueError(f"{where} is of shape {array.shape}; {first[0]} has {_size(first)}")
        if count := int((~np.isfinite(array)).sum()):
            bad.append((name, count))
            continue
        frame, vector = _narrowed(array, where)
        vectors.append(vector)
        frames.append(frame)
    if bad:
        raise ValueError(
            f"{path}: {source.name} has {sum(n for _, n in bad)} values that are NaN or infinite, in "
            f"{len(bad)} utterances, the first {bad[0][0]}: mend or drop them where the file was made"
        )
    precise = [frame.dtype for frame in frames if frame is not None]
    if precise and len(set(precise)) > 1:
        frames = [frame.astype(np.float32) for frame in frames]
    return np.stack(vectors), frames if precise else None


def _arrays(source: Source, ids: dict[Key, list[str]], path: Path) -> Iterator[tuple[str, Key, np.ndarray]]:
    total = sum(map(len, ids.values()))
    for key, names in ids.items():
        for name, value in zip(names, source.values[key], strict=True):
            array = numbers(value)
            if array is None:
                what = f"{type(value).__name__} {getattr(value, 'dtype', '')}".strip()
                shape = f" of shape {value.shape}" if isinstance(value, np.ndarray) else ""
                raise ValueError(
                    f"{path}: {source.name} of utterance {name} (dialogue {key!r}) is a {what}{shape}: want "
                    "numbers, (F,) per utterance or (frames, F)"
                )
            if total * array.shape[-1] > MOST:
                values = f"{total} x {array.shape[-1]}"
                raise ValueError(f"{path}: {source.name} has {values} values: more than a corpus has")
            yield name, key, array


def _narrowed(array: np.ndarray, where: str) -> tuple[np.ndarray | None, np.ndarray]:
    """Frames in half or single precision (None for a vector) and the vector, which is their mean."""
    with np.errstate(over="ignore"):
        vector = (array if array.ndim == 1 else array.mean(0, dtype=np.float64)).astype(np.float32)
        half = array.dtype in (np.float16, np.float32)
        frame = None if array.ndim == 1 else array if half else array.astype(np.float32)
    if not (np.isfinite(vector).all() and (half or frame is None or np.isfinite(frame).all())):
        raise ValueError(f"{where} has values beyond the range of float32, at most {np.abs(array).max():.3g}")
    return frame, vector


def _size(first: tuple[str, int, int]) -> str:
    return f"{first[2]} values" if first[1] == 1 else f"frames of {first[2]} values"
