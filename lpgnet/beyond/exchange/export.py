"""Our features in forms that others read: the 12-tuple pickle of SDT, and our own neutral form."""

import pickle
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from lpgnet.beyond.exchange import neutral
from lpgnet.beyond.exchange.codes import IEMOCAP
from lpgnet.beyond.exchange.imported import Imported
from lpgnet.labels import SIX_CLASSES
from lpgnet.machine.files import whole

NUMPY = {"numpy._core.multiarray": "numpy.core.multiarray", "numpy._core.numeric": "numpy.core.numeric"}
PROTOCOL = 3  # any Python 3


def export(found: Imported, out: Path, form: str, labels: pd.Series) -> list[Path]:
    """Write `found` as <out>.pkl ("sdt") or <out>.npz and <out>.jsonl ("neutral"); returns the paths.

    labels: the class of each row of the table under one protocol, None where it has none.
    sdt: holds the labelled utterances only.  neutral: every row with all its columns.
    """
    stem = out.with_suffix("") if out.suffix in (".pkl", ".npz", ".jsonl") else out
    if form == "neutral":
        return neutral.write(found.table, found.features, found.about, labels, stem)
    value = _sdt(found, labels)
    path = stem.with_name(f"{stem.name}.pkl")
    with whole(path) as part, part.open("wb") as file:
        _Pickler(file, PROTOCOL).dump(value)
    return [path]


def _sdt(found: Imported, labels: pd.Series) -> tuple:
    """The 12 fields of SDT's iemocap_multimodal_features.pkl.

    videoText and roberta2 to 4 are the same text features, since we have one set; videoVisual is one zero
    per utterance, since we have none.  The form knows no validation part: those dialogues train, as they
    do in SDT's own file.  Where the table has no parts, session 5 is tested.
    """
    table = found.table[labels.notna()]
    _check(found, table)
    numbers = {name: i for names in (SIX_CLASSES, IEMOCAP) for i, name in enumerate(names)}
    if unknown := sorted(set(labels.dropna()) - set(numbers)):
        raise ValueError(f"the sdt form numbers {', '.join(SIX_CLASSES)}; it has no {', '.join(unknown)}")
    ids, speakers, emotions, text, audio, visual, sentences = ({} for _ in range(7))
    position = {index: at for at, index in enumerate(found.table.index)}
    for name, rows in table.groupby("dialogue", sort=False):
        at = [position[index] for index in rows.index]
        ids[name], speakers[name], sentences[name] = (rows[c].tolist() for c in ("id", "party", "text"))
        emotions[name] = [numbers[label] for label in labels[rows.index]]
        text[name], audio[name] = (found.features[m].vectors[at] for m in ("text", "audio"))
        visual[name] = np.zeros((len(at), 1), np.float32)
    part = _parts(table)
    train = [name for name in ids if part[name] in ("train", "validation")]
    test = [name for name in ids if part[name] == "test"]
    return ids, speakers, emotions, text, text, text, text, audio, visual, sentences, train, test


def _check(found: Imported, table: pd.DataFrame) -> None:
    if table.empty:
        raise ValueError("no utterance has a label under the exported protocol")
    if lacking := [m for m in ("text", "audio") if m not in found.features]:
        raise ValueError(f"the sdt form needs text and audio; there is no {' and no '.join(lacking)}")
    if not table["party"].isin(["F", "M"]).all():
        odd = table.loc[~table["party"].isin(["F", "M"]), "id"].iloc[0]
        raise ValueError(f"the sdt form knows speakers F and M only; {odd} has another: use the neutral form")
    kept = found.table.index.isin(table.index)
    for name, held in found.features.items():
        absent = np.isnan(held.vectors[kept]).any(1)
        if absent.any():
            first = table["id"].iloc[int(absent.argmax())]
            raise ValueError(
                f"{absent.sum()} utterances have no {name}, the first {first}; the sdt form can't say "
                "so: use the neutral form"
            )


def _parts(table: pd.DataFrame) -> dict[str, str]:
    first = table.drop_duplicates("dialogue").set_index("dialogue")
    if (first["part"] != "").any():
        return first["part"].to_dict()
    if 5 not in set(first["session"]) or first["session"].nunique() < 2:
        raise ValueError("the sdt form has a train and a test part; the table has no parts and no session 5")
    return first["session"].map(lambda session: "test" if session == 5 else "train").to_dict()


class _Pickler(pickle._Pickler):
    """Writes numpy's functions under the names that numpy 1 knows, too: SDT's own environment has that."""

    def __init__(self, file: BinaryIO, protocol: int):
        super().__init__(file, protocol)

    def save_global(self, obj: object, name: str | None = None) -> None:
        module = getattr(obj, "__module__", None)
        if module not in NUMPY:
            return super().save_global(obj, name)
        self.write(pickle.GLOBAL + f"{NUMPY[module]}\n{name or obj.__name__}\n".encode())
        self.memoize(obj)
        return None
