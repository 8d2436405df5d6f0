"""Keypoints register a copy however it was turned, and detail agrees with the copy and with nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from benchmarks.edits import crop, flip, turn
from dermsentry.audit.likeness.content import Content, content_of
from dermsentry.audit.likeness.judge import AGREES, AGREES_IN_PLACE, agreement, in_place, is_copy, register
from dermsentry.audit.likeness.keypoints import MOST, find_keypoints, mirrored
from pictures import skin


def content(image: Image.Image) -> Content:
    return content_of(np.asarray(image))


def test_keypoints_are_few_inside_and_repeatable() -> None:
    one = content(skin(1))
    found, again = find_keypoints(one), find_keypoints(one)
    assert 10 < len(found.places) <= MOST
    assert (found.places == again.places).all()
    assert (found.descriptors == again.descriptors).all()
    x, y = found.places[:, :2].T
    assert (x >= 0).all()
    assert (x < one.grey.shape[1]).all()
    assert (y < one.grey.shape[0]).all()


def test_a_picture_without_anything_in_it_has_no_keypoints() -> None:
    found = find_keypoints(content(Image.new("RGB", (60, 60), (120, 120, 120))))
    assert found.places.shape == (0, 4)
    assert register(found, found, 60) is None


def test_mirrored_descriptors_are_those_of_the_mirrored_picture() -> None:
    one = content(skin(1))
    other = Content(np.ascontiguousarray(one.grey[:, ::-1]), one.inside[:, ::-1])
    expected = find_keypoints(other).descriptors.astype(float)
    cosines = mirrored(find_keypoints(one).descriptors).astype(float) @ expected.T / 512**2
    assert np.mean(cosines.max(axis=1) > 0.98) > 0.6
    descriptors = find_keypoints(one).descriptors
    assert (mirrored(mirrored(descriptors)) == descriptors).all()


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("degrees", [0, 33, 90, 201])
def test_a_turned_copy_is_registered_and_agrees(degrees: float, mirror: bool) -> None:
    original = skin(5, (200, 200))
    copy = turn(flip(original) if mirror else original, degrees, 0.17)
    one, other = content(original), content(copy)
    found = register(find_keypoints(one), find_keypoints(other), one.grey.shape[1])
    assert found is not None
    assert found.mirror == mirror
    share, placed = agreement(one, other, found)
    assert is_copy(share, placed)
    assert not placed
    assert np.linalg.det(found.matrix[:, :2]) ** 0.5 == pytest.approx(1 / 0.66, rel=0.05)


def test_a_copy_in_place_is_in_place() -> None:
    one, other = content(skin(6)), content(crop(skin(6), 0.01, 0.01, 0.01, 0.01).resize((90, 90)))
    share, placed = agreement(one, other, in_place(one, other))
    assert share > AGREES
    assert placed


def test_different_pictures_do_not_agree() -> None:
    pictures = [content(skin(seed)) for seed in range(12)]
    keypoints = [find_keypoints(picture) for picture in pictures]
    shares = []
    for i, j in zip(*np.triu_indices(12, 1), strict=True):
        found = register(keypoints[i], keypoints[j], pictures[i].grey.shape[1])
        registrations = [in_place(pictures[i], pictures[j]), *([found] if found else [])]
        shares += [agreement(pictures[i], pictures[j], registration)[0] for registration in registrations]
    assert max(shares) < AGREES_IN_PLACE / 2


def test_two_round_lesions_on_smooth_skin_do_not_agree() -> None:
    """Their outlines do, wherever they are registered; an outline is no detail."""
    y, x = np.mgrid[:120, :160]

    def nevus(radius: float, seed: int) -> Content:
        grey = 190 - 90 / (1 + np.exp(np.hypot(x - 80, y - 60) - radius))
        grey = grey + np.random.default_rng(seed).normal(0, 1.5, grey.shape)
        return content_of(np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2))

    one, other = nevus(30, 1), nevus(30, 2)
    assert agreement(one, other, in_place(one, other))[0] < AGREES_IN_PLACE
