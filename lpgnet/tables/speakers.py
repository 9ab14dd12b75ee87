"""Speaker independence, the paper's main claim, under both splits in one table.

`session5` tests two speakers that no run has trained on, `loso` all ten in turn; so a model that leans on who
speaks has nothing to lean on in either, and what its speaker embedding is worth shows as a difference.
"""

from dataclasses import replace

import pandas as pd

from lpgnet.places import Place
from lpgnet.tables.statistics import ALPHA

BOTH = ("session5", "loso")
MODELS = ("full", "full_speaker", "sdt", "sdt_no_speaker")
PAIRS = (("full", "full_speaker"), ("sdt", "sdt_no_speaker"), ("full", "sdt_no_speaker"), ("full", "sdt"))
IDENTITY = ["corpus", "profile", "split"]
ENDS = ["seeds_low", "seeds_high", "dialogues_low", "dialogues_high"]
COUNTS = ["n_seeds", "n_dialogues"]
TESTS = ["effect", "p_seeds_holm", "p_dialogues_holm"]


def speaker_independence(place: Place) -> pd.DataFrame:
    """Scores of the models with and without speaker embeddings, and their differences, in percent and points.

    One line per split of `BOTH` that has been run, model or pair ("full - sdt") and metric, from the
    intervals.csv and comparisons.csv of each split's own place; `verdict` says which of the two has the edge.
    """
    parts = [part for split in BOTH for part in _of(replace(place, split=split))]
    columns = [*IDENTITY, "what", "metric", "value", *ENDS, *COUNTS, *TESTS, "verdict"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _of(place: Place) -> list[pd.DataFrame]:
    """The lines of one split: its models, then its pairs; none where it hasn't been run."""
    paths = [place.results / f"{name}.csv" for name in ("intervals", "comparisons")]
    if not all(path.exists() for path in paths):
        return []
    read = map(pd.read_csv, paths)
    models, pairs = (frame[frame["split"] == place.split] for frame in read)  # a bundle has one split alone
    models = models[models["experiment"].isin(MODELS)]
    models = models.assign(what=models["experiment"], value=models["mean"], verdict="")
    models = models.assign(**dict.fromkeys(TESTS, float("nan")))
    named = [pair in PAIRS for pair in zip(pairs["a"], pairs["b"], strict=True)]
    pairs = pairs[pd.Series(named, index=pairs.index) & pairs["table"].eq(7)]
    pairs = pairs.assign(what=pairs["a"] + " - " + pairs["b"], value=pairs["difference"])
    pairs["verdict"] = [_verdict(line) for line in pairs.to_dict("records")]
    return [part for part in (models, pairs) if len(part)]


def _verdict(line: dict) -> str:
    """Which model is ahead by both corrected tests."""
    if not (line["p_seeds_holm"] < ALPHA and line["p_dialogues_holm"] < ALPHA):
        return "undecided"
    return f"{line['a'] if line['difference'] > 0 else line['b']} is ahead"
