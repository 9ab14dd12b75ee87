"""Whether a probability means what it says: temperature scaling, and how far confidence is from accuracy.

Letters: N utterances, C classes; probabilities (N, C) with rows that sum to one, labels (N,) from 0 to C - 1.
"""

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

COLDEST, HOTTEST = 0.05, 20.0  # temperatures that are looked at
TINY = 1e-12  # below which a probability has no logarithm worth having


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
