"""What a run leaves, and reading it back.  No torch: a laptop rebuilds the tables from these files.

results/<place>/runs/
    data.json                            what the current runs are made from: labels, features, counts
    <experiment>/<seed>-<key8>.parquet   every test utterance: label, probabilities, modality weights
    <experiment>/<seed>-<key8>.json      config, epochs, confusion matrices, curves; written last

A run's key is a SHA-256 over everything that decides its numbers.  A record under another key than the one
wanted today is stale: never used, never deleted, listed.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from lpgnet import __version__
from lpgnet.config import EXPERIMENTS, RunConfig, experiment
from lpgnet.files import whole, write_json
from lpgnet.labels import PROTOCOLS, counts, digest, manifest, test_sessions
from lpgnet.places import Place


@dataclass(frozen=True)
class Record:
    """One finished run, in plain JSON types.  Only `made` may differ when the run is made again."""

    corpus: str
    profile: str
    split: str
    experiment: str
    seed: int
    fold: str
    labels: str  # the protocol
    classes: list[str]
    version: str  # of this package
    key: str
    config: dict
    manifest: str
    features: dict[str, str]  # modality -> recipe
    epoch: dict[str, int]  # rule of R14 (best_validation, last, best_test) -> epoch, counted from 1
    confusion: dict[str, list[list[int]]]  # rule -> rows gold, columns predicted, test counts
    students: dict[str, list[list[int]]]  # modality -> the same, at the best validation epoch
    curves: dict[str, list[float]]  # loss, validation_f1, test_f1, one number per epoch
    parameters: int
    predictions: str  # SHA-256 of the parquet file
    made: dict  # seconds, device, versions


@dataclass(frozen=True)
class Job:
    """One run to make, and where its record goes."""

    experiment: str
    run: RunConfig
    labels: str
    fold: str
    seed: int
    key: str
    path: Path  # of the JSON


def describe(place: Place) -> dict:
    """What the runs of a place are made from; also written to its data.json."""
    from lpgnet.features.store import read_index, utterances

    index = read_index(place.features)
    table = utterances(place.features)
    protocols = {}
    for name in {place.labels} | {r.data.labels for r in EXPERIMENTS.values()} - {None}:
        kept = manifest(table, name, place.corpus)
        classes = PROTOCOLS[name].classes
        protocols[name] = {
            "manifest": digest(kept),
            "classes": list(classes),
            "counts": counts(kept, classes),
            "sessions": sorted(int(s) for s in kept["session"].unique()),
        }
        if name in index.get("oracle", {}):
            protocols[name]["oracle"] = index["oracle"][name]
    features = {m: index[m] for m in ("text", "audio")}
    data = {
        "corpus": place.corpus,
        "place": place.name,
        "profile": place.profile,
        "split": place.split,
        "labels": place.labels,
        "protocols": protocols,
        "features": features,
    }
    path = place.runs / "data.json"
    if not path.exists() or json.loads(path.read_text()) != data:
        write_json(path, data)
    return data


def read_data(runs: Path) -> dict:
    """The data.json of a place."""
    path = runs / "data.json"
    if not path.exists():
        raise FileNotFoundError(f"no run record under {runs}; run notebooks 01 to 05 first")
    return json.loads(path.read_text())


def plan(
    place: Place, data: dict, names: list[str], seeds: int, settings: dict[str, Any] | None = None
) -> list[Job]:
    """Every run of some experiments: one per fold and seed, in that order."""
    jobs = []
    for name in names:
        run = experiment(name, place.profile, settings)
        run = replace(run, data=replace(run.data, labels=run.data.labels or place.labels))
        sessions = data["protocols"][run.data.labels]["sessions"]
        folds = [f"session{s}" for s in test_sessions(place.split, sessions)]
        jobs += [_job(place, data, name, run, f, s) for f in folds for s in range(seeds)]
    return jobs


def _job(place: Place, data: dict, name: str, run: RunConfig, fold: str, seed: int) -> Job:
    identity = {
        "config": run.as_dict(),
        "corpus": place.corpus,
        "manifest": data["protocols"][run.data.labels]["manifest"],
        "features": {m: about["recipe"] for m, about in data["features"].items()},
        "fold": fold,
        "seed": seed,
        "version": __version__,
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    path = place.runs / name / f"{seed}-{key[:8]}.json"
    return Job(name, run, run.data.labels, fold, seed, key, path)


def save(path: Path, record: Record, predictions: pd.DataFrame) -> None:
    """Write the predictions, then the record that vouches for them; each whole or not at all."""
    with whole(path.with_suffix(".parquet")) as part:
        predictions.to_parquet(part, index=False)
        sha = hashlib.sha256(part.read_bytes()).hexdigest()
    write_json(path, asdict(replace(record, predictions=sha)))


def read(path: Path) -> Record:
    """One record, checked against its predictions; ValueError where either is damaged."""
    try:
        record = Record(**json.loads(path.read_text()))
        found = hashlib.sha256(path.with_suffix(".parquet").read_bytes()).hexdigest()
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"record {path} is damaged ({error}); delete it and run again") from None
    if found != record.predictions:
        raise ValueError(f"{path.with_suffix('.parquet')} is damaged; delete it and run again")
    return record


def done(job: Job) -> bool:
    """Whether a job has a sound record; a damaged one is named, and made again."""
    if not job.path.exists():
        return False
    try:
        return read(job.path).key == job.key
    except ValueError as error:
        print(f"{error} -- it is run again now")
        return False


def load(place: Place, data: dict | None = None, settings: dict[str, Any] | None = None) -> pd.DataFrame:
    """The current records of a place, one row each; `attrs["stale"]` lists the others' paths."""
    data = data or read_data(place.runs)
    paths = sorted(place.runs.glob("*/*.json"))
    records = {path: read(path) for path in paths}
    seeds = 1 + max((r.seed for r in records.values()), default=-1)
    names = sorted({r.experiment for r in records.values()} & set(EXPERIMENTS))
    wanted = {job.path: job.key for job in plan(place, data, names, seeds, settings)}
    current = {path: r for path, r in records.items() if wanted.get(path) == r.key}
    rows = [asdict(r) | {"seconds": r.made["seconds"], "path": str(p)} for p, r in current.items()]
    frame = pd.DataFrame(rows, columns=[*Record.__dataclass_fields__, "seconds", "path"])
    frame["classes"] = frame["classes"].map(tuple)
    frame = frame.sort_values(["experiment", "fold", "seed"], ignore_index=True)
    frame.attrs["stale"] = sorted(str(path) for path in records.keys() - current.keys())
    return frame
