"""Tables -> figures.  Each function takes frames and returns a Figure.

In every picture grey is what the paper prints and colour is what we ran; a tick is the paper's number for the
same row, black where the corpus is the paper's.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lpgnet.tables.figures import theme
from lpgnet.tables.typeset import TITLES, headline, origin

TICK = "Black tick: the paper's number; pale where it is of another corpus."


def numbered(table: int) -> Callable:
    """What `comparison` draws: a table and its number."""
    return lambda made: (made.tables[table], table)


@theme.figure(
    "table1_classes",
    "Bars: utterances per class in training and test, ours beside the printed ones.",
    of=lambda made: (made.tables[1],),
)
@theme.themed
def class_distribution(table: pd.DataFrame) -> Figure:
    """Table 1: utterances per class in the training and the test part, ours beside the printed ones."""
    names = [c.removesuffix("_ours") for c in table if c.endswith("_ours") and c != "total_ours"]
    figure, axes = theme.empty_figure(9, 4.6, 2)
    parts = table.set_index("part")
    titles = {"train_val": "Training and validation", "test": "Test"}
    for axis, (part, title) in zip(axes, titles.items(), strict=True):
        for shift, what, colour in ((-0.2, "reported", theme.QUOTED), (0.2, "ours", theme.OURS)):
            heights = [parts.at[part, f"{name}_{what}"] for name in names]
            heights = pd.array(heights, dtype="Float64").to_numpy(dtype=float, na_value=np.nan)
            label = {"reported": "printed in the paper", "ours": "this corpus"}[what]
            bars = axis.bar(np.arange(len(names)) + shift, heights, 0.4, color=colour, label=label)
            size = 9 if len(names) < 6 else 7
            axis.bar_label(bars, ["" if np.isnan(h) else f"{h:.0f}" for h in heights], fontsize=size)
        axis.set_xticks(range(len(names)), [name.capitalize() for name in names])
        axis.tick_params(axis="x", labelrotation=0 if len(names) < 6 else 35)
        axis.set(title=title, ylabel="Utterances")
        axis.margins(y=0.1)
        axis.grid(visible=False, axis="x")
    return theme.titled(figure, f"Table 1. {TITLES[1].split(':')[0]}", origin(table), axes[0])


@theme.figure(
    "table2_comparison",
    "Points: accuracy and F1 of every model of Table 2, ours with 95 % intervals, the paper's number as a tick.",
    of=numbered(2),
)
@theme.figure(
    "table3_ablation",
    "Points: accuracy and F1 of the ablations of Table 3 with 95 % intervals, the paper's number as a tick.",
    of=numbered(3),
)
@theme.figure("table4_audio", "Points: accuracy from audio alone, quoted and ours.", of=numbered(4))
@theme.figure("table5_text", "Points: accuracy from text alone, quoted and ours.", of=numbered(5))
@theme.figure(
    "table6_weights",
    "Points: accuracy and F1 for each set of loss weights, ours with 95 % intervals.",
    of=numbered(6),
)
@theme.themed
def comparison(table: pd.DataFrame, number: int) -> Figure:
    """One point per row and metric: quoted rows in grey, ours with their 95 % interval (Tables 2 to 6)."""
    metrics = [m for m in theme.AXIS if f"{m}_mean" in table and f"{m}_reported" in table]
    figure, axes = theme.empty_figure(10 if len(metrics) > 1 else 8, 1.9 + 0.36 * len(table), len(metrics))
    for axis, metric in zip(axes, metrics, strict=True):
        for place, line in enumerate(table.to_dict("records")):
            theme.point(axis, place, line, metric)
        axis.set_xlabel(theme.AXIS[metric])
    theme.name_rows(axes, [theme.row_name(line) for line in table.to_dict("records")])
    if "lambda_task" in table:
        axes[0].set_ylabel("λ task / CE / KL")
    return theme.titled(figure, _title(number), f"{origin(table)} {theme.SPREAD} {TICK}", axes[0])


@theme.figure(
    "table7_by_class",
    "Points: recall of each class for LPGNet and SDT*, four classes and six.",
    of=lambda made: (made.tables[7],),
)
@theme.themed
def by_class(table: pd.DataFrame) -> Figure:
    """Table 7: LPGNet and SDT* by class, four classes above six."""
    figure, axes = theme.empty_figure(9.5, 7.2, 1, rows=2)
    widths = table["classes"].unique()
    for axis, width in zip(axes, widths, strict=True):
        lines = table[table["classes"] == width]
        lines = lines[lines["model"].isin(["LPGNet", "SDT*"])]
        names = [n for n in headline(table) if lines[[f"{n}_mean", f"{n}_reported"]].notna().any(axis=None)]
        if lines["n_seeds"].fillna(0).eq(0).all():
            axis.text(0.5, 0.5, "not run yet", transform=axis.transAxes, ha="center", color=theme.QUOTED)
        for shift, (_, line) in zip((-0.14, 0.14), lines.iterrows(), strict=True):
            theme.class_points(axis, line, names, shift)
        axis.set_xticks(range(len(names)), [name.capitalize() for name in names])
        axis.set(title=f"{width} classes", ylabel="Recall (%); overall: accuracy", xlim=(-0.5, len(names) - 0.5))
        axis.grid(visible=False, axis="x")
    return theme.titled(figure, _title(7), f"{origin(table)} {theme.SPREAD} {TICK}", axes[0])


def _title(number: int) -> str:
    return f"Table {number}. {TITLES[number]}"
