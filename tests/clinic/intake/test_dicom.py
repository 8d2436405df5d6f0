"""A DICOM photograph is decoded as it was, its header kept, and a hostile one ends with a reason."""

from __future__ import annotations

import io
import re
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import jpeg_ls
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from clinic.dicom_files import as_bytes, close, dicom_bytes, dicom_dataset
from clinic.filled_store import Store
from dermsentry.clinic.intake import dicom
from dermsentry.clinic.intake.admission import About, Received, receive
from dermsentry.clinic.intake.dicom import NotTaken, describe, read_dicom, read_reference
from dermsentry.clinic.store.database import reading
from dermsentry.clinic.store.pictures import may_leave
from dermsentry.clinic.store.tables import Case
from dermsentry.clinic.worker.screener import Screener
from dermsentry.errors import InputError
from dermsentry.images import Photograph, Unreadable
from dermsentry.model import bundled
from dermsentry.phantoms import draw_phantom

PHANTOM = draw_phantom("MEL", 1, (160, 120))


def encoded(kind: str, pixels: np.ndarray[Any, Any] = PHANTOM, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def read(folder: Path, data: bytes) -> Photograph:
    path = folder / "photograph"
    path.write_bytes(data)
    return read_dicom(path)


def palette() -> dict[str, Any]:
    picture = Image.fromarray(PHANTOM).quantize(256)
    table = np.array(picture.getpalette(), dtype=np.uint16).reshape(-1, 3)
    table = np.vstack([table, np.zeros((256 - len(table), 3), np.uint16)])
    parts: dict[str, Any] = {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "PALETTE COLOR",
        "PlanarConfiguration": None,
        "PixelData": np.asarray(picture).tobytes(),
    }
    for place, name in enumerate(("Red", "Green", "Blue")):
        parts[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        parts[f"{name}PaletteColorLookupTableData"] = (table[:, place] * 257).astype("<u2").tobytes()
    return parts


def ybr(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(Image.fromarray(pixels).convert("YCbCr"))


ENCODINGS: dict[str, tuple[dict[str, Any], float]] = {
    "implicit": ({"TransferSyntaxUID": uid.ImplicitVRLittleEndian}, 0.0),
    "explicit": ({}, 0.0),
    "planes": ({"PlanarConfiguration": 1, "PixelData": PHANTOM.transpose(2, 0, 1).tobytes()}, 0.0),
    "YBR_FULL": ({"PhotometricInterpretation": "YBR_FULL", "PixelData": ybr(PHANTOM).tobytes()}, 1.5),
    "palette": (palette(), 4.0),
    "16 bits": (
        {
            "BitsAllocated": 16,
            "BitsStored": 12,
            "HighBit": 11,
            "PixelData": (PHANTOM.astype("<u2") * 16).tobytes(),
        },
        1.0,
    ),
    "JPEG Baseline": (
        {
            "TransferSyntaxUID": uid.JPEGBaseline8Bit,
            "PhotometricInterpretation": "YBR_FULL_422",
            "PixelData": encoded("JPEG", quality=95),
        },
        4.0,
    ),
    "JPEG Baseline in RGB": (
        {"TransferSyntaxUID": uid.JPEGBaseline8Bit, "PixelData": encoded("JPEG", quality=95, keep_rgb=True)},
        4.0,
    ),
    "JPEG 2000": (
        {
            "TransferSyntaxUID": uid.JPEG2000Lossless,
            "PhotometricInterpretation": "YBR_RCT",
            "PixelData": encoded("JPEG2000", no_jp2=True, mct=1, irreversible=False),
        },
        0.0,
    ),
    "JPEG-LS": (
        {
            "TransferSyntaxUID": uid.JPEGLSLossless,
            "PixelData": jpeg_ls.encode_array(PHANTOM, interleave_mode=2),
        },
        0.0,
    ),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_encoding_gives_the_same_picture(tmp_path: Path, name: str) -> None:
    changes, tolerance = ENCODINGS[name]
    photograph = read(tmp_path, dicom_bytes(**{**changes, "PixelData": as_plain(changes)}))
    assert (photograph.width, photograph.height, photograph.format) == (160, 120, "DICOM")
    assert photograph.pixels.dtype == np.uint8
    assert (photograph.quantization > 0) == name.startswith("JPEG Baseline")
    if tolerance:
        assert close(photograph.pixels, PHANTOM, tolerance)
    else:
        assert (photograph.pixels == PHANTOM).all()


def as_plain(changes: dict[str, Any]) -> bytes:
    return bytes(changes.get("PixelData", PHANTOM.tobytes()))


REFUSED = {
    "secondary capture": ({"SOPClassUID": uid.SecondaryCaptureImageStorage}, "Secondary Capture"),
    "no kind": ({"SOPClassUID": None}, "of no stated kind"),
    "no picture": ({"PixelData": None}, "holds no picture"),
    "no JPEG Lossless decoder": (
        {"TransferSyntaxUID": uid.JPEGLosslessSV1, "PixelData": b"\xff\xd8\xff\xd9"},
        "which nothing here decodes",
    ),
    "video": ({"TransferSyntaxUID": uid.MPEG2MPML, "PixelData": b"\0\0"}, "which nothing here decodes"),
    "deflated": ({"TransferSyntaxUID": uid.DeflatedExplicitVRLittleEndian}, "deflated"),
    "grey": (
        {
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "PlanarConfiguration": None,
            "PixelData": bytes(160 * 120),
        },
        "greyscale image",
    ),
    "frames": ({"NumberOfFrames": 3, "PixelData": PHANTOM.tobytes() * 3}, "several pictures (3)"),
    "huge": ({"Rows": 60000, "Columns": 60000}, "too large (60000×60000"),
    "empty": ({"Rows": 0}, "160×0"),
    "short": ({"PixelData": PHANTOM.tobytes()[:-100]}, "damaged"),
    "odd colours": ({"PhotometricInterpretation": "CMYK"}, "'CMYK'"),
    "odd samples": ({"SamplesPerPixel": 4}, "4 samples"),
    "with a sign": ({"PixelRepresentation": 1}, "with a sign"),
    "32 bits": ({"BitsAllocated": 32}, "32 bits"),
    "another size within": (
        {
            "TransferSyntaxUID": uid.JPEGBaseline8Bit,
            "PhotometricInterpretation": "YBR_FULL_422",
            "PixelData": encoded("JPEG", draw_phantom("NV", 2, (320, 240))),
        },
        "320×240, stated 160×120",
    ),
    "not as stated": (
        {"TransferSyntaxUID": uid.JPEGBaseline8Bit, "PixelData": encoded("PNG")},
        "not encoded as stated",
    ),
    "a cut JPEG": (
        {
            "TransferSyntaxUID": uid.JPEGBaseline8Bit,
            "PhotometricInterpretation": "YBR_FULL_422",
            "PixelData": encoded("JPEG")[:900],
        },
        "damaged",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_taken_is_refused_in_words(tmp_path: Path, name: str) -> None:
    changes, words = REFUSED[name]
    with pytest.raises(Unreadable, match=re.escape(words)):
        read(tmp_path, dicom_bytes(**changes))


def test_an_endless_deflated_file_is_not_inflated() -> None:
    bomb = zlib.compressobj(9, wbits=-15)
    body = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(64)) + bomb.flush()
    whole = dicom_bytes(TransferSyntaxUID=uid.DeflatedExplicitVRLittleEndian)
    start = 132 + 12 + struct.unpack_from("<I", whole, 140)[0]
    with pytest.raises(NotTaken, match="deflated"):
        describe(whole[:start] + body)


def test_a_header_of_millions_of_elements_ends_soon() -> None:
    whole = dicom_bytes()
    start = whole.index(struct.pack("<HH2s", 0x0028, 0x0002, b"US"))
    many = struct.pack("<HH2sH", 0x0009, 0x1001, b"LO", 0) * 1_000_000
    with pytest.raises(Unreadable, match="larger than a photograph"):
        describe(whole[:start] + many + whole[start:])


def inserted(tag: tuple[int, int], vr: bytes, value: bytes) -> bytes:
    """A file whose header has this element too, of any length."""
    whole = dicom_bytes()
    start = whole.index(struct.pack("<HH2s", 0x0028, 0x0002, b"US"))
    return whole[:start] + struct.pack("<HH2sHI", *tag, vr, 0, len(value)) + value + whole[start:]


@pytest.mark.parametrize(
    ("tag", "vr"),
    [
        ((0x0008, 0x0005), b"UT"),
        ((0x0010, 0x0020), b"UT"),
        ((0x0008, 0x2218), b"SQ"),
        ((0x0028, 0x0010), b"UN"),
    ],
)
def test_a_value_that_becomes_millions_is_not_taken_apart(tag: tuple[int, int], vr: bytes) -> None:
    began = time.monotonic()
    with pytest.raises(Unreadable, match="too long"):
        describe(inserted(tag, vr, b"\\" * 20_000_000))
    assert time.monotonic() - began < 30


def test_nor_is_one_before_the_header() -> None:
    long = struct.pack("<HH2sHI", 0x0002, 0x0010, b"UN", 0, 20_000_000) + b"\\" * 20_000_000
    with pytest.raises(Unreadable, match="larger than a photograph"):
        describe(bytes(128) + b"DICM" + long + dicom_bytes()[132:])


def test_what_nobody_asks_for_may_be_long() -> None:
    assert describe(inserted((0x0028, 0x2000), b"OB", bytes(5_000_000))).patient == "P-0042"


@pytest.mark.filterwarnings("ignore")  # pydicom's, of letters that nobody knows
@pytest.mark.parametrize("size", [60_000, 900_000, 3_000_000])
def test_a_long_sequence_without_a_length_is_read_within_limits(size: int) -> None:
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    inner = struct.pack("<HH2sHI", 0x0008, 0x0005, b"UT", 0, size) + b"\\" * size
    whole = dicom_bytes()
    start = whole.index(struct.pack("<HH2s", 0x0028, 0x0002, b"US"))
    sequence = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + item + inner
    ends = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    hostile = whole[:start] + sequence + ends + whole[start:]
    began = time.monotonic()
    if size > dicom.MOST_READ:
        with pytest.raises(Unreadable, match="larger than a photograph"):
            describe(hostile)
    else:
        assert describe(hostile).patient == "P-0042"
    assert time.monotonic() - began < 30


def test_a_deeply_nested_sequence_ends_with_a_reason() -> None:
    whole = dicom_bytes()
    start = whole.index(struct.pack("<HH2s", 0x0028, 0x0002, b"US"))
    deeper = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    with pytest.raises(Unreadable, match="cannot be read"):
        describe(whole[:start] + deeper * 5000 + whole[start:])


def test_the_header_is_described() -> None:
    header = describe(dicom_bytes(TrackingID="lesion 3", BurnedInAnnotation="YES"))
    assert (header.patient, header.lesion, header.site) == ("P-0042", "lesion 3", "Back, left")
    kept = header.as_dict()
    assert kept["acquired"] == "2025-03-04T10:20:30"
    assert kept["burned_in"] is True
    assert kept["sop_instance"] == "1.2.826.0.1.3680043.10.1.3.1"
    assert kept["transfer_syntax"] == str(uid.ExplicitVRLittleEndian)
    assert "patient" not in kept
    assert "Müller" not in repr(header)
    assert "1960" not in repr(header)


@pytest.mark.parametrize(
    ("value", "leaves"), [("YES", False), ("NO", True), (None, True), ("yes", False), ("MAYBE", False)]
)
def test_only_pixels_that_name_nobody_leave(value: str | None, leaves: bool) -> None:
    assert may_leave(describe(dicom_bytes(BurnedInAnnotation=value)).as_dict()) is leaves
    assert may_leave(None)


@pytest.mark.parametrize(
    ("changes", "acquired"),
    [
        ({"AcquisitionDateTime": "20250304102030.123456+0100"}, "2025-03-04T10:20:30"),
        ({"AcquisitionDateTime": "202503041020"}, "2025-03-04T10:20:00"),
        ({"AcquisitionDateTime": None, "ContentDate": "20250304"}, "2025-03-04"),
        (
            {"AcquisitionDateTime": None, "AcquisitionDate": "20240229", "AcquisitionTime": "1530"},
            "2024-02-29T15:30:00",
        ),
        ({"AcquisitionDateTime": "20250231"}, ""),
        ({"AcquisitionDateTime": "today"}, ""),
        ({"AcquisitionDateTime": None}, ""),
    ],
)
@pytest.mark.filterwarnings("ignore")  # pydicom's, of values that this test means to be wrong
def test_when_it_was_taken(changes: dict[str, Any], acquired: str) -> None:
    assert describe(dicom_bytes(**changes)).acquired == acquired


def test_what_a_report_needs_is_read_and_no_more() -> None:
    reference = read_reference(dicom_bytes())
    assert str(reference.PatientName) == "Müller^Änne"
    assert reference.StudyInstanceUID == describe(dicom_bytes()).study
    assert "AcquisitionDateTime" not in reference
    assert "PixelData" not in reference


def mutated(data: bytes, changes: list[tuple[int, int]], cut: int) -> bytes:
    changed = bytearray(data)
    for place, value in changes:
        changed[132 + place % (len(changed) - 132)] = value
    return bytes(changed[: len(changed) - cut % len(changed)])


WHOLE = dicom_bytes(size=(40, 30))
HEAD = len(WHOLE) - 40 * 30 * 3
JPEG = dicom_bytes(
    size=(40, 30),
    TransferSyntaxUID=uid.JPEGBaseline8Bit,
    PhotometricInterpretation="YBR_FULL_422",
    PixelData=encoded("JPEG", draw_phantom("MEL", 1, (40, 30))),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@given(
    st.sampled_from([WHOLE, JPEG]),
    st.lists(st.tuples(st.integers(0, HEAD), st.integers(0, 255)), max_size=12),
    st.one_of(st.just(0), st.integers(0, 5000)),
)
@example(WHOLE, [], 0)
def test_a_changed_file_is_read_or_refused(
    folder: Path, data: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    hostile = mutated(data, changes, cut)
    refusals: list[Exception] = []
    for attempt in (describe, read_reference, lambda data: read(folder, data)):
        try:
            attempt(hostile)
        except (Unreadable, MemoryError) as error:
            refusals.append(error)
    assert not any("P-0042" in str(error) or "ller" in str(error) for error in refusals)


@given(st.binary(max_size=400))
def test_any_bytes_end_with_a_reason(data: bytes) -> None:
    with pytest.raises(Unreadable):
        describe(bytes(128) + b"DICM" + data)


@given(st.text(max_size=300), st.text(max_size=300))
@pytest.mark.filterwarnings("ignore")  # pydicom's, of values that no one should write
def test_any_text_in_a_header_becomes_one_line(patient: str, region: str) -> None:
    item = Dataset()
    item.CodeMeaning = region
    try:
        data = dicom_bytes(size=(8, 8), PatientID=patient, AnatomicRegionSequence=Sequence([item]))
    except (ValueError, UnicodeError):
        return
    header = describe(data)
    for text in (header.patient, header.site):
        assert text.isprintable()
        assert len(text) <= dicom.LONGEST_TEXT + 20


def test_a_dicom_file_is_kept_with_its_header_however_it_comes(store: Store) -> None:
    received = receive(
        store,
        dicom_bytes(BurnedInAnnotation="YES"),
        About(file_name="a.dcm"),
        source="page",
        actor="someone",
    )
    given_too = receive(
        store,
        dicom_bytes(2),
        About(patient="known as", lesion="2", site="neck"),
        source="page",
        actor="someone",
    )
    with reading(store.engine) as session:
        first, second = session.get_one(Case, received.case_id), session.get_one(Case, given_too.case_id)
    assert (first.patient, first.site) == ("P-0042", "Back, left")
    assert first.dicom is not None
    assert first.dicom["burned_in"] is True
    assert not may_leave(first.dicom)
    assert (second.patient, second.lesion, second.site) == ("known as", "2", "neck")


def test_one_image_in_two_files_is_one_case(store: Store) -> None:
    def take(data: bytes) -> Received:
        return receive(store, data, About(), source="page", actor="someone")

    first = take(dicom_bytes())
    anew = dicom_dataset(TransferSyntaxUID=uid.ImplicitVRLittleEndian, InstitutionName="added on the way")
    assert take(as_bytes(anew)) == Received(first.case_id, False)
    # A camera that numbers every image alike must not lose a photograph, nor a correction of the patient.
    assert take(dicom_bytes(2, SOPInstanceUID=anew.SOPInstanceUID)).new
    assert take(dicom_bytes(PatientID="P-0043")).new


def test_a_dicom_file_that_is_not_taken_is_refused_where_it_comes_in(store: Store) -> None:
    with pytest.raises(InputError, match="Secondary Capture"):
        receive(
            store,
            dicom_bytes(SOPClassUID=uid.SecondaryCaptureImageStorage),
            About(),
            source="api",
            actor="someone",
        )
    assert not any((store.folder / "photographs").rglob("*/*/*"))


def test_a_dicom_photograph_is_screened_in_the_limited_process(tmp_path: Path) -> None:
    path = tmp_path / "photograph"
    with Screener(bundled()) as screener:
        path.write_bytes(dicom_bytes(size=(320, 240)))
        screened = screener.screen(path, "DICOM")
        path.write_bytes(REFUSED_GREY)
        refused = screener.screen(path, "DICOM")
    assert (screened.width, screened.height) == (320, 240)
    assert set(screened.pictures) == {"view", "thumbnail", "saliency"}
    assert refused.finding["tier"] == "unreadable"
    assert "greyscale image" in refused.finding["reasons"][0]


REFUSED_GREY = dicom_bytes(**REFUSED["grey"][0])
