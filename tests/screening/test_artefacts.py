from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bundles import lesion
from dermsentry.evaluation.robustness.corruptions import glare_spot, twelve_hairs
from dermsentry.images import Pixels, fit, read_fitted
from dermsentry.phantoms import Phantoms
from dermsentry.screening import artefacts
from dermsentry.screening.field_of_view import field_of_view
from dermsentry.screening.quality import GLARE, HAIR, MAX_GLARE, MAX_HAIR, assess


def grainy(size: int) -> Pixels:
    """A lesion with a sensor's noise, without which sharp hairs make it a drawing."""
    pixels = fit(lesion(60, 3), size, "squash")
    noise = np.random.default_rng(0).normal(0, 4, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def lesion_artefacts(pixels: Pixels) -> tuple[float, float]:
    return artefacts.lesion_artefacts(pixels.transpose(2, 0, 1), field_of_view(pixels))


def light_hairs(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """The twelve hairs in the colour of light hair."""
    dark = twelve_hairs(pixels, rng)
    share = (pixels[..., :1].astype(float) - dark[..., :1]) / np.maximum(pixels[..., :1] - 42.0, 1.0)
    light = pixels * (1 - share) + share * np.array([225, 205, 170])
    return np.clip(light, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [180, 192, 224, 260])
def test_glare_and_hair_over_a_lesion_are_named(size: int) -> None:
    pixels = grainy(size)
    rng = np.random.default_rng(0)
    assert assess(pixels, 600, 450).problems == ()
    assert assess(glare_spot(pixels, rng), 600, 450).problems == (GLARE,)
    assert assess(twelve_hairs(pixels, rng), 600, 450).problems == (HAIR,)
    assert assess(light_hairs(pixels, rng), 600, 450).problems == (HAIR,)
    both = glare_spot(twelve_hairs(pixels, rng), rng)
    glare, hair = lesion_artefacts(both)
    assert glare > MAX_GLARE
    assert hair > MAX_HAIR


def test_what_is_beside_the_lesion_hides_nothing() -> None:
    pixels = grainy(224)
    pixels[4:14, 4:14] = 255
    pixels[::16, :12] = 20  # a ruler's marks
    pixels[200:, 10:200:12] = 30
    glare, hair = lesion_artefacts(pixels)
    assert glare == 0
    assert hair < MAX_HAIR / 10


def test_a_lesion_in_a_round_lens_is_found_and_its_rim_is_no_hair() -> None:
    pixels = grainy(224)
    across = np.arange(224) - 111.5
    pixels[across[:, None] ** 2 + across[None, :] ** 2 > 100**2] = 0
    assert assess(pixels, 600, 450).acceptable
    assert lesion_artefacts(twelve_hairs(pixels, np.random.default_rng(1)))[1] > MAX_HAIR


@pytest.mark.parametrize("shape", [(32, 32), (33, 224), (224, 40), (300, 300)])
def test_any_shape_has_shares(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for pixels in (noise, np.zeros_like(noise), np.full_like(noise, 255)):
        assert all(0 <= share <= 1 for share in lesion_artefacts(pixels))


def test_phantoms_with_planted_artefacts(phantoms: Phantoms) -> None:
    rng = np.random.default_rng(0)
    fitted = [read_fitted(p, 224, "squash") for p in sorted(phantoms.root.glob("Test/*/*.jpg"))]
    bare = [lesion_artefacts(p) for p in fitted]
    spots = [lesion_artefacts(glare_spot(p, rng))[0] > MAX_GLARE for p in fitted]
    hairs = [lesion_artefacts(twelve_hairs(p, rng))[1] for p in fitted]
    assert np.mean(spots) > 0.8
    assert np.mean([after > before[1] for after, before in zip(hairs, bare, strict=True)]) > 0.8


@pytest.mark.real
@pytest.mark.parametrize(
    "pattern", ["ham10000/images/*.jpg", "isic2017/train/*.jpg", "isic-archive/images/*.jpg"]
)
def test_real_photographs_under_glare_and_hair(real_data: Path, pattern: str) -> None:
    paths = sorted(real_data.glob(pattern))
    fitted = [read_fitted(path, 224, "squash") for path in paths[:: len(paths) // 100]]
    rng = np.random.default_rng(0)
    bare = np.array([lesion_artefacts(pixels) for pixels in fitted])
    spots = np.array([lesion_artefacts(glare_spot(pixels, rng))[0] for pixels in fitted])
    hairs = np.array([lesion_artefacts(twelve_hairs(pixels, rng))[1] for pixels in fitted])
    assert np.mean((bare[:, 0] > MAX_GLARE) | (bare[:, 1] > MAX_HAIR)) <= 0.05
    assert np.mean(spots > MAX_GLARE) > 0.9
    assert np.mean(hairs > MAX_HAIR) > 0.8
