"""Multinomial logistic regression, against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest

from dermsentry.stats.logistic import _predict, fit, out_of_fold


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, 240)
    return rng.normal(0, 1, (240, 6)) + 1.2 * np.eye(3, 6)[y], y


def test_it_is_the_same_as_scikit_learn() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = data()
    own = _predict(fit(x, y, 3, penalty=2.0), x)
    theirs = linear_model.LogisticRegression(C=0.5, max_iter=1000, tol=1e-8).fit(x, y).predict_proba(x)
    assert np.abs(own - theirs).max() < 0.002


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
