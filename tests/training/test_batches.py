"""Batches hold every photograph once an epoch, in an order and with changes that seed and epoch decide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dermsentry.diagnoses import CODES
from dermsentry.training.batches import Batches, Examples, targets
from examples import examples, pictures

LABELS = ("MEL", "NV", "PBK|SK", "NV", "SK", "DF", "NV")


def test_targets_name_every_candidate() -> None:
    hot = targets(("MEL", "PBK|SK", ""))
    assert hot.shape == (3, 9)
    named = [[CODES[i] for i in np.flatnonzero(row)] for row in hot]
    assert named == [["MEL"], ["PBK", "SK"], []]


def test_copies_come_after_the_photographs() -> None:
    own = examples(LABELS)
    copies = pictures(("MEL", "NV"), seed=9)
    both = Examples(own.pixels, np.array([1, len(own.pixels) + 1, 0, len(own.pixels)]), ("NV",) * 4, copies)
    got = both.gather(np.array([0, 1, 3]))
    np.testing.assert_array_equal(got, np.stack([own.pixels[1], copies[1], copies[0]]))
    np.testing.assert_array_equal(own.gather(np.array([3, 2])), own.pixels[[3, 2]])


def test_in_their_order_every_photograph_once() -> None:
    own = examples(LABELS)
    batches = Batches(own, batch_size=3)
    assert len(batches) == 3
    pixels, hot = zip(*(batches[i] for i in range(3)), strict=True)
    np.testing.assert_array_equal(np.concatenate(pixels), own.pixels)
    np.testing.assert_array_equal(np.concatenate(hot), targets(LABELS))
    batches.on_epoch_end()
    np.testing.assert_array_equal(batches[0][0], pixels[0])


def drawn(batches: Batches) -> np.ndarray:
    return np.concatenate([batches[i][0] for i in range(len(batches))])


@pytest.mark.parametrize("augmented", [False, True])
def test_epochs_differ_and_can_be_gone_on_from(augmented: bool) -> None:
    own = examples(LABELS)
    batches = Batches(own, batch_size=3, shuffle=True, augmented=augmented, seed=4)
    first = drawn(batches)
    batches.on_epoch_end()
    second = drawn(batches)
    assert (first != second).any()
    from_there = Batches(own, batch_size=3, shuffle=True, augmented=augmented, seed=4, epoch=1)
    np.testing.assert_array_equal(drawn(from_there), second)
    assert (drawn(Batches(own, batch_size=3, shuffle=True, augmented=augmented, seed=5)) != first).any()
    if not augmented:
        key = [picture.tobytes() for picture in first]
        assert sorted(key) == sorted(picture.tobytes() for picture in own.pixels)


def test_the_order_of_reading_changes_nothing() -> None:
    batches = Batches(examples(LABELS), batch_size=3, shuffle=True, augmented=True)
    last = batches[2][0]
    np.testing.assert_array_equal(drawn(batches)[6:], last)


def test_weights_and_labels_go_with_their_photograph() -> None:
    own = examples(LABELS)
    weights = np.arange(len(LABELS), dtype=np.float32)
    batches = Batches(own, batch_size=4, shuffle=True, weights=weights)
    for i in range(len(batches)):
        for picture, hot, weight in zip(*batches[i], strict=True):
            np.testing.assert_array_equal(picture, own.pixels[int(weight)])
            np.testing.assert_array_equal(hot, targets(LABELS)[int(weight)])


def test_augmenting_leaves_the_photographs_as_they_are() -> None:
    own = examples(LABELS)
    before = own.pixels.copy()
    read_only = replace(own, pixels=own.pixels)
    read_only.pixels.flags.writeable = False  # as a mapped cache is
    assert (drawn(Batches(read_only, augmented=True)) != before).any()
    np.testing.assert_array_equal(own.pixels, before)
