"""Runs -> figures: confusion, training curves, the selection gap, slices, classes, accuracy against cost.

Each function takes frames and returns a Figure.
"""

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lpgnet.runs.metrics import per_class
from lpgnet.tables.figures import theme
from lpgnet.tables.names import plain_name
from lpgnet.tables.rows import TABLES
from lpgnet.tables.scores import identity
from lpgnet.tables.slices import VALUES
from lpgnet.tables.statistics import summary
from lpgnet.tables.typeset import origin

RULES = {  # the epoch's rule -> mark, colour, name
    "last": ("s", theme.ORACLE, "last epoch"),
    "best_validation": ("o", theme.OURS, "best on validation (the tables')"),
    "best_test": ("^", theme.OTHER, "best on test"),
}
SLICED = {  # experiment -> mark, colour
    "full": ("o", theme.OURS),
    "sdt": ("s", theme.OTHER),
    "bigru": ("D", theme.ORACLE),
    "text_only": ("^", "#CC78BC"),
    "linear": ("v", "#8C564B"),
}
COSTED = {  # experiment -> mark
    **{"full": "o", "text_only": "o", "audio_only": "o", "sdt": "s", "bigru": "^"},
    **{"linear": "D", "linear_text": "<", "linear_audio": ">"},
}
CLASSED = {"full": theme.OURS, "text_only": "#CC78BC", "audio_only": theme.ORACLE, "sdt": theme.OTHER}  # -> colour
SLICES = {
    "speech": "Script or improvisation",
    "length": "Duration",
    "shift": "Emotion against the previous turn",
    "speaker_shift": "... against the speaker's own previous turn",
    "turn": "Place in the dialogue",
    "transcript": "Words in the training part",
}


def whole(experiment: str, made) -> tuple | None:
    """The whole seeds of an experiment, where there are any."""
    pool = made.evaluation.whole(experiment)
    return (pool, made.data) if len(pool) else None


SUMMED = "all seeds summed."


@theme.figure(
    "confusion_full",
    f"Confusion matrix of LPGNet on the place's own classes, {SUMMED}",
    partial(whole, "full"),
)
@theme.figure("confusion_sdt", f"Confusion matrix of SDT* on the same classes, {SUMMED}", partial(whole, "sdt"))
@theme.figure("confusion_full_6", f"Confusion matrix of LPGNet on six classes, {SUMMED}", partial(whole, "full_6"))
@theme.figure("confusion_sdt_6", f"Confusion matrix of SDT* on six classes, {SUMMED}", partial(whole, "sdt_6"))
@theme.themed
def confusion_matrix(pool: pd.DataFrame, data: dict) -> Figure:
    """Share of each true class that was called what.  pool: one experiment's whole seeds, summed here."""
    counts, names = np.sum(list(pool["confusion"]), axis=0), list(pool["classes"].iloc[0])
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    words = [[f"{100 * p:.1f} %\n{n}" for p, n in zip(*row, strict=True)] for row in zip(share, counts, strict=True)]
    figure, (axis,) = theme.empty_figure(1.6 + 1.15 * len(names), 2.2 + 0.9 * len(names), 1)
    theme.heat_map(axis, share, 1, annot=np.array(words), fmt="")
    axis.set(xlabel="Predicted", ylabel="True")
    axis.set_xticklabels(names, rotation=0)
    axis.set_yticklabels(names, rotation=0)
    text = f"{runs_origin(pool, data)} Percent of the true class, and utterances summed over seeds."
    return theme.titled(figure, f"Confusion matrix of {plain_name(pool['experiment'].iloc[0])}", text)


@theme.figure(
    "curves_full",
    "Lines: training loss, and F1 on validation and test, by epoch, with 95 % bands; marks: the epochs chosen.",
    of=lambda made: whole("full", made) and (made.runs[made.runs["experiment"] == "full"], made.data),
)
@theme.themed
def training_curves(runs: pd.DataFrame, data: dict, experiment: str = "full") -> Figure:
    """Training loss and weighted F1 by epoch: mean over runs, its 95 % interval as a band, and the epochs chosen."""
    mine = runs[runs["experiment"] == experiment]
    loss, validation, test = (
        np.array([curves[name] for curves in mine["curves"]]) for name in ("loss", "validation_f1", "test_f1")
    )
    figure, axes = theme.empty_figure(9.5, 4.6, 2)
    theme.band(axes[0], loss, theme.QUOTED, "loss")
    theme.band(axes[1], 100 * validation, theme.OURS, "validation part")
    theme.band(axes[1], 100 * test, theme.OTHER, "test part")
    chosen = [epoch["best_validation"] for epoch in mine["epoch"]]
    for axis in axes:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        ends = axis.get_xaxis_transform()
        axis.plot(chosen, [0.02] * len(chosen), "|", transform=ends, color="black", markersize=9, label="chosen epoch")
    axes[0].set(xlabel="Epoch", ylabel="Training loss")
    axes[1].set(xlabel="Epoch", ylabel="Weighted F1 (%)")
    text = f"{runs_origin(mine, data)} Band: 95 % t interval. Marks below: the epoch of each run, chosen on validation "
    text += "alone."
    return theme.titled(figure, f"Training of {plain_name(experiment)}", text, axes[1])


@theme.figure(
    "selection_gap",
    "Points: each experiment's score at the last epoch, the best on validation, the best on test; at the "
    "right what choosing on the test set adds.",
    of=lambda made: (made.beside["selection_gap"],) if len(made.beside["selection_gap"]) else None,
)
@theme.themed
def selection_gap(gap: pd.DataFrame) -> Figure:
    """Per experiment the score at three epochs, and at the right what choosing on the test set adds."""
    have = set(gap["experiment"])
    rows = [row.experiment for table in TABLES.values() for row in table.rows]
    experiments = [name for name in dict.fromkeys(rows) if name in have]
    figure, axes = theme.empty_figure(11.5, 1.9 + 0.34 * len(experiments), 2)
    for axis, metric in zip(axes, ("accuracy", "weighted_f1"), strict=True):
        lines = gap[gap["metric"] == metric].set_index("experiment").loc[experiments]
        for place, line in enumerate(lines.to_dict("records")):
            values = [line[f"{rule}_mean"] for rule in RULES]
            axis.plot([min(values), max(values)], [place, place], color=theme.QUOTED, linewidth=2, alpha=0.5)
            for value, (mark, colour, label) in zip(values, RULES.values(), strict=True):
                axis.plot(value, place, mark, color=colour, markersize=6, label=label)
            spread = "" if pd.isna(line["gap_validation_std"]) else f" ± {line['gap_validation_std']:.1f}"
            text, side = f"{line['gap_validation_mean']:+.1f}{spread}", axis.get_yaxis_transform()
            axis.text(1.02, place, text, transform=side, va="center", fontsize=9, color=theme.OTHER)
        axis.set_xlabel({"accuracy": theme.AXIS["accuracy"], "weighted_f1": theme.AXIS["f1"]}[metric])
    theme.name_rows(axes, [plain_name(name) for name in experiments])
    text = (
        f"{origin(gap[gap['experiment'].isin(experiments)])} Mean over seeds at three epochs; right: best on "
        "test minus best on validation, mean and standard deviation. Best on test is chosen on the test set "
        "(weighted F1) and feeds no headline."
    )
    return theme.titled(figure, "What choosing the epoch on the test set adds", text, axes[0])


@theme.figure(
    "slices",
    "Points: accuracy on parts of the test set for LPGNet and the models that question it.",
    of=lambda made: (made.beside["slices"],) if drawn(made.beside["slices"]) else None,
)
@theme.themed
def slices(sliced: pd.DataFrame) -> Figure:
    """Accuracy on both parts of each slice, for LPGNet and the models that question it."""
    mine, names = sliced[sliced["experiment"].isin(SLICED)], drawn(sliced)
    rows = -(-len(names) // 3)
    figure, axes = theme.empty_figure(10.5, 1.4 + 2.9 * rows, 3, rows)
    for axis, name in zip(axes, names, strict=False):
        part = mine[mine["slice"] == name].set_index("value")
        values = [value for value in VALUES[name] if value in part.index]
        _models(axis, part, values)
        sizes = part["n_utterances"].groupby(level=0).first()
        axis.set_xticks(range(len(values)), [f"{value}\n({sizes[value]})" for value in values])
        axis.set(title=SLICES[name], ylabel=theme.AXIS["accuracy"], xlim=(-0.5, len(values) - 0.5))
        axis.grid(visible=False, axis="x")
    theme.same_height(axes[: len(names)])
    for axis in axes[len(names) :]:
        axis.remove()
    left_out = [line for line in sliced.attrs.get("left_out", []) if line.startswith(mine["labels"].iloc[0])]
    text = " ".join([origin(mine), theme.SPREAD, "In brackets: test utterances.", *(f"{x}." for x in left_out)])
    theme.titled(figure, "Parts of the test set", text)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper right", ncols=len(SLICED), frameon=False, fontsize=9)
    return figure


def drawn(sliced: pd.DataFrame) -> list[str]:
    """The slices that there is something to draw of."""
    known = set(sliced["slice"][sliced["experiment"].isin(SLICED)]) if len(sliced) else ()
    return [name for name in SLICES if name in known]


def _models(axis: Axes, part: pd.DataFrame, values: list[str]) -> None:
    """Each model's accuracy on the values of a slice, side by side, with its 95 % interval."""
    shifts = np.linspace(-0.24, 0.24, len(SLICED))
    for shift, (experiment, (mark, colour)) in zip(shifts, SLICED.items(), strict=True):
        scored = part[part["experiment"] == experiment].reindex(values)
        if scored["accuracy_mean"].notna().any():
            places = np.arange(len(values)) + shift
            spread = theme.reach(scored["accuracy_mean"], scored["accuracy_std"], scored["n_seeds"])
            style = {"fmt": mark, "color": colour, "markersize": 6, "elinewidth": 1.6, "label": plain_name(experiment)}
            axis.errorbar(places, scored["accuracy_mean"], yerr=spread, **style)


@theme.figure(
    "classes",
    "Points: recall and F1 of each class for LPGNet, text alone, audio alone and SDT*, with 95 % intervals over seeds.",
    of=lambda made: whole("full", made) and (made.evaluation.pool, made.data),
)
@theme.themed
def class_points(pool: pd.DataFrame, data: dict) -> Figure:
    """Recall and F1 by class for LPGNet, one modality alone and SDT*, with 95 % t intervals."""
    labels = data["labels"]
    pool = pool[pool["lacks"].eq("") & pool["labels"].eq(labels)]
    names = [n for n in CLASSED if n in set(pool["experiment"])]
    classes = data["protocols"][labels]["classes"]
    figure, axes = theme.empty_figure(11, 4.8, 2)
    shifts = np.linspace(-0.24, 0.24, len(names))
    for axis, metric in zip(axes, ("recall", "f1"), strict=True):
        for shift, name, mark in zip(shifts, names, "o^Ds", strict=False):
            counts = np.stack(list(pool.loc[pool["experiment"] == name, "confusion"]))
            found = [summary(100 * values) for values in per_class(counts)[metric].T]
            mean, std, n = zip(*((f.mean, f.std, f.n) for f in found), strict=True)
            style = {"fmt": mark, "color": CLASSED[name], "markersize": 7, "elinewidth": 2, "label": plain_name(name)}
            axis.errorbar(np.arange(len(classes)) + shift, mean, yerr=theme.reach(mean, std, n), **style)
        axis.set_xticks(range(len(classes)), [c.capitalize() for c in classes])
        axis.set(ylabel={"recall": "Recall (%)", "f1": "F1 (%)"}[metric])
        axis.grid(visible=False, axis="x")
    text = (
        f"{runs_origin(pool[pool['experiment'].isin(names)], data)} Line: 95 % t interval over seeds, cut at 0 and 100."
    )
    return theme.titled(figure, "Each class", text, axes[0])


def measured(made) -> tuple | None:
    """What notebook 04 measured."""
    path = made.place.results / "efficiency.csv"
    return (pd.read_csv(path),) if path.exists() else None


@theme.figure("cost", "Points: accuracy against parameters and against multiply-adds, one per model.", of=measured)
@partial(theme.themed, math=True)  # powers of ten; every name here is one of `COSTED`
def cost(efficiency: pd.DataFrame) -> Figure:
    """Accuracy against parameters and multiply-adds (one dialogue of 50 turns) of the main models."""
    figure, axes = theme.empty_figure(11, 5.2, 2)
    titles = {"parameters": "Parameters", "multiply_adds": "Multiply-adds, 50 turns"}
    known = efficiency.dropna(subset=["accuracy_mean"])  # not the lines at the paper's size alone
    drawn = known[known["experiment"].isin(COSTED)]
    for axis, (column, title) in zip(axes, titles.items(), strict=True):
        for line in drawn.to_dict("records"):
            colour, label = CLASSED.get(line["experiment"], theme.QUOTED), plain_name(line["experiment"])
            spread = theme.reach(*([line[f"accuracy_{what}"]] for what in ("mean", "std")), [line["n_seeds"]])
            style = {"fmt": COSTED[line["experiment"]], "color": colour, "elinewidth": 1.4, "markersize": 8}
            axis.errorbar(line[column], line["accuracy_mean"], yerr=spread, label=label, **style)
        axis.set(xscale="log", xlabel=title, ylabel=theme.AXIS["accuracy"])
        axis.margins(x=0.2)
    text = f"{origin(known)} {theme.SPREAD} Left and up is better. The variants are in the table."
    theme.titled(figure, "Accuracy against cost", text)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=9)
    return figure


def runs_origin(runs: pd.DataFrame, data: dict) -> str:
    """The caption of a picture that is drawn from runs."""
    seeds = {"n_seeds": runs["seed"].nunique()}
    return origin(pd.DataFrame([identity(data, runs["labels"].iloc[0]) | seeds]))
