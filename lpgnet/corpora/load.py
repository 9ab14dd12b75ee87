"""A corpus by its name and root -> its utterance table."""

from pathlib import Path

import pandas as pd

from lpgnet.corpora.table import utterances
from lpgnet.machine.files import parsed_json
from lpgnet.places import CORPORA, OUTPUT, about_import, features_of

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
    return root, table, parsed_json(made.read_text(), made)["oracle"] if made.exists() else {}


def _read(corpus: str, root: Path) -> tuple[pd.DataFrame, list[str]]:
    if corpus == "meld":
        from lpgnet.corpora import meld

        table, problems, notes = meld.read(root)
        print("\n".join(notes))
        return table, problems
    from lpgnet.corpora import iemocap

    return iemocap.read(root)


def _import(corpus: str, root: str | None) -> tuple[Path, pd.DataFrame, dict]:
    about = about_import(corpus)
    if root is not None:
        raise ValueError(f"corpus {corpus!r} is an import of {about['file']}: it takes no root")
    folder = features_of(corpus)
    return folder, utterances(folder), {}
