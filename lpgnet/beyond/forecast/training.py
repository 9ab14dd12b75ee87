"""Seconds per run on this machine: a few optimiser steps on random features, scaled to the corpus's own counts."""

import math
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch

from lpgnet.config import LossConfig, RunConfig
from lpgnet.features.store import Modality, write
from lpgnet.labels import Fold, folds, manifest
from lpgnet.machine.workers import keep_freed_memory
from lpgnet.places import Place
from lpgnet.runs.dataset import Dataset
from lpgnet.runs.seeds import EAGER, Alone, Stacked, stackable
from lpgnet.runs.training import BESIDE, build

FEW, MORE = 2, 6  # sequences of the batches that are timed
FAST = 0.1  # seconds of a small step; below it a whole batch is timed, not MORE
REPEATS = 5
FRAME_RATE = 50  # frames a second, of every speech encoder here
UNTIMED = 3.0  # seconds of a turn whose times a corpus doesn't say


@dataclass(frozen=True)
class Sizes:
    """Of one modality's features: numbers in a vector, in a frame (0: no frames), bytes of a number in a frame."""

    vector: int
    frame: int
    bytes: int = 2


@dataclass(frozen=True)
class Timed:
    """One batch: its utterances, seconds of a training step, and of a look at it as at a test part."""

    turns: int
    step: float
    look: float


def frames_of(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """modality -> about how many tokens or frames each utterance has."""
    seconds = (table["end"] - table["start"]).fillna(UNTIMED).to_numpy()
    words = table["text"].str.count(r"\w+|[^\w\s]").to_numpy()
    return {"text": words + 2, "audio": np.maximum(1, FRAME_RATE * seconds).astype(int)}


class Measure(AbstractContextManager):
    """Seconds per run by timing each kind of model once.  table: of all utterances; sizes: per modality."""

    def __init__(self, place: Place, table: pd.DataFrame, sizes: dict[str, Sizes], device: str):
        self.place, self.table, self.sizes, self.device = place, table, sizes, torch.device(device)
        self.folder = tempfile.TemporaryDirectory()
        # On a core the time of this process alone, so that what else runs now counts for nothing.
        self.clock = time.perf_counter if device == "cuda" else time.process_time
        self.timed: dict[str, tuple[Timed, Timed]] = {}
        self.stores: dict[bool, tuple[Path, dict]] = {}  # by whether there are frames in it
        self.threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as a worker has
        keep_freed_memory()

    def __exit__(self, *_) -> None:
        torch.set_num_threads(self.threads)
        self.folder.cleanup()

    def seconds(self, run: RunConfig, labels: str) -> float:
        """Of one run, on one core (or its part of the GPU).  labels: the protocol it is trained on."""
        alike = replace(run, loss=LossConfig(), data=replace(run.data, labels=None, validation="tenth", text=None))
        if str(alike) not in self.timed:
            self.timed[str(alike)] = self._time(run, labels)
        few, more = self.timed[str(alike)]
        steps, train, looked = self._counts(run, labels)
        slope = max(0.0, (more.step - few.step) / max(1, more.turns - few.turns))
        step = more.step + slope * (train / steps - more.turns)
        return run.train.epochs * (steps * max(step, few.step / 2) + looked * more.look / more.turns)

    def _counts(self, run: RunConfig, labels: str) -> tuple[int, int, int]:
        """Steps of an epoch, its utterances, and those looked at after it (validation and test)."""
        kept = manifest(self.table, labels)
        fold = folds(kept, self.place.split, run.data.validation)[0]
        turns = (self.table if run.data.unlabelled == "kept" else kept)["dialogue"].value_counts()
        train, *looked = (int(turns[list(part)].sum()) for part in (fold.train, fold.validation, fold.test))
        units = train if _framed(run) else len(fold.train)
        return math.ceil(units / run.train.batch), train, sum(looked)

    def _time(self, run: RunConfig, labels: str) -> tuple[Timed, Timed]:
        data = self._data(run, labels)
        units = sorted(data.units["train"], key=len)
        few = self._timed(run, data, _spread(units, FEW))
        more = run.train.batch if few.step < FAST else MORE
        return few, self._timed(run, data, _spread(units, more))

    def _timed(self, run: RunConfig, data: Dataset, units: list) -> Timed:
        data.units = {"train": units, "validation": [], "test": units}
        graphs = self.device.type == "cuda" and stackable(run, data.longest)
        seeds = [*range(BESIDE)] if graphs else [0]
        models = [build(run, data).to(self.device) for _ in seeds]
        several = (Stacked if graphs else Alone)(models, run, data, seeds)
        warm = EAGER + 1 if graphs else 1
        step, look = (self._median(call, warm) for call in (several.epoch, lambda: several.outputs("test")))
        return Timed(sum(map(len, units)), step / len(seeds), look / len(seeds))

    def _median(self, call: Callable, warm: int) -> float:
        spent = []
        for _ in range(warm + REPEATS):
            start = self.clock()
            call()  # what it returns is on the CPU, so the GPU has ended
            spent.append(self.clock() - start)
            if sum(spent[warm:]) > 10 * FAST:  # a slow one is told by fewer
                break
        return median(spent[warm:] or spent)

    def _data(self, run: RunConfig, labels: str) -> Dataset:
        """As many dialogues of random features as a batch has, all of them to train on."""
        framed = _framed(run)
        if framed not in self.stores:
            self.stores[framed] = self._store(framed)
        folder, part = self.stores[framed]
        index = {m: part[m] for m in self.sizes}
        names = tuple(part["dialogues"])
        read = replace(run.data, validation="none")
        return Dataset(folder, index, read, labels, Fold("all", names, (), names), framed).to(self.device)

    def _store(self, framed: bool) -> tuple[Path, dict]:
        """A store of random numbers for dialogues of all lengths; its folder, and what its index has."""
        turns = len(self.table) / self.table["dialogue"].nunique()
        dialogues = math.ceil(64 / turns) if framed else 32
        kept = self.table["dialogue"].isin(manifest(self.table, self.place.labels)["dialogue"])
        lengths = self.table["dialogue"][kept].value_counts(ascending=True)
        chosen = _spread([*lengths.index], dialogues)
        table = self.table[self.table["dialogue"].isin(chosen)].reset_index(drop=True)
        rng, sets, counts = np.random.default_rng(0), {}, frames_of(table)
        for m, size in self.sizes.items():
            vectors = rng.standard_normal((len(table), size.vector), np.float32)
            frames = [rng.standard_normal((n, max(1, size.frame)), np.float32) for n in counts[m]]
            sets[m] = Modality("random", vectors, frames if framed else None)
        folder = Path(self.folder.name) / str(framed)
        index = write(folder, table, sets, {"sha256": "0" * 64})
        return folder, {m: index["sets"][f"{m}/imported"] for m in sets} | {"dialogues": chosen}


def core_seconds(call: Callable[[], Any]) -> float:
    """What a call takes of all cores, by its own processes: what else runs now counts for nothing."""
    start = sum(os.times()[:4])
    call()
    return sum(os.times()[:4]) - start


def _framed(run: RunConfig) -> bool:
    return getattr(run.model, "pool", "none") != "none"


def _spread(things: list, count: int) -> list:
    """So many of them, evenly from first to last."""
    places = np.linspace(0, len(things) - 1, min(count, len(things))).round().astype(int)
    return [things[i] for i in places]
