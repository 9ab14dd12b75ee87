"""Tables -> figures.  Each function takes frames and returns a Figure; only `save_all` saves.

In every picture grey is what the paper prints and colour is what we ran; a black tick is the paper's
number for the same row.
"""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lpgnet.machine.files import whole
from lpgnet.tables.figures import inside, of_runs
from lpgnet.tables.figures.architecture import architecture
from lpgnet.tables.figures.theme import (
    AXIS,
    OURS,
    QUOTED,
    SPREAD,
    bar,
    canvas,
    class_points,
    finish,
    name_rows,
    point,
    themed,
)
from lpgnet.tables.selection import selection_gap
from lpgnet.tables.typeset import TITLES, headline, origin

INTERVAL = "Line: 95 % t interval over seeds."
TICK = "Black tick: the paper's number."
CONFUSED = ("full", "sdt", "full_6", "sdt_6")
MADE = ("table*", "confusion_*", "curves_*", "selection_gap", "slices", "classes", "cost", "architecture")
MADE += tuple(inside.PICTURES)  # every name that `save_all` may write


def save_all(
    runs: pd.DataFrame,
    data: dict,
    tables: dict[int, pd.DataFrame],
    folder: Path,
    sliced: pd.DataFrame | None = None,
    results: Path | None = None,
) -> list[Path]:
    """Every figure that the tables and runs allow, as PNG; one that they don't allow any more is removed.

    sliced: the scores of `slices.slices`.  results: the place's, for what runs left beside their records.
    """
    figures = _of_tables(tables) | _of_runs(runs, data, sliced)
    if results is not None:
        figures |= inside.pictures(runs, data, results) | _of_cost(results)
    folder, paths = Path(folder), []
    for name, draw in figures.items():
        paths.append(folder / f"{name}.png")
        with whole(paths[-1]) as part:
            draw().savefig(part, format="png", dpi=150)
    for old in {path for kind in MADE for path in folder.glob(f"{kind}.png")} - set(paths):
        old.unlink()
    return paths


def _of_tables(tables: dict[int, pd.DataFrame]) -> dict:
    """Name -> what draws it."""
    return {
        "table1_classes": lambda: class_distribution(tables[1]),
        "table2_comparison": lambda: comparison(tables[2], 2),
        "table3_ablation": lambda: ablation_bars(tables[3], 3),
        "table4_audio": lambda: ablation_bars(tables[4], 4),
        "table5_text": lambda: ablation_bars(tables[5], 5),
        "table6_weights": lambda: comparison(tables[6], 6),
        "table7_by_class": lambda: by_class(tables[7]),
        "architecture": architecture,
    }


def _of_runs(runs: pd.DataFrame, data: dict, sliced: pd.DataFrame | None) -> dict:
    """Name -> what draws it, as far as there are runs of it."""
    figures = {}
    for name in CONFUSED:
        if of_runs.whole_seeds(runs, data, name).size:
            figures[f"confusion_{name}"] = partial(of_runs.confusion_matrix, runs, data, name)
    if "confusion_full" in figures:
        figures["curves_full"] = lambda: of_runs.training_curves(runs, data)
        figures["classes"] = lambda: of_runs.class_bars(runs, data)
    gap = selection_gap(runs, data)
    if len(gap):
        figures["selection_gap"] = lambda: of_runs.selection_gap(gap)
    if sliced is not None and len(sliced) and of_runs.drawn(sliced):
        figures["slices"] = lambda: of_runs.slices(sliced)
    return figures


def _of_cost(results: Path) -> dict:
    path = Path(results) / "efficiency.csv"
    return {"cost": lambda: of_runs.cost(pd.read_csv(path))} if path.exists() else {}


@themed
def class_distribution(table: pd.DataFrame) -> Figure:
    """Table 1: utterances per class in the training and the test part, ours beside the printed ones."""
    names = [c.removesuffix("_ours") for c in table if c.endswith("_ours") and c != "total_ours"]
    figure, axes = canvas(9, 4.6, 2)
    parts = table.set_index("part")
    titles = {"train_val": "Training and validation", "test": "Test"}
    for axis, (part, title) in zip(axes, titles.items(), strict=True):
        for shift, what, colour in ((-0.2, "reported", QUOTED), (0.2, "ours", OURS)):
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
    return finish(figure, f"Table 1. {TITLES[1].split(':')[0]}", origin(table), axes[0])


@themed
def comparison(table: pd.DataFrame, number: int) -> Figure:
    """One point per row and metric: quoted rows in grey, ours with their 95 % interval (Tables 2, 6)."""
    figure, axes = canvas(10, 1.9 + 0.36 * len(table), 2)
    for axis, metric in zip(axes, ("accuracy", "f1"), strict=True):
        for place, line in enumerate(table.to_dict("records")):
            point(axis, place, line, metric)
        axis.set_xlabel(AXIS[metric])
    name_rows(axes, table)
    return finish(figure, _title(number), f"{origin(table)} {INTERVAL} {TICK}", axes[0])


@themed
def ablation_bars(table: pd.DataFrame, number: int) -> Figure:
    """One bar per row from zero, one standard deviation, the paper's as a tick (Tables 3, 4, 5)."""
    metrics = [m for m in AXIS if f"{m}_mean" in table and f"{m}_reported" in table]
    figure, axes = canvas(10 if len(metrics) > 1 else 8, 1.9 + 0.42 * len(table), len(metrics))
    for axis, metric in zip(axes, metrics, strict=True):
        for place, line in enumerate(table.to_dict("records")):
            bar(axis, place, line, metric)
        axis.set(xlabel=AXIS[metric], xlim=(0, 105), xticks=range(0, 101, 20))
    name_rows(axes, table)
    return finish(figure, _title(number), f"{origin(table)} {SPREAD} {TICK}", axes[0])


@themed
def by_class(table: pd.DataFrame) -> Figure:
    """Table 7: LPGNet and SDT* by class, four classes above six."""
    figure, axes = canvas(9.5, 7.2, 1, rows=2)
    widths = table["classes"].unique()
    for axis, width in zip(axes, widths, strict=True):
        lines = table[table["classes"] == width]
        lines = lines[lines["model"].isin(["LPGNet", "SDT*"])]
        names = [n for n in headline(table) if lines[[f"{n}_mean", f"{n}_reported"]].notna().any(axis=None)]
        for shift, (_, line) in zip((-0.14, 0.14), lines.iterrows(), strict=True):
            class_points(axis, line, names, shift)
        axis.set_xticks(range(len(names)), [name.capitalize() for name in names])
        axis.set(
            title=f"{width} classes", ylabel="Recall (%); overall: accuracy", xlim=(-0.5, len(names) - 0.5)
        )
        axis.grid(visible=False, axis="x")
    return finish(figure, _title(7), f"{origin(table)} {SPREAD} {TICK}", axes[0])


def _title(number: int) -> str:
    return f"Table {number}. {TITLES[number]}"
