"""Intervals over seeds and over dialogues, paired comparisons, and Holm's correction.

Seeds say how much training varies; dialogues say how much the test set does (utterances of a
dialogue are not independent, so whole dialogues are drawn).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit  # scipy.stats looks for torch, these do not

from lpgnet.analysis.metrics import METRICS, scores

LEVEL = 0.95
ROUNDING = 1e-12  # fractions closer than this are the same number


@dataclass(frozen=True)
class Summary:
    """Mean over n values with its interval; std has ddof 1; NaN where n is too small."""

    mean: float
    std: float
    n: int
    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class Comparison:
    """a minus b over n pairs.  `effect` is Cohen's d_z (NaN for a bootstrap)."""

    difference: float
    ci_low: float
    ci_high: float
    p: float
    effect: float
    n: int


def summary(values: Sequence[float]) -> Summary:
    """Mean, spread and 95 % t interval of one value per seed."""
    values = np.asarray(values, dtype=float)
    n = len(values)
    if n < 2:
        return Summary(float(values[0]) if n else np.nan, np.nan, n, np.nan, np.nan)
    mean, std = float(values.mean()), float(values.std(ddof=1))
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * std / np.sqrt(n)
    return Summary(mean, std, n, float(mean - half), float(mean + half))


def paired_seeds(a: Mapping[int, float], b: Mapping[int, float]) -> Comparison:
    """Paired t-test of a against b over their common seeds; both map a seed to a score."""
    a, b = pd.Series(a, dtype=float), pd.Series(b, dtype=float)
    differences = (a - b).dropna()
    found = summary(differences.to_numpy())
    if found.n < 2:
        return Comparison(found.mean, np.nan, np.nan, np.nan, np.nan, found.n)
    if found.std < ROUNDING:  # no spread at all: a t statistic does not exist
        same = abs(found.mean) < ROUNDING
        effect = 0.0 if same else float(np.copysign(np.inf, found.mean))
        p = 1.0 if same else 0.0
        return Comparison(found.mean, found.ci_low, found.ci_high, p, effect, found.n)
    effect = found.mean / found.std
    p = 2 * float(stdtr(found.n - 1, -abs(effect) * np.sqrt(found.n)))
    return Comparison(found.mean, found.ci_low, found.ci_high, p, effect, found.n)


def dialogue_bootstrap(
    frame: pd.DataFrame, metric: str, draws: int = 2000, seed: int = 0, classes: int | None = None
) -> Summary:
    """The score of a test set with its percentile interval when dialogues are drawn again.

    frame: columns id, dialogue, label, predicted; the rows of several seeds may be stacked, their
    counts then add up.  classes: their number, where some occur in no row; n counts dialogues.
    """
    counts = _per_dialogue(frame, _names(frame), classes)
    drawn = _drawn([counts], metric, draws, seed)[0]
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    whole = scores(counts.sum(0))[metric]
    return Summary(whole, float(drawn.std(ddof=1)), len(counts), float(low), float(high))


def paired_dialogues(
    a: pd.DataFrame,
    b: pd.DataFrame,
    metric: str,
    draws: int = 2000,
    seed: int = 0,
    classes: int | None = None,
) -> Comparison:
    """Bootstrap of the score of a minus that of b, both scored on the same drawn dialogues.

    p is two-sided, twice the smaller tail, and never below 2 / (draws + 1).
    """
    same = ["id", "dialogue", "label"]
    left, right = (f[same].drop_duplicates().set_index("id").sort_index() for f in (a, b))
    if not left.equals(right):
        found = f"{len(left)} and {len(right)} utterances, {len(left.index.union(right.index))}"
        raise ValueError(f"a and b hold {found} in all: want the same ids, dialogues and labels in both")
    names = _names(pd.concat([a, b]))
    counts = [_per_dialogue(frame, names, classes) for frame in (a, b)]
    drawn = np.subtract(*_drawn(counts, metric, draws, seed))
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    whole = [scores(one.sum(0))[metric] for one in counts]
    tail = min((drawn <= 0).sum(), (drawn >= 0).sum())
    p = float(min(1.0, 2 * (tail + 1) / (draws + 1)))
    return Comparison(whole[0] - whole[1], float(low), float(high), p, np.nan, len(counts[0]))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p-values, in the order given; NaN stays NaN and is not counted."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)[: np.isfinite(p).sum()]  # NaN sorts last
    adjusted = np.full(len(p), np.nan)
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted


def _names(frame: pd.DataFrame) -> list:
    return sorted(set(frame["label"]) | set(frame["predicted"]))


def _per_dialogue(frame: pd.DataFrame, names: list, classes: int | None) -> np.ndarray:
    """(D, C, C) counts, one confusion matrix per dialogue, dialogues in sorted order."""
    classes = classes or len(names)
    if len(names) > classes:
        raise ValueError(f"classes={classes}, but {len(names)} classes occur: {names}")
    dialogue, found = pd.factorize(frame["dialogue"], sort=True)
    gold, predicted = (pd.Index(names).get_indexer(frame[c]) for c in ("label", "predicted"))
    counts = np.zeros((len(found), classes, classes))
    np.add.at(counts, (dialogue, gold, predicted), 1)
    return counts


def _drawn(counts: list[np.ndarray], metric: str, draws: int, seed: int) -> list[np.ndarray]:
    """The metric of every draw, per stack; all stacks see the same drawn dialogues."""
    if metric not in METRICS:
        raise ValueError(f"no metric {metric!r}; there are {', '.join(METRICS)}")
    dialogues = len(counts[0])
    even = np.full(dialogues, 1 / dialogues)
    weights = np.random.default_rng(seed).multinomial(dialogues, even, size=draws)
    return [scores(np.tensordot(weights, one, axes=1))[metric] for one in counts]
