from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageDraw, ImageFilter

import pictures
from bundles import lesion
from dermsentry.files import plain
from dermsentry.images import Pixels, fit, read_fitted
from dermsentry.phantoms import Phantoms
from dermsentry.screening.quality import (
    BLURRED,
    DRAWN,
    GLARE,
    HAIR,
    NO_LESION,
    TOO_BRIGHT,
    TOO_DARK,
    WASHED_OUT,
    Quality,
    assess,
)


def blurred(pixels: Pixels, share: float) -> Pixels:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(share * pixels.shape[1])))


def shaken(pixels: Pixels, share: float, axis: int) -> Pixels:
    """Blurred by a movement along one axis."""
    length = max(2, round(share * pixels.shape[1]))
    moved = [np.roll(pixels, shift, axis) for shift in range(length)]
    return np.mean(moved, axis=0).astype(np.uint8)


def lit(pixels: Pixels, gain: float, fog: float = 0.0) -> Pixels:
    """With `gain` times the light, and `fog` added."""
    return np.clip(pixels * gain + fog, 0, 255).astype(np.uint8)


def skin(side: int = 200, seed: int = 0) -> Pixels:
    """Skin without a lesion, under light from one side."""
    grain = np.random.default_rng(seed).normal(0, 3, (side, side, 1))
    light = np.linspace(0.8, 1.0, side)[None, :, None]
    return np.clip(np.array([210, 160, 140]) * light + grain, 0, 255).astype(np.uint8)


def chart(background: tuple[int, int, int] = (255, 255, 255)) -> Pixels:
    """Axes, bars and a line."""
    picture = Image.new("RGB", (640, 480), background)
    pen = ImageDraw.Draw(picture)
    ink = tuple(255 - value for value in background)
    for number, height in enumerate((120, 300, 210, 380, 90)):
        left = 80 + 100 * number
        pen.rectangle((left, 440 - height, left + 60, 440), fill=(31, 119, 180))
        pen.text((left, 450), f"class {number}", fill=ink)
    pen.line([(60, 40), (60, 440), (600, 440)], fill=ink, width=2)
    pen.line([(80 + 12 * i, 300 - (i * 37) % 160) for i in range(42)], fill=(200, 30, 30), width=2)
    for row in range(9):
        pen.text((300, 10 + 14 * row), "training and validation accuracy", fill=ink)
    return np.asarray(picture)


def problems(pixels: Pixels, size: int = 180) -> tuple[str, ...]:
    return assess(fit(pixels, size, "squash"), 600, 450).problems


def test_a_sharp_lesion_is_acceptable() -> None:
    quality = assess(fit(lesion(), 180, "squash"), 600, 450)
    assert quality.acceptable
    assert plain(quality)["acceptable"] is True
    assert quality.side == 450


@pytest.mark.parametrize("size", [96, 180, 224, 300])
@pytest.mark.parametrize(
    ("pixels", "word"),
    [
        (blurred(lesion(), 0.02), BLURRED),
        (shaken(lesion(), 0.08, 0), BLURRED),
        (shaken(lesion(), 0.08, 1), BLURRED),
        (lit(lesion(), 0.2), TOO_DARK),
        (lit(lesion(), 0.0), TOO_DARK),
        (np.full((200, 200, 3), 253, np.uint8), TOO_BRIGHT),
        (lit(np.asarray(pictures.skin(1, (300, 300))), 1.8), TOO_BRIGHT),
        (lit(lesion(40), 0.1, 205), WASHED_OUT),
        (np.full((200, 200, 3), 150, np.uint8), NO_LESION),
        (skin(), NO_LESION),
        (chart(), DRAWN),
        (chart((0, 0, 0)), DRAWN),
        (chart((40, 42, 54)), DRAWN),
    ],
)
def test_each_problem_has_its_words(pixels: Pixels, word: str, size: int) -> None:
    assert problems(pixels, size) == (word,)


def test_a_small_file_is_sent_back() -> None:
    small = assess(fit(lesion(), 180, "squash"), 90, 80)
    assert small.problems == (
        "too small: send the original photograph (at least 96 pixels on the shorter side, this has 80)",
    )


def test_words_name_the_problem_and_one_thing_to_do() -> None:
    for words in (BLURRED, TOO_DARK, TOO_BRIGHT, WASHED_OUT, NO_LESION, DRAWN, GLARE, HAIR):
        problem, action = words.split(": ")
        assert problem
        assert "retake" in action or "send" in action
        assert len(words) <= 80


@pytest.mark.parametrize("wide", [True, False])
def test_the_black_bars_of_padding_hide_nothing_and_are_no_problem(wide: bool) -> None:
    def padded(pixels: Pixels) -> Quality:
        cut = pixels[20:140] if wide else pixels[:, 20:140]
        return assess(fit(np.ascontiguousarray(cut), 192, "pad"), 600, 450)

    assert padded(lesion()).acceptable
    assert padded(blurred(lesion(), 0.02)).problems == (BLURRED,)
    assert padded(skin(160)).problems == (NO_LESION,)


def test_the_dark_corners_of_a_round_lens_are_no_problem() -> None:
    pixels = fit(lesion(), 192, "squash").copy()
    across = np.arange(192) - 95.5
    pixels[across[:, None] ** 2 + across[None, :] ** 2 > 94**2] = 0
    assert assess(pixels, 600, 450).acceptable


def test_a_photograph_compressed_hard_is_no_drawing() -> None:
    import io

    buffer = io.BytesIO()
    Image.fromarray(lesion()).save(buffer, "JPEG", quality=15)
    assert DRAWN not in problems(np.asarray(Image.open(buffer)))


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.uint8, st.integers(32, 70).map(lambda side: (side, side, 3))))
def test_any_picture_has_finite_measures(pixels: Pixels) -> None:
    quality = assess(pixels, 600, 450)
    assert np.isfinite([quality.sharpness, quality.brightness, quality.contrast]).all()
    assert 0 <= quality.brightness <= 255
    assert len(set(quality.problems) - {GLARE, HAIR}) <= 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 3))
def test_turning_a_photograph_changes_nothing(seed: int, quarters: int) -> None:
    pixels = fit(lesion(seed=seed), 192, "squash")
    turned = np.ascontiguousarray(np.rot90(pixels, quarters))
    first, second = assess(pixels, 600, 450), assess(turned, 600, 450)
    assert first.problems == second.problems
    assert first.sharpness == pytest.approx(second.sharpness, abs=1.1e-3)
    assert first.contrast == pytest.approx(second.contrast, abs=0.2)


def test_phantoms_pass(phantoms: Phantoms) -> None:
    paths = sorted(phantoms.root.glob("Test/*/*.jpg"))
    refused = [p.name for p in paths if assess(read_fitted(p, 180, "squash"), 240, 180).problems]
    assert len(refused) <= len(paths) // 20


@pytest.mark.real
@pytest.mark.parametrize(
    "pattern",
    ["isic9/Test/*/*.jpg", "isic-archive/images/*.jpg", "ham10000/images/*.jpg", "isic2017/val/*.jpg"],
)
def test_real_photographs_pass_and_spoiled_ones_do_not(real_data: Path, pattern: str) -> None:
    paths = sorted(real_data.glob(pattern))[::7][:60]
    fitted = [read_fitted(path, 180, "squash") for path in paths]

    def share(words: tuple[str, ...], spoil: object) -> float:
        found = [assess(spoil(pixels), 180, 180).problems for pixels in fitted]  # type: ignore[operator]
        return float(np.mean([bool(set(words) & set(problem)) for problem in found]))

    found = [set(assess(pixels, 180, 180).problems) for pixels in fitted]
    assert not any(problem - {GLARE, HAIR} for problem in found)
    assert sum(map(bool, found)) <= 3  # under hair indeed
    assert share((BLURRED, NO_LESION), lambda pixels: blurred(pixels, 0.02)) == 1
    assert share((BLURRED, NO_LESION), lambda pixels: blurred(pixels, 0.01)) > 0.9
    assert share((TOO_DARK,), lambda pixels: lit(pixels, 0.25)) > 0.9


@pytest.mark.real
def test_charts_are_refused_and_pets_are_left_to_out_of_distribution(real_data: Path) -> None:
    folder = real_data / "not-lesions"
    charts = [assess(read_fitted(path, 192, "squash"), 400, 400) for path in sorted(folder.glob("*.png"))]
    assert all(quality.problems == (DRAWN,) for quality in charts)
