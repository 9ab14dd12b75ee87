"""Something on disk -> the utterance table: one row per turn, the same columns for every corpus."""

import json
from pathlib import Path

import pandas as pd

from lpgnet.places import OUTPUT

SIMULATED = OUTPUT / "data" / "simulated"


def load(corpus: str, root: str | None, jobs: int) -> tuple[Path, pd.DataFrame, dict]:
    """The root of a corpus, its utterance table, and the best reachable score where it is known.

    The simulated corpus is made on first use; any other needs its root.  A table with a problem is refused.
    """
    from lpgnet.corpora import iemocap, simulated

    if corpus == "simulated" and root is None:
        simulated.generate(SIMULATED, jobs=jobs)
    elif root is None:
        raise ValueError(f"corpus {corpus!r} needs the folder of its release (ROOT, --root)")
    root = Path(root).expanduser() if root else SIMULATED
    made = root / "manifest.json"
    if root.is_dir() and made.exists() != (corpus == "simulated"):
        found = "simulated" if made.exists() else "not simulated (no manifest.json)"
        raise ValueError(f"{root} is {found}, the corpus asked for is {corpus!r}: their numbers don't mix")
    table, problems = iemocap.read(root)
    if problems:
        shown = "\n  ".join(problems[:20])
        command = "python -m lpgnet corpus check --root DIR"
        raise ValueError(f"{len(problems)} problems in {root}; `{command}` lists all:\n  {shown}")
    return root, table, json.loads(made.read_text())["oracle"] if made.exists() else {}
