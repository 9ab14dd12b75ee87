"""(experiment, fold, seed) -> record.  Each run is an independent job; what is recorded is not run again."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import joblib
import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lpgnet import __version__, baselines, losses
from lpgnet.analysis import metrics, records
from lpgnet.config import (
    BiGRUConfig,
    DataConfig,
    LinearConfig,
    LPGNetConfig,
    RunConfig,
    SDTConfig,
    TrainConfig,
)
from lpgnet.features.dataset import Dataset
from lpgnet.features.store import utterances
from lpgnet.files import whole
from lpgnet.labels import folds, manifest
from lpgnet.model import Batch, LPGNet, Output
from lpgnet.places import Place
from lpgnet.progress import spread

MODELS = {
    LPGNetConfig: LPGNet,
    LinearConfig: baselines.Linear,
    BiGRUConfig: baselines.BiGRU,
    SDTConfig: baselines.SDT,
}
SLICES = ["id", "dialogue", "order", "speaker", "session", "scripted", "start", "end", "label"]
KEEP_WEIGHTS = ("full", "full_6")  # experiments whose best-validation weights are kept


def device_named(name: str) -> torch.device:
    """ "auto" is a GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda' was asked for, and torch sees no GPU here; use auto or cpu")
    return torch.device(name)


def build(run: RunConfig, data: Dataset) -> nn.Module:
    """The model of a run, with torch's default initial weights (Reading R23)."""
    model = MODELS[type(run.model)]
    return model(run.model, data.sizes, len(data.classes), len(data.speaker_names))


def optimiser(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Reading R23: Adam with L2 on every parameter, at a constant rate."""
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    return kind(model.parameters(), lr=config.lr, weight_decay=config.l2, fused=True)


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
class Fit:
    """What training leaves in memory."""

    curves: dict[str, list[float]]
    test_logits: list[np.ndarray]  # one (N, C) per epoch
    labels: np.ndarray  # (N,)
    best: dict = field(default_factory=dict)  # epoch, output and weights at the best validation epoch
    parameters: int = 0


def fit(run: RunConfig, data: Dataset, seed: int) -> Fit:
    """Train one model on the training part, looking at validation and test after every epoch.

    The epoch is chosen on validation alone; what the test part gives is only written down.
    """
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    device = data.labels.device
    model = build(run, data).to(device)
    weight = data.class_weight().to(device) if run.loss.class_weights else None
    optimizer = optimiser(model, run.train)
    held = {part: _held(data, part, run) for part in ("validation", "test")}
    golds = {part: _gold(data, part) for part in ("validation", "test")}
    result = Fit({"loss": [], "validation_f1": [], "test_f1": []}, [], golds["test"])
    result.parameters = sum(p.numel() for p in model.parameters())
    for epoch in range(1, run.train.epochs + 1):
        result.curves["loss"].append(_epoch(model, optimizer, data, run, order, weight))
        test = predict(model, held["test"]())
        logits = test.logits.cpu().numpy()
        result.test_logits.append(logits)
        result.curves["test_f1"].append(f1(golds["test"], logits))
        if not len(golds["validation"]):  # R13's "none": the last epoch is the one
            result.best = _snapshot(epoch, test, model)
            continue
        logits = predict(model, held["validation"]()).logits.cpu().numpy()
        score = f1(golds["validation"], logits)
        if score > max(result.curves["validation_f1"], default=-1.0):  # ties to the earliest
            result.best = _snapshot(epoch, test, model)
        result.curves["validation_f1"].append(score)
    return result


def _held(data: Dataset, part: str, run: RunConfig) -> Callable[[], Iterable[Batch]]:
    """The batches of a part that is only looked at: one of all dialogues, or frames piece by piece."""
    units = data.units[part]
    if not data.at_frames:
        batches = [data.batch(units)] if units else []
        return lambda: batches
    return lambda: (data.batch(units[i : i + run.train.batch]) for i in range(0, len(units), run.train.batch))


def _gold(data: Dataset, part: str) -> np.ndarray:
    units = data.units[part]
    return data.labels[torch.cat(units)].cpu().numpy() if units else np.zeros(0, int)


def _epoch(model, optimizer, data: Dataset, run: RunConfig, order, weight) -> float:
    """One pass over the training part; the mean loss of its batches."""
    model.train()
    total = []
    for units in shuffled(data.units["train"], run.train.batch, order):
        batch = data.batch(units)
        output = model(batch)
        loss = losses.total(output.logits, output.students, batch.labels, run.loss, weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total.append(loss.detach())
    return float(torch.stack(total).mean())


@torch.no_grad()
def predict(model: nn.Module, batches: Iterable[Batch]) -> Output:
    """The outputs of all batches in order, dropout off."""
    model.eval()
    outputs = [model(batch) for batch in batches]
    return Output(
        torch.cat([o.logits for o in outputs]),
        {m: torch.cat([o.students[m] for o in outputs]) for m in outputs[0].students},
        {m: torch.cat([o.modality_weight[m] for o in outputs]) for m in outputs[0].modality_weight},
    )


def _snapshot(epoch: int, output: Output, model: nn.Module) -> dict:
    weights = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    return {"epoch": epoch, "output": output, "weights": weights}


def epochs(fitted: Fit) -> dict[str, int]:
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


def work(place: Place, job: records.Job, data: dict, device: str) -> float:
    """Make one run and write its record.  Returns the seconds it took."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    frames = getattr(job.run.model, "pool", "none") != "none"
    dataset = _dataset(place, job.run.data, job.fold, json.dumps(job.features), frames, device)
    fitted = fit(job.run, dataset, job.seed)
    if job.experiment in KEEP_WEIGHTS:
        path = place.checkpoints / job.experiment / job.path.with_suffix(".safetensors").name
        with whole(path) as part:
            save_file(fitted.best["weights"] | _scalers(dataset), part)
    made = {
        "seconds": round(time.perf_counter() - start, 3),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    records.save(job.path, _record(job, dataset, fitted, data, made), _predictions(dataset, fitted))
    return made["seconds"]


def _scalers(dataset: Dataset) -> dict[str, Tensor]:
    """What standardised the features of a checkpoint, under names no layer has."""
    return {
        f"scaler.{m}.{name}": getattr(s, name)
        for m, s in dataset.scalers.items()
        for name in ("mean", "scale")
    }


def _record(job: records.Job, dataset: Dataset, fitted: Fit, data: dict, made: dict) -> records.Record:
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
        predictions="",
        made=made,
    )


def _predictions(dataset: Dataset, fitted: Fit) -> pd.DataFrame:
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
    where = device_named(device).type
    data = records.describe(place)
    possible, refused = records.possible(data, names, settings)
    for reason in dict.fromkeys(refused.values()):
        print(f"not run, since {reason}: {', '.join(n for n, why in refused.items() if why == reason)}")
    planned = records.plan(place, data, possible, seeds, settings)
    missing = [job for job in planned if not records.done(job)]
    recorded = len(planned) - len(missing)
    print(f"{len(planned)} runs of {', '.join(possible) or 'none'}: {recorded} recorded already")
    pieces = [joblib.delayed(work)(place, job, data, where) for job in missing]
    spread("runs", pieces, 1 if where == "cuda" else (jobs or joblib.cpu_count()), scheduler)
    frame = records.load(place, data, settings)
    return frame[frame["experiment"].isin(names)]
