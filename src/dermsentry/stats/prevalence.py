"""What an alert is worth where melanoma is rarer than among the photographs evaluated.

A collection made for learning has one melanoma in seven photographs, a clinic one in fifty or in hundreds.
Sensitivity and specificity carry over, as far as the photographs are alike; the share of alerts that are
right does not, and neither do probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dermsentry.errors import InputError
from dermsentry.stats.intervals import Estimate, known, percentile_interval

Floats = NDArray[np.float64]

PREVALENCES = (0.01, 0.02, 0.05)
"""Melanomas among the lesions that are looked at: from general practice to a clinic for pigmented lesions."""


def shift_prior(probability: ArrayLike, prior: ArrayLike, new_prior: ArrayLike) -> Floats:
    """Probabilities (..., k) as they are where the classes have other shares: p · new / old, summing to 1.

    Holds where the pictures of each class stay as they are and only the shares (k,) change. Saerens, Latinne
    & Decaestecker, Neural Computation 14 (2002), equation 2.4; of two classes Elkan, IJCAI 2001, theorem 2.
    Raises ValueError for an old share of zero.
    """
    old, new = np.asarray(prior, dtype=np.float64), np.asarray(new_prior, dtype=np.float64)
    if (old <= 0).any():
        raise ValueError(f"Received the prior {old.tolist()}; expected every class above 0")
    moved = np.asarray(probability, dtype=np.float64) * (new / old)
    return np.asarray(moved / moved.sum(axis=-1, keepdims=True))


def at_prevalence(probability: ArrayLike, prior: float, prevalence: float) -> Floats:
    """Melanoma probabilities (n,) that hold where `prior` of photographs are melanomas, for `prevalence`."""
    own = np.asarray(probability, dtype=np.float64)
    pair = np.stack([own, 1 - own], axis=-1)
    return shift_prior(pair, [prior, 1 - prior], [prevalence, 1 - prevalence])[..., 0]


def predictive_values(
    sensitivity: ArrayLike, specificity: ArrayLike, prevalence: float
) -> tuple[Floats, Floats]:
    """The shares of alerts and of silences that are right, PPV and NPV; NaN where there are none."""
    found, quiet = np.asarray(sensitivity, dtype=np.float64), np.asarray(specificity, dtype=np.float64)
    right, wrong = prevalence * found, (1 - prevalence) * (1 - quiet)
    spared, missed = (1 - prevalence) * quiet, prevalence * (1 - found)
    return _share(right, right + wrong), _share(spared, spared + missed)


def _share(part: Floats, whole: Floats) -> Floats:
    share: Floats = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
    return share


@dataclass(frozen=True)
class PerThousand:
    """Of 1,000 photographs: alerts, melanomas found and melanomas missed."""

    alerts: Estimate
    found: Estimate
    missed: Estimate


@dataclass(frozen=True)
class ClinicalValue:
    """What one rule of alerting gives where `prevalence` of the photographs are melanomas.

    `number_needed_to_biopsy` is the number of alerts for each melanoma found, and that of the biopsies if
    every alert leads to one. Figures are None where nothing raises an alert, or everything does.
    """

    prevalence: float
    positive_predictive_value: Estimate | None
    negative_predictive_value: Estimate | None
    per_thousand: PerThousand

    derived: ClassVar = ("number_needed_to_biopsy",)

    @property
    def alerts_per_melanoma(self) -> Estimate | None:
        """1 / PPV; its upper end is infinite where perhaps no alert is right. None where none is."""
        right = self.positive_predictive_value
        if right is None or right.value == 0:
            return None
        return Estimate(1 / right.value, 1 / right.high, 1 / right.low if right.low > 0 else math.inf)

    @property
    def number_needed_to_biopsy(self) -> dict[str, float | None] | None:
        """The same for JSON, which knows no infinity: `high` is None there."""
        needed = self.alerts_per_melanoma
        if needed is None:
            return None
        high = None if math.isinf(needed.high) else needed.high
        return {"value": needed.value, "low": needed.low, "high": high}


def clinical_value(
    sensitivity: Estimate,
    specificity: Estimate,
    drawn: tuple[Floats, Floats],
    prevalences: Sequence[float] = PREVALENCES,
) -> tuple[ClinicalValue, ...]:
    """What the alerts are worth at each prevalence.

    Parameters
    ----------
    sensitivity, specificity
        Of the rule of alerting, each with its interval.
    drawn
        Both in each bootstrap resample, (r,): every figure is recomputed in each. No interval is narrower
        than that of the sensitivity or that of the specificity alone would make it, since of 16 melanomas
        found out of 16 every resample finds all.
    prevalences
        Shares of melanomas, between 0 and 1.

    Raises
    ------
    InputError
        A prevalence is no share between 0 and 1.
    """
    return tuple(_value_at(check_prevalence(share), sensitivity, specificity, drawn) for share in prevalences)


def check_prevalence(prevalence: float) -> float:
    """The prevalence itself. Raises InputError if it is no share between 0 and 1."""
    if not 0 < prevalence < 1:
        raise InputError(
            f"Received a prevalence of {prevalence:g}; expected the share of photographs that are melanomas, "
            "above 0 and below 1, such as 0.02."
        )
    return prevalence


def _value_at(
    prevalence: float, sensitivity: Estimate, specificity: Estimate, drawn: tuple[Floats, Floats]
) -> ClinicalValue:
    def figures(found: Floats, quiet: Floats) -> dict[str, Floats]:
        right, wrong = predictive_values(found, quiet, prevalence)
        alerts = prevalence * found + (1 - prevalence) * (1 - quiet)
        own = {"found": prevalence * found, "missed": prevalence * (1 - found)}
        thousand = {name: 1000 * share for name, share in ({"alerts": alerts} | own).items()}
        return {"right": right, "silent": wrong, **thousand}

    # The figure itself, then one of the two at each end of its interval while the other stays.
    found = [sensitivity.value, sensitivity.low, sensitivity.high, *[sensitivity.value] * 2]
    quiet = [*[specificity.value] * 3, specificity.low, specificity.high]
    ends = figures(np.array(found), np.array(quiet))
    resampled = figures(*drawn)

    def interval(name: str) -> Estimate | None:
        first = percentile_interval(float(ends[name][0]), resampled[name])
        if first is None:
            return None
        low, high = float(np.nanmin(ends[name])), float(np.nanmax(ends[name]))
        return Estimate(first.value, min(first.low, low), max(first.high, high))

    return ClinicalValue(
        prevalence=prevalence,
        positive_predictive_value=interval("right"),
        negative_predictive_value=interval("silent"),
        per_thousand=PerThousand(*(known(interval(name)) for name in ("alerts", "found", "missed"))),
    )
