"""How much a photograph is like those the model learned from, by small statistics of embeddings in the card.

Two measures to the nearest class mean, since each finds what the other misses:

- the distance, each direction of the embedding in units of its spread within a class (a Mahalanobis distance
  with a diagonal covariance; Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution
  Samples and Adversarial Attacks", NeurIPS 2018). It finds pets, with a network trained from nothing too.
- the angle, one minus the cosine. It finds what excites the network little, such as charts.

A limit lies beyond what 99 % of known photographs reach, by a margin, since lesions from another camera must
still pass. The margins were chosen on embeddings of EfficientNet-Lite0, fitted on the nine-class set, between
the lesions of other archives and pictures that show none. Tried and left: distances on normalised embeddings
(fail on a network trained from nothing); full covariance, principal components and prototypes (gain nothing
that their size in the card would pay for).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dermsentry.card import Familiarity, Floats

Numbers = Floats | NDArray[np.float64]

FAMILIAR = 0.5  # below this a photograph is not judged
FOLDS = 5
DISTANCE_MARGIN = 3.0  # in units of the step from the median to the 99 % quantile
ANGLE_MARGIN = 5 / 3


def familiarity_statistics(embeddings: Floats, classes: Sequence[str], *, seed: int = 0) -> Familiarity:
    """Summarise the embeddings of known photographs.

    Give photographs that did not train the network where there are enough: it has learned to draw those that
    did together.

    Parameters
    ----------
    embeddings
        (N, d), one row per photograph, before any augmentation; N of at least 2.
    classes
        N labels; photographs of unknown diagnosis have a label of their own, such as `""`.
    seed
        Of the folds that photographs are held out in to measure their distance.

    Raises
    ------
    ValueError
        Fewer than two embeddings, a number that is not finite, or another number of labels.
    """
    values = np.asarray(embeddings, dtype=np.float64)
    labels = np.asarray(classes, dtype=str)
    if values.ndim != 2 or len(values) < 2 or len(labels) != len(values) or not np.isfinite(values).all():
        expected = "(N, d) finite numbers, N of at least 2, and N labels"
        raise ValueError(f"Received embeddings {values.shape} and {len(labels)} labels; expected {expected}")
    folds = np.random.default_rng(seed).permutation(len(values)) % min(FOLDS, len(values))
    distances, angles = np.empty(len(values)), np.empty(len(values))
    for fold in np.unique(folds):
        away = folds == fold
        means, variance = _fit(values[~away], labels[~away])
        distances[away] = _distance(values[away], means, _weight(variance))
        angles[away] = _angle(values[away], _directions(means))
    means, variance = _fit(values, labels)
    # The least limits keep a few photographs that are all alike from refusing everything else.
    distance_limit = max(_limit(distances, DISTANCE_MARGIN), 1.0)
    angle_limit = min(max(_limit(angles, ANGLE_MARGIN), 1e-3), 2.0)
    return Familiarity(means.astype(np.float32), variance.astype(np.float32), distance_limit, angle_limit)


def familiarity(embedding: Floats, statistics: Familiarity) -> Floats:
    """Familiarity, from 0 to 1, of N photographs: 1 at a class mean, 0.5 at a limit, 0 at twice that.

    Input (N, d); output (N,) float32.
    """
    weight, directions = _prepared(statistics)
    distance = _distance(embedding, statistics.means, weight) / statistics.distance_limit
    angle = _angle(embedding, directions) / statistics.angle_limit
    return np.maximum(1 - np.maximum(distance, angle) / 2, 0).astype(np.float32)


@lru_cache(maxsize=4)
def _prepared(statistics: Familiarity) -> tuple[Numbers, Numbers]:
    return _weight(statistics.variance), _directions(statistics.means)


def _weight(variance: Numbers) -> Numbers:
    """What a squared difference counts in each direction (d,)."""
    return 1 / (variance * len(variance))


def _directions(means: Numbers) -> Numbers:
    """The means' directions (d, k), each of length one."""
    return np.ascontiguousarray((means / np.maximum(np.linalg.norm(means, axis=1), 1e-12)[:, None]).T)


def _limit(held_out: NDArray[np.float64], margin: float) -> float:
    ordinary, far = np.quantile(held_out, [0.5, 0.99])
    return float(ordinary + margin * (far - ordinary))


def _fit(
    values: NDArray[np.float64], labels: NDArray[np.str_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Class means (k, d), and the variance within a class (d,), kept away from zero."""
    names, which = np.unique(labels, return_inverse=True)
    means = np.stack([values[which == i].mean(axis=0) for i in range(len(names))])
    variance = np.square(values - means[which]).mean(axis=0)
    floor = max(1e-3 * float(variance.mean()), 1e-9)
    return means, np.maximum(variance, floor)


def _distance(values: Numbers, means: Numbers, weight: Numbers) -> NDArray[np.float64]:
    """Distance (N,) to the nearest mean, as a root mean square over the d directions."""
    squares = np.stack([np.square(values - mean) @ weight for mean in means])
    distance: NDArray[np.float64] = np.sqrt(squares.min(axis=0), dtype=np.float64)
    return distance


def _angle(values: Numbers, directions: Numbers) -> NDArray[np.float64]:
    """One minus the cosine (N,) to the nearest direction; 1 for an embedding of zeros."""
    nearest = (values @ directions).max(axis=1).astype(np.float64)
    lengths = np.linalg.norm(values, axis=1)
    angle: NDArray[np.float64] = np.maximum(1 - nearest / np.maximum(lengths, 1e-12), 0)
    return angle
