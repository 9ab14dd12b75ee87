"""A linear-chain CRF over a model's outputs: what neighbouring labels alone are worth.

Letters: D dialogues of n_d turns, N in all, C classes.  A path y of a dialogue scores

    sum_t w logit(y_t | turn t) + sum_t T[y_(t-1), y_t]

so that w = 1, T = 0 is the model itself.  w and T are fitted on validation dialogues by likelihood, with a
normal prior around (1, 0).  A turn's class is the most probable one over all paths.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

PRIOR = 1.0  # standard deviation of w and of each transition
STEPS = 50  # of L-BFGS, at most


def decoded(
    validation: np.ndarray, gold: np.ndarray, lengths: Sequence[int], test: np.ndarray, test_lengths: Sequence[int]
) -> np.ndarray:
    """(N,) classes of the test turns.  validation, test: logits (N, C), dialogue after dialogue; gold: (N,)."""
    weight, transitions = fit(validation, gold, lengths)
    return marginals(test, test_lengths, weight, transitions).argmax(-1).numpy()


def fit(logits: np.ndarray, gold: np.ndarray, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """w, a number, and T, (C, C) from one class to the next.  gold: every turn's class."""
    scores, last = _padded(logits, lengths)
    classes = scores.shape[-1]
    path, _ = _padded(np.eye(classes)[gold], lengths)
    weight = torch.ones((), dtype=scores.dtype, requires_grad=True)
    transitions = torch.zeros(classes, classes, dtype=scores.dtype, requires_grad=True)
    pairs = torch.einsum("dtc,dte->ce", path[:, :-1], path[:, 1:])  # a padded turn has no class
    optimiser = torch.optim.LBFGS([weight, transitions], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        right = weight * (path * scores).sum() + (pairs * transitions).sum()
        prior = ((weight - 1) ** 2 + transitions.square().sum()) / (2 * PRIOR**2)
        value = log_partition(weight * scores, transitions, last).sum() - right + prior
        value.backward()
        return value

    optimiser.step(loss)
    return weight.detach(), transitions.detach()


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
