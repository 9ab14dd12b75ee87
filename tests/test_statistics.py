"""Intervals and paired comparisons by hand, against scipy, and on data whose answer is known."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from lpgnet.runs.metrics import scores
from lpgnet.tables import statistics

SEEDS, DIALOGUES, CLASSES = 2, 13, 3


def counts(seed: int, right: float, dialogues: int = DIALOGUES, seeds: int = SEEDS) -> np.ndarray:
    """Confusion matrices of dialogues with 5 to 10 utterances, predicted right with a given chance."""
    rng = np.random.default_rng(11)
    dialogue = np.repeat(np.arange(dialogues), rng.integers(5, 11, dialogues))
    label = rng.integers(0, CLASSES, len(dialogue))
    rng = np.random.default_rng(seed)
    shape = (seeds, len(label))
    wrong = (label + rng.integers(1, CLASSES, shape)) % CLASSES
    predicted = np.where(rng.random(shape) < right, label, wrong)
    return statistics.dialogue_counts(dialogue, label, predicted, CLASSES)


def resampled(found: np.ndarray, draws: int = 503, seed: int = 0) -> statistics.Resampled:
    return statistics.resample(found, list(range(len(found))), draws=draws, seed=seed)


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
    assert (back.difference, back.effect, back.p) == pytest.approx((-found.difference, -found.effect, found.p))


def test_paired_seeds_without_spread():
    """Where each seed shows the same difference t does not exist; the sign test does: 2 / 2^3."""
    same = statistics.paired_seeds({0: 0.7, 1: 0.8, 2: 0.9}, {0: 0.7, 1: 0.8, 2: 0.9})
    assert (same.difference, same.p, same.effect) == (0, 1, 0)
    lifted = statistics.paired_seeds({0: 0.7, 1: 0.8, 2: 0.9}, {0: 0.6, 1: 0.7, 2: 0.8})
    assert (lifted.p, lifted.effect) == (0.25, math.inf)
    assert math.isnan(lifted.ci_low) and math.isnan(same.ci_high)
    assert math.isnan(statistics.paired_seeds({0: 0.7}, {0: 0.6, 1: 0.5}).p)


def test_dialogue_counts_by_hand():
    found = statistics.dialogue_counts([1, 0, 1], [0, 1, 1], [[0, 0, 1], [1, 1, 1]], 2)
    assert found.tolist() == [[[[0, 0], [1, 0]], [[1, 0], [0, 1]]], [[[0, 0], [0, 1]], [[0, 1], [0, 1]]]]


def test_bootstrap_scores_the_data_and_its_interval_holds_it():
    """The middle is the mean over seeds of each seed's own score, not the score of their sum."""
    data = counts(1, 0.7)
    found = statistics.dialogue_interval(resampled(data), "weighted_f1")
    want = np.mean([scores(one)["weighted_f1"] for one in data.sum(1)])
    assert (found.mean, found.n) == (pytest.approx(want), DIALOGUES)
    assert scores(data.sum((0, 1)))["weighted_f1"] != pytest.approx(want)
    assert found.ci_low < want < found.ci_high
    assert found == statistics.dialogue_interval(resampled(data), "weighted_f1")
    assert found != statistics.dialogue_interval(resampled(data, seed=3), "weighted_f1")


def test_bootstrap_draws_dialogues_not_utterances():
    """One dialogue all right, one all wrong, 50 turns each: 1/4, 1/2, 1/4 of draws score 0, 1/2, 1."""
    data = np.array([[[[50, 0], [0, 0]], [[0, 50], [0, 0]]]])
    found = statistics.dialogue_interval(statistics.resample(data, [0], draws=2003), "accuracy")
    assert (found.ci_low, found.ci_high) == (0, 1)
    assert found.std == pytest.approx(math.sqrt(1 / 8), abs=0.02)


def test_every_draw_by_brute_force():
    data, draws = counts(1, 0.6), 7
    found = resampled(data, draws)
    rng = np.random.default_rng(0)
    for draw in range(draws):
        often = rng.multinomial(DIALOGUES, [1 / DIALOGUES] * DIALOGUES)
        stacked = np.repeat(data, often, axis=1).sum(1)
        assert found.drawn["macro_f1"][draw] == pytest.approx(scores(stacked)["macro_f1"])
    for d in range(DIALOGUES):
        rest = np.delete(data, d, axis=1).sum(1)
        assert found.without["macro_f1"][d] == pytest.approx(scores(rest)["macro_f1"])


def test_the_interval_is_wider_than_plain_percentiles_where_dialogues_are_few():
    """Hesterberg's level for n = 7: the normal tail beyond t(6) = 2.4469 times sqrt(7 / 6)."""
    found = resampled(counts(1, 0.6, dialogues=7))
    drawn = found.drawn["accuracy"].mean(-1)
    tail = stats.norm.cdf(-2.4469118511449692 * math.sqrt(7 / 6))
    interval = statistics.dialogue_interval(found, "accuracy")
    assert (interval.ci_low, interval.ci_high) == pytest.approx(tuple(np.quantile(drawn, [tail, 1 - tail])))
    plain = np.quantile(drawn, [0.025, 0.975])
    assert interval.ci_low < plain[0] < plain[1] < interval.ci_high


def test_paired_dialogues_sees_a_difference_and_none():
    weak, strong = resampled(counts(1, 0.5)), resampled(counts(2, 0.9))
    found = statistics.paired_dialogues(strong, weak, "accuracy")
    assert found.difference == pytest.approx(strong.whole["accuracy"].mean() - weak.whole["accuracy"].mean())
    assert found.p < 0.001
    assert 0 < found.ci_low < found.difference < found.ci_high
    back = statistics.paired_dialogues(weak, strong, "accuracy")
    assert (back.difference, back.ci_low, back.ci_high, back.p) == pytest.approx(
        (-found.difference, -found.ci_high, -found.ci_low, found.p)
    )
    same = statistics.paired_dialogues(weak, weak, "accuracy")
    assert (same.difference, same.ci_low, same.ci_high, same.p, same.n) == (0, 0, 0, 1, DIALOGUES)


def test_paired_dialogues_matches_scipy_where_dialogues_are_equally_long():
    """The accuracy is then a mean over dialogues, and leaving one out is the paired t-test on them."""
    rng = np.random.default_rng(3)
    turns, right = 11, rng.integers(3, 11, (2, SEEDS, DIALOGUES))
    zero = np.zeros_like(right)
    both = np.stack([np.stack([right, turns - right], -1), np.stack([zero, zero], -1)], -2)
    a, b = (resampled(one) for one in both)
    found = statistics.paired_dialogues(a, b, "accuracy")
    want = stats.ttest_rel(*(right.mean(1) / turns))
    assert found.p == pytest.approx(want.pvalue)


def test_paired_dialogues_keeps_its_level_with_seven_dialogues():
    """Two models with equal chances: about 1 in 20 pairs differ at 0.05, not the percentiles' 1 in 8."""
    pairs = [(resampled(counts(2 * i, 0.7, 7), 3), resampled(counts(2 * i + 1, 0.7, 7), 3)) for i in range(400)]
    rejected = np.mean([statistics.paired_dialogues(a, b, "accuracy").p < 0.05 for a, b in pairs])
    assert 0.02 < rejected < 0.09


def test_some_seeds_only():
    """Those that both have, whatever their order."""
    one, other = counts(1, 0.7, seeds=3), counts(2, 0.6, seeds=3)
    a, b = statistics.resample(one, [0, 1, 2]), statistics.resample(other[[2, 0]], [2, 0])
    want = statistics.paired_dialogues(resampled(one[[0, 2]], 4000), resampled(other[[0, 2]], 4000), "accuracy")
    assert dataclasses.astuple(statistics.paired_dialogues(a, b, "accuracy")) == pytest.approx(
        dataclasses.astuple(want), nan_ok=True
    )


def test_one_dialogue_has_no_interval_and_no_test():
    one, other = (resampled(counts(seed, 0.6, dialogues=1)) for seed in (1, 2))
    found = statistics.paired_dialogues(one, other, "accuracy")
    assert found.n == 1
    assert np.isnan([found.p, found.ci_low, found.ci_high]).all()
    assert statistics.dialogue_interval(one, "accuracy").n == 1


def test_refuses_what_cannot_be_paired():
    with pytest.raises(ValueError, match="13 dialogues, b has 7: want the same ones"):
        statistics.paired_dialogues(resampled(counts(1, 0.5)), resampled(counts(1, 0.5, 7)), "accuracy")


def test_percent():
    assert [statistics.percent(x) for x in (0.123456, -1e-9)] == [12.35, 0.0]
    assert not np.signbit(statistics.percent(-1e-9))


def test_holm_by_hand():
    """Sorted .01 .02 .03 .04: times 4, 3, 2, 1 is .04 .06 .06 .04, made to never fall."""
    assert statistics.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert statistics.holm([0.9, 0.8]) == pytest.approx([1, 1])
    np.testing.assert_allclose(statistics.holm([0.01, np.nan, 0.5]), [0.02, np.nan, 0.5])
