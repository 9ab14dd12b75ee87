"""What a run leaves, and reading it back.  No torch: a laptop rebuilds the tables from these files.

results/<place>/runs/
    data.json                            what the current runs are made from: labels, features, counts
    <experiment>/<seed>-<key8>.parquet   every test utterance: label, probabilities, modality weights
    <experiment>/<seed>-<key8>.json      config, epochs, confusion matrices, curves; written last
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd

from lpgnet.machine.files import sha256, whole, write_json


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
    key: str
    config: dict
    manifest: str
    features: dict[str, str]  # modality -> recipe
    epoch: dict[str, int]  # rule of R14 (best_validation, last, best_test) -> epoch, counted from 1
    confusion: dict[str, list[list[int]]]  # rule -> rows gold, columns predicted, test counts
    students: dict[str, list[list[int]]]  # modality -> the same, at the best validation epoch
    curves: dict[str, list[float]]  # loss, validation_f1, test_f1, one number per epoch
    parameters: int
    temperature: float  # that calibrates the probabilities, fitted on validation
    predictions: str  # SHA-256 of the parquet file
    made: dict  # seconds, device, versions


def read_data(runs: Path) -> dict:
    """The data.json of a place."""
    path = runs / "data.json"
    if not path.exists():
        raise FileNotFoundError(f"no run record under {runs}; run notebooks 01 to 05 first")
    return json.loads(path.read_text())


def save(path: Path, record: Record, predictions: pd.DataFrame) -> None:
    """Write the predictions, then the record that vouches for them; each whole or not at all."""
    with whole(path.with_suffix(".parquet")) as part:
        predictions.to_parquet(part, index=False)
        sha = sha256(part)
    write_json(path, asdict(replace(record, predictions=sha)))


def read(path: Path) -> Record | None:
    """One record, checked against its predictions; ValueError where either is damaged.

    None: a whole record of a version whose records had other fields, so it is stale.
    """
    try:
        values = json.loads(path.read_text())
        if values.keys() != Record.__dataclass_fields__.keys():
            return None
        record = Record(**values)
        found = sha256(path.with_suffix(".parquet"))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"record {path} is damaged ({error}); delete it and run again") from None
    if found != record.predictions:
        raise ValueError(f"{path.with_suffix('.parquet')} is damaged; delete it and run again")
    return record
