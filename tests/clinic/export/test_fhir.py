"""What leaves as FHIR conforms, says who decided, and holds nothing that was not asked for."""

from __future__ import annotations

import json
import shutil
import subprocess
import typing
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from itertools import cycle
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from bs4 import BeautifulSoup
from fhir.resources.R4B.bundle import Bundle
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from clinic.dicom_files import dicom_bytes
from clinic.filled_store import Store, card, decide, finding, screen, take, undo
from dermsentry.clinic.checklists import Abcd, SevenPoint
from dermsentry.clinic.clinic import Clinic, open_clinic
from dermsentry.clinic.export import fhir
from dermsentry.clinic.export.case_table import case_table
from dermsentry.clinic.export.decisions import SettledDecision, settle
from dermsentry.clinic.export.fhir import SNOMED, fhir_bundle, local_system
from dermsentry.clinic.intake.admission import About
from dermsentry.clinic.monitoring.outcomes import record_outcome
from dermsentry.clinic.settings import Dicom, Fhir, Settings
from dermsentry.clinic.store.accounts import MAY, Person
from dermsentry.clinic.store.audit_trail import open_trail
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import ACTIONS, Account, Case, Model, Outcome, Read, now
from dermsentry.clinic.worklist.corrections import correct, restore, withdraw
from dermsentry.diagnoses import CODES
from dermsentry.dicom.text import text as text_of_header
from dermsentry.errors import InputError
from dermsentry.files import plain
from dermsentry.screening.triage import TIERS

R4_ELEMENTS = {
    "Bundle": "identifier type timestamp total link entry signature",
    "DiagnosticReport": "text identifier basedOn status category code subject encounter effectiveDateTime "
    "effectivePeriod issued performer resultsInterpreter specimen result imagingStudy media conclusion "
    "conclusionCode presentedForm",
    "Observation": "text identifier basedOn partOf status category code subject focus encounter "
    "effectiveDateTime issued performer valueQuantity valueCodeableConcept valueBoolean dataAbsentReason "
    "interpretation note bodySite method specimen device referenceRange hasMember derivedFrom component",
    "Device": "text identifier definition udiCarrier status statusReason distinctIdentifier manufacturer "
    "manufactureDate expirationDate lotNumber serialNumber deviceName modelNumber partNumber type "
    "specialization version property patient owner contact location url note safety parent",
}
"""The elements of FHIR 4.0.1, from its specification: the library checks against 4.3.0 and 5.0 alone."""

_ORDERS = {"CarePlan", "ImmunizationRecommendation", "MedicationRequest", "NutritionOrder", "ServiceRequest"}
_PEOPLE = {"Practitioner", "PractitionerRole", "Organization", "CareTeam"}
R4_TARGETS = {
    "DiagnosticReport.basedOn": _ORDERS,
    "DiagnosticReport.subject": {"Patient", "Group", "Device", "Location"},
    "DiagnosticReport.performer": _PEOPLE,
    "DiagnosticReport.resultsInterpreter": _PEOPLE,
    "DiagnosticReport.result": {"Observation"},
    "DiagnosticReport.imagingStudy": {"ImagingStudy"},
    "Observation.basedOn": {*_ORDERS, "DeviceRequest"},
    "Observation.subject": {"Patient", "Group", "Device", "Location"},
    "Observation.performer": {*_PEOPLE, "Patient", "RelatedPerson"},
    "Observation.device": {"Device", "DeviceMetric"},
    "Observation.derivedFrom": {"DocumentReference", "ImagingStudy", "Media", "QuestionnaireResponse"}
    | {"Observation", "MolecularSequence"},
}
"""What each reference may be to, from the StructureDefinitions of 4.0.1; 4.3.0 allows more as a subject. Held
here too so that it is checked where no Node.js is, which the validator below needs."""

STATUS = {
    "DiagnosticReport": "registered partial preliminary final amended corrected appended cancelled "
    "entered-in-error unknown",
    "Observation": "registered preliminary final amended corrected cancelled entered-in-error unknown",
    "Device": "active inactive entered-in-error unknown",
}


ABCD = Abcd(2, 5, ("light-brown", "dark-brown", "black"), ("network", "dots"))
SEVEN, NO_POINT = SevenPoint(("atypical-network", "regression")), SevenPoint(())


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def exported(store: Store, case_id: int) -> dict[str, Any]:
    with reading(store.engine) as session:
        bundle = fhir_bundle(session, store, session.get_one(Case, case_id))
    return dict(json.loads(json.dumps(bundle, allow_nan=False)))


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind]


def observation(bundle: dict[str, Any], code: str) -> dict[str, Any]:
    (found,) = (o for o in resources(bundle, "Observation") if o["code"]["coding"][0]["code"] == code)
    return found


def wrong_values(resource: BaseModel) -> list[str]:
    """Values outside their required value set, which the library knows and does not check."""
    wrong = []
    for name, field in type(resource).model_fields.items():
        value = getattr(resource, name)
        extra = field.json_schema_extra
        allowed = extra.get("enum_values") if isinstance(extra, dict) else None
        if value is not None and isinstance(allowed, list) and "+" not in allowed and value not in allowed:
            wrong.append(f"{name}={value}")
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, BaseModel):
                wrong += wrong_values(each)
    return wrong


def require_conformity(bundle: dict[str, Any]) -> None:
    checked = Bundle.model_validate(bundle)
    assert wrong_values(typing.cast(BaseModel, checked)) == []
    kinds = {entry["fullUrl"]: entry["resource"]["resourceType"] for entry in bundle["entry"]}
    places = set(kinds)
    for entry in bundle["entry"]:
        resource = entry["resource"]
        known = R4_ELEMENTS[resource["resourceType"]].split()
        assert set(resource) <= {"resourceType", *known}
        assert set(references(resource)) <= places
        assert resource["status"] in STATUS[resource["resourceType"]].split()
        if resource["resourceType"] == "Observation":
            assert not ("dataAbsentReason" in resource and any(k.startswith("value") for k in resource))
        assert wrong_targets(resource, kinds) == []
        narrative = ElementTree.fromstring(resource["text"]["div"])
        assert narrative.tag == "{http://www.w3.org/1999/xhtml}div"
        assert "".join(narrative.itertext()).strip()
    assert set(bundle) <= {"resourceType", *R4_ELEMENTS["Bundle"].split()}


def target_of(value: Any, kinds: dict[str, str]) -> str | None:
    """The kind of resource that a value refers to; None where it is no reference."""
    if not isinstance(value, dict):
        return None
    stated = value.get("type")
    kind = kinds.get(value.get("reference", ""), stated)
    return kind if isinstance(kind, str) and kind[:1].isupper() else None


def wrong_targets(resource: dict[str, Any], kinds: dict[str, str]) -> list[str]:
    """References of a resource to what R4 does not allow there; `kinds`: of the bundle's resources."""
    wrong = []
    for name, value in resource.items():
        for one in value if isinstance(value, list) else [value]:
            target = target_of(one, kinds)
            if target and target not in R4_TARGETS[f"{resource['resourceType']}.{name}"]:
                wrong.append(f"{name}: {target}")
    return wrong


def references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [found for each in value for found in references(each)]
    if isinstance(value, dict):
        own = [value["reference"]] if "reference" in value else []
        return own + [found for each in value.values() for found in references(each)]
    return []


@pytest.mark.parametrize("patient", ["", "P-7"])
def test_every_report_conforms(store: Store, patient: str) -> None:
    for seed, tier in enumerate(TIERS):
        number = take(store, dicom_bytes(seed, PatientID=patient), lesion="left", note="private")
        screen(store, number, tier)
        for decided in (False, True):
            if decided:
                decide(store, number)
            bundle = exported(store, number)
            require_conformity(bundle)
            (report,) = resources(bundle, "DiagnosticReport")
            assert report["status"] == ("final" if decided else "preliminary")
            assert ("subject" in report) is bool(patient)
            assert ("conclusionCode" in report) is decided
            assert len(report["result"]) == (5 if decided else 4)


def test_a_report_that_was_bent_does_not_conform(store: Store) -> None:
    number = take(store, dicom_bytes())
    screen(store, number)
    bundle = exported(store, number)
    for bent in (bundle["entry"][0]["resource"], bundle["entry"][-1]["resource"]["deviceName"][0]):
        name = "status" if "status" in bent else "type"
        right, bent[name] = bent[name], "done"
        with pytest.raises(AssertionError):
            require_conformity(bundle)
        bent[name] = right
    require_conformity(bundle)
    del bundle["entry"][0]["resource"]["status"]
    with pytest.raises(ValidationError):
        require_conformity(bundle)


def test_before_a_person_decides_it_says_so(store: Store) -> None:
    number = take(store, dicom_bytes())
    screen(store, number, "alert", 0.61)
    decide(store, number, decided=False)  # the first of two readers
    bundle = exported(store, number)
    (report,) = resources(bundle, "DiagnosticReport")
    assert report["status"] == "preliminary"
    assert "decided by nobody yet" in report["conclusion"]
    assert {o["status"] for o in resources(bundle, "Observation")} == {"preliminary"}
    assert "Beispiel" not in json.dumps(bundle)
    assert SNOMED not in json.dumps(bundle)
    melanoma = next(
        part
        for part in observation(bundle, "probabilities")["component"]
        if part["code"]["coding"][0]["code"] == "MEL"
    )
    assert melanoma["valueQuantity"] == {
        "value": 0.61,
        "unit": "1",
        "system": "http://unitsofmeasure.org",
        "code": "1",
    }
    assert observation(bundle, "no-lesion")["valueQuantity"]["value"] == 0.02
    assert observation(bundle, "out-of-distribution")["valueQuantity"]["value"] == 0.07
    assert observation(bundle, "tier")["valueCodeableConcept"]["coding"][0]["code"] == "alert"


def test_a_decision_is_final_and_says_whose(store: Store) -> None:
    number = take(store, dicom_bytes())
    screen(store, number)
    decide(store, number, diagnosis="MEL", action="biopsy")
    bundle = exported(store, number)
    (report,) = resources(bundle, "DiagnosticReport")
    assert report["status"] == "final"
    (reader,) = report["resultsInterpreter"]
    assert report["performer"] == [reader]
    assert (reader["type"], reader["display"]) == ("Practitioner", "Dr. Anna Beispiel")
    assert reader["identifier"]["value"] == "reader"
    # Before histology a suspicion, in code and words: no receiver reads it as melanoma.
    assert {coding["code"] for coding in report["conclusionCode"][0]["coding"]} == {"162572001", "MEL"}
    assert report["conclusionCode"][0]["text"] == "suspicion of melanoma, no histology"
    assert "suspicion of melanoma" in report["conclusion"]
    assert "93655004" not in json.dumps(bundle)
    decision = observation(bundle, "decision")
    assert "device" not in decision
    assert {c["code"] for c in decision["component"][0]["valueCodeableConcept"]["coding"]} == {
        "240977001",
        "biopsy",
    }


def test_every_decision_conforms(store: Store) -> None:
    number = take(store, dicom_bytes())
    screen(store, number)
    for diagnosis, action in zip(("", *CODES), cycle(ACTIONS), strict=False):  # each by itself has its code
        read = decide(store, number, diagnosis=diagnosis, action=action)
        bundle = exported(store, number)
        require_conformity(bundle)
        (code,) = resources(bundle, "DiagnosticReport")[0]["conclusionCode"]
        local = [c["code"] for c in code.get("coding", []) if c["system"] == local_system("suspicion")]
        assert local == ([diagnosis] if diagnosis else [])
        undo(store, read)


def test_a_decision_that_was_changed_is_amended_under_the_same_number(store: Store) -> None:
    number = take(store, dicom_bytes())
    screen(store, number)
    first = decide(store, number, diagnosis="NV", action="discharge")
    before = exported(store, number)
    undo(store, first)
    assert resources(exported(store, number), "DiagnosticReport")[0]["status"] == "preliminary"
    decide(store, number, diagnosis="MEL", action="biopsy")
    after = exported(store, number)
    require_conformity(after)
    (report,) = resources(after, "DiagnosticReport")
    assert report["status"] == "amended"
    assert report["conclusion"].startswith("Changed since")
    assert observation(after, "decision")["status"] == "amended"
    assert [e["fullUrl"] for e in before["entry"]] == [e["fullUrl"] for e in after["entry"]]


def chief(store: Store) -> Person:
    with writing(store.engine) as session:
        account = Account(name="chief", full_name="Chief", role="administrator", password_hash="-")
        session.add(account)
        session.flush()
        return Person(account.id, "chief", "Chief", account.role, MAY[account.role])


def test_a_corrected_patient_and_a_withdrawn_case_are_told_in_fhirs_words(store: Store) -> None:
    number, person = take(store, dicom_bytes()), chief(store)
    screen(store, number)
    with writing(store.engine) as session:
        correct(session, store, number, person, {"patient": "P-1"}, "why")
    (report,) = resources(exported(store, number), "DiagnosticReport")
    assert report["status"] == "preliminary"  # nothing had been decided of the other patient
    decide(store, number, diagnosis="MEL", action="biopsy")
    with writing(store.engine) as session:
        correct(session, store, number, person, {"patient": "P-2", "accession": "A-9"}, "exchanged")
    bundle = exported(store, number)
    require_conformity(bundle)
    (report,) = resources(bundle, "DiagnosticReport")
    assert report["status"] == "corrected"
    assert {own["status"] for own in resources(bundle, "Observation")} == {"corrected"}
    assert {own["subject"]["identifier"]["value"] for own in resources(bundle, "Observation")} == {"P-2"}
    assert report["basedOn"][0]["identifier"]["value"] == "A-9"
    assert "exchanged" not in json.dumps(bundle)
    with writing(store.engine) as session:
        withdraw(session, store, number, person, "private")
    bundle = exported(store, number)
    require_conformity(bundle)
    (report,) = resources(bundle, "DiagnosticReport")
    assert report["status"] == "entered-in-error"
    assert {own["status"] for own in resources(bundle, "Observation")} == {"entered-in-error"}
    assert "conclusionCode" not in report


def test_a_restored_case_is_reported_as_corrected_since_it_was_said_to_be_an_error(store: Store) -> None:
    number, person = take(store, dicom_bytes()), chief(store)
    screen(store, number)
    decide(store, number, diagnosis="MEL", action="biopsy")
    (report,) = resources(exported(store, number), "DiagnosticReport")
    assert report["status"] == "final"
    with writing(store.engine) as session:
        withdraw(session, store, number, person, "why")
    (report,) = resources(exported(store, number), "DiagnosticReport")
    assert report["status"] == "entered-in-error"
    with writing(store.engine) as session:
        restore(session, store, number, person, "it was none")
    bundle = exported(store, number)
    require_conformity(bundle)
    (report,) = resources(bundle, "DiagnosticReport")
    assert report["status"] == "corrected"
    assert report["conclusion"].startswith("Withdrawn for a time and restored since")
    assert {own["status"] for own in resources(bundle, "Observation")} == {"corrected"}
    with reading(store.engine) as session:
        (_, row) = "".join(case_table(session, columns=("decision",))).split()
    assert row == "corrected"


def test_a_case_that_was_restored_before_it_was_decided_is_never_final(store: Store) -> None:
    number, person = take(store, dicom_bytes()), chief(store)
    screen(store, number)
    with writing(store.engine) as session:
        withdraw(session, store, number, person, "why")
    with writing(store.engine) as session:
        restore(session, store, number, person, "why")
    (report,) = resources(exported(store, number), "DiagnosticReport")
    assert report["status"] == "preliminary"
    decide(store, number, diagnosis="MEL", action="biopsy")
    (report,) = resources(exported(store, number), "DiagnosticReport")
    assert report["status"] == "corrected"


@pytest.mark.parametrize("decided", [False, True])
def test_histology_is_an_observation_of_the_amended_report(store: Store, decided: bool) -> None:
    number, person = take(store, dicom_bytes()), chief(store)
    screen(store, number)
    if decided:
        decide(store, number, diagnosis="MEL", action="biopsy")
    before = exported(store, number)
    with writing(store.engine) as session:
        revision = session.get_one(Case, number).revision
        record_outcome(session, store, number, person, diagnosis="NV", method="histology", note="private")
        assert session.get_one(Case, number).revision == revision + 1  # what left is outdated
    bundle = exported(store, number)
    require_conformity(bundle)
    (report,) = resources(bundle, "DiagnosticReport")
    assert report["status"] == ("amended" if decided else "preliminary")
    assert report["conclusion"].startswith("By histology: nevus. ")
    assert "no histology" not in json.dumps(bundle)
    assert [c["code"] for c in report["conclusionCode"][0]["coding"]] == ["NV"]
    outcome = observation(bundle, "outcome")
    assert outcome["status"] == "final"
    assert outcome["valueCodeableConcept"]["text"] == "nevus (histology)"
    (told,) = outcome["performer"]
    assert (told["type"], told["identifier"]["value"], told["display"]) == ("Practitioner", "chief", "Chief")
    assert len(report["result"]) == len(resources(before, "DiagnosticReport")[0]["result"]) + 1
    assert report["issued"] > resources(before, "DiagnosticReport")[0]["issued"]
    assert "private" not in json.dumps(bundle)
    with writing(store.engine) as session:  # the latest counts
        record_outcome(session, store, number, person, diagnosis="MEL", method="histology")
    codes = resources(exported(store, number), "DiagnosticReport")[0]["conclusionCode"][0]["coding"]
    assert {c["code"] for c in codes} == {"93655004", "MEL"}


EVERYTHING: list[dict[str, Any]] = [
    {"diagnosis": "MEL", "finer": "MIS", "certainty": "high", "abcd": ABCD, "seven_point": SEVEN},
    {"diagnosis": "NV", "finer": "DYS", "action": "follow-up", "follow_up_on": date(2027, 1, 31)},
    {"diagnosis": "", "other": "Kaposi sarcoma", "other_code": "ICD-O 9140/3", "certainty": "low"},
    {"diagnosis": "", "other": "Merkel cell carcinoma", "other_code": "ICD-10 C44.3"},
    {"diagnosis": "", "other": "angiokeratoma", "other_code": "SNOMED 13200007", "seven_point": NO_POINT},
    {"diagnosis": "", "other": "an <i>ink</i> spot"},
]
"""Decisions that together hold all that one may hold."""


def test_a_finer_diagnosis_and_one_in_words_leave_as_what_is_suspected(store: Store) -> None:
    number = take(store, dicom_bytes())
    screen(store, number)
    said = []
    for details in EVERYTHING:
        read = decide(store, number, **details)
        bundle = exported(store, number)
        require_conformity(bundle)
        (report,) = resources(bundle, "DiagnosticReport")
        (code,) = report["conclusionCode"]
        assert code == observation(bundle, "decision")["valueCodeableConcept"]
        assert code["text"] in report["conclusion"]
        said.append((code["text"].removesuffix(", no histology"), [c["code"] for c in code["coding"]]))
        if SNOMED in str(code):
            assert code["coding"][0] == {
                "system": SNOMED, "code": "162572001", "display": "Suspected malignancy",
            }  # fmt: skip
        assert "109266006" not in json.dumps(bundle)  # melanoma in situ, which nobody has proved
        undo(store, read)
    assert said == [
        ("suspicion of melanoma in situ", ["162572001", "MIS", "MEL"]),
        ("clinically dysplastic nevus", ["DYS", "NV"]),
        ("suspicion of Kaposi sarcoma (ICD-O 9140/3)", ["162572001", "other"]),
        ("suspicion of Merkel cell carcinoma (ICD-10 C44.3)", ["162572001", "other"]),
        ("clinically angiokeratoma (SNOMED 13200007)", ["other"]),
        ("clinically an <i>ink</i> spot", ["other"]),
    ]


def components(resource: dict[str, Any]) -> dict[str, Any]:
    """Each component's value by the clinic's own code."""
    return {
        part["code"]["coding"][-1]["code"]: next(v for k, v in part.items() if k.startswith("value"))
        for part in resource["component"]
    }


def test_certainty_the_readers_code_and_the_day_of_follow_up_are_components(store: Store) -> None:
    number = take(store, dicom_bytes())
    screen(store, number)
    read = decide(store, number, **EVERYTHING[2])
    bundle = exported(store, number)
    told = components(observation(bundle, "decision"))
    assert told["certainty"]["coding"][0]["code"] == "low"
    assert told["other-code"]["coding"] == [
        {"system": "http://terminology.hl7.org/CodeSystem/icd-o-3", "code": "9140/3"}
    ]
    (report,) = resources(bundle, "DiagnosticReport")
    assert "(low certainty)" in report["conclusion"]
    undo(store, read)
    decide(store, number, **EVERYTHING[1])
    bundle = exported(store, number)
    assert components(observation(bundle, "decision"))["follow-up-on"] == "2027-01-31"
    (report,) = resources(bundle, "DiagnosticReport")
    assert "To be done: follow-up on 2027-01-31." in report["conclusion"]
    assert "2027-01-31" in observation(bundle, "decision")["text"]["div"]


def test_checklists_leave_with_their_scores_meaning_and_every_criterion(store: Store) -> None:
    number = take(store, dicom_bytes())
    screen(store, number)
    decide(store, number, **EVERYTHING[0])
    bundle = exported(store, number)
    require_conformity(bundle)
    abcd, seven = observation(bundle, "abcd"), observation(bundle, "seven-point")
    assert abcd["valueQuantity"] == {
        "value": 5.6, "unit": "points", "system": "http://unitsofmeasure.org", "code": "{score}",
    }  # fmt: skip
    assert abcd["interpretation"][0]["text"] == "highly suspicious of melanoma"
    told = components(abcd)
    assert (told["asymmetry"], told["border"]) == (2, 5)
    assert {own for own, there in told.items() if there is True} == {*ABCD.colours, *ABCD.structures}
    assert len(told) == 2 + 6 + 5
    assert seven["valueQuantity"]["value"] == 3
    assert seven["interpretation"][0]["coding"][0]["code"] == "suspicious"
    assert [own for own, there in components(seven).items() if there] == list(SEVEN.criteria)
    assert len(components(seven)) == 7
    assert abcd["performer"] == seven["performer"] == observation(bundle, "decision")["performer"]
    assert len(resources(bundle, "DiagnosticReport")[0]["result"]) == 7
    assert "ABCD rule 5.6 (above 5.45" in resources(bundle, "DiagnosticReport")[0]["conclusion"]
    assert "<th>colour: black</th><td>yes</td>" in abcd["text"]["div"]


def test_the_breslow_thickness_is_an_observation_with_its_code_in_millimetres(store: Store) -> None:
    number, person = take(store, dicom_bytes()), chief(store)
    screen(store, number)
    decide(store, number)
    with writing(store.engine) as session:
        proved = {"diagnosis": "MEL", "method": "histology", "breslow_mm": 0.84}
        record_outcome(session, store, number, person, **proved)  # type: ignore[arg-type]
    bundle = exported(store, number)
    require_conformity(bundle)
    (found,) = (o for o in resources(bundle, "Observation") if "106243009" in str(o["code"]))
    assert found["valueQuantity"] == {
        "value": 0.84, "unit": "mm", "system": "http://unitsofmeasure.org", "code": "mm",
    }  # fmt: skip
    assert "valueCodeableConcept" not in found
    assert found["performer"][0]["identifier"]["value"] == "chief"
    (report,) = resources(bundle, "DiagnosticReport")
    assert report["conclusion"].startswith("By histology: melanoma, Breslow thickness 0.84 mm. ")


def test_no_device_performs_a_report_and_the_request_is_named(store: Store) -> None:
    number = take(store, dicom_bytes())
    screen(store, number)
    bundle = exported(store, number)
    (report,) = resources(bundle, "DiagnosticReport")
    assert "performer" not in report  # R4: a Practitioner or an Organization, never a Device
    (order,) = report["basedOn"]
    assert (order["type"], order["identifier"]["value"]) == ("ServiceRequest", "A-1")
    assert "system" not in order["identifier"]
    assert report["category"][0]["coding"][0]["code"] == "IMG"
    assert observation(bundle, "tier")["basedOn"] == report["basedOn"]
    report["performer"] = [{"type": "Device", "display": "the model"}]
    with pytest.raises(AssertionError, match="performer: Device"):
        require_conformity(bundle)


def issuer(**qualified: str) -> Sequence:
    item = Dataset()
    for name, value in qualified.items():
        setattr(item, name, value)
    return Sequence([item])


ISSUERS: dict[str, tuple[dict[str, Any], str, str]] = {
    "none": ({"IssuerOfPatientID": None}, "urn:oid:1.2.3", ""),
    "an object identifier": ({"IssuerOfPatientID": "1.2.276.0.76"}, "urn:oid:1.2.276.0.76", "1.2.276.0.76"),
    "an address": (
        {"IssuerOfPatientID": "https://example.org/p"},
        "https://example.org/p",
        "https://example.org/p",
    ),
    "a name": ({}, local_system("patients of Klinik"), "Klinik"),
    "a name, qualified": (
        {
            "IssuerOfPatientIDQualifiersSequence": issuer(
                UniversalEntityID="1.2.276.0.99", UniversalEntityIDType="ISO"
            )
        },
        "urn:oid:1.2.276.0.99",
        "Klinik",
    ),
    "qualified as something else": (
        {
            "IssuerOfPatientIDQualifiersSequence": issuer(
                UniversalEntityID="1.2.276.0.99", UniversalEntityIDType="DNS"
            )
        },
        local_system("patients of Klinik"),
        "Klinik",
    ),
}


@pytest.mark.parametrize("name", ISSUERS)
def test_a_patients_number_is_of_whoever_issued_it(store: Store, name: str) -> None:
    header, system, assigner = ISSUERS[name]
    store = replace(store, settings=Settings(fhir=Fhir(patient="urn:oid:1.2.3")))
    number = take(store, dicom_bytes(**header))
    screen(store, number)
    bundle = exported(store, number)
    require_conformity(bundle)
    (report,) = resources(bundle, "DiagnosticReport")
    told = report["subject"]["identifier"]
    assert (told["value"], told["system"]) == ("P-0042", system)
    assert told.get("assigner", {}).get("display", "") == assigner
    person = chief(store)
    with writing(store.engine) as session:  # a number that a person corrected is not the header's issuer's
        correct(session, store, number, person, {"patient": "P-1"}, "why")
    (report,) = resources(exported(store, number), "DiagnosticReport")
    assert report["subject"]["identifier"]["system"] == "urn:oid:1.2.3"


def test_numbers_are_of_the_systems_that_are_set_or_of_this_clinic_alone(
    store: Store, tmp_path: Path
) -> None:
    number = take(store, dicom_bytes(IssuerOfPatientID=None))
    screen(store, number)
    decide(store, number)

    def systems(of: Clinic) -> dict[str, str | None]:
        with reading(store.engine) as session:
            bundle = fhir_bundle(session, of, session.get_one(Case, number))
        require_conformity(json.loads(json.dumps(bundle)))
        (report,) = resources(bundle, "DiagnosticReport")
        return {
            "patient": report["subject"]["identifier"]["system"],
            "accession": report["basedOn"][0]["identifier"].get("system"),
            "case": report["identifier"][1]["system"],
            "reader": report["performer"][0]["identifier"]["system"],
        }

    named = {name: f"urn:oid:1.2.{place}" for place, name in enumerate(Fhir.model_fields)}
    assert systems(replace(store, settings=Settings(fhir=Fhir(**named)))) == named
    own, other = systems(store), systems(replace(store, trail=open_trail(tmp_path / "another")))
    assert systems(store) == own
    assert own["accession"] is None
    for name in ("patient", "case", "reader"):
        assert str(own[name]).startswith("urn:uuid:")
        assert own[name] != other[name]
    assert len(set(own.values())) == 4


TAKEN = {
    "a zone in the header": ({"TimezoneOffsetFromUTC": "-0330"}, "", "2025-03-04T10:20:30-03:30"),
    "a zone of the moment": (
        {"AcquisitionDateTime": "20250304102030.12+0900", "TimezoneOffsetFromUTC": "+0100"},
        "",
        "2025-03-04T10:20:30+09:00",
    ),
    "no zone": ({}, "", "2025-03-04"),
    "the clinic's zone": ({}, "Europe/Berlin", "2025-03-04T10:20:30+01:00"),
    "the clinic's zone in summer": (
        {"AcquisitionDateTime": "20250704102030"},
        "Europe/Berlin",
        "2025-07-04T10:20:30+02:00",
    ),
    "the header's zone first": (
        {"TimezoneOffsetFromUTC": "+0530"},
        "Europe/Berlin",
        "2025-03-04T10:20:30+05:30",
    ),
    "a day": ({"AcquisitionDateTime": "20250304"}, "Europe/Berlin", "2025-03-04"),
    "no zone that there is": ({"TimezoneOffsetFromUTC": "+9900"}, "", "2025-03-04"),
    "not stated": ({"AcquisitionDateTime": None}, "Europe/Berlin", None),
}


@pytest.mark.parametrize("name", TAKEN)
def test_when_it_was_taken_has_its_hour_where_the_zone_is_known(store: Store, name: str) -> None:
    header, zone, moment = TAKEN[name]
    store = replace(store, settings=Settings(dicom=Dicom(timezone=zone)))
    number = take(store, dicom_bytes(**header))
    screen(store, number)
    bundle = exported(store, number)
    require_conformity(bundle)
    (report,) = resources(bundle, "DiagnosticReport")
    assert report.get("effectiveDateTime") == moment


def test_a_person_can_read_the_narrative(store: Store) -> None:
    number, person = take(store, dicom_bytes(), lesion="L<1>"), chief(store)
    screen(store, number, "alert", 0.61)
    decide(store, number, diagnosis="MEL", action="biopsy")
    bundle = exported(store, number)
    lines = rows(resources(bundle, "DiagnosticReport")[0])
    assert lines["Report"] == "final"
    assert (lines["Patient"], lines["Lesion"], lines["Accession number"]) == ("P-0042", "L<1>", "A-1")
    assert lines["Probability of melanoma, by software"] == "61.0 %"
    assert "suspicion of melanoma" in lines["Conclusion"]
    assert lines["Decided by"].startswith("Dr. Anna Beispiel, 20")
    assert rows(observation(bundle, "probabilities"))["Probability of melanoma"] == "0.610"
    assert rows(observation(bundle, "decision"))["What is to be done"] == "biopsy"
    with writing(store.engine) as session:
        withdraw(session, store, number, person, "private")
    report = resources(exported(store, number), "DiagnosticReport")[0]
    assert rows(report)["Report"].startswith("entered in error")
    assert "61" not in report["text"]["div"]
    assert "private" not in report["text"]["div"]


@pytest.mark.parametrize("tier", ["cannot-say", "unreadable"])
def test_a_narrative_withholds_what_is_withheld(store: Store, tier: str) -> None:
    number = take(store, dicom_bytes())
    screen(store, number, tier, 0.034)
    bundle = exported(store, number)
    assert "Probability of melanoma, by software" not in rows(resources(bundle, "DiagnosticReport")[0])
    assert rows(observation(bundle, "probabilities"))["Result"].startswith("not given: ")
    assert "3.4" not in json.dumps(bundle)


def rows(resource: dict[str, Any]) -> dict[str, str]:
    """The lines of a narrative."""
    page = BeautifulSoup(resource["text"]["div"], "html.parser")
    return {row.th.get_text(): row.td.get_text() for row in page.select("tr") if row.th and row.td}


@pytest.fixture(scope="session")
def validator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kept validator with R4's own StructureDefinitions, which needs Node.js."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no Node.js, which the FHIR validator needs")
    folder = tmp_path_factory.mktemp("validator") / "r4"
    shutil.copytree(Path(__file__).with_name("r4_validator"), folder)
    quiet = ("--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--silent")
    if subprocess.run(["npm", "install", *quiet], cwd=folder, check=False).returncode:
        pytest.skip("the FHIR validator cannot be installed")
    return folder


def problems(validator: Path, resources: list[dict[str, Any]]) -> list[list[str]]:
    done = subprocess.run(
        ["node", "validate.js"],
        cwd=validator,
        input=json.dumps(resources),
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr[-500:]
    return list(json.loads(done.stdout))


def addressed(value: Any, kinds: dict[str, str]) -> Any:
    """References with their target's kind in them, where alone the validator looks for it."""
    if isinstance(value, list):
        return [addressed(each, kinds) for each in value]
    if not isinstance(value, dict):
        return value
    made = {name: addressed(own, kinds) for name, own in value.items()}
    if kind := target_of(value, kinds):
        made["reference"] = f"{kind}/1"
    return made


def test_a_kept_validator_finds_nothing_wrong_with_any_report(store: Store, validator: Path) -> None:
    person, whole = chief(store), []
    for seed, tier in enumerate(TIERS):
        number = take(store, dicom_bytes(seed))
        screen(store, number, tier)
        for step in ("screened", "decided", "proved", "withdrawn"):
            if step == "decided":
                decide(store, number, **EVERYTHING[seed])
            with writing(store.engine) as session:
                if step == "proved":
                    proved = ("NV", None) if seed else ("MEL", 0.84)
                    record_outcome(
                        session, store, number, person,
                        diagnosis=proved[0], method="histology", breslow_mm=proved[1],
                    )  # fmt: skip
                if step == "withdrawn":
                    withdraw(session, store, number, person, "why")
            whole.append(exported(store, number))
    checked = []
    for bundle in whole:
        kinds = {entry["fullUrl"]: entry["resource"]["resourceType"] for entry in bundle["entry"]}
        checked.append(addressed(bundle, kinds))
    performer = addressed([{"type": "Device", "display": "model"}], {})
    report = {**checked[0]["entry"][0]["resource"], "performer": performer}
    found = problems(validator, [*checked, report, {**report, "bent": 1}])
    assert [said for said in found[:-2] if said] == []
    assert "DiagnosticReport.performer[0]" in str(found[-2])
    assert "bent" in str(found[-1])


@pytest.mark.parametrize("tier", ["cannot-say", "unreadable"])
def test_what_cannot_be_judged_never_looks_like_a_clean_bill(store: Store, tier: str) -> None:
    number = take(store, dicom_bytes())
    screen(store, number, tier, 0.001)
    bundle = exported(store, number)
    found = observation(bundle, "probabilities")
    assert "component" not in found
    assert found["dataAbsentReason"]["text"]
    assert "0.001" not in json.dumps(bundle)


def test_nothing_leaves_that_was_not_asked_for(store: Store) -> None:
    number = take(store, dicom_bytes(BurnedInAnnotation="YES"), file_name="Mueller Aenne.dcm", note="private")
    screen(store, number)
    decide(store, number)
    with writing(store.engine) as session:
        session.add(Outcome(case_id=number, diagnosis="MEL", method="histology", note="private"))
    text = json.dumps(exported(store, number))
    for word in (
        "private",
        "Mueller",
        "Müller",
        "19600101",
        "1960-01-01",
        "data:",
        "Attachment",
    ):
        assert word not in text
    assert "P-0042" in text


def test_where_the_image_is_stands_in_it(store: Store) -> None:
    number = take(store, dicom_bytes())
    screen(store, number)
    (report,) = resources(exported(store, number), "DiagnosticReport")
    assert report["effectiveDateTime"] == "2025-03-04"
    assert report["imagingStudy"][0]["identifier"]["value"] == "urn:oid:1.2.826.0.1.3680043.10.1.1"


def test_a_case_that_waits_has_nothing_to_report(store: Store) -> None:
    number = take(store, dicom_bytes())
    with pytest.raises(InputError, match="not screened yet"):
        exported(store, number)


def test_what_does_not_conform_is_refused_without_its_words(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = take(store, dicom_bytes())
    screen(store, number)
    monkeypatch.setattr(fhir, "_subject", lambda clinic, case: {"identifier": {"valu": case.patient}})
    with pytest.raises(InputError, match="subject") as refused:
        exported(store, number)
    assert "P-0042" not in str(refused.value)


def read(number: int, position: int, said: str, at: int, undone: int | None = None) -> Read:
    start = now().replace(microsecond=0)
    return Read(
        id=number,
        case_id=1,
        account_id=number,
        account=Account(name=str(number)),
        position=position,
        diagnosis=said,
        action="biopsy",
        at=start.replace(microsecond=at),
        undone_at=None if undone is None else start.replace(microsecond=undone),
    )


TWO = {
    "agreed at once": (["MEL 1 @1", "MEL 2 @2"], "final"),
    "the first changed before the second": (["NV 1 @1 -2", "MEL 1 @3", "MEL 2 @4"], "final"),
    "the second changed what had been agreed": (["MEL 1 @1", "MEL 2 @2 -3", "MEL 2 @4"], "amended"),
    "the second changed what they differed in": (["MEL 1 @1", "NV 2 @2 -3", "MEL 2 @4"], "final"),
    "the adjudicator changed": (["MEL 1 @1", "NV 2 @2", "NV 3 @3 -4", "MEL 3 @5"], "amended"),
    "one reader": (["MEL 1 @1"], "final"),
    "one reader changed": (["NV 1 @1 -2", "MEL 1 @3"], "amended"),
    "one reader amended": (["NV 1 @1", "MEL 4 @3"], "amended"),
    "two agreed and it was amended": (["NV 1 @1", "NV 2 @2", "MEL 4 @3"], "amended"),
}


@pytest.mark.parametrize("name", TWO)
def test_a_report_is_amended_only_where_it_had_been_final(name: str) -> None:
    told, status = TWO[name]
    reads = []
    for number, words in enumerate(told, 1):
        said, position, at, *undone = words.split()
        reads.append(read(number, int(position), said, int(at[1:]), int(undone[0][1:]) if undone else None))
    found = settle(Case(id=1, stage="decided"), reads)
    assert found == SettledDecision(status, reads[-1])  # type: ignore[arg-type]
    assert settle(Case(id=1, stage="adjudication"), reads) == SettledDecision("preliminary", None)


@pytest.fixture(scope="module")
def clinic(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    opened = open_clinic(f"sqlite:///{empty_database}", tmp_path_factory.mktemp("clinic"))
    yield opened
    opened.close()


@given(st.text(min_size=1), st.text(), st.text(), st.lists(st.text(), max_size=3))
def test_any_words_of_a_clinic_conform(
    clinic: Clinic, patient: str, site: str, issuer: str, reasons: list[str]
) -> None:
    try:
        told = About(patient=patient, site=site).checked()
    except InputError:
        return
    own = card()
    case = Case(
        id=1,
        sha256="0" * 64,
        patient=told.patient,
        site=told.site,
        tier="alert",
        stage="unread",
        received_at=now(),
        screened_at=now(),
        finding={**finding(), "reasons": reasons},
        dicom={"issuer": text_of_header(issuer), "issued_for": told.patient},
        model=Model(digest=own.digest, name=own.name, card=plain(own)),
    )
    with reading(clinic.engine) as session:
        bundle = fhir_bundle(session, clinic, case)
    require_conformity(json.loads(json.dumps(bundle)))
