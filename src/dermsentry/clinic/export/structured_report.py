"""A case as a DICOM structured report beside its image: a Comprehensive SR of template TID 1500.

Only a case that came as DICOM has a patient and a study in an archive that a report could belong to. The
report names the image and holds none of its pixels; it is preliminary until a person has decided. One that
follows another of the same case names it as its predecessor, and has the next instance number.

Where the case is of another patient than the image's header says, the report is in a study of its own: the
image's is the other patient's.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from highdicom import sr
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from sqlalchemy import select
from sqlalchemy.orm import Session

import dermsentry
from dermsentry.clinic.checklists import COLOURS, CRITERIA, STRUCTURES, VERDICTS
from dermsentry.clinic.export.coding import SCORES, SNOMED_CODES, oid, suspicion, suspicion_codes
from dermsentry.clinic.export.decisions import SettledDecision, decision_of
from dermsentry.clinic.intake.dicom import read_reference
from dermsentry.clinic.store.pictures import Pictures
from dermsentry.clinic.store.tables import ASSESSED, PART, Case, Export, Outcome, Read
from dermsentry.clinic.store.text import clean
from dermsentry.diagnoses import CODES, name_of
from dermsentry.errors import InputError
from dermsentry.image_formats import DICOM
from dermsentry.images import Unreadable

SCHEME = "99DERMSENTRY"
FORM = "DICOM SR"
"""How exports of this form are recorded."""
TIERS = {
    "alert": "Suspicious of melanoma",
    "refer": "To be seen by a dermatologist",
    "routine": "The usual check",
    "cannot-say": "The model cannot assess this image",
    "unreadable": "The file could not be read",
}
CODE_SCHEMES = {"SNOMED": "SCT", "ICD-O": "ICDO3", "ICD-10": "I10"}
"""Of the codes that a reader may give for a diagnosis in words, by what they begin with (PS3.16, 8)."""
METHODS = {"histology": "Diagnosis by histology", "follow-up": "Diagnosis by follow-up"}
_SERIES = 9001
_VALID = {
    "PatientBirthDate": r"\d{8}",
    "StudyDate": r"\d{8}",
    "StudyTime": r"\d{2,6}(\.\d{1,6})?",
    "PatientSex": r"[MFO]",
}


@dataclass(frozen=True)
class StructuredReport:
    """A report as a DICOM file, and the UIDs that a later one names it by."""

    data: bytes
    reference: dict[str, str]


def structured_report(session: Session, pictures: Pictures, case: Case) -> StructuredReport:
    """A case as a DICOM file; the same state of a case gives the same bytes.

    Raises
    ------
    InputError
        It is a photograph of another case or did not come as DICOM, its header lacks what a report must refer
        to, it was not screened yet, or its file is gone.
    """
    if case.format != DICOM:
        raise InputError(
            f"Case {case.id} came as {case.format}, not as DICOM: there is no image in an archive for a "
            "structured report to refer to. Export it as FHIR."
        )
    if case.lane == PART:
        raise InputError(f"Case {case.id} is a photograph of case {case.part_of}; its report is that of all.")
    if case.finding is None or case.model is None or case.screened_at is None:
        raise InputError(f"Case {case.id} was not screened yet; there is nothing to report.")
    header = str((case.dicom or {}).get("header_of", case.sha256))
    try:
        image = _evidence(read_reference(pictures.read_original(header)))
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
    study = _study(case, image)
    before = session.scalars(
        select(Export)
        .where(Export.case_id == case.id, Export.form == FORM, Export.revision < case.revision)
        .order_by(Export.revision)
    ).all()
    predecessors = [own.reference for own in before if own.reference is not None]
    try:
        report = _report(case, image, study, decision, predecessors)
        buffer = io.BytesIO()
        report.save_as(buffer, enforce_file_format=True)
    except (ValueError, TypeError, UnicodeError, OverflowError) as error:
        # Its words may hold what the header says of a patient.
        raise InputError(
            f"Case {case.id}: the image's header cannot be repeated in a report ({type(error).__name__})."
        ) from None
    names = {"study": "StudyInstanceUID", "series": "SeriesInstanceUID", "instance": "SOPInstanceUID"}
    return StructuredReport(buffer.getvalue(), {own: str(report[name].value) for own, name in names.items()})


def _study(case: Case, image: Dataset) -> str:
    """The study of a report, and the patient in the image's header made the case's own."""
    study = str(image.StudyInstanceUID)
    if clean(str(image.PatientID or "")) != case.patient:
        image.PatientID = case.patient
        for name in ("PatientName", "PatientBirthDate", "PatientSex", "StudyID", "ReferringPhysicianName"):
            image[name].value = ""  # of whoever the header is of
        study = oid(f"study {study} {case.patient}")
    image.AccessionNumber = case.accession[:16]
    return study


def _report(
    case: Case,
    image: Dataset,
    study: str,
    decision: SettledDecision,
    predecessors: Sequence[Mapping[str, str]],
) -> sr.ComprehensiveSR:
    assert case.model is not None
    moment = decision.at or case.screened_at
    assert moment is not None
    moment = moment.astimezone(_zone(image))
    read = decision.read
    state = (
        f"{image.SOPInstanceUID} {case.sha256} {decision.status} {read.id if read else 0} {case.screened_at} "
        f"{case.revision} {study} {decision.outcome.id if decision.outcome else 0}"
    )
    groups = [_by_model(case, image)]
    if read is not None:
        groups.append(_by_person(case, image, read, known=decision.outcome is not None))
    if decision.outcome is not None:
        groups.append(_turned_out(case, image, decision.outcome))
    if decision.status == "entered-in-error":
        groups = [_withdrawn(case, image)]
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
        series_instance_uid=oid(f"series {image.SOPInstanceUID} {case.sha256} {study}"),
        series_number=_SERIES,
        series_description="Dermsentry: photograph assessed for melanoma",
        sop_instance_uid=oid(f"report {state} {case.model.digest}"),
        instance_number=len(predecessors) + 1,
        manufacturer="dermsentry",
        manufacturer_model_name=_line(case.model.name) or "model",
        software_versions=dermsentry.__version__,
        device_serial_number=case.model.digest[:12],
        is_complete=True,
        is_final=decision.status != "preliminary",
        # Deciding on a case is not yet to vouch for this document.
        is_verified=False,
        specific_character_set="ISO_IR 192",
        content_date=moment.date(),
        content_time=moment.time(),
        coding_schemes=[
            CodingSchemeIdentificationItem(SCHEME, name="Dermsentry", responsible_organization="Dermsentry")
        ],
        previous_versions=[_version(own) for own in predecessors] or None,
    )
    report.StudyInstanceUID = study
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


def _by_person(
    case: Case, image: Dataset, read: Read, *, known: bool
) -> sr.MeasurementsAndQualitativeEvaluations:
    # Before histology a suspicion: a code for melanoma would be read as melanoma.
    diagnosis = _own("D-none", "None of the nine diagnoses, or not to be told")
    for code in suspicion_codes(read)[:1]:
        diagnosis = _own(f"S-{code}", suspicion(read, known=known))
    said = [
        sr.QualitativeEvaluation(codes.DCM.Impression, diagnosis),
        sr.QualitativeEvaluation(
            codes.DCM.Recommendation, _coded(read.action, f"A-{read.action}", read.action)
        ),
    ]
    if read.certainty:
        certainty = _own(f"C-{read.certainty}", f"{read.certainty.capitalize()} certainty")
        said.append(sr.QualitativeEvaluation(codes.DCM.CertaintyOfImpression, certainty))
    if read.other_code:
        kind, _, number = read.other_code.partition(" ")
        given = sr.CodedConcept(number, CODE_SCHEMES[kind], _line(read.other))
        said.append(sr.QualitativeEvaluation(_own("considered-code", "Code of what is considered"), given))
    measured, criteria = _checklists(read)
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(case, image),
        measurements=measured,
        qualitative_evaluations=said + criteria,
        source_images=[_source(image)],
    )
    contains = sr.RelationshipTypeValues.CONTAINS
    if read.other:  # whole: the meaning of a code holds 64 characters
        words = sr.TextContentItem(_own("words", "Diagnosis in words"), read.other, contains)
        group[0].ContentSequence.append(words)
    if read.follow_up_on is not None:
        day = sr.DateContentItem(codes.DCM.RecommendedFollowUpDate, read.follow_up_on, contains)
        group[0].ContentSequence.append(day)
    return group


def _checklists(read: Read) -> tuple[list[sr.Measurement], list[sr.QualitativeEvaluation]]:
    """The scores of the checklists that a reader filled in, and the criteria that were found."""
    measured: list[sr.Measurement] = []
    found: list[tuple[str, str, str, str]] = []
    score = sr.CodedConcept("{score}", "UCUM", "score")
    if read.abcd is not None:
        for code, name, value in (
            ("abcd", "Total dermoscopy score by the ABCD rule (Nachbar 1994)", read.abcd.score),
            ("abcd-asymmetry", "ABCD rule: asymmetric axes, of 2", read.abcd.asymmetry),
            ("abcd-border", "ABCD rule: segments with an abrupt border, of 8", read.abcd.border),
        ):
            measured.append(sr.Measurement(name=_own(code, name), value=value, unit=score))
        verdict = read.abcd.verdict
        found.append(("abcd-verdict", "ABCD rule: meaning of the score", verdict, VERDICTS[verdict]))
        found += [("abcd-colour", "ABCD rule: colour", own, COLOURS[own]) for own in read.abcd.colours]
        found += [
            ("abcd-structure", "ABCD rule: structure", own, STRUCTURES[own]) for own in read.abcd.structures
        ]
    if read.seven_point is not None:
        points = _own("seven-point", "Score of the 7-point checklist (Argenziano 1998)")
        measured.append(sr.Measurement(name=points, value=read.seven_point.score, unit=score))
        verdict = read.seven_point.verdict
        found.append(("7pt-verdict", "7-point checklist: meaning of the score", verdict, VERDICTS[verdict]))
        found += [
            ("7pt-criterion", "7-point checklist: criterion", own, CRITERIA[own])
            for own in read.seven_point.criteria
        ]
    return measured, [
        sr.QualitativeEvaluation(_own(code, name), _own(own[:16], words)) for code, name, own, words in found
    ]


def _turned_out(case: Case, image: Dataset, outcome: Outcome) -> sr.MeasurementsAndQualitativeEvaluations:
    """What the lesion turned out to be; a label of several diagnoses in words alone."""
    known = outcome.diagnosis if outcome.diagnosis in CODES else "several"
    diagnosis = _coded(known, f"D-{known}", name_of(outcome.diagnosis))
    measured = []
    if outcome.breslow_mm is not None:
        name = _coded("breslow", "breslow", "Breslow thickness")
        measured.append(sr.Measurement(name=name, value=outcome.breslow_mm, unit=codes.UCUM.Millimeter))
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(case, image),
        measurements=measured,
        qualitative_evaluations=[
            sr.QualitativeEvaluation(
                _own(f"outcome-{outcome.method}"[:16], METHODS[outcome.method]), diagnosis
            )
        ],
        source_images=[_source(image)],
    )


def _withdrawn(case: Case, image: Dataset) -> sr.MeasurementsAndQualitativeEvaluations:
    words = "Withdrawn: entered in error, nothing reported holds"
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(case, image),
        qualitative_evaluations=[
            sr.QualitativeEvaluation(_own("state", "State of the report"), _own("withdrawn", words))
        ],
        source_images=[_source(image)],
    )


def _version(reference: Mapping[str, str]) -> Dataset:
    """An earlier report, as far as a later one names it."""
    earlier = Dataset()
    earlier.SOPClassUID, earlier.SOPInstanceUID = uid.ComprehensiveSRStorage, reference["instance"]
    earlier.StudyInstanceUID, earlier.SeriesInstanceUID = reference["study"], reference["series"]
    return earlier


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
