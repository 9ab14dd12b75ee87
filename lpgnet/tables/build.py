"""Finished runs -> the paper's seven tables, each printed number beside ours.

The runs of an `Evaluation` are one line each: experiment, seed, fold, labels, classes, confusion (selection
rule -> matrix), parameters, config.  Its data say what the corpus is (runs/data.json).  `reported` maps a
table's number to what the paper prints.  Fractions inside, percent in what comes out.

Reading R15: the headline is plain accuracy and weighted F1; every other convention stands at the end
of each line.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from lpgnet.config import ROOT
from lpgnet.experiments import TABLED
from lpgnet.labels import meant
from lpgnet.runs.metrics import METRICS
from lpgnet.runs.plan import FROZEN_HERE, possible
from lpgnet.tables.rows import SIMULATOR, TABLES, Row
from lpgnet.tables.scores import POOLED, Evaluation, identity, scored_line, tested
from lpgnet.tables.statistics import columns, summary
from lpgnet.tables.table1 import class_counts
from lpgnet.tables.typeset import write

REPORTED = ROOT / "paper_tables" / "reported"
IDENTIFYING = ("model", "citation", "group", "upstream", "downstream", "upstream_audio", "upstream_text")
WHOLE = ("citation", "classes", "n_seeds", "hidden", "epochs", "parameters")  # whole, and empty in some rows


def reported(folder: Path = REPORTED) -> dict[int, pd.DataFrame]:
    """Number -> the paper's printed table, percent; empty where it prints a dash."""
    paths = {number: Path(folder) / f"table{number}.csv" for number in range(1, 8)}
    missing = [path.name for path in paths.values() if not path.exists()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}: want table1 to table7")
    return {n: pd.read_csv(path, dtype={"citation": "Int64"}) for n, path in paths.items()}


def build_all(found: Evaluation) -> dict[int, pd.DataFrame]:
    """Every table by its number; rows without a run stay, empty."""
    printed = reported()
    return {number: build(number, found, printed) for number in printed}


def write_all(tables: dict[int, pd.DataFrame], out: Path) -> list[Path]:
    """Write every table as csv, md and tex under `out`."""
    return [path for number, frame in tables.items() for path in write(frame, out, number)]


def build(number: int, found: Evaluation, reported: dict[int, pd.DataFrame]) -> pd.DataFrame:
    """One table: the paper's rows in its order, then ours."""
    if number not in reported:
        raise ValueError(f"no table {number}; there are {', '.join(map(str, reported))}")
    data, printed = found.data, reported[number]
    if number == 1:
        return class_counts(data, printed)
    (rows, refused), seeds = _rows(number, data), found.seeds
    oracle = _oracle(data) if number == 2 else None
    if oracle is not None:
        rows += (Row((SIMULATOR,), SIMULATOR, printed=False),)
        seeds = pd.concat([seeds, oracle], ignore_index=True) if len(seeds) else oracle
    paper, metrics = _printed(number, printed), _metrics(number, printed, data)
    lines = [_line(number, row, paper.get(row.key, {}), seeds, metrics, data) for row in rows]
    notes = [refused.get(row.experiment) or _left_out(found.pool, row.experiment) for row in rows]
    frame = pd.DataFrame(lines).assign(note=notes)
    return frame.astype({name: "Int64" for name in WHOLE if name in frame})


def lacking(number: int, found: Evaluation) -> list[str]:
    """What a table still waits for: experiments without a run, seeds without all their folds."""
    pool, (rows, refused) = found.pool, _rows(number, found.data)
    names = [row.experiment for row in rows if row.experiment]
    have = set(pool["experiment"])
    absent = [f"{name}: {refused.get(name, 'no finished run')}" for name in names if name not in have]
    part = pool[pool["lacks"].ne("") & pool["experiment"].isin(names)]
    return absent + [f"{r.experiment} seed {r.seed}: lacks {r.lacks}" for r in part.itertuples()]


def _rows(number: int, data: dict) -> tuple[tuple[Row, ...], dict[str, str]]:
    """The rows of a table, and why some can't be run on this corpus; Table 1 needs no run.

    Where the text encoder is frozen already, the rows that show it frozen would repeat others: left out.
    """
    rows = TABLES[number].rows if number in TABLES else ()
    _, refused = possible(data, list(dict.fromkeys(row.experiment for row in rows if row.experiment)))
    kept = tuple(row for row in rows if refused.get(row.experiment) != FROZEN_HERE)
    return kept, {name: f"not run: {why}" for name, why in refused.items()}


def _oracle(data: dict) -> pd.DataFrame | None:
    """The best reachable predictor of a corpus that knows how it was made, as one scored line."""
    protocol = data["protocols"][data["labels"]]
    known = protocol.get("oracle") or {}
    matrices = [np.asarray(known[s]) for s in tested(data, data["labels"]) if s in known]
    if not matrices:
        return None
    line = dict.fromkeys(POOLED) | {"experiment": SIMULATOR, "labels": data["labels"]}
    line |= {"classes": tuple(protocol["classes"]), "confusion": np.sum(matrices, axis=0)}
    return pd.DataFrame([scored_line(line)])


def _printed(number: int, paper: pd.DataFrame) -> dict[tuple, dict]:
    """Row key -> the paper's line; stops where the two do not name the same rows in order."""
    key = list(TABLES[number].key)
    lines = {tuple(line[name] for name in key): line for line in paper.to_dict("records")}
    rows = [row.key for row in TABLES[number].rows if row.printed]
    if list(lines) != rows:
        raise LookupError(f"table{number}.csv has rows {list(lines)}: want {rows}")
    return lines


def _metrics(number: int, paper: pd.DataFrame, data: dict) -> dict[str, str]:
    """Column -> score; Table 7 has one per class before its own, the paper's classes first."""
    table = TABLES[number]
    if number != 7:
        return table.metrics
    names = [name for name in paper if name not in {*table.key, *table.metrics}]
    names += [name for protocol in data["protocols"].values() for name in protocol["classes"]]
    return {name: name for name in dict.fromkeys(names)} | table.metrics


def _line(number: int, row: Row, paper: dict, seeds: pd.DataFrame, metrics: dict[str, str], data: dict) -> dict:
    """One line of the output, in the order of its columns; metrics that are no headline of the table at its end."""
    mine = seeds[seeds["experiment"] == row.experiment]
    same = len(mine) > 0 and len(mine["classes"].iloc[0]) == _width(number, row)
    others = [name for name in METRICS if name not in metrics.values()]
    return (
        _who(number, row, paper, mine, data)
        | _headline(metrics, mine, paper, comparable=same)
        | _cost(row, mine)
        | {key: x for name in others for key, x in columns(name, summary(mine[name])).items()}
    )


def _who(number: int, row: Row, paper: dict, mine: pd.DataFrame, data: dict) -> dict:
    """The identifying columns: the corpus and its kind of run, the paper's own, source, experiment."""
    labels = mine["labels"].iloc[0] if len(mine) else _expected_labels(_width(number, row), data)
    printed = {name: value for name, value in paper.items() if name in IDENTIFYING}
    own = dict(zip(TABLES[number].key, row.key, strict=True))
    source = {None: "reported", SIMULATOR: "simulator"}.get(row.experiment, "run")
    encoders = {
        f"encoder_{m}": _encoder(data, m, mine) if source == "run" else None
        for m in TABLES[number].shows
        if m in data["features"]
    }
    experiment = row.experiment if source == "run" else None
    who = identity(data, labels) | printed | own
    return who | {"source": source, "experiment": experiment} | encoders


def _encoder(data: dict, modality: str, mine: pd.DataFrame) -> str:
    """What a row's features are from, and whether its text encoder was fitted to each fold (R18)."""
    name = data["features"][modality]["encoder"]
    read = mine["config"].iloc[0]["data"]["text"] if len(mine) else data["text"]
    return f"{name}, fine-tuned per fold" if (modality, read) == ("text", "finetuned") else name


def _width(number: int, row: Row) -> int:
    """How many classes the paper's row has."""
    return row.key[1] if number == 7 else 4


def _expected_labels(width: int, data: dict) -> str:
    """The protocol of a row that nobody has run: the place's own if it has that many classes."""
    fed = {meant(run.data.labels, data["labels"], data["protocols"]) for run in TABLED.values()}
    names = [data["labels"], *sorted(fed & data["protocols"].keys())]
    fitting = [name for name in names if len(data["protocols"][name]["classes"]) == width]
    return (fitting or names)[0]


def _headline(metrics: dict[str, str], mine: pd.DataFrame, paper: dict, comparable: bool) -> dict:
    """Per metric: the printed number, mean, std and 95 % interval over seeds, and mean minus printed."""
    cells = {}
    for name, score in metrics.items():
        values = mine[score].dropna() if score in mine else []  # NaN: not a class of these labels
        found, printed = summary(values), paper.get(name, np.nan)
        cells[f"{name}_reported"] = printed
        if f"{name}_std" in paper:
            cells[f"{name}_reported_std"] = paper[f"{name}_std"]
        cells |= columns(name, found, ("mean", "std", "ci_low", "ci_high"))
        delta = cells[f"{name}_mean"] - printed if comparable else np.nan
        cells[f"{name}_delta"] = round(delta, 2) + 0.0
    return cells


def _cost(row: Row, mine: pd.DataFrame) -> dict:
    """How many seeds stand behind a line, and the size of its model and training."""
    config = mine["config"].iloc[0] if len(mine) else None
    return {
        "n_seeds": pd.NA if row.experiment in (None, SIMULATOR) else len(mine),
        "hidden": config["model"].get("hidden", pd.NA) if config else pd.NA,
        "epochs": config["train"]["epochs"] if config else pd.NA,
        "parameters": mine["parameters"].iloc[0] if config else pd.NA,
    }


def _left_out(pool: pd.DataFrame, experiment: str | None) -> str:
    """The seeds that a line leaves out, and why."""
    part = pool[pool["experiment"].eq(experiment) & pool["lacks"].ne("")]
    return "; ".join(f"seed {line.seed} left out: lacks {line.lacks}" for line in part.itertuples())
