"""What kind of picture a file is: by its first bytes, and by its name where those do not say."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Literal, get_args

Format = Literal["JPEG", "PNG", "BMP", "TIFF", "WEBP", "HEIF", "AVIF"]
FORMATS: tuple[Format, ...] = get_args(Format)
"""What is read, under the names that Pillow has for it; the first picture of an MPO is a JPEG."""
READ = "JPEG, PNG, BMP, TIFF, WebP, HEIC or AVIF"
"""The same in words."""
DICOM = "DICOM"
RAW = "camera raw"
HEAD = 264
"""Bytes from a file's beginning that say what it is."""

SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".mpo", ".png", ".bmp", ".dib"),
        *(".tif", ".tiff", ".webp", ".heic", ".heif", ".hif", ".avif"),
    }
)
"""How the names of photographs end that are read."""
_NOT_READ = {
    ".gif": "GIF",
    ".jp2": "JPEG 2000",
    ".j2k": "JPEG 2000",
    ".jpf": "JPEG 2000",
    ".jpx": "JPEG 2000",
    ".jxl": "JPEG XL",
    ".psd": "Photoshop",
    ".dcm": DICOM,
    ".dicom": DICOM,
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2"), RAW),
    **dict.fromkeys((".orf", ".rw2", ".raf", ".pef", ".srw", ".raw", ".3fr", ".iiq", ".x3f"), RAW),
}
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF8", "GIF"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (0, b"8BPS", "Photoshop"),
    (0, b"IIU\0", RAW),
    (0, b"IIRO", RAW),
    (0, b"IIRS", RAW),
    (0, b"MMOR", RAW),
    (0, b"FUJIFILMCCD-RAW", RAW),
    (128, b"DICM", DICOM),
)
_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1"}


def format_of(head: bytes) -> str | None:
    """What the first `HEAD` bytes of a file say it is: one of `FORMATS`, another kind of picture, or None."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if head[4:8] == b"ftyp":
        return _box_format(head)
    if head[:4] == b"II*\0" and head[8:10] == b"CR":
        return RAW
    return next((kind for at, signature, kind in _SIGNATURES if head.startswith(signature, at)), None)


def _box_format(head: bytes) -> str | None:
    """Of a file in ISO's boxes, by the brands that its first box names (ISO/IEC 14496-12, 23008-12)."""
    size = min(int.from_bytes(head[:4], "big"), HEAD)
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, size - 3, 4))]
    if {b"avif", b"avis"} & set(brands) and brands[0] not in (b"heic", b"heix"):
        return "AVIF"
    if _HEIF_BRANDS & set(brands):
        return "HEIF"
    return RAW if brands[0] == b"crx " else None


def format_of_file(path: Path) -> str | None:
    """What a file's first bytes say that it is; None too where it cannot be read or is no file."""
    try:
        # A pipe would be waited for.
        return format_of(_head(path)) if path.is_file() else None
    except OSError:
        return None


def _head(path: Path) -> bytes:
    with path.open("rb", buffering=0) as file:
        return file.read(HEAD)


def format_of_name(name: str) -> str | None:
    """`""` where a name ends as those of photographs that are read, the kind where as others, or None."""
    suffix = PurePath(name).suffix.lower()
    return "" if suffix in SUFFIXES else _NOT_READ.get(suffix)


def is_raw(name: str, kind: str | None) -> bool:
    """Whether a TIFF of this name is camera raw: its first picture is then a small preview."""
    return kind == "TIFF" and format_of_name(name) == RAW
