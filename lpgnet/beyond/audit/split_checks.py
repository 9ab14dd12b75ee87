"""Who stands on both sides of a split: ids, clips, dialogues, sessions, speakers, transcripts, classes."""

from collections.abc import Iterator
from itertools import combinations

import pandas as pd

from lpgnet.beyond.audit.findings import FAULT, WARNING, Finding, fine, judged, some, unchecked
from lpgnet.corpora.table import PARTS, plain
from lpgnet.labels import Fold, folds, labelled, manifest, rule

PAIRS = tuple(combinations(PARTS, 2))
SHORTEST = 3  # different transcripts by which a dialogue can be told from another


def check_table(table: pd.DataFrame) -> Iterator[Finding]:
    """The utterance table by itself, before any split."""
    twice = table["id"][table["id"].duplicated()].unique()
    found = f"{len(twice)} ids stand for several rows"
    do = "Rename or remove them: labels and features are looked up by id."
    yield judged("utterance ids", twice, found, do, f"{len(table)} rows, each with an id of its own")
    clips = table["wav"][table["wav"] != ""]
    shared = clips[clips.duplicated()].unique()
    found = f"{len(shared)} clips belong to several utterances"
    do = "Look at the corpus's folders: each turn should have its own clip."
    yield judged("clips", shared, found, do, f"{len(clips)} clips, one per utterance")
    for column in ("session", "part"):
        count = table.groupby("dialogue")[column].nunique()
        torn = count.index[count > 1]
        found = f"{len(torn)} dialogues have turns in several"
        do = f"A dialogue must lie in one {column} whole; correct the column {column!r}."
        yield judged(f"dialogues in one {column}", torn, found, do, f"all {len(count)} dialogues")


def check_splits(table: pd.DataFrame, split: str, protocols: list[str]) -> Iterator[Finding]:
    """Every fold of every label set."""
    words = table["text"].map(plain)
    for name in protocols:
        kept = manifest(table, name).assign(words=words[labelled(table, name).notna()].to_numpy())
        try:
            found = folds(kept, split)
        except ValueError as error:
            do = "Take a --split that the corpus allows."
            yield Finding("split", FAULT, f"{name}: no folds", str(error), do)
            continue
        for fold in found:
            rows = {part: kept[kept["dialogue"].isin(getattr(fold, part))] for part in PARTS}
            where = f"{name}, {fold.name}"
            yield from _sizes(where, rows, rule(table, name).classes)
            yield _dialogues(where, fold)
            yield _copies(where, rows)
            yield _sessions(where, rows, split)
            yield _speakers(where, rows, split)
            yield _transcripts(where, rows)


def _sizes(where: str, rows: dict[str, pd.DataFrame], classes: tuple[str, ...]) -> Iterator[Finding]:
    sizes = ", ".join(f"{part} {len(frame)}" for part, frame in rows.items())
    empty = [part for part, frame in rows.items() if frame.empty]
    if empty:
        do = "Check the corpus is whole; nothing can be trained, chosen or tested on an empty part."
        yield Finding("parts", FAULT, f"{where}: {', '.join(empty)} has no utterance", sizes, do)
    else:
        yield fine("parts", f"{where}: none is empty", sizes)
    lacks = {part: [c for c in classes if c not in set(frame["label"])] for part, frame in rows.items() if len(frame)}
    lacks = {part: names for part, names in lacks.items() if names}
    if lacks:
        detail = "; ".join(f"{part} lacks {', '.join(names)}" for part, names in lacks.items())
        do = "Its recall and F1 mean nothing there; take a larger part, or read the class column with it."
        yield Finding("classes", WARNING, f"{where}: a class is absent from a part", detail, do)
    else:
        yield fine("classes", f"{where}: every class in every part")


def _dialogues(where: str, fold: Fold) -> Finding:
    parts = {part: set(getattr(fold, part)) for part in PARTS}
    both = {f"{a} and {b}": parts[a] & parts[b] for a, b in PAIRS if parts[a] & parts[b]}
    if not both:
        return fine("dialogues", f"{where}: each in one part")
    found = "validation is the test part" if parts["validation"] == parts["test"] else "parts overlap"
    detail = "; ".join(f"{names}: {len(shared)} ({some(sorted(shared))})" for names, shared in both.items())
    return Finding("dialogues", FAULT, f"{where}: {found}", detail, "Correct the split; no number made with it counts.")


def _copies(where: str, rows: dict[str, pd.DataFrame]) -> Finding:
    """Dialogues under two names: the same transcripts with the same labels, in order."""
    prints = {part: _fingerprints(frame) for part, frame in rows.items()}
    same = [
        f"{prints[a][key]} ({a}) = {prints[b][key]} ({b})"
        for a, b in PAIRS
        for key in prints[a].keys() & prints[b].keys()
    ]
    whole = prints["test"] and prints["validation"].keys() == prints["test"].keys()
    found = "validation is a copy of the test part" if whole else f"{len(same)} dialogues stand in two parts"
    do = "Remove one of each pair: they are the same words with the same labels, turn by turn."
    return judged("copied dialogues", sorted(same), f"{where}: {found}", do, f"{where}: none")


def _fingerprints(rows: pd.DataFrame) -> dict[tuple, str]:
    known = {}
    for name, turns in rows.groupby("dialogue"):
        if turns["words"][turns["words"] != ""].nunique() >= SHORTEST:
            known[(*turns["words"], *turns["label"])] = str(name)
    return known


def _sessions(where: str, rows: dict[str, pd.DataFrame], split: str) -> Finding:
    fitted, test = (set(_before(rows)["session"]) - {0}, set(rows["test"]["session"]) - {0})
    if not fitted and not test:
        return unchecked("sessions", f"{where}: the corpus has none")
    if not fitted & test:
        return fine("sessions", f"{where}: none is trained on and tested")
    severity, do = _grave(split)
    shared = ", ".join(map(str, sorted(fitted & test)))
    return Finding("sessions", severity, f"{where}: sessions {shared} are trained on and tested", "", do)


def _grave(split: str) -> tuple[str, str]:
    """A split that the corpus ships may share speakers and sessions; ours by session must not."""
    if split == "official":
        return WARNING, "The corpus ships this split; call no result on it speaker-independent."
    return FAULT, "Correct the session or speaker of these turns; a split by session must share none."


def _speakers(where: str, rows: dict[str, pd.DataFrame], split: str) -> Finding:
    before, test = _before(rows), rows["test"]
    fitted, tested = set(before["speaker"]) - {""}, set(test["speaker"]) - {""}
    if not fitted or not tested:
        return unchecked("speakers", f"{where}: the corpus does not say who speaks")
    shared = fitted & tested
    if not shared:
        found = f"{where}: the {len(tested)} tested are not among the {len(fitted)} trained on"
        return fine("speakers", found, "Validation shares speakers with training by design (Reading R13).")
    severity, do = _grave(split)
    share = test["speaker"].isin(shared).mean()
    detail = f"{100 * share:.1f} % of the test utterances: {some(sorted(shared))}"
    found = f"{where}: {len(shared)} of {len(tested)} test speakers are trained on"
    return Finding("speakers", severity, found, detail, do)


def _before(rows: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([rows["train"], rows["validation"]])


def _transcripts(where: str, rows: dict[str, pd.DataFrame]) -> Finding:
    test = rows["test"][rows["test"]["words"] != ""]
    if test.empty:
        return unchecked("transcripts", f"{where}: there are no words")
    seen = test["words"].isin(set(_before(rows)["words"]))
    if not seen.any():
        return fine("transcripts", f"{where}: no test transcript is trained on")
    scripted = test["scripted"].astype(bool)
    alone = test["words"].isin(set(rows["train"]["words"]))
    found = f"{where}: {seen.sum()} of {len(test)} test utterances repeat a transcript of training or validation"
    detail = f"{(seen & scripted).sum()} of {scripted.sum()} scripted, {(seen & ~scripted).sum()} of "
    detail += f"{(~scripted).sum()} improvised; {alone.sum()} repeat one of training proper. Compared without"
    detail += " case, punctuation and spaces."
    do = "Read the slice `transcript` (seen, unseen) beside the headline; a text model may know these lines."
    return Finding("transcripts", WARNING, found, detail, do)
