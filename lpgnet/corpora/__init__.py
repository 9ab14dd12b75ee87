"""Something on disk -> the utterance table: one row per turn, the same columns for every corpus.

id          unique; an IEMOCAP turn id where there is one
dialogue    id of the conversation; order: 0, 1, ... within it, in order of speech
speaker     who speaks, "" where it isn't known; party: what a speaker embedding tells apart (IEMOCAP: F, M)
session     1 to 5 for IEMOCAP, 0 where a corpus has none; part: "train", "validation" or "test" where
            the corpus ships a split of its own, else ""
scripted    bool; text, wav: "" where missing (wav is relative to the corpus's root)
start, end  seconds, NaN where not known; line: place in the transcript, -1 where not in it
label       the corpus's own code ("hap", "xxx", "joy"), "" where there is none; votes: JSON
"""

import json
from pathlib import Path

import pandas as pd

from lpgnet.places import CORPORA, OUTPUT, about_import, features_of

COLUMNS = [
    "id", "dialogue", "order", "speaker", "party", "session", "scripted",
    "text", "wav", "start", "end", "label", "votes", "line", "part",
]  # fmt: skip
SIMULATED = OUTPUT / "data" / "simulated"


def load(corpus: str, root: str | None, jobs: int) -> tuple[Path, pd.DataFrame, dict]:
    """The root of a corpus, its utterance table, and the best reachable score where it is known.

    The simulated corpus is made on first use, an import is there already; any other needs its root.  A
    table with a problem is refused.
    """
    if corpus not in CORPORA:
        return _import(corpus, root)
    if corpus == "simulated" and root is None:
        from lpgnet.corpora.simulated.corpus import generate

        generate(SIMULATED, jobs=jobs)
    elif root is None:
        raise ValueError(f"corpus {corpus!r} needs the folder of its release (ROOT, --root)")
    root = Path(root).expanduser() if root else SIMULATED
    made = root / "manifest.json"
    if root.is_dir() and made.exists() != (corpus == "simulated"):
        found = "simulated" if made.exists() else "not simulated (no manifest.json)"
        raise ValueError(f"{root} is {found}, the corpus asked for is {corpus!r}: their numbers don't mix")
    table, problems = _read(corpus, root)
    if problems:
        shown = "\n  ".join(problems[:20])
        command = "python -m lpgnet corpus check --root DIR"
        raise ValueError(f"{len(problems)} problems in {root}; `{command}` lists all:\n  {shown}")
    return root, table, json.loads(made.read_text())["oracle"] if made.exists() else {}


def _read(corpus: str, root: Path) -> tuple[pd.DataFrame, list[str]]:
    if corpus == "meld":
        from lpgnet.corpora import meld

        table, problems, notes = meld.read(root)
        print("\n".join(notes))
        return table, problems
    from lpgnet.corpora import iemocap

    return iemocap.read(root)


def _import(corpus: str, root: str | None) -> tuple[Path, pd.DataFrame, dict]:
    from lpgnet.features.store import utterances

    about = about_import(corpus)
    if root is not None:
        raise ValueError(f"corpus {corpus!r} is an import of {about['file']}: it takes no root")
    folder = features_of(corpus)
    return folder, utterances(folder), {}
