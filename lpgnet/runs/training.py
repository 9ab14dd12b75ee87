"""(experiment, fold, seed) -> record.  Each run is an independent job; what is recorded is not run again."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import joblib
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lpgnet import __version__
from lpgnet.config import (
    BiGRUConfig,
    DataConfig,
    LinearConfig,
    LPGNetConfig,
    RunConfig,
    SDTConfig,
    TrainConfig,
)
from lpgnet.corpora.table import utterances
from lpgnet.labels import folds, manifest
from lpgnet.machine.files import whole
from lpgnet.machine.workers import device_named, run_parallel
from lpgnet.model import Output
from lpgnet.places import Place
from lpgnet.runs import baselines, checkpoint, metrics, records
from lpgnet.runs.calibration import temperature
from lpgnet.runs.dataset import Dataset
from lpgnet.runs.packed import Batch, Packed
from lpgnet.runs.plan import Job, current_records, describe, done, planned, possible
from lpgnet.runs.seeds import Seeds, stackable
from lpgnet.runs.snapshot import snapshot

MODELS = {
    LPGNetConfig: Packed,
    LinearConfig: baselines.Linear,
    BiGRUConfig: baselines.BiGRU,
    SDTConfig: baselines.SDT,
}
SLICES = ["id", "dialogue", "order", "speaker", "session", "scripted", "start", "end", "label"]
KEEP_WEIGHTS = ("full", "full_6", "full_moddrop")  # experiments whose best-validation weights are kept
MASKS = 1_000_000  # added to a seed for its dropout masks, so that they don't repeat its order


def build(run: RunConfig, data: Dataset) -> nn.Module:
    """The model of a run, with torch's default initial weights (Reading R23)."""
    model = MODELS[type(run.model)]
    return model(run.model, data.sizes, len(data.classes), len(data.speaker_names))


def optimiser(parameters: Iterable[Tensor], config: TrainConfig) -> torch.optim.Optimizer:
    """Reading R23: Adam with L2 on every parameter, at a constant rate."""
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    return kind(list(parameters), lr=config.lr, weight_decay=config.l2, fused=True)


def shuffled(units: list[Tensor], size: int, generator: torch.Generator) -> Iterator[list[Tensor]]:
    """Batches of `size` units in random order.

    Reading R4: a last batch of one joins the one before, since batch norm has no variance of one row.
    """
    order = [units[i] for i in torch.randperm(len(units), generator=generator).tolist()]
    starts = list(range(0, len(order), size))
    if len(order) - starts[-1] == 1 and len(starts) > 1:
        starts.pop()
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        yield order[start:end]


def f1(labels: np.ndarray, logits: np.ndarray) -> float:
    """Weighted F1 of the scored utterances, by which the epoch is chosen (Reading R14)."""
    scored = labels >= 0
    matrix = metrics.confusion(labels[scored], logits[scored].argmax(-1), logits.shape[-1])
    return metrics.scores(matrix)["weighted_f1"]


@dataclass
class TrainedSeed:
    """What training leaves of one seed in memory."""

    labels: np.ndarray  # (N,), of the test part
    validation_labels: np.ndarray
    parameters: int
    test_logits: list[np.ndarray] = field(default_factory=list)  # one (N, C) per epoch
    curves: dict[str, list[float]] = field(
        default_factory=lambda: {"loss": [], "validation_f1": [], "test_f1": []}
    )
    best: dict = field(default_factory=dict)  # epoch, output, validation logits, weights of the chosen epoch

    @cached_property
    def temperature(self) -> float:
        """Fitted on validation at the chosen epoch; 1 where there is none."""
        return temperature(self.best["validation"], self.validation_labels)

    def score_epoch(self, loss: float, test: Output, validation: Output | None) -> bool:
        """Write an epoch down; returns whether it is the best on validation, ties to the earliest."""
        self.curves["loss"].append(loss)
        self.test_logits.append(test.logits.cpu().numpy())
        self.curves["test_f1"].append(f1(self.labels, self.test_logits[-1]))
        chosen, logits = True, np.zeros((0, test.logits.shape[-1]))
        if validation is not None:  # without one (R13's "none") the last epoch is the one
            logits = validation.logits.cpu().numpy()
            score = f1(self.validation_labels, logits)
            chosen = score > max(self.curves["validation_f1"], default=-1.0)
            self.curves["validation_f1"].append(score)
        if chosen:
            self.best = {"epoch": len(self.test_logits), "output": test, "validation": logits}
        return chosen


def fit(run: RunConfig, data: Dataset, seeds: list[int]) -> list[TrainedSeed]:
    """Train one model per seed on the training part, looking at validation and test after every epoch.

    The epoch is chosen on validation alone; what the test part gives is only written down.
    Seeds that can, train side by side (`lpgnet.runs.seeds`); what one gives doesn't depend on the others.
    """
    if len(seeds) > 1 and not stackable(run, data.longest):
        return [fitted for seed in seeds for fitted in fit(run, data, [seed])]
    device = data.labels.device
    several = Seeds([_initial(run, data, seed) for seed in seeds], mixed(run.train, device))
    optimizer = optimiser(several.parameters.values(), run.train)
    orders = [torch.Generator().manual_seed(seed) for seed in seeds]
    noises = [torch.Generator(device).manual_seed(MASKS + seed) for seed in seeds]
    draws = noises if stackable(run, data.longest) else []  # else torch's own dropout, seeded too
    weight = data.class_weight().to(device) if run.loss.class_weights else None
    test, validation = (_held(data, part, run) for part in ("test", "validation"))
    golds, size = [_gold(data, part) for part in ("test", "validation")], several.size
    fits = [TrainedSeed(*golds, parameters=size) for _ in seeds]
    for _ in range(run.train.epochs):
        losses = _epoch(several, optimizer, data, run, orders, draws, weight)
        tests = several.outputs(test())
        looks = several.outputs(validation()) if len(golds[1]) else [None] * len(seeds)
        for s, (fitted, *seen) in enumerate(zip(fits, losses, tests, looks, strict=True)):
            if fitted.score_epoch(*seen):
                fitted.best["weights"] = several.weights(s)
    return fits


def _initial(run: RunConfig, data: Dataset, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build(run, data).to(data.labels.device)


def mixed(config: TrainConfig, device: torch.device) -> bool:
    """Whether matrix products are in bfloat16: where asked, and by itself on a GPU that has them."""
    if config.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return config.precision == "mixed"


def _held(data: Dataset, part: str, run: RunConfig) -> Callable[[], Iterable[Batch]]:
    """The batches of a part that is only looked at: one of all dialogues; the long ones piece by piece."""
    units = data.units[part]
    if not data.at_frames and data.reach is None:
        batches = [data.batch(units)] if units else []
        return lambda: batches
    return lambda: (data.batch(units[i : i + run.train.batch]) for i in range(0, len(units), run.train.batch))


def _gold(data: Dataset, part: str) -> np.ndarray:
    units = data.units[part]
    return data.labels[torch.cat(units)].cpu().numpy() if units else np.zeros(0, int)


def _epoch(several: Seeds, optimizer, data: Dataset, run: RunConfig, orders, draws, weight) -> list[float]:
    """One pass over the training part; per seed the mean loss of its batches."""
    total = []
    plans = [shuffled(data.units["train"], run.train.batch, order) for order in orders]
    for step in zip(*plans, strict=True):
        batches = [data.batch(sorted(units, key=len)) for units in step]  # alike in a piece of attention
        if run.train.moddrop:
            pairs = zip(batches, orders, strict=True)
            batches = [without(batch, run.train.moddrop, data.absent, order) for batch, order in pairs]
        loss = several.loss(batches, draws, run.loss, weight)
        optimizer.zero_grad(set_to_none=True)
        loss.sum().backward()
        optimizer.step()
        total.append(loss.detach())
    return torch.stack(total).mean(dim=0).tolist()


def without(batch: Batch, share: float, absent: dict[str, Tensor], generator: torch.Generator) -> Batch:
    """A batch in which some dialogues lack turns of one modality, as an absent utterance does.

    With probability `share` a dialogue loses turns; a coin says of which modality, and each of its turns goes
    with a probability drawn for that dialogue.  absent: what a modality's row is where nothing is, (F,).
    """
    layout = batch.layouts["text"]
    sequence = layout.sequence.cpu()
    loses, coin, rate = torch.rand(3, len(layout.lengths), generator=generator)
    gone = torch.rand(len(sequence), generator=generator) < torch.where(loses < share, rate, 0.0)[sequence]
    second = (coin < 0.5)[sequence]
    rows = {}
    for m, lost in zip(batch.rows, (gone & ~second, gone & second), strict=True):
        rows[m] = torch.where(lost.to(absent[m].device)[:, None], absent[m], batch.rows[m])
    return replace(batch, rows=rows)


def epochs(fitted: TrainedSeed) -> dict[str, int]:
    """The epoch that each rule of R14 tests, counted from 1, ties to the earliest."""
    best_test = 1 + int(np.argmax(fitted.curves["test_f1"]))
    return {
        "best_validation": fitted.best["epoch"],
        "last": len(fitted.test_logits),
        "best_test": best_test,
    }


@lru_cache(maxsize=2)
def _dataset(place: Place, data: DataConfig, fold: str, sets: str, frames: bool, device: str) -> Dataset:
    """One process keeps the last two datasets that its jobs asked for.  sets: JSON of the index's entries."""
    table = utterances(place.features)
    named = {f.name: f for f in folds(manifest(table, data.labels), place.split, data.validation)}
    dataset = Dataset(place.features, json.loads(sets), data, data.labels, named[fold], frames)
    return dataset.to(torch.device(device))


def dataset(place: Place, job: Job, device: str = "cpu") -> Dataset:
    """What a run reads."""
    frames = getattr(job.run.model, "pool", "none") != "none"
    return _dataset(place, job.run.data, job.fold, json.dumps(job.features), frames, device)


def work(place: Place, jobs: list[Job], data: dict, device: str) -> float:
    """Make the runs of some seeds of one experiment and fold, and write their records.

    Returns the seconds it took.
    """
    torch.set_num_threads(1)
    start = time.perf_counter()
    first = jobs[0]
    read = dataset(place, first, device)
    fits = fit(first.run, read, [job.seed for job in jobs])
    spent = time.perf_counter() - start
    made = {
        "seconds": round(spent / len(jobs), 3),
        "beside": len(jobs),
        "precision": "mixed" if mixed(first.run.train, torch.device(device)) else "full",
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
    }
    for job, fitted in zip(jobs, fits, strict=True):
        keep(place, job, read, fitted, data)
        records.save(job.path, _record(job, read, fitted, data, made), _predictions(read, fitted))
    return spent


def keep(place: Place, job: Job, dataset: Dataset, fitted: TrainedSeed, data: dict) -> None:
    """The best-validation weights of some experiments, and what one of them sees inside."""
    if job.experiment not in KEEP_WEIGHTS:
        return
    folder = place.checkpoints / job.experiment / job.path.stem
    checkpoint.save(folder, job, dataset, fitted.best["weights"], fitted.temperature, data)
    if job.experiment == "full" and job.seed == 0 and not dataset.at_frames:
        model = build(job.run, dataset).to(dataset.labels.device)
        model.load_state_dict(fitted.best["weights"])
        with whole(folder.with_suffix(".npz")) as part, part.open("wb") as file:
            np.savez_compressed(file, **snapshot(model, dataset))


def _record(job: Job, dataset: Dataset, fitted: TrainedSeed, data: dict, made: dict) -> records.Record:
    scored, classes = fitted.labels >= 0, len(dataset.classes)

    def confusion(logits: np.ndarray) -> list[list[int]]:
        predicted = logits.argmax(-1)
        return metrics.confusion(fitted.labels[scored], predicted[scored], classes).tolist()

    epoch = epochs(fitted)
    return records.Record(
        corpus=data["corpus"],
        profile=data["profile"],
        split=data["split"],
        version=__version__,
        asked=job.asked,
        code=job.code,
        libraries=job.libraries,
        experiment=job.experiment,
        seed=job.seed,
        fold=job.fold,
        labels=job.labels,
        classes=list(dataset.classes),
        key=job.key,
        config=job.run.as_dict(),
        manifest=data["protocols"][job.labels]["manifest"],
        features={m: about["recipe"] for m, about in job.features.items()},
        epoch=epoch,
        confusion={rule: confusion(fitted.test_logits[e - 1]) for rule, e in epoch.items()},
        students={m: confusion(x.cpu().numpy()) for m, x in fitted.best["output"].students.items()},
        curves={name: [round(v, 6) for v in curve] for name, curve in fitted.curves.items()},
        parameters=fitted.parameters,
        temperature=fitted.temperature,
        predictions="",
        made=made,
    )


def _predictions(dataset: Dataset, fitted: TrainedSeed) -> pd.DataFrame:
    """One row per scored test utterance, at the best validation epoch."""
    index = torch.cat(dataset.units["test"]).numpy()
    output = fitted.best["output"]
    rows = dataset.table.iloc[index][SLICES]
    rows = rows.reset_index(drop=True)
    probability = output.logits.softmax(-1).cpu().numpy()
    for i, name in enumerate(dataset.classes):
        rows[f"p_{name}"] = probability[:, i]
    rows["predicted"] = [dataset.classes[i] for i in probability.argmax(-1)]
    for m, weight in output.modality_weight.items():
        rows[f"weight_{m}"] = weight.cpu().numpy()
    return rows[rows["label"].notna()].reset_index(drop=True)


def run_missing(
    place: Place,
    names: list[str],
    seeds: int = 10,
    jobs: int | None = None,
    device: str = "auto",
    settings: dict | None = None,
    scheduler: str | None = None,
) -> pd.DataFrame:
    """Make every run of some experiments that has no record yet; returns their records.

    jobs: worker processes with one thread each (default: one per core; one on a GPU).
    scheduler: the address of a dask cluster whose workers see the same folders; it makes the runs instead.
    """
    where = device_named(device)
    data = describe(place)
    allowed, refused = possible(data, names, settings)
    for reason in dict.fromkeys(refused.values()):
        print(f"not run, since {reason}: {', '.join(n for n, why in refused.items() if why == reason)}")
    wanted = planned(place, data, allowed, seeds, settings)
    missing = [job for job in wanted if not done(job, place.keep_code)]
    recorded = len(wanted) - len(missing)
    print(f"{len(wanted)} runs of {', '.join(allowed) or 'none'}: {recorded} recorded already")
    pieces = [joblib.delayed(work)(place, group, data, where) for group in _groups(missing, where)]
    run_parallel("runs", pieces, 1 if where == "cuda" else (jobs or joblib.cpu_count()), scheduler)
    frame = current_records(place, data, settings)
    return frame[frame["experiment"].isin(names)]


def _groups(jobs: list[Job], device: str) -> list[list[Job]]:
    """What one call makes: on a GPU all seeds of an experiment and fold; on a CPU, a process a seed."""
    if device == "cpu":
        return [[job] for job in jobs]
    groups: dict[tuple, list[Job]] = {}
    for job in jobs:
        groups.setdefault((job.experiment, job.fold), []).append(job)
    return list(groups.values())
