from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermsentry.errors import InputError
from dermsentry.evaluation.clinical_utility.operating_point import needed_threshold, threshold_for_sensitivity
from dermsentry.stats.intervals import exact_binomial
from dermsentry.stats.resampling import Resampler

SCORES = st.integers(0, 10).map(lambda i: i / 10) | st.floats(0, 1, width=32)


@given(
    st.lists(SCORES, min_size=1, max_size=30),
    st.lists(SCORES, max_size=30),
    st.sampled_from([0.5, 0.8, 0.95, 1.0]),
)
def test_reaches_the_sensitivity_and_no_higher_threshold_does(positives, negatives, sensitivity):
    score = np.array(positives + negatives)
    truth = np.arange(len(score)) < len(positives)
    point = threshold_for_sensitivity(truth, score, sensitivity)
    assert (score[truth] >= point.threshold).mean() >= sensitivity - 1e-12
    assert point.sensitivity.value >= sensitivity - 1e-12
    higher = np.unique(score[score >= point.threshold])
    stricter = [s for s in higher if (score >= s).sum() < (score >= point.threshold).sum()]
    assert all((score[truth] >= s).mean() < sensitivity for s in stricter)


def test_lies_between_two_scores_so_that_rounding_moves_nothing():
    point = threshold_for_sensitivity([True, True, False], [0.9, 0.6, 0.4], 1.0)
    assert point.threshold == pytest.approx(0.5)
    assert point.sensitivity == exact_binomial(2, 2)


def test_lowest_score_of_all_is_found_in_single_precision():
    score = np.array([0.3, 0.7])
    point = threshold_for_sensitivity([True, False], score, 1.0)
    assert np.float32(0.3) >= point.threshold
    assert np.float32(0.7) >= point.threshold


@pytest.mark.parametrize(
    ("truth", "score", "sensitivity", "message"),
    [
        ([False], [0.1], 0.9, "no melanoma"),
        ([True], [0.1], 0.0, "sensitivity of 0.0"),
        ([True], [float("nan")], 0.9, "not finite"),
    ],
)
def test_what_cannot_be_chosen_is_said(truth, score, sensitivity, message):
    with pytest.raises(InputError, match=message):
        threshold_for_sensitivity(truth, score, sensitivity)


def scored(melanomas, others, seed=0):
    rng = np.random.default_rng(seed)
    truth = np.arange(melanomas + others) < melanomas
    return truth, 1 / (1 + np.exp(-(rng.normal(size=len(truth)) + 1.5 * truth)))


def test_a_threshold_is_between_two_of_the_melanomas_scores():
    """Of 100, with 95 %: the true 5 % quantile is above the 1st and at most the 11th."""
    truth, score = scored(100, 400)
    found = needed_threshold(truth, score, Resampler([str(i) for i in range(500)]), 0.95)
    ascending = np.sort(score[truth])
    assert (found.threshold.low, found.threshold.high) == (ascending[0], ascending[10])
    assert found.specificity.value == pytest.approx((score[~truth] < found.threshold.value).mean())
    assert found.specificity.low <= (score[~truth] < ascending[0]).mean()
    assert found.specificity.high >= (score[~truth] < ascending[10]).mean()
    assert found.reason == ""


def test_fewer_lesions_know_less():
    """40 lesions do not bound the lowest twentieth from below; 19 say nothing, whatever their photographs."""
    truth, score = scored(80, 200)
    pairs = [str(i // 2) for i in range(280)]
    found = needed_threshold(truth, score, Resampler(pairs), 0.95)
    assert (found.threshold.low, found.specificity.low) == (0, 0)
    truth, score = scored(38, 62)
    found = needed_threshold(truth, score, Resampler(pairs[:100]), 0.95)
    assert (found.threshold, found.specificity) == (None, None)
    assert found.reason == "not estimable: 5 % of 19 independent melanomas is less than one"
    assert needed_threshold(truth, score, Resampler(pairs[:100]), 0.9).specificity is not None
    assert "none is missed" in needed_threshold(truth, score, Resampler(pairs[:100]), 1.0).reason
