"""The share of melanomas among photographs of unknown diagnosis, from their probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermsentry.diagnoses import CODES, MELANOMA
from dermsentry.model import Card
from dermsentry.stats.intervals import Estimate, known
from dermsentry.stats.resampling import Resampler

Floats = NDArray[np.float64]

STEPS = 300
_CLOSE = 1e-6


def estimate_prevalence(probability: Floats, prior: float, resampler: Resampler) -> Estimate:
    """The share of melanomas that makes the probabilities most likely, by expectation maximisation.

    Saerens, Latinne & Decaestecker, Neural Computation 14 (2002), of two classes. It holds where melanomas
    and other lesions look as they did where the probabilities were calibrated and only their shares changed.

    Parameters
    ----------
    probability
        Of melanoma, (n,), as stated where `prior` of the photographs are melanomas.
    prior
        That share, between 0 and 1.
    resampler
        Draws the groups of the photographs.

    Returns
    -------
    Estimate
        The share, with the interval of the bootstrap.
    """

    def shares(weights: Floats) -> dict[str, Floats]:
        total, share = weights.sum(axis=1), np.full(len(weights), prior)
        for _ in range(STEPS):
            odds = share / (1 - share) * (1 - prior) / prior
            moved = odds[:, None] * probability
            new = (weights * (moved / (moved + 1 - probability))).sum(axis=1) / total
            done = np.abs(new - share).max() < _CLOSE
            share = np.clip(new, 1e-6, 1 - 1e-6)
            if done:
                break
        return {"prevalence": share}

    return known(resampler.measure(shares)["prevalence"].bounded(resampler.count()))


def stated_prevalence(card: Card) -> float | None:
    """The share of melanomas that a bundle's probabilities are stated for; None where its card says none."""
    if card.adoption is not None:
        return _share(card.adoption.record.get("prevalence"))
    configuration = card.training["configuration"]
    for name in ("prior", "case_mix"):
        mix = configuration.get(name)
        if isinstance(mix, Mapping):
            return _share(mix.get(MELANOMA))
    counts = card.training.get("photographs_by_diagnosis")
    of_part = counts.get("calibration") or counts.get("validation") if isinstance(counts, Mapping) else None
    if not isinstance(of_part, Mapping) or not set(CODES) & set(of_part):
        return None
    numbers = [number for number in of_part.values() if type(number) is int and number >= 0]
    return _share(of_part.get(MELANOMA, 0) / sum(numbers)) if sum(numbers) else None


def _share(value: Any) -> float | None:
    """A share from a card, which comes from outside; None where it is none."""
    return float(value) if isinstance(value, int | float) and 0 < value < 1 else None
