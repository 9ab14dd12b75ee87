"""Intervals and paired comparisons by hand, against scipy, and on data whose answer is known."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lpgnet.analysis import statistics
from lpgnet.analysis.metrics import confusion, scores

CLASSES, DIALOGUES = 3, 13


def predictions(seed: int, right: float) -> pd.DataFrame:
    """Rows of 13 dialogues with 5 to 10 utterances, predicted right with a given chance."""
    rng = np.random.default_rng(11)
    dialogue = np.repeat(np.arange(DIALOGUES), rng.integers(5, 11, DIALOGUES))
    label = rng.integers(0, CLASSES, len(dialogue))
    rng = np.random.default_rng(seed)
    wrong = (label + rng.integers(1, CLASSES, len(label))) % CLASSES
    predicted = np.where(rng.random(len(label)) < right, label, wrong)
    ids = [f"u{i}" for i in range(len(label))]
    return pd.DataFrame({"id": ids, "dialogue": dialogue, "label": label, "predicted": predicted})


def test_summary_by_hand():
    """1, 2, 3: mean 2, std 1, and 4.3027 is the 97.5 % point of t with 2 degrees of freedom."""
    found = statistics.summary([1.0, 2.0, 3.0])
    half = 4.302652729911275 / math.sqrt(3)
    assert (found.mean, found.std, found.n) == (2.0, 1.0, 3)
    assert (found.ci_low, found.ci_high) == pytest.approx((2 - half, 2 + half))


def test_one_value_has_no_spread_and_none_has_no_mean():
    one, none = statistics.summary([0.25]), statistics.summary([])
    assert (one.mean, one.n, none.n) == (0.25, 1, 0)
    assert np.isnan([one.std, one.ci_low, one.ci_high, none.mean, none.std]).all()


def test_paired_seeds_matches_scipy_on_common_seeds():
    rng = np.random.default_rng(5)
    a = {seed: float(value) for seed, value in enumerate(rng.normal(0.8, 0.02, 7))}
    b = {seed: float(value) for seed, value in enumerate(rng.normal(0.79, 0.02, 7))} | {99: 0.1}
    found = statistics.paired_seeds(a, b)
    first, second = list(a.values()), list(b.values())[:7]
    want = stats.ttest_rel(first, second)
    interval = want.confidence_interval()
    assert found.p == pytest.approx(want.pvalue)
    assert (found.ci_low, found.ci_high) == pytest.approx((interval.low, interval.high))
    assert (found.n, found.effect) == (7, pytest.approx(want.statistic / math.sqrt(7)))
    back = statistics.paired_seeds(b, a)
    assert (back.difference, back.effect, back.p) == pytest.approx(
        (-found.difference, -found.effect, found.p)
    )


def test_paired_seeds_without_spread():
    same = statistics.paired_seeds({0: 0.7, 1: 0.8, 2: 0.9}, {0: 0.7, 1: 0.8, 2: 0.9})
    assert (same.difference, same.p, same.effect) == (0, 1, 0)
    lifted = statistics.paired_seeds({0: 0.7, 1: 0.8, 2: 0.9}, {0: 0.6, 1: 0.7, 2: 0.8})
    assert (lifted.p, lifted.effect) == (0, math.inf)
    assert math.isnan(statistics.paired_seeds({0: 0.7}, {0: 0.6, 1: 0.5}).p)


def test_bootstrap_scores_the_data_and_its_interval_holds_it():
    frame = predictions(1, 0.7)
    found = statistics.dialogue_bootstrap(frame, "weighted_f1", draws=503, seed=2)
    want = scores(confusion(frame["label"], frame["predicted"], CLASSES))["weighted_f1"]
    assert (found.mean, found.n) == (pytest.approx(want), DIALOGUES)
    assert found.ci_low < want < found.ci_high
    assert found == statistics.dialogue_bootstrap(frame, "weighted_f1", draws=503, seed=2)
    assert found != statistics.dialogue_bootstrap(frame, "weighted_f1", draws=503, seed=3)


def test_bootstrap_draws_dialogues_not_utterances():
    """One dialogue all right, one all wrong, 50 turns each: 1/4, 1/2, 1/4 of draws score 0, 1/2, 1."""
    turns = 50
    frame = pd.DataFrame({"dialogue": np.repeat(["a", "b"], turns), "label": 0})
    frame["predicted"] = np.repeat([0, 1], turns)
    frame["id"] = range(2 * turns)
    found = statistics.dialogue_bootstrap(frame, "accuracy", draws=2003, seed=0)
    assert (found.ci_low, found.ci_high) == (0, 1)
    assert found.std == pytest.approx(math.sqrt(1 / 8), abs=0.02)


def test_bootstrap_takes_names_and_counts_absent_classes():
    frame = predictions(1, 0.7)
    named = frame.replace({"label": dict(enumerate("abc")), "predicted": dict(enumerate("abc"))})
    found = statistics.dialogue_bootstrap(frame, "macro_f1", draws=53)
    assert statistics.dialogue_bootstrap(named, "macro_f1", draws=53) == found
    wider = statistics.dialogue_bootstrap(frame, "macro_f1", draws=53, classes=CLASSES + 1)
    assert wider.mean == pytest.approx(found.mean * CLASSES / (CLASSES + 1))


def test_paired_dialogues_sees_a_difference_and_none():
    weak, strong = predictions(1, 0.5), predictions(2, 0.9)
    found = statistics.paired_dialogues(strong, weak, "accuracy", draws=503)
    single = [statistics.dialogue_bootstrap(f, "accuracy", draws=53).mean for f in (strong, weak)]
    assert found.difference == pytest.approx(single[0] - single[1])
    assert found.p == pytest.approx(2 / 504)
    assert 0 < found.ci_low < found.difference < found.ci_high
    same = statistics.paired_dialogues(weak, weak, "accuracy", draws=503)
    assert (same.difference, same.ci_low, same.ci_high, same.p) == (0, 0, 0, 1)


def test_paired_dialogues_refuses_other_utterances():
    frame = predictions(1, 0.5)
    with pytest.raises(ValueError, match="same ids"):
        statistics.paired_dialogues(frame, frame.iloc[1:], "accuracy", draws=3)


def test_refuses_an_unknown_metric():
    with pytest.raises(ValueError, match="no metric 'f2'; there are accuracy"):
        statistics.dialogue_bootstrap(predictions(1, 0.5), "f2", draws=3)


def test_holm_by_hand():
    """Sorted .01 .02 .03 .04: times 4, 3, 2, 1 is .04 .06 .06 .04, made to never fall."""
    assert statistics.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert statistics.holm([0.9, 0.8]) == pytest.approx([1, 1])
    np.testing.assert_allclose(statistics.holm([0.01, np.nan, 0.5]), [0.02, np.nan, 0.5])
