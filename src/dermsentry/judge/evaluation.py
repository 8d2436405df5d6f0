"""Every figure of an evaluation, each with its interval, from predictions and truth.

Truth is judged as finely as its labels allow (`diagnoses.label_space`): where some photographs are only known
to be `PBK|SK`, the two count as one class and their probabilities are added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dermsentry.diagnoses import CODES, MELANOMA, codes_of, label_space
from dermsentry.errors import InputError
from dermsentry.judge.caveats import caveats
from dermsentry.judge.figures import AtSensitivity, ClassFigures, Decision, Evaluation, MelanomaFigures
from dermsentry.judge.intervals import (
    Interval,
    bootstrap,
    group_index,
    percentile_interval,
    proportion_interval,
)
from dermsentry.judge.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    confusion_matrix,
    expected_calibration_error,
    log_loss,
    precision_score,
    rank,
    recall_score,
)
from dermsentry.judge.operating_point import threshold_for_sensitivity

Floats = NDArray[np.float64]
Truths = NDArray[np.bool_]

SENSITIVITIES = (0.80, 0.90, 0.95)
BINS = 10  # of the calibration errors
_MEL = CODES.index(MELANOMA)


def evaluate_predictions(
    truth: Sequence[str],
    probability: ArrayLike,
    groups: Sequence[str],
    *,
    threshold: float | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> Evaluation:
    """Judge predictions against truth, with an interval for every figure.

    Parameters
    ----------
    truth
        The label of each of n photographs: a code, candidates such as `PBK|SK`, or `""` for unknown. The
        unknown are left out and counted.
    probability
        Shape (n, 9), columns in the order of `diagnoses.CODES`, each row in 0..1 and adding up to 1.
    groups
        The group of each photograph: those of one lesion or patient share one. The bootstrap draws groups.
    threshold
        The melanoma probability from which a photograph raises an alert; without it only the rule of the
        largest probability is judged.
    seed, resamples
        Of the bootstrap.

    Raises
    ------
    InputError
        Lengths do not fit, a probability is none, or no photograph has a known diagnosis.
    """
    values = _checked(truth, probability, groups, threshold)
    known = np.array([bool(label) for label in truth], dtype=np.bool_)
    if not known.any():
        raise InputError(f"None of the {len(truth)} photographs has a known diagnosis: nothing to judge.")
    labels = tuple(label for label in truth if label)
    lesions = tuple(group for group, here in zip(groups, known, strict=True) if here)
    unknown = len(truth) - len(labels)

    judged = _prepare(labels, values[known], lesions, threshold)

    def measure(weights: Floats) -> dict[str, Floats]:
        return _measure(judged, weights)

    found = {name: float(value[0]) for name, value in measure(np.ones((1, len(labels)))).items()}
    drawn = bootstrap(lesions, measure, resamples=resamples, seed=seed)
    classes = _class_figures(judged, found, drawn)
    melanoma = _melanoma_figures(judged, found, drawn)
    matrix = confusion_matrix(judged.true, judged.predicted, labels=np.arange(len(judged.classes)))
    return Evaluation(
        photographs=len(labels),
        unknown=unknown,
        overall=_overall_figures(judged, found, drawn),
        classes=classes,
        confusion_matrix=tuple(tuple(int(count) for count in row) for row in matrix),
        melanoma=melanoma,
        warnings=caveats(classes, melanoma, unknown),
        threshold=threshold,
        resamples=resamples,
        seed=seed,
        truth=labels,
        probability=values[known],
        groups=lesions,
    )


def merged(probability: Floats, classes: Sequence[str]) -> Floats:
    """The probability of each label in `classes`, its codes' added: (n, 9) by `CODES` to (n, k)."""
    columns = [[CODES.index(code) for code in codes_of(label)] for label in classes]
    return np.stack([probability[:, column].sum(axis=1) for column in columns], axis=1)


def _checked(
    truth: Sequence[str], probability: ArrayLike, groups: Sequence[str], threshold: float | None
) -> Floats:
    """The probabilities as floats, (n, 9). Raises InputError if anything does not fit."""
    values = np.asarray(probability, dtype=np.float64)
    if values.shape != (len(truth), len(CODES)):
        expected = f"{len(truth)} photographs by {len(CODES)} classes"
        raise InputError(f"Received probabilities of shape {values.shape}; expected {expected}.")
    if len(groups) != len(truth):
        raise InputError(f"Received {len(groups)} groups for {len(truth)} photographs; expected one each.")
    if not (np.isfinite(values).all() and (values >= 0).all() and (values <= 1.001).all()):
        raise InputError("Received values that are no probabilities; expected numbers in 0 to 1, not logits.")
    if (np.abs(values.sum(axis=1) - 1) > 1e-3).any():
        raise InputError("Received probabilities that do not add up to 1 over the nine classes.")
    if threshold is not None and not np.isfinite(threshold):
        raise InputError(f"Received the threshold {threshold}; expected a number in 0 to 1.")
    unknown = sorted({code for label in truth for code in codes_of(label)} - set(CODES))
    if unknown:
        expected = f"codes of {', '.join(CODES)}, or several joined by |"
        raise InputError(f"Received the labels {', '.join(unknown)}; expected {expected}.")
    return np.minimum(values, 1.0)


@dataclass(frozen=True, eq=False)
class _Judged:
    """n photographs of known diagnosis, prepared once for any number of resamples.

    `true` and `predicted` (n,) index `classes`, `probability` (n, k) is over them. `told` (m,) are the
    photographs known to be a melanoma or not: `MEL|NV` is neither. `melanoma`, `score` and each rule's alerts
    are over those.
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

    def groups(self, here: Truths) -> int:
        """How many groups have a photograph in `here`, (n,)."""
        return len(np.unique(self.group[here]))

    def told_groups(self, here: Truths) -> int:
        """How many groups have a photograph in `here`, (m,)."""
        return len(np.unique(self.group[self.told][here]))


def _prepare(
    labels: Sequence[str], probability: Floats, groups: Sequence[str], threshold: float | None
) -> _Judged:
    classes = label_space([*labels, *CODES])
    where = {code: i for i, label in enumerate(classes) for code in codes_of(label)}
    told = [i for i, label in enumerate(labels) if label == MELANOMA or MELANOMA not in codes_of(label)]
    score = probability[told, _MEL]
    rules: list[tuple[float | None, Truths]] = [(None, probability[told].argmax(axis=1) == _MEL)]
    if threshold is not None:
        rules.append((threshold, score >= threshold))
    joined = merged(probability, classes)
    return _Judged(
        classes=classes,
        true=np.array([where[codes_of(label)[0]] for label in labels], dtype=np.int64),
        predicted=joined.argmax(axis=1).astype(np.int64),
        probability=joined,
        group=group_index(groups),
        told=np.array(told, dtype=np.int64),
        melanoma=np.array([labels[i] == MELANOMA for i in told], dtype=np.bool_),
        score=score,
        rules=tuple(rules),
    )


def _measure(judged: _Judged, weights: Floats) -> dict[str, Floats]:
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


def _measure_melanoma(judged: _Judged, weights: Floats) -> dict[str, Floats]:
    """Melanoma's figures for weights (r, m), each of shape (r,)."""
    truth, score = judged.melanoma, judged.score
    ranking = rank(truth, score, sample_weight=weights)
    out = {
        "melanoma roc_auc": ranking.roc_auc(),
        "melanoma average_precision": ranking.average_precision(),
        "melanoma brier_score": brier_score_loss(truth, score, sample_weight=weights),
        "melanoma calibration_error": expected_calibration_error(
            truth, score, bins=BINS, sample_weight=weights
        ),
    }
    for sensitivity in SENSITIVITIES:
        out[f"melanoma at {sensitivity}"] = ranking.specificity_at(sensitivity)
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


def _overall_figures(
    judged: _Judged, found: Mapping[str, float], drawn: Mapping[str, Floats]
) -> dict[str, Interval | None]:
    groups = judged.groups(np.ones(len(judged.true), dtype=np.bool_))
    figures = {"accuracy": proportion_interval(found["accuracy"], drawn["accuracy"], groups)}
    for name in ("balanced_accuracy", "roc_auc", "average_precision"):
        figures[name] = _share(found[name], drawn[name], groups >= 2)
    for name in ("log_loss", "brier_score", "calibration_error", "calibration_error_equal_mass"):
        figures[name] = _loss(name, found, drawn, groups >= 2)
    return figures


def _class_figures(
    judged: _Judged, found: Mapping[str, float], drawn: Mapping[str, Floats]
) -> tuple[ClassFigures, ...]:
    figures = []
    for i, label in enumerate(judged.classes):
        own, called = judged.true == i, judged.predicted == i
        groups = judged.groups(own)
        enough = groups >= 2 and judged.groups(~own) >= 2

        def proportion(name: str, independent: int) -> Interval | None:
            return proportion_interval(found[name], drawn[name], independent)

        def ranked(name: str, enough: bool = enough) -> Interval | None:
            return _share(found[name], drawn[name], enough) if name in found else None

        figures.append(
            ClassFigures(
                label=label,
                photographs=int(own.sum()),
                groups=groups,
                predicted=int(called.sum()),
                recall=proportion(f"recall {label}", groups),
                precision=proportion(f"precision {label}", judged.groups(called)),
                roc_auc=ranked(f"roc_auc {label}"),
                average_precision=ranked(f"average_precision {label}"),
            )
        )
    return tuple(figures)


def _melanoma_figures(
    judged: _Judged, found: Mapping[str, float], drawn: Mapping[str, Floats]
) -> MelanomaFigures:
    truth = judged.melanoma
    groups, others = judged.told_groups(truth), judged.told_groups(~truth)
    enough = groups >= 2 and others >= 2

    def ranked(name: str) -> Interval | None:
        return _share(found[name], drawn[name], enough) if name in found else None

    at_sensitivity = []
    for sensitivity in SENSITIVITIES:
        name = f"melanoma at {sensitivity}"
        if name not in found:
            continue
        specificity = proportion_interval(found[name], drawn[name], others)
        if specificity is not None:
            if not enough:
                specificity = Interval(specificity.value, 0.0, 1.0)
            threshold = threshold_for_sensitivity(truth, judged.score, sensitivity).threshold
            at_sensitivity.append(AtSensitivity(sensitivity, threshold, specificity))
    return MelanomaFigures(
        photographs=int(truth.sum()),
        groups=groups,
        others=int((~truth).sum()),
        roc_auc=ranked("melanoma roc_auc"),
        average_precision=ranked("melanoma average_precision"),
        brier_score=_loss("melanoma brier_score", found, drawn, enough),
        calibration_error=_loss("melanoma calibration_error", found, drawn, enough),
        decisions=tuple(_decision(judged, rule, found, drawn) for rule in range(len(judged.rules))),
        at_sensitivity=tuple(at_sensitivity),
    )


def _decision(
    judged: _Judged, rule: int, found: Mapping[str, float], drawn: Mapping[str, Floats]
) -> Decision:
    threshold, alert = judged.rules[rule]

    def proportion(name: str, here: Truths) -> Interval | None:
        key = f"{name} {rule}"
        return proportion_interval(found[key], drawn[key], judged.told_groups(here)) if key in found else None

    return Decision(
        threshold=threshold,
        detected=int((alert & judged.melanoma).sum()),
        alerts=int(alert.sum()),
        sensitivity=proportion("sensitivity", judged.melanoma),
        specificity=proportion("specificity", ~judged.melanoma),
        positive_predictive_value=proportion("positive", alert),
        negative_predictive_value=proportion("negative", ~alert),
    )


def _share(value: float, drawn: Floats, enough: bool) -> Interval | None:
    """A figure in 0..1; its interval is all of that where there are too few groups to draw from."""
    interval = percentile_interval(value, drawn)
    return interval if interval is None or enough else Interval(value, 0.0, 1.0)


def _loss(
    name: str, found: Mapping[str, float], drawn: Mapping[str, Floats], enough: bool
) -> Interval | None:
    """A figure without an upper bound to fall back on: None where there are too few groups to draw from."""
    if not enough or name not in found:
        return None
    return percentile_interval(found[name], drawn[name], unbiased="calibration" in name)
