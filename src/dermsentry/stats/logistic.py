"""Multinomial logistic regression, and its probabilities of what it was not fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

PENALTIES = (3.0, 30.0, 300.0)
"""Strengths of the L2 penalty that are tried; the one with the least out-of-fold log loss is kept."""
DIRECTIONS = 128
"""Principal components that are fitted on: fewer than photographs, and all that a linear probe needs."""


def out_of_fold(features: ArrayLike, labels: Sequence[int], folds: Sequence[int], classes: int) -> Floats:
    """Probabilities (n, classes) of each row by a regression that was fitted without its fold.

    Parameters
    ----------
    features
        (n, d), such as embeddings; standardised, and reduced to their first principal components, without
        their labels.
    labels
        A class of each row, 0 to `classes` - 1, or -1 where it is not known: such rows are predicted only.
    folds
        A fold of each row, at least two; what belongs together has to be in one.
    classes
        How many classes there are. One that a fold's rest does not have gets a probability near 0.
    """
    x, y, fold = _components(features), np.asarray(labels), np.asarray(folds)
    known = np.flatnonzero(y >= 0)
    best, least = np.full((len(x), classes), 1 / classes), np.inf
    for penalty in PENALTIES:
        found = np.empty((len(x), classes))
        for held in np.unique(fold):
            train = known[fold[known] != held]
            found[fold == held] = _predict(fit(x[train], y[train], classes, penalty), x[fold == held])
        loss = -float(np.log(np.maximum(found[known, y[known]], 1e-12)).mean()) if len(known) else 0.0
        if loss < least:
            best, least = found, loss
    return best


def fit(x: Floats, y: NDArray[Any], classes: int, penalty: float) -> Floats:
    """Weights (d + 1, classes), the intercepts last, by L-BFGS; `penalty` is that of the summed log loss."""
    from scipy.optimize import minimize

    if not len(x):
        return np.zeros((x.shape[1] + 1, classes))
    whole = np.column_stack([x, np.ones(len(x))])
    hot = np.eye(classes)[y]
    shrunk = np.ones((whole.shape[1], 1)) * penalty
    shrunk[-1] = 1e-3  # an intercept is hardly shrunk, and finite where a class has no row

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(-1, classes)
        logits = whole @ weights
        logits -= logits.max(axis=1, keepdims=True)
        total = np.log(np.exp(logits).sum(axis=1, keepdims=True))
        value = -float((hot * (logits - total)).sum()) + 0.5 * float((shrunk * weights**2).sum())
        return value, (whole.T @ (np.exp(logits - total) - hot) + shrunk * weights).ravel()

    start = np.zeros(whole.shape[1] * classes)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return np.asarray(found.x.reshape(-1, classes))


def _predict(weights: Floats, x: Floats) -> Floats:
    logits = x @ weights[:-1] + weights[-1]
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _components(features: ArrayLike) -> Floats:
    """Standardised features along their principal components, of variance 1 in all."""
    x = np.asarray(features, dtype=np.float64)
    x = x - x.mean(axis=0)
    spread = x.std(axis=0)
    x = x / np.where(spread > 0, spread, 1.0)
    values, vectors = np.linalg.eigh(x.T @ x / max(len(x), 1))
    kept = np.argsort(values)[::-1][:DIRECTIONS]
    kept = kept[values[kept] > 1e-9]
    made = x @ vectors[:, kept]
    scale = np.sqrt(values[kept].mean()) if len(kept) else 1.0
    return np.asarray(made / scale)
