"""The steps of the walk as pictures.  Turns run down, named by their words; a muted turn's name is in brackets."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from torch import Tensor

from lpgnet.beyond.walk.dialogue import Walk
from lpgnet.beyond.walk.steps import number
from lpgnet.tables.figures.inside import PATHS
from lpgnet.tables.figures.theme import OTHER, OURS, QUOTED, empty_figure, name_rows, themed, titled

LINE, STRIP = 0.13, 0.75  # inches of a turn's name in a map, and of a map of one vector
NAMED = 30  # turns that have room for their names


def _name_turns(axis: Axes, walk: Walk, across: bool = False) -> None:
    """The turns down an axis, or along the other one too; every second or so where there are many."""
    talk = walk.dialogue
    names = [name if there else f"({name})" for name, there in zip(talk.words, talk.heard.tolist(), strict=True)]
    places = range(0, len(names), -(-len(names) // NAMED))
    axis.set_yticks(places, [names[p] for p in places], fontsize=7)
    if across:
        axis.set_xticks(places, [names[p] for p in places], fontsize=7, rotation=90)
    axis.grid(visible=False)


@themed
def attention(walk: Walk, found: dict[str, Tensor], path: str) -> Figure:
    """Scores of Eq. (3) and weights of Eq. (5) of a path, (U, U) each: a row asks, a column answers."""
    side = 4.4 + 0.06 * min(NAMED, len(walk.dialogue.turns))
    figure, axes = empty_figure(2 * side + 1, side + 0.9, 2)
    for axis, name, title in zip(axes, ("scores", "A"), ("Scores (3)", "Weights (5): a row sums to 1"), strict=True):
        values = found[f"{name} {path} ({3 if name == 'scores' else 5})"][0].numpy()
        limit = _scale(values) if name == "scores" else {"cmap": "Blues", "vmin": 0}
        shown = axis.imshow(values, aspect="auto", interpolation="nearest", **limit)
        figure.colorbar(shown, ax=axis, shrink=0.7)
        _name_turns(axis, walk, across=True)
        axis.set(title=title, xlabel="answers (key)", ylabel="asks (query)" if axis is axes[0] else "")
    text = f"{walk.origin} Path {path}: {PATHS[path]}."
    return titled(figure, f"Attention, path {path}", text)


@themed
def maps(walk: Walk, found: dict[str, Tensor], names: list[str], title: str, columns: int = 1) -> Figure:
    """Some steps, (1, U, k) or (1, 1, k) each, a panel each: a row is a turn, or the dialogue as a whole.

    names: steps that the model lacks are left out.  Colour: below zero blue, above it red; gates from white.
    """
    names = [name for name in names if name in found]
    values = [found[name][0].numpy() for name in names]
    tall = [max(len(v) for v in values[i : i + columns]) > 1 for i in range(0, len(values), columns)]
    full = 0.8 + LINE * max(8, min(NAMED, len(walk.dialogue.turns)))
    heights = [full if several else STRIP for several in tall]
    figure, axes = empty_figure(10.5, 0.9 + sum(heights), columns, len(heights))
    axes[0].get_gridspec().set_height_ratios(heights)
    for place, (axis, name, value) in enumerate(zip(axes, names, values, strict=False)):
        shown = axis.imshow(value, aspect="auto", interpolation="nearest", **_scale(value))
        figure.colorbar(shown, ax=axis, aspect=20 if len(value) > 1 else 4)
        axis.set_title(f"{name}   {tuple(found[name].shape)}", loc="left", fontsize=10)
        axis.grid(visible=False)
        axis.set_yticks([])
        if len(value) == 1:
            axis.set_yticks([0], ["the dialogue"], fontsize=7)
        elif place % columns == 0:
            _name_turns(axis, walk)
    for axis in axes[len(names) :]:
        axis.remove()
    return titled(figure, title, f"{walk.origin} Columns are features. In brackets: shape (B, U, features).")


def _scale(values: np.ndarray) -> dict:
    """Zero is white; what has no sign is blue."""
    if values.min() >= 0:
        return {"cmap": "Blues", "vmin": 0, "vmax": max(1.0, float(values.max()))}
    return {"cmap": "vlag", "norm": CenteredNorm(0, float(np.abs(values).max()))}


@themed
def fusion_weights(walk: Walk, found: dict[str, Tensor]) -> Figure:
    """What Eq. (14) takes of each branch, turn by turn: how far from one half each way."""
    count = len(walk.dialogue.turns)
    figure, (axis,) = empty_figure(8.5, 1.6 + 0.17 * min(count, 60), 1)
    weight = found["alpha text (13)"][0].numpy() * 100
    colours = np.where(weight >= 50, OURS, OTHER)
    axis.barh(range(count), weight - 50, left=50, color=colours)
    axis.axvline(50, color=QUOTED, linewidth=1)
    _name_turns(axis, walk)
    axis.set(ylim=(count - 0.4, -0.6), xlabel="audio branch  ←  weight of the text branch (%)  →  text branch")
    axis.grid(visible=True, axis="x")
    reach = max(5.0, float(np.abs(weight - 50).max()) * 1.1)
    axis.set_xlim(50 - reach, 50 + reach)
    text = f"{walk.origin} Mean of alpha over the features. Mind the scale: both branches hold both modalities (R7)."
    return titled(figure, "Fusion weights, Eqs. (13), (14)", text)


@themed
def answers(walk: Walk, found: dict[str, Tensor]) -> Figure:
    """Probabilities of Eq. (16) and of the students, Eq. (18), at temperature 1; a star is the label."""
    names = [name for name in found if name.startswith("y ")]
    titles = {"y (16)": "the model (16)", "y text (18)": "text student (18)", "y audio (18)": "audio student (18)"}
    figure, axes = empty_figure(10.5, 1.8 + 0.17 * min(len(walk.dialogue.turns), 60), len(names))
    for axis, name in zip(axes, names, strict=True):
        shown = axis.imshow(found[name][0].numpy(), aspect="auto", cmap="Blues", vmin=0, vmax=1)
        labels = walk.dialogue.labels.numpy()
        scored = np.flatnonzero(labels >= 0)
        axis.plot(labels[scored], scored, "*", color=OTHER, markersize=8, label="label")
        axis.set_xticks(range(len(walk.dialogue.classes)), walk.dialogue.classes, fontsize=8)
        axis.set_title(titles[name])
        _name_turns(axis, walk)
        if axis is not axes[0]:
            axis.set_yticks([])
    figure.colorbar(shown, ax=axes, shrink=0.7, label="probability")
    return titled(figure, "What is said of each turn", f"{walk.origin} Star: the label.")


@themed
def loss_steps(walk: Walk, terms: pd.DataFrame) -> Figure:
    """The terms of Eq. (22), each beginning where the one before ended, and their sum."""
    figure, (axis,) = empty_figure(8.5, 1.4 + 0.4 * len(terms), 1)
    start, colours = 0.0, sns.color_palette("colorblind").as_hex()
    for place, line in enumerate(terms.to_dict("records")):
        last = place == len(terms) - 1
        axis.barh(place, line["adds"], left=0 if last else start, color=QUOTED if last else colours[place])
        axis.text(1.01, place, f"{line['adds']:.3f}", transform=axis.get_yaxis_transform(), va="center", fontsize=9)
        start += 0 if last else line["adds"]
    name_rows([axis], [f"{line.term} {line.equation}" for line in terms.itertuples()])
    axis.set(xlabel="weight times value")
    return titled(figure, "The loss, term by term, Eq. (22)", f"{walk.origin} Mean over the dialogue's scored turns.")


def of_equations(found: dict[str, Tensor], *numbers: int) -> list[str]:
    """The steps of some equations, in order."""
    return [name for name in found if number(name) in numbers]
