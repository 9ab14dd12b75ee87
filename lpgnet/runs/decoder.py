"""A linear-chain CRF over a model's outputs: what neighbouring labels alone are worth.

Letters: D dialogues of n_d turns, N in all, C classes.  A path y of a dialogue scores

    sum_t w logit(y_t | turn t) + sum_t v T[y_(t-1), y_t],    T[a, b] = log P(b after a) / P(b)

so that w = 1, v = 0 is the model itself.  T is counted on the labels of the training dialogues; w and v alone are
fitted on validation dialogues, too few for a whole matrix, by likelihood with a normal prior around (1, 1).  A
turn's class is the most probable one over all paths.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

PRIOR = 1.0  # standard deviation of w and v around 1
STEPS = 50  # of L-BFGS, at most


def decoded(
    training: Sequence[np.ndarray],
    validation: np.ndarray,
    gold: np.ndarray,
    lengths: Sequence[int],
    test: np.ndarray,
    test_lengths: Sequence[int],
) -> np.ndarray:
    """(N,) classes of the test turns.

    training: the classes of each training dialogue.  validation, test: logits (N, C), dialogue after dialogue;
    gold: (N,) of the validation turns.
    """
    kept = affinity(training, test.shape[-1])
    weight, share = fit(validation, gold, lengths, kept)
    return marginals(test, test_lengths, weight, share * kept).argmax(-1).numpy()


def affinity(dialogues: Sequence[np.ndarray], classes: int) -> Tensor:
    """T, (C, C): log of how much likelier a class is after another than anywhere, one added to every count."""
    counts = np.ones((classes, classes))
    for labels in dialogues:
        np.add.at(counts, (labels[:-1], labels[1:]), 1)
    after, anywhere = counts / counts.sum(1, keepdims=True), counts.sum(0) / counts.sum()
    return torch.as_tensor(np.log(after / anywhere))


def fit(logits: np.ndarray, gold: np.ndarray, lengths: Sequence[int], kept: Tensor) -> tuple[Tensor, Tensor]:
    """w and v.  gold: every turn's class; kept: T."""
    scores, last = _padded(logits, lengths)
    path, _ = _padded(np.eye(scores.shape[-1])[gold], lengths)
    weight, share = (torch.ones((), dtype=scores.dtype, requires_grad=True) for _ in range(2))
    pairs = torch.einsum("dtc,dte->ce", path[:, :-1], path[:, 1:])  # a padded turn has no class
    optimiser = torch.optim.LBFGS([weight, share], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        right = weight * (path * scores).sum() + share * (pairs * kept).sum()
        prior = ((weight - 1) ** 2 + (share - 1) ** 2) / (2 * PRIOR**2)
        value = log_partition(weight * scores, share * kept, last).sum() - right + prior
        value.backward()
        return value

    optimiser.step(loss)
    return weight.detach(), share.detach()


def marginals(logits: np.ndarray, lengths: Sequence[int], weight: Tensor, transitions: Tensor) -> Tensor:
    """(N, C) probability of each class of each turn over all paths: the gradient of log Z in the turn's scores."""
    scores, last = _padded(logits, lengths)
    scores = (weight * scores).requires_grad_()
    (found,) = torch.autograd.grad(log_partition(scores, transitions, last).sum(), scores)
    return torch.cat([turns[:n] for turns, n in zip(found, lengths, strict=True)])


def log_partition(scores: Tensor, transitions: Tensor, last: Tensor) -> Tensor:
    """(D,) log of the sum over all paths.  scores: (D, U, C), padded; last: (D,) the place of the last turn."""
    alpha = [scores[:, 0]]
    for turn in range(1, scores.shape[1]):
        alpha.append((alpha[-1][:, :, None] + transitions).logsumexp(1) + scores[:, turn])
    return torch.stack(alpha, 1)[torch.arange(len(last)), last].logsumexp(-1)


def _padded(rows: np.ndarray, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """(D, U, C) of (N, C), zeros behind a dialogue's end, in double precision."""
    pieces = torch.as_tensor(rows, dtype=torch.float64).split(list(lengths))
    return torch.nn.utils.rnn.pad_sequence(list(pieces), batch_first=True), torch.tensor(lengths) - 1
