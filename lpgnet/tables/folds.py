"""Runs -> scores per fold: what the pooled tables of a leave-one-session-out split do not show."""

import pandas as pd

from lpgnet.runs.metrics import scores
from lpgnet.tables.scores import HEADLINE, SHOWN, identity
from lpgnet.tables.statistics import columns, summary

ALL = "all folds and seeds"


def fold_scores(runs: pd.DataFrame, data: dict) -> pd.DataFrame:
    """One line per experiment and fold, mean and standard deviation over seeds in percent; then one over
    every fold and seed together, whose deviation holds both."""
    lines = []
    for (experiment, labels), mine in runs.groupby(["experiment", "labels"], sort=True):
        scored = pd.DataFrame([scores(confusion[HEADLINE]) for confusion in mine["confusion"]])
        scored["fold"] = mine["fold"].to_numpy()
        for fold, part in [*scored.groupby("fold"), (ALL, scored)]:
            line = identity(data, labels) | {"experiment": experiment, "fold": fold, "n_runs": len(part)}
            for name in SHOWN:
                line |= columns(name, summary(part[name]))
            lines.append(line)
    return pd.DataFrame(lines)
