"""The walk with controls: choose a path, drop one, mute a turn, swap two, move tau.  Needs a running kernel."""

from dataclasses import dataclass
from html import escape

from IPython.display import HTML

from lpgnet.beyond.walk import dialogue, figures, steps
from lpgnet.beyond.walk.dialogue import Walk

NONE = "none"


@dataclass(frozen=True)
class Asked:
    """What the controls say.  shown: the path whose attention is drawn.  dropped, muted: NONE, 0: none."""

    shown: str
    dropped: str = NONE
    muted: int = 0
    swapped: tuple[int, int] = (1, 1)
    tau: float = 1.0


def altered(walk: Walk, asked: Asked) -> Walk:
    """The walk with all that is asked for, the swap last: a turn is muted by where it stood."""
    if asked.dropped != NONE:
        walk = dialogue.without_path(walk, asked.dropped)
    if asked.muted:
        walk = dialogue.muted(walk, asked.muted)
    return dialogue.swapped(walk, *asked.swapped)


def said(before: Walk, after: Walk, tau: float) -> str:
    """What changed, as HTML: a sentence and the terms of the loss."""
    what = steps.moved(before, after)
    terms = steps.loss_terms(after, tau).to_html(index=False, float_format="{:.4f}".format, na_rep="")
    sentence = (
        f"Largest change of a logit, turn by turn: {what['moved']:.2g}; {what['other class']} of "
        f"{int(after.dialogue.heard.sum())} turns get another class. Loss at tau {tau:g}:"
    )
    return f"<p>{escape(sentence)}</p>{terms}"


def pictures(after: Walk, shown: str) -> tuple[bytes, bytes]:
    """Attention of a path and the answers, as PNG."""
    found = steps.every_step(after)
    drawn = (figures.attention(after, found, shown), figures.answers(after, found))
    return tuple(figure._repr_png_() for figure in drawn)


def live(walk: Walk):
    """The controls with what they change below; without ipywidgets a line that says so."""
    try:
        import ipywidgets as widgets
    except ImportError:
        return HTML("<p>The controls need ipywidgets: pip install ipywidgets</p>")
    paths, count = list(walk.model.config.paths), len(walk.dialogue.turns)
    slow = {"continuous_update": False, "style": {"description_width": "5em"}}
    shown = widgets.Dropdown(options=paths, description="attention")
    dropped = widgets.Dropdown(options=[NONE, *paths], description="drop path")
    muted = widgets.IntSlider(0, 0, count, description="mute turn", **slow)
    first, second = (widgets.IntSlider(1, 1, count, description=name, **slow) for name in ("swap turn", "with turn"))
    tau = widgets.FloatLogSlider(walk.loss.tau, min=-1, max=1, step=0.1, description="tau", **slow)
    words, attention, answers = widgets.HTML(), widgets.Image(format="png"), widgets.Image(format="png")

    def draw(_) -> None:
        asked = Asked(shown.value, dropped.value, muted.value, (first.value, second.value), tau.value)
        try:
            after = altered(walk, asked)
        except ValueError as error:  # the only turn is muted
            words.value, attention.value, answers.value = escape(str(error)), b"", b""
            return
        words.value = said(walk, after, asked.tau)
        attention.value, answers.value = pictures(after, asked.shown)

    controls = (shown, dropped, muted, first, second, tau)
    for control in controls:
        control.observe(draw, "value")
    draw(None)
    rows = [widgets.HBox([shown, dropped, tau]), widgets.HBox([muted, first, second])]
    return widgets.VBox([*rows, words, attention, answers])
