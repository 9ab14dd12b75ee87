"""What it costs when turns lose their text or their audio: the checkpoints of all seeds on the test part.

Which turns of a dialogue are lost is drawn from its name alone, so it is the same for every seed, fold and
experiment; who is lost at a lower rate is lost at a higher one too.
"""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lpgnet.beyond.conversation import timeline
from lpgnet.machine.code import deciding, summary
from lpgnet.machine.files import json_sha256, write_forms
from lpgnet.machine.workers import Progress
from lpgnet.places import Place
from lpgnet.runs import checkpoint, metrics, training
from lpgnet.runs.dataset import Dataset
from lpgnet.runs.plan import Job, planned
from lpgnet.tables.figures.theme import save_figure
from lpgnet.tables.typeset import origin

EXPERIMENTS = ("full", "full_moddrop")
RATES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
SCORES = ("accuracy", "weighted_f1")


def lost_turns(dialogue: str, turns: int, rate: float) -> np.ndarray:
    """(turns,) bool: which turns of a dialogue are without, round(rate * turns) of them."""
    seed = int.from_bytes(hashlib.sha256(dialogue.encode()).digest()[:8], "big")
    rank = np.random.default_rng(seed).permutation(turns)
    return rank < round(rate * turns)


def confusion(reader: checkpoint.Reader, data: Dataset, modality: str, rate: float) -> np.ndarray:
    """(C, C) counts on the test part of a fold, when a part of its turns lacks a modality."""
    units = data.units["test"]
    index = torch.cat(units)
    places = data.table["place"].iloc[index.numpy()].tolist()
    rows = {m: features.vectors()[places] for m, features in data.features.items()}
    names = [data.table["dialogue"].iat[int(unit[0])] for unit in units]
    gone = np.concatenate([lost_turns(name, len(unit), rate) for name, unit in zip(names, units, strict=True)])
    rows[modality][torch.tensor(gone)] = torch.nan
    probability, _ = reader(rows, [len(unit) for unit in units])
    gold = data.labels[index].numpy()
    scored = gold >= 0
    return metrics.confusion(gold[scored], probability.argmax(-1).numpy()[scored], len(data.classes))


def costs(place: Place, data: dict, seeds: int) -> pd.DataFrame:
    """`table`, read from the place's missing.csv where that is of the same runs and code, else measured and written."""
    path, runs = place.results / "missing.csv", _runs(place, data, seeds)
    if path.exists():
        frame = pd.read_csv(path, dtype={"runs": str})
        if set(frame.get("runs", ())) == {runs}:
            return frame
    frame = table(place, data, seeds)
    write(frame, place)
    return frame


def _runs(place: Place, data: dict, seeds: int) -> str:
    """Digest of the runs and of the code that a table is of."""
    keys = [job.key for job in planned(place, data, list(EXPERIMENTS), seeds)]
    code = summary(deciding([("beyond.conversation.missing_turns", "table")]))["digest"]
    return json_sha256([code, keys])[:12]


def table(place: Place, data: dict, seeds: int) -> pd.DataFrame:
    """One line per experiment, modality and rate: mean and std over seeds of each score, in fractions.

    Folds are pooled within a seed before it is scored.  data: as `records.read_data` gives it.
    """
    lines, runs = [], _runs(place, data, seeds)
    for experiment in EXPERIMENTS:
        jobs = planned(place, data, [experiment], seeds)
        identity = {name: data[name] for name in ("corpus", "profile", "split")} | {"labels": jobs[0].labels}
        identity["runs"] = runs
        for (modality, rate), counts in _pooled(place, jobs).items():
            what = {"experiment": experiment, "modality": modality, "rate": rate}
            lines.append(identity | what | _summary(list(counts.values())))
    return pd.DataFrame(lines)


def _summary(seeds: list[np.ndarray]) -> dict[str, float]:
    """Mean and standard deviation of each score over the seeds' confusion matrices."""
    scores = pd.DataFrame([metrics.scores(counts) for counts in seeds])
    found = {f"{name}_{what}": scores[name].agg(what) for name in SCORES for what in ("mean", "std")}
    return found | {"n_seeds": len(seeds), "n_utterances": int(seeds[0].sum())}


def _pooled(place: Place, jobs: list[Job]) -> dict[tuple[str, float], dict[int, np.ndarray]]:
    """(modality, rate) -> seed -> confusion matrix over all folds."""
    datasets: dict[str, Dataset] = {}
    pooled: dict = {}
    progress = Progress(f"checkpoints of {jobs[0].experiment} tried", len(jobs))
    for job in jobs:
        reader = checkpoint.load(_folder(place, job))
        if job.fold not in datasets:
            datasets = {job.fold: training.dataset(place, job)}  # one in memory: jobs go fold by fold
        for modality in reader.sizes:
            for rate in RATES:
                counts = pooled.setdefault((modality, rate), {})
                found = confusion(reader, datasets[job.fold], modality, rate)
                counts[job.seed] = counts.get(job.seed, 0) + found
        progress.step()
    return pooled


def _folder(place: Place, job: Job) -> Path:
    """Where the checkpoint of a run is; the run is made again where it was made without one."""
    folder = place.checkpoints / job.experiment / job.path.stem
    if not folder.is_dir():
        raise FileNotFoundError(f"no checkpoint {folder}: delete {job.path}, if it is there, and run notebook 08 again")
    return folder


def write(frame: pd.DataFrame, place: Place) -> list[Path]:
    """missing.csv and missing.md of a place, and figures/missing.png; returns their paths."""
    shown = frame[["experiment", "modality", "rate", "n_seeds"]].assign(rate=frame["rate"].map("{:.0%}".format))
    for name in SCORES:
        mean, std = (frame[f"{name}_{what}"].map(lambda x: f"{100 * x:.1f}") for what in ("mean", "std"))
        shown[name] = mean + " ± " + std
    about = f"# What missing text or audio costs\n\n{origin(frame)}\n"
    texts = {
        "csv": frame.to_csv(index=False, lineterminator="\n"),
        "md": f"{about}\n{shown.to_markdown(index=False)}\n",
    }
    paths = write_forms(place.results / "missing", texts)
    return [*paths, save_figure("missing", timeline.missing_rates(frame), place.figures)]
