"""What each reading of the paper is worth, and what a dialogue's turns are: alternatives against defaults.

Two tests are asked of a difference, as in `comparisons`, each with Holm's correction over a table and metric.
The verdict:
    matters: better (or worse)   both tests give p < 0.05 after correction
    worse on this test set, ...  p < 0.05 over seeds alone: other dialogues may not show it;
                                 "not asked beyond it": dialogues can't be paired, the note says why
    a hint of worse, ...         p < 0.05 over seeds, but not after correction
    equal within 1 point         both 95 % intervals lie within a point of zero
    no difference found, ...     anything else.  That is not "equal": the intervals say how large a difference
                                 these seeds and dialogues may have missed
Lines that count the same predictions in another way, or choose the epoch on the test set, are not tested.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from lpgnet.config import MODALITIES
from lpgnet.experiments import CONTEXTS, EXPERIMENTS, GROUPS, READINGS, Alternative
from lpgnet.labels import meant
from lpgnet.machine.files import write_csv
from lpgnet.runs.plan import possible, unfitted
from lpgnet.tables.claims import EQUAL_TO
from lpgnet.tables.comparisons import all_scored, compared, scored
from lpgnet.tables.scores import HEADLINE, SHOWN, Evaluation, identity, pooled, seed_scores
from lpgnet.tables.statistics import ALPHA, Resampled, equal, holm, paired_seeds, percent, significant, summary

RENAMED = {"mean_b": "default_mean", "mean_a": "alternative_mean"}
PAIRED = ["difference", "seeds_low", "seeds_high", "n_seeds", "dialogues_low", "dialogues_high", "n_dialogues"]
TESTED = ["p_seeds_holm", "p_dialogues_holm", "verdict", "note"]
WHERE = ["corpus", "profile", "split", "labels"]
COMPARED = [*WHERE, "reading", "alternative", "default", "experiment", "metric"]
COLUMNS = [*COMPARED, "default_mean", "alternative_mean", *PAIRED, *TESTED]
CONTEXT = [*WHERE, "model", "turns", "experiment", "accuracy_mean", "accuracy_std", *PAIRED, *TESTED]
SPOKEN, ALONE = "all, as spoken", "none but its own"
COUNTED, NEVER = "the same predictions, counted otherwise", "never a headline: chosen on the test set"


def readings(runs: pd.DataFrame, data: dict) -> pd.DataFrame:
    """One line per alternative of docs/readings.md and metric, columns `COLUMNS`, percent and points.

    One that has not been run, or can't be here, keeps its line: empty numbers, and the reason in `note`.
    """
    sets = sets_of(runs, data, GROUPS["readings"])
    lines = [
        _named(data, a.reading, a.says, a.default, a.experiment, metric)
        | against(sets, data, a.experiment, a.default, metric)
        for a in READINGS
        for metric in SHOWN
    ]
    lines += [*_at_the_last_epoch(runs, data), *_of_the_same_runs(runs, data)]
    lines.sort(key=lambda line: int(re.search(r"\d+", line["reading"])[0]))
    return judged(lines)[COLUMNS]


def contexts(runs: pd.DataFrame, data: dict) -> pd.DataFrame:
    """One line per model and what it is given of a dialogue, columns `CONTEXT`, accuracy in percent.

    A difference is to the same model with the turns as spoken; `linear` sees no other turn.
    """
    sets = sets_of(runs, data, GROUPS["readings"])
    lines = [_given(sets, data, "linear", ALONE, "linear"), *beside_default(sets, data, CONTEXTS, SPOKEN)]
    return judged(lines)[CONTEXT]


def beside_default(sets: dict[str, Resampled], data: dict, asked: Iterable[Alternative], usual: str) -> Iterator[dict]:
    """Each model as it usually is, in words, on the seeds of its alternatives, and those after it against it."""
    for model in dict.fromkeys(a.default for a in asked):
        changed = [a for a in asked if a.default == model]
        beside = [set(sets[a.experiment].seeds) for a in changed if a.experiment in sets]
        yield _given(sets, data, model, usual, model, set.union(*beside) if beside else None)
        for a in changed:
            line = _given(sets, data, model, a.says, a.experiment) | {"metric": "accuracy"}
            yield line | against(sets, data, a.experiment, model, "accuracy")


def write(frames: dict[str, pd.DataFrame], folder: Path) -> list[Path]:
    """One CSV per frame, by name; equal frames, equal bytes."""
    return [write_csv(Path(folder) / f"{name}.csv", frame) for name, frame in frames.items()]


def sets_of(runs: pd.DataFrame, data: dict, names: Iterable[str]) -> dict[str, Resampled]:
    """Some experiments, each on the resampled test set of its labels, whole seeds alone."""
    return all_scored(Evaluation(runs[runs["experiment"].isin(list(names))], data).predictions)


def _named(data: dict, reading: str, says: str, default: str, experiment: str, metric: str) -> dict:
    labels = meant(EXPERIMENTS[experiment].data.labels, data["labels"], data["protocols"])
    values = (reading, says, default, experiment, metric)
    return identity(data, labels) | dict(zip(COMPARED[4:], values, strict=True))


def against(sets: dict[str, Resampled], data: dict, a: str, b: str, metric: str) -> dict:
    """The numbers of a - b as `comparisons.compared` has them, and a note; without a run, the note alone."""
    lacking = [name for name in (a, b) if name not in sets]
    if lacking:
        return {"note": _why_not(data, lacking[0])}
    first, second = sets[a].by_seed(metric), sets[b].by_seed(metric)
    if not first.keys() & second.keys():
        return {"note": f"{a} and {b} have no seed in common"}
    if sets[a].labels != sets[b].labels:
        note = f"other test sets ({sets[a].labels}, {sets[b].labels}): paired by seeds alone"
        return over_seeds(first, second) | {"note": note}
    return compared(sets, a, b, metric) | {"note": ""}


def _why_not(data: dict, experiment: str) -> str:
    refused = possible(data, [experiment])[1].get(experiment)
    if not refused and unfitted(data, EXPERIMENTS[experiment]):
        refused = "its text features are not made yet (notebook 07)"
    return f"not run: {refused}" if refused else "not run yet"


def over_seeds(a: Mapping[int, float], b: Mapping[int, float]) -> dict:
    """The same as `compared` where dialogues can't be paired; both map a seed to a score."""
    found, common = paired_seeds(a, b), [seed for seed in a if seed in b]
    means = {f"mean_{x}": percent(np.mean([f[s] for s in common])) for x, f in (("a", a), ("b", b))}
    return means | {
        "difference": percent(found.difference),
        "n_seeds": found.n,
        "seeds_low": percent(found.ci_low),
        "seeds_high": percent(found.ci_high),
        "p_seeds": found.p,
    }


def _at_the_last_epoch(runs: pd.DataFrame, data: dict) -> Iterator[dict]:
    """R14, from the records of `full`, which hold what it predicts there too."""
    mine = Evaluation(runs[runs["experiment"] == "full"], data).predictions  # its own predictions alone are read
    parts = [part for part in mine if "full" in part.predicted]
    both = [scored(part, {"last": part.last["full"], "full": part.predicted["full"]}) for part in parts]
    for metric in SHOWN:
        line = _named(data, "R14", "the last epoch", "full", "full", metric)
        yield line | (
            compared(both[0], "last", "full", metric) | {"note": ""} if both else {"note": _why_not(data, "full")}
        )


def _of_the_same_runs(runs: pd.DataFrame, data: dict) -> Iterator[dict]:
    """The other alternatives that need no run of their own: R14, R15, R17 and R26, from the records of `full`."""
    full = runs[runs["experiment"] == "full"]
    best, test = (_by_seed(full, data, rule) for rule in (HEADLINE, "best_test"))
    pairs = [("R14", "the best test epoch", "full", test, best)]
    for m in MODALITIES:
        alone = _by_seed(runs[runs["experiment"] == f"{m}_only"], data)
        pairs.append(("R17", f"the {m} student head of full", f"{m}_only", _students(full, data, m), alone))
    for reading, says, default, a, b in pairs:
        for metric in SHOWN:
            line = _named(data, reading, says, default, "full", metric) | _same(data, a, b, metric, metric)
            yield line | (_untested(line, NEVER) if a is test else {})
    line = _named(data, "R15", "one-vs-all binary accuracy", "full", "full", "accuracy")
    yield _untested(line | _same(data, best, best, "one_vs_all_accuracy", "accuracy"), COUNTED)
    line = _named(data, "R26", "F1, not recall, in the class columns", "full", "full", "mean over classes")
    yield _untested(line | _same(data, best, best, "macro_f1", "balanced_accuracy"), COUNTED)


def _students(full: pd.DataFrame, data: dict, modality: str) -> pd.DataFrame:
    """Seed -> every metric of a student head (Eq. 18)."""
    have = full[full["students"].map(lambda students: modality in students).astype(bool)]
    return _by_seed(have.assign(confusion=[{HEADLINE: s[modality]} for s in have["students"]]), data)


def _by_seed(runs: pd.DataFrame, data: dict, rule: str = HEADLINE) -> pd.DataFrame:
    """Seed -> every metric, folds pooled, whole seeds alone."""
    return seed_scores(pooled(runs, data, rule)).set_index("seed") if len(runs) else pd.DataFrame()


def _same(data: dict, a: pd.DataFrame, b: pd.DataFrame, first: str, second: str) -> dict:
    if not set(a.index) & set(b.index):
        return {"note": _why_not(data, "full")}
    note = "records hold no dialogues of it: paired by seeds alone"
    return over_seeds(a[first].to_dict(), b[second].to_dict()) | {"note": note}


def _untested(line: dict, verdict: str) -> dict:
    """A line whose difference is no finding: a verdict of its own, and no test."""
    return line | {"verdict": verdict, "note": "", "p_seeds": np.nan} if "difference" in line else line


def _given(sets: dict[str, Resampled], data: dict, model: str, turns: str, experiment: str, seeds=None) -> dict:
    """A model's accuracy.  seeds: those that count; None: all that it has."""
    line = identity(data, meant(EXPERIMENTS[experiment].data.labels, data["labels"], data["protocols"]))
    line |= {"model": model, "turns": turns, "experiment": experiment}
    if experiment not in sets:
        return line | {"note": _why_not(data, experiment)}
    every = sets[experiment].by_seed("accuracy")
    kept = [value for seed, value in every.items() if seeds is None or seed in seeds] or list(every.values())
    found = summary(kept)
    spread = {"accuracy_mean": percent(found.mean), "accuracy_std": percent(found.std)}
    return line | spread | {"n_seeds": found.n, "note": ""}


def judged(lines: list[dict]) -> pd.DataFrame:
    """Holm's correction over the lines of a metric, the verdicts, and every column."""
    raw = ["p_seeds", "p_dialogues"]
    frame = pd.DataFrame(lines).rename(columns=RENAMED)
    frame = frame.reindex(columns=list(dict.fromkeys([*COLUMNS, *CONTEXT, *raw])))
    for name in raw:
        corrected = frame.groupby("metric", sort=False, dropna=False)[name].transform(lambda p: holm(p.astype(float)))
        frame[f"{name}_holm"] = [significant(p) for p in corrected]
    fixed = frame["verdict"].notna()
    told = [verdict(line) for line in frame.to_dict("records")]
    frame["verdict"] = frame["verdict"].where(fixed, told)
    return frame.astype({"n_seeds": "Int64", "n_dialogues": "Int64"})


def verdict(found: dict) -> str:
    """What a line says; "" where it has no difference."""
    if pd.isna(found["difference"]):
        return ""
    way, paired = "better" if found["difference"] > 0 else "worse", not pd.isna(found["n_dialogues"])
    beyond = f"undecided beyond it ({found['n_dialogues']:.0f} dialogues)" if paired else "not asked beyond it"
    if found["p_seeds_holm"] < ALPHA:
        return f"matters: {way}" if found["p_dialogues_holm"] < ALPHA else f"{way} on this test set, {beyond}"
    if paired and equal(*(found[f"{kind}_{end}"] for kind in ("seeds", "dialogues") for end in ("low", "high"))):
        return EQUAL_TO
    n = f"n = {found['n_seeds']:.0f} seeds" + (f", {found['n_dialogues']:.0f} dialogues" if paired else "")
    if found["p_seeds"] < ALPHA:
        return f"a hint of {way}, not after correction, at {n}"
    return f"no difference found at {n}"
