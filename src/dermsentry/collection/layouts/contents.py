"""What a folder holds, looked at once for all layouts, and what a layout says of itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import pandas as pd

from dermsentry.collection.columns import own_names, read_columns
from dermsentry.collection.labels import Vocabulary
from dermsentry.collection.table import Collection
from dermsentry.csv_tables import column_names
from dermsentry.errors import InputError
from dermsentry.image_files import Folder, NotRead, walk

_SPLIT = {"path", "group", "part"}
"""Columns of a `split.csv`, which is not a table of labels."""
_TABLES = re.compile(r".+\.(csv|tab|tsv|txt|xlsx)", re.IGNORECASE)


@dataclass(frozen=True)
class About:
    """What the documentation says of a layout: `docs/layouts.md` is made of these.

    `gives` are the columns of a collection that it fills besides `path`, `image_id` and `diagnosis`.
    """

    name: str
    published: str
    licence: str
    recognised: str
    gives: tuple[str, ...] = ()
    remark: str = ""


@dataclass(frozen=True)
class Contents:
    """What is to be read: a folder, or a `table` that was given itself and the folder of its photographs.

    `vocabulary` says what names of diagnoses mean, `headings` which columns the user means by our names.
    """

    root: Path
    table: Path | None
    vocabulary: Vocabulary
    headings: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def folders(self) -> list[Folder]:
        """Each folder, with the names of its photographs and of its other files."""
        return list(walk(self.root))

    @cached_property
    def photographs(self) -> list[str]:
        """Paths of the photographs, relative to the root."""
        return self._below((folder.path, folder.photographs) for folder in self.folders)

    @cached_property
    def unsupported(self) -> list[str]:
        """Paths of the photographs of a kind that is not read, relative to the root."""
        return self._below((folder.path, folder.unsupported) for folder in self.folders)

    def _below(self, named: Iterable[tuple[Path, list[str]]]) -> list[str]:
        return [(place.relative_to(self.root) / name).as_posix() for place, names in named for name in names]

    @cached_property
    def not_read(self) -> list[NotRead]:
        """Hidden photographs, and links to folders elsewhere."""
        return [one for folder in self.folders for one in folder.not_read]

    @cached_property
    def others(self) -> list[Path]:
        """The other files, the least deep first."""
        found = [folder.path / name for folder in self.folders for name in folder.others]
        return sorted(found, key=lambda path: (len(path.parts), path))

    @cached_property
    def folder_names(self) -> list[str]:
        """The names of all folders, the root's first."""
        return [self.root.resolve().name, *(folder.path.name for folder in self.folders[1:])]

    def named(self, pattern: str) -> list[Path]:
        """The other files whose name is like `pattern` in any case; none where a table was given itself."""
        if self.table is not None:
            return []
        wanted = re.compile(pattern, re.IGNORECASE)
        return [path for path in self.others if wanted.fullmatch(path.name)]

    def columns(self, table: Path, special: dict[str, str] | None = None) -> set[str]:
        """The columns of what may be a table, under our names; none where it is no table."""
        if table not in self._columns:
            self._columns[table] = column_names(table)
        return set(own_names(self._columns[table], special, self.headings))

    def read(self, table: Path, *needed: str, special: dict[str, str] | None = None) -> pd.DataFrame:
        """A table under our names, see `read_columns`. Raises InputError."""
        return read_columns(self.used(table), *needed, special=special, headings=self.headings)

    def used(self, table: Path) -> Path:
        """The table, which the layout reads."""
        self._used.add(table)
        return table

    def passed_over(self) -> list[str]:
        """The tables by image id that the layout did not read, a line each."""
        tables = [path for path in self.tables_with("image_id") if path not in self._used]
        told = "a table by image id; only --metadata joins it"
        return [f"{path.relative_to(self.root)}: {told}" for path in tables]

    @cached_property
    def _used(self) -> set[Path]:
        return set()

    @cached_property
    def _columns(self) -> dict[Path, list[str]]:
        """The columns of the tables looked at so far: each layout asks for them."""
        return {}

    def tables_with(self, *columns: str) -> list[Path]:
        """The tables that have all of these columns, under our names, the least deep first; no splits."""
        tables = [path for path in self.others if _TABLES.fullmatch(path.name)] if self.table is None else []
        of = {path: self.columns(path) for path in tables}
        return [path for path in tables if set(columns) <= of[path] and not of[path] >= _SPLIT]

    def only(self, tables: Sequence[Path]) -> Path:
        """The one label table. Raises InputError where there are several."""
        if len(tables) > 1:
            raise InputError(
                f"{self.root} has several label tables: {listed(tables, self.root)}. Expected one; "
                "give one of them in place of the folder."
            )
        return tables[0]


class Layout(Protocol):
    """What a module of a layout has."""

    ABOUT: About

    def recognises(self, found: Contents) -> bool:
        """Whether what is there has this layout."""

    def read(self, found: Contents) -> Collection:
        """Read it. Raises InputError."""


def listed(paths: Sequence[Path], root: Path) -> str:
    """Some files in words, relative to a folder."""
    names = [path.relative_to(root).as_posix() for path in paths[:5]]
    return ", ".join(names) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
