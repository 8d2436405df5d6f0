"""How much a photograph is like those the model learned from, by small statistics of embeddings in the card.

The distance is that to the nearest class mean, each direction of the embedding measured in units of its
spread within a class (a Mahalanobis distance with a diagonal covariance; Lee et al., "A Simple Unified
Framework for Detecting Out-of-Distribution Samples", NeurIPS 2018). The limit lies as far beyond 99 % of known
photographs as these reach beyond the median: lesions from another clinic's camera must still pass.

Tried on embeddings of EfficientNet-Lite0 and of a small network trained from nothing, fitted on the nine-class
set, against pets and charts: class means beat one mean for all; cosine distances and distances on normalised
embeddings are as good on Lite0 but fail on the small network; a full covariance or principal components gain
nothing that their size in the card would pay for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dermsentry.card import Familiarity, Floats

FAMILIAR = 0.5  # below this a photograph is not judged
FOLDS = 5
MARGIN = 2.0


def familiarity_statistics(embeddings: Floats, classes: Sequence[str], *, seed: int = 0) -> Familiarity:
    """Summarise the embeddings of known photographs.

    Give photographs that did not train the network where there are enough: it has learned to draw the others
    together.

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
    held_out = np.empty(len(values))
    for fold in np.unique(folds):
        away = folds == fold
        held_out[away] = _distance(values[away], *_fit(values[~away], labels[~away]))
    ordinary, far = np.quantile(held_out, [0.5, 0.99])
    means, variance = _fit(values, labels)
    # The smallest limit keeps two equal photographs, of which one was held out, from refusing everything else.
    limit = max(float(ordinary + MARGIN * (far - ordinary)), 1.0)
    return Familiarity(means.astype(np.float32), variance.astype(np.float32), limit)


def familiarity(embedding: Floats, statistics: Familiarity) -> Floats:
    """Familiarity, from 0 to 1, of N photographs: 1 at a class mean, 0.5 at the limit, 0 at twice the limit.

    Input (N, d); output (N,) float32.
    """
    means, variance = statistics.means.astype(np.float64), statistics.variance.astype(np.float64)
    distance = _distance(embedding.astype(np.float64), means, variance)
    return np.maximum(1 - distance / (2 * statistics.limit), 0).astype(np.float32)


def _fit(
    values: NDArray[np.float64], labels: NDArray[np.str_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Class means (k, d), and the variance within a class (d,), kept away from zero."""
    names, which = np.unique(labels, return_inverse=True)
    means = np.stack([values[which == i].mean(axis=0) for i in range(len(names))])
    variance = np.square(values - means[which]).mean(axis=0)
    floor = max(1e-3 * float(variance.mean()), 1e-9)
    return means, np.maximum(variance, floor)


def _distance(
    values: NDArray[np.float64], means: NDArray[np.float64], variance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance (N,) to the nearest mean, as a root mean square over the d directions."""
    scale = 1 / np.sqrt(variance)
    here, there = values * scale, means * scale
    squares = np.square(here).sum(1)[:, None] - 2 * here @ there.T + np.square(there).sum(1)[None, :]
    distance: NDArray[np.float64] = np.sqrt(np.maximum(squares.min(axis=1), 0) / values.shape[1])
    return distance
