"""Net benefit against its definition, counted photograph by photograph."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermsentry.errors import InputError
from dermsentry.evaluation.clinical_utility.decision_curve import (
    THRESHOLD_PROBABILITIES,
    decision_curve,
    net_benefit,
)
from dermsentry.files import to_json
from dermsentry.stats.resampling import Resampler

PAIRS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 20).map(lambda i: i / 20) | st.floats(0, 1), st.integers(0, 3)),
    min_size=1,
    max_size=40,
)


@given(PAIRS)
def test_is_what_its_definition_says(pairs):
    truth, stated, weights = (np.array(column) for column in zip(*pairs, strict=True))
    places = np.array([0.01, 0.05, 0.2, 0.25, 0.5, 0.95])
    for weight in (np.ones(len(truth)), weights.astype(float)):
        found = net_benefit(truth, stated, places, sample_weight=weight)
        for place, value in zip(places, found, strict=True):
            alert = stated >= place
            true, false = (weight * (alert & truth)).sum(), (weight * (alert & ~truth)).sum()
            if weight.sum():
                expected = true / weight.sum() - false / weight.sum() * place / (1 - place)
                assert value == pytest.approx(expected, abs=1e-12)
            else:
                assert np.isnan(value)


def test_leading_axes_are_resamples():
    rng = np.random.default_rng(0)
    truth, stated, weights = rng.random(30) < 0.4, rng.random(30), rng.integers(0, 3, (7, 30)).astype(float)
    together = net_benefit(truth, stated, [0.1, 0.3], sample_weight=weights)
    assert together.shape == (7, 2)
    for row, weight in zip(together, weights, strict=True):
        np.testing.assert_allclose(row, net_benefit(truth, stated, [0.1, 0.3], sample_weight=weight))


def _photographs(n=400, share=0.2, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < share
    odds = np.exp(2 * rng.normal(truth * 2.0, 1) - 2)
    return truth, odds * share / (odds * share + 1 - share), [str(i) for i in range(n)]


def test_a_model_that_knows_is_worth_every_melanoma():
    truth, _, groups = _photographs()
    curve = decision_curve(truth, truth.astype(float), Resampler(groups, 100))
    np.testing.assert_allclose(curve.model.value, truth.mean())
    assert curve.useful == ((0.01, 0.5),)
    assert curve.harmful == ()


def test_a_model_that_states_the_same_for_all_gains_nothing():
    truth, _, groups = _photographs()
    curve = decision_curve(truth, np.full(len(truth), 0.2), Resampler(groups, 100))
    assert curve.useful == ()
    assert (curve.gain.value <= 1e-12).all()


def test_a_model_that_is_sure_of_the_wrong_thing_does_harm():
    truth, stated, groups = _photographs()
    curve = decision_curve(truth, 1 - stated, Resampler(groups, 100))
    assert curve.harmful
    assert curve.useful == ()


def test_referring_everyone_is_worth_the_prevalence_at_no_cost():
    truth, stated, groups = _photographs()
    curve = decision_curve(truth, stated, Resampler(groups, 100))
    share, place = truth.mean(), np.array(THRESHOLD_PROBABILITIES)
    np.testing.assert_allclose(curve.refer_all.value, share - (1 - share) * place / (1 - place))
    np.testing.assert_allclose(curve.gain.value, curve.model.value - np.maximum(curve.refer_all.value, 0))
    for line in (curve.model, curve.refer_all, curve.gain):
        assert (line.low <= line.value).all()
        assert (line.value <= line.high).all()
    assert curve.photographs == 400
    assert curve.melanomas == truth.sum()


def test_the_band_of_the_gain_is_paired():
    truth, stated, groups = _photographs(n=1500)
    curve = decision_curve(truth, stated, Resampler(groups, 200))
    width = curve.gain.high - curve.gain.low
    apart = curve.model.high - curve.model.low + curve.refer_all.high - curve.refer_all.low
    assert (width < apart).all()


def test_another_prevalence_is_that_of_photographs_drawn_so():
    truth, stated, groups = _photographs(n=2000)
    curve = decision_curve(truth, stated, Resampler(groups, 50), prevalence=0.05)
    place = 0.1
    alert = stated >= place
    found, false = alert[truth].mean(), alert[~truth].mean()
    at = list(THRESHOLD_PROBABILITIES).index(place)
    assert curve.prevalence == 0.05
    assert curve.model.value[at] == pytest.approx(0.05 * found - 0.95 * false * place / (1 - place))


def test_copies_of_a_lesion_do_not_narrow_the_band():
    truth, stated, groups = _photographs(n=100)
    one = decision_curve(truth, stated, Resampler(groups, 300)).model
    many = decision_curve(np.tile(truth, 5), np.tile(stated, 5), Resampler(groups * 5, 300)).model
    np.testing.assert_allclose(many.value, one.value)
    np.testing.assert_allclose((many.high - many.low).mean(), (one.high - one.low).mean(), rtol=0.1)


def test_stands_in_json():
    truth, stated, groups = _photographs(n=60)
    found = json.loads(to_json(decision_curve(truth, stated, Resampler(groups, 20))))
    assert found["threshold_probability"][0] == 0.01
    assert len(found["gain"]["low"]) == 50
    assert all(len(run) == 2 for run in found["useful"])


@pytest.mark.parametrize("truth", [[True, True], [False, False]])
def test_one_side_alone_cannot_be_weighed(truth):
    with pytest.raises(InputError, match="expected both"):
        decision_curve(truth, [0.1, 0.9], Resampler(["a", "b"]))
