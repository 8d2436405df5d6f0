"""Which photographs belong together: duplicates, one lesion, one patient. A split never separates them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dermsentry.collection.table import PUBLISHED_LESION
from dermsentry.diagnoses import agree, find_label

Kind = Literal["identical", "near"]


@dataclass(frozen=True)
class DuplicateGroup:
    """Files that show the same: `identical` (same pixels), or `near`; `photographs` are sorted paths.

    `near` ones are one photograph edited, or one lesion photographed again from the same view.
    `same_bytes` says whether the files are also equal byte for byte.
    """

    kind: Kind
    photographs: tuple[str, ...]
    same_bytes: bool = False


_ISIC = re.compile(r"ISIC_\d{7,}")
_COPIED = re.compile(
    # Augmentor names its copies `<class>_original_<file name>_<uuid>`, Roboflow `<name>_<suffix>.rf.<hash>`.
    r"^(?:.*?_original_(?P<augmentor>.+)\.(?:jpe?g|png|bmp|tiff?|webp)_[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|(?P<roboflow>.+)_(?:jpe?g|png|bmp|tiff?|webp)\.rf\.[0-9a-f]{16,})$",
    re.IGNORECASE,
)
# What people and libraries put before or after a name for what they did, with a number or without.
_DONE = (
    r"(?:aug(?:mented|mentation)?|albumentations?|transformed|mirror(?:ed)?"
    r"|(?:h|v|horizontal[_-]?|vertical[_-]?)?flip(?:ped)?(?:[_-](?:h|v|lr|ud))?|rot(?:ated?|ation)?|crop(?:ped)?"
    r"|zoom(?:ed)?|shear(?:ed)?|shift(?:ed)?|scaled?|bright(?:ness|er|ened)?|contrast|gamma|hue|clahe"
    r"|blur(?:red)?|nois[ey]|jitter(?:ed)?|distort(?:ed|ion)?|elastic|cutout)(?:[ _-]?\d{1,4})?"
)
_MARK = re.compile(rf"^{_DONE}[ _-]+(?=.)|(?<=.)[ _-]+{_DONE}$", re.IGNORECASE)
# What a second file of a name is called: it may as well be another photograph, unless the first is there too.
_AGAIN = re.compile(
    r"^copy of |(?<=.)(?: ?\(\d{1,3}\)|[ _-]+copy(?:[ _-]?\(?\d{1,3}\)?)?|_\d{1,4}_\d{1,7})$", re.IGNORECASE
)
# Names that only count: two folders may both have their `IMG_0001`, or their `melanoma_1`.
_COUNTER = re.compile(r"^(?P<word>\D*?)[ _-]*\(?\d{1,6}\)?$")
_CAMERA = {"", *["im", "img", "image", "dsc", "dscn", "dscf", "p", "pic", "picture", "photo", "scan", "file"]}


def original_id(image_id: str) -> str:
    """The image id that a file name refers to: the ISIC id in it, or the original that it is a copy of.

    A copy is known by its name as Augmentor or Roboflow writes it, or by a word for what was done, such as
    `_aug1`, `flip_` or `_rot90`.
    """
    isic: set[str] = set(_ISIC.findall(image_id))
    if len(isic) == 1:
        return isic.pop()
    copied = _COPIED.match(image_id)
    name = (copied["augmentor"] or copied["roboflow"]) if copied else image_id
    while (shorter := _MARK.sub("", name, count=1)) != name:
        name = shorter
    return name


def is_counter(image_id: str) -> bool:
    """Whether a name only counts (`12`, `IMG_0012`, `nevus 12`): in two folders it means nothing."""
    found = _COUNTER.match(image_id)
    word = None if found is None else found["word"]
    return word is not None and (word.casefold() in _CAMERA or find_label(word) is not None)


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
    originals = [original_id(image_id) for image_id in table["image_id"]]
    yield from _equal("" if is_counter(original) else original for original in originals)
    yield from _named_copies(table, originals)


def _named_copies(table: pd.DataFrame, originals: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs of a row and the original that its name speaks of, where only a file near it can be meant.

    That is where the original's name only counts, or where the copy may be just a further file of that name.
    The nearest is the one that shares most folders; its diagnosis must agree. Copies whose original is not
    there belong together in their folder.
    """
    folders = [PurePosixPath(path).parent.parts for path in table["path"]]
    labels = list(table["diagnosis"]) if "diagnosis" in table.columns else [""] * len(table)
    copies: dict[int, str] = {}
    alone: set[int] = set()
    for row, (image_id, original) in enumerate(zip(table["image_id"], originals, strict=True)):
        again = _AGAIN.sub("", original, count=1)
        name = again if again != original else original
        if name != image_id and (name != original or is_counter(original)):
            copies[row] = name.casefold()
            if name == original:
                alone.add(row)
    # By name, each folder above, and label: the nearest are found without a look at every file of a name.
    asked = set(copies.values())
    below: dict[tuple[str, tuple[str, ...]], dict[str, list[int]]] = {}
    for row, image_id in enumerate(table["image_id"]):
        name = image_id.casefold()
        for depth in range(len(folders[row]) + 1) if name in asked else ():
            below.setdefault((name, folders[row][:depth]), {}).setdefault(labels[row], []).append(row)
    joined: set[tuple[str, tuple[str, ...], str]] = set()
    orphans = []
    for row, name in copies.items():
        for depth in range(len(folders[row]), -1, -1):
            place = name, folders[row][:depth]
            near = {
                label: own
                for label, own in below.get(place, {}).items()
                if own != [row] and agree(labels[row], label)
            }
            for label, own in near.items():
                yield row, own[0]
                if (*place, label) not in joined:  # said once, all of them are of one photograph
                    joined.add((*place, label))
                    yield from pairwise(own)
            if near:
                break
        else:
            if row in alone:
                orphans.append((row, f"{'/'.join(folders[row])}/{originals[row]}"))
    yield from ((orphans[i][0], orphans[j][0]) for i, j in _equal(key for _, key in orphans))


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
    """A key of each row's lesion, unique over all sources, that ends in its id; `""` where it is unknown.

    A lesion that the collection and the published tables call differently is one, by its published name.
    """
    own = _per_source(table, "lesion_id")
    if PUBLISHED_LESION not in table.columns:
        return own
    published = list(table[PUBLISHED_LESION])
    for rows in components(len(own), [*_equal(own), *_equal(published)]):
        named = min((published[i] for i in rows if published[i]), default="")
        for i in rows if named else ():
            own[i] = f"\0{named}"
    return own


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
