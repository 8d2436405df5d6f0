from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import optimize
from scipy.special import expit
from sklearn import metrics as theirs
from sklearn.calibration import _sigmoid_calibration
from sklearn.isotonic import IsotonicRegression

from dermsentry.diagnoses import CODES
from dermsentry.errors import InputError
from dermsentry.evaluation.calibration_methods import (
    compare_calibrations,
    read_comparison,
)
from dermsentry.files import to_json
from dermsentry.stats.calibration import (
    BIAS_PENALTY,
    TEMPERATURES,
    apply_isotonic,
    apply_platt,
    apply_temperature,
    candidate_log_losses,
    fit_bias_corrected_temperature,
    fit_isotonic,
    fit_platt,
    fit_temperature,
    melanoma_log_odds,
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


@given(st.lists(st.tuples(st.integers(-40, 40), st.booleans()), min_size=2, max_size=60))
@settings(max_examples=40)
def test_platt_is_scikit_learns(pairs):
    score, outcome = np.array([s / 8 for s, _ in pairs]), np.array([t for _, t in pairs])
    assume(outcome.any() and not outcome.all() and len(set(score)) > 1)
    slope, intercept = fit_platt(score, outcome)
    a, b = _sigmoid_calibration(score, outcome)
    np.testing.assert_allclose(apply_platt(score, slope, intercept), expit(-(a * score + b)), atol=2e-4)


def test_platt_keeps_from_certainty_what_is_parted_without_error():
    slope, intercept = fit_platt([-2.0, -1.0, 1.0, 2.0], [False, False, True, True])
    assert slope > 0
    np.testing.assert_allclose(apply_platt([-2.0, 2.0], slope, intercept), [0.25, 0.75], atol=0.13)
    assert apply_platt([800.0, -800.0], 1.0, 0.0).tolist() == [1.0, 0.0]


@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=1, max_size=60))
def test_isotonic_is_scikit_learns(pairs):
    score, outcome = np.array([float(s) for s, _ in pairs]), np.array([t for _, t in pairs])
    curve = fit_isotonic(score, outcome)
    theirs = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(score, outcome)
    wanted = np.linspace(-7, 7, 57)
    np.testing.assert_allclose(apply_isotonic(wanted, *curve), theirs.predict(wanted), atol=1e-9)
    assert (np.diff(curve[1]) >= 0).all()


def test_the_log_odds_are_melanomas():
    logits = np.random.default_rng(0).normal(size=(20, 9))
    probability = apply_temperature(logits, 1.0)[:, CODES.index("MEL")]
    np.testing.assert_allclose(expit(melanoma_log_odds(logits)), probability)


@pytest.mark.parametrize(
    ("score", "truth", "message"),
    [([], [], "at least one photograph"), ([1.0], [True, False], "shape"), ([np.inf], [True], "not finite")],
)
def test_scores_that_cannot_be_fitted_are_said(score, truth, message):
    for fit in (fit_platt, fit_isotonic):
        with pytest.raises(InputError, match=message):
            fit(score, truth)


def _compared(logits, labels, groups=None, **options):
    groups = groups or [str(i) for i in range(len(labels))]
    found = compare_calibrations(logits, labels, groups, resamples=30, **options)
    return {method.method: method for method in found}


def test_the_method_that_undoes_what_was_done_is_chosen():
    logits, labels, _ = _shifted(n=1500)
    found = _compared(logits, labels)
    assert [name for name, method in found.items() if method.chosen] == ["bias-corrected temperature"]
    assert sum(method.chosen_for_melanoma for method in found.values()) == 1
    assert found["Platt"].log_loss is None
    assert found["Platt"].melanoma_log_loss.value < found["none"].melanoma_log_loss.value
    assert found["none"].photographs == 1500
    assert found["none"].melanomas == labels.count("MEL")
    only = _compared(*_drawn(2.5, n=1500))
    assert only["temperature"].log_loss.value < only["none"].log_loss.value


def test_uncalibrated_figures_are_those_of_the_photographs_themselves():
    logits, labels, _ = _shifted(n=200)
    none = _compared(logits, labels)["none"]
    probability, truth = apply_temperature(logits, 1.0), np.array(labels) == "MEL"
    score = probability[:, CODES.index("MEL")]
    assert none.log_loss.value == pytest.approx(theirs.log_loss(labels, probability, labels=list(CODES)))
    assert none.melanoma_log_loss.value == pytest.approx(theirs.log_loss(truth, score))
    assert none.melanoma_brier_score.value == pytest.approx(theirs.brier_score_loss(truth, score))


def test_what_follows_every_photograph_gains_nothing_by_it():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(150, 9)), [CODES[i] for i in rng.integers(0, 9, 150)]
    truth = np.array(labels) == "MEL"
    odds = melanoma_log_odds(logits)
    flattered = theirs.brier_score_loss(truth, apply_isotonic(odds, *fit_isotonic(odds, truth)))
    honest = _compared(logits, labels)["isotonic"].melanoma_brier_score.value
    assert flattered < theirs.brier_score_loss(truth, np.full(150, truth.mean())) < honest


def test_a_group_is_never_on_both_sides():
    # Each lesion's photographs are alike, and its label is its own: knowing one gives the others away.
    rng = np.random.default_rng(1)
    logits = np.repeat(rng.normal(size=(60, 9)), 4, axis=0)
    labels = np.repeat([CODES[i] for i in rng.integers(0, 9, 60)], 4).tolist()
    lesions = np.repeat([f"lesion {i}" for i in range(60)], 4).tolist()
    honest = _compared(logits, labels, lesions)["isotonic"].melanoma_brier_score.value
    leaking = _compared(logits, labels)["isotonic"].melanoma_brier_score.value
    assert leaking < honest


def test_the_same_seed_gives_the_same_comparison():
    logits, labels, _ = _shifted(n=120)
    assert _compared(logits, labels, seed=3) == _compared(logits, labels, seed=3)
    assert _compared(logits, labels, seed=3) != _compared(logits, labels, seed=4)


@given(
    st.lists(st.sampled_from(["MEL", "NV", "PBK|SK", "MEL|NV", ""]), min_size=2, max_size=14),
    st.integers(0, 100),
)
@settings(max_examples=30)
def test_any_few_photographs_are_compared_without_a_crash(labels, seed):
    logits = np.random.default_rng(seed).normal(size=(len(labels), 9))
    if sum(map(bool, labels)) < 2:
        with pytest.raises(InputError):
            _compared(logits, labels)
        return
    found = _compared(logits, labels, seed=seed)
    assert sum(method.chosen for method in found.values()) == 1
    assert "NaN" not in to_json([method.as_dict() for method in found.values()])
    assert tuple(found.values()) == read_comparison(
        json.loads(to_json([method.as_dict() for method in found.values()]))
    )


def test_what_cannot_be_compared_is_said():
    logits, labels, _ = _shifted(n=10)
    with pytest.raises(InputError, match="1 groups for 10 photographs"):
        compare_calibrations(logits, labels, ["one"])
    with pytest.raises(InputError, match="at least two of each"):
        compare_calibrations(logits, labels, ["one"] * 10)
    with pytest.raises(InputError, match="at least two of each"):
        compare_calibrations(logits, labels, labels, folds=1)


@pytest.mark.parametrize(
    "record",
    [
        None,
        "text",
        {"method": "none"},
        [1],
        [{"method": "none"}],
        [{"method": "<script>", "folds": 5, "photographs": 1, "melanomas": 1}],
        [{"method": [], "folds": 5, "photographs": 1, "melanomas": 1}],
    ],
)
def test_a_card_that_holds_something_else_gives_nothing(record):
    assert read_comparison(record) == ()


def test_a_card_with_a_figure_that_is_no_number_gives_nothing():
    logits, labels, _ = _shifted(n=40)
    record = [method.as_dict() for method in _compared(logits, labels).values()]
    assert len(read_comparison(record)) == 5
    record[2]["melanoma_brier_score"]["low"] = "<b>"
    assert read_comparison(record) == ()
