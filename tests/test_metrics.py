"""Every metric convention by hand, against scikit-learn, and by invariance."""

import numpy as np
import pytest
from sklearn import metrics as reference

from lpgnet.runs.metrics import METRICS, confusion, per_class, scores

N, C = 101, 5
HAND = np.array([[3, 1], [2, 4]])  # recalls 3/4 and 4/6, precisions 3/5 and 4/5


@pytest.fixture
def labels() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    gold = rng.integers(0, C, N)
    return gold, np.where(rng.random(N) < 0.6, gold, rng.integers(0, C, N))


def test_rows_are_gold_and_columns_predicted():
    assert confusion([0, 0, 1], [1, 0, 1], 3).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_by_hand():
    found = scores(HAND)
    first, second = 2 * 3 / (4 + 5), 2 * 4 / (6 + 5)  # F1 of each class
    want = {
        "accuracy": 7 / 10,
        "balanced_accuracy": (3 / 4 + 4 / 6) / 2,
        "weighted_f1": (4 * first + 6 * second) / 10,
        "macro_f1": (first + second) / 2,
        "one_vs_all_accuracy": 7 / 10,  # of two classes, both one-vs-all problems are the problem itself
        "binary_weighted_f1": (4 * first + 6 * second) / 10,
    }
    assert found == pytest.approx(want)
    assert set(found) == set(METRICS)
    assert all(type(value) is float for value in found.values())


def test_matches_scikit_learn(labels):
    gold, predicted = labels
    found = scores(confusion(gold, predicted, C))
    assert confusion(gold, predicted, C).tolist() == reference.confusion_matrix(gold, predicted).tolist()
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(gold, predicted))
    assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(gold, predicted))
    for average in ("weighted", "macro"):
        want = reference.f1_score(gold, predicted, average=average)
        assert found[f"{average}_f1"] == pytest.approx(want)


def test_binary_conventions_match_one_problem_per_class(labels):
    gold, predicted = labels
    found = scores(confusion(gold, predicted, C))
    pairs = [(gold == c, predicted == c) for c in range(C)]
    accuracy = np.mean([reference.accuracy_score(*pair) for pair in pairs])
    f1 = np.mean([reference.f1_score(*pair, average="weighted") for pair in pairs])
    assert found["one_vs_all_accuracy"] == pytest.approx(accuracy)
    assert found["binary_weighted_f1"] == pytest.approx(f1)


def test_class_scores_match_scikit_learn_where_a_class_is_never_seen():
    gold, predicted = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 3, 2, 0])  # 3 never true, 4 nowhere
    found = per_class(confusion(gold, predicted, C))
    want = reference.precision_recall_fscore_support(gold, predicted, labels=range(C), zero_division=0)
    for name, values in zip(("precision", "recall", "f1", "support"), want, strict=True):
        np.testing.assert_allclose(found[name], values)
    recalls = [1 / 2, 1, 1 / 3]  # classes 3 and 4 do not occur
    assert scores(confusion(gold, predicted, C))["balanced_accuracy"] == pytest.approx(np.mean(recalls))


def test_a_stack_is_scored_as_its_parts(labels):
    gold, predicted = labels
    parts = [confusion(gold[:37], predicted[:37], C), confusion(gold[37:], predicted[37:], C)]
    for name, values in scores(np.stack(parts)).items():
        np.testing.assert_allclose(values, [scores(part)[name] for part in parts])


def test_the_order_of_classes_changes_no_score(labels):
    counts = confusion(*labels, C)
    order = np.random.default_rng(3).permutation(C)
    assert scores(counts[order][:, order]) == pytest.approx(scores(counts))


def test_the_papers_accuracy_is_no_one_vs_all():
    """Reading R15: 71.78 one-vs-all over 6 classes would be 15.3 % plain."""
    assert pytest.approx(0.1534, abs=1e-4) == 1 - (1 - 0.7178) * 6 / 2
    plain = np.full((6, 6), (1 - 0.1534) / 30) + np.eye(6) * (0.1534 / 6 - (1 - 0.1534) / 30)
    assert scores(plain)["one_vs_all_accuracy"] == pytest.approx(0.7178, abs=1e-4)


@pytest.mark.parametrize(
    ("gold", "predicted", "words"),
    [([0, 1], [0], "want"), ([0, 5], [0, 1], "gold runs from 0 to 5"), ([0], [-1], "predicted runs from -1")],
)
def test_refuses_what_is_no_pair_of_labels(gold, predicted, words):
    with pytest.raises(ValueError, match=words):
        confusion(gold, predicted, C)


def test_refuses_names_and_empty_matrices():
    with pytest.raises(TypeError, match="class numbers"):
        confusion(["sad"], ["sad"], C)
    with pytest.raises(ValueError, match="no utterance"):
        scores(np.zeros((C, C)))
    with pytest.raises(ValueError, match="C, C"):
        scores(np.ones((2, 3)))
