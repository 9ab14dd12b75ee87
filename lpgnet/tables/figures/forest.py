"""Every claim of the paper on one screen: what we found, what is printed, and whether that decides."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lpgnet.labels import is_simulated
from lpgnet.tables.claims import EQUAL_TO, HERE_ONLY, STANDS, UNDECIDED, stand
from lpgnet.tables.figures import theme
from lpgnet.tables.statistics import EQUAL
from lpgnet.tables.typeset import origin

AGAINST, ALIKE = "#8E1B4F", "#8FB8DE"
MARKS = {  # what a verdict says -> mark, colour
    "supported": ("o", theme.OURS),
    f"supported{HERE_ONLY}": ("^", theme.OURS),
    EQUAL_TO: ("D", ALIKE),
    "not supported": ("s", AGAINST),
    f"not supported{HERE_ONLY}": ("v", AGAINST),
    UNDECIDED: ("o", theme.QUOTED),
}


@theme.figure(
    "claims",
    "A line per claim of the paper: the difference found with both 95 % intervals, coloured by verdict, and the "
    "printed difference.",
    of=lambda made: (made.beside["claims"],) if len(made.beside["claims"]) else None,
)
@theme.themed
def claims(lines: pd.DataFrame) -> Figure:
    """One line per claim, in the paper's order, zero marked; the printed difference at the right."""
    figure, (axis,) = theme.empty_figure(11.5, 2.2 + 0.34 * len(lines), 1)
    axis.axvspan(-EQUAL, EQUAL, color="#F0F0F0", zorder=0)
    axis.axvline(0, color="black", linewidth=0.8)
    for place, line in enumerate(lines.to_dict("records")):
        _claim(axis, place, line)
    for name in (name for name in STANDS if (lines["verdict"].map(stand) == name).any()):
        mark, colour = MARKS[name]
        axis.plot([], [], mark, color=colour, label=name)
    theme.limit(axis, lines)
    names = [f"{line.claim}{' (F1)' if line.metric == 'weighted_f1' else ''}" for line in lines.itertuples()]
    axis.set_yticks(range(len(lines)), names)
    axis.set(ylim=(len(lines) - 0.4, -0.9), xlabel="Points by which the claim's first model is ahead")
    above = {"transform": axis.get_yaxis_transform(), "fontsize": 9, "fontweight": "bold"}
    axis.text(1.02, -0.8, "here", **above)
    axis.text(1.12, -0.8, "printed", color=theme.QUOTED, **above)
    axis.grid(visible=False, axis="y")
    text = f"{origin(lines)} Thick line: 95 % interval over seeds; thin line: over test dialogues. Grey band: within "
    text += f"{EQUAL:g} point of zero."
    theme.titled(figure, "What became of the paper's claims", text)
    handles, labels = axis.get_legend_handles_labels()
    shown = dict(zip(labels, handles, strict=True))
    figure.legend(shown.values(), shown.keys(), loc="upper right", ncols=3, frameon=False, fontsize=9)
    return figure


def _claim(axis: Axes, place: int, line: dict) -> None:
    theme.difference(axis, place, line, MARKS[stand(line["verdict"])])
    printed = line["difference_reported"]
    if not np.isnan(printed):
        theme.beside(axis, place, f"{printed:+.2f}", theme.QUOTED, at=1.12)
        if not is_simulated(line["corpus"]):
            theme.tick(axis, printed, place, "|", line["corpus"])
