"""Seconds and bytes that features will take: the simulated corpus's speech, encoders, text encoders fitted to folds.

An encoder that lies on this machine is timed on a few texts or clips; nothing is fetched to find out.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from lpgnet.beyond.asr import recognised
from lpgnet.beyond.forecast.training import FRAME_RATE, Sizes, core_seconds, frames_of
from lpgnet.config import FINETUNE
from lpgnet.corpora.load import made_here, scan
from lpgnet.corpora.simulated.plan import KNOBS, plan
from lpgnet.corpora.sound import RATE, read_clip
from lpgnet.features import extract, finetune, hub
from lpgnet.features.encoders import encoder
from lpgnet.features.text import SHIPPED, weights
from lpgnet.places import RECOGNISER, Place, split_layer

OURS = (SHIPPED, "prosody", "egemaps", "whisper-tiny-en")  # encoders that no hub is asked for
TEXTS, CLIPS = 24, 6  # that are timed
PAPER = Sizes(768, 768)  # of BERT-base and emotion2vec_base, where an encoder isn't at hand


@dataclass(frozen=True)
class Work:
    """One thing to do before training: seconds of one core in all, None where it can't be told; bytes it leaves."""

    what: str
    seconds: float | None
    bytes: float


def simulated_table(corpus: str, folder: Path) -> tuple[pd.DataFrame, Work, Path]:
    """The utterance table that a simulated corpus will have, what speaking it takes, and a root of some clips.

    A part of it is made below folder.
    """
    from lpgnet.corpora.simulated.corpus import generate

    spent, turns = [], []
    for sessions in (1, 5):
        root = folder / str(sessions)
        spent.append(core_seconds(lambda: generate(root, replace(KNOBS[corpus], dialogues=(3,) * sessions), 1)))  # noqa: B023
        some = scan(root).table
        turns.append(len(some))
    each = max(0.0, spent[1] - spent[0]) / (turns[1] - turns[0])
    rows = [
        {"id": t.id, "dialogue": d.name, "order": i, "speaker": d.speakers[t.speaker].name}
        | {"party": "FM"[t.speaker], "session": d.session, "scripted": False, "text": t.text}
        | {"wav": "spoken", "start": 0.0, "end": float((some["end"] - some["start"]).mean())}
        | {"label": t.label, "votes": "{}", "line": i, "part": ""}
        for d in plan(KNOBS[corpus])
        for i, t in enumerate(d.turns)
    ]
    table = pd.DataFrame(rows)
    seconds = (table["end"] - table["start"]).sum()
    said = Work(f"speech of the corpus, to {made_here(corpus)}", spent[0] + each * len(table), 2 * RATE * seconds)
    return table, said, root


def clips(root: Path | None) -> list[Path]:
    """A few clips of a release, where there is one."""
    if root is None:
        return []
    found = [root / wav for wav in scan(root).table["wav"] if wav]
    return found[:: max(1, len(found) // CLIPS)][:CLIPS]


def sizes_of(place: Place, modality: str) -> Sizes:
    """Of the features that a place's encoder makes; the paper's where it isn't at hand."""
    name = getattr(place, modality)
    if not _at_hand(name):
        return PAPER
    made = encoder(modality, name)
    return Sizes(made.size, made.frame_size, 4 if made.precision == "float32" else 2)


def works(
    place: Place, table: pd.DataFrame, heard: list[Path], wanted: dict[str, Sizes], device: str
) -> Iterator[Work]:
    """What is to do for the sets of features `wanted`.  heard: some clips of the corpus."""
    counts = frames_of(table)
    for modality, size in wanted.items():
        there = (table[extract.COLUMN[modality]] != "").to_numpy()
        held = 4 * size.vector * len(table) + size.bytes * size.frame * int(counts[modality][there].sum())
        name = getattr(place, modality)
        run = partial(_texts if modality == "text" else _clips, place, table[there], heard, device)
        yield Work(f"{modality} features by {name}", run() if _at_hand(name) else None, held)
        if modality == "text" and place.finetuned:
            yield _fits(place, table, device, held)


def _at_hand(name: str) -> bool:
    return name in OURS or hub.at_hand(split_layer(name)[0])


def _texts(place: Place, table: pd.DataFrame, _, device: str) -> float:
    texts = table["text"].iloc[:: max(1, len(table) // TEXTS)].tolist()[:TEXTS]
    made = encoder("text", place.text, device)
    each, start = _each(lambda: list(made(texts)), len(texts), lambda: list(made(texts[:1])))
    return start + each * len(table)


def _clips(place: Place, table: pd.DataFrame, heard: list[Path], device: str) -> float | None:
    made = encoder("audio", place.audio, device)
    return _by_sound(lambda waves: list(made(waves)), table, heard)


def recognition(place: Place, table: pd.DataFrame, heard: list[Path]) -> Work:
    """Hearing the words of every clip; nothing is left where notebook 07 has done so."""
    what, spoken = f"words recognised by {RECOGNISER}", table[table["wav"] != ""]
    if recognised.complete(place, len(table)):
        return Work(what, 0.0, 0)
    try:
        return Work(what, _by_sound(lambda waves: [recognised.words(wave) for wave in waves], spoken, heard), 0)
    except ValueError:  # faster-whisper isn't installed
        return Work(what, None, 0)


def _by_sound(call: Callable, table: pd.DataFrame, heard: list[Path]) -> float | None:
    """Seconds of a call on all clips of the table, from a few of them; None where there is none."""
    if not heard:
        return None
    waves = [read_clip(path) for path in heard]
    each, start = _each(lambda: call(waves), sum(map(len, waves)) / RATE, lambda: call(waves[:1]))
    return start + each * int(frames_of(table)["audio"].sum()) / FRAME_RATE


def _fits(place: Place, table: pd.DataFrame, device: str, held: float) -> Work:
    """Fitting the text encoder to every fold, and encoding all texts with each."""
    fits = extract.fits(place, table)
    name = f"{len(fits)} text encoders fitted to a fold"
    if not _at_hand(place.text):
        return Work(name, None, len(fits) * held)
    base, settings = encoder("text", place.text, device), FINETUNE[place.profile]
    parts = [extract.training_part(table, place.split, fit) for fit in fits]
    with tempfile.TemporaryDirectory() as folder:
        few, more = (parts[0][: n * settings.batch] for n in (1, 2))
        once = replace(settings, epochs=1)
        fit = lambda part: finetune.fit(base.folder, part, once, Path(folder) / "fit", device)  # noqa: E731
        spent = [core_seconds(partial(fit, part)) for part in (few, more)]
    each = (spent[1] - spent[0]) / max(1, len(more) - len(few)) if len(more) > len(few) else spent[0] / len(few)
    start = max(0.0, spent[0] - each * len(few))
    seconds = sum(start + each * settings.epochs * len(part) for part in parts)
    encoded = len(fits) * _texts(place, table, None, device)
    return Work(name, seconds + encoded, len(fits) * (held + sum(p.stat().st_size for p in weights(base.folder))))


def _each(call: Callable[[], Any], units: float, first: Callable[[], Any]) -> tuple[float, float]:
    """Seconds per unit of work, and of the first call, which loads a model."""
    start = core_seconds(first)
    return core_seconds(call) / units, start
