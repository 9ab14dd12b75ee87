"""(experiment, fold, seed) -> record.  Each run is an independent job; what is recorded is not run again."""

import json
import time
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import joblib
import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from torch import nn

from lpgnet import __version__
from lpgnet.config import (
    BiGRUConfig,
    DataConfig,
    LinearConfig,
    LPGNetConfig,
    RunConfig,
    SDTConfig,
)
from lpgnet.corpora.table import utterances
from lpgnet.labels import folds, manifest
from lpgnet.machine.files import whole
from lpgnet.machine.workers import device_named, keep_freed_memory, run_parallel
from lpgnet.model import Output
from lpgnet.places import Place
from lpgnet.runs import baselines, checkpoint, decoder, metrics, records
from lpgnet.runs.calibration import temperature
from lpgnet.runs.dataset import Dataset
from lpgnet.runs.packed import Packed
from lpgnet.runs.plan import Job, current_records, describe, done, planned, possible
from lpgnet.runs.seeds import Alone, Stacked, mixed, stackable
from lpgnet.runs.snapshot import snapshot

MODELS = {
    LPGNetConfig: Packed,
    LinearConfig: baselines.Linear,
    BiGRUConfig: baselines.BiGRU,
    SDTConfig: baselines.SDT,
}
SLICES = ["id", "dialogue", "order", "speaker", "session", "scripted", "start", "end", "label"]
BESIDE, ON_CARD = 10, 4  # seeds on stacked weights, and processes that share a GPU (docs/gpu.md)
DECODED = ("linear", "full")  # experiments over whose outputs a CRF is fitted (`lpgnet.runs.decoder`)
KEEP_WEIGHTS = ("full", "full_6", "full_moddrop", "past_full")  # experiments whose best-validation weights are kept


def build(run: RunConfig, data: Dataset) -> nn.Module:
    """The model of a run, with torch's default initial weights (Reading R23)."""
    model = MODELS[type(run.model)]
    return model(run.model, data.sizes, len(data.classes), len(data.speaker_names))


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
    curves: dict[str, list[float]] = field(default_factory=lambda: {"loss": [], "validation_f1": [], "test_f1": []})
    best: dict = field(default_factory=dict)  # epoch, output, validation logits, weights of the chosen epoch

    @cached_property
    def temperature(self) -> float:
        """Fitted on validation at the chosen epoch; 1 where there is none."""
        return temperature(self.best["validation"], self.validation_labels)

    def score_epoch(self, loss: float, test: Output, validation: Output | None) -> bool:
        """Write an epoch down; returns whether it is the best on validation, ties to the earliest."""
        self.curves["loss"].append(loss)
        self.test_logits.append(test.logits.numpy())
        self.curves["test_f1"].append(f1(self.labels, self.test_logits[-1]))
        chosen, logits = True, np.zeros((0, test.logits.shape[-1]))
        if validation is not None:  # without one (R13's "none") the last epoch is the one
            logits = validation.logits.numpy()
            score = f1(self.validation_labels, logits)
            chosen = score > max(self.curves["validation_f1"], default=-1.0)
            self.curves["validation_f1"].append(score)
        if chosen:
            self.best |= {"epoch": len(self.test_logits), "output": test, "validation": logits}
        return chosen


def fit(run: RunConfig, data: Dataset, seeds: list[int]) -> list[TrainedSeed]:
    """Train one model per seed on the training part, looking at validation and test after every epoch.

    The epoch is chosen on validation alone; what the test part gives is only written down.
    Seeds that can, train side by side (`lpgnet.runs.seeds`); what one gives doesn't depend on the others.
    """
    together = stackable(run, data.longest)
    if len(seeds) > 1 and not together:
        return [fitted for seed in seeds for fitted in fit(run, data, [seed])]
    stacked = together and (len(seeds) > 1 or data.labels.is_cuda)
    several = (Stacked if stacked else Alone)([_initial(run, data, seed) for seed in seeds], run, data, seeds)
    golds = [_gold(data, part) for part in ("test", "validation")]
    fits = [TrainedSeed(*golds, parameters=several.size) for _ in seeds]
    for _ in range(run.train.epochs):
        seen = zip(fits, several.epoch(), several.outputs("test"), several.outputs("validation"), strict=True)
        if best := [s for s, (fitted, *epoch) in enumerate(seen) if fitted.score_epoch(*epoch)]:
            several.keep(best)
    for s, fitted in enumerate(fits):
        fitted.best["weights"] = several.weights(s)
    return fits


def _initial(run: RunConfig, data: Dataset, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build(run, data).to(data.labels.device)


def _gold(data: Dataset, part: str) -> np.ndarray:
    units = data.units[part]
    return data.labels[torch.cat(units)].cpu().numpy() if units else np.zeros(0, int)


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
    keep_freed_memory()
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
        records.save(job.path, _record(job, read, fitted, data, made), _predictions(job.experiment, read, fitted))
    return spent


def keep(place: Place, job: Job, dataset: Dataset, fitted: TrainedSeed, data: dict) -> None:
    """The best-validation weights of some experiments, and what one of them sees inside."""
    if job.experiment not in KEEP_WEIGHTS:
        return
    folder = place.checkpoints / job.experiment / job.path.stem
    validation = _validation(dataset, fitted)
    checkpoint.save(folder, job, dataset, fitted.best["weights"], fitted.temperature, validation, data)
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
        validation=_validation(dataset, fitted),
        predictions="",
        made=made,
    )


def _validation(dataset: Dataset, fitted: TrainedSeed) -> dict[str, list[float]]:
    """Class -> the calibrated probabilities of it that its validation utterances have, ascending."""
    gold = fitted.validation_labels
    sure = softmax(fitted.best["validation"] / fitted.temperature, axis=-1).round(6)
    return {name: sorted(sure[gold == i, i].tolist()) for i, name in enumerate(dataset.classes)}


def _predictions(experiment: str, dataset: Dataset, fitted: TrainedSeed) -> pd.DataFrame:
    """One row per scored test utterance, at the best validation epoch; `predicted_last` is of the last one."""
    index = torch.cat(dataset.units["test"]).numpy()
    output = fitted.best["output"]
    rows = dataset.table.iloc[index][SLICES]
    rows = rows.reset_index(drop=True)
    probability = output.logits.softmax(-1).cpu().numpy()
    for i, name in enumerate(dataset.classes):
        rows[f"p_{name}"] = probability[:, i]
    classes = np.array(dataset.classes, dtype=object)
    rows["predicted"], rows["predicted_last"] = (
        classes[logits.argmax(-1)] for logits in (probability, fitted.test_logits[-1])
    )
    gold = fitted.validation_labels
    if experiment in DECODED and len(gold) and (gold >= 0).all():  # a chain has no turn without a label
        rows["predicted_crf"] = classes[_decoded(dataset, fitted)]
    for m, weight in output.modality_weight.items():
        rows[f"weight_{m}"] = weight.cpu().numpy()
    return rows[rows["label"].notna()].reset_index(drop=True)


def _decoded(dataset: Dataset, fitted: TrainedSeed) -> np.ndarray:
    """(N,) classes of the test utterances by the CRF of `decoder`, at the best validation epoch."""
    lengths = {part: [len(unit) for unit in dataset.units[part]] for part in ("validation", "test")}
    best, gold = fitted.best, fitted.validation_labels
    training = [dataset.labels[unit].cpu().numpy() for unit in dataset.units["train"]]
    test = best["output"].logits.cpu().numpy()
    return decoder.decoded(training, best["validation"], gold, lengths["validation"], test, lengths["test"])


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

    jobs: worker processes with one thread each (default: one per core; on a GPU `ON_CARD`).
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
    cores = joblib.cpu_count()
    run_parallel("runs", pieces, jobs or (min(ON_CARD, cores) if where == "cuda" else cores), scheduler)
    frame = current_records(place, data, settings)
    return frame[frame["experiment"].isin(names)]


def _groups(jobs: list[Job], device: str) -> list[list[Job]]:
    """What one call makes: on a CPU a run; on a GPU all seeds that can train side by side.

    What trains alone takes longest, so it begins.
    """
    if device == "cpu":
        return [[job] for job in jobs]
    groups: dict[tuple, list[Job]] = {}
    for job in jobs:
        alone = () if stackable(job.run) else (job.seed,)
        groups.setdefault((job.experiment, job.fold, *alone), []).append(job)
    pieces = [g[i : i + BESIDE] for g in groups.values() for i in range(0, len(g), BESIDE)]
    return sorted(pieces, key=lambda piece: stackable(piece[0].run))
