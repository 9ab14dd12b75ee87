"""The pickles of the ERC literature: which is which, and what stands where in each.

The forms are told apart by how many fields they have and by what kind each field is, never by name.
Spelt with the names of the loaders that read them; several have no public description but the code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lpgnet.beyond.exchange import unpickle
from lpgnet.beyond.exchange.assemble import Draft
from lpgnet.beyond.exchange.codes import plain_value
from lpgnet.beyond.exchange.vectors import Source, nested, numbers
from lpgnet.corpora.table import PARTS

TEXT, NUMBERS, VECTORS = "a dict of lists of text", "a dict of lists of numbers", "a dict of lists of vectors"
IDS, NOTHING = "a list of ids", "nothing"
KINDS = {  # field -> what it may be, or nothing; item<n> may be anything, other<n> anything but ids
    "ids": (TEXT, NUMBERS), "speakers": (TEXT, NUMBERS, VECTORS), "labels": (TEXT, NUMBERS),
    "sentiments": (TEXT, NUMBERS), "sentences": (TEXT,), "text": (VECTORS,), "audio": (VECTORS,),
    "visual": (VECTORS,), "roberta1": (VECTORS,), "roberta2": (VECTORS,), "roberta3": (VECTORS,),
    "roberta4": (VECTORS,), "train": (IDS,), "validation": (IDS,), "test": (IDS,),
}  # fmt: skip
LETTERS = "itemother"
FOUR_LAYERS = ("roberta1", "roberta2", "roberta3", "roberta4")


@dataclass(frozen=True)
class Form:
    """A way to lay out a pickle: a tuple or list of these fields in this order, parted by spaces.

    strict: the train and test lists must be there, since another form differs by them alone.
    """

    name: str
    layout: str
    corpus: str = ""
    strict: bool = False

    @property
    def fields(self) -> list[str]:
        return self.layout.split()

    def fits(self, kinds: Sequence[str]) -> bool:
        return len(kinds) == len(self.fields) and all(map(self._takes, self.fields, kinds))

    def _takes(self, name: str, kind: str) -> bool:
        if name not in KINDS:
            return name.startswith("item") or kind != IDS
        return kind in KINDS[name] or (kind == NOTHING and not (self.strict and name in ("train", "test")))


NINE = "ids speakers labels text audio visual sentences train test"
SDT = "ids speakers labels text roberta2 roberta3 roberta4 audio visual sentences train test"
SAID = "sentences train test validation"  # in this order
COSMIC = f"roberta1 roberta2 roberta3 roberta4 {SAID}"
FORMS = (
    Form("SDT IEMOCAP (12 fields)", SDT),
    Form("SDT MELD (13 fields)", f"{SDT} item13", "meld"),
    Form("MMGCN / DialogueRNN / DialogueGCN IEMOCAP (9 fields)", NINE),
    Form("MMGCN MELD (10 fields)", f"{NINE} item10", "meld"),
    Form("DialogueRNN MELD (9 fields, no visual)", NINE.replace("visual ", "") + " sentiments", "meld"),
    Form("COSMIC IEMOCAP (10 fields)", f"speakers labels {COSMIC}"),
    Form("COSMIC MELD (11 fields)", f"speakers labels sentiments {COSMIC}", "meld"),
    Form("COSMIC IEMOCAP, text only (6 fields)", f"speakers labels {SAID}", strict=True),
    Form("COSMIC MELD, text only (7 fields)", f"speakers labels sentiments {SAID}", "meld", strict=True),
    Form("MERBench input (6 fields)", "ids labels other3 other4 train test"),
)


def read(path: Path) -> Draft:
    """A pickle of one of the `FORMS`; anything else is an error that says what was found."""
    value = unpickle.load(path)
    fields = value if isinstance(value, tuple | list) else ()
    kinds = [kind(field) for field in fields]
    fitting = [form for form in FORMS if form.fits(kinds)]
    if len(fitting) != 1:
        shape = f"a {type(value).__name__} of {len(fields)}: {'; '.join(kinds[:20])}" if fields else kind(value)
        known = "; ".join(form.name for form in FORMS)
        fits = f"fits {' and '.join(form.name for form in fitting)}" if fitting else "is no known form"
        raise ValueError(
            f"{path} {fits}: it is {shape}. Known: {known}. Features alone (a dict of dialogues) are given "
            "as text or audio beside the file with the labels"
        )
    return _draft(fitting[0], fields, path)


def _draft(form: Form, fields: Sequence, path: Path) -> Draft:
    held = {
        name: by_dialogue(value, path, name) if isinstance(value, dict) else value
        for name, value in zip(form.fields, fields, strict=True)
        if name in KINDS
    }
    there = {name: value for name, value in held.items() if value is not None and len(value)}
    draft = Draft(form.name, path, there.get("labels", {}), form.corpus)
    draft.ids, draft.speakers = there.get("ids"), there.get("speakers")
    draft.sentences = there.get("sentences")
    draft.parts = {part: there[part] for part in PARTS if part in there}
    short = form.name.split(" (")[0]
    for modality in ("text", "audio"):
        if modality in there:
            draft.features[modality] = (f"{short}: {modality}", (Source(modality, there[modality]),))
    if "roberta1" in there:
        layers = tuple(Source(name, there[name]) for name in FOUR_LAYERS if name in there)
        draft.features["text"] = (f"{short}: mean of {', '.join(s.name for s in layers)}", layers)
    used = {source.name for _, sources in draft.features.values() for source in sources}
    draft.ignored = [
        f"{name} ({_width(value)})" if KINDS[name] == (VECTORS,) else name
        for name, value in there.items()
        if name not in used and (name == "sentiments" or KINDS[name] == (VECTORS,))
    ]
    draft.ignored += [f"field {name.strip(LETTERS)}" for name in form.fields if name not in KINDS]
    return draft


def features(path: Path) -> dict:
    """A dict of dialogues, as MultiEMO's TextFeatures.pkl: dialogue -> a vector per utterance."""
    value = unpickle.load(path)
    if (what := kind(value)) != VECTORS:
        raise ValueError(f"{path} is {what}; want {VECTORS}: dialogue -> numbers per utterance")
    return by_dialogue(value, path, path.name)


def by_dialogue(value: dict, path: Path, name: str) -> dict:
    """A field with plain keys, each with a list or array of at least one dimension."""
    found = {}
    for key, entries in value.items():
        key = plain_value(key)
        if not isinstance(key, str | int) or isinstance(key, bool) or not nested(entries):
            what = f"{type(entries).__name__} for dialogue {str(key)[:40]!r}"
            raise ValueError(f"{path}: {name} has a {what}; want a list with an entry per utterance")
        found[key] = entries
    return found


def kind(value: object) -> str:
    """What a field is, in words."""
    if value is None or (isinstance(value, dict | list | tuple | set | frozenset) and not len(value)):
        return NOTHING
    if isinstance(value, dict):
        entries = [entry for entry in value.values() if not nested(entry) or len(entry)]
        return f"a dict of {_entries(entries[0])}" if entries else NOTHING
    if nested(value) or isinstance(value, set | frozenset):
        scalars = all(isinstance(plain_value(item), str | int) for item in value)
        return IDS if scalars else f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def _entries(entry: object) -> str:
    """What a dialogue's entry is, judged by its first utterance."""
    if not nested(entry):
        return type(entry).__name__
    first = plain_value(entry[0])
    scalar = "numbers" if isinstance(first, int | float) else "vectors"
    return f"lists of {'text' if isinstance(first, str) else scalar if first is not None else 'nothing'}"


def _width(value: dict) -> str:
    first = next((numbers(entries[0]) for entries in value.values() if len(entries)), None)
    return "?" if first is None else str(first.shape[-1])
