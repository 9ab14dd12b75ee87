"""How far a run is, read from its records by any terminal or node that sees the folder.  No torch."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lpgnet.experiments import experiment
from lpgnet.features.store import SHARD
from lpgnet.machine.files import at_work
from lpgnet.machine.workers import as_clock
from lpgnet.places import Place
from lpgnet.runs.plan import current_records, planned, unfitted
from lpgnet.runs.records import read_data

RECENT = 40  # records by which the pace is judged
PAUSE = 120.0  # seconds without a record after which another sitting has begun
EVERY = 5.0  # seconds between two looks
WORKING = {
    True: "a command is at work there",
    False: "nobody is at work there",
    None: "whether a command is at work there can't be told",
}


@dataclass(frozen=True)
class Status:
    """What a look found.  counts: per experiment how many runs are done and wanted; left: seconds of one core
    by the records' times, None where no run is timed; pace: core-seconds of runs done a second."""

    counts: dict[str, tuple[int, int]]
    working: bool | None
    left: float | None
    pace: float | None
    last: float | None

    @property
    def finished(self) -> bool:
        return not self.missing and not self.working

    @property
    def missing(self) -> int:
        return sum(wanted - done for done, wanted in self.counts.values())

    def lines(self, name: str, now: float) -> list[str]:
        done, wanted = (sum(pair[i] for pair in self.counts.values()) for i in (0, 1))
        out = [f"{name}: {done} of {wanted} runs recorded; {WORKING[self.working]}"]
        left = {e: pair for e, pair in self.counts.items() if pair[0] < pair[1]}
        out += [f"  {e:16} {d:4} of {w} done, {w - d} left" for e, (d, w) in left.items()]
        if self.last:
            out.append(f"Last record at {_at(self.last)}, {as_clock(max(0.0, now - self.last))} ago")
        return out + self._when(now)

    def _when(self, now: float) -> list[str]:
        if not self.missing:
            rest = (
                "tables, figures and pages follow"
                if self.working
                else "what `reproduce` makes of them is below results/"
            )
            return [f"Every run is recorded; {rest}"]
        if self.left is None:
            return ["No run is recorded yet, so none is timed; `python -m lpgnet reproduce --dry-run` times some"]
        if not self.working or not self.pace:
            return [f"Left: about {as_clock(self.left)} of one core, by the records; the same command goes on"]
        end = self.left / self.pace
        return [
            f"Left: about {as_clock(end)} at the present pace, so done at {_at(now + end)}; tables and pages follow"
        ]


def look(place: Place, names: list[str], seeds: int) -> Status:
    """How many runs of some experiments a place has and wants.  names: those that its corpus allows."""
    data = read_data(place.runs)
    named = [name for name in names if not unfitted(data, experiment(name, place.profile))]
    jobs = pd.Series([job.experiment for job in planned(place, data, named, seeds)], dtype=str).value_counts()
    records = current_records(place, data)
    records = records[records["experiment"].isin(named) & (records["seed"] < seeds)]
    done = records["experiment"].value_counts()
    counts = {name: (int(done.get(name, 0)), int(jobs[name])) for name in named}
    mean = records.groupby("experiment")["seconds"].mean()
    left = sum((w - d) * mean.get(name, mean.mean()) for name, (d, w) in counts.items()) if len(mean) else None
    times = sorted((Path(path).stat().st_mtime, s) for path, s in zip(records["path"], records["seconds"], strict=True))
    return Status(counts, at_work(place.results), left, pace(times), times[-1][0] if times else None)


def pace(times: list[tuple[float, float]]) -> float | None:
    """Seconds of runs recorded in a second of the present sitting.  times: when each was, its seconds; ascending."""
    recent = times[-RECENT:]
    breaks = [i for i in range(1, len(recent)) if recent[i][0] - recent[i - 1][0] > PAUSE + 2 * recent[i][1]]
    sitting = recent[breaks[-1] :] if breaks else recent
    span = sitting[-1][0] - sitting[0][0] if sitting else 0.0
    return sum(seconds for _, seconds in sitting[1:]) / span if span > 0 else None


def before_runs(place: Place) -> str:
    """What there is before any run can be: files of features."""
    shards, table = len([*place.features.glob("*/*.safetensors")]), place.features / "utterances.csv"
    of = f", {SHARD} utterances each" if table.exists() else ""
    return f"{place.name}: no runs yet, {shards} files of features{of}; {WORKING[at_work(place.results)]}"


def _at(when: float) -> str:
    return time.strftime("%H:%M" if abs(when - time.time()) < 12 * 3600 else "%Y-%m-%d %H:%M", time.localtime(when))


def repeated(place: Place, names, seeds: int, watch: bool) -> Iterator[str]:
    """What the command says: once, or every few seconds until all is recorded and nobody is at work.

    names: data of a place -> the experiments that are wanted.
    """
    while True:
        try:
            found = look(place, names(read_data(place.runs)), seeds)
            yield "\n".join(found.lines(place.name, time.time()))
            done = found.finished
        except FileNotFoundError:
            yield before_runs(place)
            done = False
        if done or not watch:
            return
        time.sleep(EVERY)
