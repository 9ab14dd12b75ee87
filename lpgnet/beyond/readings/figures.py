"""Readings and contexts -> figures: differences with both intervals, in the order of the tables."""

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lpgnet.beyond.readings.alternatives import COUNTED
from lpgnet.tables.figures import theme
from lpgnet.tables.typeset import origin

VERDICTS = {  # how a verdict begins or goes on -> mark, colour, name
    "matters": ("D", theme.OTHER, "matters: over seeds and dialogues"),
    "on this test set": ("o", theme.OTHER, "on this test set, undecided beyond it"),
    "never": ("X", theme.QUOTED, "chosen on the test set"),
    "": ("o", theme.OURS, "no difference found, or a hint"),
}
MODELS = {"linear": "Linear", "full": "LPGNet", "bigru": "BiGRU", "sdt": "SDT*"}
LINES = "Thick line: 95 % t interval over seeds; thin line: 95 % interval over test dialogues. "
LINES += "After Holm's correction over the table."


def save(readings: pd.DataFrame, contexts: pd.DataFrame, folder: Path) -> list[Path]:
    """readings.png and context.png."""
    return [
        theme.save_figure("readings", differences(readings), folder),
        theme.save_figure("context", turns(contexts), folder),
    ]


@theme.figure("readings", "Each reading of the paper run the other way: difference and 95 % interval.")
@theme.themed
def differences(table: pd.DataFrame) -> Figure:
    """Each alternative minus its default, in points; what only counts otherwise stands in the table alone."""
    shown = table[table["verdict"] != COUNTED]
    rows = shown.drop_duplicates(["reading", "alternative"]).reset_index(drop=True)
    figure, axes = theme.empty_figure(12, 2.1 + 0.3 * len(rows), 2)
    for axis, metric in zip(axes, ("accuracy", "weighted_f1"), strict=True):
        lines = shown[shown["metric"] == metric]
        for place, line in enumerate(lines.to_dict("records")):
            difference(axis, place, line)
        theme.limit(axis, lines)
        unit = theme.AXIS["accuracy" if metric == "accuracy" else "f1"].replace(" (%)", "")
        axis.set_xlabel(f"{unit}: difference, points")
    theme.name_rows(axes, [_called(line) for line in rows.to_dict("records")])
    caption = f"{_origin(shown)} Alternative minus default (full, or in brackets). {LINES}"
    most = max(axes, key=lambda axis: len(set(axis.get_legend_handles_labels()[1])))  # kinds of marks
    return theme.titled(figure, "What the readings are worth", caption, most)


@theme.figure("context", "Accuracy with the turns of a dialogue as they are, shuffled, and dealt out anew.")
@theme.themed
def turns(table: pd.DataFrame) -> Figure:
    """What a model may read of a dialogue: accuracy, and the difference to the same model as spoken."""
    figure, axes = theme.empty_figure(12, 2.1 + 0.3 * len(table), 2)
    first = table["model"] != table["model"].shift()
    for place, line in enumerate(table.to_dict("records")):
        if not pd.isna(line["accuracy_mean"]):
            mean = line["accuracy_mean"]
            (down,), (up,) = theme.reach([mean], [line["accuracy_std"]], [line["n_seeds"]])
            axes[0].plot([mean - down, mean + up], [place, place], color=theme.OURS, linewidth=2, alpha=0.6)
            axes[0].plot(line["accuracy_mean"], place, "o", color=theme.OURS, markersize=6)
            theme.beside(axes[0], place, f"{line['accuracy_mean']:.1f}", theme.OURS)
        elif line["note"]:
            _absent(axes[0], place, line["note"])
        if not pd.isna(line["difference"]):
            difference(axes[1], place, line)
        for axis in axes if first.iloc[place] and place else ():
            axis.axhline(place - 0.5, color="#BBBBBB", linewidth=0.8)
    axes[0].set_xlabel(theme.AXIS["accuracy"])
    axes[1].set_xlabel("Accuracy: difference to the turns as spoken, points")
    axes[1].axvline(0, color="black", linewidth=0.8)
    theme.limit(axes[1], table)
    theme.name_rows(axes, [f"{MODELS[line.model]}: {line.turns}" for line in table.itertuples()])
    caption = f"{_origin(table)} Left: {theme.SPREAD[0].lower()}{theme.SPREAD[1:]} Right: {LINES[0].lower()}{LINES[1:]}"
    return theme.titled(figure, "What context is", caption, axes[1])


def difference(axis: Axes, place: int, line: dict) -> None:
    """A point with both of its intervals, and the number at the right edge; why, where there is none."""
    axis.axvline(0, color="black", linewidth=0.8)
    if pd.isna(line["difference"]):
        _absent(axis, place, line["note"])
        return
    *look, name = next(v for key, v in VERDICTS.items() if key in line["verdict"])
    theme.difference(axis, place, line, look, name)


def _absent(axis: Axes, place: int, note: str) -> None:
    """Why a row is empty, as far as there is room."""
    side, text = axis.get_yaxis_transform(), note if len(note) < 62 else f"{note[:59]}..."
    axis.text(0.02, place, text, transform=side, va="center", fontsize=8, color=theme.QUOTED)


def _origin(table: pd.DataFrame) -> str:
    """Of what has been run."""
    run = table[table["n_seeds"].notna()]
    return origin(run if len(run) else table)


def _called(line: dict) -> str:
    beside = "" if line["default"] == "full" else f" ({line['default']})"
    return f"{line['reading']}  {line['alternative']}{beside}"
