"""The two scores of refusal: is it an image of a lesion at all, and is the lesion unlike those learned from.

A network trained on lesions discards in its last layers whatever separates them from anything else: with
EfficientNet-Lite0 trained on dermoscopy, a Mahalanobis distance on the last embedding (Lee et al., NeurIPS
2018) took 90 % of pets for lesions. Both scores are on its middle layers.

- `no_lesion`: a logistic regression against images without a lesion (Hendrycks et al., "Deep Anomaly
  Detection with Outlier Exposure", ICLR 2019, train on outliers likewise), both disturbed alike.
- `out_of_distribution`: the Mahalanobis distance in the first principal components of the training images.

Their limits hold for a source that was left out, where there are several. Figures: docs/why.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from dermsentry.images import Pixels
from dermsentry.model.card import NoLesion, OutOfDistribution
from dermsentry.training.batches import Examples
from dermsentry.training.disturbances import disturbed
from dermsentry.training.linear_probe import logistic_regression
from dermsentry.training.networks import REFUSING_NOTHING, RefusalWeights, middle_features
from dermsentry.training.non_lesions import non_lesion_views

KNOWN = 1500
"""Training images that are enough to say what a lesion looks like."""
DISTURBED = 2
"""Disturbed copies of each, beside itself."""
REFUSED = 0.005
"""The share of held-out images of lesions that may be refused as no lesion."""
SOURCE_REFUSED = 0.015
"""The share of a source's images that may be refused by a fit that had not seen the source. The target is
2 %: that leaves room for a source that is further away than any of these."""
FLAGGED = 0.01
"""The share of held-out images that is flagged as out of distribution."""
ENOUGH = 200
"""With fewer held-out images, a limit is beyond all of them."""
FEWEST = 20
"""With fewer images to learn from or held out, nothing is said; with fewer of a source, nothing of it."""
ORDINARY = 0.9
"""1 - either score of the median held-out image."""
PENALTY = 0.1
"""Inverse strength of the L2 penalty; see docs/why.md."""
COMPONENTS = 64
FOLDS = 5

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sample:
    """Images of lesions, (N, size, size, 3) uint8, and the source of each, the same where it is unknown."""

    pixels: Pixels
    sources: Sequence[str]


@dataclass(frozen=True, eq=False)
class Refusal:
    """The weights of both scores, and what they refuse and flag; None where there were too few images."""

    weights: RefusalWeights
    no_lesion: NoLesion | None
    out_of_distribution: OutOfDistribution | None


def drawn(examples: Examples, seed: int, sources: Sequence[str] | None = None) -> Sample:
    """Up to `KNOWN` of these images, drawn by `seed`; `sources` has one for each of `examples.pixels`."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(examples))[:KNOWN])
    own = [""] * len(chosen) if sources is None else [sources[row] for row in examples.rows[chosen]]
    return Sample(examples.gather(chosen), own)


def fit_refusal(
    network: keras.Model,
    known: Sample,
    held_out: Sample,
    *,
    pictures: Sequence[Pixels] = (),
    seed: int = 0,
) -> Refusal:
    """Fit both scores on the network's middle features.

    Parameters
    ----------
    network
        A trained float32 network.
    known
        Images that it learned from; see `drawn`. Each counts as it is and disturbed.
    held_out
        Images that it did not learn from. They set the limits, each a score of 0.5: `REFUSED` of them are
        refused, fewer where the regression's own even odds or a source that was left out ask for it, and
        `FLAGGED` of them are flagged.
    pictures
        Images without a lesion, (height, width, 3) uint8, beside those that `non_lesion_views` has.
    seed
        Random seed of what is drawn, disturbed and left out.

    Returns
    -------
    Refusal
        With fewer than `FEWEST` images in `known` or `held_out`: scores of 0, and None.
    """
    if min(len(known.pixels), len(held_out.pixels)) < FEWEST:
        return Refusal(REFUSING_NOTHING, None, None)
    rng = np.random.default_rng(seed)
    plain = _features(network, known.pixels)
    copies = [_features(network, disturbed(known.pixels, rng)) for _ in range(DISTURBED)]
    away = _features(network, held_out.pixels)
    source_of, source_away = np.asarray(known.sources), np.asarray(held_out.sources)
    sources = _sources(source_of)
    views, picture_of = non_lesion_views(int(network.input.shape[1]), seed, pictures)
    others = _features(network, views)
    kernel, bias, no_lesion = _fit_no_lesion(
        (np.concatenate([plain, *copies]), np.tile(source_of, 1 + DISTURBED)),
        (others, picture_of),
        (away, source_away),
        sources,
        rng,
    )
    mean, projection, scale, offset, unlike = _fit_distance((plain, source_of), (away, source_away), sources)
    # The regression gives the log-odds of a lesion.
    weights = RefusalWeights(-kernel.astype(np.float32), -bias, mean, projection, scale, offset)
    return Refusal(weights, no_lesion, unlike)


def limit_of(odds: Floats) -> float:
    """The limit on the log-odds (N,) of a lesion that held-out images set; see `fit_refusal`."""
    if len(odds) >= ENOUGH:
        return min(0.0, float(np.quantile(odds, REFUSED)))
    return min(0.0, float(odds.min()))


def _features(network: keras.Model, pixels: Pixels) -> Floats:
    return middle_features(network, pixels).astype(np.float64)


def _sources(source_of: NDArray[np.str_]) -> list[str]:
    """The sources that can be left out: several, each with enough images."""
    names, counts = np.unique(source_of, return_counts=True)
    enough = [str(name) for name, count in zip(names, counts, strict=True) if count >= FEWEST]
    return enough if len(enough) > 1 else []


Grouped = tuple[Floats, NDArray[np.str_]]
"""Features (N, t), and the source of each."""


def _fit_no_lesion(
    lesions: Grouped,
    others: tuple[Floats, NDArray[np.int64]],
    held_out: Grouped,
    sources: Sequence[str],
    rng: np.random.Generator,
) -> tuple[Floats, float, NoLesion]:
    """Kernel (t,) and bias for raw features: 0 at the limit, the logit of `ORDINARY` at the median."""
    (features, source_of), (away, source_away), (views, picture_of) = lesions, held_out, others
    kernel, bias = _regression(features, views)
    odds = away @ kernel + bias
    without: dict[str, Floats] = {}
    for source in sources:
        own_kernel, own_bias = _regression(features[source_of != source], views)
        plain = len(features) // (1 + DISTURBED)
        own = np.concatenate([features[:plain][source_of[:plain] == source], away[source_away == source]])
        without[source] = own @ own_kernel + own_bias
    limits = [limit_of(odds), *(float(np.quantile(own, SOURCE_REFUSED)) for own in without.values())]
    limit = min(limits)
    fold_of = rng.permutation(picture_of.max() + 1)[picture_of] % FOLDS
    refused = 0
    for fold in range(FOLDS):
        own_kernel, own_bias = _regression(features, views[fold_of != fold])
        refused += int((views[fold_of == fold] @ own_kernel + own_bias < limit).sum())
    found = NoLesion(
        held_out=len(away),
        held_out_refused=float((odds < limit).mean()),
        non_lesions=len(views),
        non_lesions_refused=refused / len(views),
        sources={source: float((own < limit).mean()) for source, own in without.items()},
    )
    # Images that are all alike have no spread to measure by.
    stretch = np.log(ORDINARY / (1 - ORDINARY)) / max(float(np.median(odds)) - limit, 1e-3)
    return kernel * stretch, (bias - limit) * stretch, found


def _regression(lesions: Floats, others: Floats) -> tuple[Floats, float]:
    """Kernel (t,) and bias that give the log-odds of a lesion from raw features."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(lesions)
    features = scaler.transform(np.concatenate([lesions, others]))
    is_lesion = np.arange(len(features)) < len(lesions)
    model = logistic_regression(features, is_lesion, PENALTY, max_iter=300)
    kernel = model.coef_[0] / scaler.scale_
    return kernel, float(model.intercept_[0]) - float(scaler.mean_ @ kernel)


def _fit_distance(
    known: Grouped, held_out: Grouped, sources: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32], float, float, OutOfDistribution]:
    """Mean (t,), projection (t, k), scale and offset of `RefusalWeights`, and what they flag."""
    (features, source_of), (away, source_away) = known, held_out
    mean, projection = _whitening(features)
    distances = _distances(away, mean, projection)
    limit = _upper(distances)
    flagged = {}
    for source in sources:
        own_mean, own_projection = _whitening(features[source_of != source])
        rest = away[source_away != source]
        if len(rest) < FEWEST:
            continue
        own = np.concatenate([features[source_of == source], away[source_away == source]])
        far = _distances(own, own_mean, own_projection) > _upper(_distances(rest, own_mean, own_projection))
        flagged[source] = float(far.mean())
    found = OutOfDistribution(len(away), float((distances > limit).mean()), flagged)
    scale = np.log(ORDINARY / (1 - ORDINARY)) / max(limit - float(np.median(distances)), 1e-3)
    return mean, projection, float(scale), float(-scale * limit), found


def _upper(distances: Floats) -> float:
    if len(distances) >= ENOUGH:
        return float(np.quantile(distances, 1 - FLAGGED))
    return float(distances.max()) * 1.1


def _whitening(features: Floats) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean (t,), and projection (t, k) to principal components of variance 1 of standardised features."""
    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.maximum(spread, 1e-3 * max(float(spread.max()), 1e-3))  # a channel that is off says nothing
    _, lengths, axes = np.linalg.svd((features - mean) / spread, full_matrices=False)
    count = min(COMPONENTS, int((lengths > 1e-6 * lengths[0]).sum()))
    projection = axes[:count].T * np.sqrt(len(features)) / lengths[:count] / spread[:, None]
    return mean.astype(np.float32), projection.astype(np.float32)


def _distances(features: Floats, mean: NDArray[np.float32], projection: NDArray[np.float32]) -> Floats:
    return np.asarray(np.linalg.norm((features - mean) @ projection, axis=1), dtype=np.float64)
