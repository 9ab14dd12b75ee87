"""Speaker independence under both splits, from hand-written statistics."""

import dataclasses

import pandas as pd
import pytest

from lpgnet import places
from lpgnet.machine.files import write_csv
from lpgnet.tables.speakers import speaker_independence


def statistics(place, shift):
    """intervals.csv and comparisons.csv of a place; SDT loses `shift` points without speakers."""
    kind = {"corpus": "simulated", "profile": "quick", "split": place.split}
    ends = dict.fromkeys(["seeds_low", "seeds_high", "dialogues_low", "dialogues_high"], 1.0)
    counts = {"n_seeds": 3, "n_dialogues": 7}
    values = {"full": 80.0, "full_speaker": 80.0, "sdt": 81.0, "sdt_no_speaker": 81.0 - shift, "linear": 70.0}
    models = [
        kind | {"experiment": e, "metric": "accuracy", "mean": v, "std": 1.0} | ends | counts for e, v in values.items()
    ]
    p = 0.01 if shift else 0.5
    pairs = [
        kind
        | {"table": table, "a": a, "b": b, "metric": "accuracy", "difference": values[a] - values[b]}
        | ends
        | counts
        | {"effect": 1.0, "p_seeds_holm": p, "p_dialogues_holm": p}
        for table, a, b in ((7, "sdt", "sdt_no_speaker"), (7, "full", "full_speaker"), (2, "full", "linear"))
    ]
    write_csv(place.results / "intervals.csv", pd.DataFrame(models))
    write_csv(place.results / "comparisons.csv", pd.DataFrame(pairs))


@pytest.fixture
def both(tmp_path):
    here = places.place(output=tmp_path)
    return here, dataclasses.replace(here, split="loso")


def test_both_splits_stand_in_one_table(both):
    here, loso = both
    statistics(here, 0.0)
    statistics(loso, 4.0)
    for place in both:  # the same table from either side
        table = speaker_independence(place).set_index(["split", "what"])
        assert table.loc[("session5", "sdt - sdt_no_speaker"), "verdict"] == "undecided"
        line = table.loc[("loso", "sdt - sdt_no_speaker")]
        assert (line["value"], line["verdict"], line["n_seeds"]) == (4.0, "sdt is ahead", 3)
        assert table.loc[("loso", "sdt_no_speaker"), "value"] == 77.0
        assert table.loc[("loso", "full - full_speaker"), "value"] == 0.0
        assert not {"linear", "full - linear"} & set(table.index.get_level_values("what"))


def test_a_split_that_was_not_run_is_not_there(both):
    here, loso = both
    assert speaker_independence(here).empty
    statistics(loso, 4.0)
    assert set(speaker_independence(here)["split"]) == {"loso"}
    other = places.place(profile="paper", output=here.output)
    assert speaker_independence(other).empty


def test_the_one_that_is_behind_is_not_called_ahead(both):
    here, _ = both
    statistics(here, -4.0)
    table = speaker_independence(here).set_index("what")
    assert table.loc["sdt - sdt_no_speaker", "verdict"] == "sdt_no_speaker is ahead"
