"""The picture of a DICOM photograph. Where its stream says which colours it has, the header is not asked."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from PIL import Image, features
from pydicom import uid
from pydicom.dataset import FileDataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array
from pydicom.tag import Tag

from dermsentry.dicom.text import number, text
from dermsentry.images import MAX_PIXELS, Photograph, Pixels, Unreadable

GREY = ("MONOCHROME1", "MONOCHROME2")
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")

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
_LOSSLESS_JPEG = (uid.JPEGLossless, uid.JPEGLosslessSV1)
_JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, *_LOSSLESS_JPEG)
_JPEG_2000 = (uid.JPEG2000, uid.JPEG2000Lossless)
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # the markers SOF0 to SOF15
_LOSSLESS = 0xC3
_COLOURLESS = 4.0  # levels between the channels of a picture, on average: less is grey


def transfer_syntaxes() -> list[str]:
    """How a DICOM photograph may be encoded: what can be decoded here, and cannot be inflated without end."""
    known = (
        *uid.UncompressedTransferSyntaxes,
        uid.JPEGBaseline8Bit,
        uid.JPEGExtended12Bit,
        *_JPEG_2000,
        *uid.JPEGLSTransferSyntaxes,
        uid.RLELossless,
    )
    decoded = [
        syntax
        for syntax in known
        if syntax != uid.DeflatedExplicitVRLittleEndian and get_decoder(syntax).is_available
    ]
    # Lossless JPEG since libjpeg-turbo 3.
    turbo = (features.version("libjpeg_turbo") or "0").split(".")[0]
    return [str(syntax) for syntax in (*decoded, *(_LOSSLESS_JPEG if int(turbo) >= 3 else ()))]


def decode(data: bytes, *, colour_only: bool) -> Photograph:
    """Decode the picture of a DICOM file whose header was found to be a photograph's, 8-bit sRGB.

    Parameters
    ----------
    data
        The file.
    colour_only
        Whether a picture without colour is refused, as what is no photograph.

    Raises
    ------
    Unreadable
        It is damaged, too large, of several frames, or of colours that cannot be decided.
    """
    tags: Any = [Tag(name) for name in _DECODING]
    dataset = pydicom.dcmread(io.BytesIO(data), specific_tags=tags)
    rows, columns = number(dataset, "Rows"), number(dataset, "Columns")
    colour = _require_one_picture(dataset, rows, columns)
    syntax = dataset.file_meta.TransferSyntaxUID
    quantization = 0
    if syntax in _JPEG and colour != "PALETTE COLOR":
        values, quantization = _decode_jpeg(dataset, colour, rows, columns)
        stored = 8
    else:
        values, stored = _decode_others(dataset, colour, rows, columns)
    if colour in GREY:
        if values.shape != (rows, columns):
            raise _damaged(values.shape, rows, columns)
        values = np.repeat(values[:, :, None], 3, axis=2)
    if values.shape != (rows, columns, 3):
        raise _damaged(values.shape, rows, columns)
    pixels = _eight_bits(values, stored)
    if colour == "MONOCHROME1":
        pixels = 255 - pixels
    if colour_only and _is_grey(pixels):
        raise Unreadable("a picture without colour in a kind of DICOM that may hold anything; no photograph")
    return Photograph(pixels, columns, rows, "DICOM", quantization)


def _require_one_picture(dataset: FileDataset, rows: int, columns: int) -> str:
    """What the header says of the colours, if all that it says can be a photograph. Raises Unreadable."""
    colour, bits = text(dataset.get("PhotometricInterpretation")), number(dataset, "BitsAllocated")
    if rows < 1 or columns < 1:
        raise Unreadable(f"a DICOM picture of {columns}×{rows} pixels")
    if rows * columns > MAX_PIXELS:
        raise Unreadable(
            f"the photograph is too large ({columns}×{rows} pixels; at most {MAX_PIXELS // 10**6} million)"
        )
    frames = number(dataset, "NumberOfFrames", 1)
    if frames > 1:
        raise Unreadable(f"a DICOM file of several pictures ({frames}); send one at a time")
    if colour not in (*COLOURS, *GREY):
        listed = ", ".join((*COLOURS, *GREY))
        raise Unreadable(f"a DICOM picture in the colours {colour!r}; expected one of {listed}")
    if number(dataset, "SamplesPerPixel") != (1 if colour in ("PALETTE COLOR", *GREY) else 3):
        raise Unreadable(f"a DICOM picture that is {colour} with {dataset.get('SamplesPerPixel')} samples")
    if bits not in (8, 16) or number(dataset, "PixelRepresentation") != 0:
        raise Unreadable(f"a DICOM picture of {bits} bits or with a sign; expected 8 or 16 without")
    if colour.startswith("YBR") and bits != 8:
        raise Unreadable(f"a DICOM picture that is {colour} with {bits} bits; expected 8")
    return colour


@dataclass(frozen=True)
class _Stream:
    """What the markers of a JPEG say: `colours` are all that they say, of `RGB` and `YCbCr`.

    `rest` is the stream without its first marker, and without those that say which colours it has.
    """

    components: int
    precision: int
    lossless: bool
    colours: frozenset[str]
    rest: bytes


def _decode_jpeg(dataset: FileDataset, stated: str, rows: int, columns: int) -> tuple[Any, int]:
    """The samples of a JPEG as RGB or grey, and the sum of its luminance table."""
    stream = _look_at(get_frame(dataset.PixelData, 0, number_of_frames=1))
    if stream.precision != 8:
        raise Unreadable(f"a JPEG of {stream.precision} bits, which nothing here decodes; send it with 8")
    if stream.components != (1 if stated in GREY else 3):
        raise Unreadable(f"the DICOM picture is damaged ({stated} with {stream.components} components)")
    if len(stream.colours) > 1:
        raise Unreadable(
            f"its colours cannot be decided: its JPEG says both RGB and YCbCr, its header {stated}"
        )
    luminance = "YCbCr" in stream.colours if stream.colours else stated.startswith("YBR")
    # The decoder goes by Adobe's marker, so it gets one that says what was decided (ITU-T T.872, 6.5.3);
    # without loss it converts no colours.
    marker = b"\xff\xee\0\x0eAdobe\0\x64" + bytes(4) + bytes([luminance and not stream.lossless])
    with Image.open(io.BytesIO(b"\xff\xd8" + marker + stream.rest), formats=("JPEG",)) as opened:
        _require_size(opened, rows, columns)
        tables = getattr(opened, "quantization", None) or {}
        samples = np.asarray(opened)
        return _from_ycbcr(samples) if luminance and stream.lossless else samples, int(sum(tables.get(0, ())))


def _look_at(frame: bytes) -> _Stream:
    """Read a JPEG's markers up to its first scan. Raises Unreadable where it is none."""
    colours: set[str] = set()
    kept: list[bytes] = []
    components = precision = kind = 0
    for marker, segment, rest in _segments(frame):
        content = segment[4:]
        if marker == 0xE0 and content.startswith(b"JFIF\0"):
            colours.add("YCbCr")
            continue
        if marker == 0xEE and content.startswith(b"Adobe") and len(content) >= 12:
            colours.add("RGB" if content[11] == 0 else "YCbCr")
            continue
        if marker in _FRAMES:
            kind, precision, components = marker, content[0], content[5]
            parts = [content[at : at + 3] for at in range(6, 6 + 3 * components, 3)]
            if len({part[1] for part in parts}) > 1:  # nobody subsamples red
                colours.add("YCbCr")
            if [part[0] for part in parts] == list(b"RGB"):
                colours.add("RGB")
        kept.append(segment)
        if marker == 0xDA:
            said = frozenset(colours) if components == 3 else frozenset()
            return _Stream(components, precision, kind == _LOSSLESS, said, b"".join((*kept, rest)))
    raise Unreadable("the DICOM picture is damaged (a JPEG without a picture)")


def _segments(frame: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Each marker after a JPEG's first, its segment, and what follows. Raises Unreadable if it is no JPEG."""
    if not frame.startswith(b"\xff\xd8"):
        raise Unreadable("the DICOM picture is damaged (not encoded as stated)")
    at = 2
    while at + 4 <= len(frame):
        if frame[at] != 0xFF:
            raise Unreadable("the DICOM picture is damaged (a JPEG without markers)")
        marker, size = frame[at + 1], 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        if marker == 0xFF:  # padding before a marker
            at += 1
            continue
        yield marker, frame[at : at + size], frame[at + size :] if marker == 0xDA else b""
        at += size


def _decode_others(dataset: FileDataset, stated: str, rows: int, columns: int) -> tuple[Any, int]:
    """The samples as RGB or grey, and how many bits of each are used."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in _JPEG_2000:
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        with Image.open(io.BytesIO(frame)) as image:
            if image.format != "JPEG2000":
                raise Unreadable("the DICOM picture is damaged (not encoded as stated)")
            _require_size(image, rows, columns)
        if stated not in ("PALETTE COLOR", *GREY):
            dataset.PhotometricInterpretation = _colours_of_jpeg_2000(frame, stated)
    elif syntax in _JPEG:
        with Image.open(io.BytesIO(get_frame(dataset.PixelData, 0, number_of_frames=1))) as image:
            _require_size(image, rows, columns)
    elif (
        stated == "YBR_FULL_422"
        and len(dataset.PixelData) >= 3 * rows * columns
        and not syntax.is_encapsulated
    ):
        # Not subsampled, so the header is wrong: it may be that of a JPEG which was decoded on the way.
        dataset.PhotometricInterpretation = "RGB"
        values = pixel_array(dataset)
        return (values if _is_rgb(values) else _from_ycbcr(values)), 8
    values = pixel_array(dataset)
    if stated == "PALETTE COLOR":
        values = apply_color_lut(values, dataset)
        return values, 8 * values.dtype.itemsize
    return values, number(dataset, "BitsStored", number(dataset, "BitsAllocated"))


def _is_rgb(samples: Pixels) -> bool:
    """Whether samples are RGB, or YCbCr. Raises Unreadable where that cannot be decided.

    From pixel to pixel red, green and blue change together and as much (of 130 photographs the correlation is
    at least 0.75, and the changes of one at least 0.65 of another's); in YCbCr the brightness alone does (at
    most 0.39 of it).
    """
    steps = np.diff(samples.astype(np.int16), axis=1).reshape(-1, 3).astype(np.float64)
    steps -= steps.mean(axis=0)
    spread = np.sqrt(np.square(steps).mean(axis=0))
    if spread[0] > 0:
        together = (steps[:, :1] * steps[:, 1:]).mean(axis=0) / (spread[0] * np.maximum(spread[1:], 1e-9))
        shares = spread[1:] / spread[0]
        if together.min() > 0.6 and shares.min() > 0.5:
            return True
        if together.min() < 0.5 and shares.max() < 0.5:
            return False
    raise Unreadable("its colours cannot be decided: its header says YBR_FULL_422, its length does not")


def _from_ycbcr(samples: Pixels) -> Pixels:
    size = (samples.shape[1], samples.shape[0])
    return np.asarray(Image.frombytes("YCbCr", size, samples.tobytes()).convert("RGB"))


def _colours_of_jpeg_2000(frame: bytes, stated: str) -> str:
    """`RGB` where the decoder gives it, `YBR_FULL` where it does not. Raises Unreadable if that is unclear.

    The decoder undoes the stream's own transform (ISO/IEC 15444-1, A.6.1), which has RGB on its other side.
    """
    start = frame.find(b"\xff\x4f\xff\x51")
    after = start + 4 + int.from_bytes(frame[start + 4 : start + 6], "big")
    style = frame.find(b"\xff\x52", after)
    transformed = start >= 0 and style >= 0 and frame[style + 8 : style + 9] == b"\1"
    full = stated.startswith("YBR_FULL")
    if transformed == full and stated != "RGB":
        says = "says RGB" if transformed else "has no transform"
        raise Unreadable(f"its colours cannot be decided: its JPEG 2000 {says}, its header {stated}")
    return "YBR_FULL" if full else "RGB"


def _require_size(image: Image.Image, rows: int, columns: int) -> None:
    """Raise Unreadable where a picture is not as large as stated: it is not decoded."""
    if image.size != (columns, rows):
        size = f"{image.width}×{image.height}"
        raise Unreadable(f"the DICOM picture is damaged ({size}, stated {columns}×{rows})")


def _damaged(shape: tuple[int, ...], rows: int, columns: int) -> Unreadable:
    return Unreadable(f"the DICOM picture is damaged (received {shape}, stated {columns}×{rows})")


def _is_grey(pixels: Pixels) -> bool:
    """Whether a picture has no colour but what compression adds."""
    every = pixels[::4, ::4].astype(np.int16)
    return float(np.ptp(every, axis=2).mean()) < _COLOURLESS


def _eight_bits(values: Any, stored: int) -> Pixels:
    if values.dtype == np.uint8 and stored == 8:
        return np.ascontiguousarray(values)
    most = (1 << stored) - 1
    scaled = np.minimum(values, most).astype(np.float32) * (255.0 / most)
    whole: Pixels = np.rint(scaled).astype(np.uint8)
    return whole
