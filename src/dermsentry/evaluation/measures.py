"""The photographs of an evaluation, and every figure of them for any number of resamples at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dermsentry.diagnoses import CODES, MELANOMA, codes_of, is_melanoma, label_space
from dermsentry.stats.metrics import (
    accuracy_score,
    brier_score_loss,
    log_loss,
    losses,
    precision_score,
    rank,
    recall_score,
)
from dermsentry.stats.resampling import Resampler

Floats = NDArray[np.float64]
Truths = NDArray[np.bool_]

_MEL = CODES.index(MELANOMA)


def melanoma_truth(labels: Sequence[str]) -> tuple[Truths, Truths]:
    """Which photographs are melanomas, and of which it is known whether they are, (n,) each."""
    answers = [is_melanoma(label) for label in labels]
    melanoma = np.array([answer is True for answer in answers], dtype=np.bool_)
    return melanoma, np.array([answer is not None for answer in answers], dtype=np.bool_)


def raises_alert(probability: Floats, threshold: float | None) -> Truths:
    """Whether melanoma's probability reaches the threshold, (n,), from (n, 9) by `CODES`.

    With None: whether melanoma is the most probable class.
    """
    if threshold is None:
        return np.asarray(probability.argmax(axis=1) == _MEL)
    return np.asarray(probability[:, _MEL] >= threshold)


def merged(probability: Floats, classes: Sequence[str]) -> Floats:
    """The probability of each label in `classes`, its codes' added: (n, 9) by `CODES` to (n, k)."""
    columns = [[CODES.index(code) for code in codes_of(label)] for label in classes]
    return np.stack([probability[:, column].sum(axis=1) for column in columns], axis=1)


def class_index(labels: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    """Which of `classes` each label belongs to, (n,)."""
    where = {code: i for i, label in enumerate(classes) for code in codes_of(label)}
    return np.array([where[codes_of(label)[0]] for label in labels], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class LabelledCases:
    """n photographs of known diagnosis, prepared once for any number of resamples.

    `true` and `predicted` (n,) index `classes`, `probability` (n, k) is over them. `told` (n,) are the m
    photographs known to be a melanoma or not: `MEL|NV` is neither. `melanoma`, `score` and each rule's alerts
    (m,) are over those.
    """

    classes: tuple[str, ...]
    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probability: Floats
    resampler: Resampler
    told: Truths
    melanoma: Truths
    score: Floats
    rules: tuple[tuple[float | None, Truths], ...]

    @property
    def right(self) -> Truths:
        """Whether the most probable class is the true one, (n,)."""
        return np.asarray(self.predicted == self.true)

    def told_groups(self, here: Truths) -> int:
        """How many groups have a photograph in `here`, (m,)."""
        return len(np.unique(self.resampler.index[self.told][here]))


def prepare(
    labels: Sequence[str],
    probability: Floats,
    resampler: Resampler,
    threshold: float | None,
) -> LabelledCases:
    """The photographs by the classes that their labels can tell apart; `probability` (n, 9) by `CODES`."""
    classes = label_space([*labels, *CODES])
    melanoma, told = melanoma_truth(labels)
    rules = [None] if threshold is None else [None, threshold]
    joined = merged(probability, classes)
    return LabelledCases(
        classes=classes,
        true=class_index(labels, classes),
        predicted=joined.argmax(axis=1).astype(np.int64),
        probability=joined,
        resampler=resampler,
        told=told,
        melanoma=melanoma[told],
        score=probability[told, _MEL],
        rules=tuple((rule, raises_alert(probability[told], rule)) for rule in rules),
    )


def measure(cases: LabelledCases, weights: Floats) -> dict[str, Floats]:
    """Every figure for weights (r, n), each of shape (r,)."""
    true, predicted, probability = cases.true, cases.predicted, cases.probability
    out: dict[str, Floats] = {
        "accuracy": accuracy_score(true, predicted, sample_weight=weights),
        "log_loss": log_loss(true, probability, sample_weight=weights),
        "brier_score": brier_score_loss(true, probability, sample_weight=weights),
    }
    columns = np.arange(len(cases.classes))
    recall = recall_score(true, predicted, labels=columns, sample_weight=weights)
    precision = precision_score(true, predicted, labels=columns, sample_weight=weights)
    for i, label in enumerate(cases.classes):
        out[f"recall {label}"], out[f"precision {label}"] = recall[:, i], precision[:, i]
        if (true == i).any():
            ranking = rank(true == i, probability[:, i], sample_weight=weights)
            out[f"roc_auc {label}"] = ranking.roc_auc()
            out[f"average_precision {label}"] = ranking.average_precision()
    if cases.told.any():
        out |= _measure_melanoma(cases, weights[:, cases.told])
    return out


def _measure_melanoma(cases: LabelledCases, weights: Floats) -> dict[str, Floats]:
    """Melanoma's figures for weights (r, m), each of shape (r,)."""
    truth, score = cases.melanoma, cases.score
    ranking = rank(truth, score, sample_weight=weights)
    out = {f"melanoma {name}": values for name, values in losses(truth, score, weights).items()} | {
        "melanoma roc_auc": ranking.roc_auc(),
        "melanoma average_precision": ranking.average_precision(),
    }
    for rule, (_, alert) in enumerate(cases.rules):
        recall = recall_score(truth, alert, labels=[False, True], sample_weight=weights)
        precision = precision_score(truth, alert, labels=[False, True], sample_weight=weights)
        out[f"sensitivity {rule}"], out[f"specificity {rule}"] = recall[:, 1], recall[:, 0]
        out[f"positive {rule}"], out[f"negative {rule}"] = precision[:, 1], precision[:, 0]
    return out
