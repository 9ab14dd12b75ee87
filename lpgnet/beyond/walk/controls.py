"""The walk with controls: choose a path, drop one, mute a turn, swap two, move tau.  Needs a running kernel."""

from html import escape

from IPython.display import HTML

from lpgnet.beyond.walk import dialogue, figures, steps
from lpgnet.beyond.walk.dialogue import Walk

NONE = "none"


def said(before: Walk, after: Walk, tau: float) -> str:
    """What changed, as HTML: a sentence and the terms of the loss."""
    what = steps.moved(before, after)
    terms = steps.loss_terms(after, tau).to_html(index=False, float_format="{:.4f}".format, na_rep="")
    sentence = (
        f"Largest change of a logit, turn by turn: {what['moved']:.2g}; {what['other class']} of "
        f"{int(after.dialogue.heard.sum())} turns get another class. Loss at tau {tau:g}:"
    )
    return f"<p>{escape(sentence)}</p>{terms}"


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
        after = walk
        try:
            if dropped.value != NONE:
                after = dialogue.without_path(after, dropped.value)
            if muted.value:
                after = dialogue.muted(after, muted.value)
        except ValueError as error:  # the only turn is muted
            words.value, attention.value, answers.value = escape(str(error)), b"", b""
            return
        after = dialogue.swapped(after, first.value, second.value)  # the last: a turn is muted by where it stood
        found = steps.every_step(after)
        words.value = said(walk, after, tau.value)
        attention.value = figures.attention(after, found, shown.value)._repr_png_()
        answers.value = figures.answers(after, found)._repr_png_()

    controls = (shown, dropped, muted, first, second, tau)
    for control in controls:
        control.observe(draw, "value")
    draw(None)
    rows = [widgets.HBox([shown, dropped, tau]), widgets.HBox([muted, first, second])]
    return widgets.VBox([*rows, words, attention, answers])
