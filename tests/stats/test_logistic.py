"""Probabilities of what a logistic regression was not fitted on."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from dermsentry.stats.logistic import PENALTIES, _components, _predicted, out_of_fold


def data(seed: int = 0, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, 240)
    return rng.normal(0, 1, (240, 6)) + 1.2 * np.eye(classes, 6)[y], y


@pytest.mark.parametrize("classes", [2, 3])
def test_the_penalty_is_that_of_the_multinomial_log_loss(classes: int) -> None:
    x, y = data(classes=classes)
    whole, hot = np.column_stack([x, np.ones(len(x))]), np.eye(classes)[y]

    def shares(weights: np.ndarray) -> np.ndarray:
        logits = np.exp(whole @ weights.reshape(-1, classes))
        return logits / logits.sum(axis=1, keepdims=True)

    def loss(weights: np.ndarray) -> float:
        own = -np.log((hot * shares(weights)).sum(axis=1)).sum()
        return float(own + 30.0 / 2 * (weights.reshape(-1, classes)[:-1] ** 2).sum())

    by_hand = shares(minimize(loss, np.zeros(whole.shape[1] * classes)).x)
    assert np.abs(_predicted(x, y, x, classes, 30.0) - by_hand).max() < 0.002


def test_a_fold_is_predicted_without_it() -> None:
    x, y = data()
    folds = np.arange(240) % 5
    plain = out_of_fold(x, y.tolist(), folds.tolist(), 3)
    assert (plain.argmax(axis=1) == y).mean() > 0.6
    assert np.allclose(plain.sum(axis=1), 1)
    changed = y.copy()
    changed[0] = (y[0] + 1) % 3  # its own label says nothing of it
    assert np.abs(out_of_fold(x, changed.tolist(), folds.tolist(), 3)[0] - plain[0]).max() < 1e-6
    unknown = y.copy()
    unknown[folds == 1] = -1
    assert np.isfinite(out_of_fold(x, unknown.tolist(), folds.tolist(), 3)).all()


def test_a_class_that_only_one_fold_has_is_not_guessed_there() -> None:
    x, y = data()
    folds = np.arange(240) % 5
    y[:] = np.where(folds == 0, 2, y % 2)
    found = out_of_fold(x, y.tolist(), folds.tolist(), 3)
    assert (found[folds == 0, 2] == 0).all()
    assert np.allclose(found.sum(axis=1), 1)


@pytest.mark.parametrize(("labels", "expected"), [([1] * 10, [0, 1, 0]), ([-1] * 10, [1 / 3] * 3)])
def test_one_class_or_none_is_no_regression(labels: list[int], expected: list[float]) -> None:
    x, _ = data()
    found = out_of_fold(x[:10], labels, [0, 1] * 5, 3)
    assert np.allclose(found, expected)
    assert len(PENALTIES) > 1


def test_features_become_uncorrelated_of_variance_one_and_constant_ones_nothing() -> None:
    x, _ = data()
    made = _components(np.column_stack([x, np.full(240, 7.0)]))
    assert made.shape == (240, 6)
    assert np.allclose(np.cov(made.T, bias=True), np.diag(made.var(axis=0)), atol=1e-9)
    assert made.var(axis=0).mean() == pytest.approx(1)
    assert _components(np.ones((5, 3))).shape == (5, 0)
    assert np.isfinite(out_of_fold(np.ones((6, 3)), [0, 1, 0, 1, 0, 1], [0, 0, 1, 1, 2, 2], 2)).all()
