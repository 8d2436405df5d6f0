"""Duplicates: photographs that are identical byte for byte or pixel for pixel, or nearly."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dermsentry.audit.likeness.content import Content, unpack
from dermsentry.audit.likeness.index import alike, candidates, spectra
from dermsentry.audit.likeness.judge import agreement, in_place, is_copy, register
from dermsentry.audit.survey import Survey, survey_collection
from dermsentry.collection import Collection
from dermsentry.collection.groups import DuplicateGroup, components
from dermsentry.files import sha256
from dermsentry.hdf_files import is_member, read_member
from dermsentry.parallel import cores, map_ordered

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


@dataclass(frozen=True)
class NearPair:
    """Two photographs, `first` < `second`, that are one, and whether they coincide exactly as they are."""

    first: int
    second: int
    in_place: bool


def find_duplicates(
    collection: Collection, *, index: Path | None = None, workers: int | None = None, quiet: bool = True
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
        A file that keeps what was read: when it exists, only photographs that are new or changed since are
        read. It is made if it is missing.
    workers
        Threads that read; one per core by default.
    quiet
        Show no progress on stderr.
    """
    survey = survey_collection(collection, index=index, workers=workers, quiet=quiet)
    return duplicates_of(survey, collection.root, workers=workers)


def duplicates_of(survey: Survey, root: Path, *, workers: int | None = None) -> Duplicates:
    """The duplicates among surveyed photographs whose paths are relative to `root`."""
    copies: dict[bytes, list[int]] = defaultdict(list)
    for position, digest in enumerate(survey.pixels):
        copies[digest].append(position)
    identical = [sorted(survey.paths[i] for i in members) for members in copies.values() if len(members) > 1]
    groups = [
        DuplicateGroup("identical", tuple(paths), len({_sha256(root / path) for path in paths}) == 1)
        for paths in sorted(identical)
    ]
    firsts = np.array([members[0] for members in copies.values()], dtype=np.int64)
    pairs = near_pairs(survey, firsts, workers=workers)
    near, doubtful = [], []
    for members in components(len(survey.paths), ((pair.first, pair.second) for pair in pairs)):
        if len(members) < 2:
            continue
        paths = tuple(sorted(survey.paths[copy] for i in members for copy in copies[survey.pixels[i]]))
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


def _sha256(path: Path) -> str:
    return hashlib.sha256(read_member(path)).hexdigest() if is_member(path) else sha256(path)


def near_pairs(survey: Survey, rows: NDArray[np.int64], *, workers: int | None = None) -> list[NearPair]:
    """The pairs of photographs that are near-identical, in order, among some `rows` of a survey."""
    if len(rows) < 2:
        return []
    features = survey.features.only(rows)

    @lru_cache(maxsize=512)
    def content(position: int) -> Content:
        return unpack(survey.contents[position])

    def judged(pair: tuple[int, int, bool]) -> NearPair | None:
        first, second, whole = pair
        one, other = content(first), content(second)
        registration = (
            in_place(one, other)
            if whole
            else register(features.of(first), features.of(second), one.grey.shape[1])
        )
        if registration is None:
            return None
        share, placed = agreement(one, other, registration)
        return NearPair(first, second, placed) if is_copy(share, placed) else None

    whole = rows[alike(spectra(unpack(survey.contents[row]).grey for row in rows))]
    likely = [(*pair, False) for pair in candidates(features).tolist()]
    likely += [(*pair, True) for pair in whole.tolist()]
    threads = workers or cores()
    found: dict[tuple[int, int], NearPair] = {}
    for pair in map_ordered(judged, sorted(likely), threads=threads, ahead=64 * threads):
        if pair is not None:
            found.setdefault((pair.first, pair.second), pair)
    return list(found.values())
