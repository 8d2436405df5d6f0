"""Photographs that come as DICOM: their pixels, and what their header tells.

Taken are VL Photographic and Dermoscopic Photography images (DICOM PS3.3 A.32.4 and A.32.11) of one frame,
and Secondary Capture and VL Endoscopic images if they are in colour. A file is hostile: the header is read
within a budget wherever it is read, and pixels are decoded only in the process that `screening` limits.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pydicom import config, uid
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_partial
from pydicom.tag import Tag

from dermsentry.clinic.intake.dicom_pixels import COLOURS, decode, transfer_syntaxes
from dermsentry.clinic.intake.dicom_text import HeaderText, number, text
from dermsentry.images import MAX_BYTES, Photograph, Unreadable

PHOTOGRAPHS = {
    str(uid.VLPhotographicImageStorage): "VL Photographic Image",
    str(uid.DermoscopicPhotographyImageStorage): "Dermoscopic Photography Image",
    str(uid.VLEndoscopicImageStorage): "VL Endoscopic Image",
    str(uid.SecondaryCaptureImageStorage): "Secondary Capture Image",
}
"""The kinds of image that are taken, by SOP class."""
_MAY_BE_ANYTHING = (str(uid.VLEndoscopicImageStorage), str(uid.SecondaryCaptureImageStorage))
MOST_READS = 20_000
MOST_READ = 1024 * 1024
"""Of a header, in pieces and in bytes: several times what the largest needs; made-up ones stop here."""
LONGEST_VALUE = 64 * 1024
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
_CHARACTERS, _PIXEL_DATA = 0x00080005, 0x7FE00010

# What the library thinks of a value holds the value, which may be a patient's: neither log nor warn of it.
config.settings.reading_validation_mode = config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom\.")

_T = TypeVar("_T")


class NotTaken(Unreadable):
    """A DICOM file that is whole, but of a kind that is not taken, such as a CT slice."""


@dataclass(frozen=True)
class Header:
    """What a DICOM photograph's header tells, as plain text; empty where it does not say.

    `lesion` is its Tracking ID, `site` the anatomic region with its side, `acquired` ISO 8601 without a zone,
    `zone` that zone as `+01:00`. `issuer` names who issued the patient's number, `issuer_uri` is its a URI.
    `burned_in`: whether its pixels name the patient, so that they may go nowhere. `identity`: SHA-256 over
    patient, SOP instance and pixel data as encoded, which stays the same where the header was rewritten;
    `pixels` that over the pixel data alone, which is the same whoever it is said to be of.
    `characters`: what is uncertain about all this text, since its character set is unknown or wrong.
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
    return _guarded(lambda: _describe(_bytes(source)), "the DICOM header cannot be read")


def read_reference(source: Path | bytes) -> Dataset:
    """What a report needs to refer to a DICOM photograph: patient, study, and which image it is.

    Raises
    ------
    NotTaken, Unreadable
        As `describe`, or the patient's name or reference is in an unknown character set.
    """

    def read() -> Dataset:
        data = _bytes(source)
        _describe(data)
        dataset, _ = _read(data, _REFERRING)
        words = HeaderText(dataset)
        for name in ("PatientName", "PatientID"):
            words[name]
        if words.doubts:
            raise Unreadable(f"the patient's name and reference cannot be repeated: {words.doubts[0]}")
        kept = Dataset()
        for name in _REFERRING:
            setattr(kept, name, dataset.get(name, ""))
        return kept

    return _guarded(read, "the DICOM header cannot be read")


def read_dicom(path: Path) -> Photograph:
    """Decode a DICOM photograph, upright as it stands, 8-bit RGB.

    Raises
    ------
    Unreadable
        It is damaged, too large, of several frames, of a kind that is not taken, of colours that cannot be
        decided, or compressed in a way that nothing here decodes.
    """
    data = _bytes(path)
    header = _guarded(lambda: _describe(data), "the DICOM header cannot be read")
    colour_only = header.sop_class in _MAY_BE_ANYTHING
    return _guarded(lambda: decode(data, colour_only=colour_only), "the DICOM picture is damaged", tell=True)


class _Bounded(io.BytesIO):
    """Bytes of which only so many can be read, so often: a header's cost is bounded, however it was made up.

    What nobody asks for is passed over, and costs nothing.
    """

    pieces = read_so_far = 0

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:  # only to inflate, which a small file may make endless
            raise NotTaken("a deflated DICOM file; send it in explicit little endian or as JPEG")
        self.pieces += 1
        self.read_so_far += size
        if self.pieces > MOST_READS or self.read_so_far > MOST_READ:
            raise Unreadable("the DICOM header is larger than a photograph's")
        return super().read(size)


def _guarded(read: Callable[[], _T], problem: str, *, tell: bool = False) -> _T:
    try:
        return read()
    except (Unreadable, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - a parser fed hostile bytes may raise anything
        # Of a header only the kind of error: the words may hold what the header says of a patient.
        words = str(error).strip().split("\n")[0] if tell else ""
        raise Unreadable(f"{problem} ({words or type(error).__name__})") from None


def _bytes(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        size = source.stat().st_size
        if size > MAX_BYTES:
            raise Unreadable(f"the file is larger than {MAX_BYTES >> 20} MiB")
        return source.read_bytes()
    except OSError as error:
        raise Unreadable(f"the file cannot be read ({error.strerror or error})") from None


def _read(data: bytes, names: tuple[str, ...]) -> tuple[FileDataset, int]:
    """The elements of these names before the pixel data, and where those begin."""
    stream = _Bounded(data)
    wanted = [Tag(name) for name in names]

    def at_pixels(tag: int, _: str | None, length: int) -> bool:
        # Taken apart, a long value can become millions.
        if LONGEST_VALUE < length < 0xFFFFFFFF and (tag in wanted or tag == _CHARACTERS):
            raise Unreadable("a value of the DICOM header is too long")
        return tag >= 0x7FE00008

    dataset = read_partial(stream, stop_when=at_pixels, specific_tags=wanted)  # type: ignore[arg-type]
    return dataset, stream.tell()


def _require_photograph(dataset: FileDataset) -> None:
    kind = _uid(dataset, "SOPClassUID")
    if kind not in PHOTOGRAPHS:
        name = uid.UID(kind).name if kind else "of no stated kind"
        raise NotTaken(f"a DICOM file, but {name}; expected one of {', '.join(PHOTOGRAPHS.values())}")
    syntax = uid.UID(text(dataset.file_meta.get("TransferSyntaxUID")))
    if syntax not in transfer_syntaxes():
        raise NotTaken(
            f"a DICOM photograph encoded as {syntax.name or 'nothing stated'}, which nothing here decodes; "
            "send it uncompressed, as JPEG Baseline or JPEG 2000"
        )
    colour = text(dataset.get("PhotometricInterpretation"))
    if kind in _MAY_BE_ANYTHING and colour not in COLOURS:
        stated = colour or "of no stated colours"
        raise NotTaken(f"a {PHOTOGRAPHS[kind]} that is {stated}; expected a photograph in colour")


def _describe(data: bytes) -> Header:
    dataset, start = _read(data, _DESCRIBING)
    _require_photograph(dataset)
    words = HeaderText(dataset)
    explicit = not dataset.is_implicit_VR
    order = "little" if dataset.is_little_endian else "big"
    tag = data[start : start + 4]
    if int.from_bytes(tag[:2], order) << 16 | int.from_bytes(tag[2:], order) != _PIXEL_DATA:  # type: ignore[arg-type]
        raise Unreadable("the DICOM file holds no picture")
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
        # The standard knows YES, NO, and not saying; whatever else stands there is no NO.
        burned_in=text(dataset.get("BurnedInAnnotation")).upper() not in ("NO", ""),
        sop_class=_uid(dataset, "SOPClassUID"),
        sop_instance=instance,
        study=_uid(dataset, "StudyInstanceUID"),
        series=_uid(dataset, "SeriesInstanceUID"),
        transfer_syntax=text(dataset.file_meta.get("TransferSyntaxUID")),
        rows=number(dataset, "Rows"),
        columns=number(dataset, "Columns"),
        identity=identity.hexdigest() if instance else "",
        pixels=hashlib.sha256(encoded).hexdigest(),
        characters="; ".join(words.doubts),
    )


def _uid(dataset: Dataset, name: str) -> str:
    value = text(dataset.get(name))
    return value if re.fullmatch(r"[0-9.]{1,64}", value) else ""


def _site(words: HeaderText) -> str:
    """The anatomic region in words, with its side."""
    regions = words.dataset.get("AnatomicRegionSequence") or []
    region = words.of(regions[0], "CodeMeaning") if len(regions) else ""
    region = region or words["BodyPartExamined"].lower()
    side = words["ImageLaterality"] or words["Laterality"]
    named = {"L": "left", "R": "right", "B": "both sides"}.get(side.upper(), "")
    return ", ".join(part for part in (region, named) if part)


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
