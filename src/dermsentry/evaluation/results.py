"""What an evaluation holds: figures with intervals, and what `evaluation.json` makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dermsentry.diagnoses import CODES, MELANOMA, name_of
from dermsentry.evaluation.clinical_utility.decision_curve import DecisionCurve
from dermsentry.evaluation.clinical_utility.operating_point import FrozenThreshold
from dermsentry.evaluation.clinical_utility.prevalence import PriorShift
from dermsentry.evaluation.clinical_utility.worklist import Worklist
from dermsentry.evaluation.measures import melanoma_truth
from dermsentry.evaluation.refusal import Refusal
from dermsentry.evaluation.robustness.stability import Robustness
from dermsentry.evaluation.saliency.localisation import SaliencyCheck
from dermsentry.evaluation.saliency.surround import Surroundings
from dermsentry.evaluation.subgroups.comparison import Attribute, HardComparison
from dermsentry.files import plain
from dermsentry.stats.calibration import CalibrationTest
from dermsentry.stats.intervals import LEVEL, Estimate, provable
from dermsentry.stats.numbers import Unit, counted_units, decimal_interval, percent_interval
from dermsentry.stats.prevalence import ClinicalValue

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 3
_ELSEWHERE: dict[str, Any] = {"json": None}
OVERALL = (
    "accuracy",
    "balanced_accuracy",
    "roc_auc",
    "average_precision",
    "log_loss",
    "brier_score",
    "calibration_error",
)
"""The figures of all classes together."""


@dataclass(frozen=True)
class ClassFigures:
    """One class: how many photographs and groups it has, how many were predicted as it, and how well.

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

    derived: ClassVar = ("name",)

    @property
    def name(self) -> str:
        """The class in words."""
        return name_of(self.label)


@dataclass(frozen=True)
class AlertDecision:
    """What one rule of alerting does.

    The rule: alert where the melanoma probability reaches `threshold`, or with None where melanoma has the
    largest probability of all. `detected` melanoma photographs raise an alert, `alerts` of all do.
    """

    threshold: float | None
    detected: int
    alerts: int
    sensitivity: Estimate | None
    specificity: Estimate | None
    positive_predictive_value: Estimate | None
    negative_predictive_value: Estimate | None

    derived: ClassVar = ("rule",)

    def uniform(self, photographs: int) -> Literal["all", "none", ""]:
        """Whether all of several photographs raise an alert, or none, so that nothing is told apart."""
        if photographs < 2 or 0 < self.alerts < photographs:
            return ""
        return "all" if self.alerts else "none"

    @property
    def rule(self) -> str:
        """The rule in words."""
        return "largest probability" if self.threshold is None else "threshold"


@dataclass(frozen=True)
class SpecificityAtSensitivity:
    """The best specificity that still finds `sensitivity` of these melanomas, at `threshold`.

    The threshold is chosen on the photographs that it is evaluated on: a property of the ranking, not a
    promise for other photographs. `specificity` is None where it cannot be estimated, for the `reason` given.
    """

    sensitivity: float
    threshold: float
    specificity: Estimate | None
    reason: str = ""


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
    calibration_test: CalibrationTest | None
    decisions: tuple[AlertDecision, ...]
    at_sensitivity: tuple[SpecificityAtSensitivity, ...] = field(
        metadata={"json": "specificity_at_sensitivity"}
    )

    derived: ClassVar = ("provable_sensitivity",)

    @property
    def provable_sensitivity(self) -> float:
        """The sensitivity that finding every one of these melanomas would prove."""
        return provable(self.groups)


@dataclass(frozen=True)
class ConfusionMatrix:
    """Photographs by true class (`rows`) and predicted class, both in the order of `labels`."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    rows: str = "true"


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Predictions measured against the truth, every figure with its interval.

    Parameters
    ----------
    photographs, unknown
        Photographs of known diagnosis, which everything is measured on, and those of unknown, left out.
    accuracy, balanced_accuracy, roc_auc, average_precision, log_loss, brier_score, calibration_error, \
calibration_test
        Of all classes; None where there is nothing to measure. `balanced_accuracy`, `roc_auc` (each class
        against the rest) and `average_precision` are means over the classes that have photographs;
        calibration is of the probability of the predicted class.
    classes, confusion_matrix
        All classes that the truth can tell apart, those without photographs too.
    melanoma
        Melanoma against everything else.
    warnings
        What to know before quoting a figure, a sentence each.
    threshold
        The melanoma probability from which a photograph raises an alert; None: where melanoma is the most
        probable class.
    resamples, seed
        Of the bootstrap over groups.
    truth, probability, group
        The label, the nine probabilities (n, 9) by `diagnoses.CODES` and the group of each photograph.
    operating_point
        The threshold beside the one that these photographs would have called for; None without a threshold.
    clinical_value
        What alerts are worth at each prevalence.
    worklists
        The share of the melanomas in the first parts of a worklist at each prevalence.
    decision_curve
        The net benefit of acting on the probabilities; None without melanomas or without others.
    prior_shift
        Calibration and net benefit at the prevalence that was asked for.
    subgroups, hard_comparison, robustness, saliency, surroundings, refusal
        There where they were measured: see `evaluate`.
    unit
        What a group is: `lesion`, `patient`, either of them, a `distinct photograph` where neither is known,
        or `group` for predictions from anywhere.
    about
        The model, data, threshold, unreadable photographs and versions; empty for predictions from anywhere.

    Examples
    --------
    >>> import dermsentry, pandas
    >>> collection = dermsentry.read_collection("photographs")
    >>> table = pandas.DataFrame({"image": [path.stem for path in collection.paths]})
    >>> table["melanoma"] = table.index % 10 / 10
    >>> table.to_csv("table.csv", index=False)
    >>> evaluation = dermsentry.evaluate_table("table.csv", collection, threshold=0.5)
    >>> evaluation.photographs, evaluation.melanoma.photographs
    (23, 2)
    >>> evaluation.decision.detected, evaluation.decision.alerts
    (1, 10)
    >>> evaluation.warnings[0].partition(":")[0]
    'The predictions come from a table'
    """

    photographs: int
    unknown: int = field(metadata={"json": "unknown_diagnosis"})
    accuracy: Estimate | None
    balanced_accuracy: Estimate | None
    roc_auc: Estimate | None
    average_precision: Estimate | None
    log_loss: Estimate | None
    brier_score: Estimate | None
    calibration_error: Estimate | None
    calibration_test: CalibrationTest | None
    classes: tuple[ClassFigures, ...]
    confusion_matrix: ConfusionMatrix
    melanoma: MelanomaFigures
    warnings: tuple[str, ...]
    threshold: float | None = field(metadata=_ELSEWHERE)
    resamples: int = field(metadata=_ELSEWHERE)
    seed: int = field(metadata=_ELSEWHERE)
    truth: tuple[str, ...] = field(metadata=_ELSEWHERE)
    probability: NDArray[np.float64] = field(compare=False, metadata=_ELSEWHERE)
    group: tuple[str, ...] = field(metadata=_ELSEWHERE)
    operating_point: FrozenThreshold | None = None
    clinical_value: tuple[ClinicalValue, ...] = ()
    worklists: tuple[Worklist, ...] = ()
    decision_curve: DecisionCurve | None = field(default=None, compare=False)
    prior_shift: PriorShift | None = field(default=None, compare=False, metadata={"json": "at_prevalence"})
    subgroups: tuple[Attribute, ...] = ()
    hard_comparison: HardComparison | None = None
    robustness: Robustness | None = None
    saliency: SaliencyCheck | None = field(default=None, metadata={"json": "explanation"})
    surroundings: Surroundings | None = None
    refusal: Refusal | None = None
    unit: Unit = "group"
    about: Mapping[str, Any] = field(default_factory=dict, metadata=_ELSEWHERE)

    derived: ClassVar = ("groups", "interval")

    @property
    def groups(self) -> int:
        """How many groups (lesions or patients) the photographs are of."""
        return len(set(self.group))

    @property
    def interval(self) -> Mapping[str, Any]:
        """How the intervals were made."""
        return {"level": LEVEL, "over": "groups", "resamples": self.resamples, "seed": self.seed}

    @property
    def overall(self) -> dict[str, Estimate | None]:
        """The figures of all classes by name, those of `OVERALL`."""
        return {name: getattr(self, name) for name in OVERALL}

    @property
    def is_melanoma(self) -> NDArray[np.bool_]:
        """Whether each photograph is a melanoma, (n,)."""
        return melanoma_truth(self.truth)[0]

    @property
    def may_be_melanoma(self) -> NDArray[np.bool_]:
        """Of which photographs it is not known whether they are melanomas, such as `MEL|NV`, (n,)."""
        return ~melanoma_truth(self.truth)[1]

    @property
    def melanoma_probability(self) -> NDArray[np.float64]:
        """What the model gives for melanoma, (n,)."""
        return np.asarray(self.probability[:, CODES.index(MELANOMA)])

    @property
    def decision(self) -> AlertDecision:
        """What the alert rule does: that of the threshold if one was given, else the largest probability."""
        return self.melanoma.decisions[-1]

    @property
    def sensitivity(self) -> Estimate | None:
        """Share of melanomas that raise an alert."""
        return self.decision.sensitivity

    @property
    def specificity(self) -> Estimate | None:
        """Share of the others that raise none."""
        return self.decision.specificity

    def as_dict(self) -> dict[str, Any]:
        """The fields of `evaluation.json`, all of them plain values."""
        return {"schema": SCHEMA, **plain(self.about), **plain(self)}

    def to_frame(self) -> pd.DataFrame:
        """The figures as a table: `name`, `value`, `low`, `high`, one row per figure that was measured."""
        import pandas as pd

        parts: list[tuple[str, Any]] = [
            ("", self),
            ("melanoma ", self.decision),
            ("melanoma ", self.melanoma),
        ]
        parts += [(f"{figures.label} ", figures) for figures in self.classes]
        rows = [
            (of + own.name, figure.value, figure.low, figure.high)
            for of, record in parts
            for own in fields(record)
            if isinstance(figure := getattr(record, own.name), Estimate)
        ]
        return pd.DataFrame(rows, columns=["name", "value", "low", "high"])

    def __repr__(self) -> str:
        return (
            f"Evaluation({self.photographs:,} photographs of {counted_units(self.groups, self.unit)}, "
            f"{self.melanoma.photographs:,} melanomas: sensitivity {percent_interval(self.sensitivity)}, "
            f"specificity {percent_interval(self.specificity)}, "
            f"AUROC {decimal_interval(self.melanoma.roc_auc)})"
        )

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>{self.to_frame().round(3).to_html(index=False)}"
