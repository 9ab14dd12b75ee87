"""Intervals over seeds and over dialogues, paired comparisons, and Holm's correction.

Seeds say how much training varies; dialogues say how much the test set does (utterances of a dialogue are
not independent, so whole dialogues are drawn or left out).

Shapes: S seeds, D test dialogues, C classes.  `counts` is (S, D, C, C): one confusion matrix per seed and
dialogue.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtr, stdtr, stdtrit  # scipy.stats looks for torch, these do not

from lpgnet.runs.metrics import METRICS, scores

LEVEL = 0.95
DRAWS = 4000
ROUNDING = 1e-12  # fractions closer than this are the same number
ALPHA = 0.05
EQUAL = 1.0  # points: what is smaller is no difference worth having


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
    """a minus b over n pairs.  `effect` is Cohen's d_z over seeds (NaN over dialogues)."""

    difference: float
    ci_low: float
    ci_high: float
    p: float
    effect: float
    n: int


@dataclass(frozen=True)
class Resampled:
    """Metric -> scores of S seeds on one test set, seeds last.  labels: the label set that it carries."""

    labels: str
    seeds: list[int]
    whole: dict[str, np.ndarray]  # (S,)
    drawn: dict[str, np.ndarray]  # (draws, S): D dialogues drawn with replacement
    without: dict[str, np.ndarray]  # (D, S): each dialogue left out in turn

    def by_seed(self, metric: str) -> dict[int, float]:
        return dict(zip(self.seeds, self.whole[metric], strict=True))


def summary(values: Sequence[float]) -> Summary:
    """Mean, spread and 95 % t interval of one value per seed."""
    values = np.asarray(values, dtype=float)
    n = len(values)
    if n < 2:
        return Summary(float(values[0]) if n else np.nan, np.nan, n, np.nan, np.nan)
    mean, std = float(values.mean()), float(values.std(ddof=1))
    half = half_interval(std, n)
    return Summary(mean, std, n, float(mean - half), float(mean + half))


def half_interval(std: float, n: int) -> float:
    """Half the 95 % t interval of a mean over n values; NaN for one."""
    return float(stdtrit(n - 1, (1 + LEVEL) / 2)) * std / np.sqrt(n) if n > 1 else np.nan


def paired_seeds(a: Mapping[int, float], b: Mapping[int, float]) -> Comparison:
    """Paired t-test of a against b over their common seeds; both map a seed to a score.

    The t-test rather than Wilcoxon's: it comes with an interval, scores over hundreds of utterances are near
    enough to normal, and Wilcoxon's p cannot fall below 0.06 with five seeds or 0.25 with three.
    """
    a, b = pd.Series(a, dtype=float), pd.Series(b, dtype=float)
    differences = (a - b).dropna()
    found = summary(differences.to_numpy())
    if found.n < 2:
        return Comparison(found.mean, np.nan, np.nan, np.nan, np.nan, found.n)
    p = _t_test(found.mean, found.std / np.sqrt(found.n), found.n)
    if found.std < ROUNDING:  # the same difference every time: neither t nor its interval exists
        effect = 0.0 if abs(found.mean) < ROUNDING else float(np.copysign(np.inf, found.mean))
        return Comparison(found.mean, np.nan, np.nan, p, effect, found.n)
    return Comparison(found.mean, found.ci_low, found.ci_high, p, found.mean / found.std, found.n)


def dialogue_counts(dialogue: np.ndarray, gold: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """(S, D, C, C) from dialogue and gold (N,) and predicted (S, N), all numbers from 0."""
    dialogue, gold, predicted = np.asarray(dialogue), np.asarray(gold), np.atleast_2d(predicted)
    seeds, dialogues = len(predicted), int(dialogue.max()) + 1
    cells = ((np.arange(seeds)[:, None] * dialogues + dialogue) * classes + gold) * classes + predicted
    shape = (seeds, dialogues, classes, classes)
    return np.bincount(cells.ravel(), minlength=int(np.prod(shape))).reshape(shape)


def resample(counts: np.ndarray, seeds: list[int], labels: str = "", draws: int = DRAWS, seed: int = 0) -> Resampled:
    """Scores of every seed on drawn dialogues and without each one.

    All stacks of D dialogues see the same draws, so that two models can be compared draw by draw.
    """
    counts = np.asarray(counts, dtype=float)
    dialogues = counts.shape[1]
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(dialogues, np.full(dialogues, 1 / dialogues), size=draws).astype(float)
    total, drawn = counts.sum(1), np.tensordot(weights, counts, axes=(1, 1))
    nothing = dict.fromkeys(METRICS, np.full((1, len(counts)), np.nan))  # is left without the only dialogue
    without = scores(total - np.moveaxis(counts, 1, 0)) if dialogues > 1 else nothing
    return Resampled(labels, seeds, scores(total), scores(drawn), without)


def dialogue_interval(found: Resampled, metric: str) -> Summary:
    """The mean over seeds on the whole test set, and its 95 % bootstrap interval; n counts dialogues."""
    n, drawn = len(found.without[metric]), found.drawn[metric].mean(-1)
    low, high = _percentiles(drawn, n)
    return Summary(float(found.whole[metric].mean()), float(drawn.std(ddof=1)), n, low, high)


def paired_dialogues(a: Resampled, b: Resampled, metric: str) -> Comparison:
    """The mean over common seeds of a minus that of b, on the same dialogues: bootstrap interval, jackknife p.

    p is of a t-test, D - 1 degrees of freedom, whose standard error is from leaving out one dialogue at a
    time; with dialogues of equal length and accuracy it is the paired t-test on dialogues.  On made data
    without a difference and 7 dialogues it rejects 6 % at the 5 % level, the share of draws beyond zero
    13 %, and swapping the models within dialogues cannot reach Holm's levels (2 / 2^7).
    """
    n = len(a.without[metric])
    if n != len(b.without[metric]):
        raise ValueError(f"a has {n} dialogues, b has {len(b.without[metric])}: want the same ones")
    common = [seed for seed in a.seeds if seed in b.seeds]
    mine, theirs = ([found.seeds.index(seed) for seed in common] for found in (a, b))
    whole, drawn, without = (
        (one[metric][..., mine] - other[metric][..., theirs]).mean(-1)
        for one, other in ((a.whole, b.whole), (a.drawn, b.drawn), (a.without, b.without))
    )
    low, high = _percentiles(drawn, n)
    difference = float(whole)
    if n < 2:
        return Comparison(difference, low, high, np.nan, np.nan, n)
    error = float(np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()))
    return Comparison(difference, low, high, _t_test(difference, error, n), np.nan, n)


def equal(*ends: float) -> bool:
    """Whether 95 % intervals, given by their ends in points, lie within `EQUAL` points of zero; NaN does not.

    That is TOST, two one-sided tests, at 2.5 % each.
    """
    return all(abs(end) < EQUAL for end in ends)


def percent(fraction: float) -> float:
    """Two decimals, and no -0.0: how a number leaves the package."""
    return round(100 * float(fraction), 2) + 0.0


def columns(name: str, found: Summary, whats: Sequence[str] = ("mean", "std")) -> dict[str, float]:
    """A summary of fractions as columns, in percent."""
    return {f"{name}_{what}": percent(getattr(found, what)) for what in whats}


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p-values, in the order given; NaN stays NaN and is not counted."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)[: np.isfinite(p).sum()]  # NaN sorts last
    adjusted = np.full(len(p), np.nan)
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted


def _t_test(mean: float, error: float, n: int) -> float:
    """Two-sided p of a mean over n with this standard error.

    Without any spread t does not exist: the sign test stands in, so that two equal differences are not proof.
    """
    if error < ROUNDING:
        return 1.0 if abs(mean) < ROUNDING else 2 * 0.5**n
    return 2 * float(stdtr(n - 1, -abs(mean) / error))


def _percentiles(drawn: np.ndarray, n: int) -> tuple[float, float]:
    """The expanded percentile interval (Hesterberg 2015, doi 10.1080/00031305.2015.1089789).

    Plain percentiles are too narrow where n, the number of dialogues, is small: the tails are those of t.
    """
    if n < 2:
        return np.nan, np.nan
    tail = float(ndtr(stdtrit(n - 1, (1 - LEVEL) / 2) * np.sqrt(n / (n - 1))))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def significant(p: float) -> float:
    return float(f"{p:.4g}")
