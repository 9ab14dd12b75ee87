"""Which dialogues validate: a source of variance that neither seeds nor test dialogues show (Reading R13)."""

import numpy as np
import pandas as pd

from lpgnet.beyond.readings.alternatives import WHERE
from lpgnet.experiments import ROTATED
from lpgnet.tables.scores import identity, pooled, seed_scores
from lpgnet.tables.statistics import columns, percent, summary

FIRST = "a tenth of the training dialogues, draw 1"
COLUMNS = [*WHERE, "model", "validation", "accuracy_mean", "accuracy_std", "n_seeds", "epoch_mean"]
DRAWS, SESSIONS = "spread over draws", "spread over draws and sessions"


def rotation(runs: pd.DataFrame, data: dict) -> pd.DataFrame:
    """One line per model and validation part, columns `COLUMNS`: accuracy, chosen epoch; then the spreads, in points.

    accuracy_std is over seeds; of a spread line, that of the parts' means, each over the same seeds.
    """
    scores = seed_scores(pooled(runs, data)).set_index("experiment")
    chosen = runs.assign(epoch=runs["epoch"].map(lambda epoch: epoch["best_validation"])).set_index("experiment")
    lines = []
    for model in dict.fromkeys(a.default for a in ROTATED):
        parts = {FIRST: model} | {a.says: a.experiment for a in ROTATED if a.default == model}
        parts = {says: name for says, name in parts.items() if name in scores.index}
        common = set.intersection(*(set(scores.loc[[name], "seed"]) for name in parts.values())) if parts else set()
        if len(parts) < 2 or not common:
            continue
        means = {}
        for says, name in parts.items():
            mine = scores.loc[[name]]
            values = mine.loc[mine["seed"].isin(common), "accuracy"]
            means[says] = values.mean()
            line = columns("accuracy", summary(values)) | {"n_seeds": len(values)}
            epochs = chosen.loc[[name]]
            line["epoch_mean"] = round(epochs.loc[epochs["seed"].isin(common), "epoch"].mean(), 1)
            lines.append(identity(data, data["labels"]) | {"model": model, "validation": says} | line)
        for says, kept in ((DRAWS, [m for s, m in means.items() if "draw" in s]), (SESSIONS, list(means.values()))):
            spread = {"accuracy_mean": percent(np.mean(kept)), "accuracy_std": percent(summary(kept).std)}
            lines.append(identity(data, data["labels"]) | {"model": model, "validation": says} | spread)
    return pd.DataFrame(lines, columns=COLUMNS)
