"""Timed turns, held against their recording: what is odd about their times is named in one line each.

A turn longer than `LONGEST` is split at its quietest places, since an encoder hears half a minute at most.
"""

import math
from itertools import pairwise

import pandas as pd

from lpgnet.beyond.conversation.recording import Recording
from lpgnet.beyond.conversation.transcripts import Turn
from lpgnet.machine.files import listed
from lpgnet.machine.workers import as_clock

LONGEST = 30.0  # seconds
GAP = 10.0  # seconds without a turn that are worth a word
SAME = 0.02  # seconds: times are written to a hundredth


def timed(turns: list[Turn], recording: Recording) -> tuple[pd.DataFrame, list[str]]:
    """Columns id, speaker, text, wav, start, end, label in order of start, and what is to be said of them.

    id: the turn's number in its transcript, "3.2" for the second part of a split one.  wav: the recording's
    name, "" where the turn has no time in it.
    """
    numbered = [(str(i), turn) for i, turn in enumerate(turns, 1)]
    said = _order(numbered)
    numbered.sort(key=lambda pair: (math.isnan(pair[1].start), pair[1].start, pair[1].end))
    numbered = _ended(numbered, recording, said)
    here = [(i, turn) for i, turn in numbered if turn.start < min(recording.seconds, turn.end) and turn.end > 0]
    if not here:
        raise ValueError(
            f"no turn of the transcript lies within {recording.path.name}, which is {recording.seconds:.1f} s long: "
            "is it another recording's?"
        )
    numbered = [_within(i, turn, recording.seconds) for i, turn in numbered]
    _names("Empty, left out", [i for i, t in numbered if not t.text and t.end <= t.start], "", said)
    numbered = [(i, turn) for i, turn in numbered if turn.text or turn.end > turn.start]
    _names("Without text", [i for i, t in numbered if not t.text], ": read by their sound alone", said)
    said += _together(numbered, recording.seconds)
    parts = [part for i, turn in numbered for part in _split(i, turn, recording)]
    _names(f"Longer than {LONGEST:.0f} s, split at pauses", [i[:-2] for i, _ in parts if i.endswith(".1")], "", said)
    lines = [
        {"id": i, "speaker": t.speaker, "text": t.text, "wav": recording.path.name if t.end > t.start else ""}
        | {"start": t.start, "end": t.end, "label": ""}
        for i, t in parts
    ]
    return pd.DataFrame(lines), said


def _names(what: str, turns: list[str], then: str, said: list[str]) -> None:
    """Adds a line that names turns, where there are any."""
    if turns:
        said.append(f"{what}: turn{'s' * (len(turns) > 1)} {listed(turns)}{then}.")


def _order(numbered: list[tuple[str, Turn]]) -> list[str]:
    """What is odd about times by themselves."""
    said: list[str] = []
    starts = [turn.start for _, turn in numbered]
    _names("Without a start, so without sound", [i for i, t in numbered if math.isnan(t.start)], "", said)
    _names("Negative times, read as zero", [i for i, t in numbered if min(t.start, t.end) < 0], "", said)
    backwards = [i for i, t in numbered if t.end < t.start]
    _names("Ending before they start, so without sound", backwards, "", said)
    if any(a > b for a, b in pairwise(starts)):
        said.append("Order: the transcript's turns are not in order of start; here they are.")
    return said


def _ended(numbered: list[tuple[str, Turn]], recording: Recording, said: list[str]) -> list[tuple[str, Turn]]:
    """A turn without an end lasts to the next one's start."""
    open_ = [i for i, turn in numbered if math.isnan(turn.end) and not math.isnan(turn.start)]
    _names("Without an end, so until the next turn", open_, "", said)
    nexts = [turn.start for _, turn in numbered[1:]] + [math.nan]
    ends = [recording.seconds if math.isnan(following) else following for following in nexts]
    made = [
        (i, turn._replace(end=end) if math.isnan(turn.end) else turn)
        for (i, turn), end in zip(numbered, ends, strict=True)
    ]
    beyond = [i for i, turn in made if turn.start >= recording.seconds]
    _names(f"Beyond the recording's {recording.seconds:.1f} s, so without sound", beyond, "", said)
    cut = [i for i, turn in made if turn.start < recording.seconds < turn.end - SAME]
    _names(f"Ending after the recording's {recording.seconds:.1f} s, so cut there", cut, "", said)
    return made


def _within(number: str, turn: Turn, seconds: float) -> tuple[str, Turn]:
    """The turn's times within the recording; equal where it has none there."""
    start = turn.start if math.isnan(turn.start) else max(turn.start, 0.0)
    end = min(turn.end, seconds)
    return number, turn._replace(start=start, end=end if end > start else start)


def _together(numbered: list[tuple[str, Turn]], seconds: float) -> list[str]:
    """Overlaps, and times without a turn."""
    said, overlaps, gaps, last = [], [], [], (0.0, "")
    for number, turn in ((i, t) for i, t in numbered if t.end > t.start):
        if last[1] and turn.start < last[0] - SAME:
            overlaps.append(f"{last[1]} and {number}")
        if turn.start - last[0] > GAP:
            gaps.append((last[0], turn.start))
        last = max(last, (turn.end, number))
    if seconds - last[0] > GAP:
        gaps.append((last[0], seconds))
    _names("Overlaps, heard with each other's voices", overlaps, "", said)
    if gaps:
        spans = [f"{as_clock(start)} to {as_clock(end)}" for start, end in gaps]
        said.append(f"Nobody speaks by the transcript, for more than {GAP:.0f} s: {listed(spans, 5)}.")
    return said


def _split(number: str, turn: Turn, recording: Recording) -> list[tuple[str, Turn]]:
    """The parts of a long turn, its words dealt out by their times, or evenly over its time."""
    ends = _cuts(turn.start, turn.end, recording)
    if not ends:
        return [(number, turn)]
    words = [((start + end) / 2, word.strip()) for start, end, word in turn.words]
    if "".join(word for _, word in words).replace(" ", "") != turn.text.replace(" ", ""):  # some have no times
        plain = turn.text.split()
        step = (turn.end - turn.start) / max(1, len(plain))
        words = [(turn.start + (i + 0.5) * step, word) for i, word in enumerate(plain)]
    starts, parts = [turn.start, *ends], []
    for k, (start, end) in enumerate(zip(starts, [*ends, turn.end], strict=True), 1):
        first, final = k == 1, k == len(starts)
        own = [w for at, w in words if (first or at >= start) and (final or at < end)]
        parts.append((f"{number}.{k}", turn._replace(start=start, end=end, text=" ".join(own))))
    return parts


def _cuts(start: float, end: float, recording: Recording) -> list[float]:
    """Where a time is cut so that no part is longer than `LONGEST`."""
    if not end - start > LONGEST:
        return []
    third = (end - start) / 3
    cut = recording.quietest(start + third, end - third)
    return [*_cuts(start, cut, recording), cut, *_cuts(cut, end, recording)]
