"""A conversation to hear and see: players of its clips, and its sound along time with the turns below it.

Words and voices of a licensed corpus don't belong in the copy of a notebook that nobody asked for them, so
`players` and `player` are silent there; the waveform's picture holds neither.
"""

from collections.abc import Iterable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import HTML, Audio
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lpgnet.beyond.conversation import sources
from lpgnet.beyond.conversation.sources import Conversation
from lpgnet.corpora.sound import RATE, read_clip
from lpgnet.corpora.table import utterances
from lpgnet.labels import folds, is_simulated, labelled, manifest, rule
from lpgnet.places import Place
from lpgnet.tables.figures.theme import QUOTED, class_colours, empty_figure, themed, titled
from lpgnet.tables.typeset import warning

SECONDS = 60.0  # of a conversation that are drawn and played
GAP = 0.3  # seconds between turns whose times aren't known
SMALL = '<audio style="height:2em;width:14em"'  # so that a dialogue fits a screen, and a player a phone
HELD_BACK = (
    "<p>The words and voices of this corpus stay out of copies: notebook 08 plays a dialogue where you ask for one.</p>"
)


def sound(samples: np.ndarray | None) -> Audio | None:
    """A player of (samples,) at 16 kHz, loud as it is, as MP3 where libsndfile writes it; None of nothing."""
    if samples is None:
        return None
    import soundfile  # here: without sound nobody needs it

    if "MP3" not in soundfile.available_formats():
        return Audio(samples, rate=RATE, normalize=False)
    file = BytesIO()
    soundfile.write(file, np.clip(samples, -1, 1), RATE, format="MP3")
    made = Audio(file.getvalue())
    made.mimetype = "audio/mpeg"
    return made


def html_table(heads: Iterable[str], rows: Iterable[Iterable]) -> HTML:
    """Cells are escaped but for Markup."""
    lines = [("th", heads), *(("td", row) for row in rows)]
    cells = ("".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in line) for tag, line in lines)
    return HTML(f"<table>{''.join(f'<tr>{line}</tr>' for line in cells)}</table>")


def players(turns: pd.DataFrame, root: Path) -> HTML:
    """A line per turn: who speaks, its sound, words and label.  turns: columns turn, speaker, wav, text, label."""
    if not (turns[["text", "wav"]] != "").to_numpy().any():
        return HTML(HELD_BACK)
    rows = []
    for line in turns.to_dict("records"):
        clip = root / line["wav"] if line["wav"] else None
        heard = sound(read_clip(clip))._repr_html_().replace("<audio", SMALL, 1) if clip and clip.is_file() else ""
        rows.append((line["turn"], line["speaker"], Markup(heard), line["text"], line["label"]))
    return html_table(("turn", "speaker", "sound", "text", "label"), rows)


def tested(place: Place, root: Path) -> Conversation:
    """Of the dialogues that the first fold tests the one with most classes; its labels are classes, or ""."""
    scored = manifest(utterances(place.features), place.labels)
    test = folds(scored, place.split)[0].test
    name = scored[scored["dialogue"].isin(test)].groupby("dialogue")["label"].nunique().idxmax()
    talk = sources.from_store(place, name, {}, root)
    return replace(talk, turns=talk.turns.assign(label=labelled(talk.turns, place.labels).fillna("")))


def placed(talk: Conversation) -> pd.DataFrame:
    """Each turn's begin and stop in seconds from the first one's start, up to `SECONDS`, and its wave or None.

    Turns without times stand one after the other, a second each where there is no clip either.
    """
    turns, waves = talk.turns, [talk.wave(i) for i in range(len(talk.turns))]
    if turns[["start", "end"]].notna().all(axis=None):
        begin = turns["start"] - turns["start"].min()
        long = turns["end"] - turns["start"]
    else:
        long = pd.Series([1.0 if wave is None else len(wave) / RATE for wave in waves])
        begin = (long + GAP).cumsum() - long - GAP
    frame = pd.DataFrame({"begin": begin, "stop": begin + long, "wave": waves})
    return frame[frame["begin"] < SECONDS]


def joined(where: pd.DataFrame) -> np.ndarray:
    """The sound of the first `SECONDS`, each clip where its turn stands; empty where there is no clip.

    where: of `placed`.
    """
    parts = [(round(line.begin * RATE), line.wave) for line in where.itertuples() if line.wave is not None]
    samples = np.zeros(max((at + len(part) for at, part in parts), default=0), np.float32)
    for at, part in parts:
        samples[at : at + len(part)] += part
    return np.clip(samples[: int(SECONDS * RATE)], -1, 1)


def player(samples: np.ndarray, corpus: str) -> Audio | HTML:
    """One player of it all, where the corpus may be heard in a copy."""
    if not len(samples):
        return HTML("<p>There is no sound of this corpus here.</p>")
    return sound(samples) if is_simulated(corpus) else HTML(HELD_BACK)


@themed
def along_time(talk: Conversation, where: pd.DataFrame, samples: np.ndarray, place: Place) -> Figure:
    """The waveform, and below it who speaks when, in the colour of the turn's label.

    talk: of `tested`.  where: of `placed`.  samples: of `joined`.
    """
    figure, axes = empty_figure(10.5, 4.4 if len(samples) else 2.6, 1, 2 if len(samples) else 1)
    if len(samples):
        _waveform(axes[0], samples)
    _turns(axes[-1], talk, where, rule(talk.turns, place.labels).classes)
    text = f"{place.name}, labels {place.labels}; numbers: turns; grey: not scored.{warning(place.corpus)}"
    return titled(figure, f"Dialogue {talk.name}, the first {SECONDS:.0f} seconds", text, axes[-1])


def _waveform(axis: Axes, samples: np.ndarray) -> None:
    """Lowest and highest sample of every hundredth of a second."""
    step = RATE // 100
    pieces = samples[: len(samples) // step * step].reshape(-1, step)
    axis.fill_between(np.arange(len(pieces)) / 100, pieces.min(1), pieces.max(1), color=QUOTED, linewidth=0)
    axis.set(xlim=(0, SECONDS), ylabel="sound")


def _turns(axis: Axes, talk: Conversation, where: pd.DataFrame, classes: tuple[str, ...]) -> None:
    speakers = list(dict.fromkeys(talk.turns["speaker"]))
    colours = dict(zip(classes, class_colours(classes), strict=True))
    for place, line in zip(where.index, where.itertuples(), strict=True):
        label, row = talk.turns["label"].iat[place], speakers.index(talk.turns["speaker"].iat[place])
        colour = colours.get(label, "#D0D0D0")
        style = {"facecolors": colour, "label": label or "not scored", "edgecolor": "white"}
        axis.broken_barh([(line.begin, line.stop - line.begin)], (row - 0.35, 0.7), **style)
        axis.text(line.begin + 0.1, row, str(place + 1), va="center", fontsize=8, clip_on=True)
    axis.set_yticks(range(len(speakers)), [name or "speaker unknown" for name in speakers])
    axis.set(xlim=(0, SECONDS), ylim=(len(speakers) - 0.4, -0.6), xlabel="seconds")
    axis.grid(visible=False, axis="y")
