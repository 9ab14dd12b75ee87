"""The selection gap: what a score owes to the epoch being chosen on the test set (Reading R14).

Every run scores three epochs: the last, the best on validation (the only one that feeds a table) and the one
best by test weighted F1, which nobody could have known.
"""

import pandas as pd

from lpgnet.tables.scores import HEADLINE, SHOWN, Evaluation, identity, pooled, seed_scores
from lpgnet.tables.statistics import columns, summary

RULES = ("last", "best_validation", "best_test")
GAPS = {"gap_validation": "best_validation", "gap_last": "last"}  # best_test minus these


def selection_gap(found: Evaluation) -> pd.DataFrame:
    """One line per experiment and metric, percent, seeds pooled over their folds.

    The score by each rule (mean, std over seeds), then best_test minus best_validation (`gap_validation`) and
    minus last (`gap_last`), seed by seed: mean, std and 95 % t interval.
    """
    by_rule = {
        rule: found.seeds if rule == HEADLINE else seed_scores(pooled(found.runs, found.data, rule)) for rule in RULES
    }
    index = ["labels", "experiment", "seed"]
    by_rule = {rule: frame.set_index(index).sort_index() for rule, frame in by_rule.items()}
    keys = by_rule["last"].index.droplevel("seed").unique()
    return pd.DataFrame(_line(found.data, key, metric, by_rule) for key in keys for metric in SHOWN)


def _line(data: dict, key: tuple[str, str], metric: str, by_rule: dict[str, pd.DataFrame]) -> dict:
    score = {rule: frame.loc[key, metric].astype(float) for rule, frame in by_rule.items()}
    line = identity(data, key[0]) | {"experiment": key[1], "metric": metric, "n_seeds": len(score["last"])}
    for rule in RULES:
        line |= columns(rule, summary(score[rule]))
    for name, rule in GAPS.items():
        line |= columns(name, summary(score["best_test"] - score[rule]), ("mean", "std", "ci_low", "ci_high"))
    return line
