"""Runs -> scores per fold: what the pooled tables of a leave-one-session-out split do not show."""

from pathlib import Path

import pandas as pd

from lpgnet.machine.files import write_csv
from lpgnet.runs.metrics import scores
from lpgnet.tables.scores import HEADLINE, SHOWN, identity
from lpgnet.tables.statistics import summary

ALL = "all folds and seeds"


def fold_scores(runs: pd.DataFrame, data: dict) -> pd.DataFrame:
    """One line per experiment and fold, mean and standard deviation over seeds in percent; then one over
    every fold and seed together, whose deviation holds both."""
    lines = []
    for (experiment, labels), mine in runs.groupby(["experiment", "labels"], sort=True):
        scored = pd.DataFrame([scores(confusion[HEADLINE]) for confusion in mine["confusion"]])
        scored["fold"] = mine["fold"].to_numpy()
        for fold, part in [*scored.groupby("fold"), (ALL, scored)]:
            found = {name: summary(part[name]) for name in SHOWN}
            cells = {
                f"{n}_{what}": round(100 * getattr(s, what), 2)
                for n, s in found.items()
                for what in ("mean", "std")
            }
            lines.append(
                identity(data, labels) | {"experiment": experiment, "fold": fold, "n_runs": len(part)} | cells
            )
    return pd.DataFrame(lines)


def write(frame: pd.DataFrame, folder: Path) -> Path:
    """folds.csv beside the tables."""
    return write_csv(folder / "folds.csv", frame)
