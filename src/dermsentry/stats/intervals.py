"""A figure and how far it can be trusted: intervals that cover, all two-sided, 95 %.

What covers was measured, over the number of lesions, prevalence, AUROC and photographs per lesion:
docs/coverage.md. A share has the exact interval of the effective number of independent trials, an AUROC the t
interval on the logit scale, a loss that on the logarithmic scale; their standard errors are those of the
bootstrap over groups.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 0.95
NORMAL = 1.959963984540054
"""The normal distribution's quantile for it."""
_TAIL = (1 - LEVEL) / 2
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A figure with its two-sided 95 % interval.

    Parameters
    ----------
    value
        The figure of the photographs themselves.
    low, high
        The ends of the interval, `low` ≤ `value` ≤ `high`.

    Examples
    --------
    >>> import dermsentry, pandas
    >>> collection = dermsentry.read_collection("photographs")
    >>> table = pandas.DataFrame({"image": [path.stem for path in collection.paths]})
    >>> table["melanoma"] = table.index % 10 / 10
    >>> table.to_csv("table.csv", index=False)
    >>> sensitivity = dermsentry.evaluate_table("table.csv", collection, threshold=0.5).sensitivity
    >>> sensitivity.low <= sensitivity.value <= sensitivity.high
    True
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


def percentile_interval(value: float, drawn: Floats) -> Estimate | None:
    """The percentile interval (Efron & Tibshirani, 1993, chapter 13); None where `value` is NaN.

    For a median, a ratio or a mean of many: an AUROC, a share or a loss has an interval of its own here,
    since this one is too narrow with few lesions. Resamples with nothing to measure are left out.
    """
    if math.isnan(value):
        return None
    known = drawn[~np.isnan(drawn)]
    if not len(known):
        return Estimate(value, value, value)
    low, high = (float(bound) for bound in np.percentile(known, [100 * _TAIL, 100 * (1 - _TAIL)]))
    return Estimate(value, min(low, value), max(high, value))


def proportion_interval(value: float, drawn: Floats, independent: float) -> Estimate | None:
    """The exact interval of a share, of as many trials as its resamples say that there are.

    Korn & Graubard, Survey Methodology 24 (1998): the effective number of independent trials is the variance
    of one trial by the bootstrap's of the share, here never more than the number of `independent` groups, so
    that 16 of 16 is not certain. None where `value` is NaN.
    """
    if math.isnan(value):
        return None
    if independent < 1:
        return Estimate(value, 0.0, 1.0)
    share, error = min(1.0, value), standard_error(drawn)
    trials = min(independent, share * (1 - share) / error**2) if error and 0 < share < 1 else independent
    exact = exact_binomial(share * trials, trials)
    return Estimate(value, min(exact.low, value), max(exact.high, value))


def logit_interval(value: float, drawn: Floats, independent: float) -> Estimate | None:
    """The interval of a figure between 0 and 1 that is no share, such as an AUROC; None where it is NaN.

    A t interval on the logit scale (Pepe, The Statistical Evaluation of Medical Tests, 2003, section 5.2.5),
    its standard error that of the bootstrap over groups, which for an AUROC is that of DeLong, DeLong &
    Clarke-Pearson, Biometrics 44 (1988) and, of several photographs of a lesion, of Obuchowski, Biometrics 53
    (1997), without the bias that few groups give it. Degrees of freedom are one less than `independent`, the
    effective number of groups of the rarer side. A figure of 0 or 1 has the exact interval of as many trials,
    one of fewer than two groups can be anything.
    """
    if math.isnan(value):
        return None
    if independent < 2:
        return Estimate(value, 0.0, 1.0)
    own, error = min(max(value, 0.0), 1.0), standard_error(drawn)
    if not error or not 0 < own < 1:
        return exact_binomial(own * independent, independent)
    half = _reach(error, independent) / (own * (1 - own))
    odds = math.log(own / (1 - own))
    low, high = (1 / (1 + math.exp(-min(max(end, -700.0), 700.0))) for end in (odds - half, odds + half))
    return Estimate(value, min(low, value), max(high, value))


def log_interval(value: float, drawn: Floats, independent: float) -> Estimate | None:
    """The interval of a figure above 0 without an upper bound, such as a loss: a t interval of its logarithm.

    See `logit_interval`. None where it is NaN, or of fewer than two groups: it may then be anything.
    """
    if math.isnan(value) or independent < 2:
        return None
    if value <= 0:
        return Estimate(value, value, float(np.max(drawn[~np.isnan(drawn)], initial=value)))
    factor = math.exp(min(_reach(standard_error(drawn), independent) / value, 700.0))
    return Estimate(value, value / factor, value * factor)


def combined(
    figures: Sequence[Estimate], coefficients: Sequence[float], correlation: Floats | None = None
) -> Estimate:
    """A sum of figures, each times its coefficient: a difference, or a mean.

    By the method of variance estimates recovery from the intervals of the figures: Zou & Donner, Statistics
    in Medicine 27 (2008); of correlated ones Zou & Yue, Statistics in Medicine 32 (2013).

    Parameters
    ----------
    figures, coefficients
        k of each.
    correlation
        Of the figures, (k, k); independent without it.
    """
    value = sum(c * own.value for c, own in zip(coefficients, figures, strict=True))
    matrix = np.eye(len(figures)) if correlation is None else correlation

    def reach(*, down: bool) -> float:
        ends = [
            own.low if down == (c > 0) else own.high for c, own in zip(coefficients, figures, strict=True)
        ]
        off = np.array(
            [c * abs(own.value - end) for c, own, end in zip(coefficients, figures, ends, strict=True)]
        )
        return math.sqrt(max(0.0, float(off @ matrix @ off)))

    return Estimate(value, value - reach(down=True), value + reach(down=False))


def mean_of(figures: Sequence[Estimate], correlation: Floats | None = None) -> Estimate:
    """The mean of figures; see `combined`."""
    return combined(figures, [1 / len(figures)] * len(figures), correlation)


def standard_error(drawn: Floats) -> float:
    """The bootstrap's: the standard deviation of the resamples in which there was something to measure."""
    known = drawn[~np.isnan(drawn)]
    error = float(known.std()) if len(known) else 0.0
    return error if error > _ROUNDING else 0.0


def p_value(difference: Estimate) -> float:
    """The two-sided p-value of a difference, by the end of its interval on the side of 0.

    Below 0.05 where the interval excludes 0.
    """
    from scipy.special import ndtr

    towards = (
        difference.value - difference.low if difference.value > 0 else difference.high - difference.value
    )
    if not towards:
        return float(difference.value == 0)
    return float(2 * ndtr(-abs(difference.value) / towards * NORMAL))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for as many comparisons: Holm, Scandinavian Journal of Statistics 6 (1979)."""
    order = np.argsort(p_values, kind="stable")
    stepped = np.asarray(p_values)[order] * (len(p_values) - np.arange(len(p_values)))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return adjusted.tolist()


def t_quantile(independent: float) -> float:
    """The quantile of Student's t distribution with one degree of freedom less than there are groups."""
    from scipy.special import stdtrit

    return float(stdtrit(max(1.0, independent - 1), 1 - _TAIL))


def _reach(error: float, independent: float) -> float:
    """How far a t interval reaches: the plug-in variance of few groups is too small by their share."""
    return t_quantile(independent) * error * math.sqrt(independent / (independent - 1))


def known(figure: Estimate | None) -> Estimate:
    """The figure itself. Raises ValueError where there was nothing to measure."""
    if figure is None:
        raise ValueError("Received nothing to measure; expected at least one number")
    return figure
