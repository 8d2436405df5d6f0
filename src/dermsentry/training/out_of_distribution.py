"""The out-of-distribution score of an image, fitted against pictures that show no lesion.

A network trained on lesions discards in its last layers whatever separates them from anything else: with
EfficientNet-Lite0 trained on dermoscopy, a Mahalanobis distance on the last embedding (Lee et al., NeurIPS
2018) took 90 % of pets for lesions. A logistic regression on a middle layer, against a few hundred views of
pictures that show no lesion, refuses nearly all of them without having seen one (Hendrycks et al., "Deep
Anomaly Detection with Outlier Exposure", ICLR 2019, train on outliers likewise). Figures: docs/why.md.
"""

from __future__ import annotations

import keras
import numpy as np
from numpy.typing import NDArray

from dermsentry.images import Pixels
from dermsentry.model.card import OutOfDistribution
from dermsentry.training.batches import Examples
from dermsentry.training.linear_probe import logistic_regression
from dermsentry.training.networks import IN_DISTRIBUTION, OutOfDistributionWeights, middle_features
from dermsentry.training.non_lesions import augmented, non_lesion_views

KNOWN = 1500
"""Training images that are enough to say what is in distribution."""
KNOWN_REFUSED = 0.005
"""The share of photographs held out of training that the limit refuses."""
ENOUGH = 200
"""With fewer photographs held out, that share is less than one of them."""
FEWEST = 20
"""With fewer photographs to learn from or held out, nothing is said."""
ORDINARY = 0.9
"""1 - the score of the median photograph held out."""
PENALTY = 0.003
"""Inverse strength of the L2 penalty; of 0.0003 to 0.1 the best at pictures that the fit had not seen."""
FOLDS = 5

Floats = NDArray[np.float64]


def drawn(examples: Examples, seed: int) -> Pixels:
    """The pixels of up to `KNOWN` of these photographs, drawn by `seed`."""
    count = len(examples)
    chosen = np.random.default_rng(seed).permutation(count)[:KNOWN]
    return examples.gather(np.sort(chosen))


def fit_out_of_distribution(
    network: keras.Model, known: Pixels, held_out: Pixels, *, seed: int = 0
) -> tuple[OutOfDistributionWeights, OutOfDistribution | None]:
    """The weights of the score on the network's middle features, and what they refuse.

    Parameters
    ----------
    network
        A trained float32 network.
    known
        Photographs that it learned from, (N, size, size, 3) uint8; see `drawn`. Each counts as it is and
        varied.
    held_out
        Photographs that it did not learn from, (M, size, size, 3) uint8. They set the limit, a score of
        0.5: it refuses `KNOWN_REFUSED` of them. With fewer than `ENOUGH` it lies below the least alike of
        them: the fewer there are, the nearer to the regression's own even odds.
    seed
        Of what is drawn, varied and left out.

    Returns
    -------
    tuple
        With fewer than `FEWEST` photographs in `known` or `held_out`: weights that find everything in
        distribution, and None.
    """
    if min(len(known), len(held_out)) < FEWEST:
        return IN_DISTRIBUTION, None
    rng = np.random.default_rng(seed)
    size = int(network.input.shape[1])
    lesions = middle_features(network, np.concatenate([known, augmented(known, rng)])).astype(float)
    away = middle_features(network, held_out).astype(float)
    views, pictures = non_lesion_views(size, seed)
    others = middle_features(network, views).astype(float)
    fold_of = rng.permutation(pictures.max() + 1)[pictures] % FOLDS
    refused = 0
    for fold in range(FOLDS):
        left_out = fold_of == fold
        kernel, bias = _fit(lesions, others[~left_out], away)
        refused += int((others[left_out] @ kernel + bias < 0).sum())
    kernel, bias = _fit(lesions, others, away)
    found = OutOfDistribution(
        held_out=len(held_out),
        held_out_refused=float((away @ kernel + bias < 0).mean()),
        non_lesions=len(others),
        non_lesions_refused=refused / len(others),
    )
    # The regression gives the log-odds of being in distribution.
    return OutOfDistributionWeights(-kernel.astype(np.float32), -float(bias)), found


def limit_of(held_out: Floats) -> float:
    """The limit on the log-odds (N,) of being in distribution; see `fit_out_of_distribution`."""
    if len(held_out) >= ENOUGH:
        return float(np.quantile(held_out, KNOWN_REFUSED))
    least = float(held_out.min())
    return min(least, least * len(held_out) / ENOUGH)


def _fit(lesions: Floats, others: Floats, held_out: Floats) -> tuple[Floats, float]:
    """Kernel (t,) and bias for raw features: 0 at the limit, the logit of `ORDINARY` at the median."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(lesions)
    features = scaler.transform(np.concatenate([lesions, others]))
    is_lesion = np.arange(len(features)) < len(lesions)
    model = logistic_regression(features, is_lesion, PENALTY, max_iter=1000)
    kernel = model.coef_[0] / scaler.scale_
    bias = float(model.intercept_[0]) - float(scaler.mean_ @ kernel)
    odds = held_out @ kernel + bias
    limit = limit_of(odds)
    # Photographs that are all alike have no spread to measure by.
    stretch = np.log(ORDINARY / (1 - ORDINARY)) / max(float(np.median(odds)) - limit, 1e-3)
    return kernel * stretch, (bias - limit) * stretch
