"""Records -> scores: the folds of a seed as one, every metric, and every test utterance's prediction."""

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd

from lpgnet.runs.metrics import METRICS, per_class, scores
from lpgnet.tables.statistics import columns, dialogue_counts, summary

SHOWN = ("accuracy", "weighted_f1")
HEADLINE = "best_validation"  # Reading R14: the only selection rule that feeds a table
CLASS_METRIC = "recall"  # Reading R26: what the class columns hold; "f1" is the alternative
POOLED = ["experiment", "seed", "labels", "classes", "confusion", "parameters", "config", "lacks"]
PREDICTED = ("predicted", "predicted_last", "predicted_crf")  # columns: those of `Predictions`, in its order
ROWS = ["id", "dialogue", "order", "speaker", "scripted", "start", "end", "label"]


def identity(data: dict, labels: str) -> dict:
    """The columns that every line of every table starts with."""
    return {"corpus": data["place"], "profile": data["profile"], "split": data["split"], "labels": labels}


def tested(data: dict, labels: str) -> list[str]:
    """The groups (sessions, or the official test part) that are tested, one fold each."""
    return list(data["protocols"][labels]["folds"].values())


def pooled(runs: pd.DataFrame, data: dict, rule: str = HEADLINE) -> pd.DataFrame:
    """One line per experiment and seed, the confusion matrices of its folds summed.

    `lacks` names the folds that a seed has not run yet ("" when it is whole).
    """
    if runs.empty:
        return pd.DataFrame(columns=POOLED)
    double = runs[runs.duplicated(["experiment", "seed", "fold"])]
    if len(double):
        one = double.iloc[0]
        raise ValueError(f"two runs of {one.experiment}, seed {one.seed}, {one.fold}: want one")
    folds = list(data["protocols"][data["labels"]]["folds"])
    ordered = runs.sort_values(["experiment", "seed", "fold"])[[*POOLED[:-1], "fold"]].to_dict("records")
    groups = groupby(ordered, key=lambda line: (line["experiment"], line["seed"]))
    return pd.DataFrame([_pool(list(group), folds, rule) for _, group in groups])[POOLED]


def _pool(group: list[dict], folds: list[str], rule: str) -> dict:
    """The folds of one seed as one line."""
    first, have = group[0], {line["fold"] for line in group}
    labels = {(line["labels"], tuple(line["classes"])) for line in group}
    without = [line["fold"] for line in group if rule not in line["confusion"]]
    if len(labels) > 1 or without:
        problem = f"no {rule!r} confusion in {without}" if without else f"labels {sorted(labels)}"
        raise ValueError(f"{first['experiment']}, seed {first['seed']}: {problem}; want one set, all folds")
    return first | {
        "classes": tuple(first["classes"]),
        "confusion": np.sum([np.asarray(line["confusion"][rule]) for line in group], axis=0),
        "lacks": ", ".join(sorted(set(folds) - have)),
    }


def seed_scores(pool: pd.DataFrame) -> pd.DataFrame:
    """Per experiment and whole seed of `pooled`: every metric, and one column per class, in fractions."""
    whole = pool[pool["lacks"] == ""]
    lines = [scored_line(line) for line in whole.to_dict("records")]
    return pd.DataFrame(lines) if lines else pd.DataFrame(columns=[*POOLED, *METRICS])


def scored_line(line: dict) -> dict:
    classes = dict(zip(line["classes"], per_class(line["confusion"])[CLASS_METRIC], strict=True))
    return line | scores(line["confusion"]) | classes


def fold_scores(runs: pd.DataFrame, data: dict) -> pd.DataFrame:
    """One line per experiment and fold, mean and standard deviation over seeds in percent; then one over
    every fold and seed together, whose deviation holds both."""
    lines = []
    for (experiment, labels), mine in runs.groupby(["experiment", "labels"], sort=True):
        each = pd.DataFrame([scores(confusion[HEADLINE]) for confusion in mine["confusion"]])
        each["fold"] = mine["fold"].to_numpy()
        for fold, part in [*each.groupby("fold"), ("all folds and seeds", each)]:
            line = identity(data, labels) | {"experiment": experiment, "fold": fold, "n_runs": len(part)}
            for name in SHOWN:
                line |= columns(name, summary(part[name]))
            lines.append(line)
    return pd.DataFrame(lines)


@dataclass(frozen=True)
class Predictions:
    """The test utterances of one label set, all folds, and what each whole seed took them for.

    rows: one line per utterance, columns `ROWS` and fold, N in all.
    predicted: experiment -> seed -> (N,) class numbers.  last: the same at the last epoch; decoded: by the CRF
    over an experiment's outputs, where it has one.  probabilities: (N, C) instead.
    """

    labels: str
    classes: tuple[str, ...]
    validation: str
    rows: pd.DataFrame
    predicted: dict[str, dict[int, np.ndarray]]
    last: dict[str, dict[int, np.ndarray]]
    decoded: dict[str, dict[int, np.ndarray]]
    probabilities: dict[str, dict[int, np.ndarray]]

    @cached_property
    def gold(self) -> np.ndarray:
        """(N,) class numbers."""
        return pd.Index(self.classes).get_indexer(self.rows["label"])

    def counts(self, seeds: dict[int, np.ndarray]) -> np.ndarray:
        """(S, D, C, C) confusion matrices by seed and dialogue, dialogues in sorted order; of one experiment."""
        dialogue, _ = pd.factorize(self.rows["dialogue"], sort=True)
        stacked = np.stack(list(seeds.values()))
        return dialogue_counts(dialogue, self.gold, stacked, len(self.classes))


@dataclass(frozen=True)
class Evaluation:
    """What the runs of a place come to; each part is worked out once, when it is first asked for."""

    runs: pd.DataFrame
    data: dict

    @cached_property
    def pool(self) -> pd.DataFrame:
        return pooled(self.runs, self.data)

    @cached_property
    def seeds(self) -> pd.DataFrame:
        return seed_scores(self.pool)

    @cached_property
    def predictions(self) -> list[Predictions]:
        """Those of whole seeds, by label set."""
        whole = self.pool.loc[self.pool["lacks"] == "", ["experiment", "seed"]]
        if whole.empty:
            return []
        kept = self.runs.merge(whole, on=["experiment", "seed"]).sort_values(["experiment", "seed", "fold"])
        return [_label_set(name, mine) for name, mine in kept.groupby("labels", sort=True)]

    def whole(self, experiment: str) -> pd.DataFrame:
        """The lines of `pool` whose seeds have run every fold of an experiment."""
        return self.pool[self.pool["experiment"].eq(experiment) & self.pool["lacks"].eq("")]


def _label_set(name: str, runs: pd.DataFrame) -> Predictions:
    first, classes = runs.iloc[0], pd.Index(runs["classes"].iloc[0])
    rows = {
        line.fold: pd.read_parquet(_parquet(line.path), columns=ROWS)
        for line in runs.drop_duplicates("fold").itertuples()
    }
    kept: dict[str, dict[str, dict[int, list]]] = {what: {} for what in (*PREDICTED, "p")}
    for line in runs.itertuples():
        found = _in_order(_parquet(line.path), rows[line.fold])
        values = {column: classes.get_indexer(found[column]) for column in found.columns.intersection(PREDICTED)}
        values["p"] = found[[f"p_{name}" for name in classes]].to_numpy()
        for what, value in values.items():
            kept[what].setdefault(line.experiment, {}).setdefault(line.seed, []).append(value)
    joined = [
        {e: {s: np.concatenate(parts) for s, parts in seeds.items()} for e, seeds in by.items()} for by in kept.values()
    ]
    every = pd.concat([frame.assign(fold=fold) for fold, frame in sorted(rows.items())], ignore_index=True)
    validation = first["config"]["data"].get("validation", "tenth")
    return Predictions(name, tuple(classes), validation, every, *joined)


def _in_order(path: Path, base: pd.DataFrame) -> pd.DataFrame:
    """A run's predictions in the order of `base`: a run may read the turns in another."""
    found = pd.read_parquet(path)
    ordered = found.set_index("id").reindex(base["id"])
    if len(found) != len(base) or not (ordered["label"].to_numpy() == base["label"].to_numpy()).all():
        raise ValueError(f"{path} has other utterances than the runs beside it: run it again")
    return ordered


def _parquet(path: str) -> Path:
    return Path(path).with_suffix(".parquet")
