"""The forecast in lines: runs, then time and disk of features, training and notebooks apart."""

import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import joblib
import pandas as pd

from lpgnet.beyond.efficiency import parameters
from lpgnet.beyond.forecast.features import Work, clips, recognition, simulated_table, sizes_of, works
from lpgnet.beyond.forecast.training import Measure, Sizes, core_seconds
from lpgnet.config import MODALITIES, ROOT
from lpgnet.corpora.load import made_here, refuse_problems, scan
from lpgnet.corpora.simulated.plan import KNOBS
from lpgnet.corpora.table import utterances
from lpgnet.experiments import RECOGNITION, experiment
from lpgnet.labels import meant
from lpgnet.machine.workers import as_clock
from lpgnet.places import Place
from lpgnet.runs.plan import describe, foreseen
from lpgnet.runs.training import KEEP_WEIGHTS, ON_CARD

# In starts of Python with torch (two cores, 1 to 10 seeds, 2026-11-28): a notebook with its figures and page, and
# what a run costs beside its training (saved, then read by notebooks and report).
STARTS, PER_RUN = 5, 0.2
LOADS = 2  # starts of Python with torch until a worker has loaded transformers and librosa too
MB = 1e6
PAGES, REPORT = 3 * MB, 7 * MB  # of a notebook with its HTML; of figures and report
RECORD, ROW = 6000, 90  # bytes of a record, and of each test utterance beside it


@dataclass(frozen=True)
class Corpus:
    """What runs are made from.  ready: the features are there.  root: a folder of clips, where there is one.
    speech: of a simulated corpus that is still to make."""

    data: dict
    table: pd.DataFrame
    root: Path | None
    ready: bool
    speech: Work | None = None


@dataclass(frozen=True)
class Asked:
    """What is left to do.  runs: experiment -> how many; known: experiment -> seconds by its records."""

    place: Place
    corpus: Corpus
    runs: dict[str, int]
    known: dict[str, float]
    notebooks: int
    workers: int
    device: str


def workers(jobs: int | None, device: str) -> int:
    """As many as `training.run_missing` starts."""
    cores = joblib.cpu_count()
    return jobs or (min(ON_CARD, cores) if device == "cuda" else cores)


def corpus(place: Place, root: str | None, folder: Path, ready: bool) -> Corpus:
    """What the runs of a place will be made from, by its store, else by the release.  folder: for some clips."""
    speech, here = None, Path(root) if root else made_here(place.corpus)
    if ready:
        return Corpus(describe(place), utterances(place.features), here if here.is_dir() else None, ready)
    if root is None and place.corpus not in KNOBS:
        raise ValueError(f"corpus {place.corpus!r} needs the folder of its release: --root DIR")
    if here.is_dir():
        found = scan(here, place.corpus if place.corpus not in KNOBS else "")
        refuse_problems(found, here)
        table = found.table
    else:
        table, speech, here = simulated_table(place.corpus, folder)
    return Corpus(foreseen(place, table), table, here, ready, speech)


def lines(asked: Asked) -> list[str]:
    """Every line but the first, which names the place."""
    sizes = _sizes(asked)
    seconds = _per_run(asked, sizes)
    before, runs = _before(asked, sizes), sum(asked.runs.values())
    total = sum(runs * seconds[name] for name, runs in asked.runs.items())
    longest = max((seconds[name] for name, runs in asked.runs.items() if runs), default=0.0)
    starts = asked.notebooks * STARTS + runs * PER_RUN if asked.notebooks else 0
    spent = {
        "Features": sum(work.seconds or 0 for work in before) / asked.workers + LOADS * _start() * bool(before),
        "Training": max(total / asked.workers, longest),
        "Notebooks": starts and starts * _start(),
    }
    said = [
        f"  {name:16} {runs:4} runs, about {seconds[name]:8.1f} s each "
        f"({'by its records' if name in asked.known else 'timed now'})"
        for name, runs in asked.runs.items()
    ]
    one = "core" if asked.device == "cpu" else "process beside others on the GPU"
    said.append(f"{runs} runs, {total / 3600:.2f} hours of one {one}")
    for work in before:
        took = "not known, since it isn't on this machine"
        if work.seconds is not None:
            took = f"about {as_clock(work.seconds / asked.workers)}"
        said.append(f"  {work.what}: {took}")
    by = f" by {asked.workers} worker{'s' * (asked.workers > 1)}"
    of = {"Notebooks": f" for the starts, figures and pages of {asked.notebooks}, and the report"}
    said += [f"{what}: about {as_clock(s)}{of.get(what, by)}" for what, s in spent.items()]
    unknown = [work.what for work in before if work.seconds is None]
    rest = f", without {' and '.join(unknown)} (not at hand, so not timed)" if unknown else ""
    said.append(f"In all about {as_clock(sum(spent.values()))} where nothing else runs{rest}")
    return [*said, _disk(asked, sizes, before)]


def _sizes(asked: Asked) -> dict[str, Sizes]:
    """Of the features that there are, else of what the encoders make."""
    found = {}
    for m in MODALITIES:
        entry = asked.corpus.data["features"].get(m)
        if entry and "size" in entry:
            found[m] = Sizes(entry["size"], entry["frame_size"])
        elif entry:
            found[m] = sizes_of(asked.place, m)
    return found


def _per_run(asked: Asked, sizes: dict[str, Sizes]) -> dict[str, float]:
    """Experiment -> seconds of a run: by its records, else timed now."""
    known, protocols = dict(asked.known), asked.corpus.data["protocols"]
    with Measure(asked.place, asked.corpus.table, sizes, asked.device) as measure:
        for name in (n for n, runs in asked.runs.items() if n not in known):
            run = experiment(name, asked.place.profile)
            known[name] = measure.seconds(run, meant(run.data.labels, asked.place.labels, protocols))
    return known


def _before(asked: Asked, sizes: dict[str, Sizes]) -> list[Work]:
    """What is to do before training."""
    corpus, hears = asked.corpus, any(asked.runs.get(a.experiment) for a in RECOGNITION)
    some = clips(corpus.root) if hears or not corpus.ready else []
    made = [] if corpus.ready else [*works(asked.place, corpus.table, some, sizes, asked.device)]
    words = [recognition(asked.place, corpus.table, some)] if hears else []
    return [*([corpus.speech] if corpus.speech else []), *made, *words]


def _disk(asked: Asked, sizes: dict[str, Sizes], before: list[Work]) -> str:
    place, runs = asked.place, asked.runs
    protocol = asked.corpus.data["protocols"][place.labels]
    tested = list(protocol["folds"].values())[:1]  # by one fold
    test = sum(sum(protocol["counts"].get(group, {}).values()) for group in tested)
    records = sum(runs.values()) * (RECORD + ROW * test)
    own = {m: size.vector for m, size in sizes.items()}
    weights = {n: experiment(n, place.profile) for n in KEEP_WEIGHTS if runs.get(n)}
    kept = sum(4 * parameters(run, own, len(protocol["classes"])) * runs[n] for n, run in weights.items())
    pages = asked.notebooks * PAGES + REPORT * bool(asked.notebooks)
    parts = {"corpus and features": sum(work.bytes for work in before), "records": records, "checkpoints": kept}
    parts["notebooks and report"] = pages
    listed = ", ".join(f"{what} {size / MB:.0f}" for what, size in parts.items())
    return f"Disk: about {sum(parts.values()) / MB:.0f} MB ({listed})"


@cache
def _start() -> float:
    """Seconds until a new process has loaded what a notebook needs."""
    command = [sys.executable, "-c", "import lpgnet.runs.training"]
    return core_seconds(lambda: subprocess.run(command, check=True, cwd=ROOT))
