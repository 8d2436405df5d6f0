"""Things joined two by two into components."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Joined(Generic[Key]):
    """Components of joined items (union-find)."""

    def __init__(self, items: Iterable[Key]) -> None:
        self._parent = {item: item for item in items}

    def find(self, item: Key) -> Key:
        """The one item that stands for `item`'s component."""
        root = item
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[item] != root:
            self._parent[item], item = root, self._parent[item]
        return root

    def join(self, first: Key, second: Key) -> None:
        """Put two items, and all that is joined to them, into one component."""
        self._parent[self.find(second)] = self.find(first)

    def components(self) -> list[list[Key]]:
        """All components, each in the order the items were given."""
        found: dict[Key, list[Key]] = {}
        for item in self._parent:
            found.setdefault(self.find(item), []).append(item)
        return list(found.values())
