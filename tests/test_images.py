"""Every kind of photograph is decoded alike, and every broken one has a reason."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms

from dermsentry import images
from dermsentry.image_formats import FORMATS
from dermsentry.images import ASPECTS, Pixels, Unreadable, fit, read_fitted, read_many, read_photograph
from dermsentry.phantoms import draw_phantom

pillow_heif.register_heif_opener()  # to write what is read here

PHANTOM = draw_phantom("MEL", 1, size=(96, 72))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def close(first: Pixels, second: Pixels, tolerance: float = 3.0) -> bool:
    return first.shape == second.shape and abs(first.astype(float) - second.astype(float)).mean() < tolerance


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_picture(kind: str) -> None:
    photograph = read_photograph(encoded(Image.fromarray(PHANTOM), kind, quality=95))
    assert (photograph.width, photograph.height, photograph.format) == (96, 72, kind)
    assert photograph.pixels.dtype == np.uint8
    assert close(photograph.pixels, PHANTOM, 4.0)
    assert (photograph.quantization > 0) == (kind == "JPEG")


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP", "HEIF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_brought_upright(kind: str, orientation: int) -> None:
    turned = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(turned(PHANTOM)))
    told = exif.tobytes() if kind == "HEIF" else exif
    photograph = read_photograph(encoded(stored, kind, exif=told, quality=95))
    assert close(photograph.pixels, PHANTOM, 4.0)
    assert (photograph.width, photograph.height) == (96, 72)


@pytest.mark.filterwarnings("ignore")  # Pillow's own; images.py keeps it from users
def test_a_damaged_orientation_is_no_reason_to_lose_the_photograph() -> None:
    data = encoded(Image.fromarray(PHANTOM), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01")
    assert close(read_photograph(data).pixels, PHANTOM, 6.0)


def test_every_colour_mode_becomes_rgb() -> None:
    picture = Image.fromarray(PHANTOM)
    grey = np.asarray(picture.convert("L"))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    cases = {
        "grey": (encoded(picture.convert("L"), "PNG"), grey),
        "16-bit PNG": (encoded(deep, "PNG"), grey),
        "16-bit TIFF": (encoded(deep, "TIFF"), grey),
        "float TIFF": (encoded(Image.fromarray(grey.astype(np.float32) / 255), "TIFF"), grey),
        "palette": (encoded(picture.quantize(256), "PNG"), PHANTOM),
        "CMYK": (encoded(picture.convert("CMYK"), "JPEG", quality=95), PHANTOM),
        "YCbCr": (encoded(picture.convert("YCbCr"), "TIFF"), PHANTOM),
        "opaque": (encoded(picture.convert("RGBA"), "PNG"), PHANTOM),
        "black and white": (
            encoded(picture.convert("1"), "PNG"),
            np.asarray(picture.convert("1").convert("L")),
        ),
    }
    for name, (data, expected) in cases.items():
        pixels = read_photograph(data).pixels
        wanted = expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, axis=-1)
        assert pixels.shape == (72, 96, 3), name
        assert close(pixels, wanted, 6.0), name


def test_transparency_lies_on_white() -> None:
    clear = Image.new("RGBA", (8, 8), (200, 10, 10, 0))
    assert (read_photograph(encoded(clear, "PNG")).pixels == 255).all()
    palette = Image.new("P", (8, 8), 3)
    palette.putpalette([7] * 768)
    assert (read_photograph(encoded(palette, "PNG", transparency=3)).pixels == 255).all()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(side: int) -> bytes:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def animated(kind: str) -> bytes:
    frames = [Image.fromarray(draw_phantom("NV", seed, size=(32, 24))) for seed in range(3)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


JPEG = encoded(Image.fromarray(PHANTOM), "JPEG")
PNG = encoded(Image.fromarray(PHANTOM), "PNG")
HEIC = encoded(Image.fromarray(PHANTOM), "HEIF")
HEIC_SIZE = struct.pack(">II", 96, 72)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"hello", "not a photograph"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a photograph"),
        (b"GIF89a" + b"\0" * 40, "a GIF file, which is not read; expected JPEG, PNG"),
        (bytes(128) + b"DICM" + bytes(40), "a DICOM file, which only screen and the clinic read"),
        (b"BMI,age\n21,50\n" * 4, "not a photograph"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (PNG[: len(PNG) // 2], "truncated"),
        (JPEG[:3], "damaged"),
        (HEIC[:40], "damaged"),
        (HEIC[: len(HEIC) // 2], "damaged"),
        (HEIC.replace(HEIC_SIZE, struct.pack(">II", 60_000, 60_000)), "too large|damaged"),
        (b"\xff\xd8\xff" + np.random.default_rng(0).bytes(64), "not a photograph|damaged|truncated"),
        (bomb(60_000), "too large"),
        (animated("PNG"), "animation or a file of several pages"),
        (animated("WEBP"), "animation or a file of several pages"),
        (animated("TIFF"), "animation or a file of several pages"),
        (animated("AVIF"), "animation or a file of several pages"),
        (encoded(Image.new("RGB", (8, 8)), "TIFF", tiffinfo={254: 1}), "a camera raw file"),
        (encoded(Image.new("RGB", (8, 8)), "TIFF", tiffinfo={50706: b"\1\4\0\0"}), "a camera raw file"),
    ],
)
def test_what_cannot_be_read_has_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason) as caught:
        read_photograph(data)
    assert "\n" not in caught.value.reason


SMALL = {kind: encoded(Image.fromarray(PHANTOM[:24, :24]), kind) for kind in FORMATS}


@pytest.mark.filterwarnings("ignore")  # Pillow warns of damaged tags; a user never sees that
@given(st.sampled_from(FORMATS), st.data())
def test_hostile_bytes_never_give_a_traceback(kind: str, data: st.DataObject) -> None:
    hostile = bytearray(SMALL[kind])
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(hostile) - 1))
        hostile[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
        if not hostile:
            break
    reason, shape = "", (0, 0, 3)
    try:
        shape = read_photograph(bytes(hostile)).pixels.shape
    except Unreadable as unreadable:
        reason = unreadable.reason
    assert bool(reason) != (shape[0] > 0)
    assert shape[2] == 3
    assert "\n" not in reason


def test_what_is_no_file_has_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    cases = {
        tmp_path / "none.jpg": "missing",
        tmp_path: "a folder or a device",
        tmp_path / "pipe.jpg": "a folder or a device",
        tmp_path / "loop.jpg": "cannot be read",
        tmp_path / "a\0b.jpg": "cannot be read",
        tmp_path / ("x" * 300): "cannot be read",
    }
    for path, reason in cases.items():
        with pytest.raises(Unreadable, match=reason):
            read_photograph(path)
        with pytest.raises(Unreadable, match=reason):
            read_photograph(path, root=tmp_path)
    monkeypatch.setattr(images, "MAX_BYTES", 10)
    (tmp_path / "big.jpg").write_bytes(JPEG)
    with pytest.raises(Unreadable, match="too large"):
        read_photograph(tmp_path / "big.jpg")


def test_links_stay_inside_the_collection(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside.jpg").write_bytes(JPEG)
    (root / "inside.jpg").write_bytes(JPEG)
    (root / "out.jpg").symlink_to("../outside.jpg")
    (root / "in.jpg").symlink_to("inside.jpg")
    assert read_photograph(root / "in.jpg", root=root).width == 96
    for path in (root / "out.jpg", root / ".." / "outside.jpg"):
        with pytest.raises(Unreadable, match="leaves the collection"):
            read_photograph(path, root=root)
        assert read_photograph(path).width == 96


def test_a_large_jpeg_is_decoded_no_smaller_than_asked() -> None:
    large = encoded(Image.fromarray(draw_phantom("NV", 2, size=(800, 600))), "JPEG")
    photograph = read_photograph(large, enough_for=100)
    assert (photograph.width, photograph.height) == (800, 600)
    assert 100 <= min(photograph.pixels.shape[:2]) < 300


@pytest.mark.parametrize("aspect", ASPECTS)
@given(height=st.integers(1, 60), width=st.integers(1, 60), size=st.integers(1, 50))
def test_fitted_photographs_have_the_size_asked_for(
    aspect: images.Aspect, height: int, width: int, size: int
) -> None:
    pixels = np.full((height, width, 3), 200, np.uint8)
    fitted = fit(pixels, size, aspect)
    assert fitted.shape == (size, size, 3)
    assert fitted.dtype == np.uint8
    if aspect != "pad":
        assert (fitted == 200).all()


def test_each_aspect_does_what_its_name_says() -> None:
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 20:60] = 255
    assert (fit(pixels, 20, "crop")[:, 1:-1] == 255).all()
    squashed = fit(pixels, 20, "squash")
    assert squashed[:, 0].max() == 0
    assert squashed[:, 10].min() == 255
    padded = fit(pixels, 20, "pad")
    assert padded[0].max() == 0
    assert padded[10, 10].min() == 255
    with pytest.raises(ValueError, match="expected one of squash, crop, pad"):
        fit(pixels, 20, "stretch")  # type: ignore[arg-type]


def test_many_are_read_in_order_with_their_reasons(tmp_path: Path) -> None:
    paths = []
    for number in range(40):
        path = tmp_path / f"{number}.png"
        path.write_bytes(b"" if number % 7 == 3 else encoded(Image.new("RGB", (9, 9), (number, 0, 0)), "PNG"))
        paths.append(path)
    results = list(read_many(paths, 8, "squash"))
    assert len(results) == 40
    for number, result in enumerate(results):
        if number % 7 == 3:
            assert isinstance(result, Unreadable)
        else:
            assert (np.asarray(result)[..., 0] == number).all()
    assert list(read_many([], 8, "squash")) == []


def test_the_primary_picture_of_a_heic_is_the_photograph() -> None:
    burst = pillow_heif.from_pillow(Image.fromarray(draw_phantom("NV", 5, size=(96, 72))))
    burst.add_from_pillow(Image.fromarray(PHANTOM))
    buffer = io.BytesIO()
    burst.save(buffer, quality=95, primary_index=1)
    assert close(read_photograph(buffer.getvalue()).pixels, PHANTOM, 4.0)


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_twelve_megapixels_of_a_phone_are_read(kind: str) -> None:
    large = Image.fromarray(PHANTOM).resize((4032, 3024))
    photograph = read_photograph(encoded(large, kind, quality=50))
    assert (photograph.width, photograph.height) == (4032, 3024)
    assert photograph.pixels.shape == (3024, 4032, 3)


def icc_profile(primaries: list[tuple[float, float]], gamma: float) -> bytes:
    """An RGB display profile (ICC.1:2001) of these chromaticities of red, green and blue, and white D65."""
    xyz = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in primaries]).T
    white = np.array([0.3127 / 0.3290, 1.0, (1 - 0.3127 - 0.3290) / 0.3290])
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    d50 = np.array([0.9642, 1.0, 0.8249])
    adapt = np.linalg.inv(bradford) @ np.diag((bradford @ d50) / (bradford @ white)) @ bradford
    columns = adapt @ (xyz * np.linalg.solve(xyz, white))

    def fixed(values: np.ndarray) -> bytes:
        return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(float(v) * 65536) for v in values))

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78 + 3)
    tags = {b"desc": text, b"cprt": b"text" + bytes(4) + b"none", b"wtpt": fixed(d50)}
    tags |= {name: fixed(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns.T, strict=True)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(
        ">I4sI4s4s4s12x4s", start + len(body), bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ", b"acsp"
    )
    return head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061).ljust(60, b"\0") + table + body


ADOBE_RGB = icc_profile([(0.64, 0.33), (0.21, 0.71), (0.15, 0.06)], 2.19921875)
DISPLAY_P3 = icc_profile([(0.680, 0.320), (0.265, 0.690), (0.150, 0.060)], 2.2)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "HEIF", "AVIF"])
@pytest.mark.parametrize("profile", [ADOBE_RGB, DISPLAY_P3], ids=["Adobe RGB", "Display P3"])
def test_the_same_colours_under_another_profile_are_the_same_picture(kind: str, profile: bytes) -> None:
    own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    stored = ImageCms.profileToProfile(Image.fromarray(PHANTOM), ImageCms.createProfile("sRGB"), own)
    assert not close(np.asarray(stored), PHANTOM, 3.0)
    photograph = read_photograph(encoded(stored, kind, icc_profile=profile, quality=95))
    assert close(photograph.pixels, PHANTOM, 3.0)
    assert photograph.doubt == ""


def test_a_profile_that_says_srgb_changes_nothing() -> None:
    assert (
        read_photograph(encoded(Image.fromarray(PHANTOM), "PNG", icc_profile=SRGB)).pixels == PHANTOM
    ).all()


def test_profiles_of_other_modes() -> None:
    clear = Image.fromarray(PHANTOM)
    clear.putalpha(Image.fromarray(np.repeat([[0, 255]], 72, 0).repeat(48, 1).astype(np.uint8)))
    pixels = read_photograph(encoded(clear, "PNG", icc_profile=ADOBE_RGB)).pixels
    assert (pixels[:, :48] == 255).all()
    assert (
        pixels[:, 48:]
        == read_photograph(encoded(Image.fromarray(PHANTOM), "PNG", icc_profile=ADOBE_RGB)).pixels[:, 48:]
    ).all()
    grey = Image.fromarray(PHANTOM).convert("L")
    photograph = read_photograph(encoded(grey, "JPEG", icc_profile=SRGB, quality=95))
    assert photograph.doubt == ""
    assert close(photograph.pixels, np.repeat(np.asarray(grey)[..., None], 3, axis=-1))


@pytest.mark.parametrize(
    "profile",
    [b"nonsense", bytes(200), ADOBE_RGB[:200], ADOBE_RGB.replace(b"RGB ", b"CMYK"), bytes(5_000_000)],
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "RGBA"])
def test_a_broken_profile_is_told_and_harmless(profile: bytes, mode: str) -> None:
    kind = "PNG" if mode == "RGBA" else "JPEG"
    if kind == "PNG" and len(profile) > 1_000_000:
        return  # Pillow reads no text as long from a PNG
    plain = read_photograph(encoded(Image.fromarray(PHANTOM).convert(mode), kind))
    tagged = read_photograph(encoded(Image.fromarray(PHANTOM).convert(mode), kind, icc_profile=profile))
    assert (tagged.pixels == plain.pixels).all()
    assert "its colour profile cannot be used" in tagged.doubt
    assert "\n" not in tagged.doubt


def test_a_camera_that_only_says_adobe_rgb_is_told() -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ColorSpace] = 0xFFFF
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.IFD.Interop] = {1: "R03"}
    tagged = encoded(Image.fromarray(PHANTOM), "JPEG", exif=exif)
    assert "tagged as Adobe RGB but without a colour profile" in read_photograph(tagged).doubt
    told = encoded(Image.fromarray(PHANTOM), "JPEG", exif=exif, icc_profile=ADOBE_RGB)
    assert read_photograph(told).doubt == ""


def test_a_heic_of_a_wide_gamut_without_a_profile_is_told() -> None:
    assert read_photograph(encoded(Image.fromarray(PHANTOM), "HEIF")).doubt == ""
    wide = encoded(Image.fromarray(PHANTOM), "HEIF", color_primaries=12)
    assert "HDR or of a wide gamut but without a colour profile" in read_photograph(wide).doubt


@given(st.data())
def test_a_hostile_profile_never_gives_a_traceback(data: st.DataObject) -> None:
    hostile = bytearray(ADOBE_RGB)
    for _ in range(data.draw(st.integers(1, 8))):
        hostile[data.draw(st.integers(0, len(hostile) - 1))] = data.draw(st.integers(0, 255))
    picture = encoded(Image.fromarray(PHANTOM[:24, :24]), "PNG", icc_profile=bytes(hostile))
    assert read_photograph(picture).pixels.shape == (24, 24, 3)


@pytest.mark.real
def test_real_photographs_are_read(real_data: Path) -> None:
    paths = sorted((real_data / "isic9" / "Test").rglob("*.jpg"))
    assert len(paths) == 118
    assert all(
        not isinstance(p, Unreadable) for p in read_many(paths, 64, "squash", root=real_data / "isic9")
    )
    cats = sorted((real_data / "not-lesions").glob("*"))
    assert all(read_fitted(path, 32, "pad").shape == (32, 32, 3) for path in cats[:5])


def test_a_phones_two_picture_jpeg_is_its_first_picture() -> None:
    other = Image.fromarray(draw_phantom("NV", 5, size=(96, 72)))
    photograph = read_photograph(
        encoded(Image.fromarray(PHANTOM), "MPO", save_all=True, append_images=[other])
    )
    assert photograph.format == "JPEG"
    assert close(photograph.pixels, PHANTOM, 6.0)
