"""Ways of calibrating, compared on photographs that none of them was fitted to."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as theirs

from dermsentry.diagnoses import CODES
from dermsentry.errors import InputError
from dermsentry.evaluation.calibration_methods import METHODS, compare_calibrations, read_comparison
from dermsentry.files import plain, to_json
from dermsentry.stats.calibration import apply_temperature


def _drawn(temperature, n=4000, seed=0):
    """Logits whose labels were drawn at `temperature`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, len(CODES)))
    probability = apply_temperature(logits, temperature)
    labels = [CODES[rng.choice(len(CODES), p=row)] for row in probability]
    return logits, labels


def _shifted(n=3000, seed=0, temperature=1.6, biases=None):
    """Logits, labels drawn at a temperature with biases, and those biases."""
    rng = np.random.default_rng(seed)
    biases = rng.normal(0, 1.2, len(CODES)) if biases is None else np.asarray(biases)
    logits = rng.normal(0, 2, (n, len(CODES)))
    probability = apply_temperature(logits, temperature, biases)
    return logits, [CODES[rng.choice(len(CODES), p=row)] for row in probability], biases


def _compared(logits, labels, groups=None, **options):
    groups = groups or [str(i) for i in range(len(labels))]
    found = compare_calibrations(logits, labels, groups, resamples=30, **options)
    return {method.method: method for method in found}


def test_the_method_that_undoes_what_was_done_is_chosen():
    logits, labels, _ = _shifted(n=1500)
    found = _compared(logits, labels)
    assert [name for name, method in found.items() if method.chosen] == ["bias-corrected temperature"]
    assert sum(method.chosen_for_melanoma for method in found.values()) == 1
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


def test_a_group_is_never_on_both_sides():
    # Each lesion's photographs are alike, and its label is its own: knowing one gives the others away.
    logits = np.full((4, 9), 0.0)
    labels, lesions = ["MEL", "MEL", "NV", "NV"], ["one", "one", "other", "other"]
    logits[:, [3, 4]] = 1.0
    apart = _compared(logits, labels, lesions, folds=2)["bias-corrected temperature"]
    leaking = _compared(logits, labels, folds=2)["bias-corrected temperature"]
    assert leaking.log_loss.value < apart.log_loss.value


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
    assert "NaN" not in to_json(list(found.values()))
    assert tuple(found.values()) == read_comparison(json.loads(to_json(list(found.values()))))


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
    record = plain(list(_compared(logits, labels).values()))
    assert len(read_comparison(record)) == 3
    for odd in ("<b>", float("nan"), None):
        record[2]["melanoma_brier_score"]["low"] = odd
        assert read_comparison(record) == ()


def test_a_card_of_an_older_version_is_read_with_its_methods_of_melanoma_alone():
    logits, labels, _ = _shifted(n=40)
    record = plain(list(_compared(logits, labels).values()))
    platt = {**record[0], "method": "Platt", "log_loss": None}
    found = {method.method: method for method in read_comparison([*record, platt])}
    assert list(found) == [*METHODS, "Platt"]
    assert found["Platt"].log_loss is None
    assert found["Platt"].melanoma_log_loss is not None
