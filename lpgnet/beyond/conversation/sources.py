"""A conversation to predict: a recording, a folder of clips with a transcript, or a dialogue of a corpus.

A folder holds transcript.csv (UTF-8, comma) or transcript.json (a list of objects), one line per turn:
    wav             a clip in the folder; empty: this turn has no audio
    text            what was said; empty: this turn has no text
    speaker         optional, shown beside the turn; the model doesn't read it
    start, end      optional, seconds or a clock; where every turn has a start, turns are put in its order; where all
                    turns name the same wav, it is a recording, of which they are cut
At least one of the columns wav and text must be there.  A wav that no line names stops the reading.
"""

import csv
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from lpgnet.beyond.conversation import recognise, transcripts
from lpgnet.beyond.conversation.recording import Recording, open_recording
from lpgnet.beyond.conversation.timing import timed
from lpgnet.corpora.load import heard, made_here, scan
from lpgnet.corpora.simulated.plan import KNOBS
from lpgnet.corpora.sound import read_clip
from lpgnet.corpora.table import utterances
from lpgnet.features.loading import holding
from lpgnet.features.store import Features, read_index
from lpgnet.labels import folds, manifest
from lpgnet.machine.files import below, parsed_json, plain_name, plain_string, shown
from lpgnet.places import CORPORA, Place

COLUMNS = ("wav", "text", "speaker", "start", "end")
TURNS = ["id", "speaker", "text", "wav", "start", "end", "label"]
TRANSCRIPTS = ("transcript.csv", "transcript.json")
READS = {"text": "text", "audio": "wav"}  # the column that a modality is made of


@dataclass(frozen=True)
class Conversation:
    """T turns in order.  turns: columns `TURNS`, "" where missing; wav is relative to root, label raw.

    corpus: whose dialogue it is, "" for a folder of one's own.  vectors: modality -> (T, F) where a store
    has them already.  said: what was not read of it.  recording: of which the turns are cut, start to end.
    """

    name: str
    turns: pd.DataFrame
    root: Path
    corpus: str = ""
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    recording: Recording | None = None

    def has(self, modality: str) -> np.ndarray:
        """(T,) bool: which turns have this modality."""
        if modality in self.vectors:
            return ~np.isnan(self.vectors[modality]).any(axis=1)
        return (self.turns[READS[modality]] != "").to_numpy()

    def wave(self, turn: int) -> np.ndarray | None:
        """(samples,) at 16 kHz of a turn (turns count from 0), None where there is none to play."""
        wav = self.turns["wav"].iat[turn]
        if wav and self.recording:
            return self.recording.cut(*self.turns[["start", "end"]].iloc[turn])
        return read_clip(self.root / wav) if wav and (self.root / wav).is_file() else None


def read(
    place: Place,
    encoders: dict[str, dict],
    folder: Path | None = None,
    dialogue: str | None = None,
    root: Path | None = None,
    **told: Path | str | None,
) -> Conversation:
    """A folder or recording of one's own, or a dialogue: of the release at root, else of the place's store.

    encoders: modality -> what a checkpoint says of its features.  told: as `from_recording` has it.
    """
    if (folder is None) == (dialogue is None) or (folder and root):
        raise ValueError(
            "give a recording or a folder of your own, or a dialogue (with the root of its release or not)"
        )
    if folder and Path(folder).expanduser().is_file():
        return from_recording(Path(folder).expanduser(), **told)
    if any(told.values()):
        raise ValueError("a transcript, a recogniser and a language go with a recording: give its file, not a folder")
    if folder:
        return from_folder(folder)
    if root and place.corpus in CORPORA:
        return from_release(root, dialogue)
    played = root or (made_here(place.corpus) if place.corpus in KNOBS else None)
    return from_store(place, dialogue, encoders, played)


def tested_dialogue(place: Place) -> str:
    """The first dialogue that a place tests on: of Session 5, where that is one of its folds."""
    parts = folds(manifest(utterances(place.features), place.labels), place.split)
    return min(parts, key=lambda fold: (fold.name != "session5", fold.name)).test[0]


def from_recording(
    path: Path, transcript: Path | None = None, asr: str | None = None, language: str | None = None
) -> Conversation:
    """A recording with its transcript, or as a recogniser hears it; also where a transcript has no words."""
    recording = open_recording(path)
    turns, said = transcripts.read(Path(transcript).expanduser(), path.stem) if transcript else ([], [])
    if any(turn.text for turn in turns):
        if asr or language:
            raise ValueError(
                f"{transcript} has the words: nothing is left to recognise, leave out --asr and --language"
            )
    else:
        found, note = recognise.hear(recording, asr, language)
        turns, more = recognise.given_words(turns, found) if transcript else (found, [])
        said += [note, *more]
        recording = replace(recording, heard=True)
    frame, odd = timed(turns, recording)
    return Conversation(path.stem, frame, path.parent, said=recording.said + said + odd, recording=recording)


def from_folder(folder: Path) -> Conversation:
    """A conversation of one's own; see the top of this module for what the folder holds."""
    folder = Path(os.path.realpath(Path(folder).expanduser()))  # a loop of links is no folder
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder or recording {folder}; give a recording, or a folder with clips and {' or '.join(TRANSCRIPTS)}"
        )
    plain_name(folder.name, "the folder's name, which its predictions get,")
    found = [folder / name for name in TRANSCRIPTS if (folder / name).is_file()]
    if len(found) != 1:
        have = "both" if found else f"neither, but {holding(folder)}"
        raise FileNotFoundError(f"want {' or '.join(TRANSCRIPTS)} in {folder}: it has {have}")
    lines = (_csv if found[0].suffix == ".csv" else _json)(found[0])
    turns = pd.DataFrame([_turn(line, number, found[0]) for number, line in enumerate(lines, 1)])
    if turns.empty or not (turns[["text", "wav"]] != "").to_numpy().any():
        raise ValueError(f"{found[0]} has no turn with text or wav: there is nothing to predict from")
    recordings = set(turns["wav"]) - {""}
    if len(recordings) == 1 < len(turns) and turns[["start", "end"]].notna().all(axis=None):
        return _timed(folder, recordings.pop(), turns)
    _every_wav_once(folder, found[0], turns["wav"])
    if turns["start"].notna().all():
        turns = turns.sort_values(["start", "end"], kind="stable", ignore_index=True)
    return Conversation(folder.name, turns[TURNS], folder)


def _timed(folder: Path, wav: str, turns: pd.DataFrame) -> Conversation:
    """A folder whose transcript names one recording for all turns, and their times."""
    recording = open_recording(folder / wav)
    told = turns[["start", "end", "text", "speaker"]].itertuples(index=False)
    frame, said = timed([transcripts.Turn(*turn) for turn in told], recording)
    return Conversation(folder.name, frame, folder, said=recording.said + said, recording=recording)


def _csv(path: Path) -> list[dict]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file, strict=True) if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} can't be read ({error}): want CSV in UTF-8 with commas") from None
    head = [cell.strip() for cell in rows[0]] if rows else []
    _known(path, head)
    for number, row in enumerate(rows[1:], 1):
        if len(row) != len(head):
            raise ValueError(
                f"{path} turn {number} has {len(row)} cells, the head {len(head)}: quote a text with commas"
            )
    return [dict(zip(head, row, strict=True)) for row in rows[1:]]


def _json(path: Path) -> list[dict]:
    try:
        lines = parsed_json(path.read_text(encoding="utf-8-sig"), path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} isn't UTF-8 text ({error})") from None
    if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
        raise ValueError(f'{path} is no list of objects: want [{{"wav": ..., "text": ...}}, ...]')
    _known(path, list(dict.fromkeys(name for line in lines for name in line)))
    return lines


def _known(path: Path, names: list[str]) -> None:
    """A ValueError where the columns aren't those of the top of this module."""
    unknown = [name for name in names if name not in COLUMNS]
    twice = sorted({name for name in names if names.count(name) > 1})
    if unknown or twice or not {"wav", "text"} & set(names):
        said = f"unknown {shown(unknown)}" if unknown else f"{twice} twice" if twice else f"only {names}"
        raise ValueError(f"{path} has columns {said}: there are {', '.join(COLUMNS)}; wav or text must be there")


def _turn(line: dict, number: int, transcript: Path) -> dict:
    """One line of a transcript, checked."""
    folder, where, words = transcript.parent, f"{transcript} turn {number}", {}
    for name in ("wav", "text", "speaker"):
        value = line.get(name)
        said = " ".join(value.split()) if isinstance(value, str) else value
        words[name] = plain_string("" if said is None else said, f"{where}: {name}")
    times = {name: transcripts.seconds(line.get(name), f"{where}: {name}") for name in ("start", "end")}
    for name, time in times.items():
        if time < 0:
            raise ValueError(f"{where}: {name} is {shown(repr(line[name]))}: want seconds from 0 on")
    if times["end"] < times["start"]:
        raise ValueError(f"{where} ends at {times['end']} s, before its start at {times['start']} s")
    if words["wav"] and not below(folder, words["wav"], f"{where}: wav").is_file():
        raise FileNotFoundError(
            f"{where}: no file {words['wav']!r} in {folder}; leave wav empty where a turn has no audio"
        )
    return {"id": str(number), "label": "", **words, **times}


def _every_wav_once(folder: Path, transcript: Path, named: pd.Series) -> None:
    """A ValueError where two turns share a wav, or a wav of the folder is no turn's."""
    paths = [(folder / wav).resolve() for wav in named if wav]
    twice = sorted({path.name for path in paths if paths.count(path) > 1})
    if twice:
        raise ValueError(f"{transcript} names {', '.join(twice)} for two turns: want a clip per turn")
    wavs = (p for p in folder.rglob("*") if p.suffix.lower() == ".wav" and p.is_file())
    there = {p.resolve(): p.name for p in wavs if not p.name.startswith(".")}  # not the ._ files of Macs
    left = sorted(name for path, name in there.items() if path not in set(paths))
    if left:
        raise ValueError(
            f"{folder} has {len(left)} wavs that no line of {transcript.name} names: {', '.join(left[:8])}; "
            "add a line for each, or take them away"
        )


def from_release(root: Path, dialogue: str) -> Conversation:
    """A dialogue of a release: every turn, labelled or not."""
    root = Path(root).expanduser().resolve()
    found = scan(root)
    _dialogue(found.table, dialogue, root)  # that it is there
    own = heard(replace(found, table=found.table[found.table["dialogue"] == dialogue]), root)
    return Conversation(dialogue, _dialogue(own.table, dialogue, root), root, own.corpus)


def from_store(place: Place, dialogue: str, encoders: dict[str, dict], root: Path | None = None) -> Conversation:
    """A dialogue of a feature store with its vectors; root: of the release, to play its clips.

    encoders: modality -> what a checkpoint says of its features; the same set must be in the store.
    """
    table, sets = utterances(place.features), read_index(place.features)["sets"].values()
    turns = _dialogue(table, dialogue, place.features)
    rows = table.index[table["dialogue"] == dialogue].tolist()
    vectors = {}
    for modality, about in encoders.items():
        same = [entry for entry in sets if entry["recipe"] == about["recipe"]]
        if not same:
            raise LookupError(
                f"{place.features} lacks the {modality} features that the checkpoint was trained on "
                f"({about['encoder']}, version {about['version']}): run notebooks 01 and 08 again"
            )
        vectors[modality] = Features(place.features, same[0]).vectors()[rows].numpy()
    return Conversation(dialogue, turns, Path(root or place.features), place.corpus, vectors)


def _dialogue(table: pd.DataFrame, name: str, where: Path) -> pd.DataFrame:
    """The turns of a dialogue; a LookupError names some that there are."""
    found = table[table["dialogue"] == name]
    if found.empty:
        have = table["dialogue"].drop_duplicates()
        raise LookupError(f"no dialogue {name!r} in {where}; it has {len(have)}: {', '.join(have[:6])}, ...")
    return found[TURNS].reset_index(drop=True)
