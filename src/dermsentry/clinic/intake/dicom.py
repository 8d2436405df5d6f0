"""What the header of a photograph tells that comes as DICOM.

Pixels are decoded (`dermsentry.dicom`) only in the process that `screening` limits.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from dermsentry.dicom.files import guarded, read_bytes, read_elements, read_header
from dermsentry.dicom.text import HeaderText, number, text
from dermsentry.dicom.text import identifier as _uid
from dermsentry.images import Unreadable

_DESCRIBING = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "AccessionNumber",
    "Modality",
    "BurnedInAnnotation",
    "AcquisitionDateTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "ContentDate",
    "ContentTime",
    "TimezoneOffsetFromUTC",
    "AnatomicRegionSequence",
    "BodyPartExamined",
    "ImageLaterality",
    "Laterality",
    "TrackingID",
    "Rows",
    "Columns",
    "PhotometricInterpretation",
    "PixelSpacing",
)
_REFERRING = (
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "TimezoneOffsetFromUTC",
    "Rows",
    "Columns",
)


@dataclass(frozen=True)
class Header:
    """What a DICOM photograph's header tells, as plain text; empty where it does not say.

    `lesion` is its Tracking ID, `site` the anatomic region with its side, `acquired` ISO 8601 without a zone,
    `zone` that zone as `+01:00`. `issuer` names who issued the patient's number, `issuer_uri` by a URI.
    `burned_in`: whether its pixels name the patient, so that they may go nowhere. `identity`: SHA-256 over
    patient, SOP instance and pixel data as encoded, which stays the same where the header was rewritten;
    `pixels` that over the pixel data alone, which is the same whoever it is said to be of. `spacing`:
    millimetres from one row and column to the next, empty where it does not say. `characters`: what is
    uncertain about all this text, since its character set is unknown or wrong.
    """

    patient: str
    lesion: str
    site: str
    issuer: str
    issuer_uri: str
    accession: str
    modality: str
    acquired: str
    zone: str
    burned_in: bool
    sop_class: str
    sop_instance: str
    study: str
    series: str
    transfer_syntax: str
    rows: int
    columns: int
    spacing: list[float]
    identity: str
    pixels: str
    characters: str

    def as_dict(self) -> dict[str, Any]:
        """What a case keeps as its `dicom`: all but what the case has a place of its own for.

        `issued_for`: the patient's number that the issuer issued, which a correction may make another's.
        """
        own = ("patient", "lesion", "site", "accession", "identity", "pixels")
        kept = {name: value for name, value in asdict(self).items() if name not in own}
        return kept | {"issued_for": self.patient}


def describe(source: Path | bytes) -> Header:
    """Read what a DICOM photograph's header tells; no pixel is decoded.

    Raises
    ------
    NotTaken
        It is no photograph, or nothing here can decode it.
    Unreadable
        It is damaged, or no DICOM file.
    """
    return guarded(lambda: _describe(read_bytes(source)), "the DICOM header cannot be read")


def read_reference(source: Path | bytes) -> Dataset:
    """What a report needs to refer to a DICOM photograph: patient, study, and which image it is.

    Raises
    ------
    NotTaken, Unreadable
        As `describe`, or the patient's name or reference is in an unknown character set.
    """

    def read() -> Dataset:
        data = read_bytes(source)
        _describe(data)
        dataset, _ = read_elements(data, _REFERRING)
        words = HeaderText(dataset)
        for name in ("PatientName", "PatientID"):
            words[name]
        if words.doubts:
            raise Unreadable(f"the patient's name and reference cannot be repeated: {words.doubts[0]}")
        kept = Dataset()
        for name in _REFERRING:
            setattr(kept, name, dataset.get(name, ""))
        return kept

    return guarded(read, "the DICOM header cannot be read")


def _describe(data: bytes) -> Header:
    dataset, start = read_header(data, _DESCRIBING)
    words = HeaderText(dataset)
    explicit = not dataset.is_implicit_VR
    patient, instance = words["PatientID"], _uid(dataset, "SOPInstanceUID")
    identity = hashlib.sha256(f"{patient}\0{instance}\0".encode())
    encoded = memoryview(data)[start + (12 if explicit else 8) :]
    identity.update(encoded)
    site = _site(words)
    lesion, issuer = words["TrackingID"], words["IssuerOfPatientID"]
    acquired, zone = _acquired(dataset)
    return Header(
        patient=patient,
        lesion=lesion,
        site=site,
        issuer=issuer,
        issuer_uri=_issuer_uri(words, issuer),
        accession=text(dataset.get("AccessionNumber")),
        modality=words["Modality"],
        acquired=acquired,
        zone=zone,
        # The standard knows YES, NO, and not saying; anything else is not a NO.
        burned_in=text(dataset.get("BurnedInAnnotation")).upper() not in ("NO", ""),
        sop_class=_uid(dataset, "SOPClassUID"),
        sop_instance=instance,
        study=_uid(dataset, "StudyInstanceUID"),
        series=_uid(dataset, "SeriesInstanceUID"),
        transfer_syntax=text(dataset.file_meta.get("TransferSyntaxUID")),
        rows=number(dataset, "Rows"),
        columns=number(dataset, "Columns"),
        spacing=_spacing(dataset),
        identity=identity.hexdigest() if instance else "",
        pixels=hashlib.sha256(encoded).hexdigest(),
        characters="; ".join(words.doubts),
    )


def _site(words: HeaderText) -> str:
    """The anatomic region in words, with its side."""
    regions = words.dataset.get("AnatomicRegionSequence") or []
    region = words.of(regions[0], "CodeMeaning") if len(regions) else ""
    region = region or words["BodyPartExamined"].lower()
    side = words["ImageLaterality"] or words["Laterality"]
    named = {"L": "left", "R": "right", "B": "both sides"}.get(side.upper(), "")
    return ", ".join(part for part in (region, named) if part)


def _spacing(dataset: Dataset) -> list[float]:
    """The pixel spacing (DICOM PS3.3 10.7.1.1), where it is one that a photograph may have."""
    try:
        found = [float(value) for value in dataset.get("PixelSpacing") or ()]
    except (TypeError, ValueError):
        return []
    return found if len(found) == 2 and all(1e-4 < value < 10 for value in found) else []


_URIS = (
    ("ISO", r"[0-2](\.(0|[1-9]\d*))+", "urn:oid:"),
    ("UUID", r"[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}", "urn:uuid:"),
    ("URI", r"(urn|https?):[^\s<>\"{}|\\^`]+", ""),
)
"""Kinds of universal entity identifiers (DICOM PS3.3, 10.14) that are URIs, and how each begins as one."""


def _issuer_uri(words: HeaderText, issuer: str) -> str:
    """Who issued the patient's number as a URI: as the header qualifies the issuer, or if its name is one."""
    qualifiers = words.dataset.get("IssuerOfPatientIDQualifiersSequence") or []
    stated = kind = ""
    if len(qualifiers):
        stated, kind = (
            words.of(qualifiers[0], name) for name in ("UniversalEntityID", "UniversalEntityIDType")
        )
    for name, type_ in ((stated, kind.upper()), (issuer, "")):
        for said, pattern, start in _URIS:
            if type_ in (said, "") and re.fullmatch(pattern, name):
                return start + name
    return ""


def _acquired(dataset: Dataset) -> tuple[str, str]:
    """When it was taken, `2025-03-04T10:20:30` or `2025-03-04`, and the zone of that where it is stated."""
    stamp = text(dataset.get("AcquisitionDateTime"))
    if not stamp:
        for kind in ("Acquisition", "Content"):
            date = text(dataset.get(f"{kind}Date"))
            if date:
                stamp = date.replace(".", "") + text(dataset.get(f"{kind}Time")).replace(":", "")
                break
    found = re.match(r"(\d{8})(\d{6}|\d{4})?(?!\d)", stamp)
    if found is None:
        return "", ""
    day, hour = found[1], found[2] or ""
    try:
        moment = datetime.strptime(day + hour.ljust(6, "0"), "%Y%m%d%H%M%S")
    except ValueError:
        return "", ""
    own = re.search(r"[+-]\d{4}$", stamp)  # a moment's own zone comes before the header's
    offset = own[0] if own else text(dataset.get("TimezoneOffsetFromUTC"))
    zone = f"{offset[:3]}:{offset[3:]}" if re.fullmatch(r"[+-](0\d|1[0-4])[0-5]\d", offset) else ""
    return moment.isoformat() if hour else moment.date().isoformat(), zone
