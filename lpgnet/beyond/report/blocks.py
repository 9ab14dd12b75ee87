"""What a section is put together from, and frames -> its tables.

Plain values; `blocks.html.j2` makes HTML of them, in a notebook and on the page alike, and escapes all text
that is not `Markup`.
"""

import base64
import math
import re
from dataclasses import dataclass
from pathlib import Path

import jinja2
import pandas as pd
from markupsafe import Markup

from lpgnet.tables.claims import HERE_ONLY
from lpgnet.tables.figures import theme
from lpgnet.tables.names import plain_name

VERDICTS = {  # first word of a verdict -> its colour on the page
    **dict.fromkeys(("supported", "holds", "ok", "unchanged", "to"), "good"),
    **dict.fromkeys(("not", "does", "fault", "different"), "bad"),
    **dict.fromkeys(("warning", "changed", "within", "equal"), "warn"),
}
HERE = Path(__file__).parent
MINUS = "\N{MINUS SIGN}"
JUDGED = ("verdict", "verdict_other_metric", "severity")
SHRUNK = 0.57  # CSS pixels per dot of a figure: two of 6 inches stand side by side
SAME = ("corpus", "profile", "split", "labels")  # left out where they are the same all through
COUNTED = ("n_seeds", "n_dialogues")  # said once in the caption where they are
NAMED = ("a", "b", "better", "worse", "experiment", "default", "model", "who")  # columns with names of experiments
DIGITS = {"brier_mean": 3, "divergence_mean": 3, "size_mean": 2}  # of a column, where one says too little
HEADS = {
    "a": "first",
    "b": "second",
    "difference": "first minus second",
    "who": "model",
    "effect": "d_z",
    "n_seeds": "seeds",
    "n_dialogues": "dialogues",
    "seeds_low": "95 %, seeds",
    "dialogues_low": "95 %, dialogues",
    "ci_low": "95 %",
    "p_seeds_holm": "p, seeds",
    "p_dialogues_holm": "p, dialogues",
    "weighted_f1_mean": "weighted F1",
    "divergence_mean": "divergence, bits",
}


@dataclass(frozen=True)
class Cell:
    """sort: the number to sort by where the text doesn't start with it.  kind: its style.  to: a link."""

    text: str
    small: str = ""
    sort: float | None = None
    kind: str = ""
    to: str = ""


@dataclass(frozen=True)
class Sheet:
    """A table.  name: its anchor.  source: the CSV that holds all of it, as a link.  links: (words, to), beside it."""

    name: str
    caption: str
    heads: list[str]
    rows: list[list[Cell]]
    source: str = ""
    styles: tuple[str, ...] = ()  # one per row, or none at all
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Picture:
    """A figure, embedded.  width: in CSS pixels."""

    name: str
    alt: str
    data: str  # base64 of the PNG
    width: int


@dataclass(frozen=True)
class Card:
    """One answer of the first screen."""

    title: str
    verdict: str
    says: str
    style: str
    anchor: str  # where the page shows it in full


@dataclass(frozen=True)
class Cards:
    cards: list[Card]


@dataclass(frozen=True)
class Text:
    """A paragraph: text, or HTML of our own as Markup."""

    html: str | Markup


@dataclass(frozen=True)
class Equations:
    """number, MathML, readings as (n, words)."""

    lines: list[tuple[str, Markup, list[tuple[int, str]]]]


@dataclass(frozen=True)
class Section:
    """A value that a notebook shows and the page joins.  name: its anchor.  short: in the page's list."""

    name: str
    short: str
    title: str
    blocks: list

    def _repr_html_(self) -> str:
        """All that a notebook needs, style too; under a heading of the notebook's own."""
        return template("blocks.html.j2").module.alone(self, style("blocks.css"))


def template(name: str, folder: Path = HERE) -> jinja2.Template:
    """Text is escaped here and nowhere else."""
    more = {"trim_blocks": True, "lstrip_blocks": True, "undefined": jinja2.StrictUndefined}
    return jinja2.Environment(loader=jinja2.FileSystemLoader(folder), autoescape=True, **more).get_template(name)


def style(name: str, folder: Path = HERE) -> Markup:
    """A file of ours that stands in the page as it is."""
    return Markup((folder / name).read_text(encoding="utf-8"))


def pictures(folder: Path, *patterns: str) -> list[Picture]:
    """The figures of these names (`table2_*`), as far as they are there, with the words that they carry."""
    found = []
    for path in (path for pattern in patterns for path in sorted(folder.glob(f"{pattern}.png"))):
        about, data = theme.said(path), base64.b64encode(path.read_bytes()).decode()
        alt = about.get("Description", path.stem.replace("_", " "))
        found.append(Picture(path.stem, alt, data, round(about["width"] * SHRUNK)))
    return found


def verdict(text: str) -> Cell:
    """A verdict as a chip; what follows its first words stands small below."""
    cut = re.search(": | (?=at |on this)", text)
    short, more = (text[: cut.start()], text[cut.end() :]) if cut else (text, "")
    style = "warn" if text.endswith(HERE_ONLY) else VERDICTS.get(short.split(" ")[0].rstrip(","), "open")
    return Cell(short, more, None, f"chip {style}")


def number(value, digits: int = 1, signed: bool = False) -> Cell:
    """A number with its value to sort by; empty where there is none."""
    if value is None or pd.isna(value):
        return Cell("")
    if math.isinf(value):
        return Cell("∞" if value > 0 else f"{MINUS}∞", sort=value)
    digits = 0 if isinstance(value, int) or pd.api.types.is_integer(value) else digits
    text = f"{value:{'+' if signed else ''},.{digits}f}".replace("-", MINUS).replace(",", "\u202f")
    return Cell(text, sort=float(value))


def spread(mean, std, low=None, high=None, digits: int = 1) -> Cell:
    """mean ± std, and the interval small below."""
    cell = number(mean, digits)
    if not cell.text:
        return cell
    text = cell.text if std is None or pd.isna(std) else f"{cell.text} ± {std:.{digits}f}"
    return Cell(text, interval(low, high).text, cell.sort)


def p_value(p: float) -> Cell:
    if pd.isna(p):
        return Cell("")
    return Cell("< 0.0001" if p < 1e-4 else f"{p:.2g}", sort=float(p))


def interval(low, high) -> Cell:
    if low is None or pd.isna(low) or pd.isna(high):
        return Cell("")
    return Cell(f"[{number(low).text}, {number(high).text}]", sort=float(low))


def sheet(frame: pd.DataFrame, name: str, caption: str, source: str = "", heads: dict | None = None) -> Sheet:
    """Any frame: means with their deviations, ends of intervals together, verdicts as chips, plain names.

    heads: column -> what it is called, where neither `HEADS` nor the column's own name will do.  A column that
    says the same corpus all through is left out, one that counts the same is said in the caption.
    """
    frame = frame.drop(columns=[c for c in SAME if c in frame and frame[c].nunique() <= 1])
    same = [c for c in COUNTED if c in frame and frame[c].nunique() == 1 and frame[c].notna().all()]
    if same:
        caption += f" All over {' and '.join(f'{frame[c].iloc[0]} {HEADS[c]}' for c in same)}."
    frame, columns, heads = frame.drop(columns=same), {}, HEADS | (heads or {})
    for column in frame.columns:
        stem, _, what = column.rpartition("_")
        if what in ("std", "high") and stem:
            continue
        label = f"{stem} interval" if what == "low" else stem if what == "mean" and stem else column
        columns[column] = heads.get(column, label.replace("_", " "))
    rows = [[_cell(line, column) for column in columns] for line in frame.to_dict("records")]
    return Sheet(name, caption, list(columns.values()), rows, source)


def _cell(line: dict, column: str) -> Cell:
    value, (stem, _, what) = line[column], column.rpartition("_")
    if what == "mean" and stem:
        return spread(value, line.get(f"{stem}_std"), digits=DIGITS.get(column, 1))
    if what == "low" and stem:
        return interval(value, line.get(f"{stem}_high"))
    if isinstance(value, str) and column in NAMED:
        return Cell(plain_name(value))
    if isinstance(value, str):
        return verdict(value) if column in JUDGED and value else Cell(value)
    if re.search("(^|_)p_", column):
        return p_value(value)
    return number(value, signed=column.endswith("difference"))
