"""Whether a stated probability means what it says, and what makes it so.

A network is calibrated by one temperature, or one temperature and a bias for each class;
`evaluation.calibration_methods` compares the two on photographs that they were not fitted to. A clinic's few
photographs bear two numbers: Platt scaling of melanoma against the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dermsentry.diagnoses import CODES, codes_of
from dermsentry.errors import InputError
from dermsentry.stats.intervals import Estimate, exact_binomial, t_quantile
from dermsentry.stats.metrics import bin_of

Floats = NDArray[np.float64]

TEMPERATURES = (0.05, 20.0)
"""The range a fitted temperature is kept in: beyond it the photographs say nothing more about it."""

BIAS_PENALTY = 0.1
"""What a squared bias costs, against the log loss summed over photographs: a normal prior, variance 10."""


SLOPE_PENALTY, INTERCEPT_PENALTY = 16.0, 0.5
"""What the squared logarithm of a Platt slope and a squared intercept cost: normal priors."""

_SMALLEST = 1e-7  # probabilities closer to 0 or 1 count as this close


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def apply_temperature(logits: ArrayLike, temperature: float, biases: ArrayLike = 0.0) -> Floats:
    """softmax(logits / temperature + biases): input and output (n, k), biases (k,) or none.

    Log-probabilities serve as logits.
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    return np.exp(_log_softmax(scaled + np.asarray(biases, dtype=np.float64)))


def fit_temperature(logits: ArrayLike, truth: Sequence[str]) -> float:
    """The temperature that makes the true labels most probable: Guo et al., ICML 2017.

    Parameters
    ----------
    logits
        Logits or log-probabilities (n, 9) by `CODES`, of photographs that neither train nor evaluate the
        network.
    truth
        The label of each; `PBK|SK` counts the probabilities of both. Unknown ones (`""`) are left out.

    Returns
    -------
    float
        In `TEMPERATURES`; 1.0 changes nothing, above 1 the network was too sure of itself.

    Raises
    ------
    InputError
        Shapes do not fit, a logit is not finite, or no label is known.
    """
    from scipy.optimize import minimize_scalar

    values, allowed = known_logits(logits, truth)

    def loss(log_temperature: float) -> float:
        return float(_losses(apply_temperature(values, float(np.exp(log_temperature))), allowed).mean())

    # A grid first: labels of several codes may give more than one valley.
    grid = np.linspace(np.log(TEMPERATURES[0]), np.log(TEMPERATURES[1]), 61)
    best = int(np.argmin([loss(float(point)) for point in grid]))
    bracket = (grid[max(0, best - 1)], grid[min(len(grid) - 1, best + 1)])
    found = minimize_scalar(loss, bounds=bracket, method="bounded", options={"xatol": 1e-9})
    least = min(float(grid[best]), float(found.x), key=loss)  # an end of the grid is never reached otherwise
    return float(np.clip(np.exp(least), *TEMPERATURES))


def fit_bias_corrected_temperature(logits: ArrayLike, truth: Sequence[str]) -> tuple[float, Floats]:
    """The temperature and the biases (9,) that make the true labels most probable; see `apply_temperature`.

    Alexandari, Kundaje & Shrikumar, ICML 2020 ("bias-corrected temperature scaling"), fitted by L-BFGS with
    `BIAS_PENALTY` on the biases. A class that no label names keeps the bias 0.

    Parameters, errors and the handling of candidates such as `PBK|SK` are those of `fit_temperature`.
    """
    from scipy.optimize import minimize

    values, allowed = known_logits(logits, truth)
    free = allowed.any(axis=0)
    number = len(values)

    def loss(point: Floats) -> tuple[float, Floats]:
        """Mean log loss and its gradient by the inverse temperature and the free biases."""
        biases = np.zeros(values.shape[1])
        biases[free] = point[1:]
        log_probability = _log_softmax(point[0] * values + biases)
        probability = np.exp(log_probability)
        among = np.where(allowed, log_probability, -np.inf)
        own = np.logaddexp.reduce(among, axis=1)
        slope = (probability - np.exp(among - own[:, None])) / number  # by each scaled logit
        penalty = 0.5 * BIAS_PENALTY * float(point[1:] @ point[1:]) / number
        by_bias = slope.sum(axis=0)[free] + BIAS_PENALTY * point[1:] / number
        return float(-own.mean()) + penalty, np.r_[(slope * values).sum(), by_bias]

    # In the inverse temperature the loss is convex where every label is one code.
    start = np.r_[1 / fit_temperature(logits, truth), np.zeros(int(free.sum()))]
    bounds = [(1 / TEMPERATURES[1], 1 / TEMPERATURES[0]), *[(None, None)] * int(free.sum())]
    options = {"maxiter": 1000, "ftol": 1e-13, "gtol": 1e-9}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    biases = np.zeros(values.shape[1])
    biases[free] = found.x[1:]
    return float(1 / found.x[0]), biases


def platt_scaled(probability: ArrayLike, slope: float, intercept: float) -> Floats:
    """1 / (1 + exp(-(slope · logit(probability) + intercept))), in any shape; the order stays as it was."""
    own = np.clip(np.asarray(probability, dtype=np.float64), _SMALLEST, 1 - _SMALLEST)
    return np.asarray(1 / (1 + np.exp(-(slope * np.log(own / (1 - own)) + intercept))))


def platt_scaled_class(probability: ArrayLike, column: int, slope: float, intercept: float) -> Floats:
    """Probabilities (n, k) with one class scaled by `platt_scaled`, the others in their old proportions."""
    values = np.asarray(probability, dtype=np.float64)
    scaled = platt_scaled(values[:, column], slope, intercept)
    others = np.delete(values, column, axis=1) + 1e-12  # so that they can be told to share what is left
    others *= ((1 - scaled) / others.sum(axis=1))[:, None]
    return np.insert(others, column, scaled, axis=1)


def fit_platt(probability: ArrayLike, y_true: ArrayLike) -> tuple[float, float]:
    """The slope and the intercept that make the outcomes most probable; see `platt_scaled`.

    Platt, Advances in Large Margin Classifiers (1999), on the logit of a probability, fitted by L-BFGS with
    `SLOPE_PENALTY` and `INTERCEPT_PENALTY`: so few photographs move it little, and outcomes of one kind alone
    do not move it without end.

    Parameters
    ----------
    probability
        Of the event, (n,), of photographs that neither train nor evaluate.
    y_true
        Whether it happened, (n,).

    Returns
    -------
    tuple of float
        The slope, above 0, and the intercept; 1 and 0 change nothing.
    """
    from scipy.optimize import minimize

    own = np.clip(np.asarray(probability, dtype=np.float64), _SMALLEST, 1 - _SMALLEST)
    logit, outcome = np.log(own / (1 - own)), np.asarray(y_true).astype(np.float64)

    def loss(point: Floats) -> tuple[float, Floats]:
        slope, intercept = float(np.exp(point[0])), float(point[1])
        scaled = slope * logit + intercept
        total = float((np.logaddexp(0, scaled) - outcome * scaled).sum())
        total += 0.5 * SLOPE_PENALTY * point[0] ** 2 + 0.5 * INTERCEPT_PENALTY * intercept**2
        off = 1 / (1 + np.exp(-scaled)) - outcome
        by_slope = float(off @ logit) * slope + SLOPE_PENALTY * point[0]
        return total, np.array([by_slope, off.sum() + INTERCEPT_PENALTY * intercept])

    ends = (np.log(1 / TEMPERATURES[1]), np.log(1 / TEMPERATURES[0]))
    found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[ends, (-30, 30)])
    return float(np.exp(found.x[0])), float(found.x[1])


def candidate_log_losses(probability: ArrayLike, truth: Sequence[str]) -> Floats:
    """-ln(probability of the label) of each photograph, (n,), from (n, 9) by `CODES`.

    A label such as `PBK|SK` has the probability of both codes, an unknown one (`""`) that of all nine.
    """
    allowed = np.array([[code in codes_of(label) or not label for code in CODES] for label in truth])
    return _losses(np.asarray(probability, dtype=np.float64), allowed)


def _losses(probability: Floats, allowed: NDArray[np.bool_]) -> Floats:
    own = np.where(allowed, probability, 0.0).sum(axis=1)
    return np.asarray(-np.log(np.maximum(own, 1e-300)))


def known_logits(logits: ArrayLike, truth: Sequence[str]) -> tuple[Floats, NDArray[np.bool_]]:
    """The logits of the photographs with a known label, and which classes each label allows, both (m, 9)."""
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim != 2 or values.shape != (len(truth), len(CODES)):
        expected = f"{len(truth)} photographs by {len(CODES)} classes"
        raise InputError(f"Received logits of shape {values.shape}; expected {expected}.")
    if not np.isfinite(values).all():
        raise InputError("Received logits that are not finite numbers; the network has diverged.")
    allowed = np.array([[code in codes_of(label) for code in CODES] for label in truth], dtype=bool)
    known = allowed.reshape(values.shape).any(axis=1)
    if not known.any():
        raise InputError(
            "Received no photograph of a known diagnosis to calibrate on; expected at least one."
        )
    return values[known], allowed[known]


@dataclass(frozen=True)
class ReliabilityBin:
    """Photographs of about the same stated probability, and how often it came true (exact interval)."""

    photographs: int
    stated: float
    observed: Estimate


def reliability(
    y_true: ArrayLike, confidence: ArrayLike, *, equal_mass: bool = False
) -> tuple[ReliabilityBin, ...]:
    """The reliability diagram's points: the bins of `metrics.bin_of` that hold photographs, low to high.

    `y_true` (n,) is true where the event happened, `confidence` (n,) its stated probability.
    """
    outcome, stated = np.asarray(y_true).astype(bool), np.asarray(confidence, dtype=np.float64)
    index = bin_of(stated, BINS, equal_mass=equal_mass)
    found = []
    for number in np.unique(index):
        here = index == number
        count = int(here.sum())
        observed = exact_binomial(int(outcome[here].sum()), count)
        found.append(ReliabilityBin(count, float(stated[here].mean()), observed))
    return tuple(found)


BINS = 10
"""Bins of the calibration error, at most."""
FEWEST = 10
"""Groups that a bin of it has, on average at least."""


def calibration_error(
    y_true: ArrayLike,
    stated: ArrayLike,
    index: NDArray[np.int64],
    *,
    sample_weight: ArrayLike | None = None,
) -> Estimate | None:
    """The root mean square distance of stated probabilities from observed shares, without what is noise.

    The square of the distance in each bin, less its own variance, is unbiased: Kumar, Liang & Ma, NeurIPS
    2019, section 5; Bröcker, Climate Dynamics 39 (2012). Where the probabilities are calibrated the figure is
    about 0 and its interval includes 0. The interval is that of all errors that the squared distance does not
    contradict, by the variance of a quadratic form of normal variables over groups and by Student's t
    distribution of as many groups as the rarer outcome has.

    Parameters
    ----------
    y_true
        Whether the event happened, (n,).
    stated
        Its stated probability, (n,). Bins have about equally many photographs, equal probabilities staying
        together: `BINS`, fewer where groups are few.
    index
        The group of each photograph as a number, (n,).
    sample_weight
        (n,); equal without it.

    Returns
    -------
    Estimate or None
        None of fewer than two groups.
    """
    outcome, probability = np.asarray(y_true, dtype=np.float64), np.asarray(stated, dtype=np.float64)
    groups = len(np.unique(index))
    if groups < 2:
        return None
    weights = np.ones(len(outcome)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    weights = weights / weights.sum()
    bins = int(np.clip(groups // FEWEST, 1, BINS))
    member = np.unique(bin_of(probability, bins, equal_mass=True), return_inverse=True)[1]
    share = np.bincount(member, weights)
    gap = np.bincount(member, weights * (outcome - probability)) / share
    rows = np.unique(index, return_inverse=True)[1]
    off = np.zeros((groups, len(share)))  # of each group, from the gap of each bin
    np.add.at(off, (rows, member), weights * (outcome - probability - gap[member]))
    root = np.sqrt(share)
    among = np.zeros_like(off, dtype=np.bool_)
    among[rows, member] = True
    counts = among.sum(axis=0)
    off *= np.sqrt(counts / np.maximum(counts - 1, 1)) / root
    covariance = off.T @ off  # of root · gap, whose squares add up to the squared distance
    alone = counts < 2
    covariance[alone, alone] = share[alone] * gap[alone] ** 2  # one group shows no variance: nothing is known
    squared = float((share * gap**2).sum() - np.trace(covariance))
    # (squared - error²)² ≤ t² · (variance where calibrated + slope · error²), solved for error².
    quantile = t_quantile(_rarer(outcome, index))
    variance = 2 * float((covariance**2).sum())
    slope = 4 * float(np.linalg.eigvalsh(covariance)[-1])
    middle = squared + slope * quantile**2 / 2
    reach = float(np.sqrt(max(0.0, middle**2 - squared**2 + quantile**2 * variance)))
    value, low, high = (float(np.sqrt(max(0.0, each))) for each in (squared, middle - reach, middle + reach))
    return Estimate(value, min(low, value), max(min(high, 1.0), value))  # two shares are at most 1 apart


@dataclass(frozen=True)
class CalibrationTest:
    """Spiegelhalter's z and its two-sided p-value: small where the probabilities are not calibrated."""

    z: float
    p_value: float


def calibration_test(
    y_true: ArrayLike, stated: ArrayLike, index: NDArray[np.int64]
) -> CalibrationTest | None:
    """Whether stated probabilities are calibrated: Spiegelhalter, Statistics in Medicine 5 (1986).

    The statistic's variance is over groups, since photographs of one lesion share their outcome, and its
    reference Student's t distribution of as many groups as the rarer outcome has.

    Parameters
    ----------
    y_true, stated, index
        As in `calibration_error`.

    Returns
    -------
    CalibrationTest or None
        None of fewer than two groups, or where every probability is 0, a half or 1 and right: nothing varies.
    """
    from scipy.special import stdtr

    outcome, probability = np.asarray(y_true, dtype=np.float64), np.asarray(stated, dtype=np.float64)
    sums = np.bincount(
        np.unique(index, return_inverse=True)[1], (outcome - probability) * (1 - 2 * probability)
    )
    error = float(np.sqrt((sums**2).sum()))
    if len(sums) < 2 or not error:
        return None
    z = float(sums.sum()) / error
    return CalibrationTest(z, float(2 * stdtr(max(1.0, _rarer(outcome, index) - 1), -abs(z))))


def _rarer(outcome: Floats, index: NDArray[np.int64]) -> float:
    """The effective number of groups, as `Resampler.effective` has it, of the outcome that fewer have."""
    sizes = [np.unique(index[outcome == one], return_counts=True)[1].astype(np.float64) for one in (0, 1)]
    return min(float(own.sum() ** 2 / (own**2).sum()) if len(own) else 0.0 for own in sizes)
