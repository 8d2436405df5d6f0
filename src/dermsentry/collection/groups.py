"""Which photographs belong together: copies, one lesion, one patient. A split may never part them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from dermsentry.collection.components import Joined

Kind = Literal["identical", "near"]


@dataclass(frozen=True)
class DuplicateGroup:
    """Photographs that are one: `kind` is `identical` (same pixels) or `near`; `photographs` sorted paths.

    `same_bytes` tells whether the files, too, are equal byte for byte.
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
# What a camera or a person counts with: two folders may both have their `IMG_0001`.
_COUNTER = re.compile(r"^(?:im|img|image|dsc[nf]?|p|pic|picture|photo|scan|file)?[ _-]?\(?\d{1,6}\)?$", re.I)


def original_id(image_id: str) -> str:
    """The photograph a file name speaks of: the ISIC id in it, or the original that Augmentor copied."""
    isic: set[str] = set(_ISIC.findall(image_id))
    if len(isic) == 1:
        return isic.pop()
    copy = _AUGMENTOR.match(image_id)
    return str(copy["id"]) if copy else image_id


def is_counter(image_id: str) -> bool:
    """Whether a name only counts (`12`, `IMG_0012`): the same one in two folders says nothing."""
    return bool(_COUNTER.match(image_id))


def join_photographs(table: pd.DataFrame, duplicates: Sequence[DuplicateGroup]) -> Joined[str]:
    """The paths of `table`, copies joined: identical, near-identical, or under one image id."""
    joined = Joined(table["path"])
    known = set(table["path"])
    for group in duplicates:
        paths = [path for path in group.photographs if path in known]
        for path in paths[1:]:
            joined.join(paths[0], path)
    ids = ["" if is_counter(image_id) else original_id(image_id) for image_id in table["image_id"]]
    _join_equal(joined, table["path"], ids)
    return joined


def _join_equal(joined: Joined[str], paths: Iterable[str], keys: Iterable[str]) -> None:
    first: dict[str, str] = {}
    for path, key in zip(paths, keys, strict=True):
        if key:
            joined.join(first.setdefault(key, path), path)


def _per_source(table: pd.DataFrame, column: str) -> list[str]:
    """Lesion and patient ids are only unique within their source."""
    return [
        f"{source}\0{value}" if value else ""
        for source, value in zip(table["source"], table[column], strict=True)
    ]


def lesion_keys(table: pd.DataFrame) -> list[str]:
    """What tells each row's lesion from every other, `""` where it is unknown; it ends in the lesion's id."""
    return _per_source(table, "lesion_id")


def patient_keys(table: pd.DataFrame) -> list[str]:
    """What tells each row's patient from every other, `""` where unknown; it ends in the patient's id."""
    return _per_source(table, "patient_id")


def connected_groups(table: pd.DataFrame, duplicates: Sequence[DuplicateGroup]) -> list[str]:
    """The group of each row of a collection's table; what shares a group must stay on one side of a split.

    Two photographs are connected if they are copies (`duplicates`), have the same image id (unless the id
    is a mere counter such as `IMG_0012`), show the same lesion or the same patient; connections chain.
    A group is named after the smallest image id in it, whatever the order of the rows; where two groups
    would share a name (counters again), after its smallest path.
    """
    joined = join_photographs(table, duplicates)
    _join_equal(joined, table["path"], lesion_keys(table))
    _join_equal(joined, table["path"], patient_keys(table))
    ids = dict(zip(table["path"], table["image_id"], strict=True))
    members = joined.components()
    smallest = [min(original_id(ids[path]) for path in paths) for paths in members]
    taken = pd.Series(smallest, dtype=object).duplicated(keep=False)
    names = {
        joined.find(paths[0]): min(paths) if twice else name
        for paths, name, twice in zip(members, smallest, taken, strict=True)
    }
    return [names[joined.find(path)] for path in table["path"]]
