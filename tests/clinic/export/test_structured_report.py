"""A structured report stands beside its image, reads back as it was meant, and says who decided."""

from __future__ import annotations

import io
from datetime import timedelta
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
from dermsentry.clinic.export.structured_report import SCHEME, structured_report
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import ACTIONS, Account, Case
from dermsentry.diagnoses import CODES
from dermsentry.errors import InputError
from dermsentry.phantoms import draw_phantom


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def exported(store: Store, case_id: int) -> bytes:
    with reading(store.engine) as session:
        return structured_report(session, store.pictures, session.get_one(Case, case_id))


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
    assert evaluations(person) == {"Impression": "93655004", "Recommendation": "240977001"}
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
