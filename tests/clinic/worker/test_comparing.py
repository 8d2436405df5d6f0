"""Two photographs registered on each other, and what changed: against changes that are known."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from bundles import tiny_bundle
from dermsentry.clinic.worker.comparing import compare_photographs, lesion_mask, reduced, registered
from dermsentry.images import Photograph, Pixels
from dermsentry.model import Bundle, open_bundle
from dermsentry.phantoms.drawing import draw_phantom


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    tiny_bundle(folder)
    return open_bundle(folder, threads=1)


def skin(seed: int) -> Pixels:
    """A round lesion of radius 60 on skin with pores and hairs, 480 by 360."""
    rng = np.random.default_rng(seed)
    picture = np.full((360, 480, 3), (214, 170, 150), np.float32)
    picture += cv2.GaussianBlur(rng.normal(0, 60, (360, 480)).astype(np.float32), (0, 0), 2)[..., None]
    for _ in range(12):
        (x, y), turn = rng.uniform(0, (480, 360)), rng.uniform(0, np.pi)
        end = (int(x + 120 * np.cos(turn)), int(y + 120 * np.sin(turn)))
        cv2.line(picture, (int(x), int(y)), end, (120, 80, 70), 2, cv2.LINE_AA)
    return picture.clip(0, 255).astype(np.uint8)


def with_lesion(picture: Pixels, radius: float) -> Pixels:
    drawn = picture.copy()
    cv2.circle(drawn, (240, 180), round(radius), (90, 55, 40), -1, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(drawn, (0, 0), 1.0), np.uint8)


def photograph(pixels: Pixels) -> Photograph:
    return Photograph(pixels, pixels.shape[1], pixels.shape[0], "PNG", 0)


def turned(pixels: Pixels, degrees: float, scale: float) -> tuple[Pixels, np.ndarray]:
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, scale)
    matrix[:, 2] += (7, -5)
    moved = cv2.warpAffine(pixels, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, np.uint8), matrix


@pytest.mark.parametrize(("degrees", "scale"), [(0, 1.0), (9, 1.08), (-25, 0.93)])
def test_a_photograph_that_was_moved_is_found_where_it_is(degrees: float, scale: float) -> None:
    here = with_lesion(skin(1), 60)
    there, truth = turned(here, degrees, scale)
    share, matrix = registered(here, there)
    assert matrix is not None
    assert share > 0.3
    corners = np.array([[120, 90, 1], [360, 90, 1], [120, 270, 1], [360, 270, 1]], np.float64)
    assert np.abs(corners @ (matrix - truth).T).max() < 3  # pixels


def test_other_skin_and_a_mirrored_photograph_are_not_registered() -> None:
    here = with_lesion(skin(1), 60)
    assert registered(here, with_lesion(skin(2), 60))[1] is None
    assert registered(here, np.ascontiguousarray(here[:, ::-1]))[1] is None
    assert registered(here, np.full_like(here, 200))[1] is None


def test_a_lesion_that_grew_is_told_with_its_ratio_on_the_same_scale(bundle: Bundle) -> None:
    here = with_lesion(skin(3), 50)
    there, _ = turned(with_lesion(skin(3), 65), 6, 1.1)
    found, seen = compare_photographs(photograph(here), photograph(there), bundle)
    assert seen is not None
    assert seen.shape == here.shape
    assert found.area is not None
    assert found.area.change.value == pytest.approx((65 / 50) ** 2, rel=0.08)
    assert found.area.change.low < found.area.change.value < found.area.change.high
    assert found.area.beyond
    assert len(found.outlines) == 2
    inside = np.abs(seen.astype(int) - with_lesion(skin(3), 65).astype(int))[100:260, 160:320].mean()
    assert inside < 12


def test_an_unchanged_lesion_is_within_what_disturbances_do(bundle: Bundle) -> None:
    here = with_lesion(skin(4), 55)
    there, _ = turned(here, 5, 1.03)
    there = np.clip(there * 1.04, 0, 255).astype(np.uint8)
    found, _ = compare_photographs(photograph(here), photograph(there), bundle)
    assert found.area is not None
    assert found.lightness is not None
    assert found.colour is not None
    assert not found.area.beyond
    assert not found.lightness.beyond
    assert not found.melanoma.beyond
    assert found.area.change.low <= 1 <= found.area.change.high


def test_without_registration_nothing_is_said_of_the_area(bundle: Bundle) -> None:
    found, seen = compare_photographs(
        photograph(with_lesion(skin(1), 60)), photograph(with_lesion(skin(2), 80)), bundle
    )
    assert (found.matrix, found.area, seen) == (None, None, None)
    assert found.colour is not None
    assert len(found.outlines) == 1


def test_a_lesion_is_measured_where_it_is_whole_and_darker_than_its_skin() -> None:
    drawn = with_lesion(skin(5), 60)
    inside = lesion_mask(reduced(drawn, 256))
    assert inside is not None
    assert inside.sum() / inside.size == pytest.approx(np.pi * 60**2 / (480 * 360), rel=0.08)
    assert lesion_mask(np.full((180, 256, 3), 200, np.uint8)) is None


@pytest.mark.parametrize("size", [(40, 30), (33, 300)])
def test_the_smallest_photographs_are_compared_too(bundle: Bundle, size: tuple[int, int]) -> None:
    pixels = draw_phantom("MEL", 1, size)
    found, _ = compare_photographs(photograph(pixels), photograph(pixels), bundle)
    assert 0 <= found.melanoma.first.value <= 1


def test_tiles_are_the_photograph_itself(tmp_path: Path) -> None:
    import io
    import zipfile

    from PIL import Image

    from dermsentry.clinic.worker.tiles import TILE, draw_tiles, levels

    pixels = draw_phantom("NV", 2, (1300, 700))
    assert [levels(*size) for size in ((1300, 700), (512, 512), (513, 1), (1, 1))] == [3, 1, 2, 1]
    with zipfile.ZipFile(io.BytesIO(draw_tiles(pixels))) as file:
        names = set(file.namelist())
        assert {own for own in names if own.startswith("2/")} == {
            f"2/{x}_{y}.jpg" for x in range(3) for y in range(2)
        }
        whole = np.zeros_like(pixels)
        for x in range(3):
            for y in range(2):
                tile = np.asarray(Image.open(io.BytesIO(file.read(f"2/{x}_{y}.jpg"))))
                whole[y * TILE : y * TILE + tile.shape[0], x * TILE : x * TILE + tile.shape[1]] = tile
        assert np.abs(whole.astype(int) - pixels).mean() < 2
        assert Image.open(io.BytesIO(file.read("0/0_0.jpg"))).size == (325, 175)
