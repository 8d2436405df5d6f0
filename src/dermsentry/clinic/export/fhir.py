"""A case as FHIR R4: a DiagnosticReport, its Observations, and the model as Device, in one Bundle.

Validated as R4B (4.3.0), of which these resources have the elements of R4 (4.0.1) and no others. The report
is preliminary until a person has decided, then final, and amended where the decision was changed. It holds no
pixel, no note, no name of a patient: the patient is the reference that the clinic gave.

SNOMED CT codes are given beside the clinic's own where one means the same, only for what a person decided:
a code for melanoma beside a probability would be read as melanoma.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid5

from fhir.resources.R4B.bundle import Bundle
from pydantic import ValidationError
from sqlalchemy.orm import Session

from dermsentry.clinic.export.coding import NAMESPACE, SCORES, SNOMED_CODES, oid
from dermsentry.clinic.export.decisions import SettledDecision, decision_of
from dermsentry.clinic.store.tables import ASSESSED, Case, Read
from dermsentry.diagnoses import CODES, name_of
from dermsentry.errors import InputError
from dermsentry.screening.triage import MEANING

SNOMED = "http://snomed.info/sct"
UNITS = "http://unitsofmeasure.org"
ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
UNDECIDED = "none of the nine diagnoses, or it cannot be told"


def local_system(name: str) -> str:
    """The address of the clinic's own codes, such as for `diagnosis`."""
    return f"urn:oid:{oid(name)}"


def fhir_bundle(session: Session, case: Case) -> dict[str, Any]:
    """A case as a FHIR Bundle of type `collection`, ready for JSON.

    The same case has the same identifiers however often it is exported.

    Raises
    ------
    InputError
        The case was not screened yet.
    """
    if case.finding is None or case.model is None or case.screened_at is None:
        raise InputError(f"Case {case.id} was not screened yet; there is nothing to report.")
    decision = decision_of(session, case)
    observations = _observations(case, decision)
    places = [_place(case, name) for name in observations]
    moment = decision.read.at if decision.read is not None else case.screened_at
    report = _without_nothing(
        {
            "resourceType": "DiagnosticReport",
            "identifier": [
                {"system": "urn:ietf:rfc:3986", "value": _place(case, "report")},
                {"type": {"text": "case number"}, "value": str(case.id)},
            ],
            "status": decision.status,
            "code": _coded("observation", "report", "Photograph of a skin lesion, assessed for melanoma"),
            "subject": _subject(case),
            "effectiveDateTime": _taken(case),
            "issued": _instant(moment),
            "performer": [{"reference": _place(case, "device")}],
            "resultsInterpreter": [_person(decision.read)] if decision.read is not None else None,
            "result": [{"reference": place} for place in places],
            "imagingStudy": _study(case),
            "conclusion": _conclusion(case, decision),
            "conclusionCode": [_diagnosis(decision.read)] if decision.read is not None else None,
        }
    )
    entries = [(_place(case, "report"), report), *zip(places, observations.values(), strict=True)]
    entries.append((_place(case, "device"), _device(case)))
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


def _observations(case: Case, decision: SettledDecision) -> dict[str, dict[str, Any]]:
    assert case.finding is not None
    # A decoder's own words may be among them.
    reasons = [reason for reason in (_line(str(given)) for given in case.finding["reasons"]) if reason]
    probabilities = case.finding["probabilities"]
    shared = {
        "resourceType": "Observation",
        "status": "preliminary" if decision.read is None else "final",
        "category": [{"coding": [{"system": CATEGORY, "code": "imaging", "display": "Imaging"}]}],
        "subject": _subject(case),
        "effectiveDateTime": _taken(case),
        "issued": _instant(case.screened_at),
        "bodySite": {"text": case.site} if case.site else None,
        "device": {"reference": _place(case, "device")},
        "derivedFrom": _study(case),
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
    if decision.read is not None:
        found["decision"] = _decision(case, decision, decision.read)
    return {name: _without_nothing(observation) for name, observation in found.items()}


def _decision(case: Case, decision: SettledDecision, read: Read) -> dict[str, Any]:
    components: list[dict[str, Any]] = [
        {
            "code": _coded("observation", "action", "What is to be done"),
            "valueCodeableConcept": _coded("action", read.action, read.action, snomed=read.action),
        }
    ]
    if read.agrees is not None:
        agrees = _coded("observation", "agrees", "Whether the reader agrees with the model")
        components.append({"code": agrees, "valueBoolean": read.agrees})
    return {
        "resourceType": "Observation",
        "status": decision.status,
        "code": _coded("observation", "decision", "What a person decided"),
        "subject": _subject(case),
        "effectiveDateTime": _instant(read.at),
        "issued": _instant(read.at),
        "performer": [_person(read)],
        "bodySite": {"text": case.site} if case.site else None,
        "valueCodeableConcept": _diagnosis(read),
        "component": components,
    }


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
    if read is None:
        return f"By software alone, decided by nobody yet: {case.tier}, {MEANING[case.tier]}."  # type: ignore[index]
    changed = "Changed since it was first decided. " if decision.status == "amended" else ""
    return f"{changed}Decided by a person: {_name(read)}. To be done: {read.action}."


def _name(read: Read) -> str:
    return name_of(read.diagnosis) if read.diagnosis else UNDECIDED


def _diagnosis(read: Read) -> dict[str, Any]:
    if not read.diagnosis:
        return {"text": UNDECIDED}
    return _coded("diagnosis", read.diagnosis, _name(read), snomed=read.diagnosis)


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


def _subject(case: Case) -> dict[str, Any] | None:
    return {"type": "Patient", "identifier": {"value": case.patient}} if case.patient else None


def _person(read: Read) -> dict[str, Any]:
    return {"type": "Practitioner", "display": read.account.full_name}


def _study(case: Case) -> Sequence[dict[str, Any]] | None:
    """The DICOM study that the photograph belongs to, by its UID."""
    study = (case.dicom or {}).get("study", "")
    if not study:
        return None
    identifier = {"system": "urn:dicom:uid", "value": f"urn:oid:{study}"}
    return [{"type": "ImagingStudy", "identifier": identifier}]


def _taken(case: Case) -> str | None:
    """The day the photograph was taken, where its file says so; FHIR takes no hour without its zone."""
    return str((case.dicom or {}).get("acquired", ""))[:10] or None


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text.encode("utf-8", "replace").decode()).strip()


def _instant(moment: datetime | None) -> str:
    assert moment is not None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def _place(case: Case, part: str) -> str:
    return uuid5(NAMESPACE, f"{case.id} {case.sha256} {_instant(case.received_at)} {part}").urn


def _without_nothing(resource: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in resource.items() if value not in (None, [], "")}
