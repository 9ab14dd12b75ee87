"""The data of a place, audited: does its split leak, do its features and records belong to its utterances?

Reads the feature store, the label files and the records; needs no network and no torch.
    fault     a number made from this data can't be trusted
    warning   it must be read with this in mind
    note      something could not be checked, or is not known
    ok        checked, and as it should be
"""

from collections.abc import Iterator
from dataclasses import astuple, fields
from pathlib import Path

import numpy as np
import pandas as pd

from lpgnet.beyond.audit.encoder_checks import check_pasts
from lpgnet.beyond.audit.feature_checks import check_set
from lpgnet.beyond.audit.findings import FAULT, OK, SEVERITIES, WARNING, Finding, fine, judged, some, unchecked
from lpgnet.beyond.audit.split_checks import check_splits, check_table
from lpgnet.corpora.table import utterances
from lpgnet.experiments import EXPERIMENTS
from lpgnet.features.store import read_index
from lpgnet.labels import Fold, digest, folds, manifest, rule
from lpgnet.machine.files import sha256, write_forms
from lpgnet.places import Place, protocols, slug
from lpgnet.runs import records
from lpgnet.runs.plan import current_records

COLUMNS = [field.name for field in fields(Finding)]


def audit_data(place: Place, root: Path | None = None) -> pd.DataFrame:
    """One line per check, columns `COLUMNS`, the gravest first.

    root: the corpus's folder, so that clips can be compared with what was encoded; None: they are not.
    """
    index, table = read_index(place.features), utterances(place.features)
    found = list(_all(place, index, table, root))
    frame = pd.DataFrame([astuple(finding) for finding in found], columns=COLUMNS)
    return frame.sort_values("severity", key=lambda s: s.map(SEVERITIES.index), kind="stable", ignore_index=True)


def _all(place: Place, index: dict, table: pd.DataFrame, root: Path | None) -> Iterator[Finding]:
    names, kept = _label_sets(place), {}
    yield from check_table(table)
    yield _clips(table, root)
    yield from check_splits(table, place.split, names)
    for name in names:
        kept[name] = digest(manifest(table, name))
        yield _label_file(place, name, kept[name])
    found = _folds(table, place.labels, place.split)
    base = f"text/{slug(place.text)}"
    keys = [base, *sorted(k for k in index["sets"] if k.startswith(f"{base}/"))]
    keys = [*(keys if place.finetuned else keys[:1]), f"audio/{slug(place.audio)}"]
    lacking = index.get("lacking", [])
    for key in keys:
        if key in index["sets"]:
            yield from check_set(place.features, key, index["sets"][key], table, found, root)
        elif key.split("/")[0] in lacking or index.get("imported"):
            yield unchecked(f"{key}: files", "the corpus has no such features")
        else:
            yield Finding(f"{key}: files", FAULT, "the store has no such set", "", "Run notebook 01.")
    if any(key.startswith(f"{base}/") for key in index["sets"]):
        from lpgnet.beyond.audit.fit_checks import check_fits  # reads the encoders, which nothing else here does

        yield from check_fits(index, table, base)
    corpus = (index.get("imported") or {}).get("corpus", place.corpus)
    encoders = {m: k for m, k in (("text", base), ("audio", keys[-1])) if k in index["sets"]}
    named = {m: place.text if m == "text" else place.audio for m in encoders}
    yield from check_pasts(corpus, named)
    yield from _records(place, index, table, kept)


def _clips(table: pd.DataFrame, root: Path | None) -> Finding:
    """Every clip by ear: can it be read, is it silent, is it as long as its turn?"""
    from lpgnet.corpora.load import listen  # reads sound, which nothing else here does

    check = "sound of the clips"
    if root is None or not (there := table["wav"].map(lambda wav: wav != "" and (root / wav).is_file())).any():
        return unchecked(check, "give --root, so that the clips can be heard")
    heard = listen(table[there], root)
    odd = [f"{wav} {clip.fault or clip.odd}" for wav, clip in heard.items() if clip.fault or clip.odd]
    found = f"{len(odd)} of {len(heard)} clips are faulty or odd"
    do = "Listen to them, and fetch them again where they are not what was said."
    ok = f"{len(heard)} clips can be read, none is silent, each is as long as its turn"
    return judged(check, odd, found, do, ok, WARNING)


def _label_sets(place: Place) -> list[str]:
    """The place's labels, and those that single experiments ask for."""
    asked = [place.labels, *(run.data.labels for run in EXPERIMENTS.values())]
    carried = protocols(place.corpus, place.output)
    return [name for name in dict.fromkeys(asked) if name in carried]


def _folds(table: pd.DataFrame, labels: str, split: str) -> dict[str, Fold]:
    try:
        return {fold.name: fold for fold in folds(manifest(table, labels), split)}
    except ValueError:  # `check_splits` has said so
        return {}


def _label_file(place: Place, name: str, sha: str) -> Finding:
    """The label set by hash: as it follows from the table now, and as notebook 01 wrote it."""
    path, check = place.features.parent / "labels" / f"{name}.csv", f"label set {name}"
    if not path.exists():
        return unchecked(check, f"no {path.name} in labels/; notebook 01 writes it")
    if sha256(path) == sha:
        return fine(check, f"the table gives the label file, sha256 {sha[:12]}")
    do = "Find out which of the two was changed by hand; notebook 01 writes both anew."
    return Finding(check, FAULT, "the utterance table and the label file disagree", str(path.name), do)


def _records(place: Place, index: dict, table: pd.DataFrame, kept: dict[str, str]) -> Iterator[Finding]:
    """Records in use: made with these labels, tested on this test part, every utterance of it."""
    try:
        data = records.read_data(place.runs)
        runs = current_records(place, data)
    except FileNotFoundError:
        yield unchecked("records", "nothing has been run yet")
        return
    except (ValueError, LookupError) as error:
        yield Finding("records", FAULT, "the records can't be read", str(error), "Delete what it names, run again.")
        return
    yield from _made_from(data, index, kept)
    if stale := [f"{Path(path).relative_to(place.runs)}: {why}" for path, why in runs.attrs["stale"].items()]:
        yield Finding("records", WARNING, f"{len(stale)} records are stale: not used", some(stale), "They may go.")
    if runs.empty:
        return
    wrong = [f"{r.experiment}/{Path(r.path).name}" for r in runs.itertuples() if r.manifest != kept.get(r.labels)]
    found, do = f"{len(wrong)} records have other labels", "Delete these records and run again."
    yield judged("record labels", wrong, found, do, f"{len(runs)} records were made with the label sets of the table")
    parts: dict[tuple, tuple] = {}
    bad = list(filter(None, (_tested(parts, table, place.split, run) for run in runs.itertuples())))
    found = f"{len(bad)} records don't agree with the test part or with their own predictions"
    yield judged(
        "record test parts", bad, found, do, f"{len(runs)} records count every test utterance once, as predicted"
    )


def _made_from(data: dict, index: dict, kept: dict[str, str]) -> Iterator[Finding]:
    """data.json, which says what the runs were made from, against the store as it is now."""
    other = [name for name, about in data["protocols"].items() if kept.get(name) != about["manifest"]]
    found = "the runs were made with other labels than the table has now"
    do = "Run the notebooks again; until then the tables show runs on the old labels."
    yield judged("labels of the runs", other, found, do, "the runs' label sets are those of the table, by hash")
    sets = [about for name, about in data["features"].items() if name != "fits"]
    sets += data["features"].get("fits", {}).values()
    now = {about["recipe"] for about in index["sets"].values()}
    gone = [about["encoder"] for about in sets if about["recipe"] not in now]
    found, do = "the runs were made with features that the store no longer has", "Run the notebooks again."
    yield judged("features of the runs", gone, found, do, "the runs' features are in the store, by hash", WARNING)


def _tested(parts: dict[tuple, tuple], table: pd.DataFrame, split: str, run) -> str:
    """What is wrong with the test utterances of a record; "" where nothing is.  parts: kept between calls."""
    name = f"{run.experiment}/{Path(run.path).name}"
    validation = run.config["data"].get("validation", "tenth")
    key = (run.labels, run.fold)
    if key not in parts:
        kept = manifest(table, run.labels)
        held = {fold.name: fold.test for fold in folds(kept, split, validation)}
        rows = kept[kept["dialogue"].isin(held.get(run.fold, ()))]
        counted = rows["label"].value_counts().reindex(rule(table, run.labels).classes, fill_value=0)
        parts[key] = counted.tolist(), sorted(rows["id"])
    support, wanted = parts[key]
    for kind, matrix in (run.confusion | run.students).items():
        if np.asarray(matrix).sum(axis=1).tolist() != support:
            counted = int(np.sum(matrix))
            return f"{name}: {kind} counts {counted} utterances, the test part has {sum(support)}"
    why = records.contradiction(run, Path(run.path), wanted)
    return why and f"{name}: {why}"


def write(frame: pd.DataFrame, place: Place) -> list[Path]:
    """audit.csv and audit.md of a place; equal frames, equal bytes."""
    texts = {"csv": frame.to_csv(index=False, lineterminator="\n"), "md": page(frame, place.name)}
    return write_forms(place.results / "audit", texts)


def page(frame: pd.DataFrame, name: str) -> str:
    """The audit to read: how many of each, then every line, faults first."""
    count = frame["severity"].value_counts()
    lines = [f"# The data of {name}, audited", "", "| Severity | Checks |", "|---|---|"]
    lines += [f"| {severity} | {count.get(severity, 0)} |" for severity in SEVERITIES]
    for severity in SEVERITIES:
        mine = frame[frame["severity"] == severity].to_dict("records")
        lines += ["", f"## {severity.capitalize()} ({len(mine)})", ""]
        lines += [f"- **{line['check']}**: {line['finding']}.{_more(line)}" for line in mine]
    return "\n".join([*lines, ""])


def _more(line: dict) -> str:
    return "".join(f" {line[name].rstrip('.')}." for name in ("detail", "what_to_do") if line[name])


def counted(frame: pd.DataFrame) -> str:
    """How many of each severity."""
    count = frame["severity"].value_counts()
    numbers = {name: int(count.get(name, 0)) for name in SEVERITIES}
    return ", ".join(f"{n} {name}{'s' * (n != 1 and name != OK)}" for name, n in numbers.items())


def grave(frame: pd.DataFrame) -> list[str]:
    """One line for each fault and warning."""
    some = frame[frame["severity"].isin([FAULT, WARNING])]
    return [f"{line.severity}: {line.check}: {line.finding}" for line in some.itertuples()]


def faulty(frame: pd.DataFrame) -> bool:
    return bool(frame["severity"].eq(FAULT).any())
