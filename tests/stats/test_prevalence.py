"""Predictive values, shifted probabilities and weights, against scikit-learn and the textbook's numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as theirs

from dermsentry.errors import InputError
from dermsentry.files import to_json
from dermsentry.stats.intervals import exact_binomial
from dermsentry.stats.metrics import weights_at_prevalence
from dermsentry.stats.prevalence import at_prevalence, clinical_value, predictive_values, shift_prior

SHARES = st.floats(0.01, 0.99)


@given(st.floats(0, 1), SHARES, SHARES)
def test_two_classes_are_shifted_as_elkan_does(probability, prior, prevalence):
    b, new = prior, prevalence
    expected = new * (probability - probability * b) / (b - probability * b + new * probability - b * new)
    assert at_prevalence([probability], prior, prevalence)[0] == pytest.approx(expected, abs=1e-12)


@given(st.lists(SHARES, min_size=2, max_size=6), st.integers(0, 1000))
def test_a_shift_can_be_taken_back(shares, seed):
    rng = np.random.default_rng(seed)
    old, new = np.array(shares) / sum(shares), rng.dirichlet(np.ones(len(shares))) * 0.9 + 0.1 / len(shares)
    probability = rng.dirichlet(np.ones(len(shares)), 5)
    moved = shift_prior(probability, old, new)
    np.testing.assert_allclose(moved.sum(axis=1), 1)
    np.testing.assert_allclose(shift_prior(moved, new, old), probability, atol=1e-9)
    np.testing.assert_allclose(shift_prior(probability, old, old), probability, atol=1e-12)


def test_a_shifted_probability_holds_where_the_disease_is_rarer():
    # Two normal distributions: the probability is known exactly at every prevalence.
    rng = np.random.default_rng(0)
    truth = rng.random(200_000) < 0.02
    score = rng.normal(truth * 1.5, 1)
    odds = np.exp(1.5 * score - 1.5**2 / 2)  # likelihood ratio
    stated = odds * 0.25 / (odds * 0.25 + 0.75)  # as learned where a quarter are melanomas
    moved = at_prevalence(stated, 0.25, 0.02)
    assert abs(moved.mean() - 0.02) < 0.002
    assert abs(stated.mean() - 0.02) > 0.05


def test_a_class_that_was_never_there_cannot_be_shifted():
    with pytest.raises(ValueError, match="above 0"):
        shift_prior([0.5, 0.5], [0.0, 1.0], [0.5, 0.5])


@given(st.lists(st.booleans(), min_size=2, max_size=30), st.floats(0.01, 0.99), st.integers(0, 100))
def test_weights_give_positives_their_share(truth, prevalence, seed):
    weights = np.random.default_rng(seed).integers(0, 4, (3, len(truth))).astype(float)
    moved = weights_at_prevalence(truth, prevalence, weights)
    here = np.array(truth)
    for before, after in zip(weights, moved, strict=True):
        if before[here].sum() and before[~here].sum():
            assert after.sum() == pytest.approx(1)
            assert after[here].sum() == pytest.approx(prevalence)
            assert ((after > 0) == (before > 0)).all()
        else:
            assert np.isnan(after).all()


def test_predictive_values_of_the_textbook():
    right, silent = predictive_values(0.9, 0.8, 0.01)
    assert right == pytest.approx(0.009 / (0.009 + 0.198))
    assert silent == pytest.approx(0.792 / (0.792 + 0.001))
    assert np.isnan(predictive_values(0.0, 1.0, 0.1)[0])
    assert np.isnan(predictive_values(1.0, 0.0, 0.1)[1])


@given(st.integers(0, 200))
def test_predictive_values_are_scikit_learns_on_weighted_photographs(seed):
    rng = np.random.default_rng(seed)
    truth, alert = rng.random(60) < 0.4, rng.random(60) < 0.5
    truth[:2], alert[:2] = [True, False], [True, True]
    weights = weights_at_prevalence(truth, 0.03, np.ones(60))
    found, quiet = alert[truth].mean(), (~alert[~truth]).mean()
    right, silent = predictive_values(found, quiet, 0.03)
    assert right == pytest.approx(theirs.precision_score(truth, alert, sample_weight=weights))
    assert silent == pytest.approx(theirs.precision_score(~truth, ~alert, sample_weight=weights))


def _drawn(found, quiet, n=400, seed=0):
    rng = np.random.default_rng(seed)
    return rng.binomial(16, found, n) / 16, rng.binomial(84, quiet, n) / 84


def test_values_follow_from_sensitivity_specificity_and_prevalence():
    values = clinical_value(exact_binomial(14, 16), exact_binomial(63, 84), _drawn(14 / 16, 0.75))
    assert [value.prevalence for value in values] == [0.01, 0.02, 0.05]
    one = values[0]
    right = 0.01 * 0.875 / (0.01 * 0.875 + 0.99 * 0.25)
    assert one.positive_predictive_value.value == pytest.approx(right)
    assert one.alerts_per_melanoma.value == pytest.approx(1 / right)
    assert one.alerts_per_melanoma.low == pytest.approx(1 / one.positive_predictive_value.high)
    assert one.per_thousand.alerts.value == pytest.approx(1000 * (0.01 * 0.875 + 0.99 * 0.25))
    assert one.per_thousand.found.value + one.per_thousand.missed.value == pytest.approx(10)
    for value in values:
        for figure in (
            value.positive_predictive_value,
            value.negative_predictive_value,
            value.per_thousand.missed,
        ):
            assert figure.low < figure.value < figure.high
    rising = [value.positive_predictive_value.value for value in values]
    assert rising == sorted(rising)


def test_all_found_is_not_certain_to_miss_none():
    values = clinical_value(exact_binomial(16, 16), exact_binomial(63, 84), _drawn(1.0, 0.75))
    assert values[1].per_thousand.missed.value == 0
    assert values[1].per_thousand.missed.high == pytest.approx(1000 * 0.02 * (1 - 0.794), abs=0.02)
    assert values[1].negative_predictive_value.low < values[1].negative_predictive_value.value == 1


def test_what_may_find_nothing_has_no_upper_end():
    never = (np.array([0.0, 0.0, 0.5, 0.5]), np.array([0.9, 0.9, 0.9, 0.8]))
    value = clinical_value(exact_binomial(1, 2), exact_binomial(9, 10), never)[0]
    assert value.alerts_per_melanoma.high == np.inf
    found = json.loads(to_json(value))
    assert found["number_needed_to_biopsy"]["high"] is None
    nothing = clinical_value(exact_binomial(0, 2), exact_binomial(10, 10), (np.zeros(3), np.ones(3)))[0]
    assert nothing.positive_predictive_value is None
    assert nothing.alerts_per_melanoma is None
    assert nothing.per_thousand.missed.value == pytest.approx(10)


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_what_is_no_prevalence_is_said(prevalence):
    with pytest.raises(InputError, match="prevalence of"):
        clinical_value(exact_binomial(1, 2), exact_binomial(1, 2), _drawn(0.5, 0.5), [prevalence])
