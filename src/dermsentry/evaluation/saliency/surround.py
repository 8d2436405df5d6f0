"""Whether a model tells melanomas by the lesion: the same images with the lesion painted out, or alone.

Cameras, hospitals and skins go along with diagnoses in public sets, and a model can learn these instead. One
that orders melanomas without seeing any lesion has (Bissoto et al., "(De)Constructing Bias on Skin Lesion
Datasets", CVPR Workshops 2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dermsentry.evaluation.measures import melanoma_truth
from dermsentry.evaluation.saliency.masks import Masks
from dermsentry.images import Pixels
from dermsentry.stats.intervals import Estimate
from dermsentry.stats.metrics import rank
from dermsentry.stats.resampling import Resampler

Floats = NDArray[np.float64]

RIM = 0.05
"""How far beyond its mask a lesion still shows, as a share of the image's side."""
AROUND = 0.12
"""How far beyond its mask the skin beside a lesion is taken to reach."""
CHANCE = 0.6
"""An AUROC without any lesion up to which a model is not called to use the surroundings."""


@dataclass(frozen=True)
class Surroundings:
    """Melanoma's AUROC on the same images as they are, with the lesion painted out, and with nothing else.

    `photographs` are those with a mask that are known to be a melanoma or not, `melanomas` the melanomas
    among them. A figure is None where there are no melanomas or no others.
    """

    photographs: int
    melanomas: int
    as_is: Estimate | None
    lesion_painted_out: Estimate | None
    only_the_lesion: Estimate | None

    @property
    def used(self) -> bool:
        """Whether the surroundings alone tell melanomas: the interval is above `CHANCE`."""
        return self.lesion_painted_out is not None and self.lesion_painted_out.low > CHANCE


def lesion_painted_out(pixels: Pixels, mask: Masks) -> Pixels:
    """An image (S, S, 3) with its lesion, mask (S, S), in the mean colour of everything else."""
    inside = soft(mask, RIM)
    return _blended(_mean(pixels, 1 - inside), pixels, inside)


def only_the_lesion(pixels: Pixels, mask: Masks) -> Pixels:
    """An image (S, S, 3) with all but its lesion, mask (S, S), in the mean colour of the skin beside it."""
    inside = soft(mask, RIM)
    beside = np.clip(soft(mask, AROUND) - inside, 0, 1)
    return _blended(pixels, _mean(pixels, beside), inside)


def soft(mask: Masks, rim: float) -> Floats:
    """A mask (S, S) grown by a share of its side, 1 on the whole lesion and fading outwards: (S, S, 1)."""
    width = 2 * max(1, round(rim * mask.shape[0])) + 1
    grown = ndimage.maximum_filter(mask.astype(np.float64), width)
    return np.asarray(ndimage.uniform_filter(grown, width))[..., None]


def measure_surroundings(
    as_is: NDArray[Any],
    painted_out: NDArray[Any],
    alone: NDArray[Any],
    truth: Sequence[str],
    resampler: Resampler,
) -> Surroundings:
    """Compare melanoma probabilities (n,) of images as they are, without the lesion, and of the lesion alone.

    `truth` holds their labels, `resampler` their groups.
    """
    melanoma, told = melanoma_truth(truth)
    scores = {"as_is": as_is, "lesion_painted_out": painted_out, "only_the_lesion": alone}
    found: dict[str, Estimate | None] = dict.fromkeys(scores)
    own = melanoma[told]
    if own.any() and not own.all():

        def statistic(weights: Floats) -> dict[str, Floats]:
            return {
                name: np.asarray(rank(own, np.asarray(score)[told], sample_weight=weights).roc_auc())
                for name, score in scores.items()
            }

        among = resampler.among(told)
        found = {name: figure.bounded(among.rarer(own)) for name, figure in among.measure(statistic).items()}
    return Surroundings(int(told.sum()), int(own.sum()), **found)


def _mean(pixels: Pixels, weights: Floats) -> Floats:
    """The weighted mean colour, (3,); the plain mean where nothing has a weight."""
    total = weights.sum()
    if not total:
        return np.asarray(pixels.mean(axis=(0, 1)))
    return np.asarray((pixels * weights).sum(axis=(0, 1)) / total)


def _blended(inner: NDArray[Any], outer: NDArray[Any], inside: Floats) -> Pixels:
    blended = inner * inside + outer * (1 - inside)
    return np.asarray(np.rint(blended), dtype=np.uint8)
