"""What notebooks end with: sentences from records, class by class, and an exploration beside its default."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_readings import world
from test_tables import DATA, EMPTY, WITHOUT_TORCH

from lpgnet import experiments
from lpgnet.beyond import seen
from lpgnet.beyond.readings import explored
from lpgnet.config import ROOT
from lpgnet.labels import SIX_CLASSES
from lpgnet.runs import training
from lpgnet.tables import classes
from lpgnet.tables.figures import classes as drawn
from lpgnet.tables.scores import Evaluation
from lpgnet.tables.typeset import SIMULATED


def line(difference=2.0, seeds=0.01, dialogues=0.01) -> dict:
    means = {"mean_a": 80.0 + difference, "mean_b": 80.0, "difference": difference, "n_seeds": 5, "n_dialogues": 7}
    ends = {"seeds_low": 1.0, "seeds_high": 3.0, "dialogues_low": -1.5, "dialogues_high": np.nan}
    return means | ends | {"table": 3, "a": "full", "b": "no_ffn", "p_seeds_holm": seeds, "p_dialogues_holm": dialogues}


def test_a_sentence_has_both_numbers_what_intervals_there_are_and_the_verdict():
    want = "LPGNet against LPGNet without position-wise FFN: 82.0 and 80.0 % accuracy, +2.0 points"
    one = line() | {"dialogues_low": np.nan}
    assert seen.sentence(one) == f"{want} (95 %: +1.0 to +3.0 over 5 seeds): supported."
    assert seen.sentence(line(dialogues=0.2)).endswith(": supported on this test set only.")
    assert seen.sentence(line(-2.0)).endswith(": not supported.")
    assert "no interval of one seed" in seen.sentence(one | {"seeds_low": np.nan})


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    names = ("full", "linear", "bigru", "text_only", "no_ffn", "sdt", "full_speaker")
    return Evaluation(world(tmp_path_factory.mktemp("runs"), names), DATA)


def test_each_notebook_s_sentences_are_of_its_table(found):
    trained, ablated = seen.trained(found, 2).lines, seen.ablated(found, 3).lines
    assert [text.partition(":")[0] for text in trained[:2]] == [
        "LPGNet against Linear classifier",
        "LPGNet against BiGRU",
    ]
    assert (
        ablated[0].startswith("LPGNet against 2 variants: supported (2). The most costly is LPGNet, text alone: ")
        and len(ablated) == 4
    )
    gaps = [float(text.partition("accuracy, ")[2].partition(" points")[0]) for text in ablated[1:3]]
    assert gaps == sorted(gaps, reverse=True)
    sdt = seen.compared_with_sdt(found).lines
    assert sdt[0].startswith("LPGNet against SDT*: ") and any("parameters here" in text for text in sdt)
    for said in (trained, ablated, sdt):
        assert said[-1] == SIMULATED


def test_scores_are_shown_in_percent_by_plain_names(found):
    (sheet,) = seen.scored_runs(found, ["no_ffn", "nobody", "full"]).blocks
    mean, std = (100 * getattr(found.seeds.query("experiment == 'full'")["accuracy"], f)() for f in ("mean", "std"))
    assert len(sheet.rows) == 2 and sheet.rows[0][0].text == "LPGNet without position-wise FFN"
    assert [cell.text for cell in sheet.rows[1]][:2] == ["LPGNet", f"{mean:.1f} ± {std:.1f}"]
    assert not seen.scored_runs(found, ["nobody"]).blocks


def test_where_nothing_has_been_run_a_sentence_says_so():
    nothing = Evaluation(EMPTY, DATA)
    for said in (seen.trained(nothing, 2), seen.ablated(nothing, 6), seen.compared_with_sdt(nothing)):
        assert said.lines == ["Nothing that was asked for here has been run yet.", SIMULATED]
    assert seen.of_six_classes(nothing).lines[0].startswith("Nothing") and not len(nothing.seeds)
    assert classes.class_differences(nothing.seeds, "full", "sdt").empty


def test_what_is_shown_is_escaped():
    page = seen.Seen(["a <b> & c"])._repr_html_()
    assert page == "<ul><li>a &lt;b&gt; &amp; c</li></ul>"


def test_needs_no_torch():
    """A laptop with records alone says the same."""
    block = WITHOUT_TORCH + "from lpgnet.beyond import seen; from lpgnet.beyond.readings import explored"
    subprocess.run([sys.executable, "-c", block], check=True, cwd=ROOT)


# Classes


def test_differences_by_class_by_scipy(found):
    table = classes.class_differences(found.seeds, "full", "linear").set_index("class")
    one, two = (found.seeds[found.seeds["experiment"] == name].set_index("seed") for name in ("full", "linear"))
    a, b = (100 * part["sad"].astype(float) for part in (one, two))
    want = stats.ttest_rel(a, b)
    assert table.loc["sad", "difference"] == pytest.approx((a - b).mean(), abs=0.06)
    low, high = np.clip(want.confidence_interval(), -100, 100)
    assert table.loc["sad", ["ci_low", "ci_high"]].tolist() == pytest.approx([low, high], abs=0.06)
    figure = drawn.class_differences(table.reset_index(), ("LPGNet", "Linear"), "Words.")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [n.capitalize() for n in table.index]


def six(counts) -> pd.DataFrame:
    """Two seeds on six classes: happy, sad, neutral, angry, excited, frustrated."""
    lines = [{"experiment": "full_6", "seed": s, "labels": "majority-6"} for s in (0, 1)]
    return pd.DataFrame(lines).assign(classes=[SIX_CLASSES] * 2, confusion=[np.array(counts)] * 2, lacks="")


def test_errors_by_kind_by_hand():
    """10 errors: 4 between happy and excited, 3 with frustrated, 3 that four classes know too."""
    counts = np.diag([9, 9, 9, 9, 9, 9])
    for meant, said, times in [("happy", "excited", 3), ("excited", "happy", 1), ("sad", "frustrated", 2)]:
        counts[SIX_CLASSES.index(meant), SIX_CLASSES.index(said)] = times
    for meant, said, times in [("frustrated", "angry", 1), ("excited", "sad", 1), ("neutral", "happy", 2)]:
        counts[SIX_CLASSES.index(meant), SIX_CLASSES.index(said)] = times
    table = classes.by_kind(six(counts)).set_index("errors")
    assert table["share"].to_dict() == {classes.BOTH_HAPPY: 40, classes.FRUSTRATED: 30, classes.OLD: 30}
    assert table["a seed"].tolist() == [4, 3, 3]


def test_what_is_new_is_outlined_on_six_classes_alone(found):
    new = [(a, b) for a in SIX_CLASSES for b in SIX_CLASSES if classes.is_new(a, b)]
    assert len(new) == 2 + 5 + 5 and ("happy", "excited") in new and ("happy", "sad") not in new
    assert not classes.is_new("frustrated", "frustrated") and not classes.is_new("joy", "anger")
    pools = [found.whole("full"), six(np.ones((6, 6), int))]
    data = DATA | {"labels": "majority-4"}
    figure = drawn.side_by_side(pools, data, ["LPGNet", "LPGNet"])
    assert [len(axis.patches) for axis in figure.axes] == [0, len(new)]
    assert [axis.get_title() for axis in figure.axes] == ["LPGNet, 4 classes", "LPGNet, 6 classes"]


# Explorations


@pytest.fixture
def tried(here):
    """`full` and `linear` as they are, and with a setting that a linear model lacks."""
    changes = {"ffn": 4, "epochs": 1}
    training.run_missing(here, ["full", "linear"], 2, 1, "cpu")
    runs = training.run_missing(here, ["full"], 3, 1, "cpu", changes)
    return here, changes, runs


def test_an_exploration_is_compared_on_the_seeds_that_both_have(tried):
    here, changes, runs = tried
    table = explored.against_default(here, ["full", "linear"], changes)
    full = table[table["experiment"] == "full"].set_index("metric")
    assert (full["n_seeds"] == 2).all() and full["n_dialogues"].notna().all()
    both = Evaluation(runs[runs["seed"] < 2], training.describe(here)).seeds
    assert full.loc["accuracy", "explored_mean"] == pytest.approx(100 * both["accuracy"].mean(), abs=0.006)
    gap = full["explored_mean"] - full["default_mean"]
    assert full["difference"].tolist() == pytest.approx(gap.tolist(), abs=0.011)
    assert set(table["note"][table["experiment"] == "linear"]) == {"not run with these settings"}


def test_records_of_a_model_that_lacks_a_setting_stop_nothing(tried):
    _, _, runs = tried
    assert set(runs["experiment"]) == {"full"} and len(runs) == 3
    assert experiments.takes("full", {"ffn": 4}) and not experiments.takes("linear", {"ffn": 4})
    assert experiments.takes("linear", {"lr": 1e-3}) and experiments.takes("linear", None)


def test_without_the_default_s_runs_the_note_says_so(here):
    training.run_missing(here, ["linear"], 1, 1, "cpu", {"lr": 0.1})
    table = explored.against_default(here, ["linear"], {"lr": 0.1})
    assert set(table["note"]) == {"not run without settings, on these seeds"} and table["difference"].isna().all()
