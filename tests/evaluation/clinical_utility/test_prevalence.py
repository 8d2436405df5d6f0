"""Calibration at another prevalence, by weights."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as theirs

from dermsentry.errors import InputError
from dermsentry.evaluation.clinical_utility.prevalence import shift_prevalence
from dermsentry.files import plain
from dermsentry.stats.metrics import weights_at_prevalence
from dermsentry.stats.prevalence import at_prevalence
from dermsentry.stats.resampling import Resampler


def _judged(n=300, share=0.25, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < share
    odds = np.exp(1.5 * rng.normal(truth * 1.5, 1) - 1.5**2 / 2)
    return truth, odds * share / (odds * share + 1 - share), [str(i) for i in range(n)]


def test_calibration_is_shifted_by_weights():
    truth, stated, groups = _judged()
    shifted = shift_prevalence(truth, stated, Resampler(groups, 50), 0.02)
    weights = weights_at_prevalence(truth, 0.02, np.ones(len(truth)))
    moved = at_prevalence(stated, truth.mean(), 0.02)
    assert shifted.prior == pytest.approx(truth.mean())
    for own, figures in ((stated, shifted.as_stated), (moved, shifted.corrected)):
        brier = theirs.brier_score_loss(truth, own, sample_weight=weights)
        loss = theirs.log_loss(truth, own, sample_weight=weights)
        assert figures["brier_score"].value == pytest.approx(brier)
        assert figures["log_loss"].value == pytest.approx(loss)
        assert figures["log_loss"].low < loss < figures["log_loss"].high
    # Probabilities that hold where a quarter are melanomas are too high where they are rare.
    assert shifted.as_stated["calibration_error"].value > 0.05
    assert shifted.corrected["calibration_error"].value < shifted.as_stated["calibration_error"].value
    assert shifted.decision_curve.prevalence == 0.02
    assert set(plain(shifted)) == {"prevalence", "prior", "as_stated", "corrected", "decision_curve"}


def test_at_their_own_prevalence_nothing_changes():
    truth, stated, groups = _judged()
    shifted = shift_prevalence(truth, stated, Resampler(groups, 20), float(truth.mean()))
    for name, figure in shifted.as_stated.items():
        assert shifted.corrected[name].value == pytest.approx(figure.value)
    assert shifted.as_stated["brier_score"].value == pytest.approx(theirs.brier_score_loss(truth, stated))


def test_one_side_alone_cannot_be_shifted():
    with pytest.raises(InputError, match="expected both"):
        shift_prevalence([True, True], [0.5, 0.4], Resampler(["a", "b"]), 0.02)


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1, float("nan")])
def test_what_is_no_prevalence_is_refused(prevalence):
    with pytest.raises(InputError, match="prevalence of"):
        shift_prevalence([True, False], [0.5, 0.5], Resampler(["a", "b"]), prevalence)
