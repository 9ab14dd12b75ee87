"""Which label an utterance carries, and who is trained and tested on: protocols, manifests, splits.

A protocol is named and versioned; its manifest lists every utterance that carries one of its labels, and
the manifest's SHA-256 stands in each record, so that two label sets can't be mixed without a word.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from lpgnet.files import whole

ERC6_EXTRA = frozenset((Path(__file__).parent / "corpora" / "erc6_extra_ids.txt").read_text().split())
MANIFEST = ["id", "dialogue", "order", "speaker", "session", "scripted", "label"]
VALIDATION_SEED = 0  # Reading R13: drawn once, the same for every run


@dataclass(frozen=True)
class Protocol:
    """A named label set: raw code -> class, plus single utterances filed by id."""

    classes: tuple[str, ...]
    codes: dict[str, str]
    extra: dict[str, str] = field(default_factory=dict)  # id -> class, where the label is xxx


FOUR = {"hap": "happy", "exc": "happy", "sad": "sad", "neu": "neutral", "ang": "angry"}
SIX = FOUR | {"exc": "excited", "fru": "frustrated"}

PROTOCOLS: dict[str, Protocol] = {
    "majority-4": Protocol(("happy", "sad", "neutral", "angry"), FOUR),
    "majority-6": Protocol(("happy", "sad", "neutral", "angry", "excited", "frustrated"), SIX),
    "erc-6": Protocol(
        ("happy", "sad", "neutral", "angry", "excited", "frustrated"),
        SIX,
        dict.fromkeys(ERC6_EXTRA, "happy"),
    ),
}


def allowed(protocol: str, corpus: str) -> Protocol:
    """A protocol that a corpus may carry; one that files utterances by id is IEMOCAP's alone."""
    if protocol not in PROTOCOLS:
        raise ValueError(f"no label protocol {protocol!r}; there are {', '.join(PROTOCOLS)}")
    if PROTOCOLS[protocol].extra and corpus != "iemocap":
        raise ValueError(f"{protocol!r} lists utterances of IEMOCAP by id; the corpus is {corpus!r}")
    return PROTOCOLS[protocol]


def labelled(table: pd.DataFrame, protocol: str, corpus: str) -> pd.Series:
    """The class of each row of an utterance table, None where the protocol gives it none."""
    rule = allowed(protocol, corpus)
    by_code = table["label"].map(rule.codes)
    by_id = table["id"].map(rule.extra).where(table["label"] == "xxx")
    merged = by_code.where(by_code.notna(), by_id).astype(object)
    return merged.where(merged.notna(), None)


def manifest(table: pd.DataFrame, protocol: str, corpus: str) -> pd.DataFrame:
    """The utterances that carry a label of `protocol`, columns `MANIFEST`, in the table's order."""
    classes = labelled(table, protocol, corpus)
    kept = table.assign(label=classes)[classes.notna()]
    return kept[MANIFEST].reset_index(drop=True)


def digest(frame: pd.DataFrame) -> str:
    """SHA-256 over a frame's CSV form (LF, no index)."""
    return hashlib.sha256(frame.to_csv(index=False, lineterminator="\n").encode()).hexdigest()


def write_manifests(table: pd.DataFrame, corpus: str, folder: Path) -> dict[str, str]:
    """One CSV per protocol that the corpus can carry; returns protocol -> SHA-256 of its file."""
    allowed = [name for name, rule in PROTOCOLS.items() if corpus == "iemocap" or not rule.extra]
    digests = {}
    for name in allowed:
        frame = manifest(table, name, corpus)
        with whole(folder / f"{name}.csv") as part:
            frame.to_csv(part, index=False, lineterminator="\n")
        digests[name] = digest(frame)
    return digests


def counts(frame: pd.DataFrame, classes: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """session -> class -> number of utterances, from a manifest."""
    table = pd.crosstab(frame["session"], frame["label"]).reindex(columns=classes, fill_value=0)
    return {str(s): {c: int(n) for c, n in row.items()} for s, row in table.iterrows()}


@dataclass(frozen=True)
class Fold:
    """Dialogues to train on, to choose the epoch on, and to test on; no two share one."""

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def folds(frame: pd.DataFrame, split: str, validation: str = "tenth") -> list[Fold]:
    """The folds of a split, from a manifest (columns session, dialogue).

    session5: the paper's one fold.  loso: every session is the test part once.
    Reading R13: validation is a tenth of the training dialogues, at least one per session.
    """
    dialogues = frame.drop_duplicates("dialogue").set_index("dialogue")["session"].sort_index()
    tested = test_sessions(split, sorted(dialogues.unique().tolist()))
    return [_fold(dialogues, session, validation) for session in tested]


def test_sessions(split: str, sessions: list[int]) -> list[int]:
    """The sessions that are tested, one fold each."""
    tested = {"session5": [5], "loso": sessions}.get(split)
    if tested is None:
        raise ValueError(f"no split {split!r}; there are session5, loso")
    if not set(tested) <= set(sessions) or len(sessions) < 2:
        raise ValueError(f"split {split} tests session {tested}; the corpus has sessions {sessions}")
    return tested


def _fold(dialogues: pd.Series, test: int, validation: str) -> Fold:
    rest = dialogues[dialogues != test]
    held = {"tenth": _tenth, "session4": _session4, "none": lambda rest: set()}[validation](rest)
    train = tuple(d for d in rest.index if d not in held)
    return Fold(f"session{test}", train, tuple(sorted(held)), tuple(dialogues.index[dialogues == test]))


def _tenth(rest: pd.Series) -> set[str]:
    """One dialogue of each session, then more at random until a tenth (rounded) is held out."""
    rng = np.random.default_rng(VALIDATION_SEED)
    order = rest.iloc[rng.permutation(len(rest))]
    first = list(order[~order.duplicated()].index)
    others = [dialogue for dialogue in order.index if dialogue not in set(first)]
    want = max(len(first), round(len(rest) / 10))
    return set(first + others[: want - len(first)])


def _session4(rest: pd.Series) -> set[str]:
    """The alternative of R13: the last training session (Session 4 when 5 is tested)."""
    return set(rest.index[rest == rest.max()])
