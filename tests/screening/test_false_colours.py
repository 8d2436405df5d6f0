"""Colours that are not those of skin are recognised; odd lights and dark skin are not taken for such."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bundles import tiny_card
from dermsentry.diagnoses import CODES
from dermsentry.images import Pixels, Unreadable, read_many
from dermsentry.phantoms.drawing import draw_phantom
from dermsentry.screening.false_colours import colour_features, log_odds, quadratic
from dermsentry.screening.field_of_view import field_of_view
from dermsentry.screening.quality import (
    FALSE_COLOURS,
    FALSE_COLOURS_FROM,
    MIN_CONTRAST,
    ODD_COLOURS,
    ODD_COLOURS_FROM,
    Quality,
    assess,
)
from dermsentry.screening.triage import triage
from recipes.false_colours import KINDS, SOURCES, in_other_light

CARD = tiny_card()


@pytest.fixture(scope="module")
def phantoms() -> list[Pixels]:
    """Lesions on skin of all six types, none of which the fit has seen."""
    return [draw_phantom(CODES[i % 9], 5000 + i, (160, 160), skin_type=1 + i % 6) for i in range(54)]


def share(pictures: list[Pixels], limit: float = ODD_COLOURS_FROM) -> float:
    return float(np.mean([log_odds(field_of_view(picture)) >= limit for picture in pictures]))


def test_drawn_lesions_pass_on_any_skin(phantoms: list[Pixels]) -> None:
    assert share(phantoms) <= 0.05
    rng = np.random.default_rng(0)
    assert share([in_other_light(picture, rng, 0.1) for picture in phantoms]) <= 0.1


@pytest.mark.parametrize("kind", list(KINDS))
def test_false_colours_of_drawn_lesions_are_recognised(phantoms: list[Pixels], kind: str) -> None:
    assert share([KINDS[kind](picture) for picture in phantoms]) >= 0.85


def test_recognition_does_not_depend_on_size_or_black_frame(phantoms: list[Pixels]) -> None:
    places = np.hypot(*np.meshgrid(*[np.arange(160) - 79.5] * 2))
    framed = [np.where(places[..., None] < 70, picture, 2).astype(np.uint8) for picture in phantoms]
    assert share(framed) <= 0.1
    assert share([picture[::2, ::2] for picture in phantoms]) <= 0.05


@given(arrays.arrays(np.uint8, st.tuples(st.integers(32, 48), st.integers(32, 48), st.just(3))))
def test_any_picture_has_finite_features(pixels: Pixels) -> None:
    assert np.isfinite(colour_features(field_of_view(pixels))).all()
    assert np.isfinite(log_odds(field_of_view(pixels)))


@pytest.mark.parametrize("value", [0, 128, 255])
def test_one_colour_has_finite_features(value: int) -> None:
    assert np.isfinite(log_odds(field_of_view(np.full((64, 64, 3), value, np.uint8))))


def test_products_of_features_come_after_them() -> None:
    assert quadratic(np.array([[2.0, 3.0]])).tolist() == [[2.0, 3.0, 4.0, 6.0, 9.0]]


def shares(melanoma: float) -> Mapping[str, float]:
    return {code: melanoma if code == "MEL" else (1 - melanoma) / 8 for code in CODES}


@pytest.mark.parametrize("melanoma", [0.01, 0.99])
def test_certainly_false_colours_are_refused_whatever_the_probability(melanoma: float) -> None:
    quality = Quality(450, 0.5, 150.0, 40.0, 0.0, 0.0, (FALSE_COLOURS,))
    assert triage(shares(melanoma), 0.1, 0.1, quality, CARD) == ("cannot-say", (FALSE_COLOURS,))


def test_odd_colours_keep_an_alert_and_are_never_routine() -> None:
    quality = Quality(450, 0.5, 150.0, 40.0, 0.0, 0.0, (ODD_COLOURS,))
    tier, reasons = triage(shares(0.99), 0.1, 0.1, quality, CARD)
    assert (tier, reasons[-1]) == ("alert", ODD_COLOURS)
    assert triage(shares(0.01), 0.1, 0.1, quality, CARD) == ("cannot-say", (ODD_COLOURS,))


def test_quality_names_them(phantoms: list[Pixels]) -> None:
    for picture in phantoms[:12]:
        swapped = np.ascontiguousarray(picture[..., ::-1])
        odds, quality = log_odds(field_of_view(swapped)), assess(swapped, 160, 160)
        if quality.contrast >= MIN_CONTRAST:
            assert (FALSE_COLOURS in quality.problems) == (odds >= FALSE_COLOURS_FROM)
        if ODD_COLOURS in quality.problems:
            assert quality.problems == (ODD_COLOURS,)
            assert ODD_COLOURS_FROM <= odds < FALSE_COLOURS_FROM


@pytest.mark.real
@pytest.mark.parametrize("source", list(SOURCES))
def test_photographs_pass_and_their_false_colours_do_not(real_data: Path, source: str) -> None:
    folder, _ = SOURCES[source]
    files = sorted((real_data / folder).glob("*.jpg"))[5::11][:250]
    pictures = [one for one in read_many(files, 224, "squash") if not isinstance(one, Unreadable)]
    assert share(pictures) <= 0.015
    for kind, change in KINDS.items():
        assert share([change(picture) for picture in pictures]) >= 0.9, kind
