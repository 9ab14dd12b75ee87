"""How sure a model may be: what conformal sets hold on the test part, and how far its probabilities are off.

Each run has a temperature and a validation part of its own; the folds of a seed are pooled before it is scored.
Shapes: N test utterances, C classes.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from lpgnet.runs.calibration import brier, classwise_error, ece, scaled, sets, threshold
from lpgnet.tables.scores import Evaluation, Predictions, identity
from lpgnet.tables.statistics import columns, summary

MODELS = ("full", "full_6", "sdt", "bigru", "linear")
WANTED = (0.8, 0.9, 0.95)
EVERY = "all classes"
ERRORS = {"ece": ece, "classwise": classwise_error, "brier": brier}


def coverage(found: Evaluation) -> pd.DataFrame:
    """One line per model, wanted coverage and class: how often its sets hold the class, in percent, and their size."""
    lines = []
    for part, experiment in _models(found):
        groups = {EVERY: part.gold >= 0} | {name: part.gold == i for i, name in enumerate(part.classes)}
        for wanted in WANTED:
            each = [sets(*calibrated(found, part, experiment, seed, wanted)) for seed in part.probabilities[experiment]]
            for name, mine in ((name, mine) for name, mine in groups.items() if mine.any()):
                held = summary([some[mine, part.gold[mine]].mean() for some in each])
                size = summary([some[mine].sum(1).mean() for some in each])
                line = {"experiment": experiment, "wanted": 100 * wanted, "class": name}
                line |= {"n_utterances": int(mine.sum()), "n_seeds": held.n} | columns("coverage", held)
                line |= {"size_mean": round(size.mean, 4), "size_std": round(size.std, 4)}
                lines.append(identity(found.data, part.labels) | line)
    return pd.DataFrame(lines)


def calibration(found: Evaluation) -> pd.DataFrame:
    """One line per model, as trained and calibrated: ECE and classwise error in points, Brier score from 0 to 2."""
    lines = []
    for part, experiment in _models(found):
        raw = part.probabilities[experiment]
        ways = {
            "as trained": list(raw.values()),
            "calibrated": [calibrated(found, part, experiment, seed)[0] for seed in raw],
        }
        for way, each in ways.items():
            line = identity(found.data, part.labels) | {"experiment": experiment, "probabilities": way}
            line["n_seeds"] = len(each)
            for name, error in ERRORS.items():
                got = summary([error(p.astype(float), part.gold) * (1 if name == "brier" else 100) for p in each])
                line |= {f"{name}_mean": round(got.mean, 4), f"{name}_std": round(got.std, 4)}
            lines.append(line)
    return pd.DataFrame(lines)


def calibrated(
    found: Evaluation, part: Predictions, experiment: str, seed: int, wanted: float = WANTED[0]
) -> tuple[np.ndarray, np.ndarray]:
    """A seed's probabilities by the temperature of each fold, (N, C), and each fold's threshold, (N, 1)."""
    runs = found.runs
    mine = runs[(runs["experiment"] == experiment) & (runs["seed"] == seed)].set_index("fold")
    t = part.rows["fold"].map(mine["temperature"]).to_numpy(float)[:, None]
    least = part.rows["fold"].map(mine["validation"].map(lambda kept: threshold(kept, wanted))).to_numpy(float)[:, None]
    return scaled(part.probabilities[experiment][seed], t), least


def _models(found: Evaluation) -> Iterator[tuple[Predictions, str]]:
    """The models of `MODELS` that have whole seeds, in that order, with the predictions of their label set."""
    return ((part, name) for name in MODELS for part in found.predictions if name in part.probabilities)
