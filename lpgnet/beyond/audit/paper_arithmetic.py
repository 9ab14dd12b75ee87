"""Claims that take more than a subtraction: the sums of Table 1, one-vs-all, and the means of Table 7."""

import math
from collections.abc import Callable

import pandas as pd

from lpgnet.beyond.audit.paper_kinds import (
    FAILS,
    FULL,
    FULL_F1,
    HOLDS,
    OPEN,
    Cell,
    Found,
    Tables,
    agrees,
    attainable,
    half_unit,
    seven,
    slack,
    verdict,
)
from lpgnet.corpora.counts import official
from lpgnet.labels import SIX_CLASSES

# Table 1


def sums(tables: Tables, split: str) -> Found:
    """The classes of a row add up to its total."""
    numbers = {c: int(Cell(1, (split,), c).of(tables)) for c in tables[1].columns[1:]}
    total = numbers.pop("total")
    added = sum(numbers.values())
    note = f"{' + '.join(map(str, numbers.values()))} = {added}, printed total {total}."
    return Found("the row's total", str(added), verdict(added == total), note)


def columns(tables: Tables) -> Found:
    """Every column adds up to its last row."""
    printed = tables[1].set_index("split")
    parts, last = printed.drop(index="total"), printed.loc["total"]
    shown = [f"{c}: {' + '.join(map(str, parts[c]))} = {parts[c].sum()}" for c in printed]
    note = "; ".join(f"{text}, printed {last[c]}" for text, c in zip(shown, printed, strict=True))
    return Found("the last row", ", ".join(map(str, parts.sum())), verdict(parts.sum().equals(last)), f"{note}.")


def official_row(tables: Tables, split: str, sessions: str) -> Found:
    """A row of Table 1 against what the release's label files hold."""
    counts = official("majority-4", sessions)
    printed = {c: int(Cell(1, (split,), c).of(tables)) for c in counts}
    note = "; ".join(f"{c} {printed[c]} printed, {n} in the label files" for c, n in counts.items())
    note += f"; the files' sum is {sum(counts.values())}."
    return Found("the row's classes", "/".join(map(str, counts.values())), verdict(printed == counts), note)


# The metric, and Table 7's last column


def one_vs_all(tables: Tables, classes: int) -> Found:
    """What a one-vs-all accuracy would be as plain accuracy: 1 - C/2 (1 - one-vs-all), exactly."""
    overall = seven("LPGNet", classes).of(tables)
    printed = dict.fromkeys([FULL.of(tables), overall] if classes == 4 else [overall])
    note = "; ".join(
        f"{p:.2f} one-vs-all is 100 - {classes}/2 x (100 - {p:.2f}) = {_plain(p, classes):.2f} plain" for p in printed
    )
    line = tables[7].set_index(["model", "classes"]).loc[("LPGNet", classes)]
    each = line[_class_columns(line)].tolist()
    below, mean = _plain(overall, classes) < min(each), sum(each) / len(each)
    note += f". Class columns: the lowest is {min(each):.2f}, their mean {mean:.2f}."
    impossible = below and not agrees(overall, _mean_of([1] * len(each)), each)
    if impossible:
        note += " If they are recalls, the accuracy can't be below all of them; if they are the"
        note += " binary accuracies themselves, the overall would be their mean."
    found = f"{_plain(overall, classes):.2f} plain"
    return Found("average of one-vs-all accuracies", found, FAILS if impossible else OPEN, note)


def _plain(one_vs_all: float, classes: int) -> float:
    return 100 - classes / 2 * (100 - one_vs_all)


def _class_columns(line: pd.Series) -> list[str]:
    return [c for c in SIX_CLASSES if not math.isnan(line[c])]


def _mean_of(weights: list[int]) -> Callable[..., float]:
    def mean(*values: float) -> float:
        return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)

    return mean


def unweighted(classes: int, tables: Tables) -> dict[str, int]:
    return dict.fromkeys(SIX_CLASSES, 1)


def by_table_1(classes: int, tables: Tables) -> dict[str, int]:
    """Table 1's test row; for six classes, which it lacks, Session 5 of `majority-6`."""
    if classes == 6:
        return official("majority-6", "5")
    return {c: int(Cell(1, ("test",), c).of(tables)) for c in official("majority-4", "5")}


def by_release(classes: int, tables: Tables) -> dict[str, int]:
    """Session 5 of the release; six classes as the ERC literature has them."""
    return official("majority-4" if classes == 4 else "erc-6", "5")


def overall(tables: Tables, weigh: Callable[[int, Tables], dict[str, int]], adds: str) -> Found:
    """Table 7's last column is a mean of its class columns, in each of its four rows."""
    said, found, true = [], [], []
    for _, line in tables[7].iterrows():
        names = _class_columns(line)
        weights = [weigh(int(line["classes"]), tables)[c] for c in names]
        numbers, mean = line[names].tolist(), _mean_of(weights)
        true.append(agrees(line["overall"], mean, numbers))
        found.append(f"{mean(*numbers):.2f}")
        terms = " + ".join(f"{w} x {v:.2f}" for w, v in zip(weights, numbers, strict=True))
        room = slack(mean, numbers) + half_unit(line["overall"])
        said.append(
            f"{line['model']}, {line['classes']} classes: ({terms}) / {sum(weights)} = {found[-1]}, "
            f"printed {line['overall']:.2f}, room {room:.3f}"
        )
    return Found("the column Overall", ", ".join(found), verdict(all(true)), f"{'; '.join(said)}. {adds}")


def class_columns_are_f1(tables: Tables) -> Found:
    """If they are F1, their support-weighted mean is the weighted F1 that Table 2 prints."""
    support = by_table_1(4, tables)
    printed, mean = FULL_F1.of(tables), _mean_of(list(support.values()))
    numbers = [seven("LPGNet", 4, c).of(tables) for c in support]
    true = agrees(printed, mean, numbers)
    note = f"Weighted by {'/'.join(map(str, support.values()))} they give {mean(*numbers):.2f}; Table 2 "
    note += f"prints F1 {printed:.2f}, Table 7 none. "
    note += "They fit." if true else "So not of the run behind Table 2; of another run they may be."
    return Found("F1 of Table 2", f"{mean(*numbers):.2f}", HOLDS if true else OPEN, note)


def six_test_set(tables: Tables) -> Found:
    """Which six-class label set has the printed accuracies as whole counts."""
    numbers, said = tables[7].query("classes == 6").set_index("model")["overall"], []
    for name in ("majority-6", "erc-6"):
        total = sum(official(name, "5").values())
        fits = [f"{v:.2f} = {round(v * total / 100)}/{total}" for v in numbers if attainable(v, total)]
        said.append(f"{name} ({total}): {', '.join(fits) or 'neither'}")
    note = "The paper gives no six-class counts. Whole numbers of Session 5's utterances are, by label set, "
    note += f"{'; '.join(said)}. So our six classes are erc-6 where its ids exist (Reading R25)."
    return Found("not stated", "; ".join(said), OPEN, note)
