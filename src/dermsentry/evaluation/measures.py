"""The photographs of an evaluation, and every figure of them for any number of resamples at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dermsentry.diagnoses import CODES, MELANOMA, codes_of, label_space
from dermsentry.stats.intervals import group_index
from dermsentry.stats.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    expected_calibration_error,
    log_loss,
    precision_score,
    rank,
    recall_score,
)

Floats = NDArray[np.float64]
Truths = NDArray[np.bool_]

SENSITIVITIES = (0.80, 0.90, 0.95)
BINS = 10  # of the calibration errors
_MEL = CODES.index(MELANOMA)


def merged(probability: Floats, classes: Sequence[str]) -> Floats:
    """The probability of each label in `classes`, its codes' added: (n, 9) by `CODES` to (n, k)."""
    columns = [[CODES.index(code) for code in codes_of(label)] for label in classes]
    return np.stack([probability[:, column].sum(axis=1) for column in columns], axis=1)


@dataclass(frozen=True, eq=False)
class Judged:
    """n photographs of known diagnosis, prepared once for any number of resamples.

    `true` and `predicted` (n,) index `classes`, `probability` (n, k) is over them. `told` (m,) are the
    photographs known to be a melanoma or not: `MEL|NV` is neither. `melanoma`, `score` and each rule's alerts
    are over those. `sensitivities` are those that a specificity is found for.
    """

    classes: tuple[str, ...]
    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probability: Floats
    group: NDArray[np.int64]
    told: NDArray[np.int64]
    melanoma: Truths
    score: Floats
    rules: tuple[tuple[float | None, Truths], ...]
    sensitivities: tuple[float, ...]

    def groups(self, here: Truths) -> int:
        """How many groups have a photograph in `here`, (n,)."""
        return len(np.unique(self.group[here]))

    def told_groups(self, here: Truths) -> int:
        """How many groups have a photograph in `here`, (m,)."""
        return len(np.unique(self.group[self.told][here]))


def prepare(
    labels: Sequence[str],
    probability: Floats,
    groups: Sequence[str],
    threshold: float | None,
    sensitivity_target: float,
) -> Judged:
    """The photographs by the classes that their labels can tell apart; `probability` (n, 9) by `CODES`."""
    classes = label_space([*labels, *CODES])
    where = {code: i for i, label in enumerate(classes) for code in codes_of(label)}
    told = [i for i, label in enumerate(labels) if label == MELANOMA or MELANOMA not in codes_of(label)]
    score = probability[told, _MEL]
    rules: list[tuple[float | None, Truths]] = [(None, probability[told].argmax(axis=1) == _MEL)]
    if threshold is not None:
        rules.append((threshold, score >= threshold))
    joined = merged(probability, classes)
    return Judged(
        classes=classes,
        true=np.array([where[codes_of(label)[0]] for label in labels], dtype=np.int64),
        predicted=joined.argmax(axis=1).astype(np.int64),
        probability=joined,
        group=group_index(groups),
        told=np.array(told, dtype=np.int64),
        melanoma=np.array([labels[i] == MELANOMA for i in told], dtype=np.bool_),
        score=score,
        rules=tuple(rules),
        sensitivities=tuple(sorted({*SENSITIVITIES, sensitivity_target})),
    )


def measure(judged: Judged, weights: Floats) -> dict[str, Floats]:
    """Every figure for weights (r, n), each of shape (r,)."""
    true, predicted, probability = judged.true, judged.predicted, judged.probability
    right, confidence = predicted == true, probability.max(axis=1)
    error = expected_calibration_error
    out: dict[str, Floats] = {
        "accuracy": accuracy_score(true, predicted, sample_weight=weights),
        "balanced_accuracy": balanced_accuracy_score(true, predicted, sample_weight=weights),
        "log_loss": log_loss(true, probability, sample_weight=weights),
        "brier_score": brier_score_loss(true, probability, sample_weight=weights),
        "calibration_error": error(right, confidence, bins=BINS, sample_weight=weights),
        "calibration_error_equal_mass": error(
            right, confidence, bins=BINS, equal_mass=True, sample_weight=weights
        ),
    }
    columns = np.arange(len(judged.classes))
    recall = recall_score(true, predicted, labels=columns, sample_weight=weights)
    precision = precision_score(true, predicted, labels=columns, sample_weight=weights)
    areas, averages = [], []
    for i, label in enumerate(judged.classes):
        out[f"recall {label}"], out[f"precision {label}"] = recall[:, i], precision[:, i]
        if (true == i).any():
            ranking = rank(true == i, probability[:, i], sample_weight=weights)
            areas.append(ranking.roc_auc())
            averages.append(ranking.average_precision())
            out[f"roc_auc {label}"], out[f"average_precision {label}"] = areas[-1], averages[-1]
    out["roc_auc"], out["average_precision"] = _mean_of_known(areas), _mean_of_known(averages)
    if len(judged.told):
        out |= _measure_melanoma(judged, weights[:, judged.told])
    return out


def _measure_melanoma(judged: Judged, weights: Floats) -> dict[str, Floats]:
    """Melanoma's figures for weights (r, m), each of shape (r,)."""
    truth, score = judged.melanoma, judged.score
    ranking = rank(truth, score, sample_weight=weights)
    out = {
        "melanoma roc_auc": ranking.roc_auc(),
        "melanoma average_precision": ranking.average_precision(),
        "melanoma log_loss": log_loss(truth, np.stack([1 - score, score], axis=1), sample_weight=weights),
        "melanoma brier_score": brier_score_loss(truth, score, sample_weight=weights),
    }
    for kind, equal_mass in (("", False), ("_equal_mass", True)):
        out[f"melanoma calibration_error{kind}"] = expected_calibration_error(
            truth, score, bins=BINS, equal_mass=equal_mass, sample_weight=weights
        )
    for sensitivity in judged.sensitivities:
        out[f"melanoma at {sensitivity}"] = ranking.specificity_at(sensitivity)
        out[f"melanoma from {sensitivity}"] = ranking.score_at(sensitivity)
    for rule, (_, alert) in enumerate(judged.rules):
        recall = recall_score(truth, alert, labels=[False, True], sample_weight=weights)
        precision = precision_score(truth, alert, labels=[False, True], sample_weight=weights)
        out[f"sensitivity {rule}"], out[f"specificity {rule}"] = recall[:, 1], recall[:, 0]
        out[f"positive {rule}"], out[f"negative {rule}"] = precision[:, 1], precision[:, 0]
    return out


def _mean_of_known(values: Sequence[Floats]) -> Floats:
    """Mean of equally long rows without their NaN; NaN where all are."""
    table = np.stack(values)
    known = ~np.isnan(table)
    count = known.sum(axis=0)
    total = np.where(known, table, 0.0).sum(axis=0)
    mean: Floats = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean
