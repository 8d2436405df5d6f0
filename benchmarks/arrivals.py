"""What it costs a clinic to compare a new photograph with all that it has, and what is found.

python benchmarks/arrivals.py DATA [--kept 10000] [--asked 1000]

DATA is a collection with lesion ids (HAM10000). `--kept` photographs are put into the index as the clinic's
matcher does it, in random order, and `--asked` of them are compared with the others. Prints user and system
CPU time of each step and the memory of the index; the ratio of a search in the index to comparing with
every photograph, in the same run; how many pairs of photographs of one lesion are found, and how many
photographs match one of another lesion. In HAM10000 some of those are one lesion under two ids.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np

from dermsentry.audit.likeness.content import Content
from dermsentry.audit.likeness.growing import GrowingIndex, sample_size
from dermsentry.audit.likeness.judge import same_skin
from dermsentry.audit.likeness.keypoints import Keypoints
from dermsentry.clinic.worker.fingerprint import kept, read_fingerprint, take_fingerprint
from dermsentry.collection import read_collection
from dermsentry.images import read_photograph

Looked = tuple[Keypoints, Content]
SLOWLY = 300
"""Photographs that one is compared with, one by one, to know what all would take."""
CAMERA = (4000, 3000)


def resident_mib() -> float:
    """The memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def search(index: GrowingIndex, photographs: list[bytes], number: int) -> set[int]:
    """The photographs that show the same skin, as the matcher finds them."""
    mine = read_fingerprint(photographs[number])
    found: set[int] = set()
    for other, whole in index.candidates(number, *mine):
        theirs = read_fingerprint(photographs[other])
        pair = (theirs, mine) if other < number else (mine, theirs)
        if other not in found and same_skin(*pair, whole=whole):
            found.add(other)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--kept", type=int, default=10_000)
    parser.add_argument("--asked", type=int, default=1000)
    asked = parser.parse_args()
    collection = read_collection(asked.data)
    order = np.random.default_rng(0).permutation(len(collection.paths))[: asked.kept]
    lesions = collection.table["lesion_id"].to_numpy()[order]

    photographs, spent = [], 0.0
    for row in order:
        pixels = read_photograph(collection.paths[row]).pixels
        before = time.process_time()
        photographs.append(kept(take_fingerprint(pixels)))
        spent += time.process_time() - before
    large = cv2.resize(pixels, CAMERA)
    before = time.process_time()
    for _ in range(10):
        take_fingerprint(large)
    of_camera = (time.process_time() - before) / 10
    count = len(photographs)
    print(
        f"fingerprint: {1000 * spent / count:.1f} ms, {1000 * of_camera:.1f} ms at {CAMERA[0]} x {CAMERA[1]};"
    )
    print(f"{sum(map(len, photographs)) / count / 1024:.1f} KiB each, {count} photographs")

    memory, before = resident_mib(), time.process_time()
    learned = np.linspace(0, count - 1, sample_size(count)).astype(int)
    index = GrowingIndex([read_fingerprint(photographs[place]) for place in learned], count)
    for number, photograph in enumerate(photographs):
        index.add(number, *read_fingerprint(photograph))
    print(f"index: {time.process_time() - before:.1f} s, {resident_mib() - memory:.0f} MiB")

    of_lesion = defaultdict(set)
    for number, lesion in enumerate(lesions):
        of_lesion[lesion].add(number)
    pairs = hits = strangers = 0
    before = time.process_time()
    for number in range(asked.asked):
        found = search(index, photographs, number)
        same = of_lesion[lesions[number]] - {number}
        pairs, hits, strangers = pairs + len(same), hits + len(found & same), strangers + bool(found - same)
    each = (time.process_time() - before) / asked.asked

    before = time.process_time()
    mine: Looked = read_fingerprint(photographs[0])
    for photograph in photographs[1 : SLOWLY + 1]:
        same_skin(read_fingerprint(photograph), mine, whole=False)
    with_all = (time.process_time() - before) / SLOWLY * (count - 1)
    print(
        f"search: {1000 * each:.1f} ms; with every photograph {with_all:.1f} s, "
        f"{with_all / each:.0f} times as much"
    )
    print(f"of {pairs} pairs of one lesion {hits} are found ({hits / pairs:.0%});")
    print(f"{strangers} of {asked.asked} photographs match one of another lesion")


if __name__ == "__main__":
    main()
