"""Whether a model serves some patients worse than others: melanoma's figures by age, sex, site and so on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from dermsentry.diagnoses import CODES, MELANOMA
from dermsentry.errors import InputError
from dermsentry.evaluation.measures import melanoma_truth, raises_alert
from dermsentry.evaluation.subgroups.attributes import ATTRIBUTES, proven, read_attributes
from dermsentry.stats.intervals import Estimate, combined, holm, mean_of, p_value
from dermsentry.stats.metrics import rank, recall_score
from dermsentry.stats.resampling import Resampler

Floats = NDArray[np.float64]
Truths = NDArray[np.bool_]

FEW = 10
"""Lesions of melanoma, or of others, below which no figure that needs them is stated."""

MANY = 12
"""Values of one attribute shown each for itself; the rarest beyond that are taken together."""

FIGURES = ("roc_auc", "sensitivity", "specificity")

NEVUS = "NV"
_MEL = CODES.index(MELANOMA)


@dataclass(frozen=True)
class Subgroup:
    """The photographs of one value, and melanoma's figures among them.

    `photographs` are those known to be a melanoma or not, `melanomas` the melanomas among them; `groups`,
    `melanoma_groups` and `other_groups` are lesions (groups of photographs) of all, of melanoma, of others.
    A figure is None where fewer than `FEW` of the lesions it needs are there; with `enough` none is for that
    reason. A `difference_…` is this subgroup less all others of known value; None where these are too few.
    """

    value: str
    photographs: int
    groups: int
    melanomas: int
    enough: bool
    roc_auc: Estimate | None
    sensitivity: Estimate | None
    specificity: Estimate | None
    difference_roc_auc: Estimate | None
    difference_sensitivity: Estimate | None
    difference_specificity: Estimate | None
    melanoma_groups: int
    other_groups: int


@dataclass(frozen=True)
class Attribute:
    """One way to divide the photographs, such as `age`; `note` says what is left out and its limits.

    `mean` is that of the subgroups' AUROC, each counting the same, and `worst` the value where it is lowest;
    None where fewer than two subgroups have one. `beyond_chance` holds, of each figure, the subgroups whose
    difference stays significant by Holm's method for as many as there are.
    """

    name: str
    groups: tuple[Subgroup, ...] = field(metadata={"json": "subgroups"})
    note: str

    derived: ClassVar = ("mean", "worst", "beyond_chance")

    @property
    def mean(self) -> Estimate | None:
        """The mean AUROC of the subgroups."""
        known = [group.roc_auc for group in self.groups if group.roc_auc is not None]
        return mean_of(known) if len(known) > 1 else None

    @property
    def worst(self) -> str | None:
        """The subgroup of the lowest AUROC."""
        known = {group.value: group.roc_auc.value for group in self.groups if group.roc_auc is not None}
        return min(known, key=known.__getitem__) if len(known) > 1 else None

    @property
    def beyond_chance(self) -> dict[str, tuple[str, ...]]:
        """By figure, the subgroups that differ from the others with p < 0.05, adjusted for their number."""
        found = {}
        for figure in FIGURES:
            apart = {
                group.value: difference
                for group in self.groups
                if (difference := getattr(group, f"difference_{figure}")) is not None
            }
            adjusted = holm([p_value(difference) for difference in apart.values()])
            found[figure] = tuple(value for value, p in zip(apart, adjusted, strict=True) if p < 0.05)
        return found


@dataclass(frozen=True)
class HardComparison:
    """Melanoma against the nevi that histology proved: those that somebody found suspicious enough to excise.

    `nevi` are photographs, `groups` lesions. Sensitivity is that of all photographs; `specificity` is the
    share of these nevi without an alert. A figure is None where fewer than `FEW` of the lesions it needs are
    there.
    """

    melanomas: int
    melanoma_groups: int
    nevi: int
    nevus_groups: int
    roc_auc: Estimate | None
    specificity: Estimate | None


def subgroups(
    table: pd.DataFrame,
    truth: Sequence[str],
    probability: ArrayLike,
    resampler: Resampler,
    *,
    threshold: float | None,
    skin_tone: Sequence[float | None] | None = None,
    by: str | None = None,
) -> tuple[Attribute, ...]:
    """Melanoma's AUROC, sensitivity and specificity in each subgroup, and how far it is from the others.

    Parameters
    ----------
    table
        One row for each of n photographs with the collection's columns `age` (years), `sex`, `site`,
        `source`, `skin_type` (Fitzpatrick); text, `""` unknown. A missing column is unknown throughout.
    truth
        Their labels; those of which it is unknown whether they are melanomas are left out.
    probability
        Shape (n, 9) by `diagnoses.CODES`.
    resampler
        Of the lesion or patient of each. Each resample measures every subgroup and its others, so that
        differences are paired.
    threshold
        The melanoma probability from which an alert is raised; None alerts where melanoma is the most
        probable class.
    skin_tone
        The individual typology angle of each in degrees, of `skin_tone.skin_tone`; None where unknown.
    by
        A further column of `table` to compare by.

    Returns
    -------
    tuple of Attribute
        `age`, `sex`, `site`, `source`, `skin tone`, `skin type`, `basis of diagnosis`, `image type` and `by`,
        without those of a single value.
        Intervals are those of `stats.intervals`; those of differences follow from them by `combined`.

    Raises
    ------
    InputError
        The lengths do not fit.
    """
    values = np.asarray(probability, dtype=np.float64)
    lengths = (len(table), len(truth), len(resampler), len(values))
    if len(set(lengths)) > 1 or values.shape[1:] != (len(CODES),):
        rows, labels, lesions, _ = lengths
        raise InputError(
            f"Received {rows} rows, {labels} labels, {lesions} groups and probabilities of shape "
            f"{values.shape}; expected one row, label and group for each photograph by {len(CODES)} classes."
        )
    if skin_tone is not None and len(skin_tone) != len(table):
        raise InputError(
            f"Received {len(skin_tone)} skin tones for {len(table)} photographs; expected as many."
        )
    melanoma, told = melanoma_truth(truth)
    if not told.any():
        return ()
    cases = _Cases(
        melanoma=melanoma[told],
        score=values[told, _MEL],
        alert=raises_alert(values[told], threshold),
        resampler=resampler.among(told),
    )
    attributes = []
    for name, read, order in read_attributes(table, skin_tone, by):
        attribute = _compare(name, [read[row] for row in np.flatnonzero(told)], order, cases)
        if attribute is not None:
            attributes.append(attribute)
    return tuple(attributes)


def hard_comparison(
    table: pd.DataFrame,
    truth: Sequence[str],
    probability: ArrayLike,
    resampler: Resampler,
    *,
    threshold: float | None,
) -> HardComparison | None:
    """Melanoma against nevi proven by histology, None without such; for the parameters see `subgroups`."""
    values = np.asarray(probability, dtype=np.float64)
    melanoma, _ = melanoma_truth(truth)
    nevi = np.array([label == NEVUS for label in truth]) & np.array(proven(table))
    if not nevi.any() or not melanoma.any():
        return None
    here = melanoma | nevi
    among = resampler.among(here)
    cases = _Cases(melanoma[here], values[here, _MEL], raises_alert(values[here], threshold), among)
    whole = np.ones(int(here.sum()), dtype=np.bool_)
    melanomas, others = cases.lesions(whole)
    found = among.measure(lambda weights: _measure(cases, whole, weights, (melanomas, others)))
    area, quiet = found.get("roc_auc"), found.get("specificity")
    return HardComparison(
        melanomas=int(melanoma.sum()),
        melanoma_groups=melanomas,
        nevi=int(nevi.sum()),
        nevus_groups=others,
        roc_auc=area and area.bounded(among.rarer(cases.melanoma)),
        specificity=quiet and quiet.proportion(others),
    )


def find_attribute(attributes: Sequence[Attribute], column: str) -> Attribute | None:
    """The comparison by a column of the collection's table; None where there was nothing to compare."""
    name = column.replace("_", " ") if column in ATTRIBUTES else column
    return next((attribute for attribute in attributes if attribute.name == name), None)


@dataclass(frozen=True, eq=False)
class _Cases:
    """The photographs known to be a melanoma or not, arrays (m,)."""

    melanoma: Truths
    score: Floats
    alert: Truths
    resampler: Resampler

    def lesions(self, here: Truths) -> tuple[int, int]:
        """How many lesions of melanoma and of others have a photograph in `here`, (m,)."""
        return self.resampler.count(here & self.melanoma), self.resampler.count(here & ~self.melanoma)


def _compare(name: str, values: Sequence[str], order: Sequence[str], cases: _Cases) -> Attribute | None:
    """An attribute's subgroups from each photograph's value (`""` unknown); None if it has a single one."""
    values, order = _joined(values, order)
    if len(order) < 2:
        return None
    value = np.array(values)
    known = value != ""
    parts: dict[str, Truths] = {}
    for number, one in enumerate(order):
        parts[f"{number}"], parts[f"not {number}"] = value == one, known & (value != one)
    lesions = {part: cases.lesions(here) for part, here in parts.items()}

    def measure(weights: Floats) -> dict[str, Floats]:
        return {
            f"{figure} {part}": found
            for part, here in parts.items()
            for figure, found in _measure(cases, here, weights, lesions[part]).items()
        }

    found = cases.resampler.measure(measure)

    def figure(name: str, part: str) -> Estimate | None:
        own, (melanomas, rest) = found.get(f"{name} {part}"), lesions[part]
        if own is None:
            return None
        if name == "roc_auc":
            here = parts[part]
            return own.bounded(cases.resampler.among(here).rarer(cases.melanoma[here]))
        return own.proportion(melanomas if name == "sensitivity" else rest)

    rows = []
    for number, one in enumerate(order):
        part, others = f"{number}", f"not {number}"
        here, (melanomas, rest) = parts[part], lesions[part]
        stated = {name: figure(name, part) for name in FIGURES}
        rows.append(
            Subgroup(
                value=one,
                photographs=int(here.sum()),
                groups=cases.resampler.count(here),
                melanomas=int((here & cases.melanoma).sum()),
                enough=min(melanomas, rest) >= FEW,
                **stated,
                **{f"difference_{name}": _difference(stated[name], figure(name, others)) for name in FIGURES},
                melanoma_groups=melanomas,
                other_groups=rest,
            )
        )
    return Attribute(name, tuple(rows), _note(name, int((~known).sum()), len(known)))


def _measure(cases: _Cases, here: Truths, weights: Floats, lesions: tuple[int, int]) -> dict[str, Floats]:
    """The figures that `here` has enough lesions for, each (r,), of weights (r, m)."""
    melanomas, others = (count >= FEW for count in lesions)
    own = weights[:, here]
    truth, alert = cases.melanoma[here], cases.alert[here]
    figures: dict[str, Floats] = {}
    if melanomas and others:
        figures["roc_auc"] = rank(truth, cases.score[here], sample_weight=own).roc_auc()
    if melanomas or others:
        recall = recall_score(truth, alert, labels=[False, True], sample_weight=own)
        figures |= {"sensitivity": recall[:, 1]} if melanomas else {}
        figures |= {"specificity": recall[:, 0]} if others else {}
    return figures


def _difference(one: Estimate | None, other: Estimate | None) -> Estimate | None:
    """A figure of a subgroup less that of its others, which are other lesions."""
    return None if one is None or other is None else combined((one, other), (1.0, -1.0))


def _joined(values: Sequence[str], order: Sequence[str]) -> tuple[list[str], list[str]]:
    """Values and their order without those that do not occur; beyond `MANY` the rarest are one."""
    counts = Counter(value for value in values if value)
    order = [value for value in order if counts[value]]
    if len(order) <= MANY:
        return list(values), order
    kept = {value for value, _ in counts.most_common(MANY - 1)}
    rest = f"{len(order) - len(kept)} others"
    joined = [value if not value or value in kept else rest for value in values]
    return joined, [*(value for value in order if value in kept), rest]


_BEWARE = {
    "skin tone": (
        "By the individual typology angle of the skin along each photograph's rim. It is not a measured skin "
        "type: light, white balance and polarisation, the dermatoscope's gel and pressure, and pigment or "
        "redness around the lesion move it by whole groups, and dermoscopy makes most skin look light. "
        "Read it as how light the skin looks in the photograph."
    ),
    "skin type": "Fitzpatrick's type, as the collection records it.",
    "basis of diagnosis": "As the collection records it: histopathology proves a diagnosis.",
    "image type": "Dermoscopic or clinical, as the collection records it.",
    "site": "Body sites as the ISIC Archive groups them, front, back and side of the torso together.",
    "source": "Sources differ in camera, clinic and patients, and often in the share of melanomas.",
}


def _note(name: str, unknown: int, total: int) -> str:
    left_out = "" if not unknown else f"Unknown for {unknown:,} of {total:,} photographs, which are left out."
    return " ".join(filter(None, (_BEWARE.get(name, ""), left_out)))
