from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermsentry.evaluation.subgroups.skin_tone import TONES, skin_tone, srgb_to_lab, tone_of
from dermsentry.phantoms import draw_phantom


def plain(colour, size=60):
    return np.full((size, size, 3), colour, np.uint8)


def by_hand(colour):
    """ITA of one sRGB colour by the standards' formulas, number by number."""
    red, green, blue = (c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour)
    y = 0.2126729 * red + 0.7151522 * green + 0.0721750 * blue
    z = 0.0193339 * red + 0.1191920 * green + 0.9503041 * blue
    lightness = 116 * y ** (1 / 3) - 16
    b = 200 * (y ** (1 / 3) - (z / 1.08883) ** (1 / 3))
    return math.degrees(math.atan2(lightness - 50, b))


@pytest.mark.parametrize(
    ("colour", "lab"),
    [  # as scikit-image's rgb2lab gives them, D65 and 2 degrees
        ((255, 255, 255), (100.0, 0.0, 0.0)),
        ((0, 0, 0), (0.0, 0.0, 0.0)),
        ((255, 0, 0), (53.241, 80.093, 67.203)),
        ((0, 255, 0), (87.735, -86.183, 83.179)),
        ((0, 0, 255), (32.297, 79.188, -107.860)),
        ((119, 119, 119), (50.034, 0.0, 0.0)),
    ],
)
def test_lab_of_known_colours(colour, lab):
    np.testing.assert_allclose(srgb_to_lab(np.array(colour, np.uint8)), lab, atol=0.02)


@pytest.mark.parametrize(
    "colour", [(238, 203, 184), (214, 168, 134), (188, 139, 111), (145, 101, 79), (104, 71, 57)]
)
def test_the_angle_of_plain_skin(colour):
    assert skin_tone(plain(colour)) == pytest.approx(by_hand(colour), abs=1e-6)


def test_darker_skin_has_a_smaller_angle():
    angles = [skin_tone(draw_phantom("NV", 3, (120, 120), skin_type=kind)) for kind in range(1, 7)]
    assert angles == sorted(angles, reverse=True)
    assert angles[0] > 41
    assert angles[-1] < 10


def test_the_groups_meet_at_their_limits():
    found = [tone_of(angle) for angle in (90, 55.1, 55, 41, 28, 10, -30, -90)]
    assert found == ["very light", "very light", "light", "intermediate", "tan", "brown", "dark", "dark"]
    assert [name for name, _ in TONES] == list(dict.fromkeys(found))


@given(st.floats(-90, 90), st.floats(-90, 90))
def test_groups_are_in_order(one, other):
    order = [name for name, _ in TONES]
    if one > other:
        assert order.index(tone_of(one)) <= order.index(tone_of(other))


def test_what_lies_in_the_middle_does_not_matter():
    picture = plain((214, 168, 134))
    picture[10:50, 10:50] = (60, 35, 30)
    assert skin_tone(picture) == pytest.approx(by_hand((214, 168, 134)))


@pytest.mark.parametrize(
    ("name", "colour"),
    [
        ("the black beyond the lens", (0, 0, 0)),
        ("hair and shadow", (70, 50, 40)),
        ("ink", (90, 60, 160)),
        ("glare", (255, 255, 255)),
        ("a grey ruler", (150, 150, 150)),
        ("a green sticker", (60, 160, 90)),
    ],
)
def test_what_is_no_skin_is_left_out(name, colour):
    skin = (214, 168, 134)
    picture = plain(skin)
    picture[:, :20] = colour
    assert skin_tone(picture) == pytest.approx(by_hand(skin)), name


@pytest.mark.parametrize(
    "colour", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (60, 90, 200), (30, 160, 60)]
)
def test_without_skin_there_is_no_angle(colour):
    assert skin_tone(plain(colour)) is None


def test_a_bluish_cast_leaves_no_angle():
    assert skin_tone(plain((200, 150, 190))) is None


def test_a_rim_in_shadow_leaves_no_angle_rather_than_a_dark_one():
    size = 100
    x, y = np.meshgrid(*[np.linspace(-1, 1, size)] * 2)
    light = np.where(np.hypot(x, y) < 0.85, 1.0, 0.35)[..., None]
    assert skin_tone((plain((238, 203, 184), size) * light).astype(np.uint8)) is None


def test_size_and_shape_change_nothing():
    tall = np.full((90, 40, 3), (188, 139, 111), np.uint8)
    assert skin_tone(tall) == pytest.approx(by_hand((188, 139, 111)))
    assert skin_tone(plain((188, 139, 111), 5)) == pytest.approx(by_hand((188, 139, 111)))
