"""Whether alerts do more good than harm: the net benefit at every price of a missed melanoma.

Who would rather refer ten patients for nothing than miss one melanoma acts from a probability of one in
eleven, 9 %: the threshold probability says how a missed melanoma weighs against a needless referral.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dermsentry.errors import InputError
from dermsentry.stats.intervals import LEVEL
from dermsentry.stats.metrics import rank, weights_at_prevalence
from dermsentry.stats.resampling import Resampler

Floats = NDArray[np.float64]

THRESHOLD_PROBABILITIES = tuple(percent / 100 for percent in range(1, 51))


def net_benefit(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    threshold_probability: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
) -> Floats:
    """Melanomas found less needless alerts, these weighted by p/(1-p), per photograph: (..., t).

    `y_true` (n,) is true for melanomas, `y_prob` (n,) their probability; an alert is where it reaches the
    threshold probability p, (t,) between 0 and 1. Weights (..., n). Vickers & Elkin, Medical Decision Making
    26 (2006). NaN without weight.
    """
    threshold = np.asarray(threshold_probability, dtype=np.float64)
    ranked = rank(y_true, y_prob, sample_weight=sample_weight)
    nothing = np.zeros((*ranked.positive.shape[:-1], 1))
    true, false = (
        np.concatenate([nothing, np.cumsum(side, axis=-1)], axis=-1)
        for side in (ranked.positive, ranked.negative)
    )
    total = true[..., -1:] + false[..., -1:]
    # How many of the distinct scores, which fall, reach each threshold.
    reached = np.searchsorted(-ranked.scores, -threshold, side="right")
    gain = true[..., reached] - false[..., reached] * threshold / (1 - threshold)
    share: Floats = np.divide(gain, total, out=np.full(gain.shape, np.nan), where=total > 0)
    return share


@dataclass(frozen=True, eq=False)
class Curve:
    """A net benefit at each threshold probability with its 95 % band, three rows of (t,)."""

    value: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, eq=False)
class DecisionCurve:
    """The model's net benefit against referring everyone; referring nobody is 0 everywhere.

    `prevalence` is the share of melanomas it is stated for. `gain` is the model's less the better of
    referring everyone and nobody, drawn in pairs: above 0, the alerts are worth having.
    """

    threshold_probability: Floats
    prevalence: float
    photographs: int
    melanomas: int
    model: Curve
    refer_all: Curve
    gain: Curve

    derived: ClassVar = ("useful", "harmful")

    @property
    def useful(self) -> tuple[tuple[float, float], ...]:
        """The ranges of threshold probabilities, ends included, where all of `gain`'s band is above 0."""
        return _runs(self.gain.low > 0, self.threshold_probability)

    @property
    def harmful(self) -> tuple[tuple[float, float], ...]:
        """Those where all of it is below 0: without the model one would do better."""
        return _runs(self.gain.high < 0, self.threshold_probability)


def decision_curve(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    resampler: Resampler,
    *,
    prevalence: float | None = None,
) -> DecisionCurve:
    """The net benefit of a model's melanoma probabilities, with a band by the bootstrap over groups.

    Parameters
    ----------
    y_true, y_prob
        Whether each photograph is a melanoma and the probability stated for it, (n,).
    resampler
        Of their groups.
    prevalence
        The share of melanomas that photographs are weighted to have, in every resample; by default their
        own. The probabilities should hold there: see `prevalence.at_prevalence`.

    Raises
    ------
    InputError
        Without melanomas or without others: there is nothing to weigh.
    """
    truth, stated = np.asarray(y_true).astype(bool), np.asarray(y_prob, dtype=np.float64)
    if truth.all() or not truth.any():
        raise InputError("Received only melanomas or none; expected both, to weigh one against the other.")
    threshold = np.asarray(THRESHOLD_PROBABILITIES)
    everyone = np.ones(len(truth))

    def measure(weights: Floats) -> dict[str, Floats]:
        moved = weights if prevalence is None else weights_at_prevalence(truth, prevalence, weights)
        model = net_benefit(truth, stated, threshold, sample_weight=moved)
        refer_all = net_benefit(truth, everyone, threshold, sample_weight=moved)
        return {"model": model, "refer_all": refer_all, "gain": model - np.maximum(refer_all, 0)}

    found = resampler.measure(measure)

    def curve(name: str) -> Curve:
        value, drawn = found[name].value, found[name].drawn
        known = drawn[~np.isnan(drawn).any(axis=1)]
        if not len(known):
            return Curve(value, value, value)
        tail = 100 * (1 - LEVEL) / 2
        low, high = np.percentile(known, [tail, 100 - tail], axis=0)
        return Curve(value, np.minimum(low, value), np.maximum(high, value))

    return DecisionCurve(
        threshold_probability=threshold,
        prevalence=float(truth.mean()) if prevalence is None else prevalence,
        photographs=len(truth),
        melanomas=int(truth.sum()),
        model=curve("model"),
        refer_all=curve("refer_all"),
        gain=curve("gain"),
    )


def _runs(here: NDArray[np.bool_], places: Floats) -> tuple[tuple[float, float], ...]:
    """The first and the last place of each unbroken run of true values."""
    edges = np.flatnonzero(np.diff(np.r_[False, here, False].astype(np.int8)))
    return tuple((float(places[a]), float(places[b - 1])) for a, b in edges.reshape(-1, 2))
