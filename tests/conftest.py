"""A small made-up feature store: five sessions, text and audio that each carry half of the label."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: two busy threads on two busy cores spin

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from lpgnet import places
from lpgnet.features import store
from lpgnet.machine.files import write_json

CODES = ("hap", "sad", "neu", "ang", "exc", "fru", "xxx")
TURNS = 7
SIZES = {"text": 5, "audio": 3}
ENCODER = dict(zip(SIZES, places.OFFLINE[:2], strict=True))  # the made-up features stand in for these


def made_table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for session in range(1, 6):
        for number in range(4):
            dialogue = f"Ses0{session}{'FM'[number % 2]}_impro0{number}"
            for turn in range(TURNS):
                letter = "FM"[turn % 2]
                rows.append(
                    {
                        "id": f"{dialogue}_{letter}{turn:03d}",
                        "dialogue": dialogue,
                        "order": turn,
                        "speaker": f"Ses0{session}{letter}",
                        "party": letter,
                        "session": session,
                        "scripted": False,
                        "text": "well",
                        "wav": "none.wav",
                        "start": float(turn),
                        "end": turn + 0.5,
                        "label": CODES[rng.integers(len(CODES))],
                        "votes": "{}",
                        "line": TURNS - turn,  # the transcript is upside down
                        "part": "",
                    }
                )
    return pd.DataFrame(rows)


def write_store(folder, table: pd.DataFrame, seed: int = 0, blur: float = 1.0) -> None:
    rng = np.random.default_rng(100 + seed)
    number = table["label"].map({c: i for i, c in enumerate(CODES)}).to_numpy()
    index = {"oracle": {}, "sets": {}}
    for modality, size in SIZES.items():
        centres = 2 * np.random.default_rng(len(modality)).normal(size=(len(CODES), size))
        lengths = rng.integers(1, 5, len(table))
        vectors = (centres[number] + blur * rng.normal(size=(len(table), size))).astype(np.float32)
        frames = np.repeat(vectors, lengths, axis=0) + rng.normal(size=(lengths.sum(), size))
        shards = folder / f"{modality}-00000000"
        shards.mkdir(parents=True, exist_ok=True)
        ends = lengths.cumsum()
        for start in range(0, len(table), store.SHARD):
            stop = min(start + store.SHARD, len(table))
            part = frames[ends[start] - lengths[start] : ends[stop - 1]].astype(np.float32)
            tensors = {"vectors": vectors[start:stop], "frames": part, "lengths": lengths[start:stop]}
            save_file(tensors, store.shard(shards, start))
        index["sets"][f"{modality}/{ENCODER[modality]}"] = {
            "encoder": "made-up",
            "version": "1",
            "size": size,
            "frame_size": size,
            "precision": "float32",
            "absent": [],
            "recipe": f"{modality}{seed}",
            "folder": shards.name,
            "utterances": len(table),
        }
    table.to_csv(folder / "utterances.csv", index=False)
    write_json(folder / "index.json", index)


@pytest.fixture
def here(tmp_path):
    """A place of its own with the made-up store."""
    place = dataclasses.replace(places.place(), output=tmp_path)
    write_store(place.features, made_table())
    return place


TINY = {"epochs": 2, "hidden": 8}


WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "i",
    "am",
    "so",
    "very",
    "happy",
    "sad",
    "angry",
    "well",
]
WORDS += ["the", "house", "you", "number"]


@pytest.fixture
def tiny_bert(tmp_path):
    """The folder of a BERT with random weights: 3 layers of 8, a vocabulary of 17 words."""
    import torch
    import transformers

    folder = tmp_path / "tiny-bert"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    sizes = {"hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.BertModel(transformers.BertConfig(vocab_size=len(WORDS), **sizes))
    model.save_pretrained(folder)
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def refused(call, *arguments, says: str, **named) -> str:
    """The message of the error in which a call must end: it matches, and is one line, as users see it."""
    with pytest.raises((ValueError, LookupError, OSError, ImportError, RuntimeError)) as caught:
        call(*arguments, **named)
    said = str(caught.value)
    assert re.search(says, said) and "\n" not in said and len(said) < 1000, said
    return said


# Each call below is the command that a user types.

SMALL = {"dialogues": (3,) * 5, "turns": 9}


def lpgnet(output: Path, *arguments: str, **more):
    return subprocess.run(
        [sys.executable, "-m", "lpgnet", *arguments],
        env=environment(output),
        capture_output=True,
        text=True,
        timeout=900,
        **more,
    )


def killed(output: Path, arguments: tuple[str, ...], pattern: str, wanted: int) -> None:
    """Start a command and take its power away once `wanted` files match the pattern below output."""
    command = [sys.executable, "-m", "lpgnet", *arguments]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=environment(output), start_new_session=True, **quiet)
    while process.poll() is None and len(list(output.glob(pattern))) < wanted:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def bytes_of(*folders: Path) -> dict:
    paths = [p for folder in folders for p in sorted(folder.rglob("*")) if p.is_file() and p.name != ".lock"]
    return {f"{p.parent.name}/{p.name}": p.read_bytes() for p in paths}


def environment(output: Path) -> dict:
    return os.environ | {"LPGNET_OUTPUT": str(output), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def small_tree(tmp_path_factory):
    from lpgnet.corpora.simulated.corpus import Knobs, generate

    root = tmp_path_factory.mktemp("tree") / "release"
    generate(root, Knobs(**SMALL), jobs=2)
    return root
