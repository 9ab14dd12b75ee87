"""Every pair of models that a claim or a table rests on: differences, intervals and two paired tests.

Two questions are asked of every pair, since a difference may be luck in either way.  Would it be there with
other seeds (paired t-test over seeds)?  Would it be there in other dialogues (paired over the test dialogues,
seeds averaged)?  Only seeds that both models have are paired; folds are pooled before.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from lpgnet.tables.scores import SHOWN, Evaluation, Predictions, identity
from lpgnet.tables.statistics import (
    Resampled,
    dialogue_interval,
    holm,
    paired_dialogues,
    paired_seeds,
    percent,
    resample,
    significant,
    summary,
)

LAMBDAS = ("lambda_1_1_1", "lambda_1_0_1", "lambda_1_1_0", "lambda_1p5_1_0", "lambda_1_0_0", "lambda_1p5_0_0")
T3 = ("text_only", "audio_only", "no_inter", "no_intra", "no_ffn", "no_gates")
PAIRS: dict[int, tuple[tuple[str, str], ...]] = {  # table -> (a, b); Holm's correction is over a table
    2: (
        *(("full", b) for b in ("linear", "frame", "bigru", "full_by_query", "full_frozen")),
        ("frame", "linear"),
    ),
    3: (*(("full", b) for b in T3), ("full", "full_by_query")),
    4: (("audio_only", "linear_audio"),),
    5: (("text_only", "linear_text"), ("text_only", "text_only_frozen")),
    6: (
        *(("full", b) for b in LAMBDAS),
        ("lambda_1_1_1", "lambda_1_0_0"),
        ("lambda_1_1_1", "lambda_1_0_1"),
    ),
    7: (
        ("full", "sdt"),
        ("full_6", "sdt_6"),
        ("full", "full_speaker"),
        ("sdt", "sdt_no_speaker"),
        ("full", "sdt_no_speaker"),
    ),
}


DECODER = (("linear_crf", "linear"), ("full_crf", "full"), ("full", "linear_crf"))  # their own Holm's correction


def compare(predictions: list[Predictions], data: dict) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Intervals and pairs.

    Intervals: one line per experiment and metric, percent: mean, std and 95 % t interval over seeds, and the
    95 % interval when test dialogues are drawn again, seeds averaged.
    Pairs: one line per pair of `PAIRS` and metric: a - b in points with both intervals, both tests, and d_z.
    Holm's correction is over the pairs of a table that have been run, for each metric and kind of test apart.
    """
    sets = [scored(part, part.predicted) for part in predictions]
    return _intervals(sets, data), pairs(sets, data)


def decoder(found: Evaluation) -> pd.DataFrame:
    """The same pairs for a CRF over a model's outputs, `<experiment>_crf`: what neighbouring labels are worth.

    It is fitted on validation (`lpgnet.runs.decoder`).  full minus linear_crf: is LPGNet's context worth more?
    """
    sets = []
    for part in found.predictions:
        plain = {name: part.predicted[name] for name in part.decoded}
        sets.append(scored(part, plain | {f"{name}_crf": seeds for name, seeds in part.decoded.items()}))
    return pairs(sets, found.data, {2: DECODER})


@dataclass(frozen=True)
class Scored:
    """The models of one label set: their seeds, and their scores on the resampled test set."""

    labels: str
    seeds: dict[str, list[int]]
    scores: dict[str, Resampled]

    def by_seed(self, experiment: str, metric: str) -> dict[int, float]:
        return dict(zip(self.seeds[experiment], self.scores[experiment].whole[metric], strict=True))


def scored(part: Predictions, predicted: dict[str, dict[int, np.ndarray]]) -> Scored:
    """The same test dialogues are drawn for every model of a label set.  predicted: one of the set's."""
    seeds = {name: list(found) for name, found in predicted.items()}
    scores = {name: resample(part.counts(found)) for name, found in predicted.items()}
    return Scored(part.labels, seeds, scores)


def _intervals(sets: list[Scored], data: dict) -> pd.DataFrame:
    lines = []
    for part in sets:
        for (name, found), metric in product(part.scores.items(), SHOWN):
            seeds, dialogues = summary(found.whole[metric]), dialogue_interval(found, metric)
            lines.append(
                identity(data, part.labels)
                | {"experiment": name, "metric": metric, "mean": percent(seeds.mean)}
                | {"std": percent(seeds.std), "n_seeds": seeds.n}
                | _range("seeds", seeds)
                | {"n_dialogues": dialogues.n}
                | _range("dialogues", dialogues)
            )
    return pd.DataFrame(lines)


def pairs(sets: list[Scored], data: dict, asked: dict[int, tuple] = PAIRS) -> pd.DataFrame:
    """The lines of `compare` for the pairs asked, by table."""
    lines = [
        identity(data, part.labels) | {"table": table} | compared(part, a, b, metric)
        for table, names in asked.items()
        for metric in SHOWN
        for a, b in names
        for part in sets
        if set(part.seeds.get(a, ())) & set(part.seeds.get(b, ()))
    ]
    frame = pd.DataFrame(lines)
    for name in ("p_seeds", "p_dialogues") if lines else ():
        corrected = frame.groupby(["table", "metric"], sort=False)[name].transform(holm)
        frame[f"{name}_holm"] = [significant(p) for p in corrected]
        frame[name] = [significant(p) for p in frame[name]]
    return frame


def compared(part: Scored, a: str, b: str, metric: str) -> dict:
    """a - b in points over their common seeds: both intervals, both tests (not yet corrected), and d_z."""
    first, second = part.by_seed(a, metric), part.by_seed(b, metric)
    common = [s for s in first if s in second]
    seeds = paired_seeds(first, second)
    dialogues = paired_dialogues(
        *(part.scores[name].of([part.seeds[name].index(s) for s in common]) for name in (a, b)), metric
    )
    means = {f"mean_{x}": percent(np.mean([f[s] for s in common])) for x, f in (("a", first), ("b", second))}
    return (
        {"a": a, "b": b, "metric": metric}
        | means
        | {"difference": percent(seeds.difference), "n_seeds": seeds.n}
        | _range("seeds", seeds)
        | {"effect": round(seeds.effect, 2) + 0.0, "n_dialogues": dialogues.n}
        | _range("dialogues", dialogues)
        | {"p_seeds": seeds.p, "p_dialogues": dialogues.p}
    )


def _range(name: str, found) -> dict[str, float]:
    return {f"{name}_low": percent(found.ci_low), f"{name}_high": percent(found.ci_high)}
