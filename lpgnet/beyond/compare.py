"""Two runs, record by record and table cell by table cell: is one the other again?

Records are matched by experiment, fold and seed; where their settings or label sets differ they aren't
compared, and like everything that one side lacks they are listed.  Tables are built from the records that
both have.  What else differs (code, libraries, device, features) is said beside.  Four degrees, the first
that holds:

To the byte: the predictions by SHA-256, and each number of the record; every number of the cell.

To rounding: the same epochs, confusion matrices and predicted classes, and probabilities, curves and
temperature within 0.001; a cell's numbers within one unit of their last digit.

Within the seed interval: accuracy and weighted F1 differ by no more than two runs with other seeds do at
95 %: by t s sqrt(2), and means over n seeds by t s sqrt(2 / n), where s is the smaller of the two sides'
standard deviations.  With few seeds t is large; with one seed nothing is within.

Different: anything else.

One in twenty lies outside a 95 % interval by chance.  So a run is reproduced where at most a twentieth of the
records that aren't equal to rounding is different, and likewise of the cells; of fewer than twenty, none.

A record that isn't as it was written, or whose scores aren't those of its predictions, is refused by name,
and so is a table that isn't what its records give.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from lpgnet import places
from lpgnet.beyond.archive.unpack import KEY, REFERENCE, Side, in_place, read
from lpgnet.beyond.report.blocks import Section, Sheet, Text, sheet, style, template
from lpgnet.experiments import TABLED
from lpgnet.labels import is_simulated
from lpgnet.machine.files import whole
from lpgnet.places import Place
from lpgnet.runs.metrics import scores
from lpgnet.runs.plan import changed
from lpgnet.tables.build import build_all
from lpgnet.tables.scores import HEADLINE, SHOWN, Evaluation
from lpgnet.tables.statistics import LEVEL, half_interval, percent
from lpgnet.tables.typeset import SIMULATED

DEGREES = BYTES, ROUNDING, INTERVAL, DIFFERENT = "to the byte", "to rounding", "within the seed interval", "different"
TOLERANCE = 1e-3  # absolute and relative; other instruction sets move a probability by 1e-5 to 1e-3
NUMBERS = ("predictions", "confusion", "students", "epoch", "curves", "parameters", "temperature")
SAME = ("corpus", "profile", "split", "labels")  # what two runs must share to be compared at all
UNIT = 0.01  # the last digit of a table's cell
LISTED = 12  # lines of a kind that the terminal shows; the page has all


@dataclass(frozen=True)
class Comparison:
    """records, cells: one line each, `verdict` of `DEGREES`.  apart: how many records aren't compared and why,
    with {A} and {B} for the two -> a line for each group.  facts: name, A, B of everything that made the two."""

    a: Side
    b: Side
    records: pd.DataFrame
    cells: pd.DataFrame
    apart: dict[str, list[str]]
    facts: pd.DataFrame

    @property
    def degree(self) -> str:
        """The worst that occurs oftener than chance has it."""
        return max((_overall(frame["verdict"]) for frame in (self.records, self.cells)), key=DEGREES.index)

    def verdict(self, a: str = "A", b: str = "B") -> str:
        """One line.  a, b: what the two are called in it."""
        lead = "not reproduced" if self.degree == DIFFERENT else f"reproduced {self.degree}"
        said = [f"{lead}: {_counted(self.records, 'records')}, {_counted(self.cells, 'table cells')}"]
        said += [why.format(A=a, B=b) for why, lines in self.apart.items() if lines]
        return "; ".join(said) + " (simulated corpus)" * is_simulated(self.a.data["corpus"])

    def differing(self) -> list[str]:
        """What made the two and isn't the same."""
        other = self.facts[self.facts["A"] != self.facts["B"]]
        return [f"{line.what}: {line.A or 'none'} | {line.B or 'none'}" for line in other.itertuples()]

    def lines(self) -> list[str]:
        """For a terminal, the verdict last."""
        far = (frame[frame["verdict"] == DIFFERENT].itertuples() for frame in (self.records, self.cells))
        says = ("{0.experiment}, {0.fold}, seed {0.seed}", "table {0.table}, {0.row}, {0.metric}: {0.A} | {0.B}")
        bad = ([f"different: {text.format(line)}" for line in part] for text, part in zip(says, far, strict=True))
        parts = (self.differing(), *self.apart.values(), *bad)
        said = (line for part in parts for line in _first(part))
        return [f"A: {self.a.label}", f"B: {self.b.label}", *said, self.verdict()]


def compare(a: Side, b: Side) -> Comparison:
    """ValueError where there is nothing to compare."""
    other = [name for name in SAME if a.data[name] != b.data[name]]
    if other:
        said = ", ".join(f"{name} {a.data[name]} and {b.data[name]}" for name in other)
        raise ValueError(f"A, {a.label}, and B, {b.label}, are of other kinds of run ({said}): want the same")
    for side in (a, b):
        if off := _contradicted(side):
            raise ValueError(
                f"{side.label} has tables that aren't what its records give ({'; '.join(_first(off))}): "
                "run `python -m lpgnet tables` and find out who changed them"
            )
    both = sorted(a.by_key.keys() & b.by_key.keys())
    otherwise = {key: _otherwise(a.by_key[key], b.by_key[key]) for key in both}
    common = [key for key in both if not otherwise[key]]
    apart = _apart(a, b, {key: why for key, why in otherwise.items() if why})
    if not common:
        said = "; ".join(line for lines in apart.values() for line in lines[:2])
        raise ValueError(
            f"A, {a.label}, and B, {b.label}, have no run in common ({said or 'no record at all'}): "
            "want the same experiments, settings and seeds"
        )
    of_a, of_b = a.where(common), b.where(common)
    cells = compared_cells(_given(of_a, a.data), _given(of_b, b.data))
    return Comparison(a, b, compared_records(a, b, common), cells, apart, _facts(a, b, of_a, of_b))


def compared_records(a: Side, b: Side, keys: list[tuple]) -> pd.DataFrame:
    """One line per record that both have."""
    mine, theirs = (_scored(side.where(keys)) for side in (a, b))
    limits, lines = _limits(mine, theirs), []
    for key in keys:
        line = dict(zip(KEY, key, strict=True))
        for name in SHOWN:
            line |= {f"{name} A": percent(mine.at[key, name]), f"{name} B": percent(theirs.at[key, name])}
        near = ((mine.loc[key] - theirs.loc[key]).abs() <= limits.loc[key[:2]]).all()
        lines.append({"verdict": _degree(a.by_key[key], b.by_key[key], near)} | line)
    return pd.DataFrame(lines)


def _scored(runs: pd.DataFrame) -> pd.DataFrame:
    """Accuracy and weighted F1 of records, a line each."""
    index = pd.MultiIndex.from_frame(runs[KEY])
    return pd.DataFrame([scores(c[HEADLINE]) for c in runs["confusion"]], index)[list(SHOWN)].sort_index()


def _limits(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Of `_scored`: by how much two seeds of an experiment and fold differ at 95 %; NaN with one seed."""
    one, other = (frame.groupby(level=KEY[:2]) for frame in (a, b))
    return np.minimum(one.std(), other.std()).mul(
        one.size().map(lambda n: np.sqrt(2 * n) * half_interval(1, n)), axis=0
    )


def _degree(a, b, near: bool) -> str:
    if all(getattr(a, name) == getattr(b, name) for name in NUMBERS):
        return BYTES
    return ROUNDING if _rounding(a, b) else INTERVAL if near else DIFFERENT


def _rounding(a, b) -> bool:
    """Whether two records decide alike, and their numbers are within `TOLERANCE`."""
    if any(getattr(a, name) != getattr(b, name) for name in ("confusion", "students", "epoch", "parameters")):
        return False
    curves = [_near(a.curves[name], b.curves.get(name, [])) for name in a.curves]
    frames = [pd.read_parquet(Path(run.path).with_suffix(".parquet")) for run in (a, b)]
    mine, theirs = (frame.sort_values("id", ignore_index=True) for frame in frames)
    told = ["id", "label", "predicted"]
    if not all(curves) or list(mine) != list(theirs) or not mine[told].equals(theirs[told]):
        return False
    shares = [name for name in mine if name.startswith(("p_", "weight_"))]
    return _near(a.temperature, b.temperature) and _near(mine[shares], theirs[shares])


def _near(a, b) -> bool:
    a, b = (np.asarray(values, dtype=float) for values in (a, b))
    return a.shape == b.shape and np.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


def compared_cells(a: dict[tuple, tuple], b: dict[tuple, tuple]) -> pd.DataFrame:
    """One line per cell of `_cells`; one that a side lacks is different."""
    lines = []
    for key in dict.fromkeys([*a, *b]):
        mine, theirs = (cells.get(key, (np.nan,) * 3) for cells in (a, b))
        line = dict(zip(("table", "row", "metric"), key, strict=True)) | {"A": mine[0], "B": theirs[0]}
        lines.append({"verdict": _cell_degree(np.array(mine), np.array(theirs))} | line)
    return pd.DataFrame(lines, columns=["verdict", "table", "row", "metric", "A", "B"])


def _cell_degree(a: np.ndarray, b: np.ndarray) -> str:
    """a, b: mean and standard deviation in percent, number of seeds."""
    if _same(a, b):
        return BYTES
    if np.allclose(a, b, rtol=0, atol=1.01 * UNIT, equal_nan=True):
        return ROUNDING
    half = np.min([half_interval(std, n) for _, std, n in (a, b)])  # NaN where there is no interval
    return INTERVAL if abs(a[0] - b[0]) <= np.sqrt(2) * half else DIFFERENT


def _contradicted(side: Side) -> list[str]:
    """Cells of a side's own tables that its records, as many, don't give."""
    given = _given(side.runs, side.data)
    both = {key: (says, given[key]) for key, says in _cells(side.tables).items() if key in given}
    return [
        f"table{number}.csv, {row}, {metric}: {says[0]:g} for {is_[0]:g}"
        for (number, row, metric), (says, is_) in both.items()
        if _same(says[2:], is_[2:]) and not _same(says, is_)
    ]


def _same(a, b) -> bool:
    return np.array_equal(a, b, equal_nan=True)


def _given(runs: pd.DataFrame, data: dict) -> dict[tuple, tuple]:
    """The cells that records give."""
    return _cells(build_all(Evaluation(runs, data)))


def _cells(tables: dict[int, pd.DataFrame]) -> dict[tuple, tuple]:
    """(table, row, metric) -> the numbers of every cell that is ours; Table 1 has counts."""
    found = {}
    for number, table in tables.items():
        end = "_ours" if number == 1 else "_mean"
        names = [name.removesuffix(end) for name in table if name.endswith(end)]
        who = table["part"] if number == 1 else table["experiment"].fillna(table["source"])
        for row, line in zip(who, table.to_dict("records"), strict=True):
            for name in names:
                values = (line[f"{name}{end}"], line.get(f"{name}_std"), line.get("n_seeds"))
                if not pd.isna(values[0]):  # ours, or the simulator's
                    found[number, row, name] = tuple(np.nan if pd.isna(v) else float(v) for v in values)
    return found


def _otherwise(a, b) -> list[str]:
    """The settings that two records of one experiment, fold and seed don't share."""
    mine, theirs = (r.config | {"labels": r.labels, "label set": r.manifest[:12]} for r in (a, b))
    if mine == theirs:
        return []
    mine, theirs = (pd.json_normalize(values).iloc[0].to_dict() for values in (mine, theirs))
    return [f"{n} {mine.get(n)} and {theirs.get(n)}" for n in sorted(mine | theirs) if mine.get(n) != theirs.get(n)]


def _apart(a: Side, b: Side, otherwise: dict[tuple, list[str]]) -> dict[str, list[str]]:
    """How many records aren't compared and why -> a line for those of each experiment."""
    found = {}
    for name, one, less, other in (("A", a, "B", b), ("B", b, "A", a)):
        alone = one.by_key.keys() - other.by_key.keys()
        tabled = {key for key in alone if key[0] in TABLED}
        beside, unused = alone - tabled, [f"not used in {name}: {x}" for x in one.unused]
        found[f"{{{less}}} lacks {len(tabled)} of {{{name}}}'s records"] = _alone(name, tabled)
        found[f"{len(beside)} of {{{name}}}'s records feed no table and aren't in {{{less}}}"] = _alone(name, beside)
        found[f"{len(unused)} of {{{name}}}'s records aren't in use"] = unused
    count = Counter((key[0], ", ".join(why)) for key, why in otherwise.items())
    asked = [f"other settings: {name} ({runs} records: {why})" for (name, why), runs in count.items()]
    return found | {f"{len(otherwise)} records have other settings": asked}


def _alone(side: str, keys: Iterable[tuple]) -> list[str]:
    """What one side has alone: a line for the experiments that share fold and seeds."""
    frame = pd.DataFrame(sorted(keys), columns=KEY).astype(str)
    seeds = frame.groupby(KEY[:2], as_index=False)["seed"].agg(", ".join)
    names = seeds.groupby(["fold", "seed"], sort=False)["experiment"].agg(", ".join)
    return [f"only in {side}: {fold}, seed {seed}: {some}" for (fold, seed), some in names.items()]


def _facts(a: Side, b: Side, of_a: pd.DataFrame, of_b: pd.DataFrame) -> pd.DataFrame:
    """What the compared records were made from and with, and what has changed in their code."""
    mine, theirs = (_made(side.data, runs) for side, runs in ((a, of_a), (b, of_b)))
    lines = [(what, mine.get(what, ""), theirs.get(what, "")) for what in dict.fromkeys([*mine, *theirs])]
    pairs = [(a.by_key[key].code, b.by_key[key].code) for key in of_a[KEY].itertuples(index=False, name=None)]
    edits = sorted({changed(x, y) for x, y in pairs if x["digest"] != y["digest"]})
    lines += [("code, from A to B", "", edit) for edit in edits]
    return pd.DataFrame(lines, columns=["what", "A", "B"])


def _made(data: dict, runs: pd.DataFrame) -> dict[str, str]:
    found = {"place": data["place"], "package version": _each(runs["version"])}
    found["code"] = _each(run["digest"][:12] for run in runs["code"])
    for column in ("libraries", "made"):
        names = sorted({name for values in runs[column] for name in values} - {"seconds", "beside"})
        found |= {f"{column}: {n}": _each(values.get(n, "") for values in runs[column]) for n in names}
    found["labels, manifest"] = _each(manifest[:12] for manifest in runs["manifest"])
    for modality in ("text", "audio"):
        found[f"features: {modality}"] = _each(recipe.get(modality, "")[:12] for recipe in runs["features"])
    return found


def _each(values: Iterable) -> str:
    return ", ".join(sorted({str(value) for value in values} - {""}))


def _overall(verdicts: pd.Series) -> str:
    """The worst degree; what chance puts outside the interval counts as inside."""
    count = verdicts.value_counts()
    far = count.get(DIFFERENT, 0)
    if far > int((1 - LEVEL) * (far + count.get(INTERVAL, 0)) + 1e-9):
        return DIFFERENT
    return INTERVAL if far else max(count.index, key=DEGREES.index, default=BYTES)


def _counted(frame: pd.DataFrame, what: str) -> str:
    """ "240 of 240 records", or how many have which degree where they don't share one."""
    count = frame["verdict"].value_counts()
    said = [f"{count[degree]} {degree}" for degree in DEGREES if degree in count]
    if len(said) > 1:
        return f"of {len(frame)} {what} {', '.join(said)}"
    return f"{len(frame)} of {len(frame)} {what}"


def _first(lines: list[str]) -> list[str]:
    more = [f"... and {len(lines) - LISTED} more, on the page"] if len(lines) > LISTED else []
    return lines[:LISTED] + more


def compare_and_write(a: str, b: str, out: Path | None = None) -> tuple[Comparison, Path]:
    """The comparison of two runs by name, and its page."""
    with tempfile.TemporaryDirectory() as folder:
        sides = [read(asked, Path(folder) / side) for side, asked in (("a", a), ("b", b))]
        found = compare(*sides)
    name = "--".join(side.label.removesuffix(".zip") for side in sides)
    path = out or places.OUTPUT / "results" / "compare" / f"{name}.html"
    with whole(path) as part:
        part.write_text(page(found), encoding="utf-8")
    return found, path


def against_reference(place: Place) -> str:
    """The verdict on a place against its committed reference run, in a line; "" where there is none."""
    bundle = REFERENCE / f"{place.name}.zip"
    if not bundle.exists():
        return ""
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = compare(in_place(place, place.name), read(str(bundle), Path(folder)))
        except (ValueError, OSError) as error:
            return f"Against the reference run: not compared: {error}"
    loud = "!! " if found.degree == DIFFERENT else ""
    more = f"; python -m lpgnet compare {place.name} reference" if loud else ""
    return f"{loud}Against the reference run: {found.verdict('this run', 'the reference')}{more}"


def page(found: Comparison) -> str:
    """One page that opens offline."""
    blocks = [Text(found.verdict()), *(Text(part) for part in __doc__.split("\n\n")[1:])]
    made = replace(sheet(found.facts, "facts", "What made the two."), heads=["What", "A", "B"])
    apart = [Text(line) for lines in found.apart.values() for line in lines]
    said = "Cells. Percent, means over the seeds that both have; Table 1 counts utterances."
    cells, runs = sheet(found.cells, "cells", said), sheet(found.records, "runs", "Scores. Percent.")
    sections = [
        Section("verdict", "Verdict", "The verdict", [*blocks, made]),
        Section("cells", "Tables", "Table by table", [_worst_first(cells)]),
        Section("records", "Records", "Record by record", [_worst_first(runs)]),
        Section("apart", "Not compared", "What was not compared", apart or [Text("Nothing.")]),
    ]
    return template("page.html.j2").render(
        sections=sections,
        title=f"Two runs of {found.a.data['corpus']} compared",
        about=f"A is {found.a.label}, B is {found.b.label}.",
        banner=SIMULATED if is_simulated(found.a.data["corpus"]) else "",
        style=style,
        stamp="",
    )


def _worst_first(made: Sheet) -> Sheet:
    return replace(made, rows=sorted(made.rows, key=lambda row: -DEGREES.index(row[0].text)))
