"""Every pair of models that a claim or a table rests on: differences, intervals and two paired tests.

Two questions are asked of every pair, since a difference may be luck in either way.  Would it be there with
other seeds (paired t-test over seeds)?  Would it be there in other dialogues (paired over the test dialogues,
seeds averaged)?  Only seeds that both models have are paired; folds are pooled before.
"""

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
    found = all_scored(predictions)
    return _intervals(found, data), pairs(found, data)


def decoder(found: Evaluation) -> pd.DataFrame:
    """The same pairs for a CRF over a model's outputs, `<experiment>_crf`: what neighbouring labels are worth.

    It is fitted on validation (`lpgnet.runs.decoder`).  full minus linear_crf: is LPGNet's context worth more?
    """
    both: dict[str, Resampled] = {}
    for part in found.predictions:
        plain = {name: part.predicted[name] for name in part.decoded}
        both |= scored(part, plain | {f"{name}_crf": seeds for name, seeds in part.decoded.items()})
    return pairs(both, found.data, {2: DECODER})


def scored(part: Predictions, predicted: dict[str, dict[int, np.ndarray]]) -> dict[str, Resampled]:
    """The same test dialogues are drawn for every model of a label set.  predicted: one of the set's."""
    return {name: resample(part.counts(seeds), list(seeds), part.labels) for name, seeds in predicted.items()}


def all_scored(predictions: list[Predictions], what: str = "predicted") -> dict[str, Resampled]:
    """Every experiment on the resampled test set of its labels.  what: of `Predictions`."""
    return {name: found for part in predictions for name, found in scored(part, getattr(part, what)).items()}


def _intervals(found: dict[str, Resampled], data: dict) -> pd.DataFrame:
    lines = []
    for (name, one), metric in product(found.items(), SHOWN):
        seeds, dialogues = summary(one.whole[metric]), dialogue_interval(one, metric)
        lines.append(
            identity(data, one.labels)
            | {"experiment": name, "metric": metric, "mean": percent(seeds.mean)}
            | {"std": percent(seeds.std), "n_seeds": seeds.n}
            | _range("seeds", seeds)
            | {"n_dialogues": dialogues.n}
            | _range("dialogues", dialogues)
        )
    return pd.DataFrame(lines)


def pairs(found: dict[str, Resampled], data: dict, asked: dict[int, tuple] = PAIRS) -> pd.DataFrame:
    """The lines of `compare` for the pairs asked, by table."""
    lines = [
        identity(data, found[a].labels) | {"table": table} | compared(found, a, b, metric)
        for table, names in asked.items()
        for metric in SHOWN
        for a, b in names
        if {a, b} <= found.keys() and set(found[a].seeds) & set(found[b].seeds)
    ]
    frame = pd.DataFrame(lines)
    for name in ("p_seeds", "p_dialogues") if lines else ():
        corrected = frame.groupby(["table", "metric"], sort=False)[name].transform(holm)
        frame[f"{name}_holm"] = [significant(p) for p in corrected]
        frame[name] = [significant(p) for p in frame[name]]
    return frame


def compared(found: dict[str, Resampled], a: str, b: str, metric: str) -> dict:
    """a - b in points over their common seeds: both intervals, both tests (not yet corrected), and d_z."""
    first, second = (found[name].by_seed(metric) for name in (a, b))
    common = [s for s in first if s in second]
    seeds, dialogues = paired_seeds(first, second), paired_dialogues(found[a], found[b], metric)
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
