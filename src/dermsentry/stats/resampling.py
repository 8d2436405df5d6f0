"""The bootstrap over groups: drawn once, used for every figure of an evaluation.

Photographs of one lesion or one patient are not independent, so what is drawn again is groups, never
photographs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from dermsentry.errors import InputError
from dermsentry.stats.intervals import (
    Estimate,
    combined,
    log_interval,
    logit_interval,
    percentile_interval,
    proportion_interval,
)

_BLOCK = 1_000_000  # weights held at once; keeps the memory of a bootstrap flat

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Mapping[str, Floats]]
"""Takes weights (r, n), how often each photograph occurs in each of r resamples, and gives named figures,
each of shape (r, ...); NaN where a resample has nothing to measure."""


def group_index(groups: Sequence[str]) -> NDArray[np.int64]:
    """Groups numbered 0, 1, …, shape (n,), in the order of their names."""
    return np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1].astype(np.int64)


def group_folds(
    groups: Sequence[str], positive: NDArray[np.bool_], folds: int, seed: int
) -> NDArray[np.int64]:
    """The fold of each photograph, (n,): groups at random, those with a positive dealt out first."""
    index = group_index(groups)
    number = int(index.max()) + 1
    order = np.random.default_rng(seed).permutation(number)
    with_positive = np.bincount(index, weights=positive, minlength=number) > 0
    order = order[np.argsort(~with_positive[order], kind="stable")]
    fold = np.empty(number, dtype=np.int64)
    fold[order] = np.arange(number) % min(folds, number)
    return fold[index]


@final
@dataclass(frozen=True, eq=False)
class Resampled:
    """A figure, and the same figure in each resample.

    `value` (...) is of the photographs themselves, `drawn` (r, ...) of the resamples.
    """

    value: Floats
    drawn: Floats

    def interval(self) -> Estimate | None:
        """A single figure with its percentile interval; see `intervals.percentile_interval`."""
        return percentile_interval(float(self.value), self.drawn)

    def proportion(self, independent: int) -> Estimate | None:
        """A share with its interval; see `intervals.proportion_interval`."""
        return proportion_interval(float(self.value), self.drawn, independent)

    def bounded(self, independent: float) -> Estimate | None:
        """A figure between 0 and 1 such as an AUROC; see `intervals.logit_interval`."""
        return logit_interval(float(self.value), self.drawn, independent)

    def loss(self, independent: float, most: float = math.inf) -> Estimate | None:
        """A figure from 0 to `most`, such as a log loss; see `intervals.log_interval`."""
        found = log_interval(float(self.value), self.drawn, independent)
        return found and replace(found, high=min(found.high, max(most, found.value)))

    def __truediv__(self, other: Resampled) -> Resampled:
        """The ratio of two figures of the same resamples: paired."""
        return Resampled(self.value / other.value, self.drawn / other.drawn)


def correlation_of(figures: Sequence[Resampled]) -> Floats:
    """The correlation of figures of the same resamples, (k, k); 0 where one of two never changes."""
    drawn = np.stack([figure.drawn for figure in figures])
    drawn = drawn[:, ~np.isnan(drawn).any(axis=0)]
    found = np.eye(len(figures))
    changes = np.ptp(drawn, axis=1) > 1e-9 if drawn.size else np.zeros(len(figures), np.bool_)
    if changes.sum() > 1:
        found[np.ix_(changes, changes)] = np.corrcoef(drawn[changes])
    return found


def paired_difference(one: tuple[Resampled, Estimate], other: tuple[Resampled, Estimate]) -> Estimate:
    """`one` less `other`, each with its interval, of the same resamples; see `intervals.combined`."""
    return combined((one[1], other[1]), (1.0, -1.0), correlation_of((one[0], other[0])))


@dataclass(frozen=True, eq=False)
class Resampler:
    """Draws the groups of n photographs again with replacement.

    Parameters
    ----------
    groups
        The group of each photograph.
    resamples
        How often to draw; at least 2, better 1000.
    seed
        The same seed gives the same draws, whatever is measured on them.

    Raises
    ------
    InputError
        Fewer than 2 resamples, or no photographs.
    """

    groups: Sequence[str]
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resamples < 2:
            raise InputError(f"Received {self.resamples} resamples; expected at least 2, better 1000.")
        if not len(self.groups):
            raise InputError("Received no photographs to draw from; expected at least one.")

    def __len__(self) -> int:
        return len(self.groups)

    @cached_property
    def index(self) -> NDArray[np.int64]:
        """Each photograph's group as a number, (n,)."""
        return group_index(self.groups)

    def count(self, here: NDArray[np.bool_] | None = None) -> int:
        """How many groups there are, or how many have a photograph in `here`, (n,)."""
        return len(np.unique(self.index if here is None else self.index[here]))

    def effective(self, here: NDArray[np.bool_]) -> float:
        """The effective number of groups in `here`, (n,): as many as there are if all are of one size.

        Kish, Survey Sampling (1965), section 11.7: the squared sum of their sizes by the sum of the squares.
        """
        sizes = np.unique(self.index[here], return_counts=True)[1].astype(np.float64)
        return float(sizes.sum() ** 2 / (sizes**2).sum()) if len(sizes) else 0.0

    def rarer(self, here: NDArray[np.bool_]) -> float:
        """The effective number of groups in `here` or outside of it, whichever is less."""
        return min(self.effective(here), self.effective(~here))

    def among(self, here: NDArray[np.bool_] | NDArray[np.int64]) -> Resampler:
        """The same of the photographs `here`, a mask (n,) or rising rows; itself where these are all.

        Raises InputError where there are none.
        """
        own = np.asarray(self.groups, dtype=str)[here].tolist()
        return self if len(own) == len(self) else Resampler(own, self.resamples, self.seed)

    def measure(self, statistic: Statistic) -> dict[str, Resampled]:
        """Each figure of `statistic`, of the photographs themselves and of every resample."""
        found = statistic(np.ones((1, len(self))))
        parts: dict[str, list[Floats]] = {name: [] for name in found}
        step = max(1, _BLOCK // len(self))
        for start in range(0, self.resamples, step):
            weights = self._counts[start : start + step][:, self.index].astype(np.float64)
            for name, values in statistic(weights).items():
                parts[name].append(values)
        return {name: Resampled(value[0], np.concatenate(parts[name])) for name, value in found.items()}

    def mean(self, values: NDArray[Any]) -> Resampled:
        """The mean of a value per photograph, (n,), without those that are NaN; NaN where all are."""
        known = ~np.isnan(values)
        own = np.where(known, values, 0.0)

        def statistic(weights: Floats) -> dict[str, Floats]:
            total, count = weights @ own, weights @ known
            nothing = np.full(len(total), np.nan)
            return {"mean": np.divide(total, count, out=nothing, where=count > 0)}

        return self.measure(statistic)["mean"]

    @cached_property
    def _counts(self) -> NDArray[np.uint8]:
        """How often each group occurs in each resample, (resamples, groups)."""
        number = int(self.index.max()) + 1
        rng = np.random.default_rng(self.seed)
        counts = np.empty((self.resamples, number), dtype=np.uint8)
        step = max(1, _BLOCK // number)
        for start in range(0, self.resamples, step):
            rows = min(step, self.resamples - start)
            drawn = rng.integers(0, number, size=(rows, number)) + number * np.arange(rows)[:, None]
            own = np.bincount(drawn.ravel(), minlength=rows * number)
            counts[start : start + rows] = own.reshape(rows, number)
        return counts
