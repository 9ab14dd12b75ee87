"""The feature store: sets of features as shards of safetensors, memory-mapped, and an index of them.

results/<corpus>/features/
    utterances.csv                 the utterance table that the features belong to
    index.json                     key of each set -> encoder, version, sizes, precision, recipe, folder
    <modality>-<recipe8>/0000.safetensors, ...   vectors (n, F), frames (sum T, F'), lengths (n,)

A key is `<modality>/<encoder>`, and for an encoder fitted to a fold `text/<encoder>/<fit>`, with
`/crossfitted` after it for the set of `lpgnet.beyond.readings.crossfit`; recognised text is
`text/<encoder>+<recogniser>`, as `lpgnet.beyond.asr.recognised` has it.  Frame
sequences are ragged and may be in half precision.  A shard holds `SHARD` utterances in the table's order and
is written whole, so a killed extraction goes on where it was.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from lpgnet.corpora.table import utterances
from lpgnet.machine.files import json_sha256, whole, write_csv, write_json

SHARD = 32  # utterances
LARGEST_HALF = 65504.0


@dataclass(frozen=True)
class Modality:
    """vectors: (N, F) float32, in the table's row order.  frames: N arrays (T_i, F'), float32 or float16."""

    encoder: str
    vectors: np.ndarray
    frames: list[np.ndarray] | None = None


def shard(folder: Path, start: int) -> Path:
    """The file of the utterances from row `start` on."""
    return folder / f"{start // SHARD:04d}.safetensors"


def missing_shards(folder: Path, utterances: int) -> list[int]:
    """First rows of the shards that a set of so many utterances still lacks."""
    return [start for start in range(0, utterances, SHARD) if not shard(folder, start).exists()]


def write_shard(path: Path, ids: list[str], items: Iterable, about: dict, absent: set[str]) -> None:
    """items: (vector, frames) per utterance that is there, frames None where the set has none.

    An absent utterance (no clip, no transcript) gets a vector of NaN and one frame of NaN.
    """
    made, framed, precision = iter(items), about["frame_size"] > 0, about["precision"]
    vectors = np.full((len(ids), about["size"]), np.nan, np.float32)
    frames = [np.full((1, about["frame_size"]), np.nan, precision) for _ in ids]
    for i, name in enumerate(ids):
        if name in absent:
            continue
        vectors[i], given = next(made)
        frames[i] = _checked(name, vectors[i], given if framed else frames[i][:0], about)
    tensors = {"vectors": vectors}
    if framed:
        tensors["frames"] = np.concatenate(frames)
        tensors["lengths"] = np.array([len(f) for f in frames])
    with whole(path) as part:
        hashes = {name: digest(tensor) for name, tensor in tensors.items()} | {"ids": json_sha256(ids)}
        save_file(tensors, part, {"sha256": json.dumps(hashes)})  # one key: several come in any order


def digest(tensor: np.ndarray) -> str:
    """SHA-256 of a tensor's bytes; a shard carries those of its tensors."""
    return hashlib.sha256(np.ascontiguousarray(tensor)).hexdigest()


def refuse_altered(path: Path, metadata: dict | None, tensors: dict[str, np.ndarray], ids: list[str] | None) -> None:
    """A ValueError where tensors of a shard aren't as its metadata says that they were written.

    ids: of the table's rows for it, which it must have been written for; None: not compared.
    """
    written = json.loads((metadata or {}).get("sha256", "{}"))
    for name, tensor in tensors.items():
        if name in written and digest(tensor) != written[name]:
            raise ValueError(f"{path}: {name} are not as they were written; delete it, run notebook 01")
    if ids and "ids" in written and json_sha256(ids) != written["ids"]:
        raise ValueError(
            f"{path} is of other utterances, or another order, than utterances.csv beside its folder from "
            f"{ids[0]} on: run notebook 01 again"
        )


def _checked(name: str, vector: np.ndarray, frames: np.ndarray, about: dict) -> np.ndarray:
    """The frames in the set's precision; a ValueError where vector or frames can't be stored."""
    if not (np.isfinite(vector).all() and np.isfinite(frames).all()):
        raise ValueError(f"utterance {name} got features that are not finite; look at its text or wav")
    if not about["frame_size"]:
        return frames
    if frames.ndim != 2 or frames.shape[1] != about["frame_size"] or not len(frames):
        raise ValueError(f"utterance {name} got frames {frames.shape}: want (T, {about['frame_size']}), T > 0")
    if about["precision"] == "float16" and np.abs(frames).max() > LARGEST_HALF:
        raise ValueError(f"utterance {name} has frames beyond {LARGEST_HALF:.0f}, which half precision lacks")
    return frames.astype(about["precision"])


def write(folder: Path, table: pd.DataFrame, sets: dict[str, Modality], imported: dict) -> dict:
    """The store of an import; returns its index.  imported: what the file said of itself."""
    found = {}
    for modality, made in sets.items():
        about = {
            "encoder": made.encoder,
            "version": f"sha256 {imported['sha256'][:12]}",
            "size": made.vectors.shape[1],
            "frame_size": made.frames[0].shape[1] if made.frames else 0,
            "precision": str(made.frames[0].dtype) if made.frames else "float32",
            "recipe": imported["sha256"] + modality,
            "folder": f"{modality}-{imported['sha256'][:8]}",
            "utterances": len(table),
            "absent": [],
        }
        for start in range(0, len(table), SHARD):
            rows = range(start, min(start + SHARD, len(table)))
            items = ((made.vectors[i], made.frames[i] if made.frames else None) for i in rows)
            path = shard(folder / about["folder"], start)
            write_shard(path, table["id"].iloc[rows].tolist(), items, about, set())
        found[f"{modality}/imported"] = about
    write_table(folder, table)
    return add(folder, found, imported=imported)


def write_table(folder: Path, table: pd.DataFrame) -> None:
    write_csv(folder / "utterances.csv", table)


def add(folder: Path, sets: dict[str, dict], **more) -> dict:
    """Enter sets of features (and what else is known of the corpus) in the index; returns all of it."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        path = folder / "index.json"
        index = json.loads(path.read_text()) if path.exists() else {"sets": {}}
        index = index | more | {"sets": index["sets"] | sets}
        write_json(path, index)
    return index


def read_index(folder: Path) -> dict:
    """The index of a store, without torch."""
    path = folder / "index.json"
    if not path.exists():
        raise FileNotFoundError(f"no feature store at {folder}: run notebook 01 first")
    return json.loads(path.read_text())


class Features:
    """One set of a store.  vectors: (N, F) float32.  frames[i]: (T_i, F'), memory-mapped.

    framed: frames will be read, so their bytes are checked too.
    """

    def __init__(self, folder: Path, about: dict, framed: bool = False):
        paths = sorted((folder / about["folder"]).glob("*.safetensors"))
        want = -(-about["utterances"] // SHARD)
        if len(paths) != want:
            raise FileNotFoundError(f"{folder / about['folder']} has {len(paths)} shards, want {want}: run notebook 01")
        checked = ("vectors", "lengths", "frames") if framed else ("vectors", "lengths")
        table = folder / "utterances.csv"
        ids = utterances(folder)["id"].tolist() if table.exists() else None
        self.shards = []
        for i, path in enumerate(paths):
            some = ids and ids[i * SHARD : (i + 1) * SHARD]
            self.shards.append(read_shard(path, checked, some))
        held = sum(len(shard["vectors"]) for shard in self.shards)
        if ids and len(ids) != held:
            raise ValueError(f"{table} has {len(ids)} rows, {about['folder']} {held} vectors: run notebook 01 again")
        if about["frame_size"]:
            self.ends = [shard["lengths"].cumsum(0).tolist() for shard in self.shards]

    def vectors(self):
        """(N, F); NaN where an utterance is absent."""
        import torch

        return torch.cat([shard["vectors"] for shard in self.shards])

    def frames(self, i: int, most: int):
        """The first `most` frames of utterance i."""
        place, row = divmod(i, SHARD)
        ends = self.ends[place]
        start = ends[row - 1] if row else 0
        return self.shards[place]["frames"][start : min(ends[row], start + most)]


def read_shard(path: Path, checked: tuple[str, ...], ids: list[str] | None = None) -> dict:
    """The tensors of a shard, memory-mapped; a ValueError where its bytes aren't those that were written.

    ids: of the table's rows for it, which it must have been written for; None: not compared.
    """
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
        with safe_open(path, "numpy") as file:
            metadata = file.metadata()
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} can't be read ({error}); delete it, run notebook 01") from None
    refuse_altered(path, metadata, {name: tensors[name].numpy() for name in checked if name in tensors}, ids)
    return tensors
