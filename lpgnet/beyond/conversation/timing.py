"""Timed turns, held against their recording: what is odd about their times is named in one line each.

A turn longer than `LONGEST` is split at its quietest places, since an encoder hears half a minute at most.
"""

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
    seconds, said = recording.seconds, []
    frame = pd.DataFrame(turns, columns=Turn._fields).astype({"start": float, "end": float})
    frame.insert(0, "id", [str(i) for i in range(1, len(turns) + 1)])

    def name(what: str, odd: pd.Series, then: str = "") -> None:
        said.extend(_named(what, frame["id"][odd].tolist(), then))

    name("Without a start, so without sound", frame["start"].isna())
    name("Negative times, read as zero", frame[["start", "end"]].min(axis=1) < 0)
    name("Ending before they start, so without sound", frame["end"] < frame["start"])
    if (frame["start"].shift() > frame["start"]).any():
        said.append("Order: the transcript's turns are not in order of start; here they are.")
    frame = frame.sort_values(["start", "end"], kind="stable", ignore_index=True)
    start = frame["start"]
    name("Without an end, so until the next turn", frame["end"].isna() & start.notna())
    end = frame["end"].fillna(start.shift(-1)).fillna(seconds)
    name(f"Beyond the recording's {seconds:.1f} s, so without sound", start >= seconds)
    name(f"Ending after the recording's {seconds:.1f} s, so cut there", (start < seconds) & (seconds < end - SAME))
    if not ((start < end.clip(upper=seconds)) & (end > 0)).any():
        raise ValueError(
            f"no turn of the transcript lies within {recording.path.name}, which is {seconds:.1f} s long: "
            "is it another recording's?"
        )
    start, end = start.clip(lower=0.0), end.clip(upper=seconds)
    heard, text = end > start, frame["text"] != ""
    frame = frame.assign(start=start, end=end.where(heard, start))
    name("Empty, left out", ~heard & ~text)
    name("Without text", heard & ~text, ": read by their sound alone")
    frame, heard = frame[heard | text], frame[heard]
    said += _together(heard, seconds)
    name(f"Longer than {LONGEST:.0f} s, split at pauses", frame["end"] - frame["start"] > LONGEST)
    parts = [part for i, *turn in frame.itertuples(index=False) for part in _split(i, Turn(*turn), recording)]
    lines = [
        {"id": i, "speaker": t.speaker, "text": t.text, "wav": recording.path.name if t.end > t.start else ""}
        | {"start": t.start, "end": t.end, "label": ""}
        for i, t in parts
    ]
    return pd.DataFrame(lines), said


def _named(what: str, turns: list[str], then: str = "") -> list[str]:
    """A line that names turns, where there are any."""
    return [f"{what}: turn{'s' * (len(turns) > 1)} {listed(turns)}{then}."] if turns else []


def _together(heard: pd.DataFrame, seconds: float) -> list[str]:
    """Overlaps, and times without a turn."""
    overlaps, gaps, last = [], [], (0.0, "")
    for line in heard.itertuples():
        if last[1] and line.start < last[0] - SAME:
            overlaps.append(f"{last[1]} and {line.id}")
        if line.start - last[0] > GAP:
            gaps.append((last[0], line.start))
        last = max(last, (line.end, line.id))
    if seconds - last[0] > GAP:
        gaps.append((last[0], seconds))
    said = _named("Overlaps, heard with each other's voices", overlaps)
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
