"""Probes for features that belong to another utterance, as after a row that was lost or added.

Each compares the pairing as it is with the set moved by a few rows.  A probe that moving would not disturb
says that it can't tell.  Letters: N utterances; `here` (N,) where an utterance is there.
"""

from itertools import pairwise

import numpy as np
import pandas as pd

from lpgnet.beyond.audit.findings import FAULT, Finding, fine, unchecked

SHIFTS = (-3, -2, -1, 1, 2, 3)
PAIRS = 10  # of equal transcripts, at least
SAME = 0.05  # of the usual distance: batches differ by rounding only
BLOCK, KNOWN = 40, 20  # rows by which a shift that starts midway is found, and how many must have times
ROWS = 200  # for a regression
DO = "Compare the ids that went in with the rows that came out; delete the set's folder and run notebook 01."


def by_transcript(check: str, vectors: np.ndarray, here: np.ndarray, table: pd.DataFrame, contextual: bool) -> Finding:
    """Utterances with one transcript should have one text vector.

    contextual: an encoder that may have read the neighbours too, or several encoders, so that equal words
    differ; then only a shift that mends it counts.
    """
    texts = table["text"].to_numpy()
    same = [pair for rows in _groups(table["text"], here) for pair in pairwise(rows)]
    if len(same) < PAIRS:
        return unchecked(check, f"{len(same)} pairs of equal transcripts, want {PAIRS}")
    first, second = np.array(same).T
    usual = _usual(vectors, here, texts)
    if not usual > 0:
        return unchecked(check, "no two transcripts differ")
    agree = {k: _agreeing(np.roll(vectors, k, axis=0), first, second, usual) for k in (0, *SHIFTS)}
    detail = f"{len(same)} pairs; {100 * agree[0]:.1f} % have the same vector as it is, "
    detail += ", ".join(f"{100 * agree[k]:.1f} % moved by {k:+d}" for k in (-1, 1))
    mended = max(SHIFTS, key=agree.get)
    if agree[0] < 0.5 and agree[mended] > 0.9:
        found = f"the rows are shifted: moving them by {mended:+d} makes equal transcripts agree"
        return Finding(check, FAULT, found, detail, DO)
    if agree[0] < 0.99 and not contextual:
        found = f"{round((1 - agree[0]) * len(same))} of {len(same)} pairs of equal transcripts disagree"
        return Finding(check, FAULT, found, detail, DO)
    if agree[0] < 0.99 or max(agree[-1], agree[1]) > 0.9:
        return unchecked(check, f"equal transcripts don't tell a shift here ({detail})")
    return fine(check, "equal transcripts have equal vectors, and would not if rows had moved", detail)


def _groups(texts: pd.Series, here: np.ndarray) -> list[np.ndarray]:
    place = pd.Series(np.arange(len(texts)))[here & (texts != "").to_numpy()]
    return [rows.to_numpy() for _, rows in place.groupby(texts.to_numpy()[place]) if len(rows) > 1]


def _usual(vectors: np.ndarray, here: np.ndarray, texts: np.ndarray) -> float:
    """The middle distance between utterances with different words."""
    rng, rows = np.random.default_rng(0), np.flatnonzero(here)
    a, b = rng.choice(rows, 2000), rng.choice(rows, 2000)
    apart = texts[a] != texts[b]
    if not apart.any():
        return 0.0
    return float(np.median(np.linalg.norm(vectors[a[apart]] - vectors[b[apart]], axis=1)))


def _agreeing(vectors: np.ndarray, first: np.ndarray, second: np.ndarray, usual: float) -> float:
    apart = np.linalg.norm(vectors[first] - vectors[second], axis=1)
    return float((apart[np.isfinite(apart)] <= SAME * usual).mean()) if np.isfinite(apart).any() else 0.0


def by_duration(check: str, lengths: np.ndarray, here: np.ndarray, table: pd.DataFrame) -> Finding:
    """A clip's number of frames should follow from its start and end, block by block of the table."""
    seconds = (table["end"] - table["start"]).to_numpy(float)
    known = here & (seconds > 0)
    if known.sum() < KNOWN:
        return unchecked(check, "start and end are known of too few utterances")
    rate = float(np.median(lengths[known] / seconds[known]))
    want = rate * seconds
    fits = {k: np.abs(np.roll(lengths, k) - want) <= np.maximum(3, 0.05 * want) for k in (0, *SHIFTS)}
    whole = {k: fit[known].mean() for k, fit in fits.items()}
    detail = f"{rate:.1f} frames a second fit {100 * whole[0]:.1f} % of {known.sum()} utterances as they are, "
    detail += ", ".join(f"{100 * whole[k]:.1f} % moved by {k:+d}" for k in (-1, 1))
    for start in range(0, len(table), BLOCK):
        rows = np.flatnonzero(known[start : start + BLOCK]) + start
        if len(rows) < KNOWN:
            continue
        share = {k: fit[rows].mean() for k, fit in fits.items()}
        mended = max(SHIFTS, key=share.get)
        if share[0] < 0.5 and share[mended] > max(0.8, share[0] + 0.3):
            found = f"rows are shifted near {table['id'].iloc[rows[0]]}: moving them by {mended:+d} fits"
            return Finding(check, FAULT, found, detail, DO)
    if whole[0] < 0.8 or max(whole[-1], whole[1]) > 0.8:
        return unchecked(check, f"times don't tell a shift here ({detail})")
    return fine(check, "frames follow from start and end, and would not if rows had moved", detail)


def by_length(check: str, values: np.ndarray, here: np.ndarray, size: np.ndarray, table: pd.DataFrame) -> Finding:
    """How long an utterance is can be read from most features: best of all where they are its own.

    values: (N, F).  size: (N,) logarithm of seconds or letters, NaN where not known.
    """
    known = here & np.isfinite(size)
    if known.sum() < ROWS or size[known].std() < 0.05:
        return unchecked(check, "too few utterances of known and different length")
    told = {k: _foretold(np.roll(values, k, axis=0), size, known & np.roll(here, k)) for k in (-1, 0, 1)}
    fit = {k: _agreement(some, size, known) for k, some in told.items()}
    detail = ", ".join(f"r = {r:.2f} moved by {k:+d}" if k else f"r = {r:.2f} as it is" for k, r in fit.items())
    mended = max((-1, 1), key=fit.get)
    if fit[mended] > max(0.3, fit[0] + 0.15):
        found = f"the rows are shifted: moved by {mended:+d} they tell the length of their utterance"
        return Finding(check, FAULT, found, detail, DO)
    for session, rows in table.groupby("session").indices.items():
        own = known & np.isin(np.arange(len(table)), rows)
        if own.sum() < BLOCK:
            continue
        part = {k: _agreement(np.roll(told[0], k), size, own) for k in (0, *SHIFTS)}
        best = max(SHIFTS, key=part.get)
        if part[best] > max(0.3, part[0] + 0.3):
            found = f"rows of session {session} are shifted: moved by {best:+d} they tell their length"
            return Finding(check, FAULT, found, f"r = {part[0]:.2f} as it is, {part[best]:.2f} moved", DO)
    if fit[0] < max(0.3, fit[mended] + 0.15):
        return unchecked(check, f"these features don't tell how long an utterance is ({detail})")
    return fine(check, "features tell the length of their utterance, and would not if rows had moved", detail)


def _foretold(values: np.ndarray, size: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Sizes by a ridge regression on the features, each half from the other, (N,); NaN not known."""
    rows = np.flatnonzero(known)
    features, target = values[rows].astype(float), size[rows]
    features = (features - features.mean(0)) / (features.std(0) + 1e-9)
    told, half = np.full(len(values), np.nan), np.arange(len(rows)) < len(rows) // 2
    for train in (half, ~half):
        x, y = features[train], target[train] - target[train].mean()
        weights = np.linalg.solve(x.T @ x + 0.1 * len(x) * np.eye(x.shape[1]), x.T @ y)
        told[rows[~train]] = features[~train] @ weights
    return told


def _agreement(told: np.ndarray, size: np.ndarray, known: np.ndarray) -> float:
    """The correlation of lengths with what was foretold, where both are known."""
    rows = known & np.isfinite(told)
    return float(np.corrcoef(told[rows], size[rows])[0, 1]) if rows.sum() > 2 and told[rows].std() > 0 else 0.0
