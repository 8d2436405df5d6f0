"""Figures of a clinic's own cases: each with its interval, what it was counted from, whether that is little.

Photographs of one patient are not independent: patients are drawn again, never photographs, and an interval
is never narrower than the exact one of as many patients (`dermsentry.stats.intervals`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, computed_field

from dermsentry.stats.intervals import Estimate, percentile_interval, proportion_interval
from dermsentry.stats.resampling import group_index

FEW = 30
"""Patients below which a figure is said to rest on few: one more would move a share by over three points."""
RESAMPLES = 1000

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Measure:
    """A figure with its 95 % interval, and what it was counted from.

    `estimate` is None where there is nothing to measure; `count` of `of` cases, of `patients` patients.
    `remark` says what is missing or too little, empty where nothing is. The API gives the estimate's three
    numbers beside the others; `high` is null where there is no upper end.
    """

    estimate: Annotated[Estimate | None, Field(exclude=True)]
    count: int
    of: int
    patients: int
    remark: str = ""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def value(self) -> float | None:
        """The figure itself."""
        return self.estimate.value if self.estimate is not None else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def low(self) -> float | None:
        """The interval's lower end."""
        return self.estimate.low if self.estimate is not None else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def high(self) -> float | None:
        """The interval's upper end."""
        return None if self.estimate is None or math.isinf(self.estimate.high) else self.estimate.high


def share(hit: Flags, among: Flags, patients: Sequence[str], nothing: str) -> Measure:
    """The share of the cases `among` that are `hit`, (n,) each; `nothing` is the remark where none is."""
    here = np.flatnonzero(among).tolist()
    count, of = int((hit & among).sum()), len(here)
    if not of:
        return Measure(None, 0, 0, 0, nothing)
    group = group_index([patients[i] for i in here])
    number = int(group.max()) + 1
    per_patient = np.stack(
        [np.bincount(group, hit[here].astype(float)), np.bincount(group).astype(float)], axis=1
    )
    drawn = redraw(per_patient)
    interval = proportion_interval(count / of, drawn[:, 0] / drawn[:, 1], number)
    return Measure(interval, count, of, number, _few(number))


def inverse(measure: Measure, nothing: str) -> Measure:
    """One over a share, as cases needed for one hit; `nothing` is the remark where there was no hit."""
    own = measure.estimate
    if own is None or not own.value:
        return replace(measure, estimate=None, remark=measure.remark or nothing)
    turned = Estimate(1 / own.value, 1 / own.high, 1 / own.low if own.low else math.inf)
    return replace(measure, estimate=turned)


def kappa(
    first: Sequence[str], second: Sequence[str], classes: Sequence[str], patients: Sequence[str], nothing: str
) -> Measure:
    """Cohen's kappa of two raters of n cases: agreement beyond what their habits give by chance.

    Cohen, Educational and Psychological Measurement 20 (1960). `count` is how many cases they agree on. Not
    defined where a rater used a single class: chance then explains all agreement, whatever the other said.
    The interval covers the bootstrap's and the exact one of the observed agreement, with chance agreement as
    it was found, so that 5 of 5 is not certain.
    """
    if not first:
        return Measure(None, 0, 0, 0, nothing)
    agreed = sum(a == b for a, b in zip(first, second, strict=True))
    group = group_index(patients)
    number = int(group.max()) + 1
    if 1 in (len(set(first)), len(set(second))):
        who = "both used" if len({*first, *second}) == 1 else "one of the two used"
        return Measure(None, agreed, len(first), number, f"not defined: {who} a single diagnosis")
    place = {name: i for i, name in enumerate(classes)}
    cell = np.array([place[a] * len(classes) + place[b] for a, b in zip(first, second, strict=True)])
    per_patient = np.zeros((number, len(classes) ** 2))
    np.add.at(per_patient, (group, cell), 1.0)
    drawn = np.vstack([per_patient.sum(axis=0), redraw(per_patient)])
    observed, chance, values = _kappa(drawn)
    value = float(values[0])
    bootstrap = percentile_interval(value, values[1:])
    exact = proportion_interval(float(observed[0]), observed[1:], number)
    assert bootstrap is not None
    assert exact is not None
    low, high = ((end - chance[0]) / (1 - chance[0]) for end in (exact.low, exact.high))
    interval = Estimate(
        value, max(-1.0, min(bootstrap.low, float(low))), min(1.0, max(bootstrap.high, float(high)))
    )
    return Measure(interval, agreed, len(first), number, _few(number))


def redraw(per_patient: Floats, *, resamples: int = RESAMPLES) -> Floats:
    """Sums over as many patients drawn with replacement: (patients, k) to (resamples, k).

    As `stats.resampling.Resampler` draws them. Patients with the same counts are alike, so that drawing how
    many of each kind there are (a multinomial) is the same and takes no longer for 100,000 of them.
    """
    kinds, counts = np.unique(per_patient, axis=0, return_counts=True)
    drawn = np.random.default_rng(0).multinomial(len(per_patient), counts / len(per_patient), size=resamples)
    sums: Floats = drawn @ kinds
    return sums


def _kappa(cells: Floats) -> tuple[Floats, Floats, Floats]:
    """Observed agreement, agreement by chance, and kappa, (r,) each, of tables of counts (r, k²).

    Kappa is NaN where chance alone explains everything.
    """
    side = round(cells.shape[1] ** 0.5)
    tables = cells.reshape(-1, side, side)
    tables = tables / tables.sum(axis=(1, 2), keepdims=True)
    observed = np.trace(tables, axis1=1, axis2=2)
    expected = (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1)
    out = np.full(len(tables), np.nan)
    np.divide(observed - expected, 1 - expected, out=out, where=expected < 1 - 1e-12)
    return observed, expected, out


def _few(patients: int) -> str:
    many = "patient" if patients == 1 else "patients"
    return f"only {patients} {many}, too few to rely on" if patients < FEW else ""
