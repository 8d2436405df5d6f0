from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from dermsentry.diagnoses import CODES
from dermsentry.errors import InputError
from dermsentry.stats.calibration import (
    BIAS_PENALTY,
    TEMPERATURES,
    apply_temperature,
    calibration_error,
    calibration_test,
    candidate_log_losses,
    fit_bias_corrected_temperature,
    fit_temperature,
    reliability,
)


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


def _shifted(n=3000, seed=0, temperature=1.6, biases=None):
    """Logits, labels drawn at a temperature with biases, and those biases."""
    rng = np.random.default_rng(seed)
    biases = rng.normal(0, 1.2, len(CODES)) if biases is None else np.asarray(biases)
    logits = rng.normal(0, 2, (n, len(CODES)))
    probability = apply_temperature(logits, temperature, biases)
    return logits, [CODES[rng.choice(len(CODES), p=row)] for row in probability], biases


def test_finds_temperature_and_biases_the_labels_were_drawn_at():
    logits, labels, biases = _shifted()
    temperature, found = fit_bias_corrected_temperature(logits, labels)
    assert temperature == pytest.approx(1.6, rel=0.1)
    np.testing.assert_allclose(found - found.mean(), biases - biases.mean(), atol=0.25)


def test_biases_are_the_minimum_of_the_penalised_log_loss():
    logits, labels, _ = _shifted(n=250, seed=3)
    own = [CODES.index(label) for label in labels]

    def loss(point):
        probability = apply_temperature(logits, np.exp(point[0]), point[1:])
        return -np.log(probability[np.arange(len(own)), own]).sum() + BIAS_PENALTY / 2 * point[1:] @ point[1:]

    best = optimize.minimize(loss, np.zeros(10), method="BFGS", options={"gtol": 1e-6})
    temperature, biases = fit_bias_corrected_temperature(logits, labels)
    np.testing.assert_allclose(np.r_[np.log(temperature), biases], best.x, atol=1e-4)


def test_a_class_that_no_label_names_keeps_its_bias():
    logits, labels, _ = _shifted(n=400, seed=1)
    kept = [i for i, label in enumerate(labels) if label not in ("DF", "PBK", "SK")]
    named = [labels[i] for i in kept] + ["PBK|SK", ""]
    _, biases = fit_bias_corrected_temperature(np.concatenate([logits[kept], logits[:2]]), named)
    assert biases[CODES.index("DF")] == 0
    assert biases[CODES.index("PBK")] != 0
    assert biases[CODES.index("SK")] != 0


def test_bias_correction_is_never_worse_where_it_was_fitted():
    logits, labels, _ = _shifted(n=300, seed=2)
    labels = ["PBK|SK" if label in ("PBK", "SK") else label for label in labels]
    plain = apply_temperature(logits, fit_temperature(logits, labels))
    corrected = apply_temperature(logits, *fit_bias_corrected_temperature(logits, labels))
    assert candidate_log_losses(corrected, labels).mean() < candidate_log_losses(plain, labels).mean()


def test_every_photograph_alike_stays_in_range():
    temperature, biases = fit_bias_corrected_temperature(np.eye(9)[[3] * 5] * 9, ["MEL"] * 5)
    assert temperature == pytest.approx(TEMPERATURES[0], rel=1e-3)
    assert np.isfinite(biases).all()


def _outcomes(n, seed, slope=1.0, each=1):
    """Outcomes drawn at their probability, what is stated of them, and lesions of so many photographs."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-1.5, 1.2, n)
    happened = rng.random(n) < 1 / (1 + np.exp(-logit))
    return tuple(np.repeat(one, each) for one in (happened, 1 / (1 + np.exp(-slope * logit)), np.arange(n)))


def test_the_calibration_error_is_unbiased_and_holds_0_where_calibrated():
    found = [calibration_error(*_outcomes(300, seed)) for seed in range(200)]
    assert np.mean([one.low == 0 for one in found]) >= 0.93
    assert np.mean([one.value == 0 for one in found]) == pytest.approx(
        0.55, abs=0.1
    )  # below 0 as often as above
    off = calibration_error(*_outcomes(3000, 1, slope=2.0))
    assert off.low > 0.03
    assert calibration_error([True], [0.5], np.array([0])) is None


def test_the_calibration_error_by_hand():
    """One bin of 2 groups of 5: stated 0.5, observed 0.6."""
    outcome, index = np.array([1, 1, 1, 1, 0, 1, 1, 0, 0, 0]), np.repeat([0, 1], 5)
    off = np.array([(0.8 - 0.6) * 5, (0.4 - 0.6) * 5]) / 10
    squared = 0.1**2 - (off**2).sum() * 2
    assert calibration_error(outcome, np.full(10, 0.5), index).value == max(0.0, squared) ** 0.5 == 0
    found = calibration_error(outcome, np.full(10, 0.1), index)
    assert found.value == pytest.approx((0.5**2 - (off**2).sum() * 2) ** 0.5)


def test_copies_of_a_lesion_are_no_more_evidence():
    one, same = (calibration_error(*_outcomes(400, 3, slope=1.5, each=each)) for each in (1, 5))
    assert (same.value, same.low, same.high) == pytest.approx((one.value, one.low, one.high), abs=0.01)
    alone, copied = (calibration_test(*_outcomes(400, 3, each=each)) for each in (1, 5))
    assert copied.z == pytest.approx(alone.z)
    assert copied.p_value == pytest.approx(alone.p_value)


def test_the_test_of_calibration():
    rejected = [calibration_test(*_outcomes(400, seed)).p_value < 0.05 for seed in range(300)]
    assert np.mean(rejected) == pytest.approx(0.05, abs=0.04)
    assert calibration_test(*_outcomes(2000, 1, slope=2.0)).p_value < 1e-4
    assert calibration_test([True, False], [1.0, 0.0], np.array([0, 1])) is None


def test_the_calibration_error_of_few_is_at_most_1():
    outcome, stated = np.array([1, 0, 1, 0, 0, 0, 1, 0]), np.linspace(0.05, 0.9, 8)
    found = calibration_error(outcome, stated, np.arange(8))
    assert found.value < found.high <= 1
