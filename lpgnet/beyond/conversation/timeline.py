"""Figures of a conversation turn by turn, and of what missing text or audio costs.  No torch."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import MaxNLocator

from lpgnet.machine.workers import as_clock
from lpgnet.tables.figures import theme
from lpgnet.tables.names import plain_name
from lpgnet.tables.typeset import origin

MODALITY = {"text": "#8C564B", "audio": "#CC78BC"}  # no colour of a class
EXPERIMENT = {"full": (theme.OURS, "o"), "full_moddrop": (theme.OTHER, "s")}
SEEDS = "#BBD3EE"  # a pale tone of OURS
WORDS = 34  # characters of a turn that stand below it
NUMBERED = 40  # turns whose ticks still find room


@theme.themed
def timeline(turns: pd.DataFrame, name: str, caption: str) -> Figure:
    """Probabilities, how sure the model is, and which modality the gate took, one column per turn.

    turns: as `lpgnet.beyond.conversation.predict.predicted` gives them.
    """
    count = len(turns)
    figure, axes = theme.empty_figure(min(max(8.0, 3 + 0.28 * count), 26.0), 9.0, 1, 3)
    classes = [column.removeprefix("p_") for column in turns if column.startswith("p_")]
    _probabilities(axes[0], turns, classes)
    _certainty(axes[1], turns)
    _gate(axes[2], turns)
    step = max(1, -(-count // NUMBERED))
    for axis in axes:
        axis.set_xlim(0.4, count + 0.6)
        axis.set_xticks(range(1, count + 1, step), range(1, count + 1, step) if axis is axes[2] else [])
        axis.grid(visible=False)  # a line through a bar would read as a value
    axes[2].set_xticklabels([_said(line) for line in turns.iloc[::step].to_dict("records")], rotation=270, fontsize=8)
    for label in axes[2].get_xticklabels():
        label.set_parse_math(False)  # a price is no formula
    axes[2].set_xlabel("turn, when it began, and its words")
    for axis in axes:
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)
    return theme.titled(figure, f"Conversation {name}", caption)


def _said(line: dict) -> str:
    """A turn's number, when it began, and its first words."""
    clock = "" if line.get("start") is None or np.isnan(line["start"]) else f" {as_clock(int(line['start']))}"
    words = textwrap.shorten(drawable(line["text"]), WORDS, placeholder=" …")
    return f"{line['turn']}{clock}  {words}".strip()


def drawable(text: str) -> str:
    """A text without the characters that the figures' font lacks."""
    font = get_font(findfont(FontProperties()))
    return "".join(c if font.get_char_index(ord(c)) else "·" for c in text)


def _probabilities(axis: Axes, turns: pd.DataFrame, classes: list[str]) -> None:
    """Stacked bars that sum to one; a star where the corpus knows the class, above it in its colour."""
    below = np.zeros(len(turns))
    for colour, name in zip(theme.class_colours(classes), classes, strict=True):
        values = turns[f"p_{name}"].to_numpy()
        axis.bar(turns["turn"], values, bottom=below, color=colour, label=name, **_width(turns))
        below += values
        known = turns["turn"][turns["label"] == name]
        axis.plot(known, np.full(len(known), 1.07), "*", color=colour, markersize=7)
    if (turns["label"] != "").any():
        axis.plot([], [], "*", color=theme.QUOTED, markersize=7, label="label of the corpus")
    axis.set(ylim=(0, 1.14), ylabel="probability")
    axis.set_yticks([0, 0.5, 1])


def _width(turns: pd.DataFrame) -> dict:
    """Of bars: with gaps between them while these can be seen."""
    return {"width": 0.86} if len(turns) <= 5 * NUMBERED else {"width": 1.0, "linewidth": 0}


def _certainty(axis: Axes, turns: pd.DataFrame) -> None:
    top = turns.filter(like="p_").max(axis=1)
    axis.plot(turns["turn"], top, "o-", color=theme.OURS, markersize=4, linewidth=1, label="top probability")
    axis.plot(turns["turn"], turns["entropy"], "--", color=theme.QUOTED, linewidth=1.4, label="entropy (0 to 1)")
    if "seeds" in turns:
        between = turns["seeds_low"], turns["seeds_high"]
        axis.vlines(turns["turn"], *between, color=SEEDS, linewidth=5, zorder=1, label="all seeds")
    unsure = turns["abstain"]
    axis.plot(turns["turn"][unsure], top[unsure], "x", color="black", markersize=9, label="abstains")
    axis.set(ylim=(-0.03, 1.05), ylabel="certainty")
    axis.set_yticks([0, 0.5, 1])


def _gate(axis: Axes, turns: pd.DataFrame) -> None:
    """Stacked gate weights, pale where the turn lacks the modality, which is named by a cross."""
    below = np.zeros(len(turns))
    for modality, colour in MODALITY.items():
        if f"weight_{modality}" not in turns:
            continue
        values, has = turns[f"weight_{modality}"].to_numpy(), turns[f"has_{modality}"].to_numpy()
        pale = tuple(1 - 0.35 * (1 - part) for part in to_rgb(colour))
        shades = [colour if there else pale for there in has]
        axis.bar(turns["turn"], values, bottom=below, color=shades, **_width(turns))
        axis.bar([turns["turn"].iloc[0]], [0], color=colour, label=modality)
        middle = (below + values / 2)[~has]
        axis.plot(turns["turn"][~has], middle, "x", color="black", markersize=6)
        below += values
    if not turns.filter(like="has_").to_numpy().all():
        axis.plot([], [], "x", color="black", markersize=6, label="missing here")
    axis.axhline(0.5, color="white", linewidth=1)
    axis.set(ylim=(0, 1), ylabel="gate, Eq. (14)")
    axis.set_yticks([0, 0.5, 1])


@theme.themed
def growing(probabilities: np.ndarray, classes: tuple[str, ...], name: str, caption: str) -> Figure:
    """What is predicted of each turn as turns are added: colour is the class, its strength the probability.

    probabilities: (T, T, C) of `lpgnet.beyond.conversation.predict.growing`.
    """
    count = len(probabilities)
    side = min(max(5.5, 2.5 + 0.2 * count), 14.0)
    figure, (axis,) = theme.empty_figure(side + 2, side, 1)
    shades = theme.class_colours(classes)
    colours = np.array([to_rgb(colour) for colour in shades])
    picture = np.ones((count, count, 3))
    known = np.tril(np.ones((count, count), bool))
    best, top = probabilities[known].argmax(-1), probabilities[known].max(-1)[:, None]
    picture[known] = 1 - top * (1 - colours[best])
    axis.imshow(picture.swapaxes(0, 1), extent=(0.5, count + 0.5, count + 0.5, 0.5), interpolation="nearest")
    axis.grid(visible=False)
    axis.set(xlabel="turns known so far", ylabel="turn")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    for colour, label in zip(shades, classes, strict=True):
        axis.plot([], [], "s", color=colour, markersize=9, label=label)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return theme.titled(figure, f"{name}: the prediction as turns are added", caption)


@theme.figure("missing", "Lines: weighted F1 as more of the turns lose their text, or their audio, by model.")
@theme.themed
def missing_rates(frame: pd.DataFrame) -> Figure:
    """Weighted F1 against the part of the turns that lost their text or audio; mean, 95 % interval over seeds.

    frame: as `lpgnet.beyond.conversation.missing_turns.table` gives it.
    """
    figure, axes = theme.empty_figure(10.5, 4.4, 2)
    for axis, (modality, part) in zip(axes, frame.groupby("modality", sort=False), strict=True):
        for shift, (experiment, line) in zip((-0.6, 0.6), part.groupby("experiment", sort=False), strict=False):
            colour, mark = EXPERIMENT[experiment]
            rate, mean = 100 * line["rate"] + shift, 100 * line["weighted_f1_mean"]  # side by side, none hides another
            ends = theme.reach(mean, 100 * line["weighted_f1_std"], line["n_seeds"])
            axis.errorbar(
                rate, mean, yerr=ends, fmt=f"{mark}-", color=colour, elinewidth=1.4, label=plain_name(experiment)
            )
        axis.set(title=f"{modality} lost", xlabel="turns without it (%)", ylabel="Weighted F1 (%)")
    theme.same_height(axes)
    text = f"{origin(frame)} {theme.SPREAD} All seeds and models lose the same turns."
    return theme.titled(figure, "What missing text or audio costs", text, axes[0])
