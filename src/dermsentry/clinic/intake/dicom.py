"""Photographs that come as DICOM: their pixels, and what their header tells.

Taken are VL Photographic and Dermoscopic Photography images (DICOM PS3.3 A.32.4 and A.32.11) of one frame, in
colour. A file is hostile: the header is read within a budget wherever it is read, and pixels are decoded only
in the process that `screening` limits.
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

import numpy as np
import pydicom
from PIL import Image
from pydicom import config, uid
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import get_frame
from pydicom.filereader import read_partial
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array
from pydicom.tag import Tag

from dermsentry.images import MAX_BYTES, MAX_PIXELS, Photograph, Pixels, Unreadable

PHOTOGRAPHS = {
    str(uid.VLPhotographicImageStorage): "VL Photographic Image",
    str(uid.DermoscopicPhotographyImageStorage): "Dermoscopic Photography Image",
}
"""The kinds of image that are taken, by SOP class."""
MOST_READS = 20_000
MOST_READ = 1024 * 1024
"""Of a header, in pieces and in bytes: several times what the largest needs; made-up ones stop here."""
LONGEST_VALUE = 64 * 1024
LONGEST_TEXT = 200
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")

_DESCRIBING = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "IssuerOfPatientID",
    "AccessionNumber",
    "Modality",
    "BurnedInAnnotation",
    "AcquisitionDateTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "ContentDate",
    "ContentTime",
    "AnatomicRegionSequence",
    "BodyPartExamined",
    "ImageLaterality",
    "Laterality",
    "TrackingID",
    "Rows",
    "Columns",
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
_DECODING = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData",
)
_CHARACTERS, _PIXEL_DATA = 0x00080005, 0x7FE00010
_JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEG2000, uid.JPEG2000Lossless)

# What the library thinks of a value holds the value, which may be a patient's: neither log nor warn of it.
config.settings.reading_validation_mode = config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom\.")

_T = TypeVar("_T")


class NotTaken(Unreadable):
    """A DICOM file that is whole, but of a kind that is not taken, such as a secondary capture."""


@dataclass(frozen=True)
class Header:
    """What a DICOM photograph's header tells, as plain text; empty where it does not say.

    `lesion` is its Tracking ID, `site` the anatomic region with its side, `acquired` ISO 8601 without a zone.
    `burned_in`: whether its pixels name the patient, so that they may go nowhere. `identity`: SHA-256 over
    patient, SOP instance and pixel data as encoded, which stays the same where the header was rewritten.
    """

    patient: str
    lesion: str
    site: str
    issuer: str
    accession: str
    modality: str
    acquired: str
    burned_in: bool
    sop_class: str
    sop_instance: str
    study: str
    series: str
    transfer_syntax: str
    rows: int
    columns: int
    identity: str

    def as_dict(self) -> dict[str, Any]:
        """What a case keeps as its `dicom`: all but what the case has a place of its own for."""
        own = ("patient", "lesion", "site", "identity")
        return {name: value for name, value in asdict(self).items() if name not in own}


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
        As `describe`.
    """

    def read() -> Dataset:
        data = _bytes(source)
        _describe(data)
        dataset, _ = _read(data, _REFERRING)
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
        It is damaged, too large, of several frames, grey, of a kind that is not taken, or compressed in a
        way that nothing here decodes.
    """
    data = _bytes(path)
    _guarded(lambda: _describe(data), "the DICOM header cannot be read")
    return _guarded(lambda: _decode(data), "the DICOM picture is damaged", tell=True)


def transfer_syntaxes() -> list[str]:
    """How a DICOM photograph may be encoded: what can be decoded here, and cannot be inflated without end."""
    known = (*uid.UncompressedTransferSyntaxes, *_JPEG, *uid.JPEGLSTransferSyntaxes, uid.RLELossless)
    return [
        str(syntax)
        for syntax in known
        if syntax != uid.DeflatedExplicitVRLittleEndian and get_decoder(syntax).is_available
    ]


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
            raise Unreadable(f"the file is too large ({size >> 20} MiB; at most {MAX_BYTES >> 20})")
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
    syntax = uid.UID(_text(dataset.file_meta.get("TransferSyntaxUID")))
    if syntax not in transfer_syntaxes():
        raise NotTaken(
            f"a DICOM photograph encoded as {syntax.name or 'nothing stated'}, which nothing here decodes; "
            "send it uncompressed, as JPEG Baseline or JPEG 2000"
        )


def _describe(data: bytes) -> Header:
    dataset, start = _read(data, _DESCRIBING)
    _require_photograph(dataset)
    explicit = not dataset.is_implicit_VR
    order = "little" if dataset.is_little_endian else "big"
    tag = data[start : start + 4]
    if int.from_bytes(tag[:2], order) << 16 | int.from_bytes(tag[2:], order) != _PIXEL_DATA:  # type: ignore[arg-type]
        raise Unreadable("the DICOM file holds no picture")
    patient, instance = _text(dataset.get("PatientID")), _uid(dataset, "SOPInstanceUID")
    identity = hashlib.sha256(f"{patient}\0{instance}\0".encode())
    identity.update(memoryview(data)[start + (12 if explicit else 8) :])
    return Header(
        patient=patient,
        lesion=_text(dataset.get("TrackingID")),
        site=_site(dataset),
        issuer=_text(dataset.get("IssuerOfPatientID")),
        accession=_text(dataset.get("AccessionNumber")),
        modality=_text(dataset.get("Modality")),
        acquired=_acquired(dataset),
        # The standard knows YES, NO, and not saying; whatever else stands there is no NO.
        burned_in=_text(dataset.get("BurnedInAnnotation")).upper() not in ("NO", ""),
        sop_class=_uid(dataset, "SOPClassUID"),
        sop_instance=instance,
        study=_uid(dataset, "StudyInstanceUID"),
        series=_uid(dataset, "SeriesInstanceUID"),
        transfer_syntax=_text(dataset.file_meta.get("TransferSyntaxUID")),
        rows=_number(dataset, "Rows"),
        columns=_number(dataset, "Columns"),
        identity=identity.hexdigest() if instance else "",
    )


def _text(value: Any) -> str:
    """A value as one line of text, of bounded length, without what is not printable."""
    if value is None:
        return ""
    if not isinstance(value, str) and hasattr(value, "__iter__"):
        value = "\\".join(str(part) for part in value)
    text = str(value)[: 4 * LONGEST_TEXT].encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c.isprintable() else " " for c in text).strip()[:LONGEST_TEXT]


def _uid(dataset: Dataset, name: str) -> str:
    text = _text(dataset.get(name))
    return text if re.fullmatch(r"[0-9.]{1,64}", text) else ""


def _number(dataset: Dataset, name: str, default: int = 0) -> int:
    value = dataset.get(name)
    return default if value is None or value == "" else int(value)


def _site(dataset: Dataset) -> str:
    """The anatomic region in words, with its side."""
    regions = dataset.get("AnatomicRegionSequence") or []
    words = _text(regions[0].get("CodeMeaning")) if len(regions) else ""
    words = words or _text(dataset.get("BodyPartExamined")).lower()
    side = _text(dataset.get("ImageLaterality")) or _text(dataset.get("Laterality"))
    named = {"L": "left", "R": "right", "B": "both sides"}.get(side.upper(), "")
    return ", ".join(part for part in (words, named) if part)


def _acquired(dataset: Dataset) -> str:
    """When it was taken: `2025-03-04T10:20:30` or `2025-03-04`."""
    stamp = _text(dataset.get("AcquisitionDateTime"))
    if not stamp:
        for kind in ("Acquisition", "Content"):
            date = _text(dataset.get(f"{kind}Date"))
            if date:
                stamp = date.replace(".", "") + _text(dataset.get(f"{kind}Time")).replace(":", "")
                break
    found = re.match(r"(\d{8})(\d{6}|\d{4})?(?!\d)", stamp)
    if found is None:
        return ""
    day, hour = found[1], found[2] or ""
    try:
        moment = datetime.strptime(day + hour.ljust(6, "0"), "%Y%m%d%H%M%S")
    except ValueError:
        return ""
    return moment.isoformat() if hour else moment.date().isoformat()


def _decode(data: bytes) -> Photograph:
    tags: Any = [Tag(name) for name in _DECODING]
    dataset = pydicom.dcmread(io.BytesIO(data), specific_tags=tags)
    rows, columns = _number(dataset, "Rows"), _number(dataset, "Columns")
    colour, bits = _text(dataset.get("PhotometricInterpretation")), _number(dataset, "BitsAllocated")
    if rows < 1 or columns < 1:
        raise Unreadable(f"a DICOM picture of {columns}×{rows} pixels")
    if rows * columns > MAX_PIXELS:
        raise Unreadable(
            f"the photograph is too large ({columns}×{rows} pixels; at most {MAX_PIXELS // 10**6} million)"
        )
    frames = _number(dataset, "NumberOfFrames", 1)
    if frames > 1:
        raise Unreadable(f"a DICOM file of several pictures ({frames}); send one at a time")
    if colour.startswith("MONOCHROME"):
        raise Unreadable(f"a greyscale image ({colour}); the model assesses photographs in colour")
    if colour not in COLOURS:
        raise Unreadable(f"a DICOM picture in the colours {colour!r}; expected one of {', '.join(COLOURS)}")
    palette = colour == "PALETTE COLOR"
    if _number(dataset, "SamplesPerPixel") != (1 if palette else 3):
        raise Unreadable(f"a DICOM picture that is {colour} with {dataset.get('SamplesPerPixel')} samples")
    if bits not in (8, 16) or _number(dataset, "PixelRepresentation") != 0:
        raise Unreadable(f"a DICOM picture of {bits} bits or with a sign; expected 8 or 16 without")
    if colour.startswith("YBR") and bits != 8:
        raise Unreadable(f"a DICOM picture that is {colour} with {bits} bits; expected 8")
    quantization = _looked_at(dataset, rows, columns) if dataset.file_meta.TransferSyntaxUID in _JPEG else 0
    values = pixel_array(dataset)
    stored = _number(dataset, "BitsStored", bits)
    if palette:
        values = apply_color_lut(values, dataset)
        stored = 8 * values.dtype.itemsize
    if values.shape != (rows, columns, 3):
        raise Unreadable(f"the DICOM picture is damaged (received {values.shape}, stated {columns}×{rows})")
    return Photograph(_eight_bits(values, stored), columns, rows, "DICOM", quantization)


def _looked_at(dataset: FileDataset, rows: int, columns: int) -> int:
    """The sum of the JPEG luminance table; a picture that is not as large as stated is not decoded."""
    with Image.open(io.BytesIO(get_frame(dataset.PixelData, 0, number_of_frames=1))) as image:
        if image.format not in ("JPEG", "JPEG2000", "MPO"):
            raise Unreadable("the DICOM picture is damaged (not encoded as stated)")
        if image.size != (columns, rows):
            size = f"{image.width}×{image.height}"
            raise Unreadable(f"the DICOM picture is damaged ({size}, stated {columns}×{rows})")
        tables = getattr(image, "quantization", None) or {}
        return int(sum(tables.get(0, ())))


def _eight_bits(values: Any, stored: int) -> Pixels:
    if values.dtype == np.uint8 and stored == 8:
        return np.ascontiguousarray(values)
    most = (1 << stored) - 1
    scaled = np.minimum(values, most).astype(np.float32) * (255.0 / most)
    whole: Pixels = np.rint(scaled).astype(np.uint8)
    return whole
