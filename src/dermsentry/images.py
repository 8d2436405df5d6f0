"""The only place that opens a photograph: decode safely, orient, resize, describe.

A file is taken to be hostile. Whatever is wrong with it ends in `Unreadable` with a reason in words.
"""

from __future__ import annotations

import io
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from dermsentry.hdf_files import is_member, read_member
from dermsentry.image_colours import as_rgb, to_srgb
from dermsentry.image_formats import DICOM, FORMATS, HEAD, RAW, READ, format_of, is_raw
from dermsentry.parallel import cores, map_ordered

Pixels = NDArray[np.uint8]
Aspect = Literal["squash", "crop", "pad"]
ASPECTS: tuple[Aspect, ...] = get_args(Aspect)

MAX_PIXELS = 100_000_000  # the largest dermatoscope cameras give about 50 million
MAX_BYTES = 512 * 1024 * 1024

# The decoder refuses by our limit, with our words, before Pillow's own warning is due.
Image.MAX_IMAGE_PIXELS = None
# What Pillow thinks of a file's tags is of no use to who reads a folder of photographs.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

_SUBFILE, _DNG_VERSION = 254, 50706  # of TIFF and DNG: whether a picture is a reduced copy; that it is a DNG
_SRGB_PRIMARIES = {0, 1, 2, 5, 6}  # of BT.709, unspecified, or so near to it that nobody sees it
_HDR = {16, 18}  # PQ and HLG

# EXIF orientation to what brings the photograph upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Unreadable(Exception):
    """A photograph that cannot be used; `reason` says why, in words for a person."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unopened(Unreadable):
    """A photograph whose bytes could not be fetched, which may go well another time."""


@dataclass(frozen=True)
class Photograph:
    """A decoded photograph, upright, and what its file tells.

    `pixels` is (height, width, 3), uint8, sRGB. `width` and `height` are the upright file's, which `pixels`
    may be smaller than where a smaller size was asked for. `quantization` is the sum of the JPEG luminance
    table, 0 for other formats. `doubt` says in words what is uncertain about the colours; `""` if nothing is.
    `taken`: when, by the camera's clock, ISO 8601 without a zone; `""` where the file does not say.
    """

    pixels: Pixels
    width: int
    height: int
    format: str
    quantization: int
    doubt: str = ""
    taken: str = ""


def read_photograph(
    source: Path | bytes | Image.Image | Pixels,
    *,
    root: Path | None = None,
    enough_for: int | None = None,
    fitted: tuple[int, Aspect] | None = None,
    name: str = "",
) -> Photograph:
    """Decode a photograph: EXIF orientation applied, any colours brought to 8-bit sRGB, alpha on white.

    What a file is, its first bytes say, whatever its name. An embedded ICC profile is honoured; without one,
    or with one that cannot be used, the colours are taken for sRGB.

    Parameters
    ----------
    source
        A file, the bytes of one, a Pillow image, or decoded pixels: (height, width, 3), uint8, RGB.
    root
        If given, a file that is outside this folder once links are followed is refused.
    enough_for
        A side in pixels: a JPEG much larger than that is decoded at 1/2, 1/4 or 1/8 of its size, never
        below this side.
    fitted
        `size` and `aspect` of `fit`, which the pixels of a file are then brought to without a copy between;
        implies `enough_for=2 * size`.
    name
        What the bytes of a file are called, by which a camera's raw file is known.

    Raises
    ------
    Unreadable
        Missing, empty, truncated, animated, too large, not a photograph or of a kind that is not read, or a
        link that leaves `root`.
    """
    if isinstance(source, np.ndarray):
        return Photograph(source, source.shape[1], source.shape[0], "", 0)
    try:
        if isinstance(source, Image.Image):
            return _decode(source, None, None)  # a draft would shrink the caller's own image
        data = source if isinstance(source, bytes) else read_bytes(source, root)
        kind = _require_readable(data, source.name if isinstance(source, Path) else name)
        with Image.open(io.BytesIO(data), formats=(kind,)) as image:
            return _decode(image, 2 * fitted[0] if fitted else enough_for, fitted)
    except Unreadable:
        raise
    except UnidentifiedImageError:
        raise Unreadable("the file is damaged (no picture after its first bytes)") from None
    except MemoryError:
        raise Unreadable("too large to decode") from None
    except Exception as error:  # noqa: BLE001 - a decoder fed hostile bytes may raise anything
        text = str(error).split("\n")[0] or type(error).__name__
        if "truncated" in text or isinstance(error, EOFError):
            raise Unreadable("the file is truncated") from None
        raise Unreadable(f"the file is damaged ({text})") from None


def _require_readable(data: bytes, name: str) -> str:
    """What Pillow calls the kind of a file. Raises Unreadable where it is none that is read."""
    if not data:
        raise Unreadable("the file is empty")
    kind = format_of(data[:HEAD])
    if kind == DICOM:
        raise Unreadable(f"a DICOM file, which only screen and the clinic read; expected {READ}")
    if is_raw(name, kind):
        kind = RAW
    if kind is None or kind not in FORMATS:
        raise Unreadable(
            f"a {kind} file, which is not read; expected {READ}"
            if kind
            else f"not a photograph: expected {READ}"
        )
    if kind == "HEIF":
        _register_heif()
    return kind


@cache
def _register_heif() -> None:
    """Teach Pillow HEIC. Photographs are decoded side by side already, so each on one thread."""
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False, decode_threads=1)


def read_bytes(path: Path, root: Path | None = None) -> bytes:
    """The bytes of a file, or of a photograph in an HDF5 file, if they are not too many.

    Raises Unopened where they cannot be had, Unreadable where they are not to be read.
    """
    try:
        if root is not None and not path.resolve().is_relative_to(root.resolve()):
            leads = "leaves the collection's folder" if path.exists() else "leads to no file"
            raise Unreadable(f"a link that {leads}")
        if is_member(path):
            return read_member(path)
        information = path.stat()
        if not stat.S_ISREG(information.st_mode):
            raise Unreadable("a folder or a device, not a file")
        if information.st_size > MAX_BYTES:
            raise Unreadable(
                f"the file is too large ({information.st_size >> 20} MiB; at most {MAX_BYTES >> 20})"
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise Unopened("the file is missing") from None
    except (
        OSError,
        RuntimeError,
        ValueError,
    ) as error:  # RuntimeError: a loop of links; ValueError: a NUL in the name
        raise Unopened(f"the file cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _decode(image: Image.Image, enough_for: int | None, fitted: tuple[int, Aspect] | None) -> Photograph:
    kind = image.format or ""
    if image.width * image.height > MAX_PIXELS:
        raise Unreadable(
            f"the photograph is too large ({image.width}×{image.height} pixels; "
            f"at most {MAX_PIXELS // 10**6} million)"
        )
    tags = getattr(image, "tag_v2", {})  # a TIFF's
    if _DNG_VERSION in tags or tags.get(_SUBFILE, 0) & 1:
        raise Unreadable(f"a {RAW} file, of which only a preview could be shown; expected {READ}")
    frames = getattr(image, "n_frames", 1)
    # Of an MPO and a HEIC the primary picture is the photograph, as phones write them.
    if frames > 1 and kind not in ("MPO", "HEIF"):
        raise Unreadable(f"an animation or a file of several pages ({frames})")
    tables = getattr(image, "quantization", None) or {}
    quantization = int(sum(tables.get(0, ())))
    width, height = image.size
    orientation = 1 if kind == "TIFF" else _orientation(image)  # Pillow brings a TIFF upright itself
    if enough_for is not None and kind in ("JPEG", "MPO"):
        image.draft("RGB", (min(enough_for, width), min(enough_for, height)))
    image.load()
    upright = image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image
    profile = image.info.get("icc_profile")
    flat, doubt = _rgb(upright, profile)
    doubt = doubt if profile else _doubt_without_profile(image)
    if kind not in ("JPEG", "MPO"):
        width, height = flat.size
    elif orientation in (5, 6, 7, 8):
        width, height = height, width
    form = "JPEG" if kind == "MPO" else kind
    pixels = np.asarray(flat) if fitted is None else fit(flat, *fitted)
    return Photograph(pixels, width, height, form, quantization, doubt, _taken(image))


def _taken(image: Image.Image) -> str:
    """EXIF's DateTimeOriginal; empty where it is missing, damaged or what cameras write that know no time."""
    try:
        told = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.DateTimeOriginal)
        return datetime.strptime(str(told).strip("\0 "), "%Y:%m:%d %H:%M:%S").isoformat()
    except Exception:  # noqa: BLE001 - tags are parsed from hostile bytes
        return ""


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; 1 where it is missing or damaged, which is no reason to lose the photograph."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # noqa: BLE001 - tags are parsed from hostile bytes
        return 1


def _doubt_without_profile(image: Image.Image) -> str:
    """What is uncertain about the colours of a file without ICC profile that says they are not sRGB."""
    coded = image.info.get("nclx_profile") or {}  # a HEIC's (ITU-T H.273)
    other = coded.get("color_primaries", 2) not in _SRGB_PRIMARIES
    try:
        # DCF's "option file", as cameras say that embed no profile.
        adobe = image.getexif().get_ifd(ExifTags.IFD.Interop).get(1) == "R03"
    except Exception:  # noqa: BLE001 - tags are parsed from hostile bytes
        adobe = False
    if not (other or adobe or coded.get("transfer_characteristics") in _HDR):
        return ""
    named = "Adobe RGB" if adobe else "HDR or of a wide gamut"
    return f"tagged as {named} but without a colour profile: the colours were taken for sRGB"


def _rgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str]:
    """The image as 8-bit sRGB, and what is uncertain about its colours."""
    if image.mode.startswith("I") or image.mode == "F":
        return to_srgb(_eight_bits(image), profile)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        straight = image.convert("RGBA")
        own = image.getchannel("L") if image.mode == "LA" else straight.convert("RGB")
        colours, doubt = to_srgb(own, profile)
        colours.putalpha(straight.getchannel("A"))
        white = Image.new("RGBA", straight.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, colours).convert("RGB"), doubt
    return to_srgb(image if image.mode in ("L", "CMYK") else as_rgb(image), profile)


def _eight_bits(image: Image.Image) -> Image.Image:
    """A grey image of more than 8 bits, or of fractions, as one of 8."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
    if image.mode == "F" and values.size and values.max() <= 1.0:
        values = values * 255.0
    elif image.mode.startswith("I;16") or (values.size and values.max() > 255.0):
        values = values / 257.0
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def fit(pixels: Pixels | Image.Image, size: int, aspect: Aspect) -> Pixels:
    """Bring a photograph to `size`×`size`, the same way in training and in screening.

    `squash` changes the aspect ratio, `crop` takes the centre square, `pad` adds black bars.
    Input (height, width, 3) uint8, or a Pillow image of mode `RGB`; output (size, size, 3) uint8. Bilinear,
    antialiased.
    """
    if aspect not in ASPECTS:
        raise ValueError(f"Received aspect={aspect!r}; expected one of {', '.join(ASPECTS)}")
    height, width = pixels.shape[:2] if isinstance(pixels, np.ndarray) else pixels.size[::-1]
    if (height, width) == (size, size):
        return np.asarray(pixels)
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    bilinear = Image.Resampling.BILINEAR
    if aspect == "pad":
        scale = size / max(height, width)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        canvas = Image.new("RGB", (size, size))
        canvas.paste(image.resize(inner, bilinear), ((size - inner[0]) // 2, (size - inner[1]) // 2))
        return np.asarray(canvas)
    box = None
    if aspect == "crop":
        side = min(height, width)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), bilinear, box=box, reducing_gap=3.0))


def read_fitted(source: Path | bytes, size: int, aspect: Aspect, *, root: Path | None = None) -> Pixels:
    """Read a photograph and bring it to `size`×`size`×3, uint8. Raises Unreadable."""
    return read_photograph(source, root=root, fitted=(size, aspect)).pixels


def read_many(
    paths: list[Path], size: int, aspect: Aspect, *, root: Path | None = None
) -> Iterator[Pixels | Unreadable]:
    """Read photographs in order on several threads; an unreadable one yields its `Unreadable` instead.

    Memory stays flat: at most a few photographs per thread are held.
    """

    def read(path: Path) -> Pixels | Unreadable:
        try:
            return read_fitted(path, size, aspect, root=root)
        except Unreadable as unreadable:
            return unreadable

    return map_ordered(read, paths, threads=cores(), ahead=8 * cores())
