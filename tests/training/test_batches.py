"""Batches hold every image once an epoch, in an order and with changes that seed and epoch decide."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from dermsentry.diagnoses import CODES
from dermsentry.stats.metrics import targets
from dermsentry.training.batches import Batch, Examples, joined
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


_EPOCH = """
import sys
import numpy as np
from pathlib import Path
from dermsentry.training.batches import Examples
from dermsentry.training.configuration import Configuration

count, size = int(sys.argv[1]), 64
pixels = np.lib.format.open_memmap(sys.argv[2], "w+", np.uint8, (count, size, size, 3))
own = Examples(np.load(sys.argv[2], mmap_mode="r"), np.arange(count), ("NV",) * count)
configuration = Configuration(batch_size=32, augmented=False)

def held():  # of its own, without the pages of files, which are given back when memory is scarce
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) * 1024

seen = peak = 0
for batch in own.batches(configuration, 1):
    seen += len(batch.pixels)
    peak = max(peak, held())
assert seen == count
print(peak)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is told by Linux's /proc")
def test_an_epoch_takes_no_memory_for_the_pixels_of_a_photograph(tmp_path: Path) -> None:
    """Of each, 12 KiB at this size, only its row, label, target, weight and place in the order are held."""
    peaks = []
    for count in (2_000, 22_000):
        command = [sys.executable, "-c", _EPOCH, str(count), str(tmp_path / f"{count}.npy")]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    print((peaks[1] - peaks[0]) / 20_000, "bytes a photograph")
    assert (peaks[1] - peaks[0]) / 20_000 < 200
