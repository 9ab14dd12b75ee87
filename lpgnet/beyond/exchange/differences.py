"""Two label sets side by side: which utterances only one has, and which they label differently."""

from collections.abc import Sequence

import pandas as pd

COLUMNS = ["id", "label_a", "label_b"]
WIDTH = 11


def frame(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """The utterances that differ, by id: columns id, label_a, label_b, with "" where a set lacks one.

    a, b: columns id and label; an empty or missing label counts as none.
    """
    first, second = _labels(a, "first"), _labels(b, "second")
    both = pd.DataFrame({"label_a": first, "label_b": second}).fillna("").rename_axis("id").reset_index()
    return both[both["label_a"] != both["label_b"]].sort_values("id")[COLUMNS].reset_index(drop=True)


def compare(a: pd.DataFrame, b: pd.DataFrame, names: tuple[str, str], classes: Sequence[str]) -> str:
    """Counts, agreement, a cross table, and every utterance that differs, as text.

    a, b: manifests, columns id, dialogue, session, label.  classes: their order; others follow by name.
    """
    first, second = _labels(a, names[0]), _labels(b, names[1])
    a, b = (held[held["id"].isin(labels.index)] for held, labels in ((a, first), (b, second)))
    differ = frame(a, b)
    found = set(first) | set(second)
    order = [c for c in classes if c in found] + sorted(found - set(classes))
    shared = first.index.intersection(second.index)
    same = int((first[shared] == second[shared]).sum())
    share = f" ({100 * same / len(shared):.2f} %)" if len(shared) else ""
    lines = [
        f"{names[0]}: {len(first)} labelled utterances in {a['dialogue'].nunique()} dialogues",
        f"{names[1]}: {len(second)} labelled utterances in {b['dialogue'].nunique()} dialogues",
        f"In both: {len(shared)}, of which {same} have the same label{share}.",
        "",
        f"Utterances per class, {names[0]} / {names[1]}, by session",
        *_counts(a, b, order),
        "",
        f"Labels of the utterances in both: rows {names[0]}, columns {names[1]}",
        *_cross(first[shared], second[shared], order),
    ]
    only_a, only_b = differ[differ["label_b"] == ""], differ[differ["label_a"] == ""]
    changed = differ[(differ["label_a"] != "") & (differ["label_b"] != "")]
    lines += _list(f"Only in {names[0]}", only_a, ["label_a"])
    lines += _list(f"Only in {names[1]}", only_b, ["label_b"])
    lines += _list(f"Labelled otherwise ({names[0]}, {names[1]})", changed, ["label_a", "label_b"])
    return "\n".join(lines) + "\n"


def _labels(manifest: pd.DataFrame, name: str) -> pd.Series:
    """id -> label of the utterances that have one."""
    labels = manifest.set_index("id")["label"].astype(object)
    if labels.index.has_duplicates:
        raise ValueError(f"{name} has the utterance {labels.index[labels.index.duplicated()][0]!r} twice")
    return labels[labels.notna() & (labels != "")].astype(str)


def _counts(a: pd.DataFrame, b: pd.DataFrame, classes: list[str]) -> list[str]:
    tables = [pd.crosstab(m["label"], m["session"]) for m in (a, b)]
    sessions = sorted(set(tables[0].columns) | set(tables[1].columns))
    counts = [t.reindex(index=classes, columns=sessions, fill_value=0) for t in tables]
    counts = [t.assign(all=t.sum(axis=1)) for t in counts]
    lines = [_row("", [*(f"S{s}" if s else "none" for s in sessions), "all"])]
    for name in classes:
        lines.append(_row(name, [f"{x} / {y}" for x, y in zip(*(t.loc[name] for t in counts), strict=True)]))
    totals = [t.sum() for t in counts]
    return [*lines, _row("all", [f"{x} / {y}" for x, y in zip(*totals, strict=True)])]


def _cross(a: pd.Series, b: pd.Series, classes: list[str]) -> list[str]:
    if not len(a):
        return ["(none)"]
    table = pd.crosstab(a.to_numpy(), b.to_numpy()).reindex(index=classes, columns=classes, fill_value=0)
    return [_row("", classes), *(_row(name, table.loc[name]) for name in classes)]


def _row(name: str, cells: Sequence) -> str:
    return f"{name:<{WIDTH}}" + "".join(f" {cell!s:>{WIDTH}}" for cell in cells)


def _list(title: str, rows: pd.DataFrame, columns: list[str]) -> list[str]:
    said = [f"  {row['id']}  {' -> '.join(row[c] for c in columns)}" for _, row in rows.iterrows()]
    return ["", f"{title}: {len(rows)}", *said]
