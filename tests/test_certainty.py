"""Calibration errors, conformal sets and risk by hand and by simulation; and what tables make of them."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from lpgnet.runs import calibration
from lpgnet.tables import certainty

CLASSES = ("happy", "sad", "neutral")
P = np.array([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25], [0.1, 0.1, 0.8], [0.2, 0.5, 0.3]])
GOLD = np.array([0, 1, 2, 0])


def test_brier_and_classwise_error_by_hand():
    """One bin: a class's share minus its mean probability; 0.5 - 0.35, 0.25 - 0.2875, 0.25 - 0.3625."""
    squares = [0.09 + 0.04 + 0.01, 0.16 + 0.4225 + 0.0625, 0.01 + 0.01 + 0.04, 0.64 + 0.25 + 0.09]
    assert calibration.brier(P, GOLD) == pytest.approx(sum(squares) / 4)
    assert calibration.brier(np.eye(3), np.array([1, 2, 0])) == 2
    assert calibration.classwise_error(P, GOLD, bins=1) == pytest.approx((0.15 + 0.0375 + 0.1125) / 3)
    # Ten bins: for happy 0.7 (a hit), 0.4, 0.1 and 0.2 (a hit) stand alone.
    by_class = [0.3 + 0.4 + 0.1 + 0.8, 0.2 + 0.65 + 0.1 + 0.5, 0.1 + 0.25 + 0.2 + 0.3]
    assert calibration.classwise_error(P, GOLD) == pytest.approx(sum(by_class) / 4 / 3)
    assert calibration.classwise_error(np.eye(3), np.arange(3)) == 0


@pytest.mark.parametrize(
    ("coverage", "want"),
    [(0.5, 0.5), (0.6, 0.4), (0.7, 0.3), (0.75, 0.2), (0.9, 0.1), (0.91, 0.0), (0.05, 0.9)],
)
def test_the_threshold_is_an_order_statistic(coverage, want):
    """n = 9: the ceil(10 coverage)-th surest of 0.9, 0.8, ..., 0.1."""
    kept = {"a": [0.1, 0.4, 0.9], "b": [0.2, 0.3, 0.5, 0.6, 0.7, 0.8], "c": []}
    assert calibration.threshold(kept, coverage) == want


def test_a_rounding_error_is_no_place_more():
    assert 100 * 0.55 > 55 and calibration.threshold({"a": [i / 100 for i in range(1, 100)]}, 0.55) == 0.45


def test_without_validation_every_class_is_in_and_no_coverage_is_refused():
    assert calibration.threshold({}, 0.5) == 0 and calibration.sets(P, 0.0).all()
    for coverage in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=r"want a number between 0 and 1, as 0\.9"):
            calibration.threshold({"a": [0.5]}, coverage)


def test_sets_by_hand_and_none_is_empty():
    want = [[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 0]]
    assert calibration.sets(P, 0.35).tolist() == np.array(want, bool).tolist()
    assert calibration.sets(P, 0.9).sum(1).tolist() == [1, 1, 1, 1]  # else empty: the top class alone
    each = np.array([[0.0], [0.9], [0.1], [0.3]])
    assert calibration.sets(P, each).sum(1).tolist() == [3, 1, 3, 2]
    assert calibration.sets(np.array([[0.6, 0.3999996, 0.0000004]]), 0.4).tolist() == [[True, True, False]]


@pytest.mark.parametrize("size", [19, 50])
@pytest.mark.parametrize("coverage", [0.6, 0.8, 0.9])
def test_on_exchangeable_draws_the_wanted_coverage_is_found(size, coverage):
    """Over draws of validation and one new turn; it is at most 1 / (n + 1) too much, but for the top class."""
    rng, held = np.random.default_rng(0), []
    for _ in range(4000):
        p = rng.dirichlet([0.6, 0.4, 0.5], size + 1)
        gold = np.array([rng.choice(3, p=line) for line in p[:, ::-1]])  # a model that is quite wrong
        kept = {"all": p[np.arange(size), gold[:-1]].round(6)}
        held.append(calibration.sets(p[-1:], calibration.threshold(kept, coverage))[0, gold[-1]])
    assert np.mean(held) > coverage - 3 * np.sqrt(coverage * (1 - coverage) / 4000)
    assert np.mean(held) < coverage + 1 / (size + 1) + 0.03


def test_risk_by_hand():
    """By confidence 0.8 (right), 0.7 (right), 0.5 (wrong), 0.4 (wrong)."""
    shares = np.array([0.1, 0.25, 0.5, 0.6, 0.75, 1.0])
    assert_allclose(calibration.risk(P, GOLD, shares), [0, 0, 0, 1 / 3, 1 / 3, 0.5])


def evaluation(folds: dict[str, list[int]], temperatures: dict, kept: dict, seeds: dict) -> SimpleNamespace:
    """What `certainty` reads of an evaluation: one label set, one experiment."""
    rows = pd.DataFrame({"fold": [fold for fold, places in folds.items() for _ in places]})
    part = SimpleNamespace(
        labels="own", classes=CLASSES, gold=GOLD, rows=rows, probabilities={"full": seeds, "r1_full": seeds}
    )
    runs = pd.DataFrame(
        {"experiment": "full", "seed": s, "fold": f, "temperature": temperatures[f], "validation": kept}
        for s in seeds for f in folds
    )  # fmt: skip
    data = {"place": "made", "profile": "quick", "split": "loso"}
    return SimpleNamespace(predictions=[part], runs=runs, data=data)


def test_each_fold_has_its_own_temperature_and_the_table_counts_by_class():
    kept = {name: [] for name in CLASSES} | {"sad": [0.05, 0.25, 0.34, 0.5]}
    found = evaluation({"a": [0, 1], "b": [2, 3]}, {"a": 1.0, "b": 2.0}, kept, {0: P, 1: P})
    p, least = certainty.calibrated(found, found.predictions[0], "full", 0, 0.8)
    assert_allclose(p[:2], P[:2])
    assert_allclose(p[2:], calibration.scaled(P[2:], 2.0))
    assert least.tolist() == [[0.05]] * 4  # the fourth of four
    frame = certainty.coverage(found)
    assert set(frame["experiment"]) == {"full"} and frame["n_seeds"].eq(2).all()
    (line,) = frame[(frame["wanted"] == 80) & (frame["class"] == certainty.EVERY)].to_dict("records")
    assert (line["coverage_mean"], line["coverage_std"], line["size_mean"]) == (100, 0, 3)
    assert frame[frame["wanted"] == 80]["n_utterances"].tolist() == [4, 2, 1, 1]


def test_the_coverage_found_is_that_of_the_sets():
    """Threshold 0.35: the sets of `test_sets_by_hand` hold all but the last utterance, a happy one."""
    kept = {"happy": [0.35] * 9, "sad": [0.9] * 90, "neutral": []}
    found = evaluation({"a": [0, 1, 2, 3]}, {"a": 1.0}, kept, {0: P})
    frame = certainty.coverage(found).query("wanted == 95").set_index("class")
    assert frame["coverage_mean"].to_dict() == {certainty.EVERY: 75, "happy": 50, "sad": 100, "neutral": 100}
    assert frame["size_mean"].to_dict() == {certainty.EVERY: 1.25, "happy": 1, "sad": 2, "neutral": 1}


def test_errors_are_of_both_probabilities():
    found = evaluation({"a": [0, 1, 2, 3]}, {"a": 2.0}, {name: [0.5] for name in CLASSES}, {0: P, 1: P})
    frame = certainty.calibration(found).set_index("probabilities")
    for way, p in (("as trained", P), ("calibrated", calibration.scaled(P, 2.0))):
        line = frame.loc[way]
        assert line["brier_mean"] == round(calibration.brier(p, GOLD), 4)
        assert line["ece_mean"] == round(100 * calibration.ece(p, GOLD), 4)
        assert line["classwise_mean"] == round(100 * calibration.classwise_error(p, GOLD), 4)
    assert frame["n_seeds"].eq(2).all()
