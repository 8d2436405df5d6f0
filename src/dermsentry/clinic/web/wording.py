"""The words of the pages for tiers, lanes, stages, roles, the two scores of refusal, and quality."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from dermsentry.clinic import checklists
from dermsentry.clinic.checklists import Abcd, SevenPoint
from dermsentry.clinic.language import ENGLISH, _, lazy, ngettext, numerals, reader, translated
from dermsentry.clinic.store.tables import ASSESSED, Case, Read
from dermsentry.clinic.worklist.body_map import name_of_region
from dermsentry.clinic.worklist.terms import name_of_term
from dermsentry.clinic.worklist.worklist import Listed
from dermsentry.diagnoses import DIAGNOSES, name_of
from dermsentry.errors import InputError
from dermsentry.screening.quality import BRIGHT, DARK, MIN_CONTRAST, MIN_SHARPNESS
from dermsentry.screening.triage import MEANING, NO_LESION_LIMIT, OUT_OF_DISTRIBUTION_LIMIT
from dermsentry.stats.intervals import Estimate
from dermsentry.stats.numbers import MISSING, compared, decimal, percent

LANES = {
    "suspicion": lazy("By suspicion"),
    "cannot-say": lazy("Cannot say"),
    "waiting": lazy("Waiting"),
    "follow-up": lazy("Follow-up"),
    "decided": lazy("Decided"),
    "part": lazy("Part of another case"),
    "withdrawn": lazy("Withdrawn"),
}
LANE_HELP = {
    "suspicion": lazy(
        "Most worrying first: by tier, then by probability of malignancy (melanoma counts double), "
        "then by waiting time."
    ),
    "cannot-say": lazy(
        "The model could not assess these images reliably. That says nothing about the "
        "lesion: a person must review it, or the image must be retaken."
    ),
    "waiting": lazy("Photographs that have not been screened yet. This list updates by itself."),
    "follow-up": lazy(
        "Lesions to be seen again, the earliest day first; the count is of those that are due. "
        "A case leaves the list when a person says that it was seen."
    ),
    "decided": lazy("Most recent first. Filter by tier to see cases that the model could not assess."),
    "withdrawn": lazy(
        "Cases that a person withdrew: in no other list and in no figure. Open one to restore it."
    ),
}
LANE_EMPTY = {
    "suspicion": lazy("No cases to review. New photographs appear here once they have been screened."),
    "cannot-say": lazy("No images that the model could not assess."),
    "waiting": lazy("No photographs are waiting to be screened."),
    "follow-up": lazy("No follow-up has been planned. Decide a case with a day of follow-up to see it here."),
    "decided": lazy("No case has been decided yet. Open one from the first list to decide it."),
    "withdrawn": lazy("No case has been withdrawn."),
}
TIERS = {
    "alert": lazy("Alert"),
    "refer": lazy("Refer"),
    "routine": lazy("Routine"),
    "cannot-say": lazy("Cannot say"),
    "unreadable": lazy("Unreadable"),
    "silent": lazy("Not shown"),
    "": lazy("Waiting"),
}
ORDERS = {
    "": lazy("most worrying first"),
    "longest-waiting": lazy("longest waiting first"),
    "latest": lazy("latest first"),
    "patient": lazy("by patient and lesion"),
}
STAGES = {
    "unread": lazy("unread"),
    "second-read": lazy("awaiting second reader"),
    "adjudication": lazy("awaiting adjudication"),
    "decided": lazy("decided"),
}
QUESTIONS = {
    "alert": lazy("Do you agree with the alert: is it suspicious of melanoma?"),
    "refer": lazy("Do you agree with the referral: does it need to be seen?"),
    "routine": lazy("Do you agree that a routine check is enough?"),
}
"""Of a tier: what agreeing with the model means."""
ACTIONS = {
    "biopsy": lazy("Biopsy"),
    "follow-up": lazy("Follow-up"),
    "discharge": lazy("Discharge"),
    "retake": lazy("Retake"),
}
ACTION_KEYS = {"biopsy": "b", "follow-up": "f", "discharge": "d", "retake": "r"}
TECHNIQUES = {
    "overview": lazy("Overview"),
    "close-up": lazy("Close-up"),
    "dermoscopic": lazy("Dermoscopic"),
    "polarised": lazy("Dermoscopic, polarised"),
    "unpolarised": lazy("Dermoscopic, not polarised"),
}
IDENTIFYING = {
    "patient": lazy("Patient"),
    "lesion": lazy("Lesion"),
    "site": lazy("Site"),
    "accession": lazy("Accession number"),
}
CORRECTIONS = {"corrected": lazy("Corrected"), "withdrawn": lazy("Withdrawn"), "restored": lazy("Restored")}
MATCHES = {"different": lazy("Not the same skin"), "same": lazy("The same skin, filed rightly")}
SOURCES = {
    "page": lazy("by upload"),
    "api": lazy("through the API"),
    "folder": lazy("from the watched folder"),
    "dicom": lazy("through DICOM"),
}
POSITIONS = {1: lazy("First reader"), 2: lazy("Second reader"), 3: lazy("Adjudicator"), 4: lazy("Amended by")}
CERTAINTIES = {"": "", "low": lazy("low"), "moderate": lazy("moderate"), "high": lazy("high")}
METHODS = {"histology": lazy("histology"), "follow-up": lazy("follow-up")}
"""How an outcome is known."""
ROLE_NAMES = {
    "uploader": lazy("uploader"),
    "dermatologist": lazy("dermatologist"),
    "administrator": lazy("administrator"),
}
ROLES = {
    "uploader": lazy("uploads photographs and sees the status of their own"),
    "dermatologist": lazy("sees all cases, decides them and enters outcomes"),
    "administrator": lazy(
        "does all that a dermatologist does, and manages accounts, tokens and the audit trail"
    ),
}
SCOPES = {
    "cases:write": lazy("upload photographs"),
    "cases:read": lazy("view cases, images, outcomes and performance"),
    "reads:write": lazy("decide cases"),
    "outcomes:write": lazy("enter outcomes"),
    "correct": lazy("correct, withdraw and restore cases"),
    "audit:read": lazy("read the audit trail"),
}
meaning = MEANING
UNUSUAL = 0.3
"""No-lesion score or out-of-distribution score above which a finding is to be relied on less."""


def probability(case: Case | Listed) -> str:
    """The probability of melanoma, with the digits that keep it on its side of its model's thresholds."""
    if case.melanoma is None:
        return MISSING
    return numerals(compared(case.melanoma, *case.thresholds.values())[0])


def points(change: Estimate) -> str:
    """A change of a percentage, in percentage points."""
    value, low, high = (
        f"{100 * own:+.1f}".replace("-", "−") for own in (change.value, change.low, change.high)
    )
    shown = _("%(value)s points (%(low)s to %(high)s)", value=value, low=low, high=high)
    return numerals(shown)


def age(time: timedelta) -> str:
    """How long, in one unit."""
    minutes = int(time.total_seconds() // 60)
    if minutes < 1:
        return _("just now")
    if minutes < 60:
        return _("%(number)s min", number=minutes)
    if minutes < 48 * 60:
        return _("%(number)s h", number=minutes // 60)
    return ngettext("%(number)s day", "%(number)s days", minutes // (24 * 60))


def hours(length: float) -> str:
    """A number of hours, in minutes or seconds below one: `36 h`, `1.5 h`, `20 min`, `72 s`."""
    if length >= 1:
        shown = f"{length:.3g}"
        return _("%(number)s h", number=numerals(shown))
    minutes = 60 * length
    return (
        _("%(number)s min", number=round(minutes))
        if minutes >= 2
        else _("%(number)s s", number=round(60 * minutes))
    )


def likeliest(finding: Mapping[str, Any] | None) -> str:
    """The code of the likeliest diagnosis, or nothing."""
    probabilities = (finding or {}).get("probabilities")
    return max(probabilities, key=probabilities.__getitem__) if probabilities else ""


def most_probable(case: Case | Listed) -> str:
    """The likeliest diagnosis of a case that the model assessed, with its probability."""
    code = likeliest(case.finding) if case.tier in ASSESSED else ""
    if not code:
        return ""
    share = numerals(percent((case.finding or {})["probabilities"][code])).replace(" ", "\u00a0")
    return f"{diagnosis(code)} {share}"


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
        return translated(name_of_term(read.finer))
    return diagnosis(read.diagnosis) if read.diagnosis else _("no diagnosis")


def diagnosis(label: str) -> str:
    """A diagnosis in words; what a form was sent with, and is shown again, need not be one."""
    try:
        name = name_of(label)
    except KeyError:
        return label
    whole = translated(name)
    return whole if whole != name else _(" or ").join(map(translated, name.split(" or ")))


def region(code: str) -> str:
    """A region of the body map in words: `chest, right` is `right chest`."""
    if reader().language == ENGLISH:
        return name_of_region(code)
    return ", ".join(translated(part) for part in code.split(", ") if part != "close")


def capital(text: str) -> str:
    """With a capital first."""
    return str(text)[:1].upper() + str(text)[1:]


def filled_in(read: Read) -> tuple[tuple[str, Abcd | SevenPoint], ...]:
    """The checklists that a reader filled in, with their names."""
    both: tuple[tuple[str, Abcd | SevenPoint | None], ...] = (
        ("ABCD rule", read.abcd),
        ("7-point checklist", read.seven_point),
    )
    return tuple((name, own) for name, own in both if own is not None)


def briefly(filled: Abcd | SevenPoint) -> str:
    """The score of a checklist and its verdict."""
    return f"{numerals(filled.score)}: {translated(checklists.VERDICTS[filled.verdict])}"


def checklist(filled: Abcd | SevenPoint) -> str:
    """The score of a checklist and its verdict; in English also the score that decides."""
    return checklists.in_words(filled) if reader().language == ENGLISH else briefly(filled)


def parts(filled: Abcd | SevenPoint) -> str:
    """What was filled in, in the reader's words."""
    return translated(checklists.parts(filled, translated))


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
            found += [f"{translated(name)} {briefly(own)}"] if own is not None else []
    return tuple(found)


def sentence(text: str) -> str:
    """With a capital first, and a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".") if text else ""


def _scores(value: float, limit: float) -> dict[str, str]:
    """A score and its limit, with the digits that tell them apart."""
    names = ("score", "limit")
    return dict(zip(names, map(numerals, compared(value, limit, digits=2, show=decimal)), strict=True))


def no_lesion(value: float | None) -> tuple[str, str]:
    """Whether it is an image of a lesion at all: a word that styles can use, and a sentence."""
    if value is None:
        return "unknown", _("Not available from this model.")
    shown = _scores(value, NO_LESION_LIMIT)
    if value > NO_LESION_LIMIT:
        words = _(
            "%(score)s, above %(limit)s: not recognised as an image of a lesion, and not assessed.", **shown
        )
        return "bad", words
    if value > UNUSUAL:
        return "fair", _("%(score)s: recognised as an image of a lesion, only just.", **shown)
    return "good", _("%(score)s: recognised as an image of a lesion.", **shown)


def out_of_distribution(value: float | None) -> tuple[str, str]:
    """How unlike the model's training images a lesion is: a word that styles can use, and a sentence."""
    if value is None:
        return "unknown", _("Not available from this model.")
    shown = _scores(value, OUT_OF_DISTRIBUTION_LIMIT)
    if value > OUT_OF_DISTRIBUTION_LIMIT:
        return "bad", _(
            "%(score)s, above %(limit)s: unlike the lesions in the model's training images, so its "
            "probabilities may not hold. Such a lesion is never called routine.",
            **shown,
        )
    if value > UNUSUAL:
        return "fair", _("%(score)s: unusual for this model; rely on it less here.", **shown)
    return "good", _("%(score)s: like the lesions in the model's training images.", **shown)


def quality(found: Mapping[str, Any] | None) -> tuple[str, str]:
    """How good a photograph is: a word that styles can use, and a sentence."""
    if found is None:
        return "unknown", _("Not measured: the file could not be read.")
    if found["problems"]:
        return "bad", sentence("; ".join(map(translated, found["problems"])))
    notes = []
    if found["sharpness"] < MIN_SHARPNESS * 1.1:
        notes.append(_("only just sharp enough"))
    if not DARK * 1.15 <= found["brightness"] <= BRIGHT * 0.95:
        notes.append(_("brightness near the limit"))
    if found["contrast"] < MIN_CONTRAST * 1.2:
        notes.append(_("low contrast"))
    if notes:
        return "fair", sentence(_("usable: %(notes)s", notes=", ".join(notes)))
    return "good", _("Sharp and well exposed.")
