"""Whether a stated probability means what it says, and what makes it so.

Two methods keep nine probabilities: one temperature, or one temperature and a bias for each class. Two more
restate melanoma's probability alone: Platt's sigmoid and isotonic regression. `calibration_methods.py` tells
which of them help on photographs that they were not fitted to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dermsentry.diagnoses import CODES, MELANOMA, codes_of
from dermsentry.errors import InputError
from dermsentry.stats.intervals import (
    Estimate,
    exact_binomial,
)
from dermsentry.stats.metrics import bin_of

Floats = NDArray[np.float64]

TEMPERATURES = (0.05, 20.0)
"""The range a fitted temperature is kept in: beyond it the photographs say nothing more about it."""

BIAS_PENALTY = 0.1
"""What a squared bias costs, against the log loss summed over photographs: a normal prior, variance 10."""


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def apply_temperature(logits: ArrayLike, temperature: float, biases: ArrayLike = 0.0) -> Floats:
    """softmax(logits / temperature + biases): input and output (n, k), biases (k,) or none.

    Log-probabilities serve as logits.
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    return np.exp(_log_softmax(scaled + np.asarray(biases, dtype=np.float64)))


def fit_temperature(logits: ArrayLike, truth: Sequence[str], classes: Sequence[str] = CODES) -> float:
    """The temperature that makes the true labels most probable: Guo et al., ICML 2017.

    Parameters
    ----------
    logits
        Logits or log-probabilities, shape (n, k), of photographs that neither trained nor judge the network.
    truth
        The label of each; `PBK|SK` counts the probabilities of both. Unknown ones (`""`) are left out.
    classes
        The code of each column.

    Returns
    -------
    float
        In `TEMPERATURES`; 1.0 changes nothing, above 1 the network was too sure of itself.

    Raises
    ------
    InputError
        Shapes do not fit, a logit is not finite, or no label is known.
    """
    values, allowed = known_logits(logits, truth, classes)

    def loss(log_temperature: float) -> float:
        return float(_losses(apply_temperature(values, float(np.exp(log_temperature))), allowed).mean())

    # A grid first: labels of several codes may give more than one valley.
    grid = np.linspace(np.log(TEMPERATURES[0]), np.log(TEMPERATURES[1]), 61)
    best = int(np.argmin([loss(float(point)) for point in grid]))
    low, high = float(grid[max(0, best - 1)]), float(grid[min(len(grid) - 1, best + 1)])
    golden = (np.sqrt(5.0) - 1) / 2
    for _ in range(60):
        left, right = high - golden * (high - low), low + golden * (high - low)
        if loss(left) <= loss(right):
            high = right
        else:
            low = left
    return float(np.clip(np.exp((low + high) / 2), *TEMPERATURES))


def fit_bias_corrected_temperature(
    logits: ArrayLike, truth: Sequence[str], classes: Sequence[str] = CODES
) -> tuple[float, Floats]:
    """The temperature and the biases (k,) that make the true labels most probable; see `apply_temperature`.

    Alexandari, Kundaje & Shrikumar, ICML 2020 ("bias-corrected temperature scaling"), fitted by L-BFGS with
    `BIAS_PENALTY` on the biases. A class that no label names keeps the bias 0.

    Parameters, errors and the handling of candidates such as `PBK|SK` are those of `fit_temperature`.
    """
    from scipy.optimize import minimize

    values, allowed = known_logits(logits, truth, classes)
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
    start = np.r_[1 / fit_temperature(logits, truth, classes), np.zeros(int(free.sum()))]
    bounds = [(1 / TEMPERATURES[1], 1 / TEMPERATURES[0]), *[(None, None)] * int(free.sum())]
    options = {"maxiter": 1000, "ftol": 1e-13, "gtol": 1e-9}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    biases = np.zeros(values.shape[1])
    biases[free] = found.x[1:]
    return float(1 / found.x[0]), biases


def melanoma_log_odds(logits: ArrayLike) -> Floats:
    """ln(p / (1 - p)) of melanoma's probability p, (n,), from logits (n, 9) by `CODES`."""
    values = np.asarray(logits, dtype=np.float64)
    here = np.array([code == MELANOMA for code in CODES])
    return np.asarray(values[:, here][:, 0] - np.logaddexp.reduce(values[:, ~here], axis=1))


def fit_platt(score: ArrayLike, y_true: ArrayLike) -> tuple[float, float]:
    """The slope and the intercept of a sigmoid that turns scores into probabilities; see `apply_platt`.

    Platt, "Probabilistic outputs for support vector machines", Advances in Large Margin Classifiers (1999),
    with his targets (N₊ + 1) / (N₊ + 2) and 1 / (N₋ + 2) in place of 1 and 0, so that scores which part the
    two without error do not call for an infinite slope. His A and B are -slope and -intercept.

    Parameters
    ----------
    score
        Such as `melanoma_log_odds`, shape (n,).
    y_true
        True for the positives, shape (n,).

    Raises
    ------
    InputError
        No score, scores that are not finite, or as many truths as there are not scores.
    """
    from scipy.optimize import minimize

    values, positive = _scored(score, y_true)
    count = int(positive.sum())
    target = np.where(positive, (count + 1) / (count + 2), 1 / (len(values) - count + 2))
    centre, spread = float(values.mean()), float(values.std()) or 1.0
    scaled = (values - centre) / spread

    def loss(point: Floats) -> tuple[float, Floats]:
        odds = point[0] * scaled + point[1]
        error = apply_platt(odds, 1.0, 0.0) - target
        mean = float((np.logaddexp(0.0, odds) - target * odds).mean())
        return mean, np.array([(error * scaled).mean(), error.mean()])

    options = {"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-10}
    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", options=options)
    slope = float(found.x[0]) / spread
    return slope, float(found.x[1]) - slope * centre


def apply_platt(score: ArrayLike, slope: float, intercept: float) -> Floats:
    """1 / (1 + exp(-(slope · score + intercept))): scores and probabilities of any shape."""
    odds = slope * np.asarray(score, dtype=np.float64) + intercept
    return np.asarray(np.exp(-np.logaddexp(0.0, -odds)))


def fit_isotonic(score: ArrayLike, y_true: ArrayLike) -> tuple[Floats, Floats]:
    """The rising curve through the observed shares that fits them best: scores (k,) and probabilities (k,).

    Zadrozny & Elkan, KDD 2002; pool adjacent violators. Equal scores count together. It may state 0 or 1,
    which a single exception then contradicts without measure: the log loss shows it.

    Parameters and errors are those of `fit_platt`.
    """
    from scipy.optimize import isotonic_regression

    values, positive = _scored(score, y_true)
    places, where, count = np.unique(values, return_inverse=True, return_counts=True)
    share = np.bincount(where, weights=positive.astype(np.float64)) / count
    return places, np.asarray(isotonic_regression(share, weights=count).x, dtype=np.float64)


def apply_isotonic(score: ArrayLike, places: ArrayLike, probability: ArrayLike) -> Floats:
    """The curve of `fit_isotonic` at each score: straight between its places, level beyond its ends."""
    at, rising = np.asarray(places, dtype=np.float64), np.asarray(probability, dtype=np.float64)
    return np.asarray(np.interp(np.asarray(score, dtype=np.float64), at, rising))


def candidate_log_losses(probability: ArrayLike, truth: Sequence[str]) -> Floats:
    """-ln(probability of the label) of each photograph, (n,), from (n, 9) by `CODES`.

    A label such as `PBK|SK` has the probability of both codes, an unknown one (`""`) that of all nine.
    """
    allowed = np.array([[code in codes_of(label) or not label for code in CODES] for label in truth])
    return _losses(np.asarray(probability, dtype=np.float64), allowed)


def _losses(probability: Floats, allowed: NDArray[np.bool_]) -> Floats:
    own = np.where(allowed, probability, 0.0).sum(axis=1)
    return np.asarray(-np.log(np.maximum(own, 1e-300)))


def known_logits(
    logits: ArrayLike, truth: Sequence[str], classes: Sequence[str]
) -> tuple[Floats, NDArray[np.bool_]]:
    """The logits of the photographs with a known label, and which classes each label allows, both (m, k)."""
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim != 2 or values.shape != (len(truth), len(classes)):
        expected = f"{len(truth)} photographs by {len(classes)} classes"
        raise InputError(f"Received logits of shape {values.shape}; expected {expected}.")
    if not np.isfinite(values).all():
        raise InputError("Received logits that are not finite numbers; the network has diverged.")
    allowed = np.array([[code in codes_of(label) for code in classes] for label in truth], dtype=bool)
    known = allowed.reshape(len(truth), len(classes)).any(axis=1)
    if not known.any():
        raise InputError(
            "Received no photograph of a known diagnosis to calibrate on; expected at least one."
        )
    return values[known], allowed[known]


def _scored(score: ArrayLike, y_true: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    values, positive = np.asarray(score, dtype=np.float64), np.asarray(y_true).astype(bool)
    if values.ndim != 1 or values.shape != positive.shape or not len(values):
        raise InputError(
            f"Received scores of shape {values.shape} and truths of shape {positive.shape}; expected one "
            "score and one truth of each photograph, and at least one photograph."
        )
    if not np.isfinite(values).all():
        raise InputError("Received scores that are not finite numbers; the network has diverged.")
    return values, positive


@dataclass(frozen=True)
class ReliabilityBin:
    """Photographs of about the same stated probability, and how often it came true (exact interval)."""

    photographs: int
    stated: float
    observed: Estimate


def reliability(
    y_true: ArrayLike, confidence: ArrayLike, *, bins: int = 10, equal_mass: bool = False
) -> tuple[ReliabilityBin, ...]:
    """The reliability diagram's points: the bins of `metrics.bin_of` that hold photographs, low to high.

    `y_true` (n,) is true where the event happened, `confidence` (n,) its stated probability.
    """
    outcome, stated = np.asarray(y_true).astype(bool), np.asarray(confidence, dtype=np.float64)
    index = bin_of(stated, bins, equal_mass=equal_mass)
    found = []
    for number in np.unique(index):
        here = index == number
        count = int(here.sum())
        observed = exact_binomial(int(outcome[here].sum()), count)
        found.append(ReliabilityBin(count, float(stated[here].mean()), observed))
    return tuple(found)
