"""A figure and how far it can be trusted: exact binomial intervals and the bootstrap over groups.

Photographs of one lesion or one patient are not independent, so what is drawn again is groups, never
photographs.
All intervals are two-sided, 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dermsentry.errors import InputError

LEVEL = 0.95
_BLOCK = 1_000_000  # weights held at once; keeps the memory of a bootstrap flat

Statistic = Callable[[NDArray[np.float64]], Mapping[str, NDArray[np.float64]]]


@dataclass(frozen=True)
class Estimate:
    """A figure with its two-sided 95 % interval, `low` ≤ `value` ≤ `high`."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """`{"value": …, "low": …, "high": …}`."""
        return {"value": self.value, "low": self.low, "high": self.high}


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), for a, b > 0.

    Continued fraction by Lentz's method: Press et al., Numerical Recipes, 3rd ed., section 6.4.
    """
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast only on the other side
        return 1.0 - _beta_fraction(1.0 - x, b, a)
    return _beta_fraction(x, a, b)


def _beta_fraction(x: float, a: float, b: float) -> float:
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    tiny = 1e-300
    c, d = 1.0, 1.0 / (1.0 - (a + b) * x / (a + 1) or tiny)
    fraction = d
    for m in range(1, 100_000):
        for factor in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / (1.0 + factor * d or tiny)
            c = 1.0 + factor / c or tiny
            fraction *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return min(1.0, front * fraction / a)


def _beta_quantile(share: float, a: float, b: float) -> float:
    low, high = 0.0, 1.0
    while True:
        middle = 0.5 * (low + high)
        if middle in (low, high) or high - low < 1e-14:
            return middle
        if beta_cdf(middle, a, b) < share:
            low = middle
        else:
            high = middle


def exact_binomial(successes: float, trials: float) -> Estimate:
    """The Clopper–Pearson interval of `successes` out of `trials`; 16 of 16 gives 79.4 % to 100 %.

    Both may be fractions, as with an effective number of independent trials (Korn & Graubard, Survey
    Methodology 24 (1998)). Clopper & Pearson, Biometrika 26 (1934). Raises ValueError outside
    0 ≤ successes ≤ trials, trials > 0.
    """
    if not 0 <= successes <= trials or trials <= 0:
        raise ValueError(f"Received {successes} of {trials}; expected 0 ≤ successes ≤ trials and trials > 0")
    tail = (1 - LEVEL) / 2
    failures = trials - successes
    low = 0.0 if successes == 0 else _beta_quantile(tail, successes, failures + 1)
    high = 1.0 if failures == 0 else _beta_quantile(1 - tail, successes + 1, failures)
    value = successes / trials
    return Estimate(value, min(low, value), max(high, value))


def provable(trials: int) -> float:
    """The sensitivity that finding all of `trials` lesions would prove: the exact lower bound of n of n."""
    return float(((1 - LEVEL) / 2) ** (1 / trials)) if trials > 0 else 0.0


def group_index(groups: Sequence[str]) -> NDArray[np.int64]:
    """Groups numbered 0, 1, …, shape (n,), in the order of their names."""
    return np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1].astype(np.int64)


def bootstrap(
    groups: Sequence[str], statistic: Statistic, *, resamples: int = 1000, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Draw groups again with replacement and measure each time.

    Parameters
    ----------
    groups
        The group of each of n photographs.
    statistic
        Takes weights (r, n), how often each photograph occurs in each of r resamples, and gives named
        figures, each of shape (r, ...); NaN where a resample has nothing to measure.
    resamples
        How often to draw.
    seed
        The same seed gives the same draws, whatever the number of photographs held at once.

    Returns
    -------
    dict
        Each figure's values, shape (resamples, ...).

    Raises
    ------
    InputError
        Fewer than 2 resamples.
    """
    if resamples < 2:
        raise InputError(f"Received {resamples} resamples; expected at least 2, better 1000.")
    index = group_index(groups)
    number = int(index.max()) + 1 if len(index) else 0
    if not number:
        raise InputError("Received no photographs to draw from; expected at least one.")
    rng = np.random.default_rng(seed)
    parts: dict[str, list[NDArray[np.float64]]] = {}
    step = max(1, _BLOCK // len(index))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(0, number, size=(rows, number)) + number * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * number).reshape(rows, number)
        for name, values in statistic(counts[:, index].astype(np.float64)).items():
            parts.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in parts.items()}


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
    tail = 100 * (1 - LEVEL) / 2
    low, high = (float(bound) for bound in np.percentile(known, [tail, 100 - tail]))
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
