"""Tables and runs -> figures.  Each function takes frames and returns a Figure; only `save_all` saves.

In every picture grey is what the paper prints and colour is what we ran; a black tick is the paper's
number for the same row.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lpgnet.analysis.canvas import (
    ORACLE,
    OTHER,
    OURS,
    QUOTED,
    band,
    bar,
    canvas,
    class_points,
    finish,
    name_rows,
    point,
    themed,
)
from lpgnet.analysis.class_counts import identity
from lpgnet.analysis.rows import TABLES
from lpgnet.analysis.selection import selection_gap as gaps
from lpgnet.analysis.slices import VALUES
from lpgnet.analysis.tables import pooled
from lpgnet.analysis.typeset import TITLES, headline, origin
from lpgnet.files import whole

AXIS = {"accuracy": "Accuracy (%)", "f1": "Weighted F1 (%)"}
INTERVAL = "Line: 95 % t interval over seeds."
SPREAD = "Line: one standard deviation over seeds."
TICK = "Black tick: the paper's number."
RULES = {  # the epoch's rule -> mark, colour, name
    "last": ("s", ORACLE, "last epoch"),
    "best_validation": ("o", OURS, "best on validation (the tables')"),
    "best_test": ("^", OTHER, "best on test"),
}
SLICED = {  # experiment -> mark, colour
    "full": ("o", OURS),
    "sdt": ("s", OTHER),
    "bigru": ("D", ORACLE),
    "text_only": ("^", "#CC78BC"),
    "linear": ("v", "#8C564B"),
}
SLICES = {
    "speech": "Script or improvisation",
    "length": "Duration",
    "shift": "Emotion against the previous turn",
    "speaker_shift": "... against the speaker's own previous turn",
    "turn": "Place in the dialogue",
    "transcript": "Words in the training part",
}


def save_all(
    runs: pd.DataFrame,
    data: dict,
    tables: dict[int, pd.DataFrame],
    folder: Path,
    sliced: pd.DataFrame | None = None,
) -> list[Path]:
    """Every figure that the tables and runs allow, as PNG; those of `full` need runs of it.

    sliced: the scores of `slices.slices`.
    """
    figures = {
        "table1_classes": lambda: class_distribution(tables[1]),
        "table2_comparison": lambda: comparison(tables[2], 2),
        "table3_ablation": lambda: ablation_bars(tables[3], 3),
        "table4_audio": lambda: ablation_bars(tables[4], 4),
        "table5_text": lambda: ablation_bars(tables[5], 5),
        "table6_weights": lambda: comparison(tables[6], 6),
        "table7_by_class": lambda: by_class(tables[7]),
    }
    if _whole(runs, data, "full").size:
        figures["confusion_full"] = lambda: confusion_matrix(runs, data)
        figures["curves_full"] = lambda: training_curves(runs, data)
    gap = gaps(runs, data)
    if len(gap):
        figures["selection_gap"] = lambda: selection_gap(gap)
    if sliced is not None and len(sliced) and _drawn(sliced):
        figures["slices"] = lambda: slices(sliced)
    paths = []
    for name, draw in figures.items():
        paths.append(Path(folder) / f"{name}.png")
        with whole(paths[-1]) as part:
            draw().savefig(part, format="png", dpi=150)
    return paths


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


@themed
def confusion_matrix(runs: pd.DataFrame, data: dict, experiment: str = "full") -> Figure:
    """Share of each true class that was called what, all whole seeds of an experiment summed."""
    pool = _whole(runs, data, experiment)
    counts, names = np.sum(list(pool["confusion"]), axis=0), list(pool["classes"].iloc[0])
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    words = [
        [f"{100 * p:.1f} %\n{n}" for p, n in zip(*row, strict=True)]
        for row in zip(share, counts, strict=True)
    ]
    figure, (axis,) = canvas(1.6 + 1.15 * len(names), 2.2 + 0.9 * len(names), 1)
    sns.heatmap(share, annot=np.array(words), fmt="", cmap="Blues", vmin=0, vmax=1, ax=axis, cbar=False)
    axis.set(xlabel="Predicted", ylabel="True")
    axis.set_xticklabels(names, rotation=0)
    axis.set_yticklabels(names, rotation=0)
    text = f"{_runs_origin(pool, data)} Percent of the true class, and utterances summed over seeds."
    return finish(figure, f"Confusion matrix of {experiment}", text)


@themed
def training_curves(runs: pd.DataFrame, data: dict, experiment: str = "full") -> Figure:
    """Training loss and weighted F1 by epoch: mean over runs and one standard deviation as a band."""
    mine = runs[runs["experiment"] == experiment]
    loss, validation, test = (
        np.array([curves[name] for curves in mine["curves"]]) for name in ("loss", "validation_f1", "test_f1")
    )
    figure, axes = canvas(9.5, 4.6, 2)
    band(axes[0], loss, QUOTED, "loss")
    band(axes[1], 100 * validation, OURS, "validation part")
    band(axes[1], 100 * test, OTHER, "test part")
    for axis in axes:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set(xlabel="Epoch", ylabel="Training loss")
    axes[1].set(xlabel="Epoch", ylabel="Weighted F1 (%)")
    text = (
        f"{_runs_origin(mine, data)} Band: one standard deviation. The epoch is chosen on validation alone."
    )
    return finish(figure, f"Training of {experiment}", text, axes[1])


@themed
def selection_gap(gap: pd.DataFrame) -> Figure:
    """Per experiment the score at three epochs, and at the right what choosing on the test set adds."""
    have = set(gap["experiment"])
    rows = [row.experiment for table in TABLES.values() for row in table.rows]
    experiments = [name for name in dict.fromkeys(rows) if name in have]
    figure, axes = canvas(10.5, 1.9 + 0.34 * len(experiments), 2)
    for axis, metric in zip(axes, ("accuracy", "weighted_f1"), strict=True):
        lines = gap[gap["metric"] == metric].set_index("experiment").loc[experiments]
        for place, line in enumerate(lines.to_dict("records")):
            values = [line[f"{rule}_mean"] for rule in RULES]
            axis.plot([min(values), max(values)], [place, place], color=QUOTED, linewidth=2, alpha=0.5)
            for value, (mark, colour, label) in zip(values, RULES.values(), strict=True):
                axis.plot(value, place, mark, color=colour, markersize=6, label=label)
            spread = "" if pd.isna(line["gap_validation_std"]) else f" ± {line['gap_validation_std']:.1f}"
            text, side = f"{line['gap_validation_mean']:+.1f}{spread}", axis.get_yaxis_transform()
            axis.text(1.02, place, text, transform=side, va="center", fontsize=9, color=OTHER)
        axis.set_ylim(len(experiments) - 0.4, -0.6)
        axis.set_yticks(range(len(experiments)), experiments if axis is axes[0] else [""] * len(experiments))
        axis.grid(visible=False, axis="y")
        axis.set_xlabel({"accuracy": AXIS["accuracy"], "weighted_f1": AXIS["f1"]}[metric])
    text = (
        f"{origin(gap)} Mean over seeds at three epochs; right: best on test minus best on validation, mean "
        "and standard deviation. Best on test is chosen on the test set (weighted F1) and feeds no headline."
    )
    return finish(figure, "What choosing the epoch on the test set adds", text, axes[0])


@themed
def slices(sliced: pd.DataFrame) -> Figure:
    """Accuracy on both parts of each slice, for LPGNet and the models that question it."""
    mine, names = sliced[sliced["experiment"].isin(SLICED)], _drawn(sliced)
    rows = -(-len(names) // 3)
    figure, axes = canvas(10.5, 1.4 + 2.9 * rows, 3, rows)
    for axis, name in zip(axes, names, strict=False):
        part = mine[mine["slice"] == name].set_index("value")
        values = [value for value in VALUES[name] if value in part.index]
        _models(axis, part, values)
        sizes = part["n_utterances"].groupby(level=0).first()
        axis.set_xticks(range(len(values)), [f"{value}\n({sizes[value]})" for value in values])
        axis.set(title=SLICES[name], ylabel=AXIS["accuracy"], xlim=(-0.5, len(values) - 0.5))
        axis.grid(visible=False, axis="x")
    _same_height(axes[: len(names)])
    for axis in axes[len(names) :]:
        axis.remove()
    left_out = [line for line in sliced.attrs.get("left_out", []) if line.startswith(mine["labels"].iloc[0])]
    text = " ".join([origin(mine), SPREAD, "In brackets: test utterances.", *(f"{x}." for x in left_out)])
    finish(figure, "Parts of the test set", text)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper right", ncols=len(SLICED), frameon=False, fontsize=9)
    return figure


def _drawn(sliced: pd.DataFrame) -> list[str]:
    """The slices that there is something to draw of."""
    return [n for n in SLICES if n in set(sliced["slice"][sliced["experiment"].isin(SLICED)])]


def _same_height(axes: list[Axes]) -> None:
    """One scale for all panels."""
    limits = [axis.get_ylim() for axis in axes]
    for axis in axes:
        axis.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def _models(axis: Axes, part: pd.DataFrame, values: list[str]) -> None:
    """Each model's accuracy on the values of a slice, side by side, with one standard deviation."""
    shifts = np.linspace(-0.24, 0.24, len(SLICED))
    for shift, (experiment, (mark, colour)) in zip(shifts, SLICED.items(), strict=True):
        scored = part[part["experiment"] == experiment].reindex(values)
        if scored["accuracy_mean"].notna().any():
            places, spread = np.arange(len(values)) + shift, np.nan_to_num(scored["accuracy_std"])
            style = {"fmt": mark, "color": colour, "markersize": 6, "elinewidth": 1.6, "label": experiment}
            axis.errorbar(places, scored["accuracy_mean"], yerr=spread, **style)


def _whole(runs: pd.DataFrame, data: dict, experiment: str) -> pd.DataFrame:
    """The seeds of an experiment that have run all their folds."""
    pool = pooled(runs, data)
    return pool[pool["experiment"].eq(experiment) & pool["lacks"].eq("")]


def _title(number: int) -> str:
    return f"Table {number}. {TITLES[number]}"


def _runs_origin(runs: pd.DataFrame, data: dict) -> str:
    """The caption of a picture that is drawn from runs."""
    seeds = runs["seed"].nunique()
    return origin(pd.DataFrame([identity(data, runs["labels"].iloc[0]) | {"n_seeds": seeds}]))
