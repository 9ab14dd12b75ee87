"""Text as a recogniser hears it: the clips of a corpus -> words -> sets of features in the store.

The words are kept below data/, never among results, and say of what they are:
    <output>/data/<corpus>-recognised/<recipe8>/0000.json, ...   a list of [id, words], `store.SHARD` a file
Files are written whole, so that a killed recognition goes on where it was.  The recogniser is Whisper tiny.en
(`conversation.recognise`), each clip by itself, without sampling, so the same machine hears the same again.

The sets: `text/<encoder>+<recogniser>` of all utterances, and with `/<fold>` after it that fold's test part, the
rest copied from the transcript's set.  Where an encoder is fitted to a fold: `/<fit>`, fitted to recognised text,
and `/<fit>/test`, fitted to the transcript.
"""

import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd

from lpgnet.beyond.conversation import recognise
from lpgnet.beyond.conversation.transcripts import plain
from lpgnet.beyond.readings.crossfit import OWN, composed, own_set
from lpgnet.config import RECOGNISED
from lpgnet.corpora.load import made_here, refuse_other, scan
from lpgnet.corpora.sound import read_clip
from lpgnet.corpora.table import utterances
from lpgnet.experiments import EXPERIMENTS, RECOGNITION
from lpgnet.features import store, whisper
from lpgnet.features.encoders import encoder
from lpgnet.features.extract import FoldFit, fits, fitted_encoders, recipe, training_part
from lpgnet.labels import group, held_groups
from lpgnet.machine.code import deciding, summary, versions
from lpgnet.machine.files import json_sha256, listed, parsed_json, write_json
from lpgnet.machine.workers import run_parallel
from lpgnet.places import CORPORA, RECOGNISER, Place, recognised_key, slug
from lpgnet.runs.plan import describe, unfitted

LIBRARIES = ("faster-whisper", "ctranslate2")  # whose versions decide the words
HEARD = "heard"  # the reader of what is recognised, in a composed set


def recognised(place: Place, names: Sequence[str], root: str | None, jobs: int) -> pd.Series | None:
    """id -> what is heard in its clip, by row of the place's table; "" where there is nothing or no clip.

    None where no experiment of `names` reads it, or it can't be had: then a line says why.  root: the corpus's
    folder.  jobs: worker processes.
    """
    if not any(a.experiment in names for a in RECOGNITION):
        return None
    try:
        table, root = _clips(place, root)
        made = _recogniser()
    except (ValueError, FileNotFoundError) as error:
        print(f"Recognised text is left out: {error}")
        return None
    folder = _folders(place) / recipe("audio", made, table, root)[:8]
    pieces = [
        joblib.delayed(make)(table[["id", "wav"]][s : s + store.SHARD], root, _file(folder, s))
        for s in range(0, len(table), store.SHARD)
        if not _file(folder, s).exists()
    ]
    run_parallel(f"clips recognised by {RECOGNISER}, {store.SHARD} each", pieces, jobs)
    heard = read(folder, table["id"].tolist())
    silent = heard.index[heard.eq("") & table["wav"].ne("").to_numpy()].tolist()
    if silent:
        print(f"Nothing is recognised in {len(silent)} of {len(heard)} clips ({listed(silent)}): their text is empty")
    return heard


def _folders(place: Place) -> Path:
    return place.output / "data" / f"{place.corpus}-recognised"


def complete(place: Place, utterances: int) -> bool:
    """Whether every clip of the corpus was heard once, by whatever code; `recognised` checks by which."""
    files = -(-utterances // store.SHARD)
    return any(len([*folder.glob("[0-9]*.json")]) == files for folder in _folders(place).glob("*"))


def _clips(place: Place, root: str | None) -> tuple[pd.DataFrame, Path]:
    """The place's utterance table, and where its clips are; a ValueError or FileNotFoundError where they aren't."""
    if place.corpus not in CORPORA:
        raise ValueError(f"corpus {place.corpus!r} is an import, which has no recordings")
    folder = Path(root).expanduser() if root else made_here(place.corpus)
    if not folder.is_dir():
        raise FileNotFoundError(f"the recordings are not in {folder}: give the corpus's folder (ROOT, --root)")
    refuse_other(place.corpus, folder)
    table, there = utterances(place.features), scan(folder, place.corpus).table
    if not table[["id", "text"]].equals(there[["id", "text"]]):
        raise ValueError(f"{folder} holds other utterances than {place.features}: run notebook 01 on it")
    if not (table["wav"] != "").any():
        raise ValueError(f"{folder} has no clips")
    return table, folder


def _recogniser() -> SimpleNamespace:
    """What decides the words beside the clips; a ValueError says what to install."""
    if importlib.util.find_spec("faster_whisper") is None:
        raise ValueError("it needs faster-whisper, which is not installed: pip install 'lpgnet[asr]'")
    whisper.folder("asr")
    code = summary(deciding([("beyond.asr.recognised", "make")]))["digest"][:12]
    libraries = ", ".join(f"{name} {v}" for name, v in versions(LIBRARIES).items())
    version = f"weights sha256 {whisper.WEIGHTS[:16]}; code {code}, {libraries}"
    return SimpleNamespace(name=RECOGNISER, version=version, size=0, frame_size=0)


def make(rows: pd.DataFrame, root: Path, path: Path) -> None:
    """Recognise the clips of some utterances and write what is heard.  rows: id and wav."""
    import torch

    torch.set_num_threads(1)
    write_json(
        path, [[name, words(read_clip(root / wav)) if wav else ""] for name, wav in rows.itertuples(index=False)]
    )


def words(wave: np.ndarray) -> str:
    """What is said in (samples,) at 16 kHz, on one line."""
    segments, _ = _model().transcribe(
        wave, language="en", beam_size=1, temperature=0.0, vad_filter=True, condition_on_previous_text=False
    )
    return plain("".join(segment.text for segment in segments))


@lru_cache(maxsize=1)
def _model():
    return recognise.load()[0]


def _file(folder: Path, start: int) -> Path:
    return folder / f"{start // store.SHARD:04d}.json"


def read(folder: Path, ids: list[str]) -> pd.Series:
    """The words of a folder by id; a ValueError where a file is of other utterances than the table has there."""
    lines: list[str] = []
    for start in range(0, len(ids), store.SHARD):
        path = _file(folder, start)
        held = parsed_json(path.read_text(encoding="utf-8"), path)
        if [name for name, _ in held] != ids[start : start + store.SHARD]:
            raise ValueError(f"{path} is of other utterances than the table: delete it, run notebook 07 again")
        lines += [text for _, text in held]
    return pd.Series(lines, index=ids, dtype=object)


def prepare(place: Place, names: Sequence[str], heard: pd.Series | None, jobs: int, device: str = "cpu") -> list[str]:
    """Make the sets of recognised text; returns the experiments without those that would lack one.

    heard: as `recognised` gives it; without it the sets stay as they are.
    """
    if heard is not None:
        extract_recognised(place, heard, jobs, device)
    data = describe(place)
    lacking = {a.experiment for a in RECOGNITION if unfitted(data, EXPERIMENTS[a.experiment])}
    return [name for name in names if name not in lacking]


def extract_recognised(place: Place, heard: pd.Series, jobs: int, device: str = "cpu") -> dict:
    """Make (or finish, or keep) the sets of recognised text of every fold; returns the store's index."""
    table, jobs = utterances(place.features), 1 if device == "cuda" else jobs
    spoken, base = table.assign(text=heard.to_numpy()), f"text/{slug(place.text)}"
    sets, wanted = {}, fits(place, table, [EXPERIMENTS["full"]])
    readers, groups = _readers(place, table, spoken, wanted, jobs, device), group(table, place.split)
    for fit in wanted:
        own = own_set(place, f"{base}/{fit.key}" if place.finetuned else base)
        tested = groups == held_groups(place.split, groups.unique().tolist())[fit.fold]  # the same for all labels
        for text in RECOGNISED:
            key = base + recognised_key(text, fit.fold, fit.key if place.finetuned else "")
            if key in sets:
                continue
            read_so = tested if text == "recognised_test" else tested | True
            rows = spoken[["id", "text"]].assign(reader=np.where(read_so, HEARD, OWN))
            folder, identity = readers[fit, text]
            identity = json_sha256([identity, rows["text"][read_so].tolist()])
            about = {
                "encoder": f"{encoder('text', place.text).name}, recognised text {key.removeprefix(base)}",
                "version": f"{own['version']}; {_recogniser().version}",
            }
            sets[key] = composed(place, own, about, rows, {HEARD: (folder, identity)}, jobs, device)
    return store.add(place.features, sets)


def _readers(
    place: Place, table: pd.DataFrame, spoken: pd.DataFrame, wanted: list[FoldFit], jobs: int, device: str
) -> dict[tuple[FoldFit, str], tuple[Path, str]]:
    """Folder and identity of the encoder that reads the recognised text, by fold and kind of set."""
    if not place.finetuned:
        made = encoder("text", place.text)
        return {(fit, text): (made.folder, made.version) for fit in wanted for text in RECOGNISED}
    texts = {"recognised": spoken, "recognised_test": table}  # what the encoder is fitted to
    parts = {
        (fit, text): (training_part(rows, place.split, fit), fit) for fit in wanted for text, rows in texts.items()
    }
    return fitted_encoders(place, parts, jobs, device)
