"""Table 1: utterances per class, ours beside the printed ones; and which corpus a table's line is from."""

import pandas as pd

from lpgnet.tables.scores import identity, tested


def class_counts(data: dict, printed: pd.DataFrame) -> pd.DataFrame:
    """Table 1 with, per class, printed, ours and the difference, and where the print does not add up.

    Where every session is a fold, the parts are those of the last fold, which is the paper's.
    """
    protocol = data["protocols"][data["labels"]]
    fold = tested(data, data["labels"])[-1]
    ours = _counted(protocol, fold)
    paper = printed.set_index("split").astype(int)
    classes = [name for name in paper if name != "total"]
    comparable = set(classes) == set(protocol["classes"])
    names = [*classes, *(c for c in protocol["classes"] if c not in classes), "total"]
    lines = []
    for part in paper.index:
        line = identity(data, data["labels"]) | {"part": part, "source": "labels", "test_session": fold}
        for name in names:
            theirs, mine = (f.at[part, name] if name in f else pd.NA for f in (paper, ours))
            line[f"{name}_reported"], line[f"{name}_ours"] = theirs, mine
            line[f"{name}_delta"] = mine - theirs if comparable else pd.NA
        line["sum_of_printed"] = paper.loc[part, classes].sum()
        lines.append(line | {"note": misprints(paper, part)})
    frame = pd.DataFrame(lines)
    numbers = [c for c in frame if c.endswith(("_reported", "_ours", "_delta", "_printed"))]
    return frame.astype(dict.fromkeys(numbers, "Int64"))


def _counted(protocol: dict, fold: str) -> pd.DataFrame:
    """Utterances per part and class, with totals; `fold` is the group that is tested."""
    sessions = pd.DataFrame.from_dict(protocol["counts"], orient="index")
    sessions = sessions.reindex(columns=protocol["classes"]).fillna(0).astype(int)
    test, total = sessions.loc[fold], sessions.sum()
    counted = pd.DataFrame({"train_val": total - test, "test": test, "total": total}).T
    return counted.assign(total=counted.sum(axis=1))


def misprints(paper: pd.DataFrame, part: str) -> str:
    """Where the printed numbers of a row do not add up: along it, and down to it if it is the total."""
    notes = []
    across, total = paper.loc[part].drop("total").sum(), paper.at[part, "total"]
    if across != total:
        notes.append(f"printed classes add up to {across}, printed total is {total}")
    if part == "total":
        down = paper.drop(index="total").sum()
        notes += [
            f"printed {name} column adds up to {down[name]}, printed total is {paper.at[part, name]}"
            for name in paper
            if down[name] != paper.at[part, name]
        ]
    return "; ".join(notes)
