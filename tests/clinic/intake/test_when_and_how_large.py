"""When a photograph was taken and how large its pixels are, as its file says, where that makes sense."""

from __future__ import annotations

import io

import pytest
from PIL import ExifTags, Image
from pydicom.dataset import Dataset

from dermsentry.clinic.intake.dicom import _spacing
from dermsentry.images import read_photograph


@pytest.mark.parametrize(
    ("told", "taken"),
    [
        ("2024:03:04 10:20:30", "2024-03-04T10:20:30"),
        ("2024:03:04 10:20:30\0", "2024-03-04T10:20:30"),
        ("0000:00:00 00:00:00", ""),
        ("2024:13:40 10:20:30", ""),
        ("    :  :     :  :  ", ""),
        ("yesterday", ""),
        (None, ""),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_when_a_photograph_was_taken_is_exifs_original_time(kind: str, told: str | None, taken: str) -> None:
    exif = Image.Exif()
    if told is not None:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = told
    exif[ExifTags.Base.DateTime] = "2025:01:01 00:00:00"  # when it was changed
    buffer = io.BytesIO()
    Image.new("RGB", (120, 100), (200, 150, 130)).save(buffer, kind, exif=exif)
    assert read_photograph(buffer.getvalue()).taken == taken


@pytest.mark.parametrize(
    ("told", "spacing"),
    [([0.02, 0.03], [0.02, 0.03]), (None, []), ([0.02], []), ([0, 0.02], []), ([50, 50], [])],
)
def test_a_pixel_spacing_is_taken_where_a_photograph_may_have_it(
    told: list[float] | None, spacing: list[float]
) -> None:
    header = Dataset()
    if told is not None:
        header.PixelSpacing = told
    assert _spacing(header) == spacing
