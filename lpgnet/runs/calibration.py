"""Whether a probability means what it says: temperature, calibration errors, conformal sets, risk and coverage.

A conformal set (Vovk et al. 2005; split-conformal, with the score 1 - p of the true class) holds the true class
with at least the wanted probability where the new turn and those of validation are exchangeable: in any order
equally likely.  Turns of one dialogue depend on each other, other speakers differ, and validation has chosen the
epoch and the temperature too; so the promise is near, not exact, and the report says what was found.

Letters: N utterances, C classes; probabilities (N, C) with rows that sum to one, labels (N,) from 0 to C - 1.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

COLDEST, HOTTEST = 0.05, 20.0  # temperatures that are looked at
TINY = 1e-12  # below which a probability has no logarithm worth having
SURE = 0.5  # a turn whose top probability is below is abstained from (Chow's rule, an abstention costs half an error)
COVERAGE = 0.9  # how often a set holds the true class, unless another is asked for
PLACES = 6  # decimals of the probabilities that a record keeps of validation; sets compare as many


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The T > 0 whose softmax(logits / T) has the best log-likelihood (Guo et al. 2017), on validation.

    logits (N, C); labels below 0 don't count.  1.0 where nothing is left to fit on.
    """
    scored = labels >= 0
    if not scored.any():
        return 1.0
    logits, rows, labels = logits[scored].astype(float), np.arange(scored.sum()), labels[scored]

    def loss(log_t: float) -> float:
        return -log_softmax(logits / np.exp(log_t), axis=-1)[rows, labels].mean()

    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def scaled(probabilities: np.ndarray, t: float) -> np.ndarray:
    """softmax(logits / t) from softmax(logits)."""
    return softmax(np.log(np.maximum(probabilities, TINY)) / t, axis=-1)


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """Mean confidence, accuracy and count of the utterances in each bin of confidence that has any."""
    confidence = probabilities.max(-1)
    right = probabilities.argmax(-1) == labels
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    frame = pd.DataFrame({"bin": which, "confidence": confidence, "accuracy": right, "count": 1})
    return frame.groupby("bin").agg({"confidence": "mean", "accuracy": "mean", "count": "sum"}).reset_index()


def ece(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: |accuracy - confidence| over the bins, weighted by their counts."""
    table = reliability(probabilities, labels, bins)
    gap = (table["accuracy"] - table["confidence"]).abs()
    return float((gap * table["count"]).sum() / table["count"].sum())


def classwise_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """Mean over the classes of |share of it - probability of it| over bins of that probability, weighted by counts.

    Kull et al. 2019.  Where `ece` looks at the top class alone, this looks at each class's probability.
    """
    which = np.minimum((probabilities * bins).astype(int), bins - 1)
    is_class = labels[:, None] == np.arange(probabilities.shape[1])
    gaps = [
        np.abs(np.bincount(b, weights=hit - p, minlength=bins)).sum()
        for b, hit, p in zip(which.T, is_class.T, probabilities.T, strict=True)
    ]
    return float(np.mean(gaps) / len(labels))


def brier(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared distance to the true class's one and the others' zero, summed over classes: 0 to 2."""
    return float(((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(1).mean())


def threshold(validation: Mapping[str, Sequence[float]], coverage: float) -> float:
    """The least probability with which a class is in a set: q of split-conformal prediction.

    validation: class -> probability of it of each validation utterance of it, as a record has them; n in all.
    Of the n scores 1 - p the ceil((n + 1) coverage)-th smallest counts; 0, so that every class is in, where n
    is too small for that.
    """
    if not 0 < coverage < 1:
        raise ValueError(f"coverage is {coverage}: want a number between 0 and 1, as 0.9")
    sure = sorted((p for of_class in validation.values() for p in of_class), reverse=True)
    place = math.ceil(round((len(sure) + 1) * coverage, 9))  # rounded, since 0.55 * 100 is a little more than 55
    return sure[place - 1] if place <= len(sure) else 0.0


def sets(probabilities: np.ndarray, least: float | np.ndarray) -> np.ndarray:
    """(N, C) bool: which classes are in each utterance's set.  least: of `threshold`, one or (N, 1).

    The top class always is: an empty set would say nothing, and one more class never lowers the coverage.
    """
    top = probabilities.argmax(1)[:, None] == np.arange(probabilities.shape[1])
    return (probabilities.round(PLACES) >= least) | top


def risk(probabilities: np.ndarray, labels: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """(K,) share of errors among the surest utterances, for each share (K,) of them that is answered, above 0."""
    wrong = (probabilities.argmax(1) != labels)[np.argsort(-probabilities.max(1), kind="stable")]
    answered = np.ceil(np.round(shares * len(wrong), 9)).astype(int)
    return wrong.cumsum()[answered - 1] / answered
