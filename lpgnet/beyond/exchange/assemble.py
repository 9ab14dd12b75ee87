"""From what a file of the literature holds to the utterance table and its features, checked on the way.

A draft is a file as its form lays it out: per dialogue parallel lists, in the file's order.  Every check
ends in one ValueError that names the file, the dialogue and the utterance.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from lpgnet.beyond.exchange.codes import dialogue_names, label_codes, label_kind, plain_value
from lpgnet.beyond.exchange.vectors import Key, Source, modality, numbers
from lpgnet.corpora.iemocap import TURN
from lpgnet.corpora.table import COLUMNS, PARTS
from lpgnet.features.store import Modality
from lpgnet.machine.files import below, listed, plain_name, plain_string, plain_text, shown

MADE = re.compile(r"_\d{3,}")
WORDS = ("id", "dialogue", "speaker", "party", "wav", "label", "votes", "part")
TYPES = dict.fromkeys(("order", "session", "line"), "int64") | dict.fromkeys(("start", "end"), "float64")


@dataclass
class Draft:
    """The fields of a file, keyed by dialogue.

    corpus: "meld" where the form is MELD's.  prefix: what may stand before the id in a feature file's name.
    features: per modality the encoder's name and its sources; several are averaged.
    """

    form: str
    path: Path
    labels: dict[Key, Sequence]
    corpus: str = ""
    ids: dict[Key, Sequence] | None = None
    speakers: dict[Key, Sequence] | None = None
    sentences: dict[Key, Sequence] | None = None
    features: dict[str, tuple[str, tuple[Source, ...]]] = field(default_factory=dict)
    parts: dict[str, Sequence] = field(default_factory=dict)
    sessions: dict[Key, int] = field(default_factory=dict)
    orders: dict[Key, Sequence] | None = None
    ignored: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    prefix: str = ""


def assemble(draft: Draft) -> tuple[pd.DataFrame, dict[str, Modality], dict]:
    """The table by session, part, dialogue, order; the features in its row order; what the labels are."""
    _check_parallel(draft)
    part = _parts(draft)
    corpus, names = dialogue_names(list(draft.labels), draft.corpus, part, draft.path)
    ids, made = _ids(draft, corpus, names)
    codes, own, filed = label_codes(draft.labels, corpus, ids, made, draft.path)
    session = {k: int(names[k][4]) if corpus == "iemocap" else draft.sessions.get(k, 0) for k in names}
    speakers = _speakers(draft, corpus, ids, made, session)
    ids = {k: ids[k] for k in sorted(names, key=lambda k: _place(k, session[k], part[k], corpus))}
    rows = []
    for k, turns in ids.items():
        orders = draft.orders[k] if draft.orders else range(len(turns))
        said = draft.sentences[k] if draft.sentences else [""] * len(turns)
        for name, order, who, text, code in zip(turns, orders, speakers[k], said, codes[k], strict=True):
            rows.append((
                name, names[k], order, *who, session[k], "script" in names[k],
                _sentence(text, name, draft.path), "", math.nan, math.nan, code, "{}", order, part[k],
            ))  # fmt: skip
    table, cleaned = framed(rows, draft.path)
    draft.notes += cleaned
    features = {m: modality(encoder, sources, ids, draft.path) for m, (encoder, sources) in draft.features.items()}
    _note_blocks(draft, table)
    about = {"corpus": corpus, "made_ids": made, "erc6_filed": filed}
    return table, features, about | label_kind(table, corpus if own else "other", made)


def framed(rows: Sequence, path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Rows of an utterance table with the columns' types, whatever pandas would make of them, and notes.

    Each string is one that utterances.csv gives back as it is: a text is made so, of a name it is wanted.
    """
    turns = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    odd = []
    for turn in turns:
        of = f"of utterance {shown(repr(turn['id']))}"
        for name in WORDS:
            (plain_name if name == "dialogue" else plain_string)(turn[name], f"{path}: {name} {of}")
        if turn["wav"]:
            below(path.parent, turn["wav"], f"{path}: wav {of}")
        said, turn["text"] = turn["text"], plain_text(turn["text"])
        odd += [turn["id"]] if said != turn["text"] else []
    note = "texts had control characters, which are spaces (or Windows-1252's quotes) now"
    table = pd.DataFrame(turns, columns=COLUMNS).astype(TYPES | {"scripted": "bool"})
    return table, [f"{len(odd)} {note}: {listed(odd, 5)}"] if odd else []


def _place(key: Key, session: int, part: str, corpus: str) -> tuple:
    """Where a dialogue stands: IEMOCAP's by session and name, others by part (none: last) and number."""
    rank = 0 if corpus == "iemocap" else (*PARTS, "").index(part)
    return session, rank, key


def _check_parallel(draft: Draft) -> None:
    """Every field has every dialogue, and as many entries for it as there are labels."""
    if not draft.labels:
        raise ValueError(f"{draft.path} holds no dialogue: want at least one utterance with a label")
    for key, labels in draft.labels.items():
        if not len(labels):
            raise ValueError(f"{draft.path}: dialogue {key!r} has no utterance; take it out of the file")
    fields = {"utterance ids": draft.ids, "speakers": draft.speakers, "sentences": draft.sentences}
    fields |= {source.name: source.values for _, sources in draft.features.values() for source in sources}
    for name, values in fields.items():
        if values is None:
            continue
        for key, labels in draft.labels.items():
            have = len(values[key]) if key in values else "no"
            if have != len(labels):
                raise ValueError(f"{draft.path}: dialogue {key!r} has {len(labels)} labels, {have} {name}")
        if extra := sorted(str(key) for key in values if key not in draft.labels):
            draft.notes.append(f"{name} of dialogues that have no labels are left out: {listed(extra)}")


def _parts(draft: Draft) -> dict[Key, str]:
    """Dialogue -> train, validation, test, or "" where no list has it (named in a note)."""
    found: dict[Key, str] = {}
    for part in PARTS:
        given = {plain_value(key) for key in draft.parts.get(part, ())}
        if unknown := sorted(repr(key) for key in given if key not in draft.labels):
            raise ValueError(f"{draft.path}: the {part} list has unknown dialogues: {listed(unknown)}")
        for key in sorted(given, key=str):
            if key in found:
                raise ValueError(f"{draft.path}: dialogue {key!r} is in the {found[key]} and the {part} list")
            found[key] = part
    left = sorted(str(key) for key in draft.labels if key not in found)
    if left and found:
        draft.notes.append(f"{len(left)} dialogues are in no part of the file's split: {listed(left)}")
    return {key: found.get(key, "") for key in draft.labels}


def _ids(draft: Draft, corpus: str, names: dict[Key, str]) -> tuple[dict[Key, list[str]], bool]:
    """Utterance ids per dialogue, and whether they are made, here or before: <dialogue>_<number>.

    A made id has no speaker's letter, so that it can't pass for one of IEMOCAP's turns.
    """
    given = {k: [str(plain_value(i)) for i in draft.ids[k]] for k in names} if draft.ids else {}
    everywhere = [(k, name) for k, turns in given.items() for name in turns]
    made = all(MADE.fullmatch(name.removeprefix(names[k])) for k, name in everywhere)
    for k, name in everywhere if corpus == "iemocap" and not made else ():
        if not (TURN.fullmatch(name) and name.rpartition("_")[0] == k):
            raise ValueError(f"{draft.path}: dialogue {k!r} has the utterance id {name[:40]!r}; want one like {k}_F000")
    if twice := next((at for at, n in Counter(everywhere).items() if n > 1), None):
        raise ValueError(f"{draft.path}: dialogue {twice[0]!r} has the utterance {twice[1]!r} twice")
    if given and len({name for _, name in everywhere}) == len(everywhere):
        return given, made
    return {k: [f"{name}_{i:03d}" for i in range(len(draft.labels[k]))] for k, name in names.items()}, True


def _speakers(draft: Draft, corpus: str, ids: dict, made: bool, session: dict) -> dict[Key, list]:
    """(speaker, party) per utterance.  IEMOCAP's ids say who speaks, whatever the file's list says."""
    given = {k: [plain_value(s) for s in draft.speakers[k]] for k in ids} if draft.speakers else {}
    words = any(isinstance(s, str) for values in given.values() for s in values)
    if corpus != "iemocap":
        parties = {k: [_party(s, k, draft.path) for s in values] for k, values in given.items()}
        return {k: [(p if words else "", p) for p in parties.get(k, [""] * len(ids[k]))] for k in ids}
    said = {k: [_letter(s, k, draft.path) for s in values] for k, values in given.items()} if words else {}
    taken = said if made else {k: [name.rpartition("_")[2][0] for name in ids[k]] for k in ids}
    differ = sum(a != b for k in said for a, b in zip(said[k], taken[k], strict=True))
    if differ:
        total = sum(map(len, ids.values()))
        draft.notes.append(
            f"the file's speakers disagree with the utterance ids in {differ} of {total} utterances; the "
            "ids are taken (the letter after the last underscore says who speaks)"
        )
    return {k: [(f"Ses0{session[k]}{s}" if s else "", s) for s in taken.get(k, [""] * len(ids[k]))] for k in ids}


def _letter(speaker: object, key: Key, path: Path) -> str:
    """F or M, of M, male, or a speaker like Ses01M."""
    word = str(speaker)
    letter = word[5:6] if word.startswith("Ses0") else word[:1].upper()
    if letter not in ("F", "M"):
        raise ValueError(f"{path}: dialogue {key!r} has the speaker {word[:40]!r}; want F or M")
    return letter


def _party(speaker: object, key: Key, path: Path) -> str:
    """A speaker's name, or the place of the one in a one-hot vector; "" where all are zero."""
    if speaker is None or isinstance(speaker, str | int):
        return "" if speaker is None else str(speaker)
    hot = numbers(speaker)
    if hot is None or hot.ndim != 1 or not set(hot.tolist()) <= {0, 1} or hot.sum() > 1:
        raise ValueError(f"{path}: dialogue {key!r} has a speaker that is neither a name nor a one-hot vector")
    return str(int(hot.argmax())) if hot.any() else ""


def _sentence(said: object, name: str, path: Path) -> str:
    said = plain_value(said)
    if said is not None and not isinstance(said, str):
        raise ValueError(f"{path}: the sentence of utterance {name} is a {type(said).__name__}; want text")
    return said or ""


def _note_blocks(draft: Draft, table: pd.DataFrame) -> None:
    """Files made from EmoEvaluation have all turns of F, then all of M: not the order of speech."""
    pairs = table[table["party"].isin(["F", "M"])].groupby("dialogue")["party"]
    both = pairs.nunique() == 2
    blocks = int((pairs.agg(lambda party: (party != party.shift()).sum())[both] == 2).sum())
    if blocks > both.sum() / 2:
        draft.notes.append(
            f"in {blocks} of {both.sum()} dialogues one speaker's turns all stand before the other's: that "
            "isn't the order of speech, which matters to models that know positions"
        )
