"""A corpus by its name and root -> its utterance table; and whatever lies at a root, read."""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from lpgnet.corpora import iemocap, meld
from lpgnet.corpora.simulated.plan import KNOBS
from lpgnet.corpora.sound import Heard, hear_all
from lpgnet.corpora.table import utterances
from lpgnet.labels import is_simulated
from lpgnet.machine.files import listed, parsed_json
from lpgnet.places import CORPORA, OUTPUT, about_import, features_of

CHECK = "python -m lpgnet corpus check --root DIR"
SHOWN, CLIPS = 20, 100  # sentences on problems, and on clips


@dataclass(frozen=True)
class Found:
    """What lies at a root: one sentence per problem (it must be mended), fault of a clip, and note."""

    corpus: str
    table: pd.DataFrame
    problems: list[str]
    clips: list[str]
    notes: list[str]


def load(corpus: str, root: str | None, jobs: int) -> tuple[Path, pd.DataFrame, dict]:
    """The root of a corpus, its utterance table, and the best reachable score where it is known.

    The simulated corpus is made on first use, an import is there already; any other needs its root.  A
    table with a problem is refused.
    """
    if corpus not in CORPORA:
        return _import(corpus, root)
    if corpus in KNOBS and root is None:
        from lpgnet.corpora.simulated.corpus import generate

        generate(made_here(corpus), KNOBS[corpus], jobs)
    elif root is None:
        raise ValueError(f"corpus {corpus!r} needs the folder of its release (ROOT, --root)")
    root = Path(root).expanduser() if root else made_here(corpus)
    refuse_other(corpus, root)
    found = read(root, corpus)
    if more := found.clips[CLIPS:]:
        found.notes.append(f"{len(more)} more clips are faulty or odd; `{CHECK}` names all")
    for line in found.clips[:CLIPS] + found.notes:
        print(line)
    refuse_problems(found, root)
    made = root / "manifest.json"
    return root, found.table, parsed_json(made.read_text(), made)["oracle"] if made.exists() else {}


def made_here(corpus: str) -> Path:
    """Where a simulated corpus is kept."""
    return OUTPUT / "data" / corpus


def refuse_other(corpus: str, root: Path) -> None:
    """A ValueError where another corpus lies at root than is asked for."""
    lies, asked = lying(root), "simulated" if is_simulated(corpus) else corpus
    if lies and lies != asked:
        raise ValueError(f"{root} is {lies}, the corpus asked for is {corpus!r}: their numbers don't mix")
    if is_simulated(corpus) and not lies:
        raise ValueError(f"{root} is not simulated (no manifest.json); `corpus simulate` makes one")


def refuse_problems(found: Found, root: Path) -> None:
    """A ValueError that names the first problems of a table that has some."""
    if found.problems:
        shown = "\n  ".join(found.problems[:SHOWN])
        raise ValueError(f"{len(found.problems)} problems in {root}; `{CHECK}` lists all:\n  {shown}")


def lying(root: Path) -> str:
    """Which corpus lies at a root; "" where there is no sign of one."""
    if (root / "manifest.json").exists():
        return "simulated"
    return "meld" if meld.here(root) else "iemocap" if iemocap.sessions(root) else ""


def scan(root: Path, corpus: str = "") -> Found:
    """What lies at a root (corpus: as one of these), without opening a clip."""
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}; give the folder of a release")
    if not (meld.here(root) or iemocap.sessions(root)):
        raise FileNotFoundError(
            f"{root} is no release: want Session1 to Session5 (IEMOCAP; here or in IEMOCAP_full_release) or "
            "train_sent_emo.csv (MELD; here or up to two folders down), it "
            f"holds {listed(sorted(p.name for p in root.iterdir()), 8) or 'nothing'}"
        )
    corpus = corpus or lying(root)
    table, problems, notes = (meld if corpus == "meld" else iemocap).read(root)
    return Found(corpus, table, problems, [], notes)


def read(root: Path, corpus: str = "") -> Found:
    """The same, with every clip heard."""
    return heard(scan(root, corpus), root)


def heard(found: Found, root: Path) -> Found:
    """The same, with every clip of the table read whole: what `wav` names then can be had.

    A clip that can't be read leaves "" there, and in IEMOCAP, whose release is whole, is a problem.
    """
    clips = listen(found.table, root)
    broken, odd = (
        [f"{wav} {words}" for wav, c in clips.items() if (words := getattr(c, kind))] for kind in ("fault", "odd")
    )
    notes = [(wav, clip.note) for wav, clip in clips.items() if clip.note]
    lost = found.table["wav"].isin([wav for wav, clip in clips.items() if clip.fault])
    table = found.table.assign(wav=found.table["wav"].mask(lost, ""))
    strict = found.corpus != "meld"
    return replace(
        found,
        table=table,
        problems=found.problems + broken * strict,
        clips=(broken + _missing(found.table)) * (not strict) + odd,
        notes=found.notes + _grouped(notes),
    )


def _missing(table: pd.DataFrame) -> list[str]:
    """One sentence for each part that has clips, but not all."""
    lost = {part: rows["id"][rows["wav"] == ""].tolist() for part, rows in table.groupby("part", sort=False)}
    total = table["part"].value_counts()
    return [
        f"{part}: {len(ids)} of {total[part]} clips are missing: {listed(ids)}"
        for part, ids in lost.items()
        if 0 < len(ids) < total[part]
    ]


def listen(table: pd.DataFrame, root: Path) -> dict[str, Heard]:
    """Every clip that a table names -> what it is like, beside the time of its turn."""
    rows = table[table["wav"] != ""]
    seconds = (rows["end"] - rows["start"]).tolist()
    return dict(zip(rows["wav"], hear_all([root / wav for wav in rows["wav"]], seconds), strict=True))


def _grouped(notes: list[tuple[str, str]]) -> list[str]:
    """One sentence for all clips of which the same is said."""
    said: dict[str, list[str]] = {}
    for wav, words in notes:
        said.setdefault(words, []).append(wav)
    return [
        f"{len(wavs)} clips: each {words} ({listed(wavs, 3)})" if len(wavs) > 1 else f"{wavs[0]} {words}"
        for words, wavs in said.items()
    ]


def _import(corpus: str, root: str | None) -> tuple[Path, pd.DataFrame, dict]:
    about = about_import(corpus)
    if root is not None:
        raise ValueError(f"corpus {corpus!r} is an import of {about['file']}: it takes no root")
    folder = features_of(corpus)
    return folder, utterances(folder), {}
