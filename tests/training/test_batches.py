"""Batches hold every image once an epoch, in an order and with changes that seed and epoch decide."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from dermsentry.diagnoses import CODES
from dermsentry.training.batches import Batch, Examples, joined, targets
from dermsentry.training.configuration import Configuration
from examples import examples, pictures

LABELS = ("MEL", "NV", "PBK|SK", "NV", "SK", "DF", "NV")
PLAIN = Configuration(size=32, batch_size=3, seed=4)


def drawn(batches: Iterable[Batch]) -> np.ndarray:
    return np.concatenate([batch.pixels for batch in batches])


def test_targets_name_every_candidate() -> None:
    hot = targets(("MEL", "PBK|SK", ""))
    assert hot.shape == (3, 9)
    named = [[CODES[i] for i in np.flatnonzero(row)] for row in hot]
    assert named == [["MEL"], ["PBK", "SK"], []]


def test_copies_come_after_the_images() -> None:
    own = examples(LABELS)
    copies = pictures(("MEL", "NV"), seed=9)
    both = Examples(own.pixels, np.array([1, len(own.pixels) + 1, 0, len(own.pixels)]), ("NV",) * 4, copies)
    got = both.gather(np.array([0, 1, 3]))
    np.testing.assert_array_equal(got, np.stack([own.pixels[1], copies[1], copies[0]]))
    np.testing.assert_array_equal(own.gather(np.array([3, 2])), own.pixels[[3, 2]])


@pytest.mark.parametrize("same", [True, False])
def test_joined_examples_are_both_in_their_order(same: bool) -> None:
    first = examples(LABELS[:3])
    second = first if same else examples(LABELS[3:], seed=1)
    both = joined(first, second)
    assert both.labels == (*first.labels, *second.labels)
    wanted = np.concatenate([first.gather(slice(None)), second.gather(slice(None))])
    np.testing.assert_array_equal(both.gather(slice(None)), wanted)


@pytest.mark.parametrize("augmented", [False, True])
def test_epochs_differ_and_can_be_resumed(augmented: bool) -> None:
    own = examples(LABELS)
    own.pixels.flags.writeable = False  # as a mapped cache is
    chosen = Configuration(size=32, batch_size=3, seed=4, augmented=augmented)
    first, second = (drawn(own.batches(chosen, epoch)) for epoch in (0, 1))
    assert (first != second).any()
    np.testing.assert_array_equal(drawn(own.batches(chosen, 1)), second)
    other = Configuration(size=32, batch_size=3, seed=5, augmented=augmented)
    assert (drawn(own.batches(other, 0)) != first).any()
    if not augmented:
        assert sorted(image.tobytes() for image in first) == sorted(image.tobytes() for image in own.pixels)


def test_labels_and_weights_go_with_their_image() -> None:
    own = examples(LABELS)
    weighted = Configuration(size=32, batch_size=3, class_weights=True)
    row_of = {image.tobytes(): row for row, image in enumerate(own.pixels)}
    each: dict[str, float] = {}
    for batch in own.batches(weighted, 0):
        for image, hot, weight in zip(batch.pixels, batch.targets, batch.weights, strict=True):
            row = row_of[image.tobytes()]
            np.testing.assert_array_equal(hot, targets(LABELS)[row])
            each[LABELS[row]] = float(weight)
    assert each["NV"] == pytest.approx(each["DF"] / 3)
    assert all((batch.weights == 1).all() for batch in own.batches(PLAIN, 0))
