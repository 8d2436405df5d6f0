"""How many melanomas it takes to promise a sensitivity, and the threshold that keeps the promise.

Independent melanomas of a site, ordered by their score, bound the site's sensitivity without any assumption
on how scores are distributed: of m, the k-th lowest score as a threshold finds at least the share S with the
probability P(Binomial(m, 1 - S) >= k). Wilks, Annals of Mathematical Statistics 12 (1941); for
classifiers: Vovk, ACML 2012, "training-conditional" conformal prediction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dermsentry.errors import InputError
from dermsentry.stats.numbers import percent_as_given

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Demand:
    """A sensitivity to be promised with a confidence, and what so many independent melanomas allow.

    `needed`: the fewest that could promise it, if all are found. `may_be_missed`: how many of these
    melanomas the threshold may miss and still keep the promise; None where they are too few.
    """

    sensitivity: float
    confidence: float
    melanomas: int
    needed: int
    may_be_missed: int | None

    derived: ClassVar = ("missing", "attainable")

    @property
    def missing(self) -> int:
        """How many more melanomas the promise needs at least; 0 where it can be made."""
        return max(0, self.needed - self.melanomas)

    @property
    def attainable(self) -> float:
        """The highest sensitivity that these melanomas can promise, all of them found; 0 without any."""
        return float((1 - self.confidence) ** (1 / self.melanomas)) if self.melanomas else 0.0

    @property
    def refusal(self) -> str:
        """Why nothing is promised, in a line; empty where it is."""
        if not self.missing:
            return ""
        wanted = f"{percent_as_given(self.sensitivity)} with {percent_as_given(self.confidence)} confidence"
        few = f"Received {self.melanomas} independent melanomas that the model assesses"
        line = (
            f"{few}; expected {self.needed} or more to promise a sensitivity of {wanted}: {self.missing} "
            "more needed."
        )
        possible = math.floor(100 * self.attainable) / 100
        return line + (f" With these, --sensitivity {possible:.2f} can be promised." if possible else "")


def demand(melanomas: int, sensitivity: float, confidence: float) -> Demand:
    """What so many independent melanomas allow.

    Raises
    ------
    InputError
        The sensitivity or the confidence is not between 0 and 1.
    """
    for name, share in (("sensitivity", sensitivity), ("confidence", confidence)):
        if not 0 < share < 1:
            raise InputError(f"Received a {name} of {share:g}; expected a share above 0 and below 1.")
    # The slack keeps a promise of just what is attainable from failing by a rounding error.
    needed = max(1, math.ceil(math.log(1 - confidence) / math.log(sensitivity) - 1e-9))
    rank = rank_of_threshold(melanomas, sensitivity, confidence)
    return Demand(sensitivity, confidence, melanomas, needed, rank - 1 if rank else None)


def rank_of_threshold(melanomas: int, sensitivity: float, confidence: float) -> int:
    """The highest k whose k-th lowest of so many scores keeps the promise as a threshold; 0 for none."""
    from scipy.special import bdtr

    fewer = bdtr(np.arange(melanomas), melanomas, 1 - sensitivity)  # P(Binomial <= k - 1) for k = 1, 2, …
    return int((fewer <= (1 - confidence) * (1 + 1e-9)).sum())


def one_of_each(score: Floats, groups: NDArray[np.int64], seed: int) -> Floats:
    """The score of one photograph of each group, chosen at random, low to high.

    Photographs of one lesion or patient are alike, and the promise needs independent ones.
    """
    order = np.random.default_rng(seed).permutation(len(score))
    _, first = np.unique(groups[order], return_index=True)
    return np.sort(score[order[first]])
