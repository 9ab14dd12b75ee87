"""One set of features against the utterance table: is it whole, is it alive, and is each row its utterance's?

Letters: N utterances, F values; vectors (N, F), NaN where an utterance is absent.
A shift by k means that row i holds the features of utterance i - k.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open

from lpgnet.beyond.audit.findings import FAULT, WARNING, Finding, fine, judged, some, unchecked
from lpgnet.beyond.audit.pairing import by_duration, by_length, by_transcript
from lpgnet.corpora.table import plain
from lpgnet.features.extract import recipe
from lpgnet.features.store import SHARD, refuse_altered, shard
from lpgnet.labels import Fold

MANY = 0.05  # of the rows: beyond this a set is broken, not odd
NEAR = 0.01  # of the usual distance: nearer than two takes of one sentence
TELLS = 0.9  # of one column's variance lies between the classes: no feature knows that by itself
AGAIN = "Delete the set's folder in the feature store and run notebook 01."


def read(folder: Path, about: dict, name: str, ids: list[str]) -> np.ndarray | None:
    """One tensor of every shard, joined: "vectors" (N, F) or "lengths" (N,); None where the set has none.

    A ValueError where a shard isn't as it was written, or was written for other utterances than ids.
    """
    if name == "lengths" and not about["frame_size"]:
        return None
    pieces = []
    for start in range(0, about["utterances"], SHARD):
        path = shard(folder / about["folder"], start)
        with safe_open(path, framework="numpy") as file:
            pieces.append(file.get_tensor(name))
            refuse_altered(path, file.metadata(), {name: pieces[-1]}, ids[start : start + SHARD])
    return np.concatenate(pieces)


def check_set(
    folder: Path, key: str, about: dict, table: pd.DataFrame, folds: dict[str, Fold], root: Path | None
) -> Iterator[Finding]:
    """folds: by name, of the place's labels.  root: of the corpus, to hash its clips; None: not here."""
    modality, imported = key.split("/")[0], key.endswith("/imported")
    try:
        ids = table["id"].tolist()
        vectors, lengths = (read(folder, about, name, ids) for name in ("vectors", "lengths"))
    except (OSError, ValueError, SafetensorError) as error:
        yield Finding(f"{key}: files", FAULT, "the set can't be read", str(error), "Run notebook 01.")
        return
    if len(vectors) != len(table):
        found = f"{len(vectors)} rows of features, {len(table)} utterances"
        yield Finding(f"{key}: files", FAULT, found, "", AGAIN)
        return
    yield from _values(key, vectors, about, table)
    here = np.isfinite(vectors).all(axis=1)
    yield _flat(key, vectors, here, table)
    yield _telling(key, vectors, here, table["label"])
    yield _doubles(key, vectors, here, table, modality)
    if modality == "audio":
        yield from _copies(key, vectors, here, table, folds)
    if key.count("/") == 1 and not imported:
        yield _recipe(key, about, table, root)
    if modality == "text":
        several = imported or key.endswith("/crossfitted")  # a neighbour, or another encoder, may matter
        yield by_transcript(f"{key}: pairing by transcript", vectors, here, table, contextual=several)
        size = np.log1p(table["text"].str.len().to_numpy(float))
        size[table["text"] == ""] = np.nan
    else:
        size = np.log((table["end"] - table["start"]).to_numpy(float).clip(1e-3))
    yield by_length(f"{key}: pairing by length", vectors, here, size, table)
    if lengths is not None and modality == "audio":
        yield by_duration(f"{key}: pairing by frames", lengths, here, table)
    elif lengths is not None:
        counted = np.log(lengths.astype(float))[:, None]
        yield by_length(f"{key}: pairing by tokens", counted, here, size, table)


def _values(key: str, vectors: np.ndarray, about: dict, table: pd.DataFrame) -> Iterator[Finding]:
    """NaN and infinities: an absent utterance is NaN throughout and named in the index; nothing else is."""
    gone = np.isnan(vectors).all(axis=1)
    broken = table["id"][~gone & ~np.isfinite(vectors).all(axis=1)]
    named = table["id"].isin(about["absent"]).to_numpy()
    unnamed, full = table["id"][gone & ~named], table["id"][named & ~gone]
    check = f"{key}: values"
    if len(broken):
        yield Finding(check, FAULT, f"{len(broken)} utterances have values that are no number", some(broken), AGAIN)
    if len(unnamed) or len(full):
        found = f"{len(unnamed)} utterances are absent without being named, {len(full)} are named and there"
        yield Finding(check, FAULT, found, some([*unnamed, *full]), AGAIN)
    if not (len(broken) or len(unnamed) or len(full)):
        yield fine(check, f"{len(table) - gone.sum()} rows of {vectors.shape[1]} numbers")
    if (gone & named).any():
        do = "They take the training mean of this modality; look for their clips."
        found = f"{(gone & named).sum()} utterances are absent"
        yield Finding(f"{key}: absent", WARNING, found, some(table["id"][gone & named]), do)


def _grave(count: int, total: int) -> str:
    return FAULT if count > MANY * total else WARNING


def _flat(key: str, vectors: np.ndarray, here: np.ndarray, table: pd.DataFrame) -> Finding:
    """Rows that are one number throughout, and columns that never change."""
    rows, check = vectors[here], f"{key}: constant"
    still = rows.std(axis=1) <= 1e-6 * (1 + np.abs(rows).max(axis=1))
    columns = (rows.std(axis=0) <= 1e-6 * (1 + np.abs(rows).max(axis=0))).mean() if len(rows) > 1 else 0.0
    if still.any():
        found = f"{still.sum()} of {len(rows)} vectors are constant"
        severity = _grave(still.sum(), len(rows))
        return Finding(check, severity, found, some(table["id"][here][still]), "Listen to these clips. " + AGAIN)
    if columns > 0.5:
        found = f"{100 * columns:.0f} % of the columns are the same for every utterance"
        return Finding(check, FAULT, found, "", f"The encoder gives the same for any input. {AGAIN}")
    return fine(check, "no vector is constant")


def _prints(vectors: np.ndarray) -> np.ndarray:
    return np.array([hashlib.md5(row.tobytes(), usedforsecurity=False).hexdigest() for row in vectors])


def _doubles(key: str, vectors: np.ndarray, here: np.ndarray, table: pd.DataFrame, modality: str) -> Finding:
    """The same vector for utterances that differ: in words, or, heard, in anything."""
    own = table["text"].map(plain) if modality == "text" else table["id"]
    frame = pd.DataFrame({"print": _prints(vectors[here]), "own": own[here].to_numpy(), "id": table["id"][here]})
    shared = frame.groupby("print")["own"].transform("nunique") > 1
    check, what = f"{key}: duplicates", "words" if modality == "text" else "clips"
    found = f"{shared.sum()} of {len(frame)} utterances share their vector with other {what}"
    do = f"A few may be silent or alike; many mean that one vector was written to several rows. {AGAIN}"
    ok, severity = f"different {what}, different vectors", _grave(shared.sum(), len(frame))
    return judged(check, frame["id"][shared], found, do, ok, severity)


def _telling(key: str, vectors: np.ndarray, here: np.ndarray, classes: pd.Series) -> Finding:
    """A column from which the label can be read: it was written there."""
    rows, check = here & classes.notna().to_numpy(), f"{key}: label in a column"
    values, own = vectors[rows].astype(float), classes[rows].to_numpy()
    if len(values) < 2 * max(1, len(set(own))):
        return unchecked(check, "too few labelled utterances")
    total = ((values - values.mean(0)) ** 2).sum(0)
    within = sum(((values[own == c] - values[own == c].mean(0)) ** 2).sum(0) for c in set(own))
    between = np.where(total > 0, 1 - within / np.where(total > 0, total, 1), 0)
    if between.max() > TELLS:
        found = f"column {between.argmax()} alone tells the label: {100 * between.max():.0f} % of its variance"
        do = "Look at what wrote this column, and leave it out: no number with it counts."
        return Finding(check, FAULT, found, f"{(between > TELLS).sum()} columns do", do)
    return fine(check, f"no column tells the label by itself (the most is {100 * between.max():.0f} %)")


def _copies(
    key: str, vectors: np.ndarray, here: np.ndarray, table: pd.DataFrame, folds: dict[str, Fold]
) -> Iterator[Finding]:
    """A clip heard in training and in the test part, whatever its names, even with a little noise."""
    rows = vectors[here].astype(float)
    rows = (rows - rows.mean(0)) / (rows.std(0) + 1e-9)
    for name, fold in folds.items():
        test = table["dialogue"].isin(fold.test).to_numpy()[here]
        before = table["dialogue"].isin((*fold.train, *fold.validation)).to_numpy()[here]
        both, check = np.flatnonzero(test), f"{key}: copied clips"
        both = both[_nearest(rows[test], rows[before]) <= NEAR * np.sqrt(2 * rows.shape[1])]
        do = "Remove them from one side: they sound the same, to the last bit or nearly."
        found = f"{name}: {len(both)} test utterances have the vector of one before the test"
        yield judged(check, table["id"][here].iloc[both], found, do, f"{name}: no test clip is trained on")


def _nearest(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The distance of each row to the nearest of some others, (N,)."""
    if not len(rows) or not len(others):
        return np.full(len(rows), np.inf)
    sizes = (others**2).sum(1)
    pieces = np.array_split(rows, max(1, len(rows) // 500))
    least = [(sizes - 2 * piece @ others.T).min(1) + (piece**2).sum(1) for piece in pieces]
    return np.sqrt(np.maximum(np.concatenate(least), 0))


def _recipe(key: str, about: dict, table: pd.DataFrame, root: Path | None) -> Finding:
    """The hash of what the encoder read, made again from the table: is the set of these utterances?"""
    check, modality = f"{key}: recipe", key.split("/")[0]
    if len(about["recipe"]) != 64:
        return unchecked(check, "the index holds no hash of what was read")
    if modality == "audio" and root is None:
        return unchecked(check, "give --root, so that the clips can be hashed again")
    lost = [wav for wav in table["wav"] if modality == "audio" and wav and not (root / wav).exists()]
    if lost:
        return Finding(check, FAULT, f"{len(lost)} clips are not under {root}", some(lost), "Give its --root.")
    encoder = SimpleNamespace(name=about["encoder"], **about)
    if recipe(modality, encoder, table, root) == about["recipe"]:
        return fine(check, "the utterances and what was read of each are those of the table")
    found = "the set was made from other utterances, texts or clips, or in another order, than the table has"
    return Finding(check, FAULT, found, "", AGAIN)
