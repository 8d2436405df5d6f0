"""What an evaluation holds: figures with intervals, and how they stand in `evaluation.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermsentry.diagnoses import CODES, MELANOMA, codes_of, name_of
from dermsentry.evaluation.clinical_utility.decision_curve import DecisionCurve
from dermsentry.evaluation.clinical_utility.operating_point import FrozenThreshold
from dermsentry.evaluation.clinical_utility.prevalence import ClinicalValue, Restated
from dermsentry.evaluation.refusal import Refusal
from dermsentry.evaluation.robustness.measurement import Robustness
from dermsentry.evaluation.saliency.localisation import ExplanationCheck
from dermsentry.evaluation.subgroups.attributes import Attribute
from dermsentry.stats.intervals import LEVEL, Estimate, provable


@dataclass(frozen=True)
class ClassFigures:
    """One class: how many photographs and groups are truly of it, how many were called it, and how well.

    A figure is None where there is nothing to measure. `roc_auc` and `average_precision` are of this class
    against all others.
    """

    label: str
    photographs: int
    groups: int
    predicted: int
    recall: Estimate | None
    precision: Estimate | None
    roc_auc: Estimate | None
    average_precision: Estimate | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "label": self.label,
            "name": name_of(self.label),
            "photographs": self.photographs,
            "groups": self.groups,
            "predicted": self.predicted,
            "recall": _plain(self.recall),
            "precision": _plain(self.precision),
            "roc_auc": _plain(self.roc_auc),
            "average_precision": _plain(self.average_precision),
        }


@dataclass(frozen=True)
class Decision:
    """What one rule of alerting does.

    The rule: alert where the melanoma probability reaches `threshold`; None stands for alerting where
    melanoma has the largest probability of all. `detected` melanoma photographs raise an alert, `alerts` of
    all photographs do.
    """

    threshold: float | None
    detected: int
    alerts: int
    sensitivity: Estimate | None
    specificity: Estimate | None
    positive_predictive_value: Estimate | None
    negative_predictive_value: Estimate | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "rule": "largest probability" if self.threshold is None else "threshold",
            "threshold": self.threshold,
            "detected": self.detected,
            "alerts": self.alerts,
            "sensitivity": _plain(self.sensitivity),
            "specificity": _plain(self.specificity),
            "positive_predictive_value": _plain(self.positive_predictive_value),
            "negative_predictive_value": _plain(self.negative_predictive_value),
        }


@dataclass(frozen=True)
class AtSensitivity:
    """The best specificity that still finds `sensitivity` of these melanomas, at `threshold`.

    The threshold is chosen on the very photographs it is judged on (again in each resample): a property of
    the ranking, not a promise for other photographs.
    """

    sensitivity: float
    threshold: float
    specificity: Estimate

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "sensitivity": self.sensitivity,
            "threshold": self.threshold,
            "specificity": self.specificity.as_dict(),
        }


@dataclass(frozen=True)
class MelanomaFigures:
    """Melanoma against everything else, over the photographs known to be one or the other.

    `decisions` holds the rule of the largest probability and then, if one was given, the threshold's.
    """

    photographs: int
    groups: int
    others: int
    roc_auc: Estimate | None
    average_precision: Estimate | None
    log_loss: Estimate | None
    brier_score: Estimate | None
    calibration_error: Estimate | None
    calibration_error_equal_mass: Estimate | None
    decisions: tuple[Decision, ...]
    at_sensitivity: tuple[AtSensitivity, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "photographs": self.photographs,
            "groups": self.groups,
            "others": self.others,
            "provable_sensitivity": provable(self.groups),
            "roc_auc": _plain(self.roc_auc),
            "average_precision": _plain(self.average_precision),
            "log_loss": _plain(self.log_loss),
            "brier_score": _plain(self.brier_score),
            "calibration_error": _plain(self.calibration_error),
            "calibration_error_equal_mass": _plain(self.calibration_error_equal_mass),
            "decisions": [decision.as_dict() for decision in self.decisions],
            "specificity_at_sensitivity": [point.as_dict() for point in self.at_sensitivity],
        }


@dataclass(frozen=True)
class Evaluation:
    """An evaluation. Every figure is an `Estimate`, or None where there is nothing to measure.

    `classes` are all that the truth can tell apart, those without photographs too. `balanced_accuracy`,
    `roc_auc` and `average_precision` are means over the classes that have photographs. `truth`,
    `probability` (n, 9) and `groups` are the photographs of known diagnosis that were judged, for plots; they
    stay out of the JSON. `restated` is at the prevalence that was asked for; `subgroups` and what follows are
    there where they were measured. `about` says what was judged: it comes first in the JSON.
    """

    photographs: int
    unknown: int
    overall: Mapping[str, Estimate | None]
    classes: tuple[ClassFigures, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]
    melanoma: MelanomaFigures
    warnings: tuple[str, ...]
    threshold: float | None
    resamples: int
    seed: int
    truth: tuple[str, ...] = field(repr=False)
    probability: NDArray[np.float64] = field(repr=False, compare=False)
    groups: tuple[str, ...] = field(repr=False)
    operating_point: FrozenThreshold | None = None
    clinical_value: tuple[ClinicalValue, ...] = ()
    decision_curve: DecisionCurve | None = field(default=None, compare=False)
    restated: Restated | None = field(default=None, compare=False)
    subgroups: tuple[Attribute, ...] = ()
    robustness: Robustness | None = None
    explanation: ExplanationCheck | None = None
    refusal: Refusal | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_melanoma(self) -> NDArray[np.bool_]:
        """Whether each photograph is a melanoma, (n,)."""
        return np.array([label == MELANOMA for label in self.truth], dtype=np.bool_)

    @property
    def may_be_melanoma(self) -> NDArray[np.bool_]:
        """Of which photographs it is not known whether they are melanomas, such as `MEL|NV`, (n,)."""
        candidates = [label != MELANOMA and MELANOMA in codes_of(label) for label in self.truth]
        return np.array(candidates, dtype=np.bool_)

    @property
    def melanoma_probability(self) -> NDArray[np.float64]:
        """What the model gives for melanoma, (n,)."""
        return np.asarray(self.probability[:, CODES.index(MELANOMA)])

    @property
    def accuracy(self) -> Estimate | None:
        """Share of photographs called what they are."""
        return self.overall["accuracy"]

    @property
    def balanced_accuracy(self) -> Estimate | None:
        """Mean recall over the classes that have photographs."""
        return self.overall["balanced_accuracy"]

    @property
    def roc_auc(self) -> Estimate | None:
        """Mean over the classes that have photographs of each against the rest."""
        return self.overall["roc_auc"]

    @property
    def sensitivity(self) -> Estimate | None:
        """Share of melanomas that raise an alert: at the threshold, if given, else by largest probability."""
        return self.melanoma.decisions[-1].sensitivity

    @property
    def specificity(self) -> Estimate | None:
        """Share of the others that raise none, by the same rule as `sensitivity`."""
        return self.melanoma.decisions[-1].specificity

    def as_dict(self) -> dict[str, Any]:
        """What `evaluation.json` holds."""
        return {
            "schema": 2,
            **self.about,
            "photographs": self.photographs,
            "groups": len(set(self.groups)),
            "unknown_diagnosis": self.unknown,
            **{name: _plain(figure) for name, figure in self.overall.items()},
            "classes": [figures.as_dict() for figures in self.classes],
            "confusion_matrix": {
                "labels": [figures.label for figures in self.classes],
                "rows": "true",
                "counts": [list(row) for row in self.confusion_matrix],
            },
            "melanoma": self.melanoma.as_dict(),
            "operating_point": self.operating_point and self.operating_point.as_dict(),
            "clinical_value": [value.as_dict() for value in self.clinical_value],
            "decision_curve": self.decision_curve and self.decision_curve.as_dict(),
            "at_prevalence": self.restated and self.restated.as_dict(),
            "subgroups": [attribute.as_dict() for attribute in self.subgroups],
            "robustness": self.robustness and self.robustness.as_dict(),
            "explanation": self.explanation and self.explanation.as_dict(),
            "refusal": self.refusal and self.refusal.as_dict(),
            "warnings": list(self.warnings),
            "interval": {"level": LEVEL, "over": "groups", "resamples": self.resamples, "seed": self.seed},
        }


def _plain(figure: Estimate | None) -> dict[str, float] | None:
    return None if figure is None else figure.as_dict()
