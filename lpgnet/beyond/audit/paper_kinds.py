"""How a claim of the paper is held against its tables: the rounding it is given, and the kinds that recur.

Rounding.  A printed number stands for every value that rounds to it: 87.99 for 87.985 to 87.995, a count for
itself.  What follows from printed numbers is as uncertain as they allow together, and a statement holds where
some choice within all of these makes it true: a stated difference of two numbers with two decimals holds to
0.015.  (Zeros at the end of a number are lost in a CSV: 74.20 counts as 74.2, which only widens.)
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

HOLDS, FAILS, OPEN = VERDICTS = ("holds", "does not hold", "can't be decided")
ROUNDING = " ".join(__doc__.partition("Rounding.  ")[2].split())  # the rule above, for a reader
KEYS = {  # table -> the columns that name a row
    1: ["split"],
    2: ["model"],
    3: ["variant"],
    4: ["downstream"],
    5: ["downstream"],
    6: ["lambda_task", "lambda_ce", "lambda_kl"],
    7: ["model", "classes"],
}
ACC, F1 = "accuracy", "f1"
Tables = dict[int, pd.DataFrame]
BINARY = 1e-9  # what decimal fractions lose in binary ones


@dataclass(frozen=True)
class Cell:
    """One printed number, by table, row and column."""

    table: int
    row: tuple
    column: str = ACC

    def of(self, tables: Tables) -> float:
        frame = tables[self.table]
        found = frame[(frame[KEYS[self.table]] == list(self.row)).all(axis=1)]
        if len(found) != 1:
            raise LookupError(f"table{self.table}.csv has {len(found)} rows {self.row}: want one")
        return found[self.column].iloc[0]


def three(row: str, column: str = ACC) -> Cell:
    return Cell(3, (row,), column)


def seven(model: str, classes: int, column: str = "overall") -> Cell:
    return Cell(7, (model, classes), column)


FULL, FULL_F1 = (Cell(2, ("LPGNet (Utterance)",), column) for column in (ACC, F1))
FRAME, FRAME_F1 = (Cell(2, ("LPGNet (Frame)",), column) for column in (ACC, F1))
CFIA = Cell(2, ("CFIA",))


@dataclass(frozen=True)
class Found:
    """What the paper states, what the tables say of it, and a note that shows the arithmetic."""

    printed: str
    recomputed: str
    verdict: str
    note: str


def half_unit(number: float) -> float:
    """How far a printed number may be from what was rounded to it; nothing for a count."""
    if isinstance(number, int | np.integer):
        return 0.0
    return 0.5 * 10.0 ** -len(repr(float(number)).partition(".")[2])


def slack(compute: Callable[..., float], numbers: list[float]) -> float:
    """How far `compute(*numbers)` may be from its value before rounding."""
    room = 0.0
    for i, number in enumerate(numbers):
        ends = (number - half_unit(number), number + half_unit(number))
        low, high = (compute(*numbers[:i], end, *numbers[i + 1 :]) for end in ends)
        room += abs(high - low) / 2
    return room


def agrees(stated: float, compute: Callable[..., float], numbers: list[float]) -> bool:
    """Whether a stated number follows from printed ones, all of them rounded."""
    room = half_unit(stated) + slack(compute, numbers)
    return bool(abs(stated - compute(*numbers)) <= room + BINARY)


def attainable(percent: float, total: int) -> bool:
    """Whether a printed percentage is a whole number of `total` utterances, rounded."""
    low, high = ((percent + sign * half_unit(percent)) / 100 * total for sign in (-1, 1))
    return bool(np.ceil(low - BINARY) <= np.floor(high + BINARY))


def verdict(true: bool) -> str:
    return HOLDS if true else FAILS


def show(number: float) -> str:
    """As a table prints it: a count whole, anything else with two decimals."""
    return str(number) if half_unit(number) == 0 else f"{number:.2f}"


def minus(a: float, b: float) -> float:
    return a - b


def gap(a: float, b: float) -> str:
    return f"{a:.2f} - {b:.2f} = {a - b:.2f}"


def test_size(tables: Tables) -> int:
    return int(Cell(1, ("test",), "total").of(tables))


# The kinds of claim


def restated(tables: Tables, stated: float, cell: Cell) -> Found:
    """The text repeats a number of a table."""
    found = cell.of(tables)
    note = f"Table {cell.table}, {cell.row[0]}, {cell.column}: {show(found)}."
    return Found(show(stated), show(found), verdict(found == stated), note)


def difference(
    tables: Tables, stated: float, above: Cell, below: Cell, instead: tuple[str, Cell, Cell] | None = None
) -> Found:
    """The text states how far one cell is above another, in points.  instead: what else it may have meant."""
    numbers = [above.of(tables), below.of(tables)]
    true = agrees(stated, minus, numbers)
    note = f"{gap(*numbers)} points of {above.column}; stated {stated:.2f}."
    if instead and not true:
        name, a, b = instead
        note += f" {name}: {gap(a.of(tables), b.of(tables))}."
    return Found(f"{stated:.2f}", f"{minus(*numbers):.2f}", verdict(true), note)


def equal(tables: Tables, *cells: Cell) -> Found:
    """Several tables print one model's number: it should be the same."""
    numbers = [float(cell.of(tables)) for cell in cells]
    note = ", ".join(f"Table {c.table} {show(n)}" for c, n in zip(cells, numbers, strict=True)) + "."
    apart, total = max(numbers) - min(numbers), test_size(tables)
    if apart:
        note += f" They differ by {apart:.2f} points, {apart / 100 * total:.0f} of {total} utterances."
    return Found("one number", " / ".join(dict.fromkeys(map(show, numbers))), verdict(apart == 0), note)


def best(tables: Tables, mine: Cell, among: Callable[[Tables], dict], adds: str = "") -> Found:
    """A cell is above every other one that it is compared with.  among: gives name -> number, its own not."""
    number, others = mine.of(tables), among(tables)
    top = max(others, key=others.get)
    lead = f"{number - others[top]:+.2f}"
    note = f"{show(number)} against at most {show(others[top])} ({top}): {lead} points. {adds}"
    return Found("above the others", lead, verdict(number > others[top]), note.strip())


def rows(table: int, without: tuple[str, ...] = (), **where: str) -> Callable[[Tables], dict]:
    """Name -> accuracy of a table's rows, for `best`; empty cells are left out."""

    def listed(tables: Tables) -> dict[str, float]:
        frame = tables[table].dropna(subset=ACC)
        for name, value in where.items():
            frame = frame[frame[name] == value]
        found = dict(zip(frame[KEYS[table][0]], frame[ACC], strict=True))
        return {name: value for name, value in found.items() if name not in without}

    return listed


def over(tables: Tables, floor: float, *cells: Cell) -> Found:
    """Numbers are above a round one, wherever they are printed."""
    numbers = [cell.of(tables) for cell in cells]
    said = [f"Table {c.table} {c.column} {show(n)}" for c, n in zip(cells, numbers, strict=True)]
    least = min(numbers)
    return Found(f"> {floor:.0f}", f"{least:.2f} at least", verdict(least > floor), f"{', '.join(said)}.")


def relative(tables: Tables, floor: float, above: Cell, below: Cell) -> Found:
    """More than so many percent, which could be points."""
    a, b = above.of(tables), below.of(tables)
    gain = 100 * (a - b) / b
    note = f"Relative: ({a:.2f} - {b:.2f}) / {b:.2f} = {gain:.2f} %. In points: {gap(a, b)}."
    if min(gain, a - b) > floor:
        note += " True of both; the number looks like points that were called relative."
    return Found(f"> {floor:.0f} %", f"{gain:.2f} %", verdict(gain > floor), note)


def unprinted(tables: Tables, printed: str, words: tuple[str, ...], note: str) -> Found:
    """Nothing in the tables bears on it.  words: what a column's name would hold if one did."""
    named = [f"Table {n}, {c}" for n, t in tables.items() for c in t if any(w in c for w in words)]
    if named:
        return Found(printed, ", ".join(named), OPEN, f"To be read by hand: {', '.join(named)}. {note}")
    return Found(printed, "nothing printed", OPEN, f"No column of Tables 1 to 7 holds it. {note}")
