"""The paper's Fig. 1, drawn by code: what each equation does, from the two features to the loss."""

from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from lpgnet.tables.figures.theme import OTHER, OURS, QUOTED, empty_figure, figure, themed, titled

BOTH, FRAME = "#CC78BC", "#606060"  # what both modalities enter; lines
HEIGHT = 0.62
BOXES = {  # name -> (x, y, width, words, colour): centre and width in steps of a column
    "x_t": (0.0, 3.0, 0.8, "Text\nfeatures $X_t$", OURS),
    "x_a": (0.0, 1.0, 0.8, "Audio\nfeatures $X_a$", OTHER),
    "c_t": (1.0, 3.0, 0.8, "Conv1D (2)\n$X'_t$", OURS),
    "c_a": (1.0, 1.0, 0.8, "Conv1D (2)\n$X'_a$", OTHER),
    "tt": (2.15, 3.5, 1.0, "Attention tt (3)-(5)\nQ $X'_t$, K V $X'_t$", OURS),
    "at": (2.15, 2.5, 1.0, "Attention at (3)-(5)\nQ $X'_a$, K V $X'_t$", OURS),
    "ta": (2.15, 1.5, 1.0, "Attention ta (3)-(5)\nQ $X'_t$, K V $X'_a$", OTHER),
    "aa": (2.15, 0.5, 1.0, "Attention aa (3)-(5)\nQ $X'_a$, K V $X'_a$", OTHER),
    "t": (5.45, 3.0, 0.8, "Linear (12)\n$T_{fused}$", OURS),
    "a": (5.45, 1.0, 0.8, "Linear (12)\n$A_{fused}$", OTHER),
    "final": (6.6, 2.0, 1.0, "Softmax gate (13)\n$F_{final}$ (14)", BOTH),
    "teacher": (7.95, 2.0, 1.1, "Classifier (15), (16)\n$L_{task}$ (17)", BOTH),
    "s_t": (7.95, 3.35, 1.1, "Student (18), (19)\n$L_{CE}$ (20), $L_{KL}$ (21)", OURS),
    "s_a": (7.95, 0.65, 1.1, "Student (18), (19)\n$L_{CE}$ (20), $L_{KL}$ (21)", OTHER),
    "loss": (9.25, 2.0, 0.9, "Total loss (22)", BOTH),
}
for _path, (_, _y, _, _, _colour) in [(path, BOXES[path]) for path in ("tt", "at", "ta", "aa")]:
    BOXES[f"{_path} refined"] = (3.4, _y, 1.1, "Mean, conv, norm (6)\nFFN (7), + Q (8)", _colour)
    BOXES[f"{_path} gated"] = (4.5, _y, 0.7, "Gate\n(9)-(11)", _colour)
ARROWS = (
    *(("x_t", "c_t"), ("x_a", "c_a"), ("c_t", "tt"), ("c_t", "at"), ("c_t", "ta")),
    *(("c_a", "aa"), ("c_a", "at"), ("c_a", "ta")),
    *((path, f"{path} refined") for path in ("tt", "at", "ta", "aa")),
    *((f"{path} refined", f"{path} gated") for path in ("tt", "at", "ta", "aa")),
    *(("tt gated", "t"), ("at gated", "t"), ("ta gated", "a"), ("aa gated", "a")),
    *(("t", "final"), ("a", "final"), ("final", "teacher"), ("t", "s_t"), ("a", "s_a")),
    *(("teacher", "loss"), ("s_t", "loss"), ("s_a", "loss")),
)
DISTILLED = (("teacher", "s_t"), ("teacher", "s_a"))
PARTS = {  # heading -> from where to where
    "Local encoding": (0.55, 1.45),
    "LPIA: four parallel paths": (1.6, 4.0),
    "Dual-gated fusion": (4.1, 7.15),
    "Classifier, students": (7.35, 8.55),
}
CAPTION = (
    "After Fig. 1 of He & Xiao (2025); numbers in brackets are its equations. Blue: what the text branch "
    "takes, as Eqs. (10)-(12) print it (Reading R7); orange: the audio branch. Q of Eq. (8) is X' of the "
    "query's modality (R6). Dotted: the teacher's probabilities in Eq. (21), through which no gradient flows "
    "(R10). Students exist in training only."
)


@figure(
    "architecture",
    "Fig. 1 of the paper, drawn anew: from text and audio features through four attention paths, gates and "
    "fusion to classifier, students and the total loss, with the number of each equation.",
    of=lambda made: (),
)
@partial(themed, math=True)
def architecture() -> Figure:
    """Boxes for the equations, arrows for what they read."""
    figure, (axis,) = empty_figure(14, 5.6, 1)
    axis.set(xlim=(-0.5, 9.8), ylim=(0.0, 4.25))
    axis.axis("off")
    for title, (left, right) in PARTS.items():
        style = {"boxstyle": "round,pad=0,rounding_size=0.08", "linestyle": "--", "facecolor": "none"}
        axis.add_patch(FancyBboxPatch((left, 0.08), right - left, 3.84, edgecolor=QUOTED, **style))
        axis.text((left + right) / 2, 4.0, title, ha="center", va="bottom", fontsize=10, color=FRAME)
    for name in BOXES:
        _box(axis, name)
    for start, end in ARROWS:
        _arrow(axis, start, end)
    for start, end in DISTILLED:
        (x, low), (_, high) = BOXES[start][:2], BOXES[end][:2]
        up = 1 if high > low else -1
        style = {"arrowstyle": "-|>", "color": FRAME, "linestyle": ":", "linewidth": 1.4}
        axis.annotate("", (x, high - up * HEIGHT / 2), (x, low + up * HEIGHT / 2), arrowprops=style)
    return titled(figure, "LPGNet", CAPTION)


def _box(axis: Axes, name: str) -> None:
    x, y, width, words, colour = BOXES[name]
    corner, style = (x - width / 2, y - HEIGHT / 2), {"boxstyle": "round,pad=0,rounding_size=0.06"}
    axis.add_patch(FancyBboxPatch(corner, width, HEIGHT, facecolor="white", edgecolor="none", **style))
    axis.add_patch(FancyBboxPatch(corner, width, HEIGHT, facecolor=f"{colour}22", edgecolor=colour, lw=1.4, **style))
    axis.text(x, y, words, ha="center", va="center", fontsize=8.5)


def _arrow(axis: Axes, start: str, end: str) -> None:
    """From the right edge of one box to the left edge of another."""
    (x, y, width, *_), (to_x, to_y, to_width, *_) = BOXES[start], BOXES[end]
    style = {"arrowstyle": "-|>", "color": FRAME, "linewidth": 1.0, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", (to_x - to_width / 2, to_y), (x + width / 2, y), arrowprops=style)
