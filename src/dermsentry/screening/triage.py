"""From probabilities to what to do: the alert tier, and why, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from dermsentry.diagnoses import DIAGNOSES, MELANOMA, name_of
from dermsentry.model.card import Card, Threshold
from dermsentry.screening.quality import NEVER_ASSESSED, NEVER_ROUTINE, Quality
from dermsentry.stats.numbers import brief, compared, percent

Tier = Literal["alert", "refer", "routine", "cannot-say", "unreadable"]
TIERS: tuple[Tier, ...] = get_args(Tier)

MEANING: dict[Tier, str] = {
    "alert": "suspicious of melanoma: a dermatologist should see it first",
    "refer": "a dermatologist should see it",
    "routine": "nothing found that calls for more than a routine check",
    "cannot-say": "the model cannot assess this image reliably: a person must review or retake it",
    "unreadable": "the file could not be read",
}

# Above these an image shows no lesion, or one unlike the training images; the network's own limits are folded
# into them.
NO_LESION_LIMIT = 0.5
OUT_OF_DISTRIBUTION_LIMIT = 0.5
LIKELY = 0.5  # that it is another diagnosis which should be seen soon
_SEEN_SOON = tuple(d.code for d in DIAGNOSES if d.urgency != "routine" and d.code != MELANOMA)

NOT_A_LESION = "not recognised as an image of a skin lesion"
UNLIKE = "a lesion unlike those that the model learned from: its probabilities may not hold"


def triage(
    probabilities: Mapping[str, float],
    no_lesion: float | None,
    out_of_distribution: float | None,
    quality: Quality,
    card: Card,
) -> tuple[Tier, tuple[str, ...]]:
    """The tier of a readable image, and the reasons for it.

    An image without a lesion is never assessed, nor is a chart, a screenshot or one in false colours. One of
    poor quality can still
    alert, since missing a melanoma is worse than looking once more; it is never called routine, nor just
    referred. A lesion unlike those that the model learned from, or under glare or hair, can alert or be
    referred; it is never called routine.

    Parameters
    ----------
    probabilities
        Code to probability, all nine.
    no_lesion, out_of_distribution
        Scores from 0 to 1, None where the model has no such score.
    quality
        What was measured on the image.
    card
        The model's, for its thresholds.
    """
    melanoma, likeliest = probabilities[MELANOMA], max(probabilities, key=probabilities.__getitem__)
    alert, refer = card.thresholds["alert"], card.thresholds["refer"]
    if no_lesion is not None and no_lesion > NO_LESION_LIMIT:
        return "cannot-say", (*quality.problems, NOT_A_LESION)
    if NEVER_ASSESSED.intersection(quality.problems):
        return "cannot-say", quality.problems
    unlike = out_of_distribution is not None and out_of_distribution > OUT_OF_DISTRIBUTION_LIMIT
    doubts = (*quality.problems, *([UNLIKE] if unlike else []))
    if melanoma >= alert.value:
        return "alert", (_against("at or above", melanoma, "alert", alert), *doubts)
    if not NEVER_ROUTINE.issuperset(quality.problems):
        return "cannot-say", doubts
    soon = sum(probabilities[code] for code in _SEEN_SOON)
    reasons = []
    if melanoma >= refer.value:
        reasons.append(_against("at or above", melanoma, "referral", refer))
    if likeliest == MELANOMA and not reasons:
        reasons.append(f"melanoma is the most probable diagnosis ({percent(melanoma)})")
    if likeliest in _SEEN_SOON or soon >= LIKELY:
        named = sorted(_SEEN_SOON, key=lambda code: -probabilities[code])
        listed = ", ".join(f"{name_of(code)} {percent(probabilities[code])}" for code in named)
        reasons.append(f"{listed}: to be seen soon")
    if reasons:
        return "refer", (*reasons, *doubts)
    if doubts:
        return "cannot-say", doubts
    return "routine", (
        _against("below", melanoma, "referral", refer),
        f"most probable: {name_of(likeliest)} {percent(probabilities[likeliest])}",
    )


def _against(relation: str, melanoma: float, name: str, threshold: Threshold) -> str:
    """The probability of melanoma and the threshold, each on the side of the other that it is on."""
    value, limit = compared(melanoma, threshold.value)
    aim = f"chosen for a sensitivity of {brief(threshold.sensitivity_target)}"
    return f"melanoma {value}, {relation} the {name} threshold of {limit} ({aim})"
