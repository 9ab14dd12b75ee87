"""Our own exchange form: <stem>.jsonl, one line per utterance, and <stem>.npz, the numbers.  No pickles.

The first line of the .jsonl is a header: {"format": "lpgnet-neutral-1", ...}; every other line has all
columns of the utterance table and "class", its label under the exported protocol or null.
The .npz holds per modality `<modality>` (N, F) and, where there are frames, `<modality>_frames` (sum T, F')
and `<modality>_lengths` (N,).  Reading gives back the same table and the same bits.
"""

import json
import math
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from lpgnet.beyond.exchange import unpickle
from lpgnet.beyond.exchange.assemble import WORDS, framed
from lpgnet.config import MODALITIES
from lpgnet.corpora.table import COLUMNS, PARTS
from lpgnet.features.store import Modality
from lpgnet.machine.files import parsed_json, plain_string, sha256, whole

FORMAT = "lpgnet-neutral-1"
TYPES = dict.fromkeys((*WORDS, "text"), str) | dict.fromkeys(("order", "session", "line"), int) | {"scripted": bool}


def write(table: pd.DataFrame, features: dict[str, Modality], about: dict, labels: pd.Series, stem: Path) -> list:
    """Both files, the .npz first, since the .jsonl holds its SHA-256; returns their paths."""
    numbers, lines = stem.with_name(f"{stem.name}.npz"), stem.with_name(f"{stem.name}.jsonl")
    with whole(numbers) as part:
        with zipfile.ZipFile(part, "w", allowZip64=True) as archive:
            for name, held in features.items():
                _store(archive, name, [held.vectors])
                if held.frames is not None:
                    _store(archive, f"{name}_frames", held.frames)
                    _store(archive, f"{name}_lengths", [np.array([len(f) for f in held.frames], np.int64)])
        digest = sha256(part)
    header = {
        "format": FORMAT,
        "utterances": len(table),
        "npz": {"file": numbers.name, "sha256": digest},
        "encoders": {name: held.encoder for name, held in features.items()},
        "protocol": None if labels.name is None else str(labels.name),
        "about": about,
    }
    with whole(lines) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps(header, allow_nan=False) + "\n")
        for row, label in zip(table[COLUMNS].to_dict("records"), labels, strict=True):
            row |= {name: None if math.isnan(row[name]) else row[name] for name in ("start", "end")}
            row["class"] = label if isinstance(label, str) else None
            file.write(json.dumps(row, allow_nan=False) + "\n")
    return [numbers, lines]


def _store(archive: zipfile.ZipFile, name: str, pieces: list[np.ndarray]) -> None:
    """One array, piece after piece, so that the frames of a corpus are never joined in memory."""
    kinds = {(piece.dtype, piece.shape[1:]) for piece in pieces}
    if len(kinds) != 1:
        raise ValueError(f"{name}: the pieces differ in type or width: {sorted(map(str, kinds))[:3]}")
    (dtype, rest), length = next(iter(kinds)), sum(map(len, pieces))
    shape = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (length, *rest)}
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, shape)
        for piece in pieces:
            file.write(np.ascontiguousarray(piece).tobytes())


def read(path: Path) -> tuple[pd.DataFrame, dict[str, Modality], dict, list[str]]:
    """The table, the features and the header of either of the two files, and what was cleaned."""
    lines, numbers = path.with_suffix(".jsonl"), path.with_suffix(".npz")
    for file in (lines, numbers):
        if not file.is_file():
            raise ValueError(f"{path}: the two files belong together; {file.name} isn't beside it")
    with lines.open(encoding="utf-8") as file:
        try:
            header, *rows = [parsed_json(line, f"{lines} line {n}") for n, line in enumerate(file, 1)]
        except UnicodeDecodeError as error:
            raise ValueError(f"{lines} isn't UTF-8 text ({error}): export it again") from None
    held = header if isinstance(header, dict) else {}
    expected, encoders = held.get("npz"), held.get("encoders", {})
    if not isinstance(expected, dict) or not isinstance(encoders, dict) or not encoders.keys() <= {*MODALITIES}:
        raise ValueError(f"{lines} line 1 is no header of ours (npz, encoders of text, audio): export it again")
    if header.get("utterances") != len(rows) or not rows:
        raise ValueError(f"{lines} has {len(rows)} utterances, its header says otherwise: export it again")
    if sha256(numbers) != expected.get("sha256"):
        raise ValueError(f"{numbers} isn't the file that {lines.name} was written with: export both again")
    table, cleaned = framed([_row(row, lines, number) for number, row in enumerate(rows, 2)], lines)
    if (twice := table["id"].duplicated()).any():
        raise ValueError(f"{lines} has the utterance {table['id'][twice].iloc[0]!r} twice")
    encoders = {n: plain_string(e, f"{lines}: the {n} encoder's name") for n, e in encoders.items()}
    found = {n: _modality(numbers, n, e, table["id"]) for n, e in encoders.items()}
    return table, found, header, cleaned


def _row(row: object, path: Path, number: int) -> tuple:
    if not isinstance(row, dict) or (lacking := [name for name in COLUMNS if name not in row]):
        what = f"lacks {', '.join(lacking)}" if isinstance(row, dict) else "is no object"
        raise ValueError(f"{path} line {number} {what}: export it again")
    times = {name: math.nan if row[name] is None else row[name] for name in ("start", "end")}
    bad = [name for name, kind in TYPES.items() if type(row[name]) is not kind]
    bad += [name for name in TYPES if type(row[name]) is int and abs(row[name]) >= 2**31]
    given = {name: row[name] for name in times if row[name] is not None}
    bad += [n for n, s in given.items() if type(s) not in (int, float) or not abs(s) < 2**31]
    if bad or row["part"] not in (*PARTS, "") or not row["id"] or not row["dialogue"]:
        raise ValueError(f"{path} line {number}: {', '.join(bad) or 'part, id or dialogue'} can't be so")
    return tuple((row | times)[name] for name in COLUMNS)


def _modality(path: Path, name: str, encoder: str, ids: Iterable[str]) -> Modality:
    """One modality; an utterance that lacks it is a row of NaN, with frames of NaN."""
    there, ids = unpickle.members(path), list(ids)
    vectors = _numbers(path, name, there, ("float32",))
    if vectors.shape[:1] != (len(ids),) or vectors.ndim != 2 or not vectors.size:
        raise ValueError(f"{path}: {name} is of shape {vectors.shape}, want ({len(ids)}, F)")
    partly = np.isnan(vectors).any(1) & ~np.isnan(vectors).all(1) | np.isinf(vectors).any(1)
    if partly.any():
        raise ValueError(f"{path}: {name} of utterance {ids[int(partly.argmax())]} is NaN or infinite in part")
    if f"{name}_frames" not in there:
        return Modality(encoder, vectors)
    frames = _numbers(path, f"{name}_frames", there, ("float32", "float16"))
    lengths = _numbers(path, f"{name}_lengths", there, ("int64",))
    fits = lengths.shape == (len(ids),) and lengths.min() >= 0 and lengths.max() <= len(frames)
    if not fits or lengths.sum() != len(frames) or frames.ndim != 2:
        raise ValueError(f"{path}: {name}_lengths don't fit {name}_frames, which is of shape {frames.shape}")
    ends = lengths.cumsum()
    return Modality(encoder, vectors, [frames[e - n : e] for e, n in zip(ends, lengths, strict=True)])


def _numbers(path: Path, name: str, there: list[str], kinds: tuple[str, ...]) -> np.ndarray:
    if name not in there:
        raise ValueError(f"{path} lacks {name}; it has {', '.join(there)}")
    found = unpickle.array(path, name)
    if found.dtype.name not in kinds:
        raise ValueError(f"{path}: {name} is of dtype {found.dtype}, want {' or '.join(kinds)}")
    return found
