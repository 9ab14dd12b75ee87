"""Models beside the people who labelled: where raters agree, how they split their votes, how well one meets the rest.

An IEMOCAP turn has votes of three raters or more (C-E1 ...); its label is what most of them say.  `all agree`:
each rater names the label's class and no other; `majority`: not so.  A model's divergence is that of its
probabilities from the raters' vote shares (Jensen-Shannon, in bits: 0 the same, 1 nothing in common).  The human
line is one rater against the others: right where what he says is what most of the others say.
"""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import rel_entr

from lpgnet.corpora.table import utterances
from lpgnet.labels import PROTOCOLS
from lpgnet.tables.scores import Evaluation, Predictions, identity
from lpgnet.tables.statistics import columns, percent, summary

HUMAN = "a rater against the others"
NAMES = {
    "happiness": "hap", "sadness": "sad", "neutral": "neu", "neutral state": "neu", "anger": "ang",
    "excited": "exc", "frustration": "fru", "surprise": "sur", "fear": "fea", "disgust": "dis",
}  # fmt: skip
VALUES = ("all", "all agree", "majority")


def raters(found: Evaluation, features: Path | None) -> pd.DataFrame:
    """One line per experiment and part of the test set, and the human one; empty where there are no votes.

    features: the feature store, which holds the votes.  Accuracy in percent, divergence in bits.
    """
    if features is None or not (Path(features) / "utterances.csv").exists():
        return pd.DataFrame()
    votes = utterances(Path(features)).set_index("id")["votes"]
    lines = []
    for part in found.predictions:
        if part.labels in PROTOCOLS:
            said = [_votes(text, part) for text in votes.reindex(part.rows["id"], fill_value="{}")]
            lines += [identity(found.data, part.labels) | line for line in _lines(part, said)]
    return pd.DataFrame(lines)


def _votes(text: str, part: Predictions) -> list[list[int]]:
    """Of each rater, the numbers of the classes named; -1 for what is no class of the label set."""
    codes, classes = PROTOCOLS[part.labels].codes, list(part.classes)
    found = {name: names for name, names in json.loads(text).items() if name.startswith("C-E") and names}
    numbers = {name: code for name, code in NAMES.items() if code in codes}
    return [[classes.index(codes[numbers[n]]) if (n := name.lower()) in numbers else -1 for name in names]
            for names in found.values()]  # fmt: skip


def _lines(part: Predictions, said: list[list[list[int]]]) -> list[dict]:
    """said: of each utterance, the votes of each rater."""
    voted = np.array([len(v) > 1 for v in said])
    if not voted.any():
        return []
    gold = part.gold
    agree = np.array([all(set(names) == {g} for names in v) for v, g in zip(said, gold, strict=True)])
    masks = dict(zip(VALUES, (voted, voted & agree, voted & ~agree), strict=True))
    shares = np.stack([_share([n for names in v for n in names], len(part.classes)) for v in said])
    known = shares.sum(1) > 0
    lines = []
    for value, mask in masks.items():
        if not mask.any():
            continue
        lines.append({"who": HUMAN, "value": value} | _human([v for v, m in zip(said, mask, strict=True) if m], part))
        for name, seeds in part.predicted.items():
            right = [np.mean(p[mask] == gold[mask]) for p in seeds.values()]
            far = [divergence(p[mask & known], shares[mask & known]).mean() for p in part.probabilities[name].values()]
            line = {"who": name, "value": value, "n_utterances": int(mask.sum())} | columns("accuracy", summary(right))
            lines.append(line | {"divergence_mean": round(float(np.mean(far)), 4), "n_seeds": len(seeds)})
    return lines


def _human(said: list[list[list[int]]], part: Predictions) -> dict:
    """One rater against the others, over all raters whose others have one class in front."""
    right, far = [], []
    for votes in said:
        for at, mine in enumerate(votes):
            others = [n for names in votes[:at] + votes[at + 1 :] for n in names]
            (first, most), *rest = Counter(others).most_common(2)
            if first >= 0 and (not rest or rest[0][1] < most):
                right.append(first in mine)
                far.append(divergence(*(_share(names, len(part.classes)) for names in (mine, others))))
    line = {"n_utterances": len(said), "accuracy_mean": percent(np.mean(right)) if right else np.nan}
    return line | {"divergence_mean": round(float(np.mean(far)), 4) if far else np.nan}


def _share(names: list[int], classes: int) -> np.ndarray:
    """(C,) shares of the votes for a class of the label set; zeros where there are none."""
    counts = np.bincount([n for n in names if n >= 0], minlength=classes).astype(float)
    return counts / max(counts.sum(), 1)


def divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence of distributions (..., C), in bits; 1 from one that is all zeros."""
    middle = (p + q) / 2
    return (rel_entr(p, middle) + rel_entr(q, middle)).sum(-1) / (2 * np.log(2))
