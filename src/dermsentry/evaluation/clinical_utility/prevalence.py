"""Whether the probabilities hold where melanoma is rarer than among the photographs evaluated."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dermsentry.errors import InputError
from dermsentry.evaluation.clinical_utility.decision_curve import DecisionCurve, decision_curve
from dermsentry.stats.calibration import calibration_error
from dermsentry.stats.intervals import Estimate
from dermsentry.stats.metrics import LARGEST_LOSS, losses, weights_at_prevalence
from dermsentry.stats.prevalence import at_prevalence, check_prevalence
from dermsentry.stats.resampling import Resampler

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PriorShift:
    """Melanoma's calibration as it would be at another prevalence.

    The photographs are weighted so that melanomas have that share. `as_stated` are the probabilities as the
    model gives them, `corrected` those of `at_prevalence`, which takes them to hold at `prior`, the share of
    melanomas among the photographs. Each holds `log_loss`, `brier_score` and `calibration_error`.
    `decision_curve` is of the corrected ones.
    """

    prevalence: float
    prior: float
    as_stated: dict[str, Estimate | None]
    corrected: dict[str, Estimate | None]
    decision_curve: DecisionCurve


def shift_prevalence(
    y_true: ArrayLike, y_prob: ArrayLike, resampler: Resampler, prevalence: float
) -> PriorShift:
    """Melanoma's calibration and decision curve at another prevalence; see `PriorShift`.

    `y_true` (n,) is true for melanomas, `y_prob` (n,) their probability; `resampler` draws their groups.
    Raises InputError if the prevalence is none, or without melanomas or without others.
    """
    truth, stated = np.asarray(y_true).astype(bool), np.asarray(y_prob, dtype=np.float64)
    check_prevalence(prevalence)
    if truth.all() or not truth.any():
        raise InputError("Received only melanomas or none; expected both, to shift the prevalence.")
    prior = float(truth.mean())
    corrected = at_prevalence(stated, prior, prevalence)
    rarer = resampler.rarer(truth)

    def figures(own: Floats) -> dict[str, Estimate | None]:
        found = resampler.measure(
            lambda weights: losses(truth, own, weights_at_prevalence(truth, prevalence, weights))
        )
        losses_there = {
            name: figure.loss(rarer, LARGEST_LOSS.get(name, math.inf)) for name, figure in found.items()
        }
        weights = weights_at_prevalence(truth, prevalence, np.ones(len(truth)))
        error = calibration_error(truth, own, resampler.index, sample_weight=weights) if rarer >= 2 else None
        return {**losses_there, "calibration_error": error}

    curve = decision_curve(truth, corrected, resampler, prevalence=prevalence)
    return PriorShift(prevalence, prior, figures(stated), figures(corrected), curve)
