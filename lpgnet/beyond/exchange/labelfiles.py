"""Files with one entry per utterance: labels of MERBench, emotion2vec and EmoBox, and our own manifests.

Dialogues are read off the utterance ids, which must be IEMOCAP's, but for a manifest, which names them.
The order within a dialogue is the file's.
"""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd

from lpgnet.beyond.exchange import unpickle
from lpgnet.beyond.exchange.assemble import Draft
from lpgnet.beyond.exchange.vectors import Source
from lpgnet.corpora.iemocap import TURN
from lpgnet.corpora.meld import SPLITS
from lpgnet.corpora.table import PARTS
from lpgnet.machine.files import listed, parsed_json, shown

MANIFEST = ("id", "dialogue", "order", "speaker", "session", "scripted", "label")
NUMBER = re.compile(r"[0-9]{1,9}")
MELD_KEY = re.compile(r"dia(\d{1,9})_utt(\d{1,9})-(train|dev|val|test)")
EMOBOX = "EmoBox (jsonl)"
READ = (
    "read are labels as EmoBox (jsonl: key, emo), MERBench (npz), emotion2vec (npy, lengths, emo) and our "
    f"manifests (csv: {', '.join(MANIFEST)}) have them, our export (npz and jsonl), and pickles of "
    "SDT, MMGCN, DialogueRNN, COSMIC"
)
E2V = "emotion2vec (train.npy, train.lengths, train.emo)"


def merbench(path: Path) -> Draft:
    """label_4way.npz, label_6way.npz: whole_corpus, utterance id -> {"emo": number}."""
    held = unpickle.array(path, "whole_corpus")
    held = held.item() if held.size == 1 and held.dtype.hasobject else None
    if not isinstance(held, dict) or not all(isinstance(v, dict) and "emo" in v for v in held.values()):
        raise ValueError(f"{path}: whole_corpus is no dict of utterance id -> {{'emo': number, ...}}")
    return _of_iemocap("MERBench labels", path, [str(k) for k in held], [v["emo"] for v in held.values()])


def emotion2vec(path: Path) -> Draft:
    """Frames of all utterances on end, their lengths, and lines of utterance id and label."""
    trio = {end: path.with_suffix(end) for end in (".npy", ".lengths", ".emo")}
    if absent := [p.name for p in trio.values() if not p.is_file()]:
        raise ValueError(f"{path}: {E2V} belong together in one folder; {', '.join(absent)} isn't there")
    stacked = unpickle.array(trio[".npy"], mapped=True)
    labelled = [line.split() for line in _text(trio[".emo"]).splitlines() if line.strip()]
    if bad := next((line for line in labelled if len(line) < 2), None):
        raise ValueError(f"{trio['.emo']}: the line {' '.join(bad)!r}; want utterance id and label")
    try:
        lengths = np.array([int(line) for line in _text(trio[".lengths"]).split()], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{trio['.lengths']}: want one number of frames per line ({error})") from None
    if stacked.ndim != 2 or len(lengths) != len(labelled) or min(lengths, default=0) < 1:
        raise ValueError(
            f"{path}: {len(labelled)} labels, {len(lengths)} lengths (each at least 1), frames of shape "
            f"{stacked.shape}; want as many labels as lengths, and (frames, F)"
        )
    if lengths.max() > len(stacked) or lengths.sum() != len(stacked):
        raise ValueError(f"{path}: the lengths sum to {lengths.sum()}, {trio['.npy'].name} has {len(stacked)}")
    ids = [line[0] for line in labelled]
    draft = _of_iemocap(E2V, path, ids, [line[1] for line in labelled])
    pieces = dict(zip(ids, np.split(stacked, lengths.cumsum()[:-1]), strict=True))
    frames = {key: [pieces[name] for name in names] for key, names in draft.ids.items()}
    draft.features["audio"] = ("emotion2vec frames", (Source(trio[".npy"].name, frames),))
    return draft


def emobox(path: Path) -> Draft:
    """Lines of JSON with key <dataset>-<utterance id> and emo; MELD's are dia0_utt3-train."""
    ids, emotions, prefix, text = [], [], "", _text(path)
    _refuse_other_json(path, text)
    for number, line in enumerate(text.splitlines(), 1):
        held = parsed_json(line, f"{path} line {number}") if line.strip() else {}
        if held and not (isinstance(held, dict) and {"key", "emo"} <= set(held)):
            raise ValueError(f"{path} line {number} has no key and emo: want lines as EmoBox writes them")
        if held:
            prefix = f"{held.get('dataset', '')}-"
            ids.append(str(held["key"]).removeprefix(prefix))
            emotions.append(held["emo"])
    of_meld = [MELD_KEY.fullmatch(name) for name in ids]
    draft = _of_meld(path, of_meld, emotions) if all(of_meld) else _of_iemocap(EMOBOX, path, ids, emotions)
    draft.prefix = prefix
    return draft


def _of_meld(path: Path, keys: list[re.Match], emotions: list) -> Draft:
    """Ids as `corpora.meld` has them, the utterances of a dialogue by number."""
    rows = []
    for key, emotion in zip(keys, emotions, strict=True):
        split = "dev" if key[3] == "val" else key[3]
        dialogue = f"{split}_dia{key[1]}"
        rows.append((f"{dialogue}_utt{key[2]}", dialogue, SPLITS[split], emotion, int(key[2]), key[0]))
    frame = pd.DataFrame(rows, columns=["id", "dialogue", "part", "label", "number", "key"], dtype=object)
    if (twice := frame.duplicated(["dialogue", "number"])).any():
        raise ValueError(f"{path}: the key {frame['key'][twice].iloc[0]} is there twice")
    return _draft(EMOBOX, path, frame.sort_values("number"), "meld")


def _refuse_other_json(path: Path, text: str) -> None:
    """A ValueError that says what a JSON file is, where it is none of lines and of no form that is read."""
    try:
        held = json.loads(text)
    except (ValueError, RecursionError):  # several lines, or broken ones
        return
    if isinstance(held, dict) and {"key", "emo"} <= set(held):
        return
    one = next(iter(held.values() if isinstance(held, dict) else held), None) if isinstance(held, dict | list) else held
    of = f", each with {shown(', '.join(one))}" if isinstance(one, dict) else f" of {type(one).__name__}s"
    size = f" with {len(held)} entries{of}" if isinstance(held, dict | list) else ""
    raise ValueError(f"{path} is JSON in another form ({type(held).__name__}{size}); {READ}")


def manifest(path: Path) -> Draft:
    """Our CSV of the utterances that carry a label of a protocol."""
    lines = csv.DictReader(_text(path).splitlines())
    try:
        if lacking := [name for name in MANIFEST if name not in (lines.fieldnames or ())]:
            have = shown(", ".join(map(str, lines.fieldnames or ()))) or "nothing"
            raise ValueError(f"{path} is no manifest: it lacks {', '.join(lacking)}; its columns are {have}; {READ}")
        rows = list(lines)
    except csv.Error as error:
        raise ValueError(f"{path} is no manifest: {error}") from None
    for number, row in enumerate(rows, 2):
        numeric = all(NUMBER.fullmatch(row[name] or "") for name in ("order", "session"))
        if None in row.values() or not numeric or row.get("part", "") not in (*PARTS, ""):
            raise ValueError(
                f"{path} line {number}: want order and session as numbers, part as one of {', '.join(PARTS)}"
            )
    frame = pd.DataFrame(rows).reindex(columns=[*MANIFEST, "part"], fill_value="")
    frame = frame.astype({"order": int, "session": int}).sort_values("order", kind="stable")
    several = frame.groupby("dialogue", sort=False)[["session", "part"]].nunique().gt(1).any(axis=1)
    if several.any():
        raise ValueError(f"{path}: dialogue {several.idxmax()!r} is in two sessions or parts")
    return _draft("manifest (CSV)", path, frame if frame["speaker"].any() else frame.drop(columns="speaker"))


def _of_iemocap(form: str, path: Path, ids: list[str], emotions: list) -> Draft:
    if odd := next((name for name in ids if not TURN.fullmatch(name)), None):
        raise ValueError(f"{path}: {odd[:60]!r} is no IEMOCAP utterance id, so its dialogue isn't known")
    rows = [(name, name.rpartition("_")[0], emotion) for name, emotion in zip(ids, emotions, strict=True)]
    return _draft(form, path, pd.DataFrame(rows, columns=["id", "dialogue", "label"], dtype=object))


def _draft(form: str, path: Path, rows: pd.DataFrame, corpus: str = "") -> Draft:
    """Of one row per utterance: id, dialogue, label, and what there is of speaker, order, part, session."""
    held = {name: rows.groupby("dialogue", sort=False)[name].agg(list).to_dict() for name in rows}
    first = {name: {key: values[0] for key, values in held.get(name, {}).items()} for name in ("part", "session")}
    return Draft(
        form, path, held["label"], corpus, held["id"], held.get("speaker"), orders=held.get("order"),
        parts={part: [key for key, own in first["part"].items() if own == part] for part in PARTS},
        sessions=first["session"],
    )  # fmt: skip


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} isn't UTF-8 text") from None


def folder(path: Path, draft: Draft) -> dict:
    """A folder of <utterance id>.npy -> dialogue -> its arrays, (F,) or (T, F); other files are noted."""
    if draft.ids is None:
        raise ValueError(f"{path}: a folder of features needs utterance ids, which {draft.path} doesn't have")
    there = {file.stem: file for file in path.iterdir() if file.suffix == ".npy" and file.name[0] != "."}
    wanted = {str(name): key for key, names in draft.ids.items() for name in names}
    named = {name: name if name in there else f"{draft.prefix}{name}" for name in wanted}
    lacking = sorted(name for name in wanted if named[name] not in there)
    if lacking:
        raise ValueError(
            f"{path} lacks {len(lacking)} of {len(wanted)} utterances of {draft.path.name}: want "
            f"<utterance id>.npy for {listed(lacking, 5)}"
        )
    if over := len(there) - len(wanted):
        draft.notes.append(f"{path.name} has {over} files of utterances that {draft.path.name} lacks")
    return {k: [unpickle.array(there[named[str(n)]]) for n in names] for k, names in draft.ids.items()}
