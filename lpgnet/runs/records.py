"""What a run leaves, and reading it back.  No torch: a laptop rebuilds the tables from these files.

results/<place>/runs/
    data.json                            what the current runs are made from: labels, features, counts
    <experiment>/<seed>-<key8>.parquet   every test utterance: label, probabilities, modality weights
    <experiment>/<seed>-<key8>.json      config, epochs, confusion matrices, curves; written last
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from lpgnet.machine.files import json_sha256, misfit, parsed_json, sha256, whole, write_json
from lpgnet.runs import metrics


class Made(TypedDict):
    """How a run came about."""

    seconds: float
    device: str


@dataclass(frozen=True)
class Record:
    """One finished run, in plain JSON types.  Only `made` may differ when the run is made again."""

    corpus: str
    profile: str
    split: str
    experiment: str
    seed: int
    fold: str
    labels: str  # the protocol
    classes: list[str]
    version: str  # of this package
    asked: str  # SHA-256 over what the run was asked for: config, labels, features, fold, seed
    code: dict  # `code.summary` of what decided it
    libraries: dict[str, str]  # versions of those that decide numbers
    key: str  # SHA-256 over the three
    config: dict
    manifest: str
    features: dict[str, str]  # modality -> recipe
    epoch: dict[str, int]  # rule of R14 (best_validation, last, best_test) -> epoch, counted from 1
    confusion: dict[str, list[list[int]]]  # rule -> rows gold, columns predicted, test counts
    students: dict[str, list[list[int]]]  # modality -> the same, at the best validation epoch
    curves: dict[str, list[float]]  # loss, validation_f1, test_f1, one number per epoch
    parameters: int
    temperature: float  # that calibrates the probabilities, fitted on validation
    validation: dict[str, list[float]]  # class -> calibrated probability of it of each validation utterance of it
    predictions: str  # SHA-256 of the parquet file
    made: Made
    sha256: str = ""  # `fingerprint`


class Protocol(BaseModel):
    """A label set: what `plan.described` says of it.  counts: group -> class; folds: fold -> group tested."""

    manifest: str
    classes: list[str]
    counts: dict[str, dict[str, int]]
    folds: dict[str, str]
    oracle: dict[str, list[list[int]]] = {}


class Features(BaseModel):
    """A feature set, as a store's index has it."""

    encoder: str
    version: str
    size: int
    frame_size: int
    recipe: str


class Data(BaseModel):
    """What every reader of a data.json may count on."""

    corpus: str
    place: str
    profile: str
    split: str
    labels: str
    text: str
    parties: list[str]
    protocols: dict[str, Protocol]
    features: dict[str, Features | dict[str, Features]]  # of a modality, and under "fits" those fitted to a fold


RECORD = TypeAdapter(Record)


def read_data(runs: Path) -> dict:
    """The data.json of a place."""
    path = runs / "data.json"
    if not path.exists():
        raise FileNotFoundError(f"no run record under {runs}; run notebooks 01 to 05 first")
    values = parsed_json(path.read_text(encoding="utf-8"), path)
    try:
        Data.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"{path} doesn't describe runs ({misfit(error)}); run notebook 01 again") from None
    return values


def save(path: Path, record: Record, predictions: pd.DataFrame) -> None:
    """Write the predictions, then the record that vouches for them; each whole or not at all."""
    with whole(path.with_suffix(".parquet")) as part:
        predictions.to_parquet(part, index=False)
        sha = sha256(part)
    record = replace(record, predictions=sha)
    write_json(path, asdict(replace(record, sha256=fingerprint(record))))


def read(path: Path) -> Record | None:
    """One record, checked against its predictions; ValueError where either is damaged.

    None: a whole record of a version whose records had other fields, so it is stale.
    """
    try:
        values = parsed_json(path.read_text(), path)
        if not isinstance(values, dict):
            raise TypeError("it holds no object")
        if values.keys() != Record.__dataclass_fields__.keys():
            return None
        RECORD.validate_python(values)
        record = Record(**values)
        found, own = sha256(path.with_suffix(".parquet")), fingerprint(record)
    except (OSError, ValueError, TypeError) as error:
        reason = misfit(error) if isinstance(error, ValidationError) else error
        raise ValueError(f"record {path} is damaged ({reason}); delete it and run again") from None
    if own != record.sha256:
        raise ValueError(f"record {path} is not as it was written; delete it and run again")
    if found != record.predictions:
        raise ValueError(f"{path.with_suffix('.parquet')} is damaged; delete it and run again")
    return record


def contradiction(record: Record, path: Path, ids: list[str] | None = None) -> str:
    """What a record says that its predictions don't; "" where its scores are theirs.  ids: the test part, sorted."""
    names, classes = [f"p_{name}" for name in record.classes], pd.Index(record.classes)
    try:
        rows = pd.read_parquet(
            path.with_suffix(".parquet"), columns=["id", "label", "predicted", "predicted_last", *names]
        )
        gold, predicted = (classes.get_indexer(rows[name]) for name in ("label", "predicted"))
        last = classes.get_indexer(rows["predicted_last"])
        counted = {
            "best_validation": metrics.confusion(gold, predicted, len(classes)).tolist(),
            "last": metrics.confusion(gold, last, len(classes)).tolist(),
        }
    except (KeyError, ValueError, OSError) as error:
        return f"its predictions can't be counted ({error})"
    if ids is not None and sorted(rows["id"]) != ids:
        return "predictions of other utterances"
    if (rows[names].to_numpy().argmax(1) != predicted).any():
        return "a predicted class isn't the most probable one"
    if any(record.confusion.get(rule) != found for rule, found in counted.items()):
        return "its confusion matrix isn't that of its predictions"
    return ""


def fingerprint(record: Record) -> str:
    """SHA-256 of all of a record but itself and `made`."""
    return json_sha256(vars(record) | {"sha256": "", "made": {}})
