"""An IEMOCAP_full_release on disk -> the utterance table.  No wav is opened.

A turn is a transcript line or an EmoEvaluation block with an id like Ses01F_impro01_M003: the dialogue
is the id less its last part, the speaker the session and the LAST letter (M); the first letter (F) says
who wore the markers and tells nothing of who speaks.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from lpgnet.corpora import counts
from lpgnet.corpora.table import COLUMNS
from lpgnet.machine.files import listed, plain_text

TURN = re.compile(r"Ses\d\d[FM]_\w+_[FM]\d+")
LINE = re.compile(r"(\S+)\s*\[\s*([\d.]+)\s*-\s*([\d.]+)\s*\]\s*:?(.*)")
NO_TURN = re.compile(r"Ses\w+_[FM]XX\d+\b|[FM]\s*:")
BLOCK = re.compile(r"\[\s*([\d.]+)\s*-\s*([\d.]+)\s*\]\s+(\S+)\s+(\w+)\s+\[[-\d., ]+\]\s*")
RATER = re.compile(r"([CA]-\w+)\s*:(.*)")


@dataclass
class _Turn:
    text: str = ""
    line: int = -1  # -1: not in the transcript
    times: tuple[float, float] = (0.0, 0.0)
    label: str = ""
    votes: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class _Scan:
    """A release as found: turns by id, wav paths by id, what is wrong, what to know."""

    turns: dict[str, _Turn] = field(default_factory=dict)
    wavs: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: int = 0  # lines that are no turns
    mended: int = 0  # texts with control characters


def read(root: Path) -> tuple[pd.DataFrame, list[str], list[str]]:
    """The utterance table, one row per turn (columns `COLUMNS`), one sentence per problem, and per note.

    root: the release, or a folder whose child IEMOCAP_full_release is it; `wav` is relative to root.
    Rows stand by session, dialogue, order.  A turn that lacks its text, wav or label keeps its row with
    "" there (line -1: not in the transcript) and is named among the problems.
    """
    scan = _scan(Path(root))
    return _table(scan), scan.problems, scan.notes


def _scan(root: Path) -> _Scan:
    scan = _Scan()
    for session in sessions(root):
        for part in ("dialog/transcriptions", "dialog/EmoEvaluation", "sentences/wav"):
            if not (session / part).is_dir():
                raise FileNotFoundError(f"{session} lacks {part}: want the release as distributed; unpack it again")
        for path in _visible(session / "dialog" / "transcriptions", "*.txt"):
            _transcript(path, scan)
        for path in _visible(session / "dialog" / "EmoEvaluation", "*.txt"):
            _evaluation(path, scan)
        for path in _visible(session / "sentences" / "wav", "*/*.wav"):
            _claim(scan.wavs, path.stem, path.relative_to(root).as_posix(), "has two wavs", scan)
    _incomplete(scan)
    skipped = f"{scan.skipped} transcript lines are no turns (no id, or an XX id) and were skipped"
    mended = f"{scan.mended} texts have control characters: Windows-1252 is read as what it was, others as spaces"
    scan.notes += [skipped] * (scan.skipped > 0) + [mended] * (scan.mended > 0)
    return scan


def sessions(root: Path) -> list[Path]:
    """The session folders of a release at root or at its child IEMOCAP_full_release."""
    return sorted(root.glob("Session[1-9]")) or sorted(root.glob("IEMOCAP_full_release/Session[1-9]"))


def _visible(folder: Path, pattern: str) -> list[Path]:
    """Files straight under a pattern, without the ._* and .DS_Store that Macs leave everywhere."""
    found = (p for p in folder.glob(pattern) if p.is_file())
    return sorted(p for p in found if not any(q[0] == "." for q in p.relative_to(folder).parts))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number (from 1) and stripped text (so without CR) of each line that is not blank."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, line.strip(" \t\r\n\f\v")  # not \x85, which is an ellipsis of Windows


def _claim(known: dict, key: str, value: object, complaint: str, scan: _Scan) -> None:
    """The first one with an id stays; a second is a problem."""
    if key in known:
        scan.problems.append(f"{key} {complaint}; the first is kept")
    known.setdefault(key, value)


def _transcript(path: Path, scan: _Scan) -> None:
    seen: dict[str, _Turn] = {}
    for number, line in _lines(path):
        match = LINE.fullmatch(line)
        if NO_TURN.match(line):
            scan.skipped += 1
        elif match and TURN.fullmatch(match[1]):
            times, said = (float(match[2]), float(match[3])), plain_text(match[4])
            scan.mended += said != match[4]
            turn = _Turn(text=" ".join(said.split()), line=len(seen), times=times)
            _claim(seen, match[1], turn, f"occurs twice in the transcript {path.name}", scan)
        else:
            scan.problems.append(f"{path.name} line {number} is no transcript line: {line!r}")
    for key, turn in seen.items():
        _claim(scan.turns, key, turn, f"occurs in two transcripts, also in {path.name}", scan)


def _evaluation(path: Path, scan: _Scan) -> None:
    """Labels, times and votes of one EmoEvaluation file: all turns of F, then all of M."""
    votes: dict[str, list[str]] = {}
    for number, line in _lines(path):
        block, rater = BLOCK.fullmatch(line), RATER.fullmatch(line)
        if block and TURN.fullmatch(block[3]):
            votes = {}
            _label(block, votes, path, scan)
        elif rater and rater[1].startswith("C-"):
            votes.setdefault(rater[1], []).extend(_names(rater[2]))
        elif not (rater or line.startswith("%") or (block and NO_TURN.match(block[3]))):
            scan.problems.append(f"{path.name} line {number} can't be read: {line!r}")
            votes = {}  # the raters below an unreadable block are nobody's


def _label(block: re.Match, votes: dict[str, list[str]], path: Path, scan: _Scan) -> None:
    key, code = block[3], block[4].lower()
    turn = scan.turns.setdefault(key, _Turn())
    if turn.label:
        scan.problems.append(f"{key} has two labels, the second in {path.name}; the first is kept")
        return
    if code not in counts.CODES:
        scan.problems.append(f"{key} has the unknown label {code!r}; there are {', '.join(counts.CODES)}")
    turn.label, turn.votes, turn.times = code, votes, (float(block[1]), float(block[2]))


def _names(value: str) -> list[str]:
    """'\tFrustration; Anger;\t()' -> both names; '\tOther;\t(disbelief)' -> 'Other (disbelief)'."""
    named, _, comment = value.partition("(")
    names = [name.strip() for name in named.split(";") if name.strip()]
    comment = comment.rpartition(")")[0].strip(" ;\t")
    if comment:
        at = names.index("Other") if "Other" in names else len(names) - 1
        names[at:] = [f"{names[at]} ({comment})", *names[at + 1 :]] if names else [f"({comment})"]
    return names


def _incomplete(scan: _Scan) -> None:
    """Name every turn that lacks its text, label or wav, and every wav without a turn."""
    for key, turn in scan.turns.items():
        if turn.line < 0:
            scan.problems.append(f"{key} has a label but no line in a transcript")
        elif not turn.text:
            scan.problems.append(f"{key} has no text in its transcript line")
        if not turn.label:
            scan.problems.append(f"{key} has no label: no EmoEvaluation block names it")
    for key in scan.wavs.keys() - scan.turns.keys():
        scan.problems.append(f"{key} has a wav but no transcript line and no label")
    scan.problems.sort()
    _soundless(scan)


def _soundless(scan: _Scan) -> None:
    """One line per session for all its turns without a wav."""
    silent: dict[str, list[str]] = {}
    for key in sorted(scan.turns.keys() - scan.wavs.keys()):
        silent.setdefault(f"Session{int(key[3:5])}", []).append(key)
    for session, keys in silent.items():
        which = f"{len(keys)} turns have" if len(keys) > 1 else "1 turn has"
        scan.problems.append(f"{session}: {which} no wav under sentences/wav: {listed(keys)}")


def _table(scan: _Scan) -> pd.DataFrame:
    rows, dialogue, order = [], "", 0
    for key, turn in sorted(scan.turns.items(), key=_speech_order):
        order = order + 1 if dialogue == key.rpartition("_")[0] else 0
        dialogue, _, last = key.rpartition("_")
        rows.append((
            key, dialogue, order, key[:5] + last[0], last[0], int(key[3:5]), "script" in dialogue,
            turn.text, scan.wavs.get(key, ""), *turn.times, turn.label, json.dumps(turn.votes),
            turn.line, "",
        ))  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def _speech_order(item: tuple[str, _Turn]) -> tuple:
    key, turn = item
    # Reading R27: start time, then end time, then transcript line; the alternative is `line` alone.
    return int(key[3:5]), key.rpartition("_")[0], *turn.times, turn.line, key
