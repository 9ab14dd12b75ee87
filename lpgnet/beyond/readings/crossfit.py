"""Reading R18's third way: the training part's text features from encoders fitted without them.

An encoder writes better features of the utterances that it was fitted to than of others, so a model trained
on those meets other features when it is tested.  Here the training dialogues of a fold are dealt into groups,
by session where there are several.  A group is encoded by an encoder fitted to the other groups; every other
utterance by the fold's own fit, whose features are copied.  The whole is one set of the store, with the
key `text/<encoder>/<fit>/crossfitted`.
"""

import hashlib
import json
from dataclasses import astuple
from functools import lru_cache
from pathlib import Path

import joblib
import pandas as pd

from lpgnet.corpora.table import utterances
from lpgnet.experiments import EXPERIMENTS
from lpgnet.features import store
from lpgnet.features.encoders import encoder
from lpgnet.features.extract import FoldFit, extract_finetuned, fits, fitted_encoders, training_part
from lpgnet.features.text import TextEncoder
from lpgnet.labels import Fold, folds, manifest
from lpgnet.machine.workers import run_parallel
from lpgnet.places import Place, fit_key, slug
from lpgnet.runs.plan import describe, possible

GROUPS = 5  # where the training part is of one session
OWN = ""  # the reader of an utterance that no group holds: the fold's own fit


def extract_crossfitted(place: Place, wanted: list[FoldFit], jobs: int, device: str = "cpu") -> dict:
    """Make (or finish, or keep) the cross-fitted set of each fold of `wanted`; returns the store's index.

    The folds' own fits must be in the store.
    """
    table, jobs = utterances(place.features), 1 if device == "cuda" else jobs
    parts = {(fit, g): (rows, fit) for fit in wanted for g, rows in parts_of(table, place.split, fit).items()}
    made, sets = fitted_encoders(place, parts, jobs, device), {}
    for fit in wanted:
        groups = {group: found for (of, group), found in made.items() if of == fit}
        own = own_set(place, f"text/{slug(place.text)}/{fit.key}")
        rows = table[["id", "text"]].assign(reader=readers_of(table, place.split, fit))
        about = {
            "encoder": f"{encoder('text', place.text).name}, cross-fitted on {fit.key}",
            "version": f"{own['version']}, and {len(groups)} fits without a group each",
        }
        key = f"text/{slug(place.text)}/{fit_key(*astuple(fit), 'crossfitted')}"
        sets[key] = composed(place, own, about, rows, groups, jobs, device)
    return store.add(place.features, sets)


def prepare(place: Place, names: list[str], jobs: int, device: str = "cpu") -> None:
    """Make the fitted text features that some experiments read, where the place fine-tunes its encoder."""
    if not place.finetuned:
        return
    table, (allowed, _) = utterances(place.features), possible(describe(place), names)
    read = [run for name in allowed if (run := EXPERIMENTS[name]).data.text != "frozen"]
    extract_finetuned(place, fits(place, table, read), jobs, device)
    crossed = [run for run in read if run.data.text == "crossfitted"]
    if crossed:
        extract_crossfitted(place, fits(place, table, crossed), jobs, device)


def composed(
    place: Place,
    own: dict,
    about: dict,
    rows: pd.DataFrame,
    readers: dict[str, tuple[Path, str]],
    jobs: int,
    device: str,
) -> dict:
    """Write the shards that a set lacks; returns its entry.

    own: the set whose features are copied where the reader is `OWN`.  about: encoder and version of the new one.
    rows: id, text and reader of every utterance.  readers: reader -> its encoder's folder and identity.
    """
    made = recipe(own["recipe"], rows, {reader: identity for reader, (_, identity) in readers.items()})
    about = own | about | {"recipe": made, "folder": f"text-{made[:8]}"}
    folders = {reader: folder for reader, (folder, _) in readers.items()}
    pieces = [
        joblib.delayed(compose)(rows[s : s + store.SHARD], s, folders, place.features, own, about, device)
        for s in store.missing_shards(place.features / about["folder"], len(rows))
    ]
    run_parallel(f"{about['encoder']}, {store.SHARD} utterances each", pieces, jobs)
    return about


def own_set(place: Place, key: str) -> dict:
    """The entry of the set that another is made beside."""
    sets = store.read_index(place.features)["sets"]
    if key not in sets:
        raise LookupError(f"no features {key} in {place.features}: run notebook 01")
    return sets[key]


def groups_of(table: pd.DataFrame, fold: Fold) -> dict[str, str]:
    """Training dialogue -> its group: its session, or one of `GROUPS` in turn where there is one session."""
    sessions = table.drop_duplicates("dialogue").set_index("dialogue")["session"]
    trained = sessions[list(fold.train)]
    if trained.nunique() > 1:
        return {dialogue: f"session {s}" for dialogue, s in trained.items()}
    if len(trained) < 2:
        raise ValueError(f"fold {fold.name} trains on {len(trained)} dialogue: cross-fitting wants two at least")
    return {dialogue: f"group {i % GROUPS + 1}" for i, dialogue in enumerate(sorted(trained.index))}


def readers_of(table: pd.DataFrame, split: str, fit: FoldFit) -> pd.Series:
    """The group of each utterance, by row of the table; `OWN` outside the training dialogues."""
    (fold,) = [f for f in folds(manifest(table, fit.labels), split, fit.validation) if f.name == fit.fold]
    return table["dialogue"].map(groups_of(table, fold)).fillna(OWN)


def parts_of(table: pd.DataFrame, split: str, fit: FoldFit) -> dict[str, pd.DataFrame]:
    """Group -> what its encoder is fitted on (columns id, text, label): the training part without it."""
    training, readers = training_part(table, split, fit), readers_of(table, split, fit)
    group = readers[training.index]
    return {g: training[group != g] for g in sorted(set(group))}


def recipe(own: str, rows: pd.DataFrame, identities: dict[str, str]) -> str:
    """SHA-256 over the recipe of the fold's own fit (with the texts), every group's fit, and who read what.

    rows: columns id and reader.  identities: group -> its fit's.
    """
    told = [own, sorted(identities.items()), rows[["id", "reader"]].to_numpy().tolist()]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def compose(
    rows: pd.DataFrame,
    start: int,
    folders: dict[str, Path],
    features: Path,
    own: dict,
    about: dict,
    device: str,
) -> None:
    """Write one shard.  rows: id, text and reader of its utterances, the first of them row `start`.

    folders: group -> its encoder.  own: the set of the fold's own fit.
    """
    import torch

    torch.set_num_threads(1)
    made: dict[str, tuple] = _copied(features, own, start, rows["id"].tolist())
    for group, mine in rows[rows["reader"] != OWN].groupby("reader"):
        made |= zip(mine["id"], _reader(folders[group], device)(mine["text"]), strict=True)
    items = [made[name] for name in rows["id"]]
    store.write_shard(store.shard(features / about["folder"], start), rows["id"].tolist(), items, about, set())


def _copied(features: Path, own: dict, start: int, ids: list[str]) -> dict[str, tuple]:
    """id -> vector and frames of a shard of the fold's own fit, as they are."""
    shard = store.read_shard(store.shard(features / own["folder"], start), ("vectors", "lengths", "frames"))
    frames = shard["frames"].split(shard["lengths"].tolist())
    items = zip(shard["vectors"].numpy(), (part.numpy() for part in frames), strict=True)
    return dict(zip(ids, items, strict=True))


@lru_cache(maxsize=2)
def _reader(folder: Path, device: str) -> TextEncoder:
    return TextEncoder(folder, folder.name, device)
