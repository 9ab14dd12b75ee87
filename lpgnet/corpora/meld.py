"""MELD on disk (three CSVs and, where present, their clips) -> the utterance table.  No clip is opened.

Dialogue numbers start at 0 in each split, so ids carry the split: train_dia0_utt0.  Rows are in order of
speech, utterance numbers have gaps.  MELD's dev is our "validation".
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from lpgnet.corpora.sound import PYAV, SNDFILE
from lpgnet.corpora.table import COLUMNS
from lpgnet.labels import MELD
from lpgnet.machine.files import listed, plain_text

SPLITS = {"train": "train", "dev": "validation", "test": "test"}  # split -> part
FOLDER = {  # split -> what a name of its folder of clips has: train_splits, MELD-Test, but not latest
    split: re.compile(rf"(?<![a-z])(?i:{words})")
    for split, words in {"train": "train", "dev": "dev|val", "test": "test"}.items()
}
EXCEL = re.compile(r"\d+:\d+\.\d")  # what it makes of 00:16:16,059
SHOWN = 20  # lines that can't be read
DEPTH = 4  # folders below root in which clips may lie
NEEDED = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID", "StartTime", "EndTime")
MAIN = ("Joey", "Ross", "Rachel", "Phoebe", "Monica", "Chandler")
OTHERS = 3  # parties for everybody else
KINDS = "|".join(suffix[1:] for suffix in SNDFILE + PYAV)
CLIP = re.compile(rf"dia(\d+)_utt(\d+)\.(?:{KINDS})", re.IGNORECASE)
TIME = re.compile(r"(\d{1,2}):([0-5]?\d):([0-5]?\d)(?:[,.](\d{1,3}))?")  # 00:16:16,059 and 0:16:16.059


@dataclass
class _Turn:
    """One row of a CSV, read."""

    split: str
    place: tuple[int, int]  # Dialogue_ID, Utterance_ID
    line: int  # rows before it in its CSV
    row: dict[str, str]
    times: tuple[float, float]

    @property
    def id(self) -> str:
        return f"{self.split}_dia{self.place[0]}_utt{self.place[1]}"


@dataclass
class _Scan:
    root: Path
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read(root: Path) -> tuple[pd.DataFrame, list[str], list[str]]:
    """The utterance table (columns `COLUMNS`), one sentence per problem, and one per note.

    root: holds the CSVs and folders of clips, itself or up to two folders down; `wav` is relative to it.
    A row that can't be read is a problem; a clip that is missing leaves "" in `wav`.
    """
    scan = _Scan(Path(root))
    turns = {split: list(_turns(split, path, scan)) for split, path in _tables(scan).items()}
    wavs = _clips(turns, scan)
    return _table(turns, wavs), scan.problems, scan.notes


def _tables(scan: _Scan) -> dict[str, Path]:
    """split -> its CSV, for those that are there."""
    found = {split: _within(scan.root, f"{split}_sent_emo.csv") for split in SPLITS}
    for split, copies in found.items():
        if not copies:
            scan.problems.append(f"{split}_sent_emo.csv is missing")
        elif len({path.read_bytes() for path in copies}) > 1:
            places = " and ".join(path.relative_to(scan.root).as_posix() for path in copies)
            scan.problems.append(f"{places} differ; keep the one to use")
    return {split: copies[0] for split, copies in found.items() if copies}


def here(root: Path) -> bool:
    """Whether one of the CSVs is there."""
    return any(_within(root, f"{split}_sent_emo.csv") for split in SPLITS)


def _within(root: Path, name: str) -> list[Path]:
    """Everything of that name in root or up to two folders down, the nearest first; nothing hidden."""
    found = [path for depth in ("", "*/", "*/*/") for path in sorted(root.glob(depth + name))]
    return [path for path in found if not _hidden(path.relative_to(root))]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _turns(split: str, path: Path, scan: _Scan) -> Iterator[_Turn]:
    """The rows of one CSV that can be read, in its order."""
    seen, unread = set(), []
    for line, number, row in _rows(path, scan):
        where = f"{path.name} line {number}"
        try:
            place = int(row["Dialogue_ID"]), int(row["Utterance_ID"])
            times = _seconds(row["StartTime"]), _seconds(row["EndTime"])
        except ValueError as error:
            unread.append(f"{where} can't be read: {error}")
            continue
        turn = _Turn(split, place, line, row, times)
        if place in seen:
            scan.problems.append(f"{where} repeats {turn.id}; the first is kept")
            continue
        seen.add(place)
        if row["Emotion"].lower() not in MELD:
            known = ", ".join(MELD)
            scan.problems.append(f"{turn.id} has the unknown emotion {row['Emotion']!r}; there are {known}")
        if times[1] < times[0]:
            scan.notes.append(f"{turn.id} ends before it starts ({row['StartTime']} to {row['EndTime']})")
        if not row["Utterance"]:
            scan.notes.append(f"{turn.id} has no text")
        yield turn
    scan.problems += unread[:SHOWN]
    if len(unread) > SHOWN:
        scan.problems.append(f"{path.name}: {len(unread) - SHOWN} more lines can't be read, likewise")


def _rows(path: Path, scan: _Scan) -> Iterator[tuple[int, int, dict[str, str]]]:
    """Rows before it, line in the file, and stripped values by column, of each whole row."""
    text = _text(path, scan)
    if text is None:
        return
    reader, mended = csv.reader(io.StringIO(text, newline=""), strict=True), 0
    try:
        header = [name.strip() for name in next(reader, [])]
        lacking = [name for name in NEEDED if name not in header]
        if lacking:
            scan.problems.append(f"{path.name} lacks the columns {', '.join(lacking)}; it has {header}")
            return
        for line, values in enumerate(row for row in reader if row):
            if len(values) != len(header):
                words = f"has {len(values)} values, the header {len(header)}"
                scan.problems.append(f"{path.name} line {reader.line_num} {words}")
                continue
            clean = [plain_text(value) for value in values]
            mended += clean != values
            yield line, reader.line_num, dict(zip(header, (v.strip() for v in clean), strict=True))
    except csv.Error as error:
        scan.problems.append(f"{path.name} line {reader.line_num} is no CSV, nothing below is read: {error}")
    if mended:
        scan.notes.append(
            f"{path.name}: {mended} rows have control characters: Windows-1252 saved as Latin-1 is read as "
            "what it was (U+0092 as \u2019), others as spaces"
        )


def _text(path: Path, scan: _Scan) -> str | None:
    """A CSV decoded, and which way among the notes: older copies are Windows-1252."""
    data = path.read_bytes()
    for codec, name in (("utf-8-sig", "UTF-8"), ("cp1252", "Windows-1252")):
        try:
            text = data.decode(codec)
        except UnicodeDecodeError:
            continue
        scan.notes.append(f"{path.name} is {name}")
        return text
    scan.problems.append(f"{path.name} is neither UTF-8 nor Windows-1252 text")
    return None


def _seconds(time: str) -> float:
    """'00:16:16,059' -> 976.059."""
    match = TIME.fullmatch(time)
    if not match:
        lost = ": a spreadsheet dropped the hours; take the published file" if EXCEL.fullmatch(time) else ""
        raise ValueError(f"{time!r} is no time like 00:16:16,059{lost}")
    hours, minutes, seconds = map(int, match.groups()[:3])
    return (hours * 60 + minutes) * 60 + seconds + float(f"0.{match[4] or 0}")


def _clips(turns: dict[str, list[_Turn]], scan: _Scan) -> dict[str, str]:
    """Utterance id -> path of its clip relative to root."""
    folders = _folders(scan)
    if not any(folders.values()):
        other = listed(sorted(p.name for p in scan.root.iterdir() if p.is_dir() and not _hidden(Path(p.name))))
        also = f"; it holds {other}, where no dia0_utt0.wav (.mp4, .flac, ...) lies" if other else ""
        scan.notes.append(f"no folder of clips under {scan.root}: text only{also}")
        return {}
    found = {}
    for split, own in turns.items():
        if not folders[split]:
            scan.notes.append(f"{split}: no folder of clips says {split} in its name, text only")
            continue
        chosen = _chosen(split, folders[split], {turn.place: turn.id for turn in own}, scan)
        found |= {key: path.relative_to(scan.root).as_posix() for key, path in chosen.items()}
    return found


def _folders(scan: _Scan) -> dict[str, list[Path]]:
    """split -> the folders that hold clips themselves (train/ may only hold train_splits/)."""
    files = (path for depth in range(DEPTH + 1) for path in scan.root.glob("*/" * depth + "*"))
    clips = Counter(path.parent for path in files if CLIP.fullmatch(path.name))
    found: dict[str, list[Path]] = {split: [] for split in SPLITS}
    for folder in sorted(folder for folder in clips if not _hidden(folder.relative_to(scan.root))):
        place = folder.relative_to(scan.root)
        split = next(filter(None, map(_split, reversed(place.parts))), None)
        if split:
            found[split].append(folder)
        else:
            words = "no folder's name says train, dev or test"
            scan.notes.append(f"{clips[folder]} clips in {place} are not read: {words}")
    return found


def _split(name: str) -> str | None:
    """The one split that a folder's name says."""
    said = [split for split, words in FOLDER.items() if words.search(name)]
    return said[0] if len(said) == 1 else None


def _chosen(split: str, folders: list[Path], ids: dict[tuple[int, int], str], scan: _Scan) -> dict[str, Path]:
    """Utterance id -> its clip, an audio file before a video; what is not read is noted."""
    files = [path for folder in folders for path in sorted(folder.iterdir()) if path.is_file()]
    found, extra, again = {}, [], []
    for path in sorted(files, key=lambda path: path.suffix.lower() not in SNDFILE):  # stable: audio first
        match = CLIP.fullmatch(path.name)
        key = ids.get((int(match[1]), int(match[2]))) if match else None
        if key is None:
            extra.append(path.name)
        elif key in found:
            again.append(path.relative_to(scan.root).as_posix())
        else:
            found[key] = path
    if extra:
        what = "files are no clip of a row and not read"
        scan.notes.append(f"{split}: {len(extra)} {what}: {listed(sorted(extra))}")
    if again:
        what = "clips are another copy of one that is read"
        scan.notes.append(f"{split}: {len(again)} {what}: {listed(sorted(again))}")
    return found


def _table(turns: dict[str, list[_Turn]], wavs: dict[str, str]) -> pd.DataFrame:
    rows, orders, parties = [], {}, {}
    for turn in (turn for own in turns.values() for turn in own):
        dialogue = turn.id.rpartition("_")[0]
        orders[dialogue] = orders.get(dialogue, -1) + 1
        speaker = turn.row["Speaker"]
        party = _party(speaker, parties.setdefault(dialogue, {}))
        sentiment = turn.row.get("Sentiment", "").lower()
        votes = {"sentiment": sentiment} if sentiment else {}
        rows.append((
            turn.id, dialogue, orders[dialogue], speaker, party, 0,
            False,  # all of MELD is scripted television; the column tells IEMOCAP's scripted from improvised
            turn.row["Utterance"], wavs.get(turn.id, ""), *turn.times, turn.row["Emotion"].lower(),
            json.dumps(votes), turn.line, SPLITS[turn.split],
        ))  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def _party(speaker: str, others: dict[str, str]) -> str:
    """One of nine.  The literature has nine one-hot speakers and doesn't say which; this is our reading.

    The six main ones by name; anybody else by order of first turn in the dialogue, the third with all later.
    """
    if speaker in MAIN:
        return speaker
    return others.setdefault(speaker, f"other {min(len(others) + 1, OTHERS)}")
