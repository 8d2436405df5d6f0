"""Copies are found, whatever was done to them; different photographs are left apart."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageEnhance, ImageFilter

from dermsentry.audit.duplicates import Duplicates, find_duplicates
from dermsentry.collection import Collection, read_collection
from dermsentry.phantoms import Phantoms
from pictures import save, skin


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def crop(image: Image.Image, share: float) -> Image.Image:
    w, h = image.size
    return image.crop((round(w * share), round(h * share), round(w * (1 - share)), round(h * (1 - share))))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "recompressed": lambda i: jpeg(i, 50),
    "badly recompressed": lambda i: jpeg(i, 20),
    "half the size": lambda i: i.resize((i.width // 2, i.height // 2)),
    "squashed": lambda i: i.resize((180, 180)),
    "twice the size": lambda i: i.resize((i.width * 2, i.height * 2)),
    "brighter": lambda i: ImageEnhance.Brightness(i).enhance(1.15),
    "less contrast": lambda i: ImageEnhance.Contrast(i).enhance(0.8),
    "grey": lambda i: i.convert("L").convert("RGB"),
    "blurred": lambda i: i.filter(ImageFilter.GaussianBlur(1)),
    "cropped by 2 %": lambda i: crop(i, 0.02),
    "cropped by 5 %": lambda i: crop(i, 0.05),
    "cropped by 10 %": lambda i: crop(i, 0.10),
    "turned by 3°": lambda i: crop(i.rotate(3, Image.Resampling.BICUBIC), 0.04),
    "mirrored": lambda i: i.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "upside down": lambda i: i.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "turned by 90°": lambda i: i.transpose(Image.Transpose.ROTATE_90),
    "turned by 180°": lambda i: i.transpose(Image.Transpose.ROTATE_180),
    "turned by 270°": lambda i: i.transpose(Image.Transpose.ROTATE_270),
    "transposed": lambda i: i.transpose(Image.Transpose.TRANSPOSE),
    "cropped, brighter, smaller, recompressed": lambda i: jpeg(
        ImageEnhance.Brightness(crop(i, 0.03)).enhance(1.1).resize((120, 120)), 60
    ),
}


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Collection, Duplicates]:
    """Four different pictures for each change, one copy of each, and forty that have none."""
    root = tmp_path_factory.mktemp("changed")
    for number, change in enumerate(CHANGES.values()):
        for k in range(4):
            original = skin(100 + 4 * number + k)
            save(original, root / "nevus" / f"change{number}_{k}a.jpg")
            save(change(original), root / "nevus" / f"change{number}_{k}b.jpg")
    for seed in range(1000, 1040):
        save(skin(seed), root / "melanoma" / f"alone_{seed}.jpg")
    collection = read_collection(root)
    return collection, find_duplicates(collection)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_near_its_original(change: str, changed: tuple[Collection, Duplicates]) -> None:
    groups = [set(group.photographs) for group in changed[1].groups if group.kind == "near"]
    number = list(CHANGES).index(change)
    pairs = [{f"nevus/change{number}_{k}{ab}.jpg" for ab in "ab"} for k in range(4)]
    assert sum(pair in groups for pair in pairs) >= 3  # recall on real photographs is in docs/why-audit.md


def test_different_pictures_are_apart(changed: tuple[Collection, Duplicates]) -> None:
    for group in changed[1].groups:
        assert len({path[:-5] for path in group.photographs}) == 1
        assert len(group.photographs) == 2


def test_groups_are_disjoint_sorted_and_repeatable(changed: tuple[Collection, Duplicates]) -> None:
    collection, found = changed
    for kind in ("identical", "near"):
        paths = [path for group in found.groups if group.kind == kind for path in group.photographs]
        assert len(paths) == len(set(paths))
    assert all(list(g.photographs) == sorted(g.photographs) for g in found.groups)
    assert find_duplicates(collection, workers=1) == found


def test_identical_bytes_identical_pixels_and_near(tmp_path: Path) -> None:
    original = save(skin(1), tmp_path / "nevus" / "a.png")
    shutil.copy(original, tmp_path / "nevus" / "b.png")
    save(skin(1), tmp_path / "nevus" / "c.bmp")
    save(skin(1), tmp_path / "nevus" / "d.jpg", quality=70)
    twin = save(skin(2), tmp_path / "nevus" / "e.png")
    shutil.copy(twin, tmp_path / "melanoma.png")
    shutil.move(tmp_path / "melanoma.png", save(skin(2), tmp_path / "melanoma" / "f.png"))
    found = find_duplicates(read_collection(tmp_path))
    identical = [(g.photographs, g.same_bytes) for g in found.groups if g.kind == "identical"]
    assert identical == [
        (("melanoma/f.png", "nevus/e.png"), True),
        (("nevus/a.png", "nevus/b.png", "nevus/c.bmp"), False),
    ]
    near = [g.photographs for g in found.groups if g.kind == "near"]
    assert near == [("nevus/a.png", "nevus/b.png", "nevus/c.bmp", "nevus/d.jpg")]


def test_a_much_larger_jpeg_is_near(tmp_path: Path) -> None:
    large = skin(5, (1600, 1200))
    save(large, tmp_path / "nevus" / "large.jpg")
    save(large.resize((200, 150)), tmp_path / "nevus" / "small.jpg")
    found = find_duplicates(read_collection(tmp_path))
    assert [g.photographs for g in found.groups] == [("nevus/large.jpg", "nevus/small.jpg")]


def test_pictures_without_anything_in_them_are_no_copies(tmp_path: Path) -> None:
    for grey in range(100, 110):
        save(Image.new("RGB", (60, 60), (grey, grey, grey)), tmp_path / "nevus" / f"{grey}.png")
    assert find_duplicates(read_collection(tmp_path)).groups == ()


def test_what_cannot_be_read_has_its_reason(tmp_path: Path) -> None:
    save(skin(1), tmp_path / "nevus" / "a.jpg")
    (tmp_path / "nevus" / "empty.jpg").write_bytes(b"")
    (tmp_path / "nevus" / "text.jpg").write_text("no photograph")
    found = find_duplicates(read_collection(tmp_path))
    assert set(found.unreadable) == {"nevus/empty.jpg", "nevus/text.jpg"}
    assert all(found.unreadable.values())


def test_nothing_readable_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "nevus").mkdir()
    (tmp_path / "nevus" / "empty.jpg").write_bytes(b"")
    assert find_duplicates(read_collection(tmp_path)).groups == ()


def test_every_planted_copy_among_phantoms_is_found_and_nothing_else(
    phantoms: Phantoms, phantom_collection: Collection
) -> None:
    found = find_duplicates(phantom_collection)
    planted = [set(pair) for pair in (*phantoms.identical, *phantoms.near)]
    for pair in planted:
        assert any(pair <= set(group.photographs) for group in found.groups), pair
    for group in found.groups:
        assert any(pair <= set(group.photographs) for pair in planted), group
    assert set(phantoms.unreadable) == set(found.unreadable)
