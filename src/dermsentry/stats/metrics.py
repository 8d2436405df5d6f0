"""Measures of agreement between predictions and truth, in NumPy, under scikit-learn's names.

Each agrees with scikit-learn's function of the same name (to 1e-9; the tests hold it there), with two
liberties:

- `sample_weight` may have leading axes, shape (..., n), and the result then has them too, so that a thousand
  bootstrap resamples, which are integer weights, cost one call.
- Where there is nothing to measure (no photograph of a class, nothing predicted as it) the result is NaN, not
  a zero and a warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dermsentry.diagnoses import CODES, codes_of

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def _ratio(above: Floats, below: Floats) -> Floats:
    """`above / below`, NaN where `below` is zero."""
    out = np.full(np.broadcast_shapes(above.shape, below.shape), np.nan)
    np.divide(above, below, out=out, where=below != 0)
    return out


def _weights(sample_weight: ArrayLike | None, n: int) -> Floats:
    if sample_weight is None:
        return np.ones(n)
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape[-1:] != (n,):
        raise ValueError(f"Received weights of shape {weights.shape}; expected (..., {n})")
    return weights


def _same_length(first: NDArray[Any], second: NDArray[Any]) -> None:
    if first.shape[:1] != second.shape[:1]:
        raise ValueError(
            f"Received {first.shape[0]} truths and {second.shape[0]} predictions; expected as many of both"
        )


def weights_at_prevalence(y_true: ArrayLike, prevalence: float, sample_weight: ArrayLike) -> Floats:
    """`sample_weight` (..., n) changed so that the positives (`y_true`, (n,)) are this share of a sum of 1.

    NaN in a row without positives or without negatives.
    """
    truth, weights = np.asarray(y_true).astype(bool), np.asarray(sample_weight, dtype=np.float64)
    positive, negative = ((weights * here).sum(axis=-1, keepdims=True) for here in (truth, ~truth))
    share = np.where(truth, prevalence, 1 - prevalence)
    moved = _ratio(weights * share, np.where(truth, positive, negative))
    return np.where((positive > 0) & (negative > 0), moved, np.nan)


def accuracy_score(y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None) -> Any:
    """Share of photographs whose predicted class is the true one. Inputs (n,); output (...)."""
    truth, predicted = np.asarray(y_true), np.asarray(y_pred)
    _same_length(truth, predicted)
    weights = _weights(sample_weight, len(truth))
    return _ratio(weights @ (truth == predicted).astype(np.float64), weights.sum(axis=-1))[()]


def confusion_matrix(
    y_true: ArrayLike, y_pred: ArrayLike, *, labels: ArrayLike, sample_weight: ArrayLike | None = None
) -> Floats:
    """Counts of (true class, predicted class) in the order of `labels`, shape (..., k, k), true ones as rows.

    Photographs whose true or predicted class is not in `labels` are left out.
    """
    truth, predicted, names = np.asarray(y_true), np.asarray(y_pred), np.asarray(labels)
    _same_length(truth, predicted)
    weights = _weights(sample_weight, len(truth))
    true = (truth[:, None] == names).astype(np.float64)
    guess = (predicted[:, None] == names).astype(np.float64)
    cells = np.einsum("ni,nj->nij", true, guess).reshape(len(truth), len(names) ** 2)
    counts: Floats = (weights @ cells).reshape(*weights.shape[:-1], len(names), len(names))
    return counts


def recall_score(
    y_true: ArrayLike, y_pred: ArrayLike, *, labels: ArrayLike, sample_weight: ArrayLike | None = None
) -> Floats:
    """Share of each class that is found, its sensitivity, shape (..., k); NaN without photographs of it."""
    truth, predicted, names = np.asarray(y_true), np.asarray(y_pred), np.asarray(labels)
    _same_length(truth, predicted)
    weights = _weights(sample_weight, len(truth))
    true = (truth[:, None] == names).astype(np.float64)
    found = true * (predicted[:, None] == names)
    return _ratio(weights @ found, weights @ true)


def precision_score(
    y_true: ArrayLike, y_pred: ArrayLike, *, labels: ArrayLike, sample_weight: ArrayLike | None = None
) -> Floats:
    """Share of each class's predictions that are right, shape (..., k); NaN for a class never predicted."""
    return recall_score(y_pred, y_true, labels=labels, sample_weight=sample_weight)


@dataclass(frozen=True)
class Ranking:
    """Positives and negatives in the order of their score, from which every ranking figure follows.

    `scores` (b,) are the distinct scores, high to low; `positive` and `negative` (..., b) the weight at each.
    Made once where several figures of the same scores are wanted: the sorting is what costs.
    """

    scores: Floats
    positive: Floats
    negative: Floats

    def roc_auc(self) -> Any:
        """See `roc_auc_score`."""
        above = np.cumsum(self.positive, axis=-1) - 0.5 * self.positive
        pairs = self.positive.sum(axis=-1) * self.negative.sum(axis=-1)
        return _ratio((above * self.negative).sum(axis=-1), pairs)[()]

    def average_precision(self) -> Any:
        """Precision averaged over the recall gained at each threshold, (...); NaN without positives."""
        true, false = np.cumsum(self.positive, axis=-1), np.cumsum(self.negative, axis=-1)
        precision = np.divide(true, true + false, out=np.zeros_like(true), where=true + false > 0)
        return _ratio((self.positive * precision).sum(axis=-1), true[..., -1])[()]


def rank(y_true: ArrayLike, y_score: ArrayLike, *, sample_weight: ArrayLike | None = None) -> Ranking:
    """Rank photographs by score; inputs (n,), weights (..., n)."""
    truth, score = np.asarray(y_true).astype(bool), np.asarray(y_score, dtype=np.float64)
    _same_length(truth, score)
    if not len(truth):
        raise ValueError("Received no photographs; expected at least one")
    weights = _weights(sample_weight, len(truth))
    order = np.argsort(-score, kind="stable")
    score, truth, weights = score[order], truth[order], weights[..., order]
    starts = np.flatnonzero(np.r_[True, score[1:] != score[:-1]])
    total = np.add.reduceat(weights, starts, axis=-1)
    positive = np.add.reduceat(weights * truth, starts, axis=-1)
    return Ranking(score[starts], positive, total - positive)


def roc_auc_score(y_true: ArrayLike, y_score: ArrayLike, *, sample_weight: ArrayLike | None = None) -> Any:
    """Area under the ROC curve: how often a positive scores above a negative, ties counting half.

    `y_true` (n,) is true for the positives, `y_score` (n,) is larger for the more suspicious. Output (...);
    NaN where there are no positives or no negatives. Hanley & McNeil, Radiology 143 (1982).
    """
    return rank(y_true, y_score, sample_weight=sample_weight).roc_auc()


def roc_curve(y_true: ArrayLike, y_score: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """False positive rate, true positive rate and threshold at every distinct score, from high to low.

    The first threshold is infinite (nothing is called positive). scikit-learn's with
    `drop_intermediate=False`.
    """
    ranked = rank(y_true, y_score)
    true = np.r_[0.0, np.cumsum(ranked.positive)]
    false = np.r_[0.0, np.cumsum(ranked.negative)]
    return _ratio(false, false[-1:]), _ratio(true, true[-1:]), np.r_[np.inf, ranked.scores]


def precision_recall_curve(y_true: ArrayLike, y_score: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Precision, recall and threshold for every distinct score from low to high, ending at (1, 0)."""
    ranked = rank(y_true, y_score)
    true, false = np.cumsum(ranked.positive), np.cumsum(ranked.negative)
    precision, recall = true / (true + false), _ratio(true, true[-1:])
    return np.r_[precision[::-1], 1.0], np.r_[recall[::-1], 0.0], ranked.scores[::-1]


def log_loss(y_true: ArrayLike, y_prob: ArrayLike, *, sample_weight: ArrayLike | None = None) -> Any:
    """Mean of -ln(probability of the true class), output (...).

    `y_true` (n,) holds the index of the true class, `y_prob` (n, k) the probabilities, which are kept above
    machine precision.
    """
    truth, probability = np.asarray(y_true, dtype=np.int64), np.asarray(y_prob, dtype=np.float64)
    _same_length(truth, probability)
    weights = _weights(sample_weight, len(truth))
    precision = np.finfo(np.float64).eps
    own = np.clip(probability[np.arange(len(truth)), truth], precision, 1 - precision)
    return _ratio(weights @ -np.log(own), weights.sum(axis=-1))[()]


def brier_score_loss(y_true: ArrayLike, y_prob: ArrayLike, *, sample_weight: ArrayLike | None = None) -> Any:
    """Mean squared distance between probability and outcome, output (...).

    With `y_prob` (n,) and `y_true` (n,) true or false: in 0..1. With `y_prob` (n, k) and `y_true` (n,) class
    indices: summed over the classes, in 0..2 (Brier, Monthly Weather Review 78 (1950)).
    """
    probability = np.asarray(y_prob, dtype=np.float64)
    truth = np.asarray(y_true)
    _same_length(truth, probability)
    weights = _weights(sample_weight, len(truth))
    if probability.ndim == 1:
        squares = (probability - truth.astype(np.float64)) ** 2
    else:
        outcome = np.eye(probability.shape[1])[truth.astype(np.int64)]
        squares = ((probability - outcome) ** 2).sum(axis=1)
    return _ratio(weights @ squares, weights.sum(axis=-1))[()]


def bin_of(confidence: ArrayLike, bins: int, *, equal_mass: bool = False) -> Integers:
    """The bin, 0 to `bins` - 1, that each confidence in 0..1 falls in, shape (n,).

    Bins have equal width, (i/bins, (i+1)/bins], 0 falling in the first; or with `equal_mass` about equally
    many photographs, equal confidences staying together (some bins may then be empty).
    """
    values = np.asarray(confidence, dtype=np.float64)
    inner = np.quantile(values, np.arange(1, bins) / bins) if equal_mass else np.arange(1, bins) / bins
    return np.searchsorted(inner, values, side="left").astype(np.int64)


LARGEST_LOSS = {"brier_score": 1.0}
"""Those of `losses` that have an upper bound."""


def losses(truth: NDArray[np.bool_], stated: Floats, weights: Floats) -> dict[str, Floats]:
    """The losses of a stated probability (m,) for weights (r, m), each of shape (r,)."""
    return {
        "log_loss": log_loss(truth, np.stack([1 - stated, stated], axis=1), sample_weight=weights),
        "brier_score": brier_score_loss(truth, stated, sample_weight=weights),
    }


def targets(labels: Sequence[str]) -> NDArray[np.float32]:
    """Multi-hot candidates, (N, 9): one 1 where the diagnosis is known, several where it may be several."""
    hot = np.zeros((len(labels), len(CODES)), dtype=np.float32)
    for row, label in zip(hot, labels, strict=True):
        row[[CODES.index(code) for code in codes_of(label)]] = 1.0
    return hot


def candidate_hits(y_true: Sequence[str], y_pred: Iterable[str]) -> NDArray[np.bool_]:
    """Whether each predicted code is a candidate of the true label (`PBK|SK` has two), shape (n,)."""
    pairs = zip(y_true, y_pred, strict=True)
    return np.array([predicted in codes_of(label) for label, predicted in pairs], dtype=np.bool_)


def mean_hit_rate(y_true: Sequence[str], hits: NDArray[np.bool_]) -> float:
    """Balanced accuracy where labels may have candidates: the mean over labels of their share of hits."""
    names = np.asarray(y_true)
    return float(np.mean([hits[names == name].mean() for name in np.unique(names)]))
