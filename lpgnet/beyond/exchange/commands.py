"""Other people's files: into our feature store, out of it, and their labels beside ours."""

import re
from pathlib import Path

import pandas as pd

from lpgnet.beyond.exchange import describe, differences, imported
from lpgnet.beyond.exchange.export import export
from lpgnet.corpora.load import refuse_other, scan
from lpgnet.corpora.table import utterances
from lpgnet.features import store
from lpgnet.labels import CARRIES, FOUR, OWN, PROTOCOLS, is_simulated, labelled
from lpgnet.machine.files import shown, sweep, whole_folder
from lpgnet.places import RESERVED, Place, features_of

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]*(-[A-Za-z0-9_.]+)*")  # no "--", which parts a place's name


def import_file(
    path: Path, name: str, text: Path | None = None, audio: Path | None = None, root: Path | None = None
) -> str:
    """Read a feature or label file into the store of a new corpus `name`; returns what was found.

    root: of the release that the file is of, IEMOCAP or simulated; their labels are compared by id.
    """
    folder, taken = features_of(name), set(RESERVED)
    if not NAME.fullmatch(name) or name.casefold() in taken or len(name) > 100:
        raise ValueError(
            f"--name {shown(repr(name))}: want at most 100 letters, digits, '.', '_' and single '-', and "
            f"none of {', '.join(sorted(taken))}"
        )
    there = folder.parents[1].iterdir() if folder.parents[1].is_dir() else ()
    if same := [p.name for p in there if p.name.casefold() == name.casefold() and p.name != name]:
        raise FileExistsError(f"--name {name}: {same[0]} exists, and many disks take the two for one")
    if folder.exists():
        raise FileExistsError(f"{folder} exists: take another --name, or remove {folder.parent} first")
    found = imported.read(path, text, audio)
    released = features_of("iemocap") / "utterances.csv"
    reference = utterances(released.parent) if released.exists() and found.about["corpus"] == "iemocap" else None
    if root is not None:
        if (corpus := found.about["corpus"]) not in ("iemocap", "simulated"):
            raise ValueError(f"--root {root}: {path} isn't of IEMOCAP or simulated ({corpus}), nothing to compare")
        refuse_other(corpus, root)
        reference = scan(root).table
    if found.about["corpus"] == "simulated" and not name.startswith("simulated"):
        raise ValueError(f"--name {name}: {path} holds simulated data, so its name must begin with 'simulated'")
    report = describe.report(found, reference)
    if not found.features:
        return report + "\nNo features in it, so nothing was stored; `labels diff` compares its labels."
    sweep(folder.parent)
    with whole_folder(folder) as part:
        store.write(part, found.table, found.features, found.about)
    return report + f"\nStored as {folder}; next: python -m lpgnet reproduce --corpus {name}"


def export_place(place: Place, form: str, out: Path) -> list[Path]:
    """Write a place's features and labels in another form."""
    from lpgnet.runs import plan

    data, table = plan.describe(place), utterances(place.features)
    sets = {m: about for m, about in data["features"].items() if m != "fits"}
    start = f"{place.profile}/{place.labels}/"
    fits = [k for k in data["features"].get("fits", {}) if k.startswith(start) and k.endswith("/tenth")]
    if len(fits) > 1:
        raise ValueError(f"{place.name} has a text encoder per fold; export one split of one fold, or --frozen")
    if fits:
        sets["text"] = data["features"]["fits"][fits[0]]
    about = {"file": place.name, "format": "feature store", "corpus": _origin(place)}
    made = imported.Imported(table, {m: _modality(place, s) for m, s in sets.items()}, about)
    return export(made, out, form, labelled(table, place.labels))


def _origin(place: Place) -> str:
    """The corpus whose labels these are; a simulated one's are nobody else's."""
    if place.corpus in CARRIES:
        return "simulated" if is_simulated(place.corpus) else place.corpus
    index = store.read_index(place.features)
    return index["imported"]["corpus"]


def _modality(place: Place, about: dict) -> store.Modality:
    held = store.Features(place.features, about)
    frames = None
    if about["frame_size"]:
        frames = [held.frames(i, 1 << 30).numpy() for i in range(about["utterances"])]
    return store.Modality(about["encoder"], held.vectors().numpy(), frames)


def compare_labels(a: str, b: str, corpus: str, root: Path | None = None) -> str:
    """Two protocols of a corpus, a protocol and a file, or two files, side by side.

    A six-class file beside a four-class protocol is merged as `majority-4` merges.
    """
    for name in (a, b):
        if name not in (*PROTOCOLS, OWN) and not Path(name).exists():
            known = ", ".join([*PROTOCOLS, OWN])
            raise ValueError(f"{name!r} is no label protocol ({known}) and no file")
    sides = {name: _side(name, corpus, root) for name in (a, b)}
    if any(set(s["label"]) <= set(FOUR.values()) for s in sides.values()):
        sides = {
            n: s if n in PROTOCOLS else s.assign(label=describe.merged_labels(s["label"])) for n, s in sides.items()
        }
    order = dict.fromkeys(c for name in ("majority-6", "meld-7") for c in PROTOCOLS[name].classes)
    return differences.compare(sides[a], sides[b], (a, b), tuple(order))


def _side(name: str, corpus: str, root: Path | None) -> pd.DataFrame:
    """Columns id, dialogue, session, label of a protocol, or of a file as it files them itself."""
    if name in PROTOCOLS or name == OWN:
        table = _table(corpus, root)
        return table.assign(label=labelled(table, name))
    found = imported.read(Path(name))
    return found.table.assign(label=describe.filed_labels(found))


def _table(corpus: str, root: Path | None) -> pd.DataFrame:
    """The utterance table that a protocol is applied to: a release's, or a store's."""
    if root is not None:
        return scan(root).table
    folder = features_of(corpus)
    if not (folder / "utterances.csv").exists():
        raise FileNotFoundError(
            f"no utterance table under {folder} to apply a protocol to: give --root of a release, or "
            "--corpus of one that notebook 01 has read"
        )
    return utterances(folder)
