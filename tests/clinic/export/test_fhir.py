"""What leaves as FHIR conforms, says who decided, and holds nothing that was not asked for."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from sqlalchemy import Engine

from clinic.dicom_files import dicom_bytes
from clinic.filled_store import Store, card, decide, finding, screen, take, undo
from dermsentry.clinic.export import fhir
from dermsentry.clinic.export.decisions import SettledDecision, settle
from dermsentry.clinic.export.fhir import SNOMED, fhir_bundle, local_system
from dermsentry.clinic.intake.admission import About
from dermsentry.clinic.store.database import open_database, reading, writing
from dermsentry.clinic.store.tables import ACTIONS, Account, Case, Model, Outcome, Read, now
from dermsentry.diagnoses import CODES
from dermsentry.errors import InputError
from dermsentry.files import plain
from dermsentry.screening.triage import TIERS

R4_ELEMENTS = {
    "Bundle": "identifier type timestamp total link entry signature",
    "DiagnosticReport": "identifier basedOn status category code subject encounter effectiveDateTime "
    "effectivePeriod issued performer resultsInterpreter specimen result imagingStudy media conclusion "
    "conclusionCode presentedForm",
    "Observation": "identifier basedOn partOf status category code subject focus encounter effectiveDateTime "
    "issued performer valueQuantity valueCodeableConcept valueBoolean dataAbsentReason interpretation note "
    "bodySite method specimen device referenceRange hasMember derivedFrom component",
    "Device": "identifier definition udiCarrier status statusReason distinctIdentifier manufacturer "
    "manufactureDate expirationDate lotNumber serialNumber deviceName modelNumber partNumber type "
    "specialization version property patient owner contact location url note safety parent",
}
"""The elements of FHIR 4.0.1, from its specification: the library checks against 4.3.0 and 5.0 alone."""


STATUS = {
    "DiagnosticReport": "registered partial preliminary final amended corrected appended cancelled "
    "entered-in-error unknown",
    "Observation": "registered preliminary final amended corrected cancelled entered-in-error unknown",
    "Device": "active inactive entered-in-error unknown",
}


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def exported(store: Store, case_id: int) -> dict[str, Any]:
    with reading(store.engine) as session:
        bundle = fhir_bundle(session, session.get_one(Case, case_id))
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
    places = {entry["fullUrl"] for entry in bundle["entry"]}
    for entry in bundle["entry"]:
        resource = entry["resource"]
        known = R4_ELEMENTS[resource["resourceType"]].split()
        assert set(resource) <= {"resourceType", *known}
        assert set(references(resource)) <= places
        assert resource["status"] in STATUS[resource["resourceType"]].split()
        if resource["resourceType"] == "Observation":
            assert not ("dataAbsentReason" in resource and any(k.startswith("value") for k in resource))
    assert set(bundle) <= {"resourceType", *R4_ELEMENTS["Bundle"].split()}


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
    assert report["resultsInterpreter"] == [{"type": "Practitioner", "display": "Dr. Anna Beispiel"}]
    assert {coding["code"] for coding in report["conclusionCode"][0]["coding"]} == {"93655004", "MEL"}
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
        local = [c["code"] for c in code.get("coding", []) if c["system"] == local_system("diagnosis")]
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
        "histology",
        "Klinik",
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
    monkeypatch.setattr(fhir, "_subject", lambda case: {"identifier": {"valu": case.patient}})
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
def empty(empty_database: Path) -> Iterator[Engine]:
    engine = open_database(f"sqlite:///{empty_database}")
    yield engine
    engine.dispose()


@given(st.text(min_size=1), st.text(), st.lists(st.text(), max_size=3))
def test_any_words_of_a_clinic_conform(empty: Engine, patient: str, site: str, reasons: list[str]) -> None:
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
        model=Model(digest=own.digest, name=own.name, card=plain(own)),
    )
    with reading(empty) as session:
        bundle = fhir_bundle(session, case)
    require_conformity(json.loads(json.dumps(bundle)))
