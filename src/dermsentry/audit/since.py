"""What is new in a collection, and what was newly found in it, since an earlier audit."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dermsentry.audit.kept import Key
from dermsentry.audit.workplace import link_files
from dermsentry.errors import InputError
from dermsentry.files import read_json, write_bytes

INDEX = "index"
"""The folder, in that of an audit, of what it keeps."""
_AUDITED = "audited.json.gz"
FINDINGS = ("conflicts", "leaks", "shared_lesions", "duplicates", "doubtful")
"""What has groups of photographs, of which some may be new."""
CORRUPTING = FINDINGS[:3]

Groups = Mapping[str, Sequence[tuple[str, ...]]]
"""By what they are, the paths of each group."""


@dataclass(frozen=True)
class Since:
    """What is new since an earlier audit.

    Attributes
    ----------
    audit
        The earlier audit's folder.
    images
        How many photographs it audited.
    new, changed, gone
        Paths of photographs that it did not know, that have another size or time of change, and that are not
        in the collection any more.
    groups
        Of each of `FINDINGS` the groups that the earlier audit does not have: with a photograph more, or
        entirely new.
    settled
        Of each, how many groups of the earlier audit are none any more as they were.
    """

    audit: str
    images: int
    new: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    groups: dict[str, tuple[tuple[str, ...], ...]]
    settled: dict[str, int]


@dataclass(frozen=True)
class EarlierAudit:
    """An audit's folder, what it audited, and the groups that it found."""

    folder: Path
    keys: dict[str, tuple[int, int]]
    groups: dict[str, set[tuple[str, ...]]]

    def lend(self, index: Path) -> None:
        """Have its survey, judgements and search in another audit's folder too. Raises OutputError."""
        link_files(self.folder / INDEX, index)

    def news(self, keys: Sequence[Key], groups: Groups) -> Since:
        """What is new in a collection of these photographs, in which these groups were found."""
        now = {name: stamp for name, *stamp in keys}
        return Since(
            audit=str(self.folder),
            images=len(self.keys),
            new=tuple(name for name in now if name not in self.keys),
            changed=tuple(n for n, stamp in now.items() if n in self.keys and self.keys[n] != tuple(stamp)),
            gone=tuple(name for name in self.keys if name not in now),
            groups={
                what: tuple(own for own in found if tuple(sorted(own)) not in self.groups[what])
                for what, found in groups.items()
            },
            settled={
                what: len(self.groups[what] - {tuple(sorted(own)) for own in found})
                for what, found in groups.items()
            },
        )


def read_earlier(folder: Path) -> EarlierAudit:
    """An earlier audit from its folder.

    Raises
    ------
    InputError
        It is no folder of a finished audit.
    """
    there = read_json(folder / "audit.json")
    try:
        known = json.loads(gzip.decompress((folder / INDEX / _AUDITED).read_bytes()))
        keys = {name: (int(size), int(changed)) for name, size, changed in known}
        groups = {what: {_paths(group) for group in there[what]} for what in FINDINGS}
    except (OSError, ValueError, TypeError, KeyError, EOFError) as error:
        raise InputError(
            f"{folder} has no {INDEX}/{_AUDITED} that says what was audited ({error}); expected the folder "
            "that an audit wrote with --out."
        ) from error
    return EarlierAudit(folder, keys, groups)


def _paths(group: Mapping[str, Any]) -> tuple[str, ...]:
    listed = group["photographs"]
    return tuple(sorted(own if isinstance(own, str) else own["path"] for own in listed))


def write_audited(index: Path, keys: Sequence[Key]) -> None:
    """Keep which photographs were audited, for a later audit. Raises OutputError."""
    write_bytes(index / _AUDITED, gzip.compress(json.dumps(keys).encode(), mtime=0))
