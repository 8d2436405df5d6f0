"""What an adoption found: the promise, the figures before and after, and what `adoption.json` holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from dermsentry.adoption.promise import Demand
from dermsentry.stats.calibration import ReliabilityBin
from dermsentry.stats.intervals import Estimate
from dermsentry.stats.numbers import percent_as_given, percent_interval
from dermsentry.stats.prevalence import ClinicalValue

SCHEMA = 1


@dataclass(frozen=True)
class Counts:
    """What the photographs are.

    `given`: files. `unreadable` could not be read; `copies` are of a photograph that is there already,
    `contradicted` are photographs whose copies carry different diagnoses, `unknown` have no diagnosis that
    says whether it is a melanoma: all of these are left out. `refused` are those that the model cannot assess
    whatever their probability, `refused_melanomas` the melanomas among them: a person sees them anyway, so
    they are in no figure. `out_of_distribution` are those that show no lesion, or one unlike the training
    images. `melanomas` and `others` are photographs that are assessed, of `melanoma_groups` and `groups`
    lesions or patients.
    """

    given: int
    unreadable: int
    copies: int
    contradicted: int
    unknown: int
    refused: int
    refused_melanomas: int
    out_of_distribution: int
    melanomas: int
    others: int
    melanoma_groups: int
    groups: int


@dataclass(frozen=True)
class Figures:
    """How the alerts and the melanoma probability do on the site's photographs; None: nothing to measure.

    `alerts`: the share of photographs that raise one. `value`: what an alert is worth at the prevalence.
    `reliability`: ten bins of equally many photographs, the stated probability of melanoma against the share.
    """

    sensitivity: Estimate | None
    specificity: Estimate | None
    alerts: Estimate | None
    calibration_error: Estimate | None
    brier_score: Estimate | None
    log_loss: Estimate | None
    value: ClinicalValue | None
    reliability: tuple[ReliabilityBin, ...] = ()


@dataclass(frozen=True)
class Cut:
    """A threshold: its value before and now, each on its bundle's scale, and why it is what it is.

    `rarer`: whether it is reached by fewer photographs than before. `found` of `melanomas` independent ones
    reach it, those that chose it.
    """

    before: float
    now: float
    sensitivity_target: float
    reason: Literal["promised", "kept", "lowered"]
    rarer: bool
    found: int
    melanomas: int


@dataclass(frozen=True)
class PrevalenceEstimate:
    """The share of melanomas that unlabelled photographs suggest; see `prior_shift.estimate_prevalence`.

    `stated_for`: the share that the bundle's probabilities were stated for.
    """

    estimate: Estimate
    stated_for: float


@dataclass(frozen=True)
class Adoption:
    """What adopting a bundle on a site's photographs found.

    Parameters
    ----------
    parent
        `name` and `digest` of the bundle it came from.
    counts
        What the photographs are.
    prevalence
        The share of melanomas that probabilities and the worth of an alert are stated for; None if unknown.
    demand
        The sensitivity to be promised, and whether so many melanomas allow it; None without labels.
    slope, intercept
        What the logit of melanoma's probability is multiplied by and moved by.
    alert, refer
        The thresholds; None where nothing was adopted.
    before
        The figures of the bundle as it came; None without labels.
    after
        The figures of the site bundle, on photographs that neither calibrated nor chose the threshold (ten
        folds over groups); None without labels, or where nothing was adopted.
    estimated
        Without labels: the share of melanomas that the photographs suggest.
    warnings
        What to know before relying on it, in sentences.
    refusal
        Why no site bundle was made, in a line; empty where it was.
    seed
        Random seed of the folds and of the bootstrap.
    about
        What was adopted on, and with which versions.
    bundle
        The folder of the site bundle; None where none was written.
    schema
        Number of the schema of `adoption.json`, set by this version.

    Examples
    --------
    >>> import dermsentry
    >>> adoption = dermsentry.adopt("dermoscopy", "photographs/Train")  # no labels: nothing is promised
    >>> adoption.counts.given, adoption.promised, adoption.bundle
    (54, False, None)
    >>> adoption.warnings[0]
    '3 photographs could not be read and were left out.'
    """

    parent: Mapping[str, str]
    counts: Counts
    prevalence: float | None
    demand: Demand | None
    slope: float
    intercept: float
    alert: Cut | None
    refer: Cut | None
    before: Figures | None
    after: Figures | None
    estimated: PrevalenceEstimate | None
    warnings: tuple[str, ...]
    refusal: str
    seed: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)
    bundle: Path | None = field(default=None, metadata={"json": None})
    schema: int = field(init=False, default=SCHEMA)

    derived: ClassVar = ("promised",)

    @property
    def promised(self) -> bool:
        """Whether the alert threshold keeps the demanded sensitivity with the demanded confidence."""
        return self.demand is not None and not self.refusal

    def __repr__(self) -> str:
        if self.demand is None:
            found = self.estimated and percent_interval(self.estimated.estimate)
            return f"Adoption(of {self.parent['name']}, without labels: {found or 'no'} melanomas estimated)"
        wanted = percent_as_given(self.demand.sensitivity)
        kept = f"sensitivity {wanted} promised" if self.promised else "nothing promised"
        return f"Adoption(of {self.parent['name']}, {self.demand.melanomas} melanomas: {kept})"
