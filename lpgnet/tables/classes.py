"""Two models class by class, and which errors six classes bring that four don't know.

Of four classes excited counts as happy, and nobody is frustrated.
"""

import numpy as np
import pandas as pd

from lpgnet.labels import FOUR, SIX
from lpgnet.tables.statistics import paired_seeds, summary

AS_FOUR = {SIX[code]: FOUR.get(code) for code in SIX}  # excited -> happy, frustrated -> None
BOTH_HAPPY, FRUSTRATED = "happy and excited mixed up (one class of four)", "frustrated, said or meant (none of four)"
OLD = "possible with four classes too"


def kind(meant: str, said: str) -> str:
    """What sort of error it is to take one class of six for another."""
    if AS_FOUR[meant] is None or AS_FOUR[said] is None:
        return FRUSTRATED
    return BOTH_HAPPY if AS_FOUR[meant] == AS_FOUR[said] else OLD


def is_new(meant: str, said: str) -> bool:
    """Whether four classes don't know this error; no error, and a class that isn't one of the six, are not new."""
    return meant != said and {meant, said} <= AS_FOUR.keys() and kind(meant, said) != OLD


def by_kind(pool: pd.DataFrame) -> pd.DataFrame:
    """Errors by kind: how many a seed, their share of all errors in percent, with the 95 % interval over seeds.

    pool: whole seeds of one experiment on six classes, as `scores.pooled` gives them.
    """
    classes = pool["classes"].iloc[0]
    counts = np.stack(list(pool["confusion"])).astype(float)  # (S, C, C)
    lines = []
    for name in (BOTH_HAPPY, FRUSTRATED, OLD):
        cells = np.array([[a != b and kind(a, b) == name for b in classes] for a in classes])
        errors = counts[:, cells].sum(1)
        share = summary(100 * errors / np.maximum(counts[:, ~np.eye(len(classes), dtype=bool)].sum(1), 1))
        line = {"experiment": pool["experiment"].iloc[0], "errors": name, "a seed": errors.mean()}
        lines.append(line | {"share": share.mean, "share_low": share.ci_low, "share_high": share.ci_high})
    return pd.DataFrame(lines).round(1)


def class_differences(seeds: pd.DataFrame, a: str, b: str) -> pd.DataFrame:
    """Recall by class in percent, a minus b in points, and its 95 % interval over the seeds that both have.

    seeds: of `scores.seed_scores`.  No line where either has not been run.
    """
    one, two = (seeds[seeds["experiment"] == name].set_index("seed") for name in (a, b))
    both, lines = one.index.intersection(two.index), []
    for name in one["classes"].iloc[0] if len(both) else ():
        mine, other = (100 * part.loc[both, name].astype(float) for part in (one, two))
        found = paired_seeds(mine, other)
        low, high = np.clip([found.ci_low, found.ci_high], -100, 100)
        line = {"class": name, a: mine.mean(), b: other.mean(), "difference": found.difference}
        lines.append(line | {"ci_low": low, "ci_high": high})
    return pd.DataFrame(lines).round(1)
