"""What the pages say in words of tiers, lanes, stages, out-of-distribution score and quality."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from dermsentry.clinic.store.tables import Case
from dermsentry.screening.quality import BRIGHT, DARK, MIN_CONTRAST, MIN_SHARPNESS
from dermsentry.screening.triage import MEANING, OUT_OF_DISTRIBUTION_LIMIT
from dermsentry.stats.numbers import MISSING, compared, decimal

LANES = {
    "suspicion": "By suspicion",
    "cannot-say": "Cannot say",
    "waiting": "Waiting for the model",
    "decided": "Decided",
}
LANE_HELP = {
    "suspicion": "The most suspicious first: by tier, then probability of melanoma, then waiting time.",
    "cannot-say": "The model could not judge these pictures. That says nothing about the lesion: "
    "a person must look, or the picture must be taken again.",
    "waiting": "Photographs that came in and were not screened yet. The list renews itself.",
    "decided": "The latest first. Choose a tier to see those that the model did not judge.",
}
LANE_EMPTY = {
    "suspicion": "Nothing waits here. New photographs appear as soon as the model has seen them.",
    "cannot-say": "There is no picture that the model could not judge.",
    "waiting": "No photograph waits for the model.",
    "decided": "Nobody has decided a case yet. Open one from the first list and decide it.",
}
TIERS = {
    "alert": "Alert",
    "refer": "Refer",
    "routine": "Routine",
    "cannot-say": "Cannot say",
    "unreadable": "Unreadable",
    "": "Waiting",
}
STAGES = {
    "unread": "unread",
    "second-read": "waits for a second reader",
    "adjudication": "waits for an adjudicator",
    "decided": "decided",
}
ACTIONS = {"biopsy": "Biopsy", "follow-up": "Follow-up", "discharge": "Discharge", "retake": "Retake"}
ACTION_KEYS = {"biopsy": "b", "follow-up": "f", "discharge": "d", "retake": "r"}
SOURCES = {
    "page": "sent from a page",
    "api": "sent by a program",
    "folder": "from the watched folder",
    "dicom": "by DICOM",
}
POSITIONS = {1: "First reader", 2: "Second reader", 3: "Adjudicator"}
ROLES = {
    "uploader": "sends photographs and sees what became of their own",
    "dermatologist": "sees all cases, decides, enters outcomes",
    "administrator": "all of it, and accounts, tokens and the audit trail",
}
SCOPES = {
    "cases:write": "send photographs",
    "cases:read": "see cases, pictures, outcomes and figures",
    "reads:write": "decide cases",
    "outcomes:write": "enter outcomes",
    "audit:read": "read the audit trail",
}
meaning = MEANING
UNUSUAL = 0.3
"""Out-of-distribution score above which a finding is to be relied on less."""


def probability(case: Case) -> str:
    """The probability of melanoma, with the digits that keep it on its side of its model's thresholds."""
    return MISSING if case.melanoma is None else compared(case.melanoma, *thresholds(case).values())[0]


def thresholds(case: Case) -> dict[str, float]:
    """The thresholds of the model that screened a case, by tier; none where it waits."""
    return {name: cut["value"] for name, cut in case.model.card["thresholds"].items()} if case.model else {}


def age(time: timedelta) -> str:
    """How long ago, in one unit."""
    minutes = int(time.total_seconds() // 60)
    if minutes < 1:
        return "just now"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h"
    return f"{minutes // (24 * 60)} days"


def likeliest(finding: Mapping[str, Any] | None) -> str:
    """The code of the likeliest diagnosis, or nothing."""
    probabilities = (finding or {}).get("probabilities")
    return max(probabilities, key=probabilities.__getitem__) if probabilities else ""


def sentence(text: str) -> str:
    """With a capital first, and an end."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".") if text else ""


def out_of_distribution(value: float | None) -> tuple[str, str]:
    """How unlike the model's training images a picture is: a word that styles can use, and a sentence."""
    if value is None:
        return "unknown", "This model cannot tell whether a picture is like those it learned from."
    score, _ = compared(value, OUT_OF_DISTRIBUTION_LIMIT, digits=2, show=decimal)
    told = f"(out-of-distribution score {score})"
    if value > OUT_OF_DISTRIBUTION_LIMIT:
        return "bad", f"Unlike the images the model learned from {told}: it cannot assess this reliably."
    if value > UNUSUAL:
        return "fair", f"Unusual for this model {told}: rely on it less here."
    return "good", f"Like the images the model learned from {told}."


def quality(found: Mapping[str, Any] | None) -> tuple[str, str]:
    """How good a photograph is: a word that styles can use, and a sentence."""
    if found is None:
        return "unknown", "Not measured: the file could not be read."
    if found["problems"]:
        return "bad", sentence("; ".join(found["problems"]))
    notes = []
    if found["sharpness"] < MIN_SHARPNESS * 1.1:
        notes.append("barely sharp enough")
    if not DARK * 1.15 <= found["brightness"] <= BRIGHT * 0.95:
        notes.append("light at the limit")
    if found["contrast"] < MIN_CONTRAST * 1.2:
        notes.append("little contrast")
    if notes:
        return "fair", sentence("usable: " + ", ".join(notes))
    return "good", "Sharp and well lit; nothing against judging it."
