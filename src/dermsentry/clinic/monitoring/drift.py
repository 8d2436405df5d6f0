"""Whether images still are like those the model was evaluated on: probability, refusal scores, quality.

Two comparisons, each saying what is compared with what:

- with the shares that the model's card has figures of: how many images it refuses as no lesion,
  how many it flags as out of distribution, and how many it alerts on (Fisher's exact test);
- with the clinic's own first photographs by the same model, since a card holds no distributions: the
  two-sample Kolmogorov–Smirnov test and the population stability index (Siddiqi, Credit Risk Scorecards,
  2006: below 0.1 little, above 0.25 much).

Both take photographs as independent, which those of one patient are not. A difference is not an error:
another season or referrer brings other lesions. It says that the card's figures may no longer apply here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermsentry.clinic.monitoring.estimates import Measure, share
from dermsentry.screening.triage import NO_LESION_LIMIT, OUT_OF_DISTRIBUTION_LIMIT

FIRST = 500
"""The clinic's first photographs by a model, which later ones are compared with."""
LEAST = 100
BINS = 10
LIKELY = 0.01
"""A chance below which a difference is told; six measures are looked at, so one in twenty would mislead."""
LITTLE, MUCH = 0.1, 0.25
MEASURES = ("melanoma", "no_lesion", "out_of_distribution", "sharpness", "brightness", "contrast")

# Score of a finding, its limit, the card's share above it, and what that means.
_SCORES = (
    ("no_lesion", NO_LESION_LIMIT, "held_out_refused", "refused as no lesion"),
    ("out_of_distribution", OUT_OF_DISTRIBUTION_LIMIT, "held_out_flagged", "flagged as out of distribution"),
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Compared:
    """A share here, and there, in what the card says it was measured on.

    `chance` is of a difference as large, by Fisher's exact test; None where there is nothing to compare.
    """

    name: str
    here: Measure
    there: float
    there_of: int
    measured_on: str
    chance: float | None
    differs: bool


@dataclass(frozen=True)
class Shift:
    """How far the distribution of one measure moved from the clinic's first photographs to the later ones.

    `distance` is Kolmogorov–Smirnov's, `chance` its p-value, `stability` the population stability index over
    ten bins of the first. `then` and `now` are the medians. None where there are too few.
    """

    name: str
    first: int
    later: int
    then: float | None
    now: float | None
    distance: float | None
    chance: float | None
    stability: float | None
    differs: bool
    remark: str


def compare_with_card(
    card: Mapping[str, Any], measures: Mapping[str, Floats], patients: Sequence[str]
) -> tuple[Compared, ...]:
    """The shares that a card has figures of; `measures` (n,) by the names of `MEASURES`, NaN for none."""
    found = []
    for name, limit, figure, words in _SCORES:
        known, scores = card.get(name), measures[name]
        if isinstance(known, Mapping):
            here = share(scores > limit, ~np.isnan(scores), patients, "no photograph was screened")
            there, of = float(known[figure]), int(known["held_out"])
            found.append(_compared(words, here, there, of, "validation"))
    melanoma = measures["melanoma"]
    threshold = float(card["thresholds"]["alert"]["value"])
    here = share(melanoma >= threshold, ~np.isnan(melanoma), patients, "no photograph was screened")
    found += [_compared("at or above the alert threshold", here, *there) for there in _alerted(card)]
    return tuple(found)


def shifts(measures: Mapping[str, Floats]) -> tuple[Shift, ...]:
    """How each measure moved; (n,) in the order the photographs were screened in, NaN where there is none."""
    return tuple(_shift(name, measures[name]) for name in MEASURES)


def stability(first: Floats, later: Floats) -> float:
    """The population stability index of two samples, over at most ten bins that the first fills evenly.

    Half a photograph is added to each bin, so that an empty one does not make it infinite.
    """
    edges = np.unique(np.quantile(first, np.arange(1, BINS) / BINS))
    old, new = (
        np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1) + 0.5
        for values in (first, later)
    )
    old, new = old / old.sum(), new / new.sum()
    return float(((new - old) * np.log(new / old)).sum())


def _shift(name: str, values: Floats) -> Shift:
    known = values[~np.isnan(values)]
    first, later = known[:FIRST], known[FIRST:]
    if len(later) < LEAST:
        remark = f"{len(known)} photographs; the first {FIRST} are compared with at least {LEAST} later ones"
        return Shift(name, len(first), len(later), None, None, None, None, None, False, remark)
    from scipy import stats  # takes half a second, and a server that nobody asks for figures needs none of it

    tested = stats.ks_2samp(first, later)
    distance, chance, index = float(tested.statistic), float(tested.pvalue), stability(first, later)
    differs = chance < LIKELY and index >= LITTLE
    word = "much" if index > MUCH else "somewhat"
    return Shift(
        name,
        len(first),
        len(later),
        float(np.median(first)),
        float(np.median(later)),
        distance,
        chance,
        index,
        differs,
        f"moved {word} since the first {len(first)} photographs" if differs else "",
    )


def _alerted(card: Mapping[str, Any]) -> Iterator[tuple[float, int, str]]:
    """The share alerted on in each set that the card's threshold was evaluated on, and its photographs."""
    for name, figures in card["evaluation"].items():
        if not isinstance(figures, Mapping) or not {"sensitivity", "specificity"} <= set(figures):
            continue
        number, melanomas = figures.get("photographs"), figures.get("melanomas")
        if not isinstance(number, int) or not isinstance(melanomas, int) or not 0 <= melanomas <= number > 0:
            continue
        found = figures["sensitivity"]["value"] * melanomas
        false = (1 - figures["specificity"]["value"]) * (number - melanomas)
        yield (found + false) / number, number, name


def _compared(name: str, here: Measure, there: float, of: int, measured_on: str) -> Compared:
    if not here.of:
        return Compared(name, here, there, of, measured_on, None, False)
    from scipy import stats

    hits = round(there * of)
    table = [[here.count, here.of - here.count], [hits, of - hits]]
    chance = float(stats.fisher_exact(table).pvalue)
    return Compared(name, here, there, of, measured_on, chance, chance < LIKELY)
