"""The words of the pages for tiers, lanes, stages, roles, the two scores of refusal, and quality."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from dermsentry.clinic import checklists
from dermsentry.clinic.checklists import Abcd, SevenPoint
from dermsentry.clinic.store.tables import ASSESSED, Case, Read
from dermsentry.clinic.worklist.terms import name_of_term
from dermsentry.diagnoses import DIAGNOSES, name_of
from dermsentry.errors import InputError
from dermsentry.screening.quality import BRIGHT, DARK, MIN_CONTRAST, MIN_SHARPNESS
from dermsentry.screening.triage import MEANING, NO_LESION_LIMIT, OUT_OF_DISTRIBUTION_LIMIT
from dermsentry.stats.intervals import Estimate
from dermsentry.stats.numbers import MISSING, compared, decimal, percent

LANES = {
    "suspicion": "By suspicion",
    "cannot-say": "Cannot say",
    "waiting": "Waiting",
    "follow-up": "Follow-up",
    "decided": "Decided",
    "withdrawn": "Withdrawn",
}
LANE_HELP = {
    "suspicion": "Most worrying first: by tier, then by probability of malignancy (melanoma counts double), "
    "then by waiting time.",
    "cannot-say": "The model could not assess these images reliably. That says nothing about the "
    "lesion: a person must review it, or the image must be retaken.",
    "waiting": "Photographs that have not been screened yet. This list updates by itself.",
    "follow-up": "Lesions to be seen again, the earliest day first; the count is of those that are due. "
    "A case leaves the list when a person says that it was seen.",
    "decided": "Most recent first. Filter by tier to see cases that the model could not assess.",
    "withdrawn": "Cases that a person withdrew: in no other list and in no figure. Open one to restore it.",
}
LANE_EMPTY = {
    "suspicion": "No cases to review. New photographs appear here once they have been screened.",
    "cannot-say": "No images that the model could not assess.",
    "waiting": "No photographs are waiting to be screened.",
    "follow-up": "No follow-up has been planned. Decide a case with a day of follow-up to see it here.",
    "decided": "No case has been decided yet. Open one from the first list to decide it.",
    "withdrawn": "No case has been withdrawn.",
}
TIERS = {
    "alert": "Alert",
    "refer": "Refer",
    "routine": "Routine",
    "cannot-say": "Cannot say",
    "unreadable": "Unreadable",
    "silent": "Not shown",
    "": "Waiting",
}
ORDERS = {
    "": "most worrying first",
    "longest-waiting": "longest waiting first",
    "latest": "latest first",
    "patient": "by patient and lesion",
}
STAGES = {
    "unread": "unread",
    "second-read": "awaiting second reader",
    "adjudication": "awaiting adjudication",
    "decided": "decided",
}
QUESTIONS = {
    "alert": "Do you agree with the alert: is it suspicious of melanoma?",
    "refer": "Do you agree with the referral: does it need to be seen?",
    "routine": "Do you agree that a routine check is enough?",
}
"""Of a tier: what agreeing with the model means."""
ACTIONS = {"biopsy": "Biopsy", "follow-up": "Follow-up", "discharge": "Discharge", "retake": "Retake"}
ACTION_KEYS = {"biopsy": "b", "follow-up": "f", "discharge": "d", "retake": "r"}
TECHNIQUES = {
    "overview": "Overview",
    "close-up": "Close-up",
    "dermoscopic": "Dermoscopic",
    "polarised": "Dermoscopic, polarised",
    "unpolarised": "Dermoscopic, not polarised",
}
IDENTIFYING = {"patient": "Patient", "lesion": "Lesion", "site": "Site", "accession": "Accession number"}
CORRECTIONS = {"corrected": "Corrected", "withdrawn": "Withdrawn", "restored": "Restored"}
SOURCES = {
    "page": "by upload",
    "api": "through the API",
    "folder": "from the watched folder",
    "dicom": "through DICOM",
}
POSITIONS = {1: "First reader", 2: "Second reader", 3: "Adjudicator", 4: "Amended by"}
ROLES = {
    "uploader": "uploads photographs and sees the status of their own",
    "dermatologist": "sees all cases, decides them and enters outcomes",
    "administrator": "does all that a dermatologist does, and manages accounts, tokens and the audit trail",
}
SCOPES = {
    "cases:write": "upload photographs",
    "cases:read": "view cases, images, outcomes and performance",
    "reads:write": "decide cases",
    "outcomes:write": "enter outcomes",
    "correct": "correct, withdraw and restore cases",
    "audit:read": "read the audit trail",
}
meaning = MEANING
UNUSUAL = 0.3
"""No-lesion score or out-of-distribution score above which a finding is to be relied on less."""


def probability(case: Case) -> str:
    """The probability of melanoma, with the digits that keep it on its side of its model's thresholds."""
    return MISSING if case.melanoma is None else compared(case.melanoma, *thresholds(case).values())[0]


def points(change: Estimate) -> str:
    """A change of a percentage, in percentage points."""
    value, low, high = (
        f"{100 * own:+.1f}".replace("-", "−") for own in (change.value, change.low, change.high)
    )
    return f"{value} points ({low} to {high})"


def thresholds(case: Case) -> dict[str, float]:
    """The thresholds of the model that screened a case, by tier; none while it waits."""
    return {name: cut["value"] for name, cut in case.model.card["thresholds"].items()} if case.model else {}


def age(time: timedelta) -> str:
    """How long, in one unit."""
    minutes = int(time.total_seconds() // 60)
    if minutes < 1:
        return "just now"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h"
    return f"{minutes // (24 * 60)} days"


def hours(length: float) -> str:
    """A number of hours, in minutes or seconds below one: `36 h`, `1.5 h`, `20 min`, `72 s`."""
    if length >= 1:
        return f"{length:.3g} h"
    minutes = 60 * length
    return f"{minutes:.0f} min" if minutes >= 2 else f"{60 * minutes:.0f} s"


def likeliest(finding: Mapping[str, Any] | None) -> str:
    """The code of the likeliest diagnosis, or nothing."""
    probabilities = (finding or {}).get("probabilities")
    return max(probabilities, key=probabilities.__getitem__) if probabilities else ""


def most_probable(case: Case) -> str:
    """The likeliest diagnosis of a case that the model assessed, with its probability."""
    code = likeliest(case.finding) if case.tier in ASSESSED else ""
    return f"{name_of(code)} {percent((case.finding or {})['probabilities'][code])}" if code else ""


def agreed_diagnosis(case: Case) -> str:
    """The diagnosis that agreeing with a case's tier implies: the likeliest one, where it fits the tier.

    Of an alert only melanoma: to agree with an alert is not to agree with whatever else is most probable.
    """
    code = likeliest(case.finding) if case.tier in QUESTIONS else ""
    urgencies = {"alert": ("urgent",), "refer": ("urgent", "soon"), "routine": ("routine",)}
    fits = code and next(own.urgency for own in DIAGNOSES if own.code == code) in urgencies[case.tier]
    return code if fits else ""


def diagnosed(read: Read) -> str:
    """What a reader diagnosed, in words."""
    if read.other:
        return f"{read.other} ({read.other_code})" if read.other_code else read.other
    if read.finer:
        return name_of_term(read.finer)
    return name_of(read.diagnosis) if read.diagnosis else "no diagnosis"


def filled_in(read: Read) -> tuple[tuple[str, Abcd | SevenPoint], ...]:
    """The checklists that a reader filled in, with their names."""
    both: tuple[tuple[str, Abcd | SevenPoint | None], ...] = (
        ("ABCD rule", read.abcd),
        ("7-point checklist", read.seven_point),
    )
    return tuple((name, own) for name, own in both if own is not None)


def scores(given: Mapping[str, str]) -> tuple[str, ...]:
    """The scores of a form's checklists, or what is still to be filled in."""
    found = []
    for name, read in (
        ("ABCD rule", checklists.read_abcd),
        ("7-point checklist", checklists.read_seven_point),
    ):
        try:
            own = read(given)
        except InputError as error:
            found.append(str(error))
        else:
            found += [f"{name} {checklists.briefly(own)}"] if own is not None else []
    return tuple(found)


def sentence(text: str) -> str:
    """With a capital first, and a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".") if text else ""


def no_lesion(value: float | None) -> tuple[str, str]:
    """Whether it is an image of a lesion at all: a word that styles can use, and a sentence."""
    if value is None:
        return "unknown", "Not available from this model."
    score, limit = compared(value, NO_LESION_LIMIT, digits=2, show=decimal)
    if value > NO_LESION_LIMIT:
        return "bad", f"{score}, above {limit}: not recognised as an image of a lesion, and not assessed."
    if value > UNUSUAL:
        return "fair", f"{score}: recognised as an image of a lesion, only just."
    return "good", f"{score}: recognised as an image of a lesion."


def out_of_distribution(value: float | None) -> tuple[str, str]:
    """How unlike the model's training images a lesion is: a word that styles can use, and a sentence."""
    if value is None:
        return "unknown", "Not available from this model."
    score, limit = compared(value, OUT_OF_DISTRIBUTION_LIMIT, digits=2, show=decimal)
    if value > OUT_OF_DISTRIBUTION_LIMIT:
        return "bad", (
            f"{score}, above {limit}: unlike the lesions in the model's training images, so its "
            "probabilities may not hold. Such a lesion is never called routine."
        )
    if value > UNUSUAL:
        return "fair", f"{score}: unusual for this model; rely on it less here."
    return "good", f"{score}: like the lesions in the model's training images."


def quality(found: Mapping[str, Any] | None) -> tuple[str, str]:
    """How good a photograph is: a word that styles can use, and a sentence."""
    if found is None:
        return "unknown", "Not measured: the file could not be read."
    if found["problems"]:
        return "bad", sentence("; ".join(found["problems"]))
    notes = []
    if found["sharpness"] < MIN_SHARPNESS * 1.1:
        notes.append("only just sharp enough")
    if not DARK * 1.15 <= found["brightness"] <= BRIGHT * 0.95:
        notes.append("brightness near the limit")
    if found["contrast"] < MIN_CONTRAST * 1.2:
        notes.append("low contrast")
    if notes:
        return "fair", sentence("usable: " + ", ".join(notes))
    return "good", "Sharp and well exposed."
