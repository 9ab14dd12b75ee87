"""What is written of a recording: subtitles, a page that opens offline with the sound in it, and the transcript.

The transcript is a CSV that can be corrected and given back (`predict RECORDING --transcript FILE`).
"""

import base64
from collections.abc import Iterator
from html import escape
from pathlib import Path

import pandas as pd

from lpgnet.beyond.conversation.recording import Recording
from lpgnet.beyond.report.blocks import style, template
from lpgnet.labels import is_simulated
from lpgnet.machine.files import write_csv, write_forms
from lpgnet.machine.workers import as_clock
from lpgnet.runs.model_card import SIMULATED
from lpgnet.tables.figures.theme import class_colours

HERE = Path(__file__).parent
SHOWN = 5.0  # seconds for which subtitles say what the model is


def write(turns: pd.DataFrame, said: list[str], recording: Recording, stem: Path) -> list[Path]:
    """<stem>.srt, .vtt, .html and, of what was recognised, .transcript.csv, each whole; returns their paths.

    turns: as `predict.turn_predictions` gives them.  said: of the model, then of the conversation.
    """
    cues = [(0.0, min(SHOWN, recording.seconds), "", said[0]), *_cues(turns)]
    texts = {"srt": srt(cues), "vtt": vtt(cues), "html": html(turns, said, recording)}
    paths = write_forms(stem, texts)
    if recording.heard:  # one that was given stays as it is
        heard = turns[["start", "end", "text", "speaker"]].round(3)
        paths.append(write_csv(stem.with_name(f"{stem.name}.transcript.csv"), heard))
    return paths


def _cues(turns: pd.DataFrame) -> Iterator[tuple[float, float, str, str]]:
    """start, end, speaker and words of every turn that has a time in the recording."""
    for line in turns[turns["wav"] != ""].to_dict("records"):
        top = line[f"p_{line['predicted']}"]
        words = f"[{'unsure: ' * line['abstain']}{line['predicted']} {top:.0%}] {line['text']}".strip()
        yield line["start"], line["end"], line["speaker"], words.replace("-->", "→")


def _clock(seconds: float, point: str) -> str:
    whole_, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{whole_ // 3600:02d}:{whole_ // 60 % 60:02d}:{whole_ % 60:02d}{point}{thousandths:03d}"


def srt(cues: list[tuple]) -> str:
    """SubRip: start, end, speaker, words of each cue."""
    return "\n".join(
        f"{i}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{f'{who}: ' if who else ''}{words}\n"
        for i, (start, end, who, words) in enumerate(cues, 1)
    )


def vtt(cues: list[tuple]) -> str:
    """WebVTT, with the speakers as voices."""
    lines = (
        f"{_clock(start, '.')} --> {_clock(end, '.')}\n{f'<v {escape(who)}>' if who else ''}{escape(words, False)}\n"
        for start, end, who, words in cues
    )
    return "\n".join(["WEBVTT\n", *lines])


def html(turns: pd.DataFrame, said: list[str], recording: Recording) -> str:
    """The page: the recording with a player, the turns along time and below each other."""
    classes = [name.removeprefix("p_") for name in turns if name.startswith("p_")]
    colours = dict(zip(classes, class_colours(classes), strict=True))
    return template("page.html.j2", HERE).render(
        title=recording.path.name,
        length=as_clock(recording.seconds),
        seconds=recording.seconds,
        banner=SIMULATED if turns["trained_on"].map(is_simulated).any() else "",
        said=said,
        colours=colours,
        turns=[_shown(line, classes) for line in turns.to_dict("records")],
        sound=base64.b64encode(recording.as_mp3()).decode(),
        style=lambda name: style(name, HERE),
        base=style("blocks.css"),
    )


def _shown(line: dict, classes: list[str]) -> dict:
    """What the page shows of a turn."""
    p = {name: float(line[f"p_{name}"]) for name in sorted(classes, key=lambda name: -line[f"p_{name}"])}
    heard = line["wav"] != ""
    return {
        "id": line["id"],
        "start": line["start"] if heard else None,
        "end": line["end"],
        "clock": as_clock(int(line["start"])) if heard else "no sound",
        "speaker": line["speaker"],
        "text": line["text"] or "(no text)",
        "predicted": line["predicted"],
        "top": p[line["predicted"]],
        "unsure": bool(line["abstain"]),
        "set": ", ".join(line["set"]),
        "p": p,
        "others": ", ".join(f"{name} {100 * value:.0f} %" for name, value in p.items() if name != line["predicted"]),
    }
