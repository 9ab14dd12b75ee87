"""The linear-chain CRF over a model's outputs, against the sum over all paths."""

from itertools import pairwise, product

import numpy as np
import torch

from lpgnet.runs import decoder


def paths(logits: np.ndarray, weight: float, transitions: np.ndarray) -> tuple[float, np.ndarray]:
    """log Z and (U, C) marginals of one dialogue, path by path."""
    turns, classes = logits.shape
    total, marginal = 0.0, np.zeros((turns, classes))
    for path in product(range(classes), repeat=turns):
        score = weight * sum(logits[t, c] for t, c in enumerate(path))
        score += sum(transitions[a, b] for a, b in pairwise(path))
        total += np.exp(score)
        marginal[range(turns), path] += np.exp(score)
    return np.log(total), marginal / total


def test_partition_and_marginals_are_sums_over_all_paths():
    rng = np.random.default_rng(0)
    lengths, transitions = [4, 1, 3], rng.normal(size=(3, 3))
    logits = rng.normal(size=(8, 3))
    weight, moves = torch.tensor(1.3, dtype=torch.float64), torch.tensor(transitions)
    pieces = np.split(logits, np.cumsum(lengths)[:-1])
    want = [paths(piece, 1.3, transitions) for piece in pieces]
    scores, last = decoder._padded(1.3 * logits, lengths)
    np.testing.assert_allclose(decoder.log_partition(scores, moves, last), [z for z, _ in want])
    np.testing.assert_allclose(decoder.marginals(logits, lengths, weight, moves), np.concatenate([m for _, m in want]))


def test_affinity_by_hand():
    """Of 0 0 1 and 1 1: after 0 one 0 and one 1, after 1 one 1; and one more of each."""
    counts = np.array([[2, 2], [1, 2]])
    want = np.log(counts / counts.sum(1, keepdims=True) / (counts.sum(0) / 7))
    np.testing.assert_allclose(decoder.affinity([np.array([0, 0, 1]), np.array([1, 1])], 2), want)


def test_the_fit_is_the_most_likely_one_under_its_prior():
    """No step in any direction is better."""
    rng = np.random.default_rng(1)
    lengths, logits, gold = [5, 4, 6], rng.normal(size=(15, 2)), rng.integers(2, size=15)
    kept = rng.normal(size=(2, 2))
    weight, share = decoder.fit(logits, gold, lengths, torch.tensor(kept))

    def loss(w: float, v: float) -> float:
        value = ((w - 1) ** 2 + (v - 1) ** 2) / (2 * decoder.PRIOR**2)
        cuts = np.cumsum(lengths)[:-1]
        for piece, right in zip(np.split(logits, cuts), np.split(gold, cuts), strict=True):
            score = w * piece[range(len(right)), right].sum() + v * kept[right[:-1], right[1:]].sum()
            value += paths(piece, w, v * kept)[0] - score
        return value

    w, v = weight.item(), share.item()
    for step in (1e-2, -1e-2):
        assert loss(w + step, v) > loss(w, v) < loss(w, v + step)


def test_labels_that_stay_mend_a_model_that_sees_single_turns():
    """Classes that hold for long: the chain mends many turns; of single turns it moves none."""
    rng = np.random.default_rng(2)
    states = np.repeat(rng.integers(3, size=100), 10)
    logits = 1.0 * np.eye(3)[states] + rng.normal(size=(1000, 3))
    dialogues, half = np.split(states, 20), 500
    found = decoder.decoded(dialogues[:5], logits[250:half], states[250:half], [50] * 5, logits[half:], [50] * 10)
    alone = (logits[half:].argmax(1) == states[half:]).mean()
    assert (found == states[half:]).mean() > alone + 0.15
    single = decoder.marginals(logits, [1] * 1000, torch.ones((), dtype=torch.float64), torch.zeros(3, 3))
    assert (single.argmax(1).numpy() == logits.argmax(1)).all()
