"""Every figure of an evaluation, each with its interval, from predictions and truth.

Truth is taken as finely as its labels allow (`diagnoses.label_space`): where some photographs are only known
to be `PBK|SK`, the two count as one class and their probabilities are added.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dermsentry.diagnoses import CODES, codes_of
from dermsentry.errors import InputError
from dermsentry.evaluation.caveats import caveats
from dermsentry.evaluation.clinical_utility.decision_curve import decision_curve
from dermsentry.evaluation.clinical_utility.operating_point import (
    FrozenThreshold,
    NeededThreshold,
    needed_threshold,
    threshold_for_sensitivity,
)
from dermsentry.evaluation.clinical_utility.prevalence import shift_prevalence
from dermsentry.evaluation.clinical_utility.worklist import Worklist, worklists
from dermsentry.evaluation.measures import Floats, LabelledCases, Truths, measure, prepare
from dermsentry.evaluation.results import (
    OVERALL,
    AlertDecision,
    ClassFigures,
    ConfusionMatrix,
    Evaluation,
    MelanomaFigures,
    SpecificityAtSensitivity,
)
from dermsentry.stats.calibration import calibration_error, calibration_test
from dermsentry.stats.intervals import Estimate, mean_of
from dermsentry.stats.metrics import LARGEST_LOSS, confusion_matrix
from dermsentry.stats.numbers import Unit
from dermsentry.stats.prevalence import PREVALENCES, ClinicalValue, check_prevalence, clinical_value
from dermsentry.stats.resampling import Resampled, Resampler, correlation_of

Figures = Mapping[str, Resampled]
SENSITIVITIES = (0.80, 0.90, 0.95)
"""Those that a specificity is stated at."""
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
    """Measure predictions against the truth, every figure with its interval.

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
        The melanoma probability from which a photograph raises an alert; without it, a photograph raises one
        where melanoma is the most probable class.
    sensitivity_target
        The share of melanomas that the threshold was chosen to find.
    prevalence
        The share of melanomas where the model is to be used, such as 0.02: adds what alerts are worth there,
        and whether the probabilities hold there. What alerts are worth at `PREVALENCES` is always told.
    seed
        Random seed of the bootstrap.
    resamples
        Bootstrap resamples, at least 2, better 1000.

    Returns
    -------
    Evaluation
        The figures, with what to know before quoting them.

    Raises
    ------
    InputError
        Lengths do not fit, a probability is none, or no photograph has a known diagnosis.
    """
    return measure_predictions(
        truth,
        probability,
        Resampler(groups, resamples, seed),
        threshold=threshold,
        sensitivity_target=sensitivity_target,
        prevalence=prevalence,
    )


def measure_predictions(
    truth: Sequence[str],
    probability: ArrayLike,
    resampler: Resampler,
    *,
    threshold: float | None,
    sensitivity_target: float,
    prevalence: float | None,
    unit: Unit = "group",
) -> Evaluation:
    """`evaluate_predictions` with the resamples of the photographs' groups already drawn."""
    values = _checked(truth, probability, resampler, threshold)
    if not 0 < sensitivity_target <= 1:
        raise InputError(
            f"Received the sensitivity {sensitivity_target:g} to aim at; expected a share above 0, up to 1."
        )
    if prevalence is not None:
        check_prevalence(prevalence)
    known = np.array([bool(label) for label in truth], dtype=np.bool_)
    if not known.any():
        raise InputError(f"None of the {len(truth)} photographs has a known diagnosis: nothing to evaluate.")
    labels = tuple(label for label in truth if label)
    values, among, unknown = values[known], resampler.among(known), len(truth) - len(labels)
    cases = prepare(labels, values, among, threshold)
    found = among.measure(lambda weights: measure(cases, weights))
    classes = class_figures(cases, found)
    melanoma = melanoma_figures(cases, found)
    curve = shift = None
    lists: tuple[Worklist, ...] = ()
    prevalences = sorted({*PREVALENCES, *([] if prevalence is None else [prevalence])})
    if cases.melanoma.any() and not cases.melanoma.all():
        told = among.among(cases.told)
        curve = decision_curve(cases.melanoma, cases.score, told)
        lists = worklists(cases.melanoma, cases.score, told, prevalences)
        if prevalence is not None:
            shift = shift_prevalence(cases.melanoma, cases.score, told, prevalence)
    matrix = confusion_matrix(cases.true, cases.predicted, labels=np.arange(len(cases.classes)))
    return Evaluation(
        photographs=len(labels),
        unknown=unknown,
        **overall_figures(cases, found, classes),
        classes=classes,
        confusion_matrix=ConfusionMatrix(
            cases.classes, tuple(tuple(int(count) for count in row) for row in matrix)
        ),
        melanoma=melanoma,
        warnings=caveats(
            classes, melanoma, unknown, int((~cases.told).sum()), unit=unit, constant=is_constant(values)
        ),
        threshold=threshold,
        resamples=resampler.resamples,
        seed=resampler.seed,
        truth=labels,
        probability=values,
        group=tuple(among.groups),
        operating_point=_operating_point(cases, melanoma, sensitivity_target),
        clinical_value=_clinical_value(cases, melanoma, found, prevalences),
        worklists=lists,
        decision_curve=curve,
        prior_shift=shift,
        unit=unit,
    )


def is_constant(probability: Floats) -> bool:
    """Whether every one of several photographs gets the same probabilities, from (n, 9)."""
    return len(probability) > 1 and bool(np.ptp(probability, axis=0).max() < 1e-6)


def _checked(
    truth: Sequence[str], probability: ArrayLike, resampler: Resampler, threshold: float | None
) -> Floats:
    """The probabilities as floats, (n, 9). Raises InputError if anything does not fit."""
    values = np.asarray(probability, dtype=np.float64)
    if values.shape != (len(truth), len(CODES)):
        expected = f"{len(truth)} photographs by {len(CODES)} classes"
        raise InputError(f"Received probabilities of shape {values.shape}; expected {expected}.")
    if len(resampler) != len(truth):
        raise InputError(f"Received {len(resampler)} groups for {len(truth)} photographs; expected one each.")
    if not (np.isfinite(values).all() and (values >= 0).all() and (values <= 1.001).all()):
        raise InputError(
            "Received values that are not probabilities; expected numbers in 0 to 1, not logits."
        )
    if (np.abs(values.sum(axis=1) - 1) > 1e-3).any():
        raise InputError("Received probabilities that do not add up to 1 over the nine classes.")
    if threshold is not None and not np.isfinite(threshold):
        raise InputError(f"Received the threshold {threshold}; expected a number in 0 to 1.")
    unknown = sorted({code for label in truth for code in codes_of(label)} - set(CODES))
    if unknown:
        expected = f"codes of {', '.join(CODES)}, or several joined by |"
        raise InputError(f"Received the labels {', '.join(unknown)}; expected {expected}.")
    return np.minimum(values, 1.0)


def overall_figures(cases: LabelledCases, found: Figures, classes: Sequence[ClassFigures]) -> dict[str, Any]:
    """The figures of `OVERALL` by name."""
    if len(cases.classes) == 1:  # the labels tell no two classes apart: every answer would be right
        return dict.fromkeys((*OVERALL, "calibration_test"))
    groups = cases.resampler.count()
    effective = cases.resampler.effective(np.ones(len(cases.true), np.bool_))
    confidence = cases.probability.max(axis=1)
    return {
        "accuracy": found["accuracy"].proportion(groups),
        "balanced_accuracy": _mean(found, classes, "recall"),
        "roc_auc": _mean(found, classes, "roc_auc"),
        "average_precision": _mean(found, classes, "average_precision"),
        "log_loss": found["log_loss"].loss(effective),
        "brier_score": found["brier_score"].loss(effective, most=2),
        "calibration_error": calibration_error(cases.right, confidence, cases.resampler.index),
        "calibration_test": calibration_test(cases.right, confidence, cases.resampler.index),
    }


def _mean(found: Figures, classes: Sequence[ClassFigures], name: str) -> Estimate | None:
    """The mean of a figure over the classes that have it."""
    known = {own.label: figure for own in classes if (figure := getattr(own, name)) is not None}
    if not known:
        return None
    correlation = correlation_of([found[f"{name} {label}"] for label in known])
    return mean_of(list(known.values()), correlation)


def class_figures(cases: LabelledCases, found: Figures) -> tuple[ClassFigures, ...]:
    """The figures of each class."""
    figures = []
    single = len(cases.classes) == 1
    for i, label in enumerate(cases.classes):
        own, predicted = cases.true == i, cases.predicted == i
        groups = cases.resampler.count(own)
        rarer = cases.resampler.rarer(own)
        area, average = found.get(f"roc_auc {label}"), found.get(f"average_precision {label}")
        figures.append(
            ClassFigures(
                label=label,
                photographs=int(own.sum()),
                groups=groups,
                predicted=int(predicted.sum()),
                recall=None if single else found[f"recall {label}"].proportion(groups),
                precision=None
                if single
                else found[f"precision {label}"].proportion(cases.resampler.count(predicted)),
                roc_auc=area and area.bounded(rarer),
                average_precision=average and average.bounded(rarer),
            )
        )
    return tuple(figures)


def melanoma_figures(cases: LabelledCases, found: Figures) -> MelanomaFigures:
    """Melanoma's figures against everything else."""
    truth, told = cases.melanoma, cases.resampler.index[cases.told]
    groups = cases.told_groups(truth)
    rarer = cases.resampler.among(cases.told).rarer(truth) if cases.told.any() else 0.0

    def figure(name: str) -> Resampled | None:
        return found.get(f"melanoma {name}")

    return MelanomaFigures(
        photographs=int(truth.sum()),
        groups=groups,
        others=int((~truth).sum()),
        roc_auc=(own := figure("roc_auc")) and own.bounded(rarer),
        average_precision=(own := figure("average_precision")) and own.bounded(rarer),
        log_loss=(own := figure("log_loss")) and own.loss(rarer),
        brier_score=(own := figure("brier_score")) and own.loss(rarer, LARGEST_LOSS["brier_score"]),
        calibration_error=calibration_error(truth, cases.score, told) if rarer >= 2 else None,
        calibration_test=calibration_test(truth, cases.score, told) if rarer >= 2 else None,
        decisions=tuple(_decision(cases, rule, found) for rule in range(len(cases.rules))),
        at_sensitivity=tuple(_at_sensitivity(cases)),
    )


def _at_sensitivity(cases: LabelledCases) -> Iterator[SpecificityAtSensitivity]:
    if not cases.melanoma.any() or cases.melanoma.all():
        return
    for sensitivity in SENSITIVITIES:
        needed = _needed(cases, sensitivity)
        threshold = threshold_for_sensitivity(cases.melanoma, cases.score, sensitivity).threshold
        yield SpecificityAtSensitivity(sensitivity, threshold, needed.specificity, needed.reason)


def _needed(cases: LabelledCases, sensitivity: float) -> NeededThreshold:
    return needed_threshold(cases.melanoma, cases.score, cases.resampler.among(cases.told), sensitivity)


def _decision(cases: LabelledCases, rule: int, found: Figures) -> AlertDecision:
    threshold, alert = cases.rules[rule]

    def proportion(name: str, here: Truths) -> Estimate | None:
        figure = found.get(f"{name} {rule}")
        return figure and figure.proportion(cases.told_groups(here))

    return AlertDecision(
        threshold=threshold,
        detected=int((alert & cases.melanoma).sum()),
        alerts=int(alert.sum()),
        sensitivity=proportion("sensitivity", cases.melanoma),
        specificity=proportion("specificity", ~cases.melanoma),
        positive_predictive_value=proportion("positive", alert),
        negative_predictive_value=proportion("negative", ~alert),
    )


def _operating_point(
    cases: LabelledCases, melanoma: MelanomaFigures, target: float
) -> FrozenThreshold | None:
    """The threshold that was given against the one these photographs call for; None without one."""
    decision = melanoma.decisions[-1]
    if decision.threshold is None:
        return None
    needed = NeededThreshold(None, None, "not estimable: none of the photographs is a melanoma")
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
        needed=_needed(cases, target) if melanoma.photographs else needed,
    )


def _clinical_value(
    cases: LabelledCases, melanoma: MelanomaFigures, found: Figures, prevalences: Sequence[float]
) -> tuple[ClinicalValue, ...]:
    decision, rule = melanoma.decisions[-1], len(cases.rules) - 1
    if decision.sensitivity is None or decision.specificity is None:
        return ()
    drawn = (found[f"sensitivity {rule}"].drawn, found[f"specificity {rule}"].drawn)
    return clinical_value(decision.sensitivity, decision.specificity, drawn, prevalences)
