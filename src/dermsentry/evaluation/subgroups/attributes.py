"""Whether a model serves some patients worse than others: melanoma's figures by age, sex, site and so on."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from dermsentry.diagnoses import CODES, MELANOMA, codes_of
from dermsentry.errors import InputError
from dermsentry.evaluation.subgroups.skin_tone import TONES, tone_of
from dermsentry.stats.intervals import (
    Estimate,
    bootstrap,
    exact_binomial,
    group_index,
    percentile_interval,
    proportion_interval,
)
from dermsentry.stats.metrics import rank, recall_score

Floats = NDArray[np.float64]
Truths = NDArray[np.bool_]

FEW = 10
"""Lesions of melanoma, or of others, below which no figure that needs them is stated."""

MANY = 12
"""Values of one attribute shown each for itself; the rarest beyond that are taken together."""

_MEL = CODES.index(MELANOMA)
_FIGURES = ("roc_auc", "sensitivity", "specificity")


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

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        figures = {name: getattr(self, name) for name in (*_FIGURES, *(f"difference_{f}" for f in _FIGURES))}
        return {
            "value": self.value,
            "photographs": self.photographs,
            "groups": self.groups,
            "melanomas": self.melanomas,
            "melanoma_groups": self.melanoma_groups,
            "other_groups": self.other_groups,
            "enough": self.enough,
            **{name: None if figure is None else figure.as_dict() for name, figure in figures.items()},
        }


@dataclass(frozen=True)
class Attribute:
    """One way to part the photographs, such as `age`; `note` says what is left out and what to beware of."""

    name: str
    groups: tuple[Subgroup, ...]
    note: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"name": self.name, "note": self.note, "subgroups": [group.as_dict() for group in self.groups]}


def subgroups(
    table: pd.DataFrame,
    truth: Sequence[str],
    probability: ArrayLike,
    groups: Sequence[str],
    *,
    threshold: float | None,
    skin_tone: Sequence[float | None] | None = None,
    seed: int = 0,
    resamples: int = 1000,
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
    groups
        The lesion or patient of each; the bootstrap draws these, and each resample measures every subgroup
        and its others, so that differences are paired.
    threshold
        The melanoma probability from which an alert is raised; None alerts where melanoma is the most
        probable class.
    skin_tone
        The individual typology angle of each in degrees, of `skin_tone.skin_tone`; None where unknown.
    seed, resamples
        Of the bootstrap.

    Returns
    -------
    tuple of Attribute
        `age`, `sex`, `site`, `source`, `skin tone`, `skin type`, without those that have a single value.
        Intervals of shares are never narrower than the exact ones of as many independent lesions. Those of
        their differences are never narrower than what follows from these by the method of variance estimates
        recovery: Zou & Donner, Statistics in Medicine 27 (2008), eq. 6.

    Raises
    ------
    InputError
        The lengths do not fit.
    """
    values = np.asarray(probability, dtype=np.float64)
    lengths = (len(table), len(truth), len(groups), len(values))
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
    told = np.array(
        [bool(label) and (label == MELANOMA or MELANOMA not in codes_of(label)) for label in truth], np.bool_
    )
    if not told.any():
        return ()
    alert = values.argmax(axis=1) == _MEL if threshold is None else values[:, _MEL] >= threshold
    photographs = _Photographs(
        melanoma=np.array([label == MELANOMA for label in truth], np.bool_)[told],
        score=values[told, _MEL],
        alert=alert[told],
        lesions=tuple(group for group, here in zip(groups, told, strict=True) if here),
    )
    attributes = []
    for name, read, order in _attributes(table, skin_tone):
        sorted_in = [value for value, here in zip(read, told, strict=True) if here]
        attribute = _attribute(name, sorted_in, order, photographs, seed, resamples)
        if attribute is not None:
            attributes.append(attribute)
    return tuple(attributes)


@dataclass(frozen=True, eq=False)
class _Photographs:
    """The photographs known to be a melanoma or not, arrays (m,)."""

    melanoma: Truths
    score: Floats
    alert: Truths
    lesions: tuple[str, ...]


def _attribute(
    name: str, values: Sequence[str], order: Sequence[str], judged: _Photographs, seed: int, resamples: int
) -> Attribute | None:
    """An attribute's subgroups from each photograph's value (`""` unknown); None if it has a single one."""
    values, order = _joined(values, order)
    if len(order) < 2:
        return None
    value = np.array(values)
    known = value != ""
    lesion = group_index(judged.lesions)

    def lesions(here: Truths) -> int:
        return len(np.unique(lesion[here]))

    parts: dict[str, Truths] = {}
    for number, one in enumerate(order):
        parts[f"{number}"], parts[f"not {number}"] = value == one, known & (value != one)
    enough = {
        part: (lesions(here & judged.melanoma) >= FEW, lesions(here & ~judged.melanoma) >= FEW)
        for part, here in parts.items()
    }

    def measure(weights: Floats) -> dict[str, Floats]:
        return {
            f"{figure} {part}": found
            for part, here in parts.items()
            for figure, found in _measure(judged, here, weights, *enough[part]).items()
        }

    found = {key: float(one[0]) for key, one in measure(np.ones((1, len(value)))).items()}
    drawn = bootstrap(judged.lesions, measure, resamples=resamples, seed=seed) if found else {}
    figures = _Figures(found, drawn)
    rows = []
    for number, one in enumerate(order):
        part = f"{number}"
        here, others = parts[part], parts[f"not {part}"]
        melanomas, rest = lesions(here & judged.melanoma), lesions(here & ~judged.melanoma)
        sensitivity = (melanomas, lesions(others & judged.melanoma))
        specificity = (rest, lesions(others & ~judged.melanoma))
        rows.append(
            Subgroup(
                value=one,
                photographs=int(here.sum()),
                groups=lesions(here),
                melanomas=int((here & judged.melanoma).sum()),
                enough=all(enough[part]),
                roc_auc=figures.of("roc_auc", part),
                sensitivity=figures.of("sensitivity", part, sensitivity[0]),
                specificity=figures.of("specificity", part, specificity[0]),
                difference_roc_auc=figures.difference("roc_auc", part),
                difference_sensitivity=figures.difference("sensitivity", part, sensitivity),
                difference_specificity=figures.difference("specificity", part, specificity),
                melanoma_groups=melanomas,
                other_groups=rest,
            )
        )
    return Attribute(name, tuple(rows), _note(name, int((~known).sum()), len(known)))


def _measure(
    judged: _Photographs, here: Truths, weights: Floats, melanomas: bool, others: bool
) -> dict[str, Floats]:
    """The figures that `here` has enough lesions for, each (r,), of weights (r, m)."""
    own = weights[:, here]
    truth, alert = judged.melanoma[here], judged.alert[here]
    figures: dict[str, Floats] = {}
    if melanomas and others:
        figures["roc_auc"] = rank(truth, judged.score[here], sample_weight=own).roc_auc()
    if melanomas or others:
        recall = recall_score(truth, alert, labels=[False, True], sample_weight=own)
        figures |= {"sensitivity": recall[:, 1]} if melanomas else {}
        figures |= {"specificity": recall[:, 0]} if others else {}
    return figures


@dataclass(frozen=True)
class _Figures:
    """Figures by `name part`: as found, and as drawn in each resample."""

    found: Mapping[str, float]
    drawn: Mapping[str, Floats]

    def of(self, name: str, part: str, independent: int = 0) -> Estimate | None:
        """A figure of a part; a share if a number of independent lesions is given."""
        key = f"{name} {part}"
        if key not in self.found:
            return None
        return proportion_interval(self.found[key], self.drawn[key], independent)

    def difference(self, name: str, part: str, independent: tuple[int, int] = (0, 0)) -> Estimate | None:
        """A figure of a part less that of its others."""
        one, other = f"{name} {part}", f"{name} not {part}"
        if one not in self.found or other not in self.found:
            return None
        value = self.found[one] - self.found[other]
        first = percentile_interval(value, self.drawn[one] - self.drawn[other])
        if first is None or not all(independent):
            return first
        exact = [
            exact_binomial(min(1.0, self.found[key]) * lesions, lesions)
            for key, lesions in zip((one, other), independent, strict=True)
        ]
        wider = difference_of_shares(*exact)
        return Estimate(value, min(first.low, wider.low), max(first.high, wider.high))


def difference_of_shares(one: Estimate, other: Estimate) -> Estimate:
    """`one` less `other`, its interval from those of two independent shares: Zou & Donner (2008), eq. 6."""
    value = one.value - other.value
    low = math.hypot(one.value - one.low, other.high - other.value)
    high = math.hypot(one.high - one.value, other.value - other.low)
    return Estimate(value, max(-1.0, value - low), min(1.0, value + high))


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
        "By the individual typology angle of the skin along each photograph's rim. It is no measured skin "
        "type: light, white balance and polarisation, the dermatoscope's gel and pressure, and pigment or "
        "redness around the lesion move it by whole groups, and dermoscopy makes most skin come out light. "
        "Read it as how light the photograph's skin looks."
    ),
    "skin type": "Fitzpatrick's type, as the collection records it.",
    "site": "Body sites as the ISIC Archive groups them, front, back and side of the torso taken together.",
    "source": "Sources differ in camera, clinic and patients, and often in how many melanomas they hold.",
}


def _note(name: str, unknown: int, total: int) -> str:
    left_out = "" if not unknown else f"Unknown for {unknown:,} of {total:,} photographs, which are left out."
    return " ".join(filter(None, (_BEWARE.get(name, ""), left_out)))


_AGES = (("under 30", 30.0), ("30–44", 45.0), ("45–59", 60.0), ("60–74", 75.0), ("75 and over", 130.0))
_SEXES = {"f": "female", "woman": "female", "m": "male", "man": "male"}
_UNKNOWN = {"", "unknown", "unk", "nan", "none", "null", "n/a", "na", "-", "not specified", "unspecified"}
_TYPES = ("I", "II", "III", "IV", "V", "VI")

# HAM10000's and ISIC's words, joined as the ISIC Archive itself did when it took HAM10000 in.
_SITES = {
    "head and neck": (
        "head/neck, head, neck, face, scalp, ear, nose, lip, eyelid, forehead, cheek, temple, chin, lips"
    ),
    "torso": (
        "torso, trunk, back, chest, abdomen, anterior torso, posterior torso, lateral torso, upper back, "
        "lower back, shoulder, flank, buttock, buttocks"
    ),
    "upper extremity": "upper extremity, upper extremities, arm, upper arm, forearm, hand, wrist, elbow",
    "lower extremity": "lower extremity, lower extremities, leg, thigh, lower leg, foot, knee, ankle",
    "palms and soles": "palms/soles, acral, palm, sole, palms, soles",
    "oral and genital": "oral/genital, genital, oral, anogenital, genitals, mucosa, mouth",
}
_SITE_OF = {word: site for site, words in _SITES.items() for word in (site, *words.split(", "))}


def _attributes(
    table: pd.DataFrame, angles: Sequence[float | None] | None
) -> list[tuple[str, list[str], list[str]]]:
    """Each attribute's name, the value of each photograph (`""` unknown), and the order of its values."""

    def read(column: str, words: Callable[[str], str]) -> list[str]:
        if column not in table.columns:
            return [""] * len(table)
        texts = table[column].fillna("").astype(str).str.strip()
        known = {text: "" if text.lower() in _UNKNOWN else words(text) for text in texts.unique()}
        return [known[text] for text in texts]

    sexes, sources = read("sex", lambda text: _SEXES.get(text.lower(), text.lower())), read("source", str)
    sites = read("site", _site)
    tones = ["" if angle is None else tone_of(angle) for angle in angles or [None] * len(table)]
    return [
        ("age", read("age", _age_band), [name for name, _ in _AGES]),
        ("sex", sexes, sorted(set(sexes))),
        ("site", sites, [*_SITES, *sorted(set(sites) - set(_SITES))]),
        ("source", sources, sorted(set(sources))),
        ("skin tone", tones, [name for name, _ in TONES]),
        ("skin type", read("skin_type", _skin_type), list(_TYPES)),
    ]


def _age_band(text: str) -> str:
    try:
        age = float(text)
    except ValueError:
        return ""
    return next((name for name, below in _AGES if 0 <= age < below), "")


def _site(text: str) -> str:
    words = re.sub(r"\s+", " ", text.lower().replace("_", " "))
    return _SITE_OF.get(words, words)


def _skin_type(text: str) -> str:
    """`2`, `2.0`, `II`, `type II`, `FST 2` and the like."""
    found = re.fullmatch(r"(?:.*\W)?([1-6]|I{1,3}|IV|VI?)(?:\.0)?", text.strip(), re.IGNORECASE)
    if found is None:
        return ""
    number = found[1].upper()
    return _TYPES[int(number) - 1] if number.isdigit() else number
