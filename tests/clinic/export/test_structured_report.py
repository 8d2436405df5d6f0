"""A structured report stands beside its image, reads back as it was meant, and says who decided."""

from __future__ import annotations

import io
from datetime import date, timedelta
from itertools import cycle
from typing import Any

import pydicom
import pytest
from highdicom import sr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import uid
from pydicom.sr.codedict import codes

from clinic.dicom_files import SERIES, STUDY, dicom_bytes
from clinic.filled_store import Store, decide, screen, take, undo
from dermsentry.clinic.checklists import Abcd, SevenPoint
from dermsentry.clinic.export.structured_report import FORM, SCHEME, structured_report
from dermsentry.clinic.monitoring.outcomes import record_outcome
from dermsentry.clinic.store.accounts import MAY, Person
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import ACTIONS, Account, Case, Export
from dermsentry.clinic.worklist.corrections import correct, open_conflicts, settle_conflict, withdraw
from dermsentry.diagnoses import CODES
from dermsentry.errors import InputError
from dermsentry.phantoms import draw_phantom


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def exported(store: Store, case_id: int) -> bytes:
    with reading(store.engine) as session:
        return structured_report(session, store.pictures, session.get_one(Case, case_id)).data


def sent(store: Store, case_id: int) -> sr.ComprehensiveSR:
    """A report that leaves the clinic, recorded as an export is."""
    with writing(store.engine) as session:
        case = session.get_one(Case, case_id)
        made = structured_report(session, store.pictures, case)
        session.add(Export(case_id=case_id, form=FORM, revision=case.revision, reference=made.reference))
    return read_back(made.data)[0]


def chief(store: Store) -> Person:
    with writing(store.engine) as session:
        account = Account(name="chief", full_name="Chief", role="administrator", password_hash="-")
        session.add(account)
        session.flush()
        return Person(account.id, "chief", "Chief", account.role, MAY[account.role])


def read_back(data: bytes) -> tuple[sr.ComprehensiveSR, list[Any]]:
    report = sr.ComprehensiveSR.from_dataset(pydicom.dcmread(io.BytesIO(data)))
    assert isinstance(report.content, sr.MeasurementReport)
    return report, report.content.get_image_measurement_groups()


def shares(group: Any) -> dict[str, float]:
    return {measurement.name.value: measurement.value for measurement in group.get_measurements()}


def evaluations(group: Any) -> dict[str, str]:
    return {each.name.meaning: each.value.value for each in group.get_qualitative_evaluations()}


def screened(store: Store, tier: str = "alert", melanoma: float = 0.61, **changes: Any) -> int:
    number = take(store, dicom_bytes(**changes), note="private", file_name="private.dcm")
    screen(store, number, tier, melanoma)
    return number


def test_it_reads_back_as_it_was_meant(store: Store) -> None:
    number = screened(store)
    report, (group,) = read_back(exported(store, number))
    assert report.get_evidence() == [
        (STUDY, SERIES, "1.2.826.0.1.3680043.10.1.3.1", uid.DermoscopicPhotographyImageStorage)
    ]
    assert (report.StudyInstanceUID, report.PatientID) == (STUDY, "P-0042")
    assert str(report.PatientName) == "Müller^Änne"
    assert report.SeriesInstanceUID != SERIES
    assert (report.PreliminaryFlag, report.CompletionFlag) == ("PRELIMINARY", "COMPLETE")
    found = shares(group)
    assert set(found) == {*(f"P-{code}" for code in CODES), "nolesion-score", "ood-score"}
    assert (found["P-MEL"], found["ood-score"]) == (0.61, 0.07)
    assert evaluations(group) == {"Tier": "T-alert"}
    (source,) = group.source_images
    assert source.referenced_sop_instance_uid == "1.2.826.0.1.3680043.10.1.3.1"
    assert group.tracking_identifier == "case 1"
    (observer,) = report.content.get_observer_contexts()
    assert observer.observer_type == codes.DCM.Device
    assert observer.observer_identifying_attributes.name == "dermoscopy"


def test_a_decision_is_final_and_says_whose(store: Store) -> None:
    number = screened(store)
    decide(store, number, diagnosis="MEL", action="biopsy")
    report, (_, person) = read_back(exported(store, number))
    assert (report.PreliminaryFlag, report.VerificationFlag) == ("FINAL", "UNVERIFIED")
    assert evaluations(person) == {"Impression": "S-MEL", "Recommendation": "240977001"}
    [said] = [own for own in person.get_qualitative_evaluations() if own.name.meaning == "Impression"]
    assert said.value.meaning == "suspicion of melanoma, no histology"
    (observer,) = report.content.get_observer_contexts(observer_type=codes.DCM.Person)
    assert observer.observer_identifying_attributes.name == "Dr. Anna Beispiel^"


def test_every_decision_has_its_codes(store: Store) -> None:
    number = screened(store)
    for diagnosis, action in zip(("", *CODES), cycle(ACTIONS), strict=False):  # each by itself has its code
        read = decide(store, number, diagnosis=diagnosis, action=action)
        _, (_, person) = read_back(exported(store, number))
        for each in person.get_qualitative_evaluations():
            assert each.value.scheme_designator in ("SCT", SCHEME)
            assert 1 <= len(each.value.value) <= 16
            assert 1 <= len(each.value.meaning) <= 64
        undo(store, read)


def test_what_was_read_before_the_decision_is_not_told(store: Store) -> None:
    number = screened(store)
    decide(store, number, decided=False)
    data = exported(store, number)
    _, groups = read_back(data)
    assert len(groups) == 1
    assert b"Beispiel" not in data


@pytest.mark.parametrize("tier", ["cannot-say", "unreadable"])
def test_what_cannot_be_judged_never_looks_like_a_clean_bill(store: Store, tier: str) -> None:
    number = screened(store, tier, 0.001)
    _, (group,) = read_back(exported(store, number))
    assert not any(name.startswith("P-") for name in shares(group))
    assert evaluations(group) == {"Tier": f"T-{tier}"}


def test_the_same_state_has_the_same_bytes_and_another_another_number(store: Store) -> None:
    number = screened(store)
    preliminary = exported(store, number)
    assert exported(store, number) == preliminary
    first = decide(store, number, diagnosis="NV", action="discharge")
    final = exported(store, number)
    undo(store, first)
    decide(store, number, diagnosis="MEL", action="biopsy")
    reports = [read_back(data)[0] for data in (preliminary, final, exported(store, number))]
    assert len({report.SOPInstanceUID for report in reports}) == 3
    assert len({report.SeriesInstanceUID for report in reports}) == 1


def test_neither_pixels_nor_more_than_was_asked_for_leave(store: Store) -> None:
    pixels = draw_phantom("MEL", 1, (160, 120)).tobytes()
    number = screened(store, BurnedInAnnotation="YES", InstitutionName="Klinik am See", PatientAge="064Y")
    decide(store, number)
    data = exported(store, number)
    report = pydicom.dcmread(io.BytesIO(data))
    assert "PixelData" not in report
    assert "IconImageSequence" not in report
    assert len(data) < len(pixels)
    for words in (b"private", b"Klinik", b"064Y"):
        assert words not in data


def predecessors(report: sr.ComprehensiveSR) -> list[tuple[str, str, str]]:
    return [
        (study.StudyInstanceUID, series.SeriesInstanceUID, each.ReferencedSOPInstanceUID)
        for study in report.get("PredecessorDocumentsSequence", ())
        for series in study.ReferencedSeriesSequence
        for each in series.ReferencedSOPSequence
    ]


def test_a_later_report_names_the_earlier_ones_and_has_the_next_number(store: Store) -> None:
    number = screened(store)
    first = sent(store, number)
    assert (first.InstanceNumber, predecessors(first)) == (1, [])
    read = decide(store, number, diagnosis="NV", action="discharge")
    second = sent(store, number)
    undo(store, read)
    decide(store, number, diagnosis="MEL", action="biopsy")
    third = sent(store, number)
    told = [(own.StudyInstanceUID, own.SeriesInstanceUID, own.SOPInstanceUID) for own in (first, second)]
    assert (second.InstanceNumber, predecessors(second)) == (2, told[:1])
    assert (third.InstanceNumber, predecessors(third)) == (3, told)
    assert third.PreliminaryFlag == "FINAL"


def test_a_report_of_a_corrected_patient_is_in_no_study_of_the_other_one(store: Store) -> None:
    number, person = screened(store), chief(store)
    first = sent(store, number)
    with writing(store.engine) as session:
        correct(session, store, number, person, {"patient": "P-0043", "accession": "A-2"}, "exchanged")
    second = sent(store, number)
    assert (second.PatientID, str(second.PatientName), second.PatientBirthDate) == ("P-0043", "", "")
    assert second.AccessionNumber == "A-2"
    assert second.StudyInstanceUID not in (first.StudyInstanceUID, STUDY)
    assert second.SeriesInstanceUID != first.SeriesInstanceUID
    assert predecessors(second) == [(STUDY, first.SeriesInstanceUID, first.SOPInstanceUID)]
    assert second.get_evidence()[0][:2] == (STUDY, SERIES)


def test_a_report_repeats_the_header_that_a_person_said_is_right(store: Store) -> None:
    number, person = screened(store), chief(store)
    right = dicom_bytes(PatientID="P-0043", PatientName="Right^One")
    assert take(store, right) == number
    with writing(store.engine) as session:
        [conflict] = open_conflicts(session)
        settle_conflict(session, store, conflict.id, person, "corrected", "the archive was put right")
    report = sent(store, number)
    assert (report.PatientID, str(report.PatientName)) == ("P-0043", "Right^One")
    assert report.StudyInstanceUID == STUDY


def test_histology_is_in_the_report_that_follows(store: Store) -> None:
    number, person = screened(store), chief(store)
    decide(store, number, diagnosis="MEL", action="biopsy")
    first = sent(store, number)
    for label, code in (("NV", "D-NV"), ("PBK|SK", "D-several"), ("MEL", "93655004")):
        with writing(store.engine) as session:
            record_outcome(session, store, number, person, diagnosis=label, method="histology")
        report = sent(store, number)
        (*_, group) = report.content.get_image_measurement_groups()
        assert evaluations(group) == {"Diagnosis by histology": code}
        assert predecessors(report)[0][2] == first.SOPInstanceUID
    assert report.InstanceNumber == 4


def test_details_of_a_decision_are_in_the_readers_group(store: Store) -> None:
    number = screened(store)
    filled = {
        "abcd": Abcd(2, 5, ("light-brown", "black"), ("network",)),
        "seven_point": SevenPoint(("atypical-network", "irregular-pigmentation")),
    }
    read = decide(store, number, diagnosis="MEL", finer="MIS", certainty="high", **filled)
    data = exported(store, number)
    _, (_, person) = read_back(data)
    assert evaluations(person)["Impression"] == "S-MIS"
    assert evaluations(person)["Certainty of Impression"] == "C-high"
    found = [(own.name.value, own.value.value) for own in person.get_qualitative_evaluations()]
    assert [own for own in found if own[0].startswith(("abcd", "7pt"))] == [
        ("abcd-verdict", "benign"),
        ("abcd-colour", "light-brown"),
        ("abcd-colour", "black"),
        ("abcd-structure", "network"),
        ("7pt-verdict", "suspicious"),
        ("7pt-criterion", "atypical-network"),
        ("7pt-criterion", "irregular-pigmen"),
    ]
    assert shares(person) == {"abcd": 4.6, "abcd-asymmetry": 2, "abcd-border": 5, "seven-point": 3}
    assert all(len(own[0]) <= 16 and len(own[1]) <= 16 for own in found)
    undo(store, read)
    words = "Kaposi sarcoma" + ", patch stage" * 7
    other = {"other": words, "other_code": "ICD-O 9140/3", "follow_up_on": date(2027, 1, 31)}
    decide(store, number, diagnosis="", action="follow-up", **other)
    _, (_, person) = read_back(exported(store, number))
    assert evaluations(person)["Impression"] == "S-other"
    (code,) = (o.value for o in person.get_qualitative_evaluations() if o.name.value == "considered-code")
    assert (code.value, code.scheme_designator) == ("9140/3", "ICDO3")
    items = {item.ConceptNameCodeSequence[0].CodeValue: item for item in person[0].ContentSequence}
    assert items["words"].TextValue == words  # whole, where the meaning of a code has 64 characters
    assert (str(items["111054"].Date), items["111054"].RelationshipType) == ("20270131", "CONTAINS")


def test_the_breslow_thickness_is_measured_in_millimetres(store: Store) -> None:
    number, person = screened(store), chief(store)
    decide(store, number, diagnosis="MEL")
    with writing(store.engine) as session:
        proved = {"diagnosis": "MEL", "method": "histology", "breslow_mm": 0.84}
        record_outcome(session, store, number, person, **proved)  # type: ignore[arg-type]
    _, (*_, group) = read_back(exported(store, number))
    (measured,) = group.get_measurements()
    assert (measured.name.value, measured.name.scheme_designator) == ("106243009", "SCT")
    assert (measured.value, measured.unit.value) == (0.84, "mm")


def test_a_withdrawn_case_leaves_as_a_report_that_says_so(store: Store) -> None:
    number, person = screened(store), chief(store)
    decide(store, number, diagnosis="MEL")
    first = sent(store, number)
    with writing(store.engine) as session:
        withdraw(session, store, number, person, "a test photograph")
    report = sent(store, number)
    (group,) = report.content.get_image_measurement_groups()
    assert shares(group) == {}
    assert evaluations(group) == {"State of the report": "withdrawn"}
    assert [own[2] for own in predecessors(report)] == [first.SOPInstanceUID]


def test_other_letters_than_of_one_alphabet_stay(store: Store) -> None:
    number = screened(store, SpecificCharacterSet="ISO_IR 100")
    report, _ = read_back(exported(store, number))
    assert (report.SpecificCharacterSet, str(report.PatientName)) == ("ISO_IR 192", "Müller^Änne")


@pytest.mark.parametrize("offset", ["+0100", "-0330", None])
def test_its_times_are_in_the_images_zone(store: Store, offset: str | None) -> None:
    zone = {"TimezoneOffsetFromUTC": offset} if offset else {}
    number = screened(store, **zone)
    with reading(store.engine) as session:
        moment = session.get_one(Case, number).screened_at
    assert moment is not None
    report, _ = read_back(exported(store, number))
    assert report.get("TimezoneOffsetFromUTC") == offset
    shift = {"+0100": 60, "-0330": -210}.get(offset or "")
    told = report.ContentDate + report.ContentTime
    if shift is not None:
        assert told == (moment + timedelta(minutes=shift)).strftime("%Y%m%d%H%M%S.%f")
    else:
        assert told == moment.astimezone().strftime("%Y%m%d%H%M%S.%f")


@pytest.mark.filterwarnings("ignore")  # pydicom's, of values that this test means to be wrong
def test_a_careless_header_is_not_repeated(store: Store) -> None:
    careless = {"PatientBirthDate": "unknown", "PatientSex": "woman", "StudyTime": "noon", "StudyDate": None}
    report, _ = read_back(exported(store, screened(store, **careless)))
    assert not any(report.get(name) for name in careless)


def test_only_what_came_as_dicom_and_was_screened_has_one(store: Store) -> None:
    buffer = io.BytesIO()
    Image.fromarray(draw_phantom("MEL", 1)).save(buffer, "JPEG")
    number = take(store, buffer.getvalue())
    screen(store, number)
    with pytest.raises(InputError, match="came as JPEG, not as DICOM"):
        exported(store, number)
    waiting = take(store, dicom_bytes())
    with pytest.raises(InputError, match="not screened yet"):
        exported(store, waiting)


def test_what_it_must_refer_to_must_be_there(store: Store) -> None:
    number = screened(store, StudyInstanceUID=None)
    with pytest.raises(InputError, match="no valid StudyInstanceUID"):
        exported(store, number)


def test_a_photograph_that_is_gone_is_told(store: Store) -> None:
    number = screened(store)
    with reading(store.engine) as session:
        store.pictures.original(session.get_one(Case, number).sha256).unlink()
    with pytest.raises(InputError, match="cannot be read"):
        exported(store, number)


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=60)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAMES, NAMES)
def test_any_name_of_a_reader_and_of_a_model_is_written(store: Store, reader: str, model: str) -> None:
    number = take(store, dicom_bytes())
    screen(store, number)
    with writing(store.engine) as session:
        case = session.get_one(Case, number)
        assert case.model is not None
        case.model.name = model
        undone = case.stage != "decided"
    if undone:
        decide(store, number)
    with writing(store.engine) as session:
        session.query(Account).filter_by(name="reader").one().full_name = reader
    report, groups = read_back(exported(store, number))
    assert len(groups) == 2
    assert len(str(report.ManufacturerModelName or "")) <= 64
