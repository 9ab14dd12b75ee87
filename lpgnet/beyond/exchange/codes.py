"""Which corpus the dialogues of a file are of, what its labels say, and which protocols they allow.

IEMOCAP and MELD are numbered in the literature in one way each; any other numbers or words stay as they
are, for the protocol `own`.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lpgnet.beyond.exchange.vectors import Key
from lpgnet.corpora.counts import CODES, SESSIONS, official
from lpgnet.labels import ERC6_EXTRA, FOUR, MELD, OWN, labelled

IEMOCAP = ("hap", "sad", "neu", "ang", "exc", "fru")
NUMBERED = {"iemocap": IEMOCAP, "meld": MELD}  # from 0, in every toolkit
WORDS = {
    "happy": "hap", "happiness": "hap", "sadness": "sad", "neutral": "neu", "angry": "ang", "anger": "ang",
    "excited": "exc", "excitement": "exc", "frustrated": "fru", "frustration": "fru",
} | {code: code for code in CODES}  # fmt: skip
SPELT = {"train": "train", "validation": "dev", "test": "test", "": "dialogue"}  # in ids of numbered dialogues


def plain_value(value: object) -> object:
    """A label, id or sentence as Python's own type: bytes as text, numpy scalars and 2.0 as numbers."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = value.item()
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return int(value) if isinstance(value, float) and value.is_integer() else value


def dialogue_names(keys: Sequence[Key], form: str, part: dict[Key, str], path: Path) -> tuple[str, dict]:
    """The corpus ("iemocap", "meld", "" for another) and the name of each dialogue.

    form: "meld" where the file's form is MELD's.  Numbers get the part before them: train_0, dev_3, test_7.
    """
    numbered = {key for key in keys if isinstance(key, int)}
    named = {key for key in keys if isinstance(key, str) and _of_iemocap(key)}
    for some, what in ((numbered, "a number"), (named, "an IEMOCAP name")):
        if some and len(some) < len(keys):
            odd = next(key for key in keys if key not in some)
            raise ValueError(f"{path}: dialogue {odd!r} isn't {what}, while {min(some)!r} is")
    if numbered:
        return form, {key: f"{SPELT[part[key]]}_{key}" for key in keys}
    return ("iemocap" if named else form), {key: str(key) for key in keys}


def _of_iemocap(name: str) -> bool:
    return name[:4] == "Ses0" and name[4:5] in set("12345") and name[5:7] in ("F_", "M_") and len(name) > 7


def label_codes(labels: dict, corpus: str, ids: dict[Key, list[str]], made: bool, path: Path) -> tuple:
    """The raw code of every utterance (dialogue -> list), whether the labels are the corpus's own, and how
    many utterances of erc-6's list the file calls happy.

    Those get their official code, xxx: then every protocol files them as it should.
    """
    given = {key: [plain_value(label) for label in values] for key, values in labels.items()}
    words = {label for values in given.values() for label in values if isinstance(label, str)} - {""}
    known = _known(words, corpus) if words else dict(enumerate(NUMBERED.get(corpus, ())))
    codes: dict[Key, list[str]] = {}
    for key, values in given.items():
        for name, label in zip(ids[key], values, strict=True):
            if label is None or (isinstance(label, str | int) and label in ("", -1)):
                code = ""
            elif not isinstance(label, str if words else int) or (known and label not in known):
                raise ValueError(f"{path}: utterance {name} (dialogue {key!r}) {_wrong(label, known)}")
            else:
                code = known[label] if known else str(label)
            codes.setdefault(key, []).append(code)
    if not any(map(any, codes.values())):
        raise ValueError(f"{path}: no utterance has a label: want a file with labels")
    filed = 0
    for key, names in ids.items() if corpus == "iemocap" and known and not made else ():
        for i, name in enumerate(names):
            if name in ERC6_EXTRA and codes[key][i] == "hap":
                codes[key][i], filed = "xxx", filed + 1
    return codes, bool(known) or not corpus, filed


def _known(words: set[str], corpus: str) -> dict:
    """The code of each word, where all are words of the corpus; else nothing, and they stay as they are."""
    meaning = WORDS if corpus == "iemocap" else {name: name for name in MELD}
    found = {word: meaning.get(word.strip().lower()) for word in words}
    return found if all(found.values()) else {}


def _wrong(label: object, known: dict) -> str:
    if isinstance(label, int) and known and not any(isinstance(k, str) for k in known):
        meant = ", ".join(f"{number} {code}" for number, code in known.items())
        return f"has the label {label}; this corpus has {meant}, and -1 for none"
    return f"has the label {str(label)[:40]!r} ({type(label).__name__}); want one kind, numbers or words"


def label_kind(table: pd.DataFrame, corpus: str, made: bool) -> dict:
    """protocols: what an utterance table's labels allow, the default first.  unsure: see below.

    corpus: "iemocap", "simulated" (the same codes, other utterances), "meld", or another.
    Without frustration a file has the four classes, and its happy may hold excited.  Without utterance ids
    the 53 of erc-6 can't be told from happy: unless the counts are official in every class and session,
    the file's own classes come first, and `unsure` is true.
    """
    codes = set(table["label"]) - {""}
    if corpus in ("meld", "") and codes <= set(MELD):
        return {"protocols": ["meld-7"], "unsure": False}
    if corpus not in ("iemocap", "simulated") or not codes & set(FOUR):
        return {"protocols": [OWN], "unsure": False}
    names = ["majority-4", "majority-6"] if "fru" in codes else ["majority-4"]
    if made:
        unsure = bool(differing(table, names[-1]))
        return {"protocols": [OWN, *names] if unsure else names, "unsure": unsure}
    listed = (table["id"].isin(ERC6_EXTRA) & (table["label"] == "xxx")).any()
    erc = ["erc-6"] if listed and "fru" in codes and corpus == "iemocap" else []
    return {"protocols": names + erc, "unsure": False}


def differing(table: pd.DataFrame, protocol: str, labels: pd.Series | None = None) -> dict[tuple, tuple]:
    """(session, class) -> (found, official) where a table's counts aren't the release's.

    labels: the class of each row, where it isn't what the protocol makes of the table.
    """
    labels = labelled(table, protocol) if labels is None else labels
    found = Counter(zip(table["session"].astype(str), labels, strict=True))
    want = {(session, name): n for session in SESSIONS for name, n in official(protocol, session).items()}
    return {cell: (found[cell], want[cell]) for cell in sorted(want) if found[cell] != want[cell]}
