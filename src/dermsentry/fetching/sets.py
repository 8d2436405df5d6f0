"""The sets that can be fetched: a collection of the ISIC Archive, or photographs by id in their folders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dermsentry.csv_tables import read_table
from dermsentry.errors import InputError

COLLECTIONS = {"ham10000": 212, "isic2019": 65}
"""Sets that are a collection of the archive, whose page is `https://api.isic-archive.com/collections/ID/`."""
ISIC9 = Path(__file__).with_name("isic9.csv")
"""The folders of the nine-class set and the names of the files in each, without suffix: no photographs."""

_ID = re.compile(r"ISIC_\d{7}")


@dataclass(frozen=True)
class Wanted:
    """A set to fetch.

    `places` says for each ISIC id which files it is written to, without suffix, relative to the folder; it is
    empty for a collection, whose photographs are written side by side.
    """

    name: str
    collection: int | None = None
    places: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def wanted(what: str | int) -> Wanted:
    """The set of a name, or the collection of a number. Raises InputError for any other."""
    if isinstance(what, int):
        if what < 1:
            raise InputError(f"Received collection {what}; expected the number of a collection, such as 212.")
        return Wanted(f"collection {what}", what)
    if what == "isic9":
        return Wanted(what, places=_isic9())
    if what not in COLLECTIONS:
        known = ", ".join(("isic9", *COLLECTIONS))
        raise InputError(f"Received the set {what!r}; expected {known} or the number of a collection.")
    return Wanted(what, COLLECTIONS[what])


def _isic9() -> dict[str, tuple[str, ...]]:
    table = read_table(ISIC9)
    places: dict[str, tuple[str, ...]] = {}
    for folder, names in zip(table["folder"], table["names"], strict=True):
        for name in names.split():
            found = _ID.match(name)  # some are copies, such as `ISIC_0025509(1)`
            assert found
            places[found[0]] = (*places.get(found[0], ()), f"{folder}/{name}")
    return places
