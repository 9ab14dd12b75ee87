"""Feature and label files that somebody else made -> the utterance table, the features, and what they are.

The form of a file is recognised by what it holds; facts that it can't give are left empty, and what is
left out is named.  Nothing in a file is run (`unpickle`).
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lpgnet.beyond.exchange import formats, labelfiles, neutral, unpickle
from lpgnet.beyond.exchange.assemble import Draft, assemble
from lpgnet.beyond.exchange.codes import label_kind
from lpgnet.beyond.exchange.vectors import Source
from lpgnet.corpora.iemocap import TURN
from lpgnet.features.store import Modality
from lpgnet.labels import OWN, PROTOCOLS
from lpgnet.machine.files import plain_string, sha256, shown


@dataclass(frozen=True)
class Imported:
    """The utterance table (columns `COLUMNS`), its features ("text", "audio"), and what the file is.

    about: JSON types.  format, file, sha256, files (name -> SHA-256 of the others), corpus ("iemocap",
    "meld" or ""), protocols (those that the labels allow), labels (the default one), split (the default),
    classes (of the default protocol), ignored, notes (what a reader should know), made_ids, unsure,
    erc6_filed (how many of erc-6's extra utterances the file itself calls happy).
    """

    table: pd.DataFrame
    features: dict[str, Modality]
    about: dict


def read(path: Path, text: Path | None = None, audio: Path | None = None) -> Imported:
    """A file of the literature.  text, audio: features beside it, in place of its own.

    Those are a pickled dict of dialogues, as MultiEMO's, or a folder of <utterance id>.npy.
    """
    path = Path(path)
    for given in (path, text, audio):
        plain_string(str(given), "the name of a file")  # not UTF-8, say
    if not path.is_file():
        what = "is a folder; give the file with the labels" if path.is_dir() else "doesn't exist"
        raise ValueError(f"{path} {what}")
    beside = {"text": text, "audio": audio}
    beside = {modality: Path(given) for modality, given in beside.items() if given is not None}
    if _is_neutral(path):
        if beside:
            raise ValueError(f"{path} has its features with it; it takes no text or audio beside it")
        return _neutral(path)
    draft = _draft(path)
    for modality, given in beside.items():
        _add(draft, modality, given)
    table, features, labels = assemble(draft)
    about = {
        "format": draft.form,
        "file": path.name,
        "sha256": sha256(path),
        "files": {p.name: sha256(p) for p in beside.values() if p.is_file()},
        "ignored": draft.ignored,
        "notes": draft.notes,
    }
    return Imported(table, features, about | labels | _defaults(table, labels["protocols"]))


def _draft(path: Path) -> Draft:
    """The right reader, by the first bytes, and the name only where text files look alike."""
    with path.open("rb") as file:
        first = file.read(8)
    if path.suffix in (".emo", ".lengths") or first.startswith(b"\x93NUMPY"):
        return labelfiles.emotion2vec(path)
    if path.suffix == ".jsonl" or first.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        return labelfiles.emobox(path)
    if path.suffix == ".csv":
        return labelfiles.manifest(path)
    if first.startswith(b"PK\x03\x04") and path.suffix not in (".pt", ".pth"):
        names = unpickle.members(path)
        if names != ["whole_corpus"]:
            raise ValueError(
                f"{path} is a .npz with {', '.join(names[:8])}: known are MERBench's labels (whole_corpus) "
                "and our neutral form, which needs its .jsonl beside it"
            )
        return labelfiles.merbench(path)
    return formats.read(path)


def _add(draft: Draft, modality: str, given: Path) -> None:
    """Features from beside the file, in place of the file's own."""
    if not given.exists():
        raise ValueError(f"{modality} features {given} don't exist")
    values = labelfiles.folder(given, draft) if given.is_dir() else formats.features(given)
    if modality in draft.features:
        own = ", ".join(source.name for source in draft.features[modality][1])
        draft.ignored.append(f"{own} of {draft.path.name}, for {given.name}")
    draft.features[modality] = (given.stem, (Source(given.name, values),))


def _is_neutral(path: Path) -> bool:
    """A pair of ours: the .jsonl says so in its first line."""
    lines = path.with_suffix(".jsonl")
    if path.suffix not in (".npz", ".jsonl") or not lines.is_file():
        return False
    with lines.open("rb") as file:
        return f'"{neutral.FORMAT}"'.encode() in file.readline(2**20)


def _neutral(path: Path) -> Imported:
    table, features, header, cleaned = neutral.read(path)
    kept = header.get("about") if isinstance(header.get("about"), dict) else {}
    corpus, made = _corpus(table, kept), kept.get("made_ids") is True
    labels = {"corpus": corpus, "made_ids": made, "erc6_filed": kept.get("erc6_filed", 0)}
    if type(labels["erc6_filed"]) is not int:
        raise ValueError(f"{path}: about.erc6_filed is {shown(labels['erc6_filed'])}: want a number")
    labels |= label_kind(table, corpus, made)
    origin = [plain_string(kept.get(n) or "", f"{path}: about.{n}") for n in ("file", "format")]
    files = {p.name: sha256(p) for p in (path.with_suffix(".npz"), path.with_suffix(".jsonl"))}
    about = {
        "format": f"our neutral form ({neutral.FORMAT})",
        "file": path.name,
        "sha256": files.pop(path.name),
        "files": files,
        "ignored": [],
        "notes": cleaned + ([f"exported from {' ('.join(origin)})"] if all(origin) else []),
    }
    return Imported(table, features, about | labels | _defaults(table, labels["protocols"]))


def _corpus(table: pd.DataFrame, about: dict) -> str:
    """What the file that was exported said of itself, else what its ids say."""
    if about.get("corpus") in ("iemocap", "meld", "simulated", ""):
        return about["corpus"]
    return "iemocap" if table["id"].map(lambda name: bool(TURN.fullmatch(name))).all() else ""


def _defaults(table: pd.DataFrame, protocols: list[str]) -> dict:
    """The label protocol, its classes and the split that a run takes unless told otherwise."""
    own = sorted(set(table["label"]) - {""})
    classes = own if protocols[0] == OWN else list(PROTOCOLS[protocols[0]].classes)
    parts, sessions = set(table["part"]), set(table["session"])
    official = {"train", "test"} <= parts or 5 not in sessions or len(sessions) < 2
    return {"labels": protocols[0], "classes": classes, "split": "official" if official else "session5"}
