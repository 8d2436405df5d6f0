"""A figure and how far it can be trusted: exact binomial and percentile intervals, all two-sided, 95 %."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
_TAIL = (1 - LEVEL) / 2


@dataclass(frozen=True)
class Estimate:
    """A figure with its two-sided 95 % interval.

    Parameters
    ----------
    value
        The figure of the photographs themselves.
    low, high
        The ends of the interval, `low` ≤ `value` ≤ `high`.
    """

    value: float
    low: float
    high: float


def exact_binomial(successes: float, trials: float) -> Estimate:
    """The Clopper–Pearson interval of `successes` out of `trials`; 16 of 16 gives 79.4 % to 100 %.

    Both may be fractions, as with an effective number of independent trials (Korn & Graubard, Survey
    Methodology 24 (1998)). Clopper & Pearson, Biometrika 26 (1934). Raises ValueError outside
    0 ≤ successes ≤ trials, trials > 0.
    """
    if not 0 <= successes <= trials or trials <= 0:
        raise ValueError(f"Received {successes} of {trials}; expected 0 ≤ successes ≤ trials and trials > 0")
    from scipy.special import betaincinv

    value, failures = successes / trials, trials - successes
    low = float(betaincinv(successes, failures + 1, _TAIL)) if successes else 0.0
    high = float(betaincinv(successes + 1, failures, 1 - _TAIL)) if failures else 1.0
    return Estimate(value, min(low, value), max(high, value))


def provable(trials: int) -> float:
    """The sensitivity that finding all of `trials` lesions would prove: the exact lower bound of n of n."""
    return float(_TAIL ** (1 / trials)) if trials > 0 else 0.0


def percentile_interval(
    value: float, drawn: NDArray[np.float64], *, unbiased: bool = False
) -> Estimate | None:
    """The percentile interval (Efron & Tibshirani, 1993, chapter 13); None where `value` is NaN.

    Resamples with nothing to measure are left out. With `unbiased` the interval is moved by the bootstrap's
    own estimate of bias: for figures that grow with noise, such as a calibration error.
    """
    if math.isnan(value):
        return None
    known = drawn[~np.isnan(drawn)]
    if not len(known):
        return Estimate(value, value, value)
    low, high = (float(bound) for bound in np.percentile(known, [100 * _TAIL, 100 * (1 - _TAIL)]))
    if unbiased:
        bias = float(known.mean()) - value
        low, high = max(0.0, low - bias), max(0.0, high - bias)
    return Estimate(value, min(low, value), max(high, value))


def proportion_interval(value: float, drawn: NDArray[np.float64], independent: int) -> Estimate | None:
    """The interval of a share: the bootstrap's, never narrower than the exact one of `independent` groups.

    The bootstrap alone would call 16 of 16 certain: every resample finds all of them.
    """
    first = percentile_interval(value, drawn)
    if first is None or independent < 1:
        return first
    exact = exact_binomial(min(1.0, value) * independent, independent)
    return Estimate(value, min(first.low, exact.low), max(first.high, exact.high))


def known(figure: Estimate | None) -> Estimate:
    """The figure itself. Raises ValueError where there was nothing to measure."""
    if figure is None:
        raise ValueError("Received nothing to measure; expected at least one number")
    return figure
