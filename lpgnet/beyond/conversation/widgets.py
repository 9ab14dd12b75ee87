"""A conversation in JupyterLab: hear each turn, add turns one by one, take a modality away, correct a word.

`clips` and `corrected` are plain HTML and stay in an exported page; `live` and `correct` need a running kernel.
"""

from dataclasses import replace
from html import escape

import pandas as pd
from IPython.display import HTML
from markupsafe import Markup
from torch import Tensor

from lpgnet.beyond.conversation import predict, timeline
from lpgnet.beyond.conversation.hearing import html_table, sound
from lpgnet.beyond.conversation.sources import Conversation
from lpgnet.runs.checkpoint import Reader

OTHERS = 4  # turns that are shown beside a corrected one
NEEDED = "<p>The controls need ipywidgets: pip install ipywidgets</p>"


def clips(talk: Conversation, turns: pd.DataFrame) -> HTML:
    """A line per turn: its sound where it has a clip, what was said, what is predicted."""
    rows = []
    for i, line in enumerate(turns.to_dict("records")):
        heard = sound(talk.wave(i))
        said, top = line["predicted"] + " (abstains)" * line["abstain"], line[f"p_{line['predicted']}"]
        player = Markup(heard._repr_html_() if heard else "")
        rows.append((line["turn"], line["speaker"], player, line["text"], said, f"{top:.2f}", ", ".join(line["set"])))
    return html_table(("turn", "speaker", "sound", "text", "predicted", "p", "set"), rows)


def live(reader: Reader, talk: Conversation, rows: dict[str, Tensor]):
    """A slider for how many turns are known, a switch per modality, and a player.

    rows: as `predict.vectors` gives them.  Without ipywidgets a line that says so.
    """
    try:
        import ipywidgets as widgets
    except ImportError:
        return HTML(NEEDED)
    count = len(talk.turns)
    known = widgets.IntSlider(count, 1, count, description="turns", continuous_update=False)
    switches = {m: widgets.Checkbox(True, description=m) for m in rows}
    heard = widgets.IntSlider(1, 1, count, description="play turn")
    # Values, not an Output widget: papermill may wait forever for what one of those catches.
    picture, fault, player = widgets.Image(format="png"), widgets.HTML(), widgets.HTML()

    def draw(_) -> None:
        off = [m for m, switch in switches.items() if not switch.value]
        picture.value, fault.value = b"", ""
        if len(off) == len(rows):
            fault.value = f"Nothing is chosen: tick {' or '.join(rows)}, since the model reads at least one of them."
            return
        try:
            picture.value = _picture(reader, talk, predict.masked(rows, off), known.value)
        except ValueError as error:  # nothing is left
            fault.value = escape(str(error))

    def play(_) -> None:
        said, clip = talk.turns["text"].iat[heard.value - 1], sound(talk.wave(heard.value - 1))
        player.value = escape(said or "(no text)") + (clip._repr_html_() if clip else " (no clip)")

    for control in (known, *switches.values()):
        control.observe(draw, "value")
    heard.observe(play, "value")
    draw(None), play(None)
    return widgets.VBox([widgets.HBox([known, *switches.values()]), fault, picture, heard, player])


def corrected(
    reader: Reader, talk: Conversation, rows: dict[str, Tensor], turn: int, text: str, folder: str | None = None
) -> HTML:
    """What is said before and after a turn (from 1) says other words: of it, and of the turns that move most.

    moved: how much probability goes to other classes.  rows, folder: as in `predict.corrected`.
    """
    try:
        after = predict.turn_predictions(reader, talk, predict.corrected(reader, rows, turn, text, folder))
    except (ValueError, FileNotFoundError) as error:  # no encoder for these words, or nothing is left
        return HTML(f"<p>{escape(str(error))}</p>")
    before = predict.turn_predictions(reader, talk, rows)
    moved = (after.filter(like="p_") - before.filter(like="p_")).abs().sum(axis=1) / 2
    others = moved.drop(index=turn - 1).sort_values(ascending=False, kind="stable").index[:OTHERS]
    words = before["text"].where(before["turn"] != turn, f"{before['text'][turn - 1]} → {text or '(no text)'}")
    lines = [(i + 1, words[i], _top(before, i), _top(after, i), f"{moved[i]:.2f}") for i in [turn - 1, *others]]
    return html_table(("turn", "words", "before", "after", "moved"), lines)


def _top(turns: pd.DataFrame, i: int) -> str:
    """A turn's most probable class, with its probability."""
    return f"{turns['predicted'][i]} {turns['p_' + turns['predicted'][i]][i]:.2f}"


def correct(reader: Reader, talk: Conversation, rows: dict[str, Tensor], turn: int = 1, folder: str | None = None):
    """A turn's words to edit, and `corrected` below.  Without ipywidgets a line that says so."""
    try:
        import ipywidgets as widgets
    except ImportError:
        return HTML(NEEDED)
    chosen = widgets.IntSlider(turn, 1, len(talk.turns), description="turn", continuous_update=False)
    words = widgets.Text(description="words", continuous_update=False, layout=widgets.Layout(width="60em"))
    table = widgets.HTML()

    def draw(_) -> None:
        table.value = corrected(reader, talk, rows, chosen.value, words.value, folder).data

    def choose(_) -> None:
        words.value = talk.turns["text"].iat[chosen.value - 1]
        draw(None)  # two turns may say the same

    words.observe(draw, "value"), chosen.observe(choose, "value")
    choose(None)
    return widgets.VBox([chosen, words, table])


def _picture(reader: Reader, talk: Conversation, rows: dict[str, Tensor], known: int) -> bytes:
    """The timeline of the first turns, as PNG; those to come keep their place, so no axis moves."""
    part = replace(talk, turns=talk.turns[:known])
    turns = predict.turn_predictions(reader, part, {m: x[:known] for m, x in rows.items()})
    said = " ".join(predict.notes(reader, part, turns)[:2])  # as many lines whatever is known
    return timeline.timeline(_with_turns_to_come(turns, talk), f"{talk.name}, turns 1 to {known}", said)._repr_png_()


def _with_turns_to_come(turns: pd.DataFrame, talk: Conversation) -> pd.DataFrame:
    """Turns that aren't known yet, without a prediction."""
    every = turns.reindex(range(len(talk.turns)))
    whole = {"turn": range(1, len(every) + 1)} | {name: talk.turns[name].to_numpy() for name in ("text", "start")}
    flags = {name: every[name].eq(True) for name in every if name == "abstain"}
    flags |= {name: every[name].ne(False) for name in every if name.startswith("has_")}
    return every.assign(**whole, **flags, label=every["label"].fillna(""))
