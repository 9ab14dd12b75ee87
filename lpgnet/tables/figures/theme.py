"""How a figure is declared, the theme, and the few marks it is drawn with.  No pyplot: nothing stays open.

A figure is declared where it is drawn:

    @figure("cost", "Points: accuracy against ...", of=lambda made: (made.efficiency,))
    @themed
    def cost(efficiency): ...

Its name is that of its PNG, which carries the words.  What is drawn, kept, removed and shown follows.
"""

import functools
import io
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from lpgnet.labels import is_simulated
from lpgnet.machine.files import whole
from lpgnet.tables.statistics import half_interval

OURS, OTHER, QUOTED, ORACLE = "#0173B2", "#DE8F05", "#8C8C8C", "#029E73"  # safe for colour-blind eyes
LABELS = {"run": "our runs", "reported": "quoted in the paper", "simulator": "best reachable"}
COLOURS = {"run": OURS, "reported": QUOTED, "simulator": ORACLE}
CLASSES = {  # an emotion's colour in every figure, apart for colour-blind eyes too (a test holds it)
    **dict.fromkeys(("happy", "joy"), "#E9BE1E"),
    **dict.fromkeys(("sad", "sadness"), "#3B7DD8"),
    "neutral": "#8C8C8C",
    **dict.fromkeys(("angry", "anger"), "#6B0F1A"),
    **dict.fromkeys(("excited", "surprise"), "#B5651D"),
    **dict.fromkeys(("frustrated", "disgust"), "#C9D6A3"),
    "fear": "#17245E",
}
AXIS = {"accuracy": "Accuracy (%)", "f1": "Weighted F1 (%)"}
SPREAD = "Line: 95 % t interval over seeds."
MARKERS = {"run": "o", "reported": "o", "simulator": "D"}
STAMP = "lpgnet-stamp"
WIDEST = 1.6  # times the farthest difference or interval over dialogues


def class_colours(names: Sequence[str]) -> list[str]:
    """A colour per class; a class of somebody's own gets one of seaborn's."""
    import seaborn as sns  # here and below: half a second, for what is drawn anew

    others = iter(sns.color_palette("colorblind", len(names)).as_hex())
    return [CLASSES.get(name) or next(others) for name in names]


@dataclass(frozen=True)
class Declared:
    """alt: what is to be seen.  of: a `Rebuilt` -> the drawing's arguments, None where it can't be."""

    alt: str
    draw: Callable[..., Figure]
    of: Callable | None


FIGURES: dict[str, Declared] = {}  # by name; `figure` alone fills it


def figure(name: str, alt: str, of: Callable | None = None) -> Callable:
    """Declare what a function draws; several names are several lines.  of: None where a notebook draws it."""

    def declare(draw: Callable[..., Figure]) -> Callable[..., Figure]:
        known = FIGURES.setdefault(name, Declared(alt, draw, of)).draw
        if (known.__module__, known.__qualname__) != (draw.__module__, draw.__qualname__):
            raise ValueError(f"two figures are called {name!r}")
        return draw

    return declare


def save_figure(name: str, drawn: Figure, folder: Path, stamp: str = "") -> Path:
    """A declared figure as PNG, whole or not at all; it carries its words, and the stamp of what it is of."""
    path, words = Path(folder) / f"{name}.png", {"Description": FIGURES[name].alt}
    with whole(path) as part:
        drawn.savefig(part, format="png", dpi=150, metadata=words | ({STAMP: stamp} if stamp else {}))
    return path


def said(path: Path) -> dict:
    """What a PNG says of itself; nothing where it is none."""
    try:
        with Image.open(path) as opened:
            return opened.info | {"width": opened.width}
    except OSError:
        return {}


class Picture(Figure):
    """A figure that a notebook shows without pyplot."""

    def _repr_png_(self) -> bytes:
        out = io.BytesIO()
        self.savefig(out, format="png", dpi=110)
        return out.getvalue()


def themed(draw: Callable[..., Figure], math: bool = False) -> Callable[..., Figure]:
    """The one theme; the picture is laid out while it holds, and it ends with the drawing.

    math: whether $...$ is a formula, so only where no text is data.
    """

    @functools.wraps(draw)
    def drawn(*args, **kwargs) -> Figure:
        import seaborn as sns

        with mpl.rc_context():
            ours = {"grid.linewidth": 0.6, "axes.linewidth": 0.8, "text.parse_math": math}
            sns.set_theme("notebook", "whitegrid", font_scale=0.9, color_codes=False, rc=ours)
            figure = draw(*args, **kwargs)
            figure.draw_without_rendering()
        return figure

    return drawn


def empty_figure(width: float, height: float, columns: int, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure, in inches, and its axes from left to right and top to bottom."""
    figure = Picture(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.08, w_pad=0.08)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def titled(figure: Figure, title: str, caption: str, legend: Axes | None = None) -> Figure:
    """Title above, caption with the corpus below, and the legend of one panel beside the title."""
    plain = {"x": 0.02, "ha": "left", "parse_math": False}
    figure.suptitle(title, fontweight="bold", **plain)
    wide = int(figure.get_figwidth() * 14)
    figure.supxlabel("\n".join(textwrap.wrap(caption, wide)), fontsize=9, color="#404040", **plain)
    if legend is not None:
        handles, labels = legend.get_legend_handles_labels()
        first = dict(zip(labels, handles, strict=True))
        figure.legend(first.values(), first.keys(), loc="upper right", ncols=4, frameon=False, fontsize=9)
    return figure


def heat_map(axis: Axes, values: np.ndarray, highest: float, **more) -> None:
    """Numbers from 0 to the highest as shades of one colour.  more: of seaborn's."""
    import seaborn as sns

    sns.heatmap(values, ax=axis, cmap="Blues", vmin=0, vmax=highest, cbar=False, **more)


def name_rows(axes: list[Axes], names: Sequence[str]) -> None:
    """Rows from the top, named down the first panel."""
    for axis in axes:
        axis.set_ylim(len(names) - 0.4, -0.6)
        axis.set_yticks(range(len(names)), names if axis is axes[0] else [""] * len(names))
        axis.grid(visible=False, axis="y")


def same_height(axes: list[Axes]) -> None:
    """One scale for all panels."""
    low, high = zip(*(axis.get_ylim() for axis in axes), strict=True)
    for axis in axes:
        axis.set_ylim(min(low), max(high))


def row_name(line: dict) -> str:
    """What a row is called: its printed columns and citation; a run shows the encoder it used."""
    if "lambda_task" in line:
        return " / ".join(f"{line[f'lambda_{name}']:.1f}" for name in ("task", "ce", "kl"))
    encoder = line.get("encoder_audio") or line.get("encoder_text")
    upstream = encoder if line["source"] == "run" and "downstream" in line else line.get("upstream")
    parts = [upstream, *(line.get(name) for name in ("model", "downstream", "variant"))]
    citation = line.get("citation")
    name = ", ".join(part for part in parts if isinstance(part, str))
    return name if citation is None or pd.isna(citation) else f"{name} [{citation}]"


def point(axis: Axes, place: int, line: dict, metric: str) -> None:
    """A row as a point with its interval and the number at the right edge."""
    source, printed = line["source"], line[f"{metric}_reported"]
    value = printed if source == "reported" else line[f"{metric}_mean"]
    low, high = line[f"{metric}_ci_low"], line[f"{metric}_ci_high"]
    if not pd.isna(low):
        axis.plot(np.clip([low, high], 0, 100), [place, place], color=OURS, linewidth=2, alpha=0.6)
    if source == "run" and not pd.isna(printed):
        tick(axis, printed, place, "|", line["corpus"])
    if pd.isna(value):
        if source == "run":  # a quoted row has none where the paper has a dash
            side = axis.get_yaxis_transform()
            axis.text(0.02, place, "not run yet", transform=side, va="center", fontsize=9, color=QUOTED)
        return
    colour = COLOURS[source]
    axis.plot(value, place, MARKERS[source], color=colour, markersize=7, label=LABELS[source])
    digits = 2 if source == "reported" else 1  # as the paper prints it
    beside(axis, place, f"{value:.{digits}f}", colour)


def beside(axis: Axes, place: int, text: str, colour: str, at: float = 1.02) -> None:
    """A number at the right edge of a row."""
    axis.text(at, place, text, transform=axis.get_yaxis_transform(), va="center", fontsize=9, color=colour)


def difference(axis: Axes, place: int, line: dict, look: tuple[str, str], label: str | None = None) -> None:
    """A row's difference, both of its intervals and the number.  look: mark, colour."""
    mark, colour = look
    axis.plot([line["dialogues_low"], line["dialogues_high"]], [place] * 2, color=QUOTED, linewidth=1)
    axis.plot([line["seeds_low"], line["seeds_high"]], [place] * 2, color=colour, linewidth=3, alpha=0.5)
    axis.plot(line["difference"], place, mark, color=colour, markersize=6, label=label, linestyle="none")
    beside(axis, place, f"{line['difference']:+.1f}", colour)


def limit(axis: Axes, lines: pd.DataFrame) -> None:
    """Few seeds give intervals that would hide all else: they are cut well beyond every point."""
    ends = lines[["difference", "dialogues_low", "dialogues_high"]].abs().max().max()
    low, high = axis.get_xlim()
    if ends > 0:
        axis.set_xlim(max(low, -WIDEST * ends), min(high, WIDEST * ends))


def class_points(axis: Axes, line: pd.Series, names: list[str], shift: float) -> None:
    """One model of Table 7 across the classes, beside the others by `shift`."""
    first = line["model"] == "LPGNet"
    style = {"color": OURS if first else OTHER, "fmt": "o" if first else "s", "label": line["model"]}
    places = np.arange(len(names)) + shift
    whats = ("mean", "ci_low", "ci_high", "reported")
    mean, low, high, printed = (line[[f"{name}_{what}" for name in names]].to_numpy(dtype=float) for what in whats)
    ends = np.nan_to_num([mean - np.clip(low, 0, 100), np.clip(high, 0, 100) - mean])
    axis.errorbar(places, mean, yerr=ends, markersize=8, elinewidth=2, capsize=0, **style)
    tick(axis, places, printed, "_", line["corpus"])


def reach(mean: Sequence[float], std: Sequence[float], n: Sequence[int]) -> np.ndarray:
    """(2, K) how far 95 % t intervals of percentages go down and up, cut at 0 and 100; nothing for one seed."""
    half = np.nan_to_num([half_interval(s, k) for s, k in zip(std, n, strict=True)])
    return np.stack([np.fmin(half, mean), np.fmin(half, 100 - np.asarray(mean, dtype=float))])


def tick(axis: Axes, x, y, marker: str, corpus: str) -> None:
    """The paper's number; thin and pale where the corpus is simulated, so that nobody compares the two."""
    other = is_simulated(corpus)
    style = {"color": QUOTED, "markeredgewidth": 1, "alpha": 0.7} if other else {"color": "black", "markeredgewidth": 2}
    label = "printed, of IEMOCAP" if other else "printed in the paper"
    axis.plot(x, y, marker, markersize=15, label=label, **style)


def band(axis: Axes, values: np.ndarray, colour: str, label: str) -> None:
    """Mean over runs by epoch, values (runs, epochs), with its 95 % t interval."""
    epochs, mean = np.arange(1, values.shape[1] + 1), values.mean(0)
    axis.plot(epochs, mean, color=colour, label=label)
    if len(values) > 1:
        half = half_interval(values.std(0, ddof=1), len(values))
        axis.fill_between(epochs, mean - half, mean + half, color=colour, alpha=0.2, linewidth=0)
