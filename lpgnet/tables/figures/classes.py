"""What is taken for what by which model, on four classes and on six, and two models class by class."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lpgnet.tables.classes import is_new
from lpgnet.tables.figures.theme import OTHER, OURS, QUOTED, empty_figure, heat_map, name_rows, themed, titled
from lpgnet.tables.scores import identity
from lpgnet.tables.typeset import origin


@themed
def side_by_side(pools: list[pd.DataFrame], data: dict, names: list[str]) -> Figure:
    """A panel per experiment: percent of each true class that was called what, seeds summed.

    pools: whole seeds of one experiment each, two to a row.  Outlined: errors that four classes don't know.
    """
    rows = -(-len(pools) // 2)
    figure, axes = empty_figure(10.5, 0.9 + 4.4 * rows, min(2, len(pools)), rows)
    for axis, pool, name in zip(axes, pools, names, strict=False):
        classes = pool["classes"].iloc[0]
        _matrix(axis, np.sum(list(pool["confusion"]), axis=0), list(classes))
        axis.set_title(f"{name.removesuffix(', six classes')}, {len(classes)} classes")
    for axis in axes[len(pools) :]:
        axis.remove()
    seeds = [pool["seed"].nunique() for pool in pools]
    lines = [identity(data, p["labels"].iloc[0]) | {"n_seeds": n} for p, n in zip(pools, seeds, strict=True)]
    text = f"{origin(pd.DataFrame(lines))} Percent of the true class, seeds summed."
    return titled(figure, "What is taken for what", f"{text} Outlined: errors that six classes bring.")


def _matrix(axis: Axes, counts: np.ndarray, classes: list[str]) -> None:
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    words = [[f"{value:.1f}" for value in row] for row in share]
    heat_map(axis, share, 100, annot=np.array(words), fmt="")
    for y, meant in enumerate(classes):
        for x, said in enumerate(classes):
            if len(classes) > 4 and is_new(meant, said):
                axis.add_patch(Rectangle((x + 0.04, y + 0.04), 0.92, 0.92, fill=False, edgecolor=OTHER, linewidth=2))
    axis.set(xlabel="Predicted", ylabel="True")
    axis.set_xticklabels(classes, rotation=30, ha="right", fontsize=9)
    axis.set_yticklabels(classes, rotation=0, fontsize=9)


@themed
def class_differences(frame: pd.DataFrame, names: tuple[str, str], caption: str) -> Figure:
    """A point per class: by how many points of recall the first model is ahead, with the 95 % interval over seeds.

    frame: of `lpgnet.tables.classes.class_differences`.
    """
    figure, (axis,) = empty_figure(8.5, 1.7 + 0.4 * len(frame), 1)
    for place, line in enumerate(frame.to_dict("records")):
        axis.plot([line["ci_low"], line["ci_high"]], [place, place], color=OURS, linewidth=2, alpha=0.6)
        axis.plot(line["difference"], place, "o", color=OURS, markersize=7)
    axis.axvline(0, color=QUOTED, linewidth=1.2)
    name_rows([axis], frame["class"].str.capitalize().tolist())
    axis.set(xlabel=f"{names[1]} ahead  ←  difference of recall (points)  →  {names[0]} ahead")
    return titled(
        figure, f"{names[0]} against {names[1]}, class by class", f"{caption} Line: 95 % interval over seeds, paired."
    )
