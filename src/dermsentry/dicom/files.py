"""DICOM files: which are photographs, their header within a budget, and their picture.

Taken are VL Photographic and Dermoscopic Photography images (DICOM PS3.3 A.32.4 and A.32.11) of one frame,
and Secondary Capture and VL Endoscopic images if they are in colour. A file is hostile: the header is read
within a budget wherever it is read.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydicom import config, uid
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_partial
from pydicom.tag import Tag

from dermsentry.dicom.pixels import COLOURS, decode, transfer_syntaxes
from dermsentry.dicom.text import identifier, text
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
_PHOTOGRAPH = ("SOPClassUID", "PhotometricInterpretation")
_CHARACTERS, _PIXEL_DATA = 0x00080005, 0x7FE00010

# What the library thinks of a value holds the value, which may be a patient's: neither log nor warn of it.
config.settings.reading_validation_mode = config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom\.")

_T = TypeVar("_T")


class NotTaken(Unreadable):
    """A DICOM file that is whole, but of a kind that is not taken, such as a CT slice."""


def read_dicom(source: Path | bytes) -> Photograph:
    """Decode a DICOM photograph, in the orientation it has, 8-bit RGB.

    Raises
    ------
    Unreadable
        It is damaged, too large, of several frames, of a kind that is not taken, of colours that cannot be
        decided, or compressed in a way that nothing here decodes.
    """
    data = read_bytes(source)
    header, _ = guarded(lambda: read_header(data, _PHOTOGRAPH), "the DICOM header cannot be read")
    colour_only = identifier(header, "SOPClassUID") in _MAY_BE_ANYTHING
    return guarded(lambda: decode(data, colour_only=colour_only), "the DICOM picture is damaged", tell=True)


def as_file(dataset: Dataset) -> bytes:
    """A data set in memory as the file that it would be. Raises Unreadable where it lacks what a file has."""

    def write() -> bytes:
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        return buffer.getvalue()

    return guarded(write, "the DICOM data set cannot be written as a file", tell=True)


def read_header(data: bytes, names: tuple[str, ...]) -> tuple[FileDataset, int]:
    """The elements of these names of a photograph, and where its pixel data begins.

    `names` include the SOP class and the photometric interpretation. Raises NotTaken, Unreadable, or what the
    parser raises.
    """
    dataset, start = read_elements(data, names)
    _require_photograph(dataset)
    order = "little" if dataset.is_little_endian else "big"
    tag = data[start : start + 4]
    if int.from_bytes(tag[:2], order) << 16 | int.from_bytes(tag[2:], order) != _PIXEL_DATA:  # type: ignore[arg-type]
        raise Unreadable("the DICOM file holds no picture")
    return dataset, start


def read_elements(data: bytes, names: tuple[str, ...]) -> tuple[FileDataset, int]:
    """The elements of these names before the pixel data, and where that begins."""
    stream = _Bounded(data)
    wanted = [Tag(name) for name in names]

    def at_pixels(tag: int, _: str | None, length: int) -> bool:
        # Taken apart, a long value can become millions.
        if LONGEST_VALUE < length < 0xFFFFFFFF and (tag in wanted or tag == _CHARACTERS):
            raise Unreadable("a value of the DICOM header is too long")
        return tag >= 0x7FE00008

    dataset = read_partial(stream, stop_when=at_pixels, specific_tags=wanted)  # type: ignore[arg-type]
    return dataset, stream.tell()


def guarded(read: Callable[[], _T], problem: str, *, tell: bool = False) -> _T:
    """What `read` gives; whatever a parser fed hostile bytes raises is Unreadable with this `problem`.

    `tell`: whether the parser's own words are told. Of a header only the kind of error is: its words may hold
    what the header says of a patient.
    """
    try:
        return read()
    except (Unreadable, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - a parser fed hostile bytes may raise anything
        words = str(error).strip().split("\n")[0] if tell else ""
        raise Unreadable(f"{problem} ({words or type(error).__name__})") from None


def read_bytes(source: Path | bytes) -> bytes:
    """A file's bytes, if it is not too large. Raises Unreadable."""
    if isinstance(source, bytes):
        return source
    try:
        size = source.stat().st_size
        if size > MAX_BYTES:
            raise Unreadable(f"the file is larger than {MAX_BYTES >> 20} MiB")
        return source.read_bytes()
    except OSError as error:
        raise Unreadable(f"the file cannot be read ({error.strerror or error})") from None


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


def _require_photograph(dataset: FileDataset) -> None:
    kind = identifier(dataset, "SOPClassUID")
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
