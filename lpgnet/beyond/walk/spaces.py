"""Both feature spaces of a corpus in two dimensions, by class: what a model is given to begin with."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lpgnet.config import MODALITIES
from lpgnet.corpora.table import utterances
from lpgnet.features.store import Features
from lpgnet.labels import labelled, rule
from lpgnet.places import Place
from lpgnet.runs.plan import describe
from lpgnet.tables.figures.theme import class_colours, empty_figure, themed, titled
from lpgnet.tables.typeset import warning

MOST = 3000  # utterances that are drawn; the first ones


def vectors(place: Place) -> tuple[dict[str, np.ndarray], pd.Series]:
    """Per modality (n, F) of the labelled utterances, NaN rows where one lacks it; and their classes."""
    label = labelled(utterances(place.features), place.labels).dropna()[:MOST]
    sets = describe(place)["features"]
    rows = {
        m: Features(place.features, sets[m]).vectors()[label.index.tolist()].float().numpy()
        for m in MODALITIES
        if m in sets
    }
    return rows, label


def flattened(rows: np.ndarray) -> tuple[np.ndarray, float]:
    """(n, F) -> (n, 2), the two directions of largest spread of the standardised columns, and their share of it."""
    from sklearn.decomposition import PCA

    spread = rows.std(0)
    rows = (rows - rows.mean(0)) / np.where(spread > 0, spread, 1)
    fitted = PCA(2, svd_solver="covariance_eigh").fit(rows)
    return fitted.transform(rows), float(fitted.explained_variance_ratio_.sum())


@themed
def feature_spaces(place: Place) -> Figure:
    """A panel per modality: PCA of the vectors as extracted, standardised, a point per labelled utterance."""
    rows, label = vectors(place)
    classes = rule(utterances(place.features), place.labels).classes
    figure, axes = empty_figure(10.5 if len(rows) > 1 else 6, 5, len(rows))
    for axis, (modality, x) in zip(axes, rows.items(), strict=True):
        _points(axis, modality, x, label.to_numpy(), classes)
    text = f"{place.name}, labels {place.labels}: {len(label)} utterances.{warning(place.corpus)}"
    return titled(figure, "Both feature spaces, by class", f"{text} Axes are of each panel alone.", axes[0])


def _points(axis: Axes, modality: str, x: np.ndarray, label: np.ndarray, classes: tuple[str, ...]) -> None:
    there = ~np.isnan(x).any(1)
    points, share = flattened(x[there])
    for colour, name in zip(class_colours(classes), classes, strict=True):
        axis.scatter(*points[label[there] == name].T, s=9, color=colour, label=name, alpha=0.7, linewidths=0)
    axis.set(xticks=[], yticks=[], title=f"{modality}: {x.shape[1]} features, {100 * share:.0f} % of the spread")
