"""The threshold above which a photograph raises an alert, chosen for a stated sensitivity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dermsentry.errors import InputError
from dermsentry.stats.intervals import LEVEL, Estimate, combined, exact_binomial, provable
from dermsentry.stats.numbers import compared, counted, percent_as_given
from dermsentry.stats.resampling import Resampler

CLAIM = 0.95
"""The melanoma sensitivity that a reader will want to see proved."""


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and the sensitivity that it has on the photographs it was chosen on.

    Alert where score ≥ `threshold`. The interval is the exact binomial one and takes photographs as
    independent; since the threshold was chosen on the same photographs, the figure flatters it: evaluate it
    on others.
    """

    threshold: float
    sensitivity: Estimate


@dataclass(frozen=True)
class NeededThreshold:
    """The highest threshold that finds the target share of these melanomas, and its specificity.

    Both are chosen on the photographs that they are evaluated on: a property of the ranking, not a promise
    for other photographs. None where they cannot be estimated, for the `reason` given.
    """

    threshold: Estimate | None
    specificity: Estimate | None
    reason: str = ""


@dataclass(frozen=True)
class FrozenThreshold:
    """A threshold that was chosen on other photographs, beside the one that these would have called for.

    `sensitivity` and `specificity` are at `threshold`. `needed` is the one that would have found at least
    `sensitivity_target` of these melanomas. `chosen_on` and `sensitivity_there` say where the threshold comes
    from and what it reached there. Figures are None where there is nothing to measure.
    """

    threshold: float
    sensitivity_target: float
    melanomas: int
    melanoma_groups: int
    others: int
    detected: int
    false_alarms: int
    sensitivity: Estimate | None
    specificity: Estimate | None
    needed: NeededThreshold
    chosen_on: str = ""
    sensitivity_there: Estimate | None = None

    derived: ClassVar = ("provable_sensitivity", "note")

    @property
    def provable_sensitivity(self) -> float:
        """What finding every one of these melanomas would show, and no more: 79 % of 16."""
        return provable(self.melanoma_groups)

    @property
    def note(self) -> str:
        """The same in words."""
        return proof(self.melanoma_groups)


def proof(groups: int) -> str:
    """What finding every one of so many melanoma lesions would prove, to print beside a sensitivity."""
    if not groups:
        return ""
    return f"finding all {groups} would prove {compared(provable(groups), CLAIM, digits=0)[0]}"


def threshold_for_sensitivity(y_true: ArrayLike, y_score: ArrayLike, sensitivity: float) -> OperatingPoint:
    """The highest threshold that finds at least `sensitivity` of the positives.

    Parameters
    ----------
    y_true
        True for the positives (melanomas), shape (n,).
    y_score
        Their scores, shape (n,), larger for the more suspicious.
    sensitivity
        The share to be found, above 0 and up to 1.

    Returns
    -------
    OperatingPoint
        Its threshold is midway between the lowest score that is to raise an alert and the next one below,
        so that rounding in another runtime does not move a photograph across it.

    Raises
    ------
    InputError
        There is no positive, a score is no number, or `sensitivity` is out of range.
    """
    truth, score = np.asarray(y_true).astype(bool), np.asarray(y_score, dtype=np.float64)
    if not 0 < sensitivity <= 1:
        raise InputError(f"Received a sensitivity of {sensitivity}; expected a share above 0 and up to 1.")
    if not truth.any():
        raise InputError("Received no melanoma to choose a threshold on; expected at least one.")
    if not np.isfinite(score).all():
        raise InputError("Received scores that are not finite numbers; expected probabilities.")
    positives = np.sort(score[truth])[::-1]
    wanted = max(1, int(np.ceil(sensitivity * len(positives) * (1 - 1e-12))))
    lowest = float(positives[wanted - 1])
    below = score[score < lowest]
    # Nothing below: a hair under the score, wider than float32's rounding.
    threshold = (lowest + float(below.max())) / 2 if len(below) else lowest - abs(lowest) * 1e-6
    if len(below) and threshold <= float(below.max()):
        threshold = lowest
    detected = int((positives >= threshold).sum())
    return OperatingPoint(threshold, exact_binomial(detected, len(positives)))


def needed_threshold(
    melanoma: NDArray[np.bool_], score: NDArray[np.float64], resampler: Resampler, sensitivity: float
) -> NeededThreshold:
    """The threshold that finds a share of the melanomas, and its specificity, with what bounds them.

    The threshold is a quantile of the melanomas' scores, and between two of these scores whatever their
    distribution (Conover, Practical Nonparametric Statistics, 1999, section 3.2), of as many melanomas as
    there are lesions. The specificity's interval adds what it is between these two to the exact one of the
    other lesions at the threshold itself, by `intervals.combined`. A sensitivity that leaves out less than
    one lesion cannot be estimated.

    Parameters
    ----------
    melanoma
        Which photographs are melanomas, (n,).
    score
        Their probabilities of melanoma, (n,).
    resampler
        Of their groups.
    sensitivity
        The share to be found, above 0 and up to 1.
    """
    groups, others = resampler.count(melanoma), resampler.count(~melanoma)
    missed = 1 - sensitivity
    if groups * missed < 1 - 1e-9:
        return NeededThreshold(None, None, _too_few(groups, missed))
    value = threshold_for_sensitivity(melanoma, score, sensitivity).threshold
    positives = np.sort(score[melanoma])
    low, high = (_quantile(positives, share) for share in _ranks(groups, missed))
    threshold = Estimate(value, min(low, value), max(high, value))
    if not others:
        return NeededThreshold(threshold, None, "not estimable: every photograph is a melanoma")
    negatives = score[~melanoma]
    quiet, least, most = (float((negatives < end).mean()) for end in (value, low, high))
    sampled = exact_binomial(quiet * others, others)
    moved = Estimate(0.0, least - quiet, most - quiet)
    both = combined((sampled, moved), (1.0, 1.0))
    return NeededThreshold(threshold, Estimate(quiet, max(0.0, both.low), min(1.0, both.high)))


def _too_few(groups: int, missed: float) -> str:
    if not missed:
        return "not estimable: no number of melanomas found shows that none is missed"
    independent = counted(groups, "independent melanoma")
    return f"not estimable: {percent_as_given(missed)} of {independent} is less than one"


def _ranks(count: int, share: float) -> tuple[float, float]:
    """The shares of `count` values below which, and up to which, their quantile is with 95 % confidence."""
    from scipy.stats import binom

    below = int(binom.ppf((1 - LEVEL) / 2, count, share))  # P(at most below - 1) ≤ 2.5 %
    above = int(binom.isf((1 - LEVEL) / 2, count, share)) + 1
    return below / count, above / count


def _quantile(ascending: NDArray[np.float64], share: float) -> float:
    """The lowest of the values of which this share is no higher; without end beyond them."""
    rank = int(np.ceil(share * len(ascending) * (1 - 1e-12)))
    return 0.0 if rank < 1 else 1.0 if rank > len(ascending) else float(ascending[rank - 1])
