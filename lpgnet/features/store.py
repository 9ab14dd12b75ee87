"""The feature store: shards of safetensors per encoder, memory-mapped, and an index that says what they are.

results/<corpus>/features/
    utterances.csv                 the utterance table that the features belong to
    index.json                     per modality: encoder, version, sizes, recipe (a SHA-256), shards
    <modality>-<recipe8>/0000.safetensors, ...   vectors (n, F), frames (sum T, F), lengths (n,)

A shard holds `SHARD` utterances in the table's order and is written whole, so a killed extraction goes on
where it was.  The recipe covers the encoder, its version and every utterance's id and text, or wav bytes.
"""

import hashlib
import json
from functools import lru_cache
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import save_file

from lpgnet.corpora.wav import read_wav
from lpgnet.features import audio, text
from lpgnet.files import whole, write_json
from lpgnet.progress import Progress

SHARD = 64  # utterances
ENCODERS = {"text": text.ENCODERS, "audio": audio.ENCODERS}
DEFAULT = {"text": text.MiniLM.name, "audio": audio.Prosody.name}


@lru_cache(maxsize=2)
def encoder(modality: str, name: str):
    """One encoder per process, made when it is first needed."""
    if name not in ENCODERS[modality]:
        known = ", ".join(ENCODERS[modality])
        raise ValueError(f"no {modality} encoder {name!r}; there are {known}")
    return ENCODERS[modality][name]()


def recipe(modality: str, name: str, table: pd.DataFrame, root: Path) -> str:
    """SHA-256 of what decides the features: encoder, version, and what it read of each utterance."""
    if modality == "audio":
        read = [hashlib.sha256((root / wav).read_bytes()).hexdigest() for wav in table["wav"]]
    else:
        read = table["text"].tolist()
    source = json.dumps(list(zip(table["id"], read, strict=True)))
    made = encoder(modality, name)
    identity = f"{modality}\n{name}\n{made.version}\n{made.size} {made.frame_size}\n{source}"
    return hashlib.sha256(identity.encode()).hexdigest()


def extract(table: pd.DataFrame, root: Path, folder: Path, jobs: int, oracle: dict | None = None) -> dict:
    """Make (or finish, or keep) the store of an utterance table; returns its index.

    jobs: worker processes, one thread each; the store's bytes don't depend on how many.
    oracle: the best reachable score, protocol -> session -> confusion matrix, where a corpus knows it.
    """
    index = {"oracle": oracle or {}}
    for modality, name in DEFAULT.items():
        digest = recipe(modality, name, table, root)
        shards = folder / f"{modality}-{digest[:8]}"
        starts = [s for s in range(0, len(table), SHARD) if not _shard(shards, s).exists()]
        progress = Progress(f"{modality} features, {SHARD} utterances each", len(starts))
        work = (
            joblib.delayed(_make)(modality, name, table[s : s + SHARD], root, _shard(shards, s))
            for s in starts
        )
        with joblib.parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1):
            for _ in joblib.Parallel(return_as="generator_unordered")(work):
                progress.step()
        made = encoder(modality, name)
        index[modality] = {
            "encoder": name,
            "version": made.version,
            "size": made.size,
            "frame_size": made.frame_size,
            "recipe": digest,
            "folder": shards.name,
            "utterances": len(table),
        }
    with whole(folder / "utterances.csv") as part:
        table.to_csv(part, index=False, lineterminator="\n")
    write_json(folder / "index.json", index)
    return index


def _shard(folder: Path, start: int) -> Path:
    return folder / f"{start // SHARD:04d}.safetensors"


def _make(modality: str, name: str, table: pd.DataFrame, root: Path, path: Path) -> None:
    """Encode one shard's utterances."""
    import torch

    torch.set_num_threads(1)
    waves = (read_wav(root / wav) for wav in table["wav"])
    inputs = table["text"].tolist() if modality == "text" else waves
    vectors, frames = zip(*encoder(modality, name)(inputs), strict=True)
    for utterance, vector in zip(table["id"], vectors, strict=True):
        if not np.isfinite(vector).all():
            raise ValueError(f"{name} gave a vector that is not finite for utterance {utterance}")
    tensors = {
        "vectors": np.stack(vectors),
        "frames": np.concatenate(frames),
        "lengths": np.array([len(f) for f in frames]),
    }
    with whole(path) as part:
        save_file(tensors, part)


def read_index(folder: Path) -> dict:
    """The index of a store, without torch."""
    path = folder / "index.json"
    if not path.exists():
        raise FileNotFoundError(f"no feature store at {folder}: run notebook 01 first")
    return json.loads(path.read_text())


def utterances(folder: Path) -> pd.DataFrame:
    """The utterance table that a feature store belongs to."""
    return pd.read_csv(folder / "utterances.csv", keep_default_na=False)


class Features:
    """One modality of a store.  vectors: (N, F) float32.  frames[i]: (T_i, F), memory-mapped."""

    def __init__(self, folder: Path, modality: str):
        from safetensors.torch import load_file

        about = read_index(folder)[modality]
        paths = sorted((folder / about["folder"]).glob("*.safetensors"))
        want = -(-about["utterances"] // SHARD)
        if len(paths) != want:
            raise FileNotFoundError(
                f"{folder / about['folder']} has {len(paths)} shards, want {want}: run notebook 01"
            )
        self.shards = []
        for path in paths:
            try:
                self.shards.append(load_file(path))
            except (SafetensorError, OSError) as error:
                raise ValueError(f"{path} can't be read ({error}); delete it, run notebook 01") from None
        self.ends = [shard["lengths"].cumsum(0).tolist() for shard in self.shards]

    def vectors(self):
        import torch

        return torch.cat([shard["vectors"] for shard in self.shards])

    def frames(self, i: int, most: int):
        """The first `most` frames of utterance i."""
        shard, place = divmod(i, SHARD)
        ends = self.ends[shard]
        start = ends[place - 1] if place else 0
        return self.shards[shard]["frames"][start : min(ends[place], start + most)]
