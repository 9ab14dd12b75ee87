"""Utterance table -> feature store: every set that a kind of run reads, made, finished or kept."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import pandas as pd

from lpgnet.config import FINETUNE, RunConfig
from lpgnet.corpora.sound import read_clip
from lpgnet.corpora.table import utterances
from lpgnet.experiments import TABLED
from lpgnet.features import finetune, store
from lpgnet.features.encoders import encoder
from lpgnet.features.text import TextEncoder
from lpgnet.labels import digest, folds, labelled, manifest, meant
from lpgnet.machine.files import listed, sha256
from lpgnet.machine.workers import run_parallel
from lpgnet.places import Place, fit_key, protocols, slug

COLUMN = {"text": "text", "audio": "wav"}  # what a modality's encoder reads


@dataclass(frozen=True)
class FoldFit:
    """What a fine-tuned text encoder was fitted to: `<profile>/<labels>/<fold>/<validation>`."""

    profile: str
    labels: str
    fold: str
    validation: str

    @property
    def key(self) -> str:
        return fit_key(self.profile, self.labels, self.fold, self.validation)


def extract(
    place: Place, table: pd.DataFrame, root: Path, jobs: int, device: str = "cpu", oracle: dict | None = None
) -> dict:
    """Make (or finish, or keep) the features of a kind of run; returns the store's index.

    jobs: worker processes, one thread each; the store's bytes don't depend on how many.  On a GPU it is one.
    oracle: the best reachable score, protocol -> group -> confusion matrix, where a corpus knows it.
    """
    if place.text == place.audio == "imported":
        return store.read_index(place.features)
    work = _Work(table, root, place.features, 1 if device == "cuda" else jobs, device)
    store.write_table(place.features, table)
    names = {"text": place.text, "audio": place.audio}
    lacking = [modality for modality, column in COLUMN.items() if (table[column] == "").all()]
    sets = {f"{m}/{slug(name)}": work.frozen(m, name) for m, name in names.items() if m not in lacking}
    index = store.add(place.features, sets, oracle=oracle or {}, lacking=lacking)
    if place.finetuned:
        index = extract_finetuned(place, fits(place, table), jobs, device)
    return index


def fits(place: Place, table: pd.DataFrame, runs: Iterable[RunConfig] = tuple(TABLED.values())) -> list[FoldFit]:
    """The fits that some runs need (the tables': its labels and, where it can, six classes), each once."""
    carried = protocols(place.corpus, place.output)
    asked = dict.fromkeys((meant(r.data.labels, place.labels, carried), r.data.validation) for r in runs)
    return [
        FoldFit(place.profile, labels, fold.name, validation)
        for labels, validation in asked
        if labels in carried
        for fold in folds(manifest(table, labels), place.split, validation)
    ]


def extract_finetuned(place: Place, wanted: list[FoldFit], jobs: int, device: str = "cpu") -> dict:
    """Fit the place's text encoder to each fold of `wanted` and encode every utterance; returns the index."""
    table = utterances(place.features)
    work = _Work(table, Path(), place.features, 1 if device == "cuda" else jobs, device)
    parts = {fit: (training_part(table, place.split, fit), fit) for fit in wanted}
    base, made = encoder("text", place.text), fitted_encoders(place, parts, work.jobs, device)
    sets = {}
    for fit, (folder, identity) in made.items():
        name = f"{base.name}, fine-tuned on {fit.key}"
        sets[f"text/{slug(place.text)}/{fit.key}"] = work.fitted(folder, name, identity, base.precision)
    return store.add(place.features, sets)


def fitted_encoders(
    place: Place, wanted: dict[Any, tuple[pd.DataFrame, FoldFit]], jobs: int, device: str
) -> dict[Any, tuple[Path, str]]:
    """Fit the place's text encoder to each training part of `wanted`; returns folder and identity of each.

    wanted: name -> what it is fitted on (columns id, text, label), and the fold that this is a part of.
    """
    table, base = utterances(place.features), encoder("text", place.text)
    made, todo = {}, {}
    for name, (training, fit) in wanted.items():
        settings = FINETUNE[fit.profile]
        kept = digest(manifest(table, fit.labels))
        identity = finetune.identity(base, training, settings, kept, finetune.fitting_code())
        folder = place.features.parent / "encoders" / f"text-{identity[:8]}"
        made[name] = folder, identity
        if not folder.exists():
            todo[folder] = joblib.delayed(finetune.fit)(base.folder, training, settings, folder, device)
    run_parallel("text encoders fitted to a fold", list(todo.values()), jobs)
    return made


def training_part(table: pd.DataFrame, split: str, fit: FoldFit) -> pd.DataFrame:
    """Columns id, text, label of the utterances that a fold trains on: no validation, no test dialogue."""
    kept = manifest(table, fit.labels)
    (fold,) = [f for f in folds(kept, split, fit.validation) if f.name == fit.fold]
    rows = table["dialogue"].isin(fold.train) & table["id"].isin(kept["id"])
    return table.assign(label=labelled(table, fit.labels))[rows][["id", "text", "label"]]


@dataclass(frozen=True)
class _Work:
    """What all sets of one call share."""

    table: pd.DataFrame
    root: Path
    folder: Path
    jobs: int
    device: str

    def frozen(self, modality: str, name: str) -> dict:
        """A set of an encoder as published."""
        made = encoder(modality, name, self.device)
        if made.note:
            print(f"{made.name}: {made.note}")
        return self._encode(modality, name, made, recipe(modality, made, self.table, self.root))

    def fitted(self, folder: Path, name: str, identity: str, precision: str) -> dict:
        """A set of a text encoder that was fitted to a fold."""
        made = TextEncoder(folder, name, self.device, precision)
        about = self._encode("text", str(folder), made, fitted_recipe(identity, self.table))
        return about | {"fitted_by": finetune.fitting_code()}

    def _encode(self, modality: str, name: str, made, digest: str) -> dict:
        column = COLUMN[modality]
        absent = self.table["id"][self.table[column] == ""].tolist() if modality == "audio" else []
        about = {
            "encoder": made.name,
            "version": made.version,
            "size": made.size,
            "frame_size": made.frame_size,
            "precision": made.precision,
            "recipe": digest,
            "folder": f"{modality}-{digest[:8]}",
            "utterances": len(self.table),
            "absent": absent,
        }
        shards = self.folder / about["folder"]
        starts = store.missing_shards(shards, len(self.table))
        rows = self.table[["id", column]]
        if starts and modality == "text" and (cut := made.cut(rows["text"].tolist())):
            ids = listed(rows["id"].iloc[cut].tolist())
            print(f"{made.name} reads {made.longest} tokens, {len(cut)} texts are longer and cut: {ids}")
        pieces = [
            joblib.delayed(make)(
                modality,
                name,
                rows[s : s + store.SHARD],
                self.root,
                store.shard(shards, s),
                about,
                self.device,
            )
            for s in starts
        ]
        run_parallel(f"{modality} features, {store.SHARD} utterances each", pieces, self.jobs)
        return about


def recipe(modality: str, made, table: pd.DataFrame, root: Path) -> str:
    """SHA-256 of what decides the features: encoder, version, and what it read of each utterance.

    made: has the `name`, `version`, `size` and `frame_size` of the encoder.
    """
    read = table[COLUMN[modality]].tolist()
    if modality == "audio":
        read = [sha256(root / wav) if wav else "" for wav in read]
    source = json.dumps(list(zip(table["id"], read, strict=True)))
    parts = (modality, made.name, made.version, f"{made.size} {made.frame_size}", source)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def fitted_recipe(identity: str, table: pd.DataFrame) -> str:
    """The same for a text encoder that was fitted: its fit's identity, and the texts it read."""
    read = list(zip(table["id"], table["text"], strict=True))
    return hashlib.sha256((identity + json.dumps(read)).encode()).hexdigest()


def make(modality: str, name: str, rows: pd.DataFrame, root: Path, path: Path, about: dict, device: str) -> None:
    """Encode one shard's utterances.  rows: the id, and the text or the path of the wav."""
    import torch

    torch.set_num_threads(1)
    absent = set(about["absent"])
    here = rows[~rows["id"].isin(absent)]
    inputs = here["text"].tolist() if modality == "text" else (read_clip(root / wav) for wav in here["wav"])
    items = encoder(modality, name, device)(inputs)
    store.write_shard(path, rows["id"].tolist(), items, about, absent)
