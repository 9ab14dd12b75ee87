"""A transcript of somebody else's tool -> timed turns as they stand there; `timing` then looks at their times.

CSV and TSV with start, end, text and speaker; JSON of Whisper, WhisperX, whisper.cpp, our own, or a list; SRT,
WebVTT; Praat's TextGrid (a tier a speaker); ELAN's eaf; RTTM (who spoke when, without words).
"""

import csv
import html
import io
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from lpgnet.machine.files import listed, parsed_json, plain_text, shown

LARGEST, MOST = 16 << 20, 10_000  # bytes of a transcript, and turns that are read as one conversation
TAGS = 50  # of an eaf per turn: six of its own, two of times, and what hangs on it
COLUMNS = ("start", "end", "text", "speaker")
CLOCK = re.compile(r"([+-]?)(?:(\d{1,4}):)?(?:(\d{1,4}):)?(\d{1,9}(?:[.,]\d{1,9})?)")
MINUS = re.compile(r"-(?:\d+:)?\d+:\d+[.,]\d+(?=\s*-->)|(?<=-->)\s*-(?:\d+:)?\d+:\d+[.,]\d+")
VOICE = re.compile(r"<v(?:\.[\w.-]+)?\s+([^>]{1,80})>")
TAG = re.compile(r"</?[a-zA-Z][^<>]{0,200}>|<\d[\d:.]{0,20}>|\{\\[^{}]{0,200}\}")  # of HTML, of karaoke, of ASS
NAMED = re.compile(r"\[?([^\s:\[\]][^:\[\]]{0,29})\]?:\s")  # "SPEAKER_00: Hi", "[SPEAKER_00]: Hi", "Ann Lee: Hi"
FREE = re.compile(r'(?<!\S)(?:"((?:[^"]|"")*+)"|<(\w+)>|([+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)%?)(?!\S)')  # Praat's
PARTS = ("phone", "phones", "phoneme", "phonemes", "word", "words", "syllable", "syllables")  # tiers of less than turns


class Turn(NamedTuple):
    """start, end: seconds, NaN where not said.  words: (start, end, word) each, where they are known."""

    start: float
    end: float
    text: str = ""
    speaker: str = ""
    words: tuple = ()


def read(path: Path, recording: str = "") -> tuple[list[Turn], list[str]]:
    """The turns of a transcript in its own order, and what is to be said of how it was read.

    recording: the name of the recording's file without its ending: an RTTM may be of several.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no transcript {path}")
    reader = FORMS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path} has an unknown ending: transcripts end in {', '.join(FORMS)}")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} has {path.stat().st_size} bytes: want a transcript of at most {LARGEST}")
    said: list[str] = []
    text = _decoded(path.read_bytes(), path, said)
    turns = reader(text, path, said, recording) if reader is _rttm else reader(text, path, said)
    if not turns:
        raise ValueError(f"{path} has no turn")
    _few(len(turns), path)
    return turns, said


def _few(turns: int, path: Path) -> None:
    if turns > MOST:
        raise ValueError(f"{path} has {turns} turns: at most {MOST} are read as one conversation")


def plain(value: Any) -> str:
    """A text on one line, without what no CSV or page can hold."""
    return " ".join(plain_text(value).split()) if isinstance(value, str) else ""


def _decoded(content: bytes, path: Path, said: list[str]) -> str:
    """The text, with line feeds; in which encoding it was is said where it is no Unicode."""
    for mark, name in ((b"\xff\xfe\0\0", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if content.startswith(mark):
            encodings = (name,)
            break
    else:
        encodings = ("utf-8-sig", "cp1252", "latin-1")
    for name in encodings:
        try:
            text = content.decode(name)
        except UnicodeDecodeError:
            continue
        if not name.startswith("utf"):
            said.append(f"Encoding: {path.name} is no UTF-8, and was read as Windows-1252.")
        return text.replace("\r\n", "\n").replace("\r", "\n")
    raise ValueError(f"{path} is no text in {encodings[0]}, which its first bytes say")


def seconds(value: Any, where: str) -> float:
    """12.5, "12,5", "1:02.5" or "00:01:02,500" in seconds; NaN where there is none."""
    if value is None or value == "":
        return math.nan
    match = CLOCK.fullmatch(value.strip()) if isinstance(value, str) else None
    if match:
        sign, first, second, rest = match.groups()
        hours, minutes = (0, first or 0) if second is None else (first, second)
        found = 3600 * int(hours) + 60 * int(minutes) + float(rest.replace(",", "."))
        return -found if sign == "-" else found
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not abs(found) < 1e12:
        raise ValueError(f"{where} is {shown(repr(value))}: want seconds, as 12.5 or 0:01:02.5")
    return found


def _line(line: dict, where: str) -> Turn:
    """A turn from something with start, end, text, speaker and words."""
    for name in ("text", "speaker"):
        if not isinstance(line.get(name), str | None):
            raise ValueError(f"{where}: {name} is {shown(repr(line[name]))}, want a string")
    start, end = (seconds(line.get(name), f"{where}: {name}") for name in ("start", "end"))
    words = []
    for word in _list(line.get("words")):
        times = [word.get(name) for name in ("start", "end")] if isinstance(word, dict) else [None]
        if all(isinstance(x, int | float) and abs(x) < 1e12 for x in times):  # WhisperX times no digits
            words.append((*map(float, times), str(word.get("word", ""))))
    who = [plain(w.get("speaker")) for w in _list(line.get("words")) if isinstance(w, dict)]
    speaker = plain(line.get("speaker")) or max(who, key=who.count, default="")
    return Turn(start, end, plain(line.get("text")), speaker, tuple(words))


def _list(value: Any) -> list:
    return value if isinstance(value, list) else []


def _csv(text: str, path: Path, said: list[str]) -> list[Turn]:
    head = text.partition("\n")[0].lower()
    separator = max(",;\t", key=head.count)
    try:
        rows = [r for r in csv.reader(io.StringIO(text), delimiter=separator) if any(cell.strip() for cell in r)]
    except csv.Error as error:
        raise ValueError(f"{path} can't be read as CSV: {error}") from None
    _few(len(rows) - 1, path)
    names = [cell.strip().lower() for cell in rows[0]] if rows else []
    if not {"start", "end"} <= set(names) or len(set(names)) != len(names):
        raise ValueError(f"{path} has the columns {shown(names)}: want a head with start, end, text and maybe speaker")
    other = [shown(name) for name in names if name not in COLUMNS]
    if other:
        said.append(f"Columns that are not read: {listed(other)}.")
    long = [i for i, row in enumerate(rows[1:], 1) if len(row) > len(names)]
    if long:
        raise ValueError(f"{path} turn {long[0]} has {len(rows[long[0]])} cells, the head {len(names)}: quote its text")
    lines = [dict(zip(names, row, strict=False)) for row in rows[1:]]
    times = [line.get(name, "").strip() for line in lines for name in ("start", "end")]
    turns = [_line(line, f"{path} turn {i}") for i, line in enumerate(lines, 1)]
    if path.suffix.lower() == ".tsv" and times and all(time.isdigit() for time in times):
        said.append("Times are read as milliseconds, as Whisper writes them in a TSV.")
        turns = [turn._replace(start=turn.start / 1000, end=turn.end / 1000) for turn in turns]
    return turns


def _json(text: str, path: Path, said: list[str]) -> list[Turn]:
    found = parsed_json(text, path)
    if isinstance(found, dict):
        if isinstance(found.get("transcription"), list):  # whisper.cpp: milliseconds
            found = [_cpp(line) for line in found["transcription"]]
        else:
            found = next((found[name] for name in ("segments", "turns") if isinstance(found.get(name), list)), None)
    if not isinstance(found, list) or not all(isinstance(line, dict) for line in found):
        raise ValueError(f'{path} is no transcript: want {{"segments": [{{"start": ..., "end": ..., "text": ...}}]}}')
    return [_line(line, f"{path} turn {i}") for i, line in enumerate(found, 1)]


def _cpp(line: Any) -> Any:
    times = line.get("offsets") if isinstance(line, dict) else None
    if not isinstance(times, dict) or not all(isinstance(times.get(name), int) for name in ("from", "to")):
        return line
    return {**line, "start": times["from"] / 1000, "end": times["to"] / 1000}


def _subtitles(text: str, path: Path, said: list[str]) -> list[Turn]:
    try:
        import pysubs2
    except ImportError:
        raise ValueError(
            f"{path} needs pysubs2 to be read, which is not installed: pip install 'lpgnet[asr]'"
        ) from None
    vtt = path.suffix.lower() == ".vtt"
    text, minus = MINUS.subn("00:00:00.000", text)
    if minus:
        said.append(f"Negative: {minus} times of {path.name} are below zero, and were read as zero.")
    cues = pysubs2.SSAFile.from_string(text, "vtt" if vtt else "srt", keep_html_tags=True, keep_unknown_html_tags=True)
    turns = []
    for cue in cues:
        words = cue.text.replace("\\N", "\n")
        words = html.unescape(words.partition("\n\n")[0]) if vtt else words  # then comes another cue's name, or a note
        voice = VOICE.search(words)
        turns.append(
            Turn(cue.start / 1000, cue.end / 1000, plain(TAG.sub("", words)), plain(voice[1]) if voice else "")
        )
    return _named(turns, said)


def _named(turns: list[Turn], said: list[str]) -> list[Turn]:
    """Speakers out of "Ann: hello", where every turn begins so and they are few."""
    found = [NAMED.match(f"{turn.text} ") for turn in turns]
    names = {match[1] for match in found if match}
    if not all(found) or not names or len(names) > max(2, len(turns) // 2) or any(turn.speaker for turn in turns):
        return turns
    said.append(f"Speakers, by the word before each turn's colon: {listed(sorted(names))}.")
    return [
        turn._replace(text=turn.text[match.end() :].strip(), speaker=match[1])
        for turn, match in zip(turns, found, strict=True)
    ]


def _textgrid(text: str, path: Path, said: list[str]) -> list[Turn]:
    """Praat reads free-standing strings, flags and numbers, in their order; all else is for the eye."""
    if text.startswith("ooBinaryFile"):
        raise ValueError(f"{path} is a binary TextGrid: save it in Praat as a text file")
    tokens = (
        string if string is not None else flag or float(number)
        for string, flag, number in (found.groups() for found in FREE.finditer(text))
    )

    def take(kind: type) -> Any:
        found = next(tokens, None)
        if not isinstance(found, kind) or (kind is float and not math.isfinite(found)):
            raise ValueError(
                f"{path} is no TextGrid, or damaged: {shown(repr(found))} stands where a {kind.__name__} must"
            )
        return found.replace('""', '"') if kind is str else found

    turns, left = [], []
    head = [take(str), take(str), take(float), take(float), take(str)]
    if head[1] != "TextGrid" or head[4] not in ("exists", "absent"):
        raise ValueError(f"{path} is no TextGrid: its first words are {shown(head[:2])}")
    for _ in range(int(take(float)) if head[4] == "exists" else 0):
        kind, name, _, _, count = take(str), take(str), take(float), take(float), int(take(float))
        points = kind == "TextTier"
        intervals = ([take(float), take(float) if not points else 0.0, take(str)] for _ in range(count))
        tier = [Turn(start, end, plain(words), plain(name)) for start, end, words in intervals if words.strip()]
        if points or re.split(r"[\W_]+", name.lower())[-1] in PARTS:
            left.append(shown(repr(name)))
        else:
            turns += tier
    if left:
        said.append(f"Tiers that are no turns of a speaker, and are not read: {listed(left)}.")
    return turns


def _eaf(text: str, path: Path, said: list[str]) -> list[Turn]:
    """Annotations of the tiers that hang on no other, in milliseconds; a document type is refused unread."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError(f"{path} declares a document type or entities, which no eaf of ELAN has")
    if text.count("<") > TAGS * MOST:
        raise ValueError(f"{path} has more elements than {MOST} turns could need")
    try:
        root = ElementTree.fromstring(re.sub(r"^\s*<\?xml.*?\?>", "", text, flags=re.DOTALL))
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"{path} is no XML, or damaged: {error}") from None
    slots = {slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")}
    turns, left = [], []
    for tier in root.iter("TIER"):
        name = tier.get("TIER_ID") or ""
        if tier.get("PARENT_REF"):
            left.append(shown(repr(name)))
            continue
        for one in tier.iter("ALIGNABLE_ANNOTATION"):
            times = [slots.get(one.get(f"TIME_SLOT_REF{i}")) for i in (1, 2)]
            start, end = (seconds(time, f"{path}: a time of tier {shown(name)}") / 1000 for time in times)
            words = plain(one.findtext("ANNOTATION_VALUE") or "")
            turns.append(Turn(start, end, words, plain(tier.get("PARTICIPANT") or name)))
    if left:
        said.append(f"Tiers that hang on another, and are not read: {listed(left)}.")
    return turns


def _rttm(text: str, path: Path, said: list[str], recording: str) -> list[Turn]:
    found: dict[str, list[Turn]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        cells = line.split()
        if not cells or cells[0] != "SPEAKER":  # comments, and what NIST's other types say
            continue
        if len(cells) < 8:
            raise ValueError(
                f"{path} line {number} has {len(cells)} cells: want SPEAKER file 1 start length <NA> <NA> name"
            )
        start, length = (seconds(cell, f"{path} line {number}") for cell in cells[3:5])
        found.setdefault(cells[1], []).append(Turn(start, start + length, "", plain(cells[7])))
    if len(found) > 1 and recording not in found:
        raise ValueError(f"{path} is of {len(found)} files, {listed(sorted(found), 5)}: none is called {recording!r}")
    return found.get(recording) or next(iter(found.values()), [])


FORMS: dict[str, Callable] = {
    ".csv": _csv, ".tsv": _csv, ".json": _json, ".srt": _subtitles, ".vtt": _subtitles,
    ".textgrid": _textgrid, ".eaf": _eaf, ".rttm": _rttm,
}  # fmt: skip
