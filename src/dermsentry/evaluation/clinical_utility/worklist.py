"""Where in a worklist the melanomas are, if it is read from the highest probability down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dermsentry.stats.intervals import Estimate
from dermsentry.stats.metrics import rank, weights_at_prevalence
from dermsentry.stats.resampling import Resampler

Floats = NDArray[np.float64]

SHARES = (0.05, 0.10, 0.20)
"""Parts of the worklist, from its top."""


@dataclass(frozen=True)
class TopOfWorklist:
    """The share of the melanomas that are in the first `share` of the worklist."""

    share: float
    melanomas: Estimate


@dataclass(frozen=True)
class Worklist:
    """What the first parts of a worklist hold where `prevalence` of the lesions are melanomas."""

    prevalence: float
    first: tuple[TopOfWorklist, ...]


def worklists(
    melanoma: NDArray[np.bool_], score: Floats, resampler: Resampler, prevalences: Sequence[float]
) -> tuple[Worklist, ...]:
    """The melanomas in the first parts of a worklist at each prevalence.

    Photographs are weighted so that melanomas have that share: sensitivity and specificity at every threshold
    stay as they are, as far as the photographs are alike. Equal probabilities are in random order.

    Parameters
    ----------
    melanoma
        Which photographs are melanomas, (n,); some, and not all.
    score
        Their probabilities of melanoma, (n,).
    resampler
        Of their groups.
    prevalences
        Shares of melanomas, between 0 and 1.
    """

    def measure(weights: Floats) -> dict[str, Floats]:
        out: dict[str, Floats] = {}
        for prevalence in prevalences:
            ranked = rank(melanoma, score, sample_weight=weights_at_prevalence(melanoma, prevalence, weights))
            found, read = (
                np.cumsum(np.pad(part, ((0, 0), (1, 0))), axis=1)
                for part in (ranked.positive, ranked.positive + ranked.negative)
            )
            shares = np.array(
                [np.interp(SHARES, ahead, own) / prevalence for ahead, own in zip(read, found, strict=True)]
            ).clip(max=1)
            out |= {f"{prevalence} {share}": shares[:, i] for i, share in enumerate(SHARES)}
        return out

    found, groups = resampler.measure(measure), resampler.count(melanoma)
    return tuple(
        Worklist(
            prevalence,
            tuple(
                TopOfWorklist(share, figure)
                for share in SHARES
                if (figure := found[f"{prevalence} {share}"].proportion(groups)) is not None
            ),
        )
        for prevalence in prevalences
    )
