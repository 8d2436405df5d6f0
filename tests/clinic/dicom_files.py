"""DICOM photographs made of phantoms."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from dermsentry.phantoms import draw_phantom

STUDY, SERIES = "1.2.826.0.1.3680043.10.1.1", "1.2.826.0.1.3680043.10.1.2"


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


def close(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any], tolerance: float) -> bool:
    return first.shape == second.shape and abs(first.astype(float) - second.astype(float)).mean() < tolerance
