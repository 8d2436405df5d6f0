"""Reads photographs in partitions, and keeps each whole or not at all, for whatever looks at them once."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dermsentry.audit.kept import Kept, Key, Layout, key_of, partition_numbers, partition_path
from dermsentry.audit.workplace import Advance, Doing, Workplace, nobody
from dermsentry.collection import Collection
from dermsentry.images import Unreadable
from dermsentry.parallel import map_ordered

if TYPE_CHECKING:
    from dermsentry.audit.guarded_reading import GuardedReaders

PARTITION = 500
"""Photographs in a partition: what is read again, at most, of what a thread or an actor had in hand."""

Seen = TypeVar("Seen")


class Reader(ABC, Generic[Seen]):
    """Reads one partition of photographs after another.

    Parameters
    ----------
    folder
        Of the partitions.
    root
        The collection's.
    threads
        How many photographs are read at the same time.
    guarded
        Whether each is read in a process of its own, one of `readers`.
    """

    def __init__(self, folder: Path, root: Path, threads: int, guarded: bool) -> None:
        self._folder, self.root, self._threads = folder, root, threads
        self.readers: GuardedReaders | None = None
        if guarded:
            from dermsentry.audit.guarded_reading import GuardedReaders

            self.readers = GuardedReaders(threads)

    @abstractmethod
    def look_at(self, path: Path) -> Seen:
        """Read one photograph. Raises Unreadable."""

    @abstractmethod
    def write(self, path: Path, found: Sequence[tuple[Key, Seen]]) -> None:
        """Keep a partition. Raises OutputError."""

    def __call__(self, task: tuple[int, list[Key]], advance: Advance = nobody) -> dict[str, str]:
        """Read a partition: path to reason of each photograph that cannot be read."""
        number, keys = task
        found: list[tuple[Key, Seen]] = []
        unreadable: dict[str, str] = {}
        reading = map_ordered(self._read, keys, threads=self._threads, ahead=16 * self._threads)
        for key, seen in zip(keys, reading, strict=True):
            advance(1)
            if isinstance(seen, Unreadable):
                unreadable[key[0]] = seen.reason
            else:
                found.append((key, seen))
        if found:
            self.write(partition_path(self._folder, number), found)
        return unreadable

    def close(self) -> None:
        """End the processes that read."""
        if self.readers is not None:
            self.readers.close()

    def _read(self, key: Key) -> Seen | Unreadable:
        try:
            return self.look_at(self.root / key[0])
        except Unreadable as unreadable:
            return unreadable


def worth_guarding(count: int) -> bool:
    """Whether so many photographs are read in processes of their own, whose limits are Linux's.

    A process takes as long to begin as a hundred photographs take to be read.
    """
    return sys.platform == "linux" and count > PARTITION


def keys_of(collection: Collection) -> list[Key]:
    """The keys of all photographs of a collection, in its order."""
    return [key_of(name, path) for name, path in zip(collection.table["path"], collection.paths, strict=True)]


def read_fresh(
    what: str,
    begin: Callable[..., Doing[Any, Any]],
    arguments: Sequence[Any],
    keys: Sequence[Key],
    keeping: tuple[Path, Layout, Sequence[str]],
    collection: Collection,
    place: Workplace,
) -> tuple[Kept, dict[str, str]]:
    """Read the photographs that are not kept, or have changed since.

    Parameters
    ----------
    what
        One or two words for the progress.
    begin, arguments
        A `Reader`, and what it takes besides its own parameters.
    keys
        Of the photographs.
    keeping
        The folder of the partitions, their layout, and the fields that are wanted of it.
    collection, place
        What is read, and where.

    Returns
    -------
    Kept, dict
        What is kept now, and path to reason of each photograph that could not be read.

    Raises
    ------
    InputError
        A partition is damaged.
    OutputError
        A partition cannot be written, or the cluster failed.
    """
    folder = keeping[0]
    kept = Kept(*keeping)
    fresh = [key for key in keys if kept.find(key) is None]
    first = max(partition_numbers(folder), default=0) + 1
    size = PARTITION
    if place.engine == "ray":  # where few are read, the actors share them
        size = max(1, min(PARTITION, -(-len(fresh) // (4 * (place.threads or 4)))))
    parts = [fresh[start : start + size] for start in range(0, len(fresh), size)]
    guarded = place.engine == "ray" or worth_guarding(len(fresh))
    given = (folder, collection.root.absolute(), place.here, guarded, *arguments)
    unreadable: dict[str, str] = {}
    sizes, done = [len(part) for part in parts], len(keys) - len(fresh)
    for found in place.each(what, begin, given, list(enumerate(parts, first)), sizes, done):
        unreadable |= found
    if parts:
        kept = Kept(*keeping)
    kept.remove_superseded()
    return kept, unreadable
