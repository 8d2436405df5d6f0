"""Duplicates: photographs that are identical byte for byte or pixel for pixel, or nearly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dermsentry.audit.kept import DIGEST
from dermsentry.audit.search import near_pairs
from dermsentry.audit.survey import Survey, survey_collection
from dermsentry.audit.workplace import EngineName, Workplace, workplace
from dermsentry.collection import Collection
from dermsentry.collection.groups import DuplicateGroup, components

_MANY = 0.1  # share of a collection that no photograph makes up by its copies without being looked at
_FEW = 10  # photographs that are too few to say so of


@dataclass(frozen=True)
class DoubtfulGroup:
    """Photographs that agree as copies do, but are too many to be believed without being looked at.

    `in_place` is the share of the agreeing pairs that agree exactly where they are in the frame: near 1, a
    frame, an overlay or a background that the pictures share, or one series; near 0, augmented copies.
    """

    photographs: tuple[str, ...]
    in_place: float


@dataclass(frozen=True)
class Duplicates:
    """All groups of duplicates, the identical ones first; path and reason of each unreadable photograph.

    `doubtful` groups are in none of `groups`.
    """

    groups: tuple[DuplicateGroup, ...]
    unreadable: dict[str, str]
    doubtful: tuple[DoubtfulGroup, ...] = ()


def find_duplicates(
    collection: Collection,
    *,
    index: Path | None = None,
    workers: int | None = None,
    engine: EngineName = "local",
    address: str | None = None,
    quiet: bool = True,
) -> Duplicates:
    """Find the duplicates in a collection, in one pass over its files and a search in an index of them.

    Identical photographs have the same size and pixels. Near-identical ones show the same skin from the same
    view: a photograph after resizing, recompression, a change of colour, a crop of up to 20 % a side, any
    rotation, mirroring, a frame, or marks drawn on it, or the same lesion photographed again. Pixels do not
    reliably tell the two apart; `docs/why-audit.md` gives the rule with its precision and recall. A group of
    near-identical ones lists the identical copies among them as well.

    A photograph that a tenth of the collection, and at least ten pictures, seem to be copies of is not
    believed: that group is `doubtful`.

    Parameters
    ----------
    collection
        Its photographs are read.
    index
        A folder that keeps what was read and compared, such as `index/` of an audit: only photographs that
        are new or changed since are read, and what was ended is resumed. It is made if it is missing.
    workers
        Threads, or actors of a cluster; one per core by default.
    engine, address
        `ray`: on a Ray cluster at this address, or begun here, whose machines all see the photographs and
        `index`. The result is the same.
    quiet
        Show no progress on stderr.

    Raises
    ------
    InputError
        `index` is damaged, or there is no such cluster.
    OutputError
        `index` cannot be written, another process works there, or the cluster failed.
    """
    with workplace(index, engine=engine, address=address, threads=workers, quiet=quiet) as place:
        return duplicates_of(survey_collection(collection, place), place)


def duplicates_of(survey: Survey, place: Workplace) -> Duplicates:
    """The duplicates among surveyed photographs."""
    firsts, which, counts = _by_pixels(survey.pixels)
    copies = {int(first): [int(first)] for first in firsts[counts > 1]}
    for position in np.flatnonzero(counts[which] > 1).tolist():
        first = int(firsts[which[position]])
        if position != first:
            copies[first].append(position)
    groups = [
        DuplicateGroup("identical", paths, same)
        for paths, same in sorted(
            (
                tuple(sorted(survey.paths[i] for i in members)),
                bool((survey.files[members] == survey.files[members[0]]).all()),
            )
            for members in copies.values()
        )
    ]
    pairs = near_pairs(survey, firsts, place)
    near, doubtful = [], []
    for members in components(len(survey.paths), ((pair.first, pair.second) for pair in pairs)):
        if len(members) < 2:
            continue
        paths = tuple(sorted(survey.paths[copy] for i in members for copy in copies.get(i, [i])))
        if len(members) >= max(_FEW, _MANY * len(survey.paths)):
            among = set(members)
            own = [pair.in_place for pair in pairs if pair.first in among]
            doubtful.append(DoubtfulGroup(paths, sum(own) / len(own)))
        else:
            near.append(DuplicateGroup("near", paths))
    groups += sorted(near, key=lambda group: group.photographs)
    return Duplicates(
        tuple(groups),
        dict(survey.unreadable),
        tuple(sorted(doubtful, key=lambda group: group.photographs)),
    )


def _by_pixels(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The first row of each digest, in order; of each row the place of its digest there; rows of each."""
    digests = np.ascontiguousarray(pixels).view(f"S{DIGEST}").ravel()
    _, firsts, which, counts = np.unique(digests, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(firsts)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return firsts[order].astype(np.int64), place[which], counts[order]
