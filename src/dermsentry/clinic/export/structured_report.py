"""A case as a DICOM structured report beside its image: a Comprehensive SR of template TID 1500.

Only a case that came as DICOM has a patient and a study in an archive that a report could belong to. The
report names the image and holds none of its pixels; it is preliminary until a person has decided.
"""

from __future__ import annotations

import io
import re
from datetime import datetime, timedelta, timezone

from highdicom import sr
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from sqlalchemy.orm import Session

import dermsentry
from dermsentry.clinic.export.coding import SCORES, SNOMED_CODES, oid
from dermsentry.clinic.export.decisions import SettledDecision, decision_of
from dermsentry.clinic.intake.dicom import read_reference
from dermsentry.clinic.store.pictures import Pictures
from dermsentry.clinic.store.tables import ASSESSED, Case, Read
from dermsentry.diagnoses import CODES, name_of
from dermsentry.errors import InputError
from dermsentry.image_formats import DICOM
from dermsentry.images import Unreadable

SCHEME = "99DERMSENTRY"
TIERS = {
    "alert": "Suspicious of melanoma",
    "refer": "To be seen by a dermatologist",
    "routine": "The usual check",
    "cannot-say": "The model cannot assess this image",
    "unreadable": "The file could not be read",
}
_SERIES = 9001
_VALID = {
    "PatientBirthDate": r"\d{8}",
    "StudyDate": r"\d{8}",
    "StudyTime": r"\d{2,6}(\.\d{1,6})?",
    "PatientSex": r"[MFO]",
}


def structured_report(session: Session, pictures: Pictures, case: Case) -> bytes:
    """A case as a DICOM file; the same state of a case gives the same bytes.

    Raises
    ------
    InputError
        It did not come as DICOM, its header lacks what a report must refer to, it was not screened yet, or
        its file is gone.
    """
    if case.format != DICOM:
        raise InputError(
            f"Case {case.id} came as {case.format}, not as DICOM: there is no image in an archive for a "
            "structured report to refer to. Export it as FHIR."
        )
    if case.finding is None or case.model is None or case.screened_at is None:
        raise InputError(f"Case {case.id} was not screened yet; there is nothing to report.")
    try:
        image = _evidence(read_reference(pictures.read_original(case.sha256)))
    except Unreadable as error:
        raise InputError(f"Case {case.id}: {error.reason}.") from error
    missing = [
        name
        for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        if not uid.UID(image[name].value or "").is_valid
    ]
    if missing:
        raise InputError(
            f"Case {case.id}: the image has no valid {' and no '.join(missing)} for a report to refer to."
        )
    decision = decision_of(session, case)
    try:
        report = _report(case, image, decision)
        buffer = io.BytesIO()
        report.save_as(buffer, enforce_file_format=True)
    except (ValueError, TypeError, UnicodeError, OverflowError) as error:
        # Its words may hold what the header says of a patient.
        raise InputError(
            f"Case {case.id}: the image's header cannot be repeated in a report ({type(error).__name__})."
        ) from None
    return buffer.getvalue()


def _report(case: Case, image: Dataset, decision: SettledDecision) -> sr.ComprehensiveSR:
    assert case.model is not None
    moment = decision.read.at if decision.read is not None else case.screened_at
    assert moment is not None
    moment = moment.astimezone(_zone(image))
    read = decision.read
    state = (
        f"{image.SOPInstanceUID} {case.sha256} {decision.status} {read.id if read else 0} {case.screened_at}"
    )
    groups = [_by_model(case, image)] + ([_by_person(case, image, read)] if read is not None else [])
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_person_context=_person(read) if read is not None else None,
            observer_device_context=_device(case),
        ),
        procedure_reported=_procedure(image),
        imaging_measurements=groups,
    )
    report = sr.ComprehensiveSR(
        evidence=[image],
        content=content,
        series_instance_uid=oid(f"series {image.SOPInstanceUID} {case.sha256}"),
        series_number=_SERIES,
        series_description="Dermsentry: photograph assessed for melanoma",
        sop_instance_uid=oid(f"report {state} {case.model.digest}"),
        instance_number=1,
        manufacturer="dermsentry",
        manufacturer_model_name=_line(case.model.name) or "model",
        software_versions=dermsentry.__version__,
        device_serial_number=case.model.digest[:12],
        is_complete=True,
        is_final=read is not None,
        # Deciding on a case is not yet to vouch for this document.
        is_verified=False,
        specific_character_set="ISO_IR 192",
        content_date=moment.date(),
        content_time=moment.time(),
        coding_schemes=[
            CodingSchemeIdentificationItem(SCHEME, name="Dermsentry", responsible_organization="Dermsentry")
        ],
    )
    _date(report, moment, image)
    return report


def _by_model(case: Case, image: Dataset) -> sr.MeasurementsAndQualitativeEvaluations:
    assert case.finding is not None
    assert case.model is not None
    shares = {}
    # A small number for an image that the model cannot assess would look reassuring.
    if case.tier in ASSESSED and case.finding["probabilities"] is not None:
        for code in CODES:
            shares[f"P-{code}"] = (f"Probability of {name_of(code)}", case.finding["probabilities"][code])
    for code, name in (("nolesion-score", "no_lesion"), ("ood-score", "out_of_distribution")):
        if case.finding[name] is not None:
            shares[code] = (SCORES[name], case.finding[name])
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(case, image),
        algorithm_id=sr.AlgorithmIdentification(
            name=_line(case.model.name) or "model",
            version=case.model.digest,
            parameters=[
                f"melanoma probability from which the tier is {name}: "
                f"{case.model.card['thresholds'][name]['value']:.6f}"
                for name in ("alert", "refer")
            ],
            manufacturer="dermsentry",
        ),
        measurements=[
            sr.Measurement(name=_own(code, name), value=round(float(value), 6), unit=codes.UCUM.NoUnits)
            for code, (name, value) in shares.items()
        ],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(_own("tier", "Tier"), _own(f"T-{case.tier}", TIERS[case.tier]))
        ],
        source_images=[_source(image)],
    )


def _by_person(case: Case, image: Dataset, read: Read) -> sr.MeasurementsAndQualitativeEvaluations:
    diagnosis = _own("D-none", "None of the nine diagnoses, or not to be told")
    if read.diagnosis:
        diagnosis = _coded(read.diagnosis, f"D-{read.diagnosis}", name_of(read.diagnosis))
    said = [
        sr.QualitativeEvaluation(codes.DCM.Impression, diagnosis),
        sr.QualitativeEvaluation(
            codes.DCM.Recommendation, _coded(read.action, f"A-{read.action}", read.action)
        ),
    ]
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(case, image),
        qualitative_evaluations=said,
        source_images=[_source(image)],
    )


def _tracking(case: Case, image: Dataset) -> sr.TrackingIdentifier:
    return sr.TrackingIdentifier(
        uid=oid(f"lesion {image.SOPInstanceUID} {case.sha256}"), identifier=f"case {case.id}"
    )


def _source(image: Dataset) -> sr.SourceImageForMeasurementGroup:
    return sr.SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID)


def _device(case: Case) -> sr.ObserverContext:
    assert case.model is not None
    return sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=oid(f"model {case.model.digest}"),
            name=_line(case.model.name) or "model",
            manufacturer_name="dermsentry",
        ),
    )


def _person(read: Read) -> sr.ObserverContext:
    # Which part of the name is the family's is not known here; the caret says that it is one part.
    name = re.sub(r"[\\^=]", " ", _line(read.account.full_name)) + "^"
    return sr.ObserverContext(
        observer_type=codes.DCM.Person,
        observer_identifying_attributes=sr.PersonObserverIdentifyingAttributes(name=name),
    )


def _procedure(image: Dataset) -> sr.CodedConcept:
    if image.SOPClassUID == uid.DermoscopicPhotographyImageStorage:
        return sr.CodedConcept("446078004", "SCT", "Dermoscopic photography")
    return _own("photography", "Photography of the skin")


def _own(code: str, meaning: str) -> sr.CodedConcept:
    return sr.CodedConcept(code, SCHEME, meaning[:64])


def _coded(known: str, code: str, meaning: str) -> sr.CodedConcept:
    if known in SNOMED_CODES:
        number, display = SNOMED_CODES[known]
        return sr.CodedConcept(number, "SCT", display)
    return _own(code, meaning)


def _line(text: str) -> str:
    return "".join(c if c.isprintable() and c != "\\" else " " for c in text).strip()[:60]


def _evidence(image: Dataset) -> Dataset:
    """The image's header, less what is no date or no sex: a report may leave those out, not repeat them."""
    for name, pattern in _VALID.items():
        if not re.fullmatch(pattern, str(image[name].value or "")):
            image[name].value = ""
    return image


def _zone(image: Dataset) -> timezone | None:
    """The zone that the image's times are in, which its study's are too; None for the one of this machine."""
    offset = str(image.TimezoneOffsetFromUTC or "")
    if not re.fullmatch(r"[+-](0\d|1[0-4])[0-5]\d", offset):
        return None
    minutes = 60 * int(offset[1:3]) + int(offset[3:])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))


def _date(report: Dataset, moment: datetime, image: Dataset) -> None:
    """Let the report be of the moment it tells of, not of the moment it is exported."""
    report.InstanceCreationDate = moment.strftime("%Y%m%d")
    report.InstanceCreationTime = moment.strftime("%H%M%S.%f")
    for equipment in report.ContributingEquipmentSequence:
        equipment.ContributionDateTime = moment.strftime("%Y%m%d%H%M%S.%f")
    if _zone(image) is not None:
        report.TimezoneOffsetFromUTC = image.TimezoneOffsetFromUTC
