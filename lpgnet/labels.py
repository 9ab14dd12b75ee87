"""Which label an utterance carries, and who is trained and tested on: protocols, manifests, splits.

A protocol is named and versioned; its manifest lists every utterance that carries one of its labels, and
the manifest's SHA-256 stands in each record, so that two label sets can't be mixed without a word.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lpgnet.machine.files import write_csv

if TYPE_CHECKING:  # else imported where used: the command line's help needs neither
    import pandas as pd

SIX_WAYS = ("erc-6", "majority-6")  # Reading R25: six classes are the first of these that a corpus carries
ERC6_EXTRA = frozenset((Path(__file__).parent / "corpora" / "erc6_extra_ids.txt").read_text().split())
MANIFEST = ["id", "dialogue", "order", "speaker", "session", "scripted", "part", "label"]


@dataclass(frozen=True)
class Protocol:
    """A named label set: raw code -> class, plus single utterances filed by id."""

    classes: tuple[str, ...]
    codes: dict[str, str]
    extra: dict[str, str] = field(default_factory=dict)  # id -> class, where the label is xxx


FOUR = {"hap": "happy", "exc": "happy", "sad": "sad", "neu": "neutral", "ang": "angry"}
SIX = FOUR | {"exc": "excited", "fru": "frustrated"}
SIX_CLASSES = ("happy", "sad", "neutral", "angry", "excited", "frustrated")
MELD = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
OWN = "own"  # an import's labels as they are

PROTOCOLS: dict[str, Protocol] = {
    "majority-4": Protocol(("happy", "sad", "neutral", "angry"), FOUR),
    "majority-6": Protocol(SIX_CLASSES, SIX),
    "erc-6": Protocol(SIX_CLASSES, SIX, dict.fromkeys(ERC6_EXTRA, "happy")),
    "meld-7": Protocol(MELD, {name: name for name in MELD}),
}
CARRIES = {  # corpus -> the protocols that its labels allow, the default first
    "simulated": ("majority-4", "majority-6"),
    "simulated-null": ("majority-4", "majority-6"),
    "iemocap": ("majority-4", "majority-6", "erc-6"),
    "meld": ("meld-7",),
}


def is_simulated(corpus: str) -> bool:
    """Whether a corpus is made here, or an import of one: its numbers say nothing about emotion."""
    return corpus.startswith("simulated")


def meant(asked: str | None, own: str, carried: Iterable[str]) -> str:
    """The protocol that a run asks for: its own name, "six" (Reading R25), or None for the place's own.

    erc-6 first, since the paper's 71.78 and 67.47 are whole counts of its 1,623 test utterances (1165 and
    1095) and of no count of `majority-6`'s 1,622.
    """
    if asked == "six":
        return next((name for name in SIX_WAYS if name in carried), SIX_WAYS[-1])
    return asked or own


def rule(table: pd.DataFrame, protocol: str) -> Protocol:
    """A protocol by name; `own` takes every label of the table as a class."""
    if protocol == OWN:
        found = sorted(set(table["label"]) - {""})
        return Protocol(tuple(found), {name: name for name in found})
    if protocol not in PROTOCOLS:
        raise ValueError(f"no label protocol {protocol!r}; there are {', '.join(PROTOCOLS)}, {OWN}")
    return PROTOCOLS[protocol]


def labelled(table: pd.DataFrame, protocol: str) -> pd.Series:
    """The class of each row of an utterance table, None where the protocol gives it none."""
    known = rule(table, protocol)
    by_code = table["label"].map(known.codes)
    by_id = table["id"].map(known.extra).where(table["label"] == "xxx")
    merged = by_code.where(by_code.notna(), by_id).astype(object)
    return merged.where(merged.notna(), None)


def manifest(table: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """The utterances that carry a label of `protocol`, columns `MANIFEST`, in the table's order."""
    classes = labelled(table, protocol)
    kept = table.assign(label=classes)[classes.notna()]
    return kept[MANIFEST].reset_index(drop=True)


def digest(frame: pd.DataFrame) -> str:
    """SHA-256 over a frame's CSV form (LF, no index)."""
    return hashlib.sha256(frame.to_csv(index=False, lineterminator="\n").encode()).hexdigest()


def write_manifests(table: pd.DataFrame, protocols: tuple[str, ...], folder: Path) -> dict[str, str]:
    """One CSV per protocol; returns protocol -> SHA-256 of its file."""
    digests = {}
    for name in protocols:
        frame = manifest(table, name)
        write_csv(folder / f"{name}.csv", frame)
        digests[name] = digest(frame)
    return digests


def group(frame: pd.DataFrame, split: str) -> pd.Series:
    """What a split deals out, as words: the parts that a corpus ships, or its sessions."""
    return frame["part"] if split == "official" else frame["session"].astype(str)


def counts(frame: pd.DataFrame, classes: tuple[str, ...], split: str) -> dict[str, dict[str, int]]:
    """group -> class -> number of utterances, from a manifest."""
    import pandas as pd

    table = pd.crosstab(group(frame, split), frame["label"]).reindex(columns=classes, fill_value=0)
    return {str(g): {c: int(n) for c, n in row.items()} for g, row in table.iterrows()}


@dataclass(frozen=True)
class Fold:
    """Dialogues to train on, to choose the epoch on, and to test on; no two share one."""

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def folds(frame: pd.DataFrame, split: str, validation: str = "tenth") -> list[Fold]:
    """The folds of a split, from a manifest.

    session5: the paper's one fold.  loso: every session is the test part once.  official: the corpus's own.
    Reading R13: validation is a tenth of the training dialogues, at least one per session, or the dialogues
    that the corpus itself ships for it.  It is drawn once, the same for every run.
    """
    dialogues = frame.drop_duplicates("dialogue").set_index("dialogue").sort_index()
    groups = group(dialogues, split)
    return [
        _fold(name, dialogues, groups, test, split, validation)
        for name, test in held_groups(split, groups.unique().tolist()).items()
    ]


def held_groups(split: str, groups: list[str]) -> dict[str, str]:
    """Name of each fold -> the group that it tests."""
    groups = sorted(groups)
    sessions = [g for g in groups if g not in ("", "0")]
    found = {
        "session5": {"session5": "5"},
        "loso": {f"session{s}": s for s in sessions},
        "official": {"official": "test"},
    }.get(split)
    if found is None:
        raise ValueError(f"no split {split!r}; there are session5, loso, official")
    if not found or not set(found.values()) <= set(groups) or len(groups) < 2:
        kind = "parts" if split == "official" else "sessions"
        have = ", ".join(repr(g) for g in groups)
        raise ValueError(f"split {split} tests {', '.join(found.values())}; the corpus has {kind} {have}")
    return found


def _fold(name: str, dialogues: pd.DataFrame, groups: pd.Series, test: str, split: str, validation: str) -> Fold:
    rest = dialogues["session"][groups != test]
    if split == "official":
        rest = rest[groups[groups != test] != ""]  # a dialogue that the corpus deals to no part
    shipped = set(rest.index[groups[rest.index] == "validation"])
    held = shipped if shipped and validation == "tenth" else _held(rest, validation)
    train = tuple(d for d in rest.index if d not in held)
    return Fold(name, train, tuple(sorted(held)), tuple(dialogues.index[groups == test]))


def _held(rest: pd.Series, validation: str) -> set[str]:
    """The validation dialogues.  tenth, tenth2, ...: of another draw each; session1, ...: a training session."""
    kind, number = re.fullmatch(r"([a-z]+)(\d?)", validation).groups()
    if kind == "none":
        return set()
    if kind == "tenth":
        return _tenth(rest, int(number or 1) - 1)
    return set(rest.index[rest == sorted(rest.unique())[int(number) - 1]])


def _tenth(rest: pd.Series, seed: int) -> set[str]:
    """One dialogue of each session, then more at random until a tenth (rounded) is held out."""
    import numpy as np

    rng = np.random.default_rng(seed)
    order = rest.iloc[rng.permutation(len(rest))]
    first = list(order[~order.duplicated()].index)
    others = [dialogue for dialogue in order.index if dialogue not in set(first)]
    want = max(len(first), round(len(rest) / 10))
    return set(first + others[: want - len(first)])
