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
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.sequence import Sequence

from clinic.dicom_files import as_bytes, close, dicom_bytes, dicom_dataset
from clinic.filled_store import Store
from dermsentry.clinic.intake.admission import About, Received, receive
from dermsentry.clinic.intake.dicom import describe, read_reference
from dermsentry.clinic.store.database import reading
from dermsentry.clinic.store.pictures import may_leave
from dermsentry.clinic.store.tables import Case
from dermsentry.clinic.worker.screener import Screener
from dermsentry.dicom.files import MOST_READ, NotTaken, read_dicom
from dermsentry.dicom.text import LONGEST_TEXT
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


LUMA = np.asarray(Image.fromarray(PHANTOM).convert("L"))
GREY: dict[str, Any] = {
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "PlanarConfiguration": None,
    "PixelData": LUMA.tobytes(),
}
SOME_GREY = np.repeat(LUMA[:, :, None], 3, axis=2)


def adobe(jpeg: bytes, transform: int) -> bytes:
    """The same JPEG with Adobe's marker, and without JFIF's."""
    start = 2
    if jpeg[2:4] == b"\xff\xe0":
        start = 4 + int.from_bytes(jpeg[4:6], "big")
    return jpeg[:2] + b"\xff\xee\0\x0eAdobe\0\x64" + bytes(4) + bytes([transform]) + jpeg[start:]


def bare(jpeg: bytes) -> bytes:
    """The same JPEG without any marker that says its colours."""
    marked = adobe(jpeg, 0)
    return marked[:2] + marked[18:]


def without_letters(jpeg: bytes) -> bytes:
    """The same JPEG, its components called 1, 2, 3 and no longer R, G, B."""
    data = bytearray(jpeg)
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    for number in range(3):
        data[frame + 10 + 3 * number] = data[scan + 5 + 2 * number] = number + 1
    return bytes(data)


def rle(pixels: np.ndarray[Any, Any]) -> bytes:
    frame = RLELosslessEncoder.encode(
        np.ascontiguousarray(pixels), rows=pixels.shape[0], columns=pixels.shape[1], samples_per_pixel=3,
        number_of_frames=1, bits_allocated=8, bits_stored=8, pixel_representation=0,
        photometric_interpretation="RGB", planar_configuration=0,
    )  # fmt: skip
    return bytes(frame)


def lossless(pixels: np.ndarray[Any, Any]) -> bytes:
    """A lossless JPEG (ITU-T T.81, annex H) with the first predictor, and no word on its colours."""
    values = np.atleast_3d(pixels).astype(int)
    height, width, count = values.shape
    before = np.empty_like(values)
    before[:, 1:], before[1:, 0], before[0, 0] = values[:, :-1], values[:-1, 0], 128
    bits = []
    for change in (values - before).ravel().tolist():
        size = abs(change).bit_length()
        bits.append(f"{size:04b}")  # nine codes of four bits each
        bits.append(f"{change if change > 0 else change + (1 << size) - 1:0{size}b}" if size else "")
    packed = "".join(bits)
    packed += "1" * (-len(packed) % 8)
    data = int(packed, 2).to_bytes(len(packed) // 8, "big").replace(b"\xff", b"\xff\0")
    codes = bytes([0, 0, 0, 0, 9, *bytes(12), *range(9)])
    head = b"\xff\xd8\xff\xc4" + struct.pack(">H", 2 + len(codes)) + codes
    head += b"\xff\xc3" + struct.pack(">HBHHB", 8 + 3 * count, 8, height, width, count)
    head += b"".join(bytes([number + 1, 0x11, 0]) for number in range(count))
    head += b"\xff\xda" + struct.pack(">HB", 6 + 2 * count, count)
    head += b"".join(bytes([number + 1, 0]) for number in range(count)) + b"\1\0\0"
    return head + data + b"\xff\xd9"


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
    "JPEG Baseline whose header says RGB": (
        {"TransferSyntaxUID": uid.JPEGBaseline8Bit, "PixelData": encoded("JPEG", quality=95, subsampling=2)},
        4.0,
    ),
    "JPEG Baseline of YCbCr without a marker, subsampled": (
        {
            "TransferSyntaxUID": uid.JPEGBaseline8Bit,
            "PixelData": bare(encoded("JPEG", quality=95, subsampling=1)),
        },
        4.0,
    ),
    "JPEG Baseline by Adobe's marker YCbCr": (
        {
            "TransferSyntaxUID": uid.JPEGBaseline8Bit,
            "PixelData": adobe(encoded("JPEG", quality=95, subsampling=0), 1),
        },
        4.0,
    ),
    "JPEG Baseline by Adobe's marker RGB": (
        {
            "TransferSyntaxUID": uid.JPEGBaseline8Bit,
            "PhotometricInterpretation": "YBR_FULL_422",
            "PixelData": encoded("JPEG", quality=95, keep_rgb=True),
        },
        4.0,
    ),
    "JPEG Baseline of RGB by its header alone": (
        {
            "TransferSyntaxUID": uid.JPEGBaseline8Bit,
            "PixelData": without_letters(bare(encoded("JPEG", quality=95, keep_rgb=True))),
        },
        4.0,
    ),
    "lossless JPEG": ({"TransferSyntaxUID": uid.JPEGLosslessSV1, "PixelData": lossless(PHANTOM)}, 0.0),
    "lossless JPEG of YCbCr": (
        {
            "TransferSyntaxUID": uid.JPEGLossless,
            "PhotometricInterpretation": "YBR_FULL",
            "PixelData": lossless(ybr(PHANTOM)),
        },
        1.5,
    ),
    "native YBR_FULL_422 of full length": (
        {"PhotometricInterpretation": "YBR_FULL_422", "PixelData": ybr(PHANTOM).tobytes()},
        1.5,
    ),
    "native RGB whose header says YBR_FULL_422": ({"PhotometricInterpretation": "YBR_FULL_422"}, 0.0),
    "secondary capture": ({"SOPClassUID": uid.SecondaryCaptureImageStorage}, 0.0),
    "endoscopic": ({"SOPClassUID": uid.VLEndoscopicImageStorage}, 0.0),
    "RLE": (
        {
            "TransferSyntaxUID": uid.RLELossless,
            "PixelData": rle(PHANTOM),
        },
        0.0,
    ),
    "JPEG 2000 that says RGB": (
        {
            "TransferSyntaxUID": uid.JPEG2000Lossless,
            "PixelData": encoded("JPEG2000", no_jp2=True, mct=1, irreversible=False),
        },
        0.0,
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


@pytest.mark.parametrize(
    ("changes", "expected", "tolerance"),
    [
        (GREY, SOME_GREY, 0.0),
        ({**GREY, "PhotometricInterpretation": "MONOCHROME1"}, 255 - SOME_GREY, 0.0),
        ({**GREY, "TransferSyntaxUID": uid.JPEGLosslessSV1, "PixelData": lossless(LUMA)}, SOME_GREY, 0.0),
        (
            {**GREY, "TransferSyntaxUID": uid.JPEGBaseline8Bit, "PixelData": encoded("JPEG", LUMA)},
            SOME_GREY,
            3.0,
        ),
        (
            {
                **GREY,
                **{"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11},
                "PixelData": (LUMA.astype("<u2") * 16).tobytes(),
            },
            SOME_GREY,
            1.0,
        ),
    ],
    ids=["native", "inverted", "lossless JPEG", "JPEG", "12 bits"],
)
def test_a_grey_photograph_is_read(
    tmp_path: Path, changes: dict[str, Any], expected: np.ndarray[Any, Any], tolerance: float
) -> None:
    pixels = read(tmp_path, dicom_bytes(**changes)).pixels
    assert close(pixels, expected, tolerance) if tolerance else (pixels == expected).all()


def test_one_picture_has_one_colour_whatever_its_header_says(tmp_path: Path) -> None:
    jpeg = encoded("JPEG", quality=90)
    pictures = [
        read(
            tmp_path,
            dicom_bytes(
                TransferSyntaxUID=uid.JPEGBaseline8Bit, PhotometricInterpretation=stated, PixelData=jpeg
            ),
        ).pixels
        for stated in ("RGB", "YBR_FULL", "YBR_FULL_422")
    ]
    assert (pictures[0] == pictures[1]).all()
    assert (pictures[0] == pictures[2]).all()


def with_text(sets: str | list[str] | None, value: bytes) -> bytes:
    """A file with these bytes as its PatientID."""
    whole = dicom_bytes(
        SpecificCharacterSet=sets, PatientName="A", PatientID="Q" * (len(value) + len(value) % 2)
    )
    return whole.replace(b"Q" * (len(value) + len(value) % 2), value.ljust(len(value) + len(value) % 2))


@pytest.mark.parametrize(
    ("sets", "value", "patient", "doubt"),
    [
        ("ISO_IR 192", "Ü-17".encode(), "Ü-17", ""),
        ("ISO_IR 100", "Ü-17".encode("latin-1"), "Ü-17", ""),
        ("GB18030", "患者一二".encode("gb18030"), "患者一二", ""),
        (["", "ISO 2022 IR 87"], b"\x1b$B;3ED\x1b(B-1", "山田-1", ""),
        ("ISO 2022 IR 165", b"P-0042", "P-0042", ""),
        ("ISO 2022 IR 165", b"\xbb\xbc-1", r"\xbb\xbc-1", "'ISO 2022 IR 165' is not known"),
        ("NONSENSE", b"\xbb\xbc-2", r"\xbb\xbc-2", "'NONSENSE' is not known"),
        ("ISO_IR 192", b"\xdc-17", r"\xdc-17", "not in the character set 'ISO_IR 192', as stated"),
        ("ISO_IR 100", "患者".encode("gb18030"), "»¼Õß", "symbols that names have not"),
        (None, "Ü-17".encode(), "Ü-17", "was read as UTF-8"),
        (None, b"\xdc-17", r"\xdc-17", "no character set is stated"),
        ("", b"\xdc-17", r"\xdc-17", "no character set is stated"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # pydicom's, of sets that nobody knows
def test_a_patient_is_never_garbled_unsaid(
    sets: str | list[str] | None, value: bytes, patient: str, doubt: str
) -> None:
    header = describe(with_text(sets, value))
    assert header.patient == patient
    assert (doubt in header.characters) if doubt else header.characters == ""


@pytest.mark.filterwarnings("ignore")
def test_an_unknown_character_set_is_told_where_the_case_is_reviewed(store: Store) -> None:
    data = with_text("ISO 2022 IR 165", b"\xbb\xbc-1")
    received = receive(store, data, About(note="left arm"), source="page", actor="someone")
    with reading(store.engine) as session:
        case = session.get_one(Case, received.case_id)
    assert case.patient == r"\xbb\xbc-1"
    assert case.note.startswith("left arm\nCheck the patient: the text of the DICOM header is uncertain: ")
    assert "'ISO 2022 IR 165' is not known" in case.note
    with pytest.raises(Unreadable, match="reference cannot be repeated: the character set 'ISO 2022 IR 165'"):
        read_reference(data)


@given(st.binary(max_size=40), st.sampled_from([None, "", "ISO_IR 100", "ISO_IR 192", "GB18030", "X"]))
@pytest.mark.filterwarnings("ignore")
def test_any_bytes_of_a_patient_are_one_line(value: bytes, sets: str | None) -> None:
    header = describe(with_text(sets, value))
    assert header.patient.isprintable()


def as_plain(changes: dict[str, Any]) -> bytes:
    return bytes(changes.get("PixelData", PHANTOM.tobytes()))


REFUSED = {
    "a CT slice": ({"SOPClassUID": uid.CTImageStorage}, "a DICOM file, but CT Image Storage"),
    "a grey secondary capture": (
        {"SOPClassUID": uid.SecondaryCaptureImageStorage, **GREY},
        "a Secondary Capture Image that is MONOCHROME2",
    ),
    "a secondary capture without colour": (
        {"SOPClassUID": uid.SecondaryCaptureImageStorage, "PixelData": np.repeat(LUMA, 3).tobytes()},
        "a picture without colour",
    ),
    "no kind": ({"SOPClassUID": None}, "of no stated kind"),
    "no picture": ({"PixelData": None}, "holds no picture"),
    "High-Throughput JPEG 2000": (
        {"TransferSyntaxUID": uid.HTJ2KLossless, "PixelData": b"\xff\x4f\xff\x51"},
        "which nothing here decodes",
    ),
    "video": ({"TransferSyntaxUID": uid.MPEG2MPML, "PixelData": b"\0\0"}, "which nothing here decodes"),
    "deflated": ({"TransferSyntaxUID": uid.DeflatedExplicitVRLittleEndian}, "deflated"),
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
    "both RGB and YCbCr": (
        {
            "TransferSyntaxUID": uid.JPEGBaseline8Bit,
            "PixelData": adobe(encoded("JPEG", subsampling=2), 0),
        },
        "its colours cannot be decided: its JPEG says both RGB and YCbCr, its header RGB",
    ),
    "native YBR_FULL_422 of full length and one colour": (
        {"PhotometricInterpretation": "YBR_FULL_422", "PixelData": bytes(3 * 160 * 120)},
        "its colours cannot be decided: its header says YBR_FULL_422, its length does not",
    ),
    "JPEG 2000 without a transform": (
        {
            "TransferSyntaxUID": uid.JPEG2000Lossless,
            "PhotometricInterpretation": "YBR_RCT",
            "PixelData": encoded("JPEG2000", no_jp2=True, mct=0, irreversible=False),
        },
        "its colours cannot be decided: its JPEG 2000 has no transform, its header YBR_RCT",
    ),
    "JPEG 2000 transformed twice": (
        {
            "TransferSyntaxUID": uid.JPEG2000Lossless,
            "PhotometricInterpretation": "YBR_FULL",
            "PixelData": encoded("JPEG2000", no_jp2=True, mct=1, irreversible=False),
        },
        "its colours cannot be decided: its JPEG 2000 says RGB, its header YBR_FULL",
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
    if size > MOST_READ:
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
        assert len(text) <= LONGEST_TEXT + 20


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
    held = take(dicom_bytes(PatientID="P-0043")).held
    assert held is not None
    assert held.told["patient"] == "P-0043"


def test_a_dicom_file_that_is_not_taken_is_refused_where_it_comes_in(store: Store) -> None:
    with pytest.raises(InputError, match="CT Image Storage"):
        receive(
            store,
            dicom_bytes(SOPClassUID=uid.CTImageStorage),
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
        path.write_bytes(UNDECIDED)
        refused = screener.screen(path, "DICOM")
    assert (screened.width, screened.height) == (320, 240)
    assert set(screened.pictures) == {"view", "thumbnail", "saliency"}
    assert refused.finding["tier"] == "unreadable"
    assert "its colours cannot be decided" in refused.finding["reasons"][0]


UNDECIDED = dicom_bytes(**REFUSED["both RGB and YCbCr"][0])
