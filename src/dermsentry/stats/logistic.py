"""scikit-learn's logistic regression, and its probabilities of what it was not fitted on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

PENALTIES = (3.0, 30.0, 300.0)
"""Strengths of the L2 penalty that are tried; the one with the least out-of-fold log loss is kept."""
DIRECTIONS = 128
"""Principal components that are fitted on: fewer than photographs, and all that a linear probe needs."""


_BLOCK = 2_048  # rows of features that are in memory at once


class Rows(Protocol):
    """The rows of a matrix: an array, or what reads them when they are asked for."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, rows: Any, /) -> NDArray[Any]:
        """Those of a slice or of numbers, (m, d)."""
        ...


def logistic_regression(
    x: NDArray[Any],
    y: ArrayLike,
    penalty: float,
    *,
    sample_weight: NDArray[np.float64] | None = None,
    **options: Any,
) -> Any:
    """scikit-learn's, fitted by L-BFGS; `penalty` is its `C`, `options` are those of `LogisticRegression`."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=penalty, **options)
    with warnings.catch_warnings():
        # A fit that stopped early is evaluated on held-out images like any other.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, y, sample_weight=sample_weight)


def out_of_fold(features: Rows, labels: Sequence[int], folds: Sequence[int], classes: int) -> Floats:
    """Probabilities (n, classes) of each row by a regression that was fitted without its fold.

    Parameters
    ----------
    features
        (n, d), such as embeddings; standardised, and reduced to their first principal components, without
        their labels. They are read twice, a part at a time: only their components are in memory.
    labels
        A class of each row, 0 to `classes` - 1, or -1 where it is not known: such rows are predicted only.
    folds
        A fold of each row, at least two; what belongs together has to be in one.
    classes
        How many classes there are. One that a fold's rest does not have gets a probability of 0.
    """
    x, y, fold = _components(features), np.asarray(labels), np.asarray(folds)
    known = np.flatnonzero(y >= 0)
    best, least = np.full((len(x), classes), 1 / classes), np.inf
    for penalty in PENALTIES:
        found = np.empty((len(x), classes))
        for held in np.unique(fold):
            train = known[fold[known] != held]
            found[fold == held] = _predicted(x[train], y[train], x[fold == held], classes, penalty)
        loss = -float(np.log(np.maximum(found[known, y[known]], 1e-12)).mean()) if len(known) else 0.0
        if loss < least:
            best, least = found, loss
    return best


def _predicted(x: Floats, y: NDArray[Any], held: Floats, classes: int, penalty: float) -> Floats:
    """Probabilities of `held` by a regression on `x`; where there is nothing to fit, the classes' shares."""
    if not len(y):
        return np.full((len(held), classes), 1 / classes)
    counts = np.bincount(y, minlength=classes)
    present = np.flatnonzero(counts)
    if len(present) == 1 or not x.shape[1]:
        return np.tile(counts / len(y), (len(held), 1))
    # For two classes scikit-learn fits one row of weights, which the same penalty shrinks twice as much.
    inverse = (2 if len(present) == 2 else 1) / penalty
    found = np.zeros((len(held), classes))
    found[:, present] = logistic_regression(x, y, inverse, max_iter=200).predict_proba(held)
    return found


def _components(features: Rows) -> Floats:
    """Standardised features along their principal components, of variance 1 in all."""
    n = len(features)
    parts = [slice(start, start + _BLOCK) for start in range(0, n, _BLOCK)]
    first = np.asarray(features[:1], np.float64)  # near all others: so what is constant has no spread at all
    total, products = np.zeros(first.shape[1]), np.zeros((first.shape[1],) * 2)
    for part in parts:
        x = np.asarray(features[part], np.float64) - first
        total += x.sum(axis=0)
        products += x.T @ x
    mean = total / max(n, 1)
    covariance = products / max(n, 1) - np.outer(mean, mean)
    spread = np.sqrt(np.maximum(covariance.diagonal(), 0))
    spread = np.where(spread > 0, spread, 1.0)
    values, vectors = np.linalg.eigh(covariance / np.outer(spread, spread))
    kept = np.argsort(values)[::-1][:DIRECTIONS]
    kept = kept[values[kept] > 1e-9]
    scale = np.sqrt(values[kept].mean()) if len(kept) else 1.0
    made = np.empty((n, len(kept)))
    for part in parts:
        x = (np.asarray(features[part], np.float64) - first - mean) / spread
        made[part] = x @ vectors[:, kept] / scale
    return made
