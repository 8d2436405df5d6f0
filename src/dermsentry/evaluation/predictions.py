"""Every figure of an evaluation, each with its interval, from predictions and truth.

Truth is judged as finely as its labels allow (`diagnoses.label_space`): where some photographs are only known
to be `PBK|SK`, the two count as one class and their probabilities are added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from dermsentry.diagnoses import CODES, codes_of
from dermsentry.errors import InputError
from dermsentry.evaluation.caveats import caveats
from dermsentry.evaluation.clinical_utility.decision_curve import DecisionCurve, decision_curve
from dermsentry.evaluation.clinical_utility.operating_point import FrozenThreshold, threshold_for_sensitivity
from dermsentry.evaluation.clinical_utility.prevalence import (
    PREVALENCES,
    ClinicalValue,
    Restated,
    check_prevalence,
    clinical_value,
    restate,
)
from dermsentry.evaluation.measures import SENSITIVITIES, Floats, Judged, Truths, measure, prepare
from dermsentry.evaluation.results import AtSensitivity, ClassFigures, Decision, Evaluation, MelanomaFigures
from dermsentry.stats.intervals import Estimate, bootstrap, percentile_interval, proportion_interval
from dermsentry.stats.metrics import confusion_matrix

SENSITIVITY_TARGET = 0.95


def evaluate_predictions(
    truth: Sequence[str],
    probability: ArrayLike,
    groups: Sequence[str],
    *,
    threshold: float | None = None,
    sensitivity_target: float = SENSITIVITY_TARGET,
    prevalence: float | None = None,
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
    sensitivity_target
        The share of melanomas that the threshold was to find.
    prevalence
        The share of melanomas where the model is to be used, such as 0.02: what alerts are worth there, and
        whether the probabilities hold there. What they are worth at `PREVALENCES` is always told.
    seed, resamples
        Of the bootstrap.

    Raises
    ------
    InputError
        Lengths do not fit, a probability is none, or no photograph has a known diagnosis.
    """
    values = _checked(truth, probability, groups, threshold)
    if not 0 < sensitivity_target <= 1:
        raise InputError(
            f"Received the sensitivity {sensitivity_target:g} to aim at; expected a share above 0, up to 1."
        )
    if prevalence is not None:
        check_prevalence(prevalence)
    known = np.array([bool(label) for label in truth], dtype=np.bool_)
    if not known.any():
        raise InputError(f"None of the {len(truth)} photographs has a known diagnosis: nothing to judge.")
    labels = tuple(label for label in truth if label)
    lesions = tuple(group for group, here in zip(groups, known, strict=True) if here)
    unknown = len(truth) - len(labels)

    judged = prepare(labels, values[known], lesions, threshold, sensitivity_target)

    def figures(weights: Floats) -> dict[str, Floats]:
        return measure(judged, weights)

    found = {name: float(value[0]) for name, value in figures(np.ones((1, len(labels)))).items()}
    drawn = bootstrap(lesions, figures, resamples=resamples, seed=seed)
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
        operating_point=_operating_point(judged, melanoma, found, drawn, sensitivity_target),
        clinical_value=_clinical_value(judged, melanoma, drawn, prevalence),
        decision_curve=_decision_curve(judged, lesions, resamples, seed),
        restated=_restated(judged, lesions, prevalence, resamples, seed),
    )


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


def _overall_figures(
    judged: Judged, found: Mapping[str, float], drawn: Mapping[str, Floats]
) -> dict[str, Estimate | None]:
    groups = judged.groups(np.ones(len(judged.true), dtype=np.bool_))
    figures = {"accuracy": proportion_interval(found["accuracy"], drawn["accuracy"], groups)}
    for name in ("balanced_accuracy", "roc_auc", "average_precision"):
        figures[name] = _share(found[name], drawn[name], groups >= 2)
    for name in ("log_loss", "brier_score", "calibration_error", "calibration_error_equal_mass"):
        figures[name] = _loss(name, found, drawn, groups >= 2)
    return figures


def _class_figures(
    judged: Judged, found: Mapping[str, float], drawn: Mapping[str, Floats]
) -> tuple[ClassFigures, ...]:
    figures = []
    for i, label in enumerate(judged.classes):
        own, called = judged.true == i, judged.predicted == i
        groups = judged.groups(own)
        enough = groups >= 2 and judged.groups(~own) >= 2

        def proportion(name: str, independent: int) -> Estimate | None:
            return proportion_interval(found[name], drawn[name], independent)

        def ranked(name: str, enough: bool = enough) -> Estimate | None:
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
    judged: Judged, found: Mapping[str, float], drawn: Mapping[str, Floats]
) -> MelanomaFigures:
    truth = judged.melanoma
    groups, others = judged.told_groups(truth), judged.told_groups(~truth)
    enough = groups >= 2 and others >= 2

    def ranked(name: str) -> Estimate | None:
        return _share(found[name], drawn[name], enough) if name in found else None

    at_sensitivity = []
    for sensitivity in SENSITIVITIES:
        specificity = _specificity_at(judged, sensitivity, found, drawn)
        if specificity is not None:
            threshold = threshold_for_sensitivity(truth, judged.score, sensitivity).threshold
            at_sensitivity.append(AtSensitivity(sensitivity, threshold, specificity))
    return MelanomaFigures(
        photographs=int(truth.sum()),
        groups=groups,
        others=int((~truth).sum()),
        roc_auc=ranked("melanoma roc_auc"),
        average_precision=ranked("melanoma average_precision"),
        log_loss=_loss("melanoma log_loss", found, drawn, enough),
        brier_score=_loss("melanoma brier_score", found, drawn, enough),
        calibration_error=_loss("melanoma calibration_error", found, drawn, enough),
        calibration_error_equal_mass=_loss("melanoma calibration_error_equal_mass", found, drawn, enough),
        decisions=tuple(_decision(judged, rule, found, drawn) for rule in range(len(judged.rules))),
        at_sensitivity=tuple(at_sensitivity),
    )


def _specificity_at(
    judged: Judged, sensitivity: float, found: Mapping[str, float], drawn: Mapping[str, Floats]
) -> Estimate | None:
    name = f"melanoma at {sensitivity}"
    if name not in found:
        return None
    others = judged.told_groups(~judged.melanoma)
    specificity = proportion_interval(found[name], drawn[name], others)
    enough = judged.told_groups(judged.melanoma) >= 2 and others >= 2
    return specificity if specificity is None or enough else Estimate(specificity.value, 0.0, 1.0)


def _operating_point(
    judged: Judged,
    melanoma: MelanomaFigures,
    found: Mapping[str, float],
    drawn: Mapping[str, Floats],
    target: float,
) -> FrozenThreshold | None:
    """The threshold that was given against the one these photographs call for; None without one."""
    decision = melanoma.decisions[-1]
    if decision.threshold is None:
        return None
    needed = None
    if melanoma.photographs:
        value = threshold_for_sensitivity(judged.melanoma, judged.score, target).threshold
        needed = percentile_interval(value, drawn[f"melanoma from {target}"])
        if needed is not None and melanoma.groups < 2:
            needed = Estimate(value, 0.0, 1.0)
    return FrozenThreshold(
        threshold=decision.threshold,
        sensitivity_target=target,
        melanomas=melanoma.photographs,
        melanoma_groups=melanoma.groups,
        others=melanoma.others,
        detected=decision.detected,
        false_alarms=decision.alerts - decision.detected,
        sensitivity=decision.sensitivity,
        specificity=decision.specificity,
        needed=needed,
        needed_specificity=_specificity_at(judged, target, found, drawn),
    )


def _clinical_value(
    judged: Judged, melanoma: MelanomaFigures, drawn: Mapping[str, Floats], prevalence: float | None
) -> tuple[ClinicalValue, ...]:
    decision, rule = melanoma.decisions[-1], len(judged.rules) - 1
    shares = sorted({*PREVALENCES, *([] if prevalence is None else [prevalence])})
    if decision.sensitivity is None or decision.specificity is None:
        return ()
    both = (drawn[f"sensitivity {rule}"], drawn[f"specificity {rule}"])
    return clinical_value(decision.sensitivity, decision.specificity, both, shares)


def _told_groups(judged: Judged, lesions: Sequence[str]) -> list[str]:
    """The group of each photograph known to be a melanoma or not; none where only one of the two is there."""
    if judged.melanoma.all() or not judged.melanoma.any():
        return []
    return [lesions[i] for i in judged.told]


def _decision_curve(
    judged: Judged, lesions: Sequence[str], resamples: int, seed: int
) -> DecisionCurve | None:
    told = _told_groups(judged, lesions)
    if not told:
        return None
    return decision_curve(judged.melanoma, judged.score, told, resamples=resamples, seed=seed)


def _restated(
    judged: Judged, lesions: Sequence[str], prevalence: float | None, resamples: int, seed: int
) -> Restated | None:
    told = _told_groups(judged, lesions)
    if not told or prevalence is None:
        return None
    return restate(judged.melanoma, judged.score, told, prevalence, resamples=resamples, seed=seed)


def _decision(judged: Judged, rule: int, found: Mapping[str, float], drawn: Mapping[str, Floats]) -> Decision:
    threshold, alert = judged.rules[rule]

    def proportion(name: str, here: Truths) -> Estimate | None:
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


def _share(value: float, drawn: Floats, enough: bool) -> Estimate | None:
    """A figure in 0..1; its interval is all of that where there are too few groups to draw from."""
    interval = percentile_interval(value, drawn)
    return interval if interval is None or enough else Estimate(value, 0.0, 1.0)


def _loss(
    name: str, found: Mapping[str, float], drawn: Mapping[str, Floats], enough: bool
) -> Estimate | None:
    """A figure without an upper bound to fall back on: None where there are too few groups to draw from."""
    if not enough or name not in found:
        return None
    return percentile_interval(found[name], drawn[name], unbiased="calibration" in name)
