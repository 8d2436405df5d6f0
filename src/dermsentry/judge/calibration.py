"""Whether a stated probability means what it says, and the one number that makes it so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dermsentry.diagnoses import CODES, codes_of
from dermsentry.errors import InputError
from dermsentry.judge.intervals import Interval, exact_binomial
from dermsentry.judge.metrics import bin_of

TEMPERATURES = (0.05, 20.0)
"""The range a fitted temperature is kept in: beyond it the photographs say nothing more about it."""


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def apply_temperature(logits: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """softmax(logits / temperature): input and output (n, k). Log-probabilities serve as logits."""
    return np.exp(_log_softmax(np.asarray(logits, dtype=np.float64) / temperature))


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
    values, allowed = values[known], allowed[known]

    def loss(log_temperature: float) -> float:
        probability = apply_temperature(values, float(np.exp(log_temperature)))
        own = np.where(allowed, probability, 0.0).sum(axis=1)
        return float(-np.log(np.maximum(own, 1e-300)).mean())

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


@dataclass(frozen=True)
class ReliabilityBin:
    """Photographs of about the same stated probability, and how often it came true (exact interval)."""

    photographs: int
    stated: float
    observed: Interval


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
