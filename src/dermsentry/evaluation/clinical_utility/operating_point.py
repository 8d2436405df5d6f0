"""The threshold above which a photograph raises an alert, chosen for a stated sensitivity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from dermsentry.errors import InputError
from dermsentry.stats.intervals import Estimate, exact_binomial, provable
from dermsentry.stats.numbers import compared

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

    Both are found again in each resample, and both flatter, since they are chosen on the photographs that
    they are evaluated on. None where there is nothing to measure.
    """

    threshold: Estimate | None
    specificity: Estimate | None


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
