"""Something on disk -> the utterance table: an IEMOCAP release, or a simulated tree of the same form."""

import json
from pathlib import Path

import pandas as pd

from lpgnet.config import OUTPUT

SIMULATED = OUTPUT / "data" / "simulated"


def load(corpus: str, root: str | None, jobs: int | None) -> tuple[Path, pd.DataFrame, dict]:
    """The root of a corpus, its utterance table, and the best reachable score where it is known.

    The simulated corpus is made on first use; any other needs its root.  A table with a problem is refused.
    """
    from lpgnet.corpora import iemocap, simulated

    if corpus == "simulated" and root is None:
        root = SIMULATED
        simulated.generate(root, jobs=jobs or 2)
    if root is None:
        raise ValueError(f"corpus {corpus!r} needs ROOT (--root), the folder of its release")
    root = iemocap.find(Path(root).expanduser())
    table, problems = iemocap.read(root)
    if problems:
        shown = "\n  ".join(problems[:20])
        raise ValueError(
            f"{len(problems)} problems in {root}; `python -m lpgnet corpus check --root …` lists all:\n  {shown}"
        )
    manifest = root / "manifest.json"
    oracle = json.loads(manifest.read_text())["oracle"] if manifest.exists() else {}
    return root, table, oracle
