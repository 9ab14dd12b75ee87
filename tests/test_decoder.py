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


def test_the_fit_is_the_most_likely_one_under_its_prior():
    """No step in any direction is better."""
    rng = np.random.default_rng(1)
    lengths, logits, gold = [5, 4, 6], rng.normal(size=(15, 2)), rng.integers(2, size=15)
    weight, transitions = decoder.fit(logits, gold, lengths)

    def loss(w: float, moves: np.ndarray) -> float:
        value = ((w - 1) ** 2 + (moves**2).sum()) / (2 * decoder.PRIOR**2)
        cuts = np.cumsum(lengths)[:-1]
        for piece, right in zip(np.split(logits, cuts), np.split(gold, cuts), strict=True):
            score = w * piece[range(len(right)), right].sum() + moves[right[:-1], right[1:]].sum()
            value += paths(piece, w, moves)[0] - score
        return value

    w, moves = weight.item(), transitions.numpy()
    best = loss(w, moves)
    for step in (1e-2, -1e-2):
        assert loss(w + step, moves) > best
        for at in np.ndindex(moves.shape):
            other = moves.copy()
            other[at] += step
            assert loss(w, other) > best


def test_labels_that_stay_mend_a_model_that_sees_single_turns():
    """Classes that hold for long: the chain mends many turns; of single turns it moves none."""
    rng = np.random.default_rng(2)
    states = np.repeat(rng.integers(3, size=100), 10)
    logits = 1.0 * np.eye(3)[states] + rng.normal(size=(1000, 3))
    lengths = [50] * 20
    half = 500
    found = decoder.decoded(logits[:half], states[:half], lengths[:10], logits[half:], lengths[10:])
    alone = (logits[half:].argmax(1) == states[half:]).mean()
    assert (found == states[half:]).mean() > alone + 0.2
    single = decoder.marginals(logits, [1] * 1000, torch.ones((), dtype=torch.float64), torch.zeros(3, 3))
    assert (single.argmax(1).numpy() == logits.argmax(1)).all()
