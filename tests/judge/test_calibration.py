from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from dermsentry.diagnoses import CODES
from dermsentry.errors import InputError
from dermsentry.judge.calibration import TEMPERATURES, apply_temperature, fit_temperature, reliability


def _drawn(temperature, n=4000, seed=0):
    """Logits whose labels were drawn at `temperature`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, len(CODES)))
    probability = apply_temperature(logits, temperature)
    labels = [CODES[rng.choice(len(CODES), p=row)] for row in probability]
    return logits, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_finds_the_temperature_the_labels_were_drawn_at(temperature):
    logits, labels = _drawn(temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.06)


def test_is_the_minimum_of_the_log_loss():
    logits, labels = _drawn(1.7, n=300)
    own = [CODES.index(label) for label in labels]

    def loss(log_temperature):
        probability = apply_temperature(logits, np.exp(log_temperature))
        return -np.log(probability[np.arange(len(own)), own]).mean()

    best = optimize.minimize_scalar(
        loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-9}
    )
    assert fit_temperature(logits, labels) == pytest.approx(np.exp(best.x), rel=1e-5)


def test_log_probabilities_serve_as_logits():
    logits, labels = _drawn(1.3, n=200)
    logarithms = np.log(apply_temperature(logits, 1.0))
    assert fit_temperature(logarithms, labels) == pytest.approx(fit_temperature(logits, labels), rel=1e-6)


def test_unknown_labels_change_nothing_and_candidates_count_together():
    logits, labels = _drawn(1.3, n=200)
    more = np.concatenate([logits, np.full((5, len(CODES)), 9.0)])
    assert fit_temperature(more, [*labels, *[""] * 5]) == pytest.approx(fit_temperature(logits, labels))
    joined = ["PBK|SK" if label in ("PBK", "SK") else label for label in labels]
    assert TEMPERATURES[0] <= fit_temperature(logits, joined) <= TEMPERATURES[1]


def test_all_right_or_all_wrong_stays_in_range():
    sure = np.eye(len(CODES)) * 10
    assert fit_temperature(sure, list(CODES)) == pytest.approx(TEMPERATURES[0], rel=1e-3)
    assert fit_temperature(sure, [*CODES[1:], CODES[0]]) == pytest.approx(TEMPERATURES[1], rel=1e-3)


@pytest.mark.parametrize(
    ("logits", "truth", "message"),
    [
        (np.zeros((2, 9)), ["MEL"], "shape"),
        (np.full((1, 9), np.nan), ["MEL"], "not finite"),
        (np.zeros((1, 9)), [""], "known diagnosis"),
    ],
)
def test_what_cannot_be_fitted_is_said(logits, truth, message):
    with pytest.raises(InputError, match=message):
        fit_temperature(logits, truth)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=50), st.booleans())
def test_reliability_counts_every_photograph_once(pairs, equal_mass):
    outcome, stated = (np.array(column) for column in zip(*pairs, strict=True))
    points = reliability(outcome, stated, equal_mass=equal_mass)
    assert sum(point.photographs for point in points) == len(pairs)
    total = sum(point.observed.value * point.photographs for point in points)
    assert total == pytest.approx(outcome.sum())
    assert [point.stated for point in points] == sorted(point.stated for point in points)
