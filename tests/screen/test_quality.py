from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageFilter

from bundles import lesion
from dermsentry.images import Pixels, fit, read_fitted
from dermsentry.phantoms import Phantoms
from dermsentry.screen.quality import BLURRED, NO_LESION, TOO_BRIGHT, TOO_DARK, assess


def blurred(pixels: Pixels, share: float) -> Pixels:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(share * pixels.shape[1])))


def problems(pixels: Pixels) -> tuple[str, ...]:
    return assess(fit(pixels, 180, "squash"), 600, 450).problems


def test_a_sharp_lesion_is_acceptable() -> None:
    quality = assess(fit(lesion(), 180, "squash"), 600, 450)
    assert quality.acceptable
    assert quality.as_dict()["problems"] == []
    assert quality.side == 450


def test_each_problem_has_its_words() -> None:
    assert problems(blurred(lesion(), 0.02)) == (BLURRED,)
    assert problems((lesion() * 0.12).astype(np.uint8)) == (TOO_DARK,)
    assert problems(np.full((200, 200, 3), 253, np.uint8)) == (TOO_BRIGHT,)
    assert problems(np.full((200, 200, 3), 150, np.uint8)) == (NO_LESION,)
    small = assess(fit(lesion(side=80), 180, "squash"), 80, 80)
    assert any(p.startswith("too small: at least 96 pixels on the shorter side") for p in small.problems)


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.uint8, st.integers(32, 70).map(lambda side: (side, side, 3))))
def test_any_picture_has_finite_measures(pixels: Pixels) -> None:
    quality = assess(pixels, 600, 450)
    assert np.isfinite([quality.sharpness, quality.brightness, quality.contrast]).all()
    assert 0 <= quality.brightness <= 255


def test_phantoms_pass(phantoms: Phantoms) -> None:
    paths = sorted(phantoms.root.glob("Test/*/*.jpg"))
    refused = [p.name for p in paths if assess(read_fitted(p, 180, "squash"), 240, 180).problems]
    assert len(refused) <= len(paths) // 20


@pytest.mark.real
@pytest.mark.parametrize(
    "pattern",
    ["isic9/Test/*/*.jpg", "isic-archive/images/*.jpg", "ham10000/images/*.jpg", "isic2017/val/*.jpg"],
)
def test_real_photographs_pass_and_blurred_ones_do_not(real_data: Path, pattern: str) -> None:
    paths = sorted(real_data.glob(pattern))[::7][:60]
    fitted = [read_fitted(path, 180, "squash") for path in paths]
    assert all(assess(pixels, 180, 180).acceptable for pixels in fitted)
    assert all(BLURRED in assess(blurred(pixels, 0.02), 180, 180).problems for pixels in fitted)
