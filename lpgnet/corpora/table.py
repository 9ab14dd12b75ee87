"""The utterance table: one row per turn, the same columns for every corpus.

id          unique; an IEMOCAP turn id where there is one
dialogue    id of the conversation; order: 0, 1, ... within it, in order of speech
speaker     who speaks, "" where it isn't known; party: what a speaker embedding tells apart (IEMOCAP: F, M)
session     1 to 5 for IEMOCAP, 0 where a corpus has none; part: "train", "validation" or "test" where
            the corpus ships a split of its own, else ""
scripted    bool; text, wav: "" where missing (wav is relative to the corpus's root)
start, end  seconds, NaN where not known; line: place in the transcript, -1 where not in it
label       the corpus's own code ("hap", "xxx", "joy"), "" where there is none; votes: JSON
"""

import re
from pathlib import Path

import pandas as pd

COLUMNS = [
    "id", "dialogue", "order", "speaker", "party", "session", "scripted",
    "text", "wav", "start", "end", "label", "votes", "line", "part",
]  # fmt: skip
PARTS = ("train", "validation", "test")
TIMES = {"start": str, "end": str}  # "" where they aren't known


def utterances(folder: Path) -> pd.DataFrame:
    """The utterance table that a feature store belongs to; a ValueError where its file isn't one."""
    words = ("id", "dialogue", "speaker", "party", "text", "wav", "label", "votes", "part")
    kinds = dict.fromkeys(words, str) | {"order": int, "session": int, "scripted": bool, "line": int}
    path = folder / "utterances.csv"
    try:
        table = pd.read_csv(path, keep_default_na=False, dtype=kinds | TIMES)
        lacking = [name for name in COLUMNS if name not in table]
        if lacking or len(table.columns) != len(COLUMNS):
            raise ValueError(f"its columns are {', '.join(table.columns)}, want {', '.join(COLUMNS)}")
        return table.assign(**{name: pd.to_numeric(table[name]) for name in TIMES})
    except ValueError as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{path} is no utterance table ({reason}); run notebook 01 again") from None


def plain(text: str) -> str:
    """Words alone, in lower case, with single spaces."""
    return re.sub(r"[\W_]+", " ", text.casefold()).strip()
