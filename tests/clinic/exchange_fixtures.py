"""DICOM photographs made of phantoms, and a clinic that they can be sent to."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from sqlalchemy import Engine, select

from dermsentry.clinic.audit_trail import Trail, open_trail
from dermsentry.clinic.database import migrate, open_database, writing
from dermsentry.clinic.intake import About, receive
from dermsentry.clinic.pictures import Pictures
from dermsentry.clinic.screening import unread
from dermsentry.clinic.tables import Account, Case, Model, Read, now
from dermsentry.diagnoses import CODES
from dermsentry.model import Card, bundled, read_network
from dermsentry.phantoms import draw_phantom

STUDY, SERIES = "1.2.826.0.1.3680043.10.1.1", "1.2.826.0.1.3680043.10.1.2"


@dataclass(frozen=True)
class Clinic:
    engine: Engine
    trail: Trail
    pictures: Pictures
    folder: Path


def open_clinic(folder: Path) -> Clinic:
    """A clinic of its own in SQLite."""
    engine = open_database(f"sqlite:///{folder / 'clinic.sqlite'}")
    migrate(engine)
    return Clinic(engine, open_trail(folder), Pictures(folder), folder)


def dicom_dataset(number: int = 1, size: tuple[int, int] = (160, 120), **changes: Any) -> FileDataset:
    """A dermoscopic photograph of a phantom, uncompressed RGB; `changes` by keyword, None takes one away."""
    pixels = draw_phantom("MEL", number, size)
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = uid.DermoscopicPhotographyImageStorage
    dataset.SOPInstanceUID = f"1.2.826.0.1.3680043.10.1.3.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, SERIES
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20250304", "101500", "77"
    dataset.AcquisitionDateTime = "20250304102030"
    dataset.AccessionNumber, dataset.Modality = "A-1", "DMS"
    dataset.PatientName, dataset.PatientID = "Müller^Änne", "P-0042"
    dataset.PatientBirthDate, dataset.PatientSex = "19600101", "F"
    dataset.IssuerOfPatientID = "Klinik"
    dataset.BurnedInAnnotation = "NO"
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "77568009", "SCT", "Back"
    dataset.AnatomicRegionSequence = Sequence([region])
    dataset.ImageLaterality = "L"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = pixels.tobytes()
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    for name, value in changes.items():
        if value is None:
            delattr(dataset, name)
        elif name == "TransferSyntaxUID":
            meta.TransferSyntaxUID = value
        else:
            setattr(dataset, name, value)
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", uid.DermoscopicPhotographyImageStorage)
    meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "1.2.3")
    whole = FileDataset("", dataset, preamble=b"\0" * 128, file_meta=meta)
    if meta.TransferSyntaxUID.is_encapsulated and "PixelData" not in changes:
        raise ValueError("an encapsulated phantom needs its PixelData")
    if "PixelData" in whole and meta.TransferSyntaxUID.is_encapsulated:
        whole.PixelData = encapsulate([whole.PixelData])
        whole["PixelData"].is_undefined_length = True
        whole["PixelData"].VR = "OB"
    return whole


def as_bytes(dataset: FileDataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def dicom_bytes(number: int = 1, size: tuple[int, int] = (160, 120), **changes: Any) -> bytes:
    """`dicom_dataset` as a file."""
    return as_bytes(dicom_dataset(number, size, **changes))


def finding(tier: str = "alert", melanoma: float = 0.61) -> dict[str, Any]:
    """A finding such as the screening process gives."""
    if tier == "unreadable":
        return unread("the file is truncated")
    rest = (1.0 - melanoma) / (len(CODES) - 1)
    probabilities = {code: melanoma if code == "MEL" else rest for code in CODES}
    return {
        "tier": tier,
        "melanoma": melanoma,
        "probabilities": probabilities,
        "familiarity": 0.93,
        "quality": {"acceptable": True, "side": 120, "problems": []},
        "reasons": [f"melanoma {100 * melanoma:.0f} %"],
    }


def card() -> Card:
    return read_network(bundled())[0]


def take(clinic: Clinic, data: bytes, **about: Any) -> int:
    """The number of the case that a file becomes."""
    own = About(**about)
    return receive(clinic.engine, clinic.trail, clinic.pictures, data, own, source="page", actor="x").case_id


def screen(clinic: Clinic, case_id: int, tier: str = "alert", melanoma: float = 0.61) -> None:
    """Give a case a finding of the bundled model."""
    own = card()
    with writing(clinic.engine) as session:
        if session.get(Model, own.digest) is None:
            session.add(Model(digest=own.digest, name=own.name, card=own.as_dict()))
            session.flush()
        case = session.get_one(Case, case_id)
        case.finding = finding(tier, melanoma)
        case.tier, case.melanoma = tier, case.finding["melanoma"]
        case.lane = "suspicion" if tier in ("alert", "refer", "routine") else "cannot-say"
        case.state, case.screened_at, case.model_digest = "screened", now(), own.digest


def decide(
    clinic: Clinic,
    case_id: int,
    *,
    diagnosis: str = "MEL",
    action: str = "biopsy",
    position: int = 1,
    decided: bool = True,
    name: str = "reader",
) -> int:
    """A person's read of a case, as its row."""
    with writing(clinic.engine) as session:
        account = session.scalars(select(Account).where(Account.name == name)).one_or_none()
        if account is None:
            account = Account(
                name=name, full_name="Dr. Anna Beispiel", role="dermatologist", password_hash="-"
            )
            session.add(account)
            session.flush()
        read = Read(
            case_id=case_id,
            account_id=account.id,
            position=position,
            agrees=True,
            diagnosis=diagnosis,
            action=action,
            note="private words",
        )
        session.add(read)
        case = session.get_one(Case, case_id)
        if decided:
            case.stage, case.decided_at = "decided", now()
        session.flush()
        return read.id


def undo(clinic: Clinic, read_id: int) -> None:
    with writing(clinic.engine) as session:
        read = session.get_one(Read, read_id)
        read.undone_at = now()
        case = session.get_one(Case, read.case_id)
        case.stage, case.decided_at = "unread", None


def close(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any], tolerance: float) -> bool:
    return first.shape == second.shape and abs(first.astype(float) - second.astype(float)).mean() < tolerance
