"""Which photographs belong together: duplicates, one lesion, one patient. A split never separates them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Kind = Literal["identical", "near"]


@dataclass(frozen=True)
class DuplicateGroup:
    """Files that are one photograph: `identical` (same pixels) or `near`; `photographs` are sorted paths.

    `same_bytes` says whether the files are also equal byte for byte.
    """

    kind: Kind
    photographs: tuple[str, ...]
    same_bytes: bool = False


_ISIC = re.compile(r"ISIC_\d{7,}")
# Augmentor names its copies `<class>_original_<file name>_<uuid>`.
_AUGMENTOR = re.compile(
    r"^.*_original_(?P<id>.+)\.(?:jpe?g|png|bmp|tiff?|webp)_[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
    re.I,
)
# Names that only count: two folders may both have their `IMG_0001`.
_COUNTER = re.compile(r"^(?:im|img|image|dsc[nf]?|p|pic|picture|photo|scan|file)?[ _-]?\(?\d{1,6}\)?$", re.I)


def original_id(image_id: str) -> str:
    """The image id that a file name refers to: the ISIC id in it, or the original that Augmentor copied."""
    isic: set[str] = set(_ISIC.findall(image_id))
    if len(isic) == 1:
        return isic.pop()
    copy = _AUGMENTOR.match(image_id)
    return str(copy["id"]) if copy else image_id


def is_counter(image_id: str) -> bool:
    """Whether a name only counts (`12`, `IMG_0012`), so that the same one in two folders means nothing."""
    return bool(_COUNTER.match(image_id))


def components(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """What `pairs` of the positions 0 to `count` - 1 connect; each in order, by their first positions."""
    if not count:
        return []
    first, second = np.array(list(pairs), dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(count, count))
    found: dict[int, list[int]] = {}
    for position, label in enumerate(connected_components(graph, directed=False)[1].tolist()):
        found.setdefault(label, []).append(position)
    return list(found.values())


def same_photographs(table: pd.DataFrame, duplicates: Sequence[DuplicateGroup]) -> list[list[str]]:
    """The paths of each photograph of `table`: identical, near-identical, or under one image id."""
    paths = list(table["path"])
    return [[paths[i] for i in members] for members in components(len(paths), _copies(table, duplicates))]


def _copies(table: pd.DataFrame, duplicates: Sequence[DuplicateGroup]) -> Iterator[tuple[int, int]]:
    """Pairs of rows that are one photograph."""
    row = {path: i for i, path in enumerate(table["path"])}
    for group in duplicates:
        known = [row[path] for path in group.photographs if path in row]
        yield from pairwise(known)
    yield from _equal("" if is_counter(image_id) else original_id(image_id) for image_id in table["image_id"])


def _equal(keys: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Pairs of positions with the same key, `""` being none."""
    first: dict[str, int] = {}
    for i, key in enumerate(keys):
        if key:
            yield first.setdefault(key, i), i


def _per_source(table: pd.DataFrame, column: str) -> list[str]:
    """Lesion and patient ids are only unique within their source."""
    return [
        f"{source}\0{value}" if value else ""
        for source, value in zip(table["source"], table[column], strict=True)
    ]


def lesion_keys(table: pd.DataFrame) -> list[str]:
    """A key of each row's lesion, unique over all sources, that ends in its id; `""` where it is unknown."""
    return _per_source(table, "lesion_id")


def patient_keys(table: pd.DataFrame) -> list[str]:
    """A key of each row's patient, unique over all sources, that ends in its id; `""` where it is unknown."""
    return _per_source(table, "patient_id")


def connected_groups(table: pd.DataFrame, duplicates: Sequence[DuplicateGroup]) -> list[str]:
    """The group of each row of a collection's table; what shares a group must stay in one part of a split.

    Two photographs are connected if they are duplicates, have the same image id (unless that only counts,
    such as `IMG_0012`), or show the same lesion or the same patient; connections chain. A group is named
    after the smallest image id in it, in any order of the rows; where two groups would share a name
    (counters again), after its smallest path.
    """
    paths, ids = list(table["path"]), list(table["image_id"])
    pairs = [*_copies(table, duplicates), *_equal(lesion_keys(table)), *_equal(patient_keys(table))]
    members = components(len(paths), pairs)
    smallest = [min(original_id(ids[i]) for i in rows) for rows in members]
    shared = {name for name, count in Counter(smallest).items() if count > 1}
    names = [""] * len(paths)
    for rows, name in zip(members, smallest, strict=True):
        own = min(paths[i] for i in rows) if name in shared else name
        for i in rows:
            names[i] = own
    return names
