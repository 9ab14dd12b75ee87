"""Which runs a place allows and wants, and which of them are recorded.  No torch.

A run's key is a SHA-256 over everything that decides its numbers: what was asked for, the code that it goes
through, the libraries.  A record under another key than the one wanted today is stale: never used, never
deleted, listed with the reason.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from lpgnet.config import MODALITIES, RECOGNISED, LinearConfig, LPGNetConfig, RunConfig
from lpgnet.experiments import EXPERIMENTS, experiment, takes
from lpgnet.labels import CARRIES, counts, digest, group, held_groups, manifest, meant, rule
from lpgnet.machine.code import changed, deciding, summary, versions
from lpgnet.machine.files import json_sha256, write_json
from lpgnet.places import Place, fit_key, protocols, recognised_key, slug
from lpgnet.runs.records import Record, read, read_data

LIBRARIES = ("torch", "numpy")  # whose versions decide a run's numbers
FITTING = (  # what every run goes through, whatever its model
    *(("runs.training", name) for name in ("fit", "_record", "_predictions")),
    ("runs.dataset", "Dataset"),
    ("labels", "folds"),
)
FROZEN_HERE = "the text encoder is frozen here already"


@dataclass(frozen=True)
class Job:
    """One run to make, and where its record goes."""

    experiment: str
    run: RunConfig
    labels: str
    fold: str
    seed: int
    asked: str
    code: dict
    libraries: dict[str, str]
    key: str
    path: Path  # of the JSON
    features: dict[str, dict]  # modality -> the entry of the set it reads


def describe(place: Place) -> dict:
    """What the runs of a place are made from; also written to its data.json."""
    from lpgnet.corpora.table import utterances
    from lpgnet.features.store import read_index

    data = described(place, read_index(place.features), utterances(place.features))
    path = place.runs / "data.json"
    if not path.exists() or json.loads(path.read_text()) != data:
        write_json(path, data)
    return data


def foreseen(place: Place, table: pd.DataFrame) -> dict:
    """The same, as far as it is known from a utterance table before any feature is made."""
    columns = {f"text/{slug(place.text)}": "text", f"audio/{slug(place.audio)}": "wav"}
    sets = {key: {"frame_size": 1} for key, column in columns.items() if (table[column] != "").any()}
    return described(place, {"sets": sets, "lacking": list(MODALITIES)}, table)


def described(place: Place, index: dict, table: pd.DataFrame) -> dict:
    """What the runs of a place are made from, by a store's index and utterance table."""
    carried = protocols(place.corpus, place.output)
    wanted = {meant(r.data.labels, place.labels, carried) for r in EXPERIMENTS.values()}
    return {
        "corpus": place.corpus,
        "place": place.name,
        "profile": place.profile,
        "split": place.split,
        "labels": place.labels,
        "text": "finetuned" if place.finetuned else "frozen",
        "parties": sorted(set(table["party"]) - {""}),
        "protocols": {name: _protocol(place, index, table, name) for name in carried if name in wanted},
        "features": _sets(place, index),
    }


def _protocol(place: Place, index: dict, table: pd.DataFrame, name: str) -> dict:
    """Label set, counts per group of the split, and the fold that tests each."""
    kept, classes = manifest(table, name), rule(table, name).classes
    groups = group(kept, place.split)
    found = {
        "manifest": digest(kept),
        "classes": list(classes),
        "counts": counts(kept, classes, place.split),
        "folds": held_groups(place.split, groups.unique().tolist()),
    }
    oracle = index.get("oracle", {}).get(name)
    return found | ({"oracle": oracle} if oracle else {})


def _sets(place: Place, index: dict) -> dict:
    """modality -> its entry in the store's index, and under "fits" those fitted to a fold or of recognised text."""
    keys = {"text": f"text/{slug(place.text)}", "audio": f"audio/{slug(place.audio)}"}
    sets, found = index["sets"], {}
    for modality, key in keys.items():
        if key in sets:
            found[modality] = sets[key]
        elif not index.get("imported") and modality not in index.get("lacking", []):
            have = ", ".join(k for k in sets if k.startswith(modality)) or "none"
            raise FileNotFoundError(f"no features {key} in {place.features} (it has {have}): run notebook 01 for them")
    fits = {
        rest.removeprefix("/"): entry
        for key, entry in sets.items()
        if (rest := key.removeprefix(keys["text"])) != key and rest.startswith(("+", "/") if place.finetuned else "+")
    }
    return found | ({"fits": fits} if fits or place.finetuned else {})


def possible(data: dict, names: list[str], settings: dict[str, Any] | None = None) -> tuple[list[str], dict[str, str]]:
    """The experiments that a corpus allows, and why not the others."""
    reasons = {name: _refusal(data, experiment(name, data["profile"], settings)) for name in names}
    return [n for n, why in reasons.items() if not why], {n: why for n, why in reasons.items() if why}


def _refusal(data: dict, run: RunConfig) -> str:
    """Why a run can't be made from this data; "" where it can."""
    model, sets = run.model, data["features"]
    needs = set(MODALITIES)
    if isinstance(model, LinearConfig):
        needs = set(model.modalities)
    elif isinstance(model, LPGNetConfig):
        needs = {m for m in MODALITIES if any(m[0] in path for path in model.paths)}
    lacks = sorted(needs - sets.keys())
    if lacks:
        return f"{data['corpus']} has no {' and no '.join(lacks)} features"
    if getattr(model, "pool", "none") != "none" and not all(sets[m]["frame_size"] for m in needs):
        return f"{data['corpus']} has utterance vectors only, no frame sequences"
    if getattr(model, "speakers", False) and len(data["parties"]) < 2:
        return f"{data['corpus']} does not say who speaks"
    labels, six = _labels(data, run), meant("six", "", data["protocols"])
    if labels not in data["protocols"]:
        return f"{data['corpus']} does not carry the labels {labels}"
    if run.data.labels == six:
        return f"the six classes are {six} here already"
    session = run.data.validation.removeprefix("session")
    if session.isdecimal() and max(int(session), 2) > _training_sessions(data, labels):
        return f"{data['corpus']} has no {max(int(session), 2)} sessions to train on"
    if run.data.text == "frozen" == data["text"]:
        return FROZEN_HERE
    if run.data.text in ("finetuned", "crossfitted") and data["text"] == "frozen":
        return "no text encoder is fine-tuned here (--finetune)"
    if run.data.text in RECOGNISED and ("audio" not in sets or data["corpus"] not in CARRIES):
        return f"{data['corpus']} has no recordings whose words could be recognised"
    return ""


def _labels(data: dict, run: RunConfig) -> str:
    return meant(run.data.labels, data["labels"], data["protocols"])


def _training_sessions(data: dict, labels: str) -> int:
    """How many sessions a fold trains on; 0 where the corpus deals out parts instead."""
    return len(data["protocols"][labels]["counts"]) - 1 if data["split"] != "official" else 0


def planned(
    place: Place, data: dict, names: list[str], seeds: int, settings: dict[str, Any] | None = None
) -> list[Job]:
    """Every run of some experiments: one per fold and seed, in that order."""
    jobs = []
    for name in names:
        run = experiment(name, place.profile, settings)
        asked = run.data
        asked = replace(asked, labels=_labels(data, run), text=asked.text or data["text"])
        run = replace(run, data=asked)
        folds = data["protocols"][asked.labels]["folds"]
        jobs += [_job(place, data, name, run, f, s) for f in folds for s in range(seeds)]
    return jobs


def _job(place: Place, data: dict, name: str, run: RunConfig, fold: str, seed: int) -> Job:
    features = _features(data, run, fold)
    identity = {
        "config": run.as_dict(),
        "corpus": place.corpus,
        "manifest": data["protocols"][run.data.labels]["manifest"],
        "features": {m: about["recipe"] for m, about in features.items()},
        "fold": fold,
        "seed": seed,
    }
    asked, libraries = json_sha256(identity), versions(LIBRARIES)
    code = run_code(identity["config"]["model"]["kind"])
    key = json_sha256([asked, code["digest"], libraries])
    path = place.runs / name / f"{seed}-{key[:8]}.json"
    return Job(name, run, run.data.labels, fold, seed, asked, code, libraries, key, path, features)


@cache
def run_code(kind: str) -> dict:
    """What code a run of a kind of model goes through."""
    network = ("runs.packed", "Packed") if kind == "LPGNet" else ("runs.baselines", kind)
    return summary(deciding([*FITTING, network], stop=[("runs.training", "MODELS")]))


def _features(data: dict, run: RunConfig, fold: str) -> dict[str, dict]:
    """modality -> the entry of the set that a run reads: text as published, or fitted to its fold."""
    sets = {m: data["features"][m] for m in MODALITIES if m in data["features"]}
    if key := _fit(data, run, fold):
        fits = data["features"].get("fits", {})
        if key not in fits:
            raise LookupError(
                f"no text features fitted to {key} (there are {', '.join(fits)}): run notebook 01; "
                "for other readings, 07"
            )
        sets["text"] = fits[key]
    return sets


def _fit(data: dict, run: RunConfig, fold: str) -> str:
    """The key of the text set of its own that a run reads; "" where it is the one as published."""
    asked, text = run.data, run.data.text or data["text"]
    key = (data["profile"], _labels(data, run), fold, asked.validation)
    if text in RECOGNISED:
        return recognised_key(text, fold, fit_key(*key) if data["text"] == "finetuned" else "")
    return "" if text == "frozen" else fit_key(*key, text)


def unfitted(data: dict, run: RunConfig) -> list[str]:
    """The text features of its own that a run reads and the store lacks, by key."""
    folds, fits = data["protocols"][_labels(data, run)]["folds"], data["features"].get("fits", {})
    return [key for fold in folds if (key := _fit(data, run, fold)) and key not in fits]


def done(job: Job, keep_code: bool = False) -> bool:
    """Whether a job has a sound record; a damaged one is named, and made again.

    keep_code: one of earlier code or other libraries will do.
    """
    paths = job.path.parent.glob(f"{job.seed}-*.json") if keep_code else [job.path]
    for path in (path for path in paths if path.exists()):
        try:
            record = read(path)
        except ValueError as error:
            print(f"{error} -- it is run again now")
            continue
        if record and (record.key == job.key or (keep_code and record.asked == job.asked)):
            return True
    return False


def current_records(place: Place, data: dict | None = None, settings: dict[str, Any] | None = None) -> pd.DataFrame:
    """The current records of a place, one row each; `attrs["stale"]` has path -> reason of the others.

    Column `kept` says what has changed since where the place keeps records of earlier code.
    """
    data = data or read_data(place.runs)
    paths = sorted(place.runs.glob("*/[!.]*.json"))  # not what a killed worker left half-written
    every = {path: read(path) for path in paths}
    records = {path: record for path, record in every.items() if record is not None}
    seeds = 1 + max((r.seed for r in records.values()), default=-1)
    names, _ = possible(data, sorted({r.experiment for r in records.values()} & set(EXPERIMENTS)))
    names = [n for n in names if takes(n, settings) and not unfitted(data, experiment(n, place.profile, settings))]
    wanted = {(job.experiment, job.fold, job.seed): job for job in planned(place, data, names, seeds, settings)}
    libraries = _usual(records.values())
    reasons = dict.fromkeys(every.keys() - records.keys(), "a record of another version's form")
    chosen: dict[tuple, tuple[Path, str]] = {}
    for path, record in records.items():
        where = record.experiment, record.fold, record.seed
        reason, kept = _stale(record, wanted.get(where), libraries)
        if path.name != f"{record.seed}-{record.key[:8]}.json":
            reason = "its file has another name than its key"
        if kept and not place.keep_code:
            reason = kept
        if not reason and where in chosen:  # with records of earlier code kept: today's, or the newest
            other = min(path, chosen[where][0], key=lambda p: (records[p].key == wanted[where].key, p.stat().st_mtime))
            reason, reasons[other] = "", "another record of the same run is used"
            if other == path:
                continue
        if reason:
            reasons[path] = reason
        else:
            chosen[where] = path, kept
    rows = [
        vars(records[path]) | {"seconds": records[path].made["seconds"], "path": str(path), "kept": kept}
        for path, kept in chosen.values()
    ]
    frame = pd.DataFrame(rows, columns=[*Record.__dataclass_fields__, "seconds", "path", "kept"])
    frame["classes"] = frame["classes"].map(tuple)
    frame = frame.sort_values(["experiment", "fold", "seed"], ignore_index=True)
    frame.attrs["stale"] = {str(path): reasons[path] for path in sorted(reasons)}
    return frame


def _stale(record: Record, job: Job | None, libraries: dict[str, str]) -> tuple[str, str]:
    """Why a record isn't what is asked for today, and what has changed of what made it; "" where nothing."""
    if job is None:
        return "this run isn't wanted here", ""
    if record.key != json_sha256([record.asked, record.code["digest"], record.libraries]):
        return "its key is of something else", ""
    if record.asked != job.asked:
        recipes = {m: about["recipe"] for m, about in job.features.items()}
        other = "features" if record.features != recipes else "configuration or labels"
        return f"its {other} changed", ""
    if record.code["digest"] != job.code["digest"]:
        return "", changed(record.code, job.code)
    if record.libraries != libraries:
        theirs, ours = (", ".join(f"{n} {v}" for n, v in some.items()) for some in (record.libraries, libraries))
        return "", f"made with {theirs}, others with {ours}"
    return "", ""


def _usual(records: Iterable[Record]) -> dict[str, str]:
    """The library versions that records are read by: the installed ones where any has them, else most have.

    So a laptop with other versions, or without torch, reads what one host made, and no table mixes two.
    """
    found = [record.libraries for record in records]
    installed = versions(LIBRARIES)
    return installed if installed in found or not found else max(found, key=found.count)
