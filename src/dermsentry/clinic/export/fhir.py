"""A case as FHIR R4: a DiagnosticReport, its Observations, and the model as Device, in one Bundle.

Each has a narrative that a person can read, made from what it says. Numbers are sent with the system that
gave them: a patient's by the issuer of the DICOM header, else by the settings, else as this clinic's own.

Validated as R4B (4.3.0), of which these resources have the elements of R4 (4.0.1) and no others. The report
is preliminary until a person has decided, then final; amended where the decision was changed, corrected where
whose photograph it is was put right or the case was restored, entered-in-error where it was withdrawn. It
holds no pixel, no note, no name of a patient: the patient is the reference that the clinic gave.

SNOMED CT codes are given beside the clinic's own where one means the same. A code for melanoma beside a
probability, or beside what a person suspects, would be read as melanoma: before histology a reading is a
suspicion, in code and words. The outcome is an Observation of the amended report, and so is the Breslow
thickness, coded as the German oncology profiles and mCODE do. A finer diagnosis and one in words are told in
the suspicion's words; certainty, the code that a reader gave, and the day of follow-up are components of the
decision. Each checklist is an Observation with its score, its meaning and every criterion.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import uuid5
from zoneinfo import ZoneInfo

from fhir.resources.R4B.bundle import Bundle
from jinja2 import Environment
from pydantic import ValidationError
from sqlalchemy.orm import Session

from dermsentry.clinic.checklists import (
    COLOURS,
    CRITERIA,
    MOST_AXES,
    MOST_SEGMENTS,
    STRUCTURES,
    VERDICTS,
    Abcd,
    SevenPoint,
    in_words,
)
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.export.coding import (
    NAMESPACE,
    SCORES,
    SNOMED_CODES,
    SUSPECTED,
    is_suspected,
    oid,
    own_system,
    suspicion,
    suspicion_codes,
)
from dermsentry.clinic.export.decisions import SettledDecision, decision_of
from dermsentry.clinic.store.tables import ASSESSED, PART, SILENT, Account, Case, Outcome, Read
from dermsentry.clinic.worklist.parts import parts_of
from dermsentry.diagnoses import CODES, name_of
from dermsentry.errors import InputError
from dermsentry.reporting.environment import template_environment
from dermsentry.screening.triage import MEANING
from dermsentry.stats.numbers import decimal, percent

SNOMED = "http://snomed.info/sct"
UNITS = "http://unitsofmeasure.org"
ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
DICOM = "http://dicom.nema.org/resources/ontology/DCM"
CODE_SYSTEMS = {
    "SNOMED": SNOMED,
    "ICD-O": "http://terminology.hl7.org/CodeSystem/icd-o-3",
    "ICD-10": "http://hl7.org/fhir/sid/icd-10",
}
"""Of the codes that a reader may give for a diagnosis in words, by what they begin with."""
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
IDENTIFIERS = "http://terminology.hl7.org/CodeSystem/v2-0203"
SERVICES = "http://terminology.hl7.org/CodeSystem/v2-0074"
STATUS_IN_WORDS = {
    "preliminary": "preliminary: decided by nobody yet",
    "final": "final",
    "amended": "amended",
    "corrected": "corrected",
    "entered-in-error": "entered in error: nothing that was reported of this case holds",
}
CHANGED = {
    "amended": "Changed since it was first decided. ",
    "corrected": "Whose photograph it is was corrected since it was first decided. ",
}
RESTORED = "Withdrawn for a time and restored since; corrections are included. "
_IMAGING = [{"coding": [{"system": CATEGORY, "code": "imaging", "display": "Imaging"}]}]
_EXAMINATION = [{"coding": [{"system": CATEGORY, "code": "exam", "display": "Exam"}]}]


def local_system(name: str) -> str:
    """The address of the clinic's own codes, such as for `diagnosis`."""
    return f"urn:oid:{oid(name)}"


def fhir_bundle(session: Session, clinic: Clinic, case: Case) -> dict[str, Any]:
    """A case as a FHIR Bundle of type `collection`, ready for JSON.

    The same case has the same identifiers however often it is exported. A report is of all photographs of a
    case, with the finding of that which leads it.

    Raises
    ------
    InputError
        The case was not screened yet, or is a photograph of another.
    """
    if case.lane == PART:
        raise InputError(f"Case {case.id} is a photograph of case {case.part_of}; its report is that of all.")
    if case.finding is None or case.model is None or case.screened_at is None:
        raise InputError(f"Case {case.id} was not screened yet; there is nothing to report.")
    decision = decision_of(session, case)
    parts = parts_of(session, case.id)
    observations = _observations(clinic, case, parts, decision)
    places = [_place(case, name) for name in observations]
    moment = decision.at or case.screened_at
    report = _without_nothing(
        {
            "resourceType": "DiagnosticReport",
            "identifier": [
                {"system": "urn:ietf:rfc:3986", "value": _place(case, "report")},
                {
                    "type": {"text": "case number"},
                    "system": clinic.settings.fhir.case or own_system(clinic.trail, "case"),
                    "value": str(case.id),
                },
            ],
            "basedOn": _order(clinic, case),
            "status": decision.status,
            "category": [
                {"coding": [{"system": SERVICES, "code": "IMG", "display": "Diagnostic Imaging"}]},
            ],
            "code": _coded("observation", "report", "Photograph of a skin lesion, assessed for melanoma"),
            "subject": _subject(clinic, case),
            "effectiveDateTime": _taken(clinic, case),
            "issued": _instant(moment),
            "performer": _readers(clinic, decision),
            "resultsInterpreter": _readers(clinic, decision),
            "result": [{"reference": place} for place in places],
            "imagingStudy": _studies((case, *parts)),
            "conclusion": _conclusion(case, decision),
            "conclusionCode": _concluded(decision),
        }
    )
    entries = [(_place(case, "report"), report), *zip(places, observations.values(), strict=True)]
    entries.append((_place(case, "device"), _device(case)))
    report["text"] = _narrative(report["code"]["text"], _told(case, decision, report))
    for _, resource in entries[1:]:
        resource["text"] = _narrative(*_own_words(resource))
    bundle = {
        "resourceType": "Bundle",
        "identifier": {"system": "urn:ietf:rfc:3986", "value": _place(case, "bundle")},
        "type": "collection",
        "timestamp": _instant(moment),
        "entry": [{"fullUrl": place, "resource": resource} for place, resource in entries],
    }
    try:
        Bundle.model_validate(bundle)
    except ValidationError as error:
        # Its words hold what was refused, which may be about a patient.
        where = ", ".join(sorted({".".join(map(str, found["loc"])) for found in error.errors()}))
        raise InputError(f"Case {case.id} cannot be told in FHIR: {where}.") from None
    return bundle


def _observations(
    clinic: Clinic, case: Case, parts: Sequence[Case], decision: SettledDecision
) -> dict[str, dict[str, Any]]:
    assert case.finding is not None
    # A decoder's own words may be among them.
    reasons = [reason for reason in (_line(str(given)) for given in case.finding["reasons"]) if reason]
    probabilities = case.finding["probabilities"]
    shared = {
        "resourceType": "Observation",
        "status": _status_of_finding(decision),
        "basedOn": _order(clinic, case),
        "category": _IMAGING,
        "subject": _subject(clinic, case),
        "effectiveDateTime": _taken(clinic, case),
        "issued": _instant(case.screened_at),
        "bodySite": {"text": case.site} if case.site else None,
        "device": {"reference": _place(case, "device")},
        "derivedFrom": _studies((case,)),
    }
    found: dict[str, dict[str, Any]] = {}
    found["tier"] = {
        **shared,
        "code": _coded("observation", "tier", "What the model makes of the photograph"),
        "valueCodeableConcept": _coded("tier", case.tier, f"{case.tier}: {MEANING[case.tier]}"),  # type: ignore[index]
        "note": [{"text": reason} for reason in reasons],
    }
    found["probabilities"] = {
        **shared,
        "code": _coded("observation", "probabilities", "Calibrated probabilities of the diagnoses"),
    }
    if case.tier in ASSESSED and probabilities is not None:
        found["probabilities"]["component"] = [
            {
                "code": _coded("probability", code, f"Probability of {name_of(code)}"),
                "valueQuantity": _share(probabilities[code]),
            }
            for code in CODES
        ]
    else:
        # A small number for an image that the model cannot assess would look reassuring.
        why = "error" if case.tier == "unreadable" else "unknown"
        found["probabilities"]["dataAbsentReason"] = _absent(why, "; ".join(reasons))
    for name, words in SCORES.items():
        score = case.finding[name]
        code = name.replace("_", "-")
        value = (
            {"dataAbsentReason": _absent("unknown", "the model cannot say")}
            if score is None
            else {"valueQuantity": _share(score)}
        )
        found[code] = {**shared, "code": _coded("observation", code, words), **value}
    if parts:
        found["photographs"] = {
            **shared,
            "code": _coded("observation", "photographs", "Photographs of the case"),
            "valueInteger": len(parts) + 1,
            "derivedFrom": _studies(parts),
            "component": [
                {
                    "code": _coded("photograph", own.technique or "unstated", f"Another, {_how(own)}"),
                    "valueCodeableConcept": _coded("tier", own.tier, f"{own.tier}: {_meaning(own)}"),
                }
                for own in parts
            ],
        }
    if decision.read is not None:
        found["decision"] = _decision(clinic, case, decision, decision.read)
        if decision.read.abcd is not None:
            found["abcd"] = _abcd(clinic, case, decision, decision.read, decision.read.abcd)
        if decision.read.seven_point is not None:
            found["seven-point"] = _seven_point(
                clinic, case, decision, decision.read, decision.read.seven_point
            )
    if decision.outcome is not None:
        found["outcome"] = _outcome(clinic, case, decision.outcome)
        if decision.outcome.breslow_mm is not None:
            found["breslow"] = _breslow(clinic, case, decision.outcome, decision.outcome.breslow_mm)
    return {name: _without_nothing(observation) for name, observation in found.items()}


def _status_of_finding(decision: SettledDecision) -> str:
    if decision.status in ("entered-in-error", "corrected"):
        return decision.status
    return "preliminary" if decision.read is None else "final"


def _decision(clinic: Clinic, case: Case, decision: SettledDecision, read: Read) -> dict[str, Any]:
    components: list[dict[str, Any]] = [
        {
            "code": _coded("observation", "action", "What is to be done"),
            "valueCodeableConcept": _coded("action", read.action, read.action, snomed=read.action),
        }
    ]
    if read.agrees is not None:
        agrees = _coded("observation", "agrees", "Whether the reader agrees with the model")
        components.append({"code": agrees, "valueBoolean": read.agrees})
    if read.certainty:
        code = _coded("observation", "certainty", "How certain the reader is of the diagnosis")
        code["coding"].insert(0, {"system": DICOM, "code": "111013", "display": "Certainty of impression"})
        components.append(
            {"code": code, "valueCodeableConcept": _coded("certainty", read.certainty, read.certainty)}
        )
    if read.other_code:
        # As a component: a code for a disease as the value would be read as the disease.
        kind, _, number = read.other_code.partition(" ")
        coding = [{"system": CODE_SYSTEMS[kind], "code": number}]
        code = _coded("observation", "other-code", "The code of the diagnosis that the reader considers")
        value = {"coding": coding, "text": _name(decision, read)}
        components.append({"code": code, "valueCodeableConcept": value})
    if read.follow_up_on is not None:
        code = _coded("observation", "follow-up-on", "Day on which the lesion is to be seen again")
        planned = {"system": DICOM, "code": "111054", "display": "Recommended Follow-up Date"}
        code["coding"].insert(0, planned)
        components.append({"code": code, "valueDateTime": read.follow_up_on.isoformat()})
    return {
        **_by_reader(clinic, case, decision, read),
        "code": _coded("observation", "decision", "What a person decided"),
        "valueCodeableConcept": _diagnosis(decision, read),
        "component": components,
    }


def _by_reader(clinic: Clinic, case: Case, decision: SettledDecision, read: Read) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "basedOn": _order(clinic, case),
        "status": decision.status,
        "category": _EXAMINATION,
        "subject": _subject(clinic, case),
        "effectiveDateTime": _instant(read.at),
        "issued": _instant(read.at),
        "performer": [_person(clinic, read.account)],
        "bodySite": {"text": case.site} if case.site else None,
    }


def _abcd(clinic: Clinic, case: Case, decision: SettledDecision, read: Read, filled: Abcd) -> dict[str, Any]:
    counted = (("asymmetry", filled.asymmetry, MOST_AXES), ("border", filled.border, MOST_SEGMENTS))
    components = [
        {"code": _coded("abcd", name, f"{name}, 0 to {most}"), "valueInteger": value}
        for name, value, most in counted
    ]
    for kind, known, given in (
        ("colour", COLOURS, filled.colours),
        ("structure", STRUCTURES, filled.structures),
    ):
        components += [
            {"code": _coded(kind, code, f"{kind}: {words}"), "valueBoolean": code in given}
            for code, words in known.items()
        ]
    return {
        **_by_reader(clinic, case, decision, read),
        "code": _coded("observation", "abcd", "Total dermoscopy score by the ABCD rule"),
        "method": {"text": "ABCD rule of dermatoscopy (Stolz 1994, Nachbar 1994)"},
        **_scored(filled),
        "component": components,
    }


def _seven_point(
    clinic: Clinic, case: Case, decision: SettledDecision, read: Read, filled: SevenPoint
) -> dict[str, Any]:
    return {
        **_by_reader(clinic, case, decision, read),
        "code": _coded("observation", "seven-point", "Score of the 7-point checklist"),
        "method": {"text": "7-point checklist (Argenziano 1998)"},
        **_scored(filled),
        "component": [
            {"code": _coded("criterion", code, words), "valueBoolean": code in filled.criteria}
            for code, words in CRITERIA.items()
        ],
    }


def _scored(filled: Abcd | SevenPoint) -> dict[str, Any]:
    return {
        "valueQuantity": {"value": filled.score, "unit": "points", "system": UNITS, "code": "{score}"},
        "interpretation": [_coded("verdict", filled.verdict, VERDICTS[filled.verdict])],
    }


def _outcome(clinic: Clinic, case: Case, outcome: Outcome) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "category": _EXAMINATION,
        "code": _coded("observation", "outcome", "What the lesion turned out to be"),
        "subject": _subject(clinic, case),
        "effectiveDateTime": _instant(outcome.at),
        "issued": _instant(outcome.at),
        "performer": [_person(clinic, outcome.account)] if outcome.account is not None else None,
        "bodySite": {"text": case.site} if case.site else None,
        "method": _coded("method", outcome.method, outcome.method),
        "valueCodeableConcept": _found(outcome),
    }


def _breslow(clinic: Clinic, case: Case, outcome: Outcome, thickness_mm: float) -> dict[str, Any]:
    return {
        **_outcome(clinic, case, outcome),
        "code": _coded("observation", "breslow", "Breslow thickness", snomed="breslow"),
        "valueCodeableConcept": None,
        "valueQuantity": {"value": thickness_mm, "unit": "mm", "system": UNITS, "code": "mm"},
    }


def _concluded(decision: SettledDecision) -> list[dict[str, Any]] | None:
    """What a report concludes: what the lesion turned out to be, or else what a person suspects."""
    if decision.outcome is not None:
        return [_found(decision.outcome)]
    return [_diagnosis(decision, decision.read)] if decision.read is not None else None


def _found(outcome: Outcome) -> dict[str, Any]:
    words = f"{name_of(outcome.diagnosis)} ({outcome.method})"
    return _coded("diagnosis", outcome.diagnosis, words, snomed=outcome.diagnosis)


def _device(case: Case) -> dict[str, Any]:
    assert case.model is not None
    card = case.model.card
    notes = ["Research software, not a medical device."]
    if card["training"]["synthetic"]:
        notes.append("Trained on drawn pictures: nothing that it says is about patients.")
    return {
        "resourceType": "Device",
        "identifier": [{"system": local_system("model"), "value": case.model.digest}],
        "status": "active",
        "deviceName": [{"name": _line(case.model.name) or "model", "type": "model-name"}],
        "type": {"text": "Software: a model that assesses photographs of skin lesions"},
        "version": [{"type": {"text": "digest of the model's card"}, "value": case.model.digest}],
        "property": [
            {
                "type": _coded("property", name, f"Melanoma probability from which the tier is {name}"),
                "valueQuantity": [_share(card["thresholds"][name]["value"])],
            }
            for name in ("alert", "refer")
        ],
        "note": [{"text": note} for note in notes],
    }


def _conclusion(case: Case, decision: SettledDecision) -> str:
    read = decision.read
    if decision.status == "entered-in-error":
        return "Withdrawn: entered in error. Nothing that was reported of this case holds."
    turned_out = ""
    if decision.outcome is not None:
        thickness = decision.outcome.breslow_mm
        depth = f", Breslow thickness {thickness:g} mm" if thickness is not None else ""
        turned_out = f"By {decision.outcome.method}: {name_of(decision.outcome.diagnosis)}{depth}. "
    if read is None and turned_out:
        return f"{turned_out}The photograph has been decided by nobody."
    if read is None:
        return f"By software alone, decided by nobody yet: {case.tier}, {MEANING[case.tier]}."  # type: ignore[index]
    changed = RESTORED if decision.restored else CHANGED.get(decision.status, "")
    certainty = f" ({read.certainty} certainty)" if read.certainty else ""
    planned = f" on {read.follow_up_on.isoformat()}" if read.follow_up_on is not None else ""
    filled = "".join(
        f" {name} {in_words(own)}."
        for name, own in (("ABCD rule", read.abcd), ("7-point checklist", read.seven_point))
        if own is not None
    )
    decided = f"Decided by a person: {_name(decision, read)}{certainty}. To be done: {read.action}{planned}."
    return f"{turned_out}{changed}{decided}{filled}"


def _name(decision: SettledDecision, read: Read) -> str:
    return suspicion(read, known=decision.outcome is not None)


def _diagnosis(decision: SettledDecision, read: Read) -> dict[str, Any]:
    """What a person made of a photograph: before histology a suspicion, in code and words."""
    words = _name(decision, read)
    codes = suspicion_codes(read)
    if not codes:
        return {"text": words}
    coding = [{"system": local_system("suspicion"), "code": own, "display": words} for own in codes[:1]]
    coding += [{"system": local_system("suspicion"), "code": own} for own in codes[1:]]
    if is_suspected(read):
        number, display = SUSPECTED
        coding.insert(0, {"system": SNOMED, "code": number, "display": display})
    return {"coding": coding, "text": words}


def _coded(system: str, code: str, text: str, *, snomed: str = "") -> dict[str, Any]:
    coding = [{"system": local_system(system), "code": code, "display": text}]
    if snomed in SNOMED_CODES:
        number, display = SNOMED_CODES[snomed]
        coding.insert(0, {"system": SNOMED, "code": number, "display": display})
    return {"coding": coding, "text": text}


def _absent(code: str, text: str) -> dict[str, Any]:
    return {"coding": [{"system": ABSENT, "code": code}], "text": text}


def _share(value: float) -> dict[str, Any]:
    return {"value": round(float(value), 6), "unit": "1", "system": UNITS, "code": "1"}


def _subject(clinic: Clinic, case: Case) -> dict[str, Any] | None:
    """The patient by number, with whoever issued it; a corrected number is not the header's issuer's."""
    if not case.patient:
        return None
    header = case.dicom or {}
    issuer = str(header.get("issuer", "")) if header.get("issued_for", case.patient) == case.patient else ""
    system = clinic.settings.fhir.patient or own_system(clinic.trail, "patient")
    if issuer:  # one that is named by no URI still tells its numbers from another's
        system = str(header.get("issuer_uri", "")) or local_system(f"patients of {issuer}")
    identifier = {"type": _numbered("MR", "Medical record number"), "system": system, "value": case.patient}
    if issuer:
        identifier["assigner"] = {"type": "Organization", "display": issuer}
    return {"type": "Patient", "identifier": identifier}


def _readers(clinic: Clinic, decision: SettledDecision) -> list[dict[str, Any]] | None:
    """Who is responsible for a report: whoever decided, never the model; R4 allows no Device here."""
    return [_person(clinic, decision.read.account)] if decision.read is not None else None


def _person(clinic: Clinic, account: Account) -> dict[str, Any]:
    system = clinic.settings.fhir.reader or own_system(clinic.trail, "reader")
    identifier = {"system": system, "value": account.name}
    return {"type": "Practitioner", "identifier": identifier, "display": account.full_name}


def _order(clinic: Clinic, case: Case) -> list[dict[str, Any]] | None:
    """The request that the photograph was taken for, by its accession number."""
    if not case.accession:
        return None
    identifier = {"type": _numbered("ACSN", "Accession ID"), "value": case.accession}
    if clinic.settings.fhir.accession:
        identifier["system"] = clinic.settings.fhir.accession
    return [{"type": "ServiceRequest", "identifier": identifier}]


def _numbered(code: str, display: str) -> dict[str, Any]:
    return {"coding": [{"system": IDENTIFIERS, "code": code, "display": display}]}


def _studies(cases: Sequence[Case]) -> Sequence[dict[str, Any]] | None:
    """The DICOM studies that photographs belong to, by their UIDs."""
    studies = dict.fromkeys((case.dicom or {}).get("study", "") for case in cases)
    return [
        {
            "type": "ImagingStudy",
            "identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{study}"},
        }
        for study in studies
        if study
    ] or None


def _meaning(part: Case) -> str:
    """What a part's tier means; a finding of silent mode is told to nobody."""
    return "the finding is not shown" if part.tier == SILENT else MEANING[part.tier]  # type: ignore[index]


def _how(part: Case) -> str:
    """How a photograph was taken, in words."""
    return part.technique or "not said how it was taken"


def _taken(clinic: Clinic, case: Case) -> str | None:
    """When the photograph was taken, where its file says so: the day alone where no zone is known, since FHIR
    takes no hour without one."""
    header = case.dicom or {}
    acquired, zone = case.taken or str(header.get("acquired", "")), str(header.get("zone", ""))
    if len(acquired) <= 10 or not (zone or clinic.settings.dicom.timezone):
        return acquired[:10] or None
    if zone:
        return acquired + zone
    local = datetime.fromisoformat(acquired).replace(tzinfo=ZoneInfo(clinic.settings.dicom.timezone))
    return local.isoformat(timespec="seconds")


def _told(case: Case, decision: SettledDecision, report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a report tells, line by line, for a person."""
    yield "Report", STATUS_IN_WORDS[decision.status]
    yield "Patient", case.patient or "not stated"
    for name, value in (("Lesion", case.lesion), ("Site", case.site), ("Accession number", case.accession)):
        if value:
            yield name, value
    yield "Case", str(case.id)
    if "effectiveDateTime" in report:
        yield "Photograph taken", report["effectiveDateTime"].replace("T", " ")
    yield "Photograph received", _readable(case.received_at)
    if decision.status == "entered-in-error":
        return
    assert case.finding is not None
    yield "Tier, by software", f"{case.tier}: {MEANING[case.tier]}"  # type: ignore[index]
    if case.tier in ASSESSED and case.melanoma is not None:
        yield "Probability of melanoma, by software", percent(case.melanoma)
    yield "Conclusion", report["conclusion"]
    if decision.read is not None:
        yield "Decided by", f"{decision.read.account.full_name}, {_readable(decision.read.at)}"
    yield "Note", "The software is for research and no medical device."


def _own_words(resource: Mapping[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    """The title of an Observation's or the Device's narrative, and its lines."""
    if resource["resourceType"] == "Device":
        title = f"{resource['type']['text']}: {resource['deviceName'][0]['name']}"
        notes = [("Note", note["text"]) for note in resource["note"]]
        return title, [("Version", resource["version"][0]["value"]), *notes]
    lines = [("Status", STATUS_IN_WORDS[resource["status"]])]
    if _value(resource):
        lines.append(("Result", _value(resource)))
    lines += [("Meaning", own["text"]) for own in resource.get("interpretation", ())]
    lines += [(part["code"]["text"], _value(part)) for part in resource.get("component", ())]
    lines += [("Reason", note["text"]) for note in resource.get("note", ())]
    return resource["code"]["text"], lines


def _value(part: Mapping[str, Any]) -> str:
    """A value of an Observation or one of its components, in words."""
    if "valueQuantity" in part:
        value, unit = part["valueQuantity"]["value"], part["valueQuantity"]["unit"]
        return decimal(value, 3) if unit == "1" else f"{value:g} {unit}"
    for kind in ("valueInteger", "valueDateTime"):
        if kind in part:
            return str(part[kind])
    if "valueBoolean" in part:
        return "yes" if part["valueBoolean"] else "no"
    if "dataAbsentReason" in part:
        return f"not given: {part['dataAbsentReason']['text']}"
    return str(part.get("valueCodeableConcept", {}).get("text", ""))


def _narrative(title: str, lines: Iterator[tuple[str, str]] | Sequence[tuple[str, str]]) -> dict[str, str]:
    div = _templates().get_template("narrative.html").render(title=_line(title), lines=lines)
    return {"status": "generated", "div": div.replace("\n", "")}


@cache
def _templates() -> Environment:
    return template_environment("dermsentry.clinic.export", {"line": _line}, escape=True)


def _readable(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text.encode("utf-8", "replace").decode()).strip()


def _instant(moment: datetime | None) -> str:
    assert moment is not None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def _place(case: Case, part: str) -> str:
    return uuid5(NAMESPACE, f"{case.id} {case.sha256} {_instant(case.received_at)} {part}").urn


def _without_nothing(resource: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in resource.items() if value not in (None, [], "")}
