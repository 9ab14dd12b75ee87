"""Scores on parts of the test set: scripted or not, short or long, after a change of emotion, ...

The slices, each over the test utterances that carry a label; what a rule does not cover is in neither value:
    speech         scripted, improvised
    length         short (duration up to the median of the test set), long; neither where times aren't known
    shift          shift, same: the label against the previous labelled turn's of the dialogue; first: neither
    speaker_shift  the same against the speaker's own previous labelled turn of the dialogue
    turn           early (first third of the dialogue's labelled turns), late (last third); middle: neither
    transcript     seen, unseen: whether a training utterance of the fold has the same words (without case,
                   punctuation and spaces).  Words stand in the feature store only; without it, left out
Duration stands for the number of words, which predictions lack.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from lpgnet.corpora.table import plain, utterances
from lpgnet.labels import folds, manifest
from lpgnet.runs.metrics import scores
from lpgnet.tables.scores import SHOWN, Evaluation, Predictions, identity
from lpgnet.tables.statistics import columns, dialogue_counts, summary

VALUES = {
    "all": ("all",),
    "speech": ("scripted", "improvised"),
    "length": ("short", "long"),
    "shift": ("shift", "same"),
    "speaker_shift": ("shift", "same"),
    "turn": ("early", "late"),
    "transcript": ("seen", "unseen"),
}


def slices(found: Evaluation, features: Path | None = None) -> pd.DataFrame:
    """One line per experiment, slice and value: mean and standard deviation over seeds, in percent.

    features: the feature store, for the words.  A value that no utterance has is no line, and a slice that
    puts every utterance in one value is left out; `attrs["left_out"]` says which and why.
    """
    lines, left_out = [], []
    for part in found.predictions:
        values, reasons = assigned(part, found.data["split"], features)
        left_out += [f"{part.labels}: slice {name} left out, {why}" for name, why in reasons.items()]
        lines += [identity(found.data, part.labels) | line for line in _lines(part, values)]
    frame = pd.DataFrame(lines)
    frame.attrs["left_out"] = left_out
    return frame


def assigned(part: Predictions, split: str, features: Path | None) -> tuple[pd.DataFrame, dict[str, str]]:
    """The value of each utterance (N lines) in every slice that says something, and why not the others."""
    rows, reasons = part.rows, {}
    values = pd.DataFrame({"all": "all"}, index=rows.index)
    values["speech"] = np.where(rows["scripted"].astype(bool), "scripted", "improvised")
    duration = rows["end"] - rows["start"]
    values["length"] = _either(duration <= duration.median(), duration.notna(), "length")
    turns = rows.sort_values(["dialogue", "order"], kind="stable")
    for name, keys in {"shift": ["dialogue"], "speaker_shift": ["dialogue", "speaker"]}.items():
        before = turns.groupby(keys)["label"].shift()
        known = before.notna() if name == "shift" else before.notna() & turns["speaker"].ne("")
        values[name] = _either(turns["label"] != before, known, name)
    by_dialogue = turns.groupby("dialogue")["id"]
    position = (by_dialogue.cumcount() + 0.5) / by_dialogue.transform("size")
    values["turn"] = _either(position < 1 / 3, (position < 1 / 3) | (position > 2 / 3), "turn")
    if features is None or not (Path(features) / "utterances.csv").exists():
        reasons["transcript"] = "the feature store with the transcripts is not here"
    else:
        values["transcript"] = _transcripts(part, split, Path(features))
    for name in [c for c in values if c != "all" and values[c].nunique() < 2]:
        only = ", ".join(values[name].dropna().unique())
        reasons[name] = f"all of it is {only}" if only else "no utterance has a value"
        values = values.drop(columns=name)
    return values, reasons


def _either(first: pd.Series, covered: pd.Series, name: str) -> pd.Series:
    """The first of a slice's two values where `first` holds, else the second; missing where not covered."""
    one, other = VALUES[name]
    return pd.Series(np.where(first, one, other), index=first.index, dtype=object).where(covered, None)


def _transcripts(part: Predictions, split: str, features: Path) -> pd.Series:
    """seen or unseen; missing where an utterance has no words."""
    table = utterances(features)
    kept = manifest(table, part.labels)
    words = table.set_index("id")["text"].map(plain)
    mine = part.rows["id"].map(words)
    seen = pd.Series(False, index=part.rows.index)
    for fold in folds(kept, split, part.validation):
        trained = set(words[kept.loc[kept["dialogue"].isin(fold.train), "id"]])
        seen |= (part.rows["fold"] == fold.name) & mine.isin(trained)
    return _either(seen, mine.notna() & mine.ne(""), "transcript")


def _lines(part: Predictions, values: pd.DataFrame) -> Iterator[dict]:
    gold, one, classes = part.gold, np.zeros(len(part.rows), dtype=int), len(part.classes)
    masks = {(n, v): values[n].eq(v).to_numpy() for n in values for v in VALUES[n]}
    for experiment, seeds in part.predicted.items():
        predicted = np.stack(list(seeds.values()))
        for (name, value), mask in masks.items():
            if mask.any():
                counts = dialogue_counts(one[mask], gold[mask], predicted[:, mask], classes)[:, 0]
                who = {"experiment": experiment, "slice": name, "value": value}
                yield who | {"n_utterances": int(mask.sum())} | _spread(counts) | {"n_seeds": len(seeds)}


def _spread(counts: np.ndarray) -> dict[str, float]:
    """Mean and standard deviation over the seeds of (S, C, C), in percent."""
    found = scores(counts)
    return {key: x for name in SHOWN for key, x in columns(name, summary(found[name])).items()}
