"""Bars and frames are no content; a photograph without them is content from edge to edge."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from benchmarks.edits import letterbox, round_frame
from dermsentry.audit.likeness.content import SIDE, content_of, pack, unpack
from pictures import skin


@pytest.mark.parametrize("size", [(160, 120), (120, 160), (64, 64), (800, 500)])
def test_a_photograph_is_all_content(size: tuple[int, int]) -> None:
    content = content_of(np.asarray(skin(1).resize(size)))
    assert max(content.grey.shape) == SIDE
    assert content.inside.shape == content.grey.shape
    assert content.inside.all()


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (124, 116, 104)])
def test_bars_are_cut_off(colour: tuple[int, int, int]) -> None:
    bare, barred = (content_of(np.asarray(image)) for image in (skin(2), letterbox(skin(2), colour)))
    assert np.abs(np.subtract(bare.grey.shape, barred.grey.shape)).max() <= 3
    assert barred.inside.mean() > 0.9


def test_a_round_frame_is_left_out_and_leaves_no_edge() -> None:
    content = content_of(np.asarray(round_frame(skin(3))))
    middle = content.grey.shape[0] // 2
    assert content.inside[middle, middle]
    assert not content.inside[0, 0]
    assert content.inside.mean() == pytest.approx(np.pi / 4, abs=0.1)
    assert content.grey[0, 0] > 60  # the frame is black


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (900, 2)])
def test_a_tiny_picture_is_no_error(size: tuple[int, int]) -> None:
    content = content_of(np.asarray(skin(1).resize(size)))
    assert content.grey.shape == content.inside.shape


def test_a_picture_without_content_is_content() -> None:
    for colour in (0, 128, 255):
        assert content_of(np.full((90, 120, 3), colour, np.uint8)).inside.all()


@pytest.mark.parametrize("image", [skin(4), round_frame(skin(4))])
def test_packed_content_is_nearly_the_same(image: Image.Image) -> None:
    content = content_of(np.asarray(image))
    again = unpack(pack(content))
    assert (again.inside == content.inside).all()
    assert np.abs(again.grey.astype(int) - content.grey).mean() < 3
