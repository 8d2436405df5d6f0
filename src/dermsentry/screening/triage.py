"""From probabilities to what to do: the alert tier, and why, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from dermsentry.diagnoses import DIAGNOSES, MELANOMA, name_of
from dermsentry.model.card import Card, Threshold
from dermsentry.screening.quality import DRAWN, Quality

Tier = Literal["alert", "refer", "routine", "cannot-say", "unreadable"]
TIERS: tuple[Tier, ...] = get_args(Tier)

MEANING: dict[Tier, str] = {
    "alert": "suspicious of melanoma: a dermatologist should see it first",
    "refer": "a dermatologist should see it",
    "routine": "nothing the model knows of speaks for more than the usual check",
    "cannot-say": "the model cannot judge this picture; a person must, or it must be taken again",
    "unreadable": "the file could not be read",
}

OUT_OF_DISTRIBUTION_LIMIT = (
    0.5  # above this an image is not assessed; the network's own limit is folded into it
)
LIKELY = 0.5  # that it is another diagnosis which should be seen soon
_SEEN_SOON = tuple(d.code for d in DIAGNOSES if d.urgency != "routine" and d.code != MELANOMA)

UNLIKE = "unlike anything the model learned from: retake as a close-up of one lesion"


def triage(
    probabilities: Mapping[str, float], out_of_distribution: float | None, quality: Quality, card: Card
) -> tuple[Tier, tuple[str, ...]]:
    """The tier of a readable photograph, and the reasons for it.

    A photograph unlike what the model knows is never judged, nor is a chart or a screenshot. One of poor
    quality can still alert, since missing a melanoma is worse than looking once more; it is never called
    routine, nor just referred.

    Parameters
    ----------
    probabilities
        Code to probability, all nine.
    out_of_distribution
        From 0 to 1, None where the model cannot say.
    quality, card
        Of the photograph; of the model.
    """
    melanoma, likeliest = probabilities[MELANOMA], max(probabilities, key=probabilities.__getitem__)
    alert, refer = card.thresholds["alert"], card.thresholds["refer"]
    if out_of_distribution is not None and out_of_distribution > OUT_OF_DISTRIBUTION_LIMIT:
        return "cannot-say", (*quality.problems, UNLIKE)
    if DRAWN in quality.problems:
        return "cannot-say", quality.problems
    if melanoma >= alert.value:
        return "alert", (
            f"melanoma {_percent(melanoma)}, at or above {_threshold('alert', alert)}",
            *quality.problems,
        )
    if quality.problems:
        return "cannot-say", quality.problems
    soon = sum(probabilities[code] for code in _SEEN_SOON)
    reasons = []
    if melanoma >= refer.value:
        reasons.append(f"melanoma {_percent(melanoma)}, at or above {_threshold('referral', refer)}")
    if likeliest == MELANOMA and not reasons:
        reasons.append(f"melanoma is the likeliest diagnosis ({_percent(melanoma)})")
    if likeliest in _SEEN_SOON or soon >= LIKELY:
        named = sorted(_SEEN_SOON, key=lambda code: -probabilities[code])
        listed = ", ".join(f"{name_of(code)} {_percent(probabilities[code])}" for code in named)
        reasons.append(f"{listed}: to be seen soon")
    if reasons:
        return "refer", tuple(reasons)
    return "routine", (
        f"melanoma {_percent(melanoma)}, below {_threshold('referral', refer)}",
        f"likeliest: {name_of(likeliest)} {_percent(probabilities[likeliest])}",
    )


def _threshold(name: str, threshold: Threshold) -> str:
    aim = _percent(threshold.sensitivity_target)
    return f"the {name} threshold of {_percent(threshold.value)} (set to find {aim} of melanomas)"


def _percent(share: float) -> str:
    """A share in per cent, with the digits that keep it from looking like none or like all."""
    percent = 100 * share
    digits = 0 if 10 <= percent <= 99 or percent in (0.0, 100.0) else 1
    return (
        "below 0.1 %"
        if 0 < percent < 0.05
        else "above 99.9 %"
        if 99.95 <= percent < 100
        else f"{percent:.{digits}f} %"
    )
