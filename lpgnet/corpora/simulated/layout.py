"""Write a dialogue's text files as IEMOCAP has them on disk, with the traps that trip its readers."""

from pathlib import Path

import numpy as np

from lpgnet.corpora.simulated.plan import Dialogue, Turn

HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]"
VOTE = {
    "hap": "Happiness",
    "sad": "Sadness",
    "neu": "Neutral",
    "ang": "Anger",
    "exc": "Excited",
    "fru": "Frustration",
    "sur": "Surprise",
    "fea": "Fear",
    "dis": "Disgust",
    "oth": "Other",
}
AFFECT = {  # valence, activation, dominance of 1 to 5
    "hap": (4, 3, 3),
    "sad": (2, 2, 2),
    "neu": (3, 3, 3),
    "ang": (2, 4, 4),
    "exc": (4, 4, 3),
    "fru": (2, 3, 3),
}
MAC = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        \x00\x02\xff\xfe"  # an AppleDouble stub
P_SWAPPED = 0.05  # neighbouring transcript lines that stand in the other order

Times = list[tuple[float, float]]


def times(dialogue: Dialogue, seconds: list[float]) -> Times:
    """Start and end of each turn, in s: starts rise, and some turns begin before the last has ended."""
    found: Times = []
    start, end = 0.0, 3.0
    for turn, length in zip(dialogue.turns, seconds, strict=True):
        start = max(start + 0.15, end + turn.gap)
        end = start + length
        found.append((round(start, 4), round(end, 4)))
    return found


def write(session: Path, dialogue: Dialogue, spans: Times, rng: np.random.Generator) -> None:
    """All files of a dialogue but its wavs, under SessionN/."""
    newline = "\r\n" if rng.random() < 0.25 else "\n"
    evaluation = session / "dialog" / "EmoEvaluation"
    transcript = _transcript(dialogue, spans, rng)
    blocks = _blocks(dialogue, spans, rng)
    _save(session / "dialog" / "transcriptions" / f"{dialogue.name}.txt", transcript, newline)
    _save(evaluation / f"{dialogue.name}.txt", [HEADER, "", *blocks], newline)
    first = dialogue.turns[0].id
    decoys = {
        f"Categorical/{dialogue.name}_e2_cat.txt": f"{first} :Neutral state; ()",
        f"Attribute/{dialogue.name}_e3_atr.txt": f"{first} :act 3; val 3; dom 3; ()",
        f"Self-evaluation/{dialogue.name}_f1_cat.txt": f"{first} :Sadness; ()",
    }
    for name, line in decoys.items():
        _save(evaluation / name, [line], newline)
    wavs = session / "sentences" / "wav" / dialogue.name
    for path in (evaluation / f"{dialogue.name}.txt", wavs / f"{first}.wav"):
        path.with_name(f"._{path.name}").write_bytes(MAC)
    for folder in (evaluation, session / "dialog" / "transcriptions", wavs):
        (folder / ".DS_Store").write_bytes(MAC)


def _save(path: Path, lines: list[str], newline: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((newline.join(lines) + newline).encode("ascii"))


def _transcript(dialogue: Dialogue, spans: Times, rng: np.random.Generator) -> list[str]:
    """Turns about in order of speech, among them lines that are no turns."""
    lines = [
        f"{turn.id} [{start:08.4f}-{end:08.4f}]: {turn.text}"
        for turn, (start, end) in zip(dialogue.turns, spans, strict=True)
    ]
    for at in range(len(lines) - 1):
        other = dialogue.turns[at].speaker != dialogue.turns[at + 1].speaker
        if other and rng.random() < P_SWAPPED:
            lines[at], lines[at + 1] = lines[at + 1], lines[at]
    if dialogue.name.startswith("Ses05F_impro"):
        lines[2] = lines[2].replace(" ", "\t").replace("\t[", " [", 1).replace("\t", " ", 1)
    letter, end = "FM"[rng.integers(2)], spans[-1][1]
    extra = [
        f"{letter}: Yeah.",
        f"{letter}:[LAUGHTER]",
        f"{dialogue.name}_{letter}XX0 [{end + 1:08.4f}-{end + 2:08.4f}]: Mmhmm.",
        f"{dialogue.name}_{letter}XX1 [{end + 3:08.4f}-{end + 2:08.4f}]:",
    ]
    for line in extra:
        if rng.random() < 0.4:
            lines.insert(int(rng.integers(len(lines) + 1)), line)
    return lines


def _blocks(dialogue: Dialogue, spans: Times, rng: np.random.Generator) -> list[str]:
    """EmoEvaluation: all turns of F, then all of M, which is not the order of speech."""
    lines: list[str] = []
    for letter in (0, 1):
        for turn, (start, end) in zip(dialogue.turns, spans, strict=True):
            if turn.speaker == letter:
                lines += _block(turn, start, end, rng)
    return lines


def _block(turn: Turn, start: float, end: float, rng: np.random.Generator) -> list[str]:
    raters = sorted(rng.choice([1, 2, 3, 4], size=3, replace=False))
    affect = np.clip(AFFECT[turn.state] + rng.integers(-1, 2, size=(3, 3)), 1, 5)
    mean = ", ".join(f"{value:.4f}" for value in affect.mean(axis=0))
    lines = [f"[{start:.4f} - {end:.4f}]\t{turn.id}\t{turn.label}\t[{mean}]"]
    votes = _votes(turn.label, rng)
    lines += [f"C-E{rater}:\t{vote}" for rater, vote in zip(raters, votes, strict=True)]
    own = "FM"[turn.speaker] + "1"
    lines.append(f"C-{own}:\t{_own_vote(turn.state, rng)}")
    for rater, (valence, activation, dominance) in zip(raters, affect, strict=True):
        lines.append(f"A-E{rater}:\tval {valence}; act {activation}; dom  {dominance};\t()")
    return [*lines, f"A-{own}:\tval 3; act 3; dom  3;\t()", ""]


def _votes(label: str, rng: np.random.Generator) -> list[str]:
    """Three raters: two of them agree on the label, or none with another where it is xxx."""
    named = list(VOTE.values())
    if label == "xxx":
        return [f"{named[at]};\t()" for at in rng.choice(len(named) - 1, size=3, replace=False)]
    third = named[rng.integers(len(named))] if rng.random() < 0.4 else VOTE[label]
    words = [VOTE[label], VOTE[label], third]
    return [f"{w};\t({'disbelief' if w == 'Other' else ''})" for w in rng.permutation(words)]


def _own_vote(state: str, rng: np.random.Generator) -> str:
    """A self-evaluation: one name, two in one line, or none."""
    other = list(VOTE.values())[rng.integers(6)]
    return (f"{VOTE[state]};\t()", f"{VOTE[state]}; {other};\t()", ";\t()")[rng.choice(3, p=[0.6, 0.3, 0.1])]
