"""Every measure against scikit-learn's of the same name, ties and weights included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as theirs

from dermsentry.stats import metrics as ours

CLOSE = {"rtol": 0, "atol": 1e-9}


@st.composite
def ranked(draw, both=True):
    """Truth, scores with many ties, weights; both classes have weight."""
    n = draw(st.integers(2, 40))
    truth = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    if both:
        truth[:2] = [True, False]
    score = st.integers(0, 8).map(lambda i: i / 8) | st.floats(0, 1)
    scores = np.array(draw(st.lists(score, min_size=n, max_size=n)))
    weights = np.array(draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)), dtype=float)
    weights[:2] += 1
    return truth, scores, weights


@st.composite
def classified(draw, classes=4):
    n = draw(st.integers(1, 40))
    column = st.lists(st.integers(0, classes - 1), min_size=n, max_size=n)
    weights = np.array(draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)), dtype=float)
    weights[0] += 1
    return np.array(draw(column)), np.array(draw(column)), weights


@given(ranked())
def test_ranking_figures(case):
    truth, scores, weights = case
    for w in (None, weights):
        ranking = ours.rank(truth, scores, sample_weight=w)
        area = theirs.roc_auc_score(truth, scores, sample_weight=w)
        precision = theirs.average_precision_score(truth, scores, sample_weight=w)
        np.testing.assert_allclose(ours.roc_auc_score(truth, scores, sample_weight=w), area, **CLOSE)
        np.testing.assert_allclose(ranking.roc_auc(), area, **CLOSE)
        np.testing.assert_allclose(ranking.average_precision(), precision, **CLOSE)


@given(ranked())
def test_curves(case):
    truth, scores, _ = case
    for mine, expected in zip(
        ours.roc_curve(truth, scores),
        theirs.roc_curve(truth, scores, drop_intermediate=False),
        strict=True,
    ):
        np.testing.assert_allclose(mine, expected, **CLOSE)
    for mine, expected in zip(
        ours.precision_recall_curve(truth, scores), theirs.precision_recall_curve(truth, scores), strict=True
    ):
        np.testing.assert_allclose(mine, expected, **CLOSE)


@given(classified())
def test_classification_figures(case):
    truth, predicted, weights = case
    labels = np.arange(4)
    for w in (None, weights):
        np.testing.assert_allclose(
            ours.accuracy_score(truth, predicted, sample_weight=w),
            theirs.accuracy_score(truth, predicted, sample_weight=w),
            **CLOSE,
        )
        np.testing.assert_allclose(
            ours.confusion_matrix(truth, predicted, labels=labels, sample_weight=w),
            theirs.confusion_matrix(truth, predicted, labels=labels, sample_weight=w),
            **CLOSE,
        )
        for name in ("recall_score", "precision_score"):
            mine = getattr(ours, name)(truth, predicted, labels=labels, sample_weight=w)
            expected = getattr(theirs, name)(
                truth, predicted, labels=labels, average=None, sample_weight=w, zero_division=np.nan
            )
            np.testing.assert_allclose(mine, expected, **CLOSE)


@given(classified(), st.integers(0, 2**32 - 1))
def test_losses(case, seed):
    truth, _, weights = case
    probability = np.random.default_rng(seed).dirichlet(np.full(4, 0.3), len(truth))
    for w in (None, weights):
        np.testing.assert_allclose(
            ours.log_loss(truth, probability, sample_weight=w),
            theirs.log_loss(truth, probability, labels=range(4), sample_weight=w),
            **CLOSE,
        )
        np.testing.assert_allclose(
            ours.brier_score_loss(truth, probability, sample_weight=w),
            theirs.brier_score_loss(truth, probability, labels=range(4), sample_weight=w),
            **CLOSE,
        )
        np.testing.assert_allclose(
            ours.brier_score_loss(truth == 1, probability[:, 1], sample_weight=w),
            theirs.brier_score_loss(truth == 1, probability[:, 1], sample_weight=w, pos_label=True),
            **CLOSE,
        )


def test_bins_of_equal_width_close_on_the_right():
    assert ours.bin_of([0.0, 0.1, 0.1000001, 0.95, 1.0], 10).tolist() == [0, 0, 1, 9, 9]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_bins_keep_equal_confidences_together(stated):
    for mass in (False, True):
        bins = ours.bin_of(stated, 10, equal_mass=mass)
        assert bins.min() >= 0
        assert bins.max() <= 9
        order = np.argsort(stated)
        assert (np.diff(bins[order]) >= 0).all()
        assert len({(s, b) for s, b in zip(stated, bins.tolist(), strict=True)}) == len(set(stated))


@given(ranked(), st.integers(0, 100))
def test_many_weights_at_once_are_each_alone(case, seed):
    truth, scores, _ = case
    weights = np.random.default_rng(seed).integers(0, 3, (3, 2, len(truth))).astype(float)
    predicted = scores > 0.5
    probability = np.stack([1 - scores, scores], axis=1)
    calls = {
        "roc_auc_score": (truth, scores),
        "accuracy_score": (truth, predicted),
        "log_loss": (truth, probability),
        "brier_score_loss": (truth, scores),
    }
    for name, arguments in calls.items():
        measure = getattr(ours, name)
        together = measure(*arguments, sample_weight=weights)
        assert together.shape == (3, 2)
        alone = [[measure(*arguments, sample_weight=w) for w in row] for row in weights]
        np.testing.assert_allclose(together, alone, **CLOSE)


def test_nothing_to_measure_is_nan_not_zero():
    assert np.isnan(ours.roc_auc_score([True, True], [0.1, 0.2]))
    assert np.isnan(ours.rank([False], [0.1]).average_precision())
    assert np.isnan(ours.recall_score([0], [0], labels=[0, 1])[1])
    assert np.isnan(ours.accuracy_score([0], [0], sample_weight=[0.0]))


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="2 truths and 1 predictions"):
        ours.accuracy_score([0, 1], [0])
    with pytest.raises(ValueError, match=r"expected \(\.\.\., 2\)"):
        ours.roc_auc_score([0, 1], [0.1, 0.2], sample_weight=[1.0])
    with pytest.raises(ValueError, match="at least one"):
        ours.roc_auc_score([], [])


def test_any_candidate_of_a_label_is_a_hit():
    labels = ["PBK|SK", "PBK|SK", "PBK|SK", "NV"]
    hits = ours.candidate_hits(labels, ["PBK", "SK", "AK", "NV"])
    assert hits.tolist() == [True, True, False, True]
    assert ours.mean_hit_rate(labels, hits) == pytest.approx((2 / 3 + 1) / 2)
