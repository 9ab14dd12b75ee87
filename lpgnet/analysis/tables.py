"""Finished runs -> the paper's seven tables, each printed number beside ours.

`runs` holds one line per finished run: experiment, seed, fold, labels, classes, confusion (selection
rule -> matrix), seconds, config.  `data` says what the corpus is (runs/data.json).  `reported` maps a
table's number to what the paper prints.  Fractions inside, percent in what comes out.

Reading R15: the headline is plain accuracy and weighted F1; every other convention stands at the end
of each line.
"""

from pathlib import Path

import pandas as pd

from lpgnet.analysis.metrics import METRICS
from lpgnet.analysis.rows import SIMULATOR, TABLES, Row
from lpgnet.analysis.typeset import write
from lpgnet.config import ROOT

HEADLINE = "best_validation"  # Reading R14: the only selection rule that feeds a table
REPORTED = ROOT / "paper_tables" / "reported"
POOLED = ["experiment", "seed", "labels", "classes", "confusion", "seconds", "config", "lacks"]
Reported = dict[int, pd.DataFrame]


def reported(folder: Path = REPORTED) -> Reported:
    """Number -> the paper's printed table, percent; empty where it prints a dash."""
    paths = {number: Path(folder) / f"table{number}.csv" for number in range(1, 8)}
    missing = [path.name for path in paths.values() if not path.exists()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}: want table1.csv to table7.csv")
    whole = {"citation": "Int64"}
    return {number: pd.read_csv(path, dtype=whole) for number, path in paths.items()}


def build_all(runs: pd.DataFrame, data: dict, out: Path) -> list[Path]:
    """Write every table as csv, md and tex under `out`; rows without a run stay, empty."""
    printed = reported()
    made = {number: build(number, runs, data, printed) for number in printed}
    return [path for number, frame in made.items() for path in write(frame, out, number)]


def build(
    number: int, runs: pd.DataFrame, data: dict, reported: Reported, class_metric: str = "recall"
) -> pd.DataFrame:
    """One table, the paper's rows in its order, then ours.

    class_metric: what the class columns of Table 7 are, "recall", "precision" or "f1".
    """
    if number == 1:
        return class_counts(data, reported[1])
    if number not in TABLES:
        raise ValueError(f"no table {number}; there are 1 to 7")
    printed = _printed_lines(number, reported[number])
    seeds = seed_scores(runs, data, class_metric)
    rows = TABLES[number].rows
    if number == 2:
        found = _oracle(data)
        seeds = pd.concat([seeds, found], ignore_index=True) if len(found) else seeds
        rows += (Row((SIMULATOR,), SIMULATOR, printed=False),) * len(found)
    metrics = _metrics(number, reported[number], data)
    lines = [_line(number, row, printed.get(row.key, {}), seeds, metrics, data) for row in rows]
    frame = pd.DataFrame(lines)
    whole = {"citation", "classes", "n_seeds", "hidden", "epochs"} & set(frame)
    return frame.astype(dict.fromkeys(whole, "Int64"))


def lacking(number: int, runs: pd.DataFrame, data: dict) -> list[str]:
    """What a table still waits for: experiments without a run, seeds without all their folds."""
    if number == 1:
        return []
    pool = pooled(runs, data)
    names = list(dict.fromkeys(row.experiment for row in TABLES[number].rows if row.experiment))
    absent = [f"{name}: no finished run" for name in names if name not in set(pool["experiment"])]
    part = pool[pool["lacks"].ne("") & pool["experiment"].isin(names)]
    return absent + [f"{r.experiment} seed {r.seed}: lacks {r.lacks}" for r in part.itertuples()]


def pooled(runs: pd.DataFrame, data: dict, rule: str = HEADLINE) -> pd.DataFrame:
    """One line per experiment and seed, the confusion matrices of its folds summed.

    `lacks` names the folds that a seed has not run yet ("" when it is whole); seconds are per run.
    """
    if runs.empty:
        return pd.DataFrame(columns=POOLED)
    double = runs[runs.duplicated(["experiment", "seed", "fold"])]
    if len(double):
        one = double.iloc[0]
        raise ValueError(f"two runs of {one.experiment} seed {one.seed} {one.fold}: want one")
    groups = runs.sort_values(["experiment", "seed", "fold"]).groupby(["experiment", "seed"])
    wanted = _folds(runs, data)
    return pd.DataFrame([_pool(*key, group, wanted, rule) for key, group in groups], columns=POOLED)


def seed_scores(runs: pd.DataFrame, data: dict, class_metric: str = "recall") -> pd.DataFrame:
    """Every metric in fractions, and one column per class, per experiment and whole seed."""
    pool = pooled(runs, data)
    whole = pool[pool["lacks"] == ""].drop(columns="lacks")
    return pd.DataFrame(
        [line | _scored(line["confusion"], line["classes"], class_metric) for line in records(whole)],
        columns=None if len(whole) else [*whole, *METRICS],
    )


def records(frame: pd.DataFrame) -> list[dict]:
    """A frame's lines as dicts."""
    return frame.to_dict("records")


def class_counts(data: dict, printed: pd.DataFrame) -> pd.DataFrame:
    """Table 1: utterances per class in the training and test part, ours beside the printed ones."""
    protocol = data["protocols"][data["labels"]]
    sessions = pd.DataFrame(protocol["counts"]).T.reindex(columns=protocol["classes"]).fillna(0)
    test = sessions.loc[_tested(data, data["labels"])].sum()
    mine = pd.DataFrame({"train_val": sessions.sum() - test, "test": test, "total": sessions.sum()}).T
    mine = mine.astype(int).assign(total=mine.sum(axis=1).astype(int))
    paper = printed.set_index("split").astype(int)
    classes = [*paper.columns[:-1], *(c for c in mine if c not in set(paper))]
    lines = []
    for part in paper.index:
        line = _identity(data, data["labels"]) | {"part": part, "source": "labels"}
        for name in [*classes, "total"]:
            ours, theirs = (f.at[part, name] if name in f else pd.NA for f in (mine, paper))
            delta = ours - theirs if len(protocol["classes"]) == paper.shape[1] - 1 else pd.NA
            line |= {f"{name}_reported": theirs, f"{name}_ours": ours, f"{name}_delta": delta}
        sums = paper.drop(columns="total").sum(axis=1)
        lines.append(line | {"sum_of_printed": sums[part], "note": _misprints(paper, part)})
    frame = pd.DataFrame(lines)
    numbers = [c for c in frame if c.endswith(("_reported", "_ours", "_delta", "_printed"))]
    return frame.astype(dict.fromkeys(numbers, "Int64"))


def _misprints(paper: pd.DataFrame, part: str) -> str:
    """Where the printed numbers of one row of Table 1 do not add up, along or down."""
    across = paper.loc[part].drop("total").sum()
    notes = []
    if across != paper.at[part, "total"]:
        notes.append(f"printed classes add up to {across}, printed total {paper.at[part, 'total']}")
    if part == "total":
        down = paper.drop(index="total").sum()
        notes += [
            f"printed {name} column adds up to {down[name]}, printed total {paper.at[part, name]}"
            for name in paper.columns[down.ne(paper.loc["total"])]
        ]
    return "; ".join(notes)


def _identity(data: dict, labels: str) -> dict:
    return {"corpus": data["place"], "profile": data["profile"], "split": data["split"]} | {"labels": labels}


def _tested(data: dict, labels: str) -> list[str]:
    """The sessions that are tested: every one of them under leave-one-session-out."""
    protocol = data["protocols"][labels]
    if data["split"] == "loso":
        return list(protocol["counts"])
    return [str(session) for session in protocol["test_sessions"]]
