"""Confusion matrix -> every metric convention (docs/readings.md, R15), in fractions.

Shapes: C classes; a confusion matrix is (C, C) counts, rows gold, columns predicted.  `scores` also
takes a stack (..., C, C), so that a bootstrap scores all its draws in one call.
"""

import numpy as np
from numpy.typing import ArrayLike

METRICS = (
    "accuracy",
    "weighted_f1",
    "balanced_accuracy",
    "macro_f1",
    "one_vs_all_accuracy",
    "binary_weighted_f1",
)


def confusion(gold: ArrayLike, predicted: ArrayLike, classes: int) -> np.ndarray:
    """(C, C) counts, rows gold, columns predicted; both inputs are class numbers from 0."""
    gold, predicted = np.asarray(gold), np.asarray(predicted)
    if gold.shape != predicted.shape or gold.ndim != 1:
        raise ValueError(f"gold is {gold.shape}, predicted is {predicted.shape}: want (N,) twice")
    for name, values in (("gold", gold), ("predicted", predicted)):
        if values.size and not np.issubdtype(values.dtype, np.integer):
            raise TypeError(f"{name} holds {values.dtype}: want class numbers")
        if values.size and not 0 <= values.min() <= values.max() < classes:
            found = f"{values.min()} to {values.max()}"
            raise ValueError(f"{name} runs from {found}: want 0 to {classes - 1}")
    cells = gold.astype(int) * classes + predicted.astype(int)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def per_class(confusion: ArrayLike) -> dict[str, np.ndarray]:
    """Precision, recall, f1 and support, each (..., C); 0/0 is 0."""
    counts = _checked(confusion)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    support, claimed = counts.sum(-1), counts.sum(-2)
    return {
        "precision": _ratio(right, claimed),
        "recall": _ratio(right, support),
        "f1": _ratio(2 * right, support + claimed),
        "support": support,
    }


def scores(confusion: ArrayLike) -> dict[str, float]:
    """Every metric of METRICS as a float; for a stack (..., C, C), as arrays (...).

    Balanced accuracy averages recall over the classes that occur; the macro and binary scores
    average over all C, a class that never occurs counting as scikit-learn's zero_division=0 has it.
    """
    counts = _checked(confusion)
    each, total, classes = per_class(counts), counts.sum((-2, -1)), counts.shape[-1]
    support = each["support"]
    accuracy = np.trace(counts, axis1=-2, axis2=-1) / total
    result = {
        "accuracy": accuracy,
        "weighted_f1": (support * each["f1"]).sum(-1) / total,
        "balanced_accuracy": each["recall"].sum(-1) / (support > 0).sum(-1),
        "macro_f1": each["f1"].mean(-1),
        "one_vs_all_accuracy": 1 - 2 * (1 - accuracy) / classes,
        "binary_weighted_f1": _binary_weighted_f1(counts).mean(-1),
    }
    return {name: float(v) if counts.ndim == 2 else v for name, v in result.items()}


def _binary_weighted_f1(counts: np.ndarray) -> np.ndarray:
    """Support-weighted F1 of each class against the rest, (..., C)."""
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    support, claimed = counts.sum(-1), counts.sum(-2)
    total = counts.sum((-2, -1))[..., None]
    wrong = support + claimed - 2 * right  # of the one-vs-all problem: misses and false alarms
    inside = _ratio(2 * right, 2 * right + wrong)
    rest = total - right - wrong  # neither gold nor predicted is this class
    outside = _ratio(2 * rest, 2 * rest + wrong)
    return (support * inside + (total - support) * outside) / total


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros(np.shape(above)), where=below != 0)


def _checked(confusion: ArrayLike) -> np.ndarray:
    counts = np.asarray(confusion, dtype=float)
    if counts.ndim < 2 or counts.shape[-1] != counts.shape[-2]:
        raise ValueError(f"confusion is {counts.shape}: want (..., C, C)")
    if (counts.sum((-2, -1)) == 0).any():
        raise ValueError("a confusion matrix counts no utterance: there is nothing to score")
    return counts
