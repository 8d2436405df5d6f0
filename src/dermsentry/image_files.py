"""Which files below a folder are photographs, by content or by name, and which are passed over, and why."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dermsentry.errors import InputError
from dermsentry.image_formats import FORMATS, format_of_file, format_of_name, is_raw

HIDDEN = "hidden: the name of the file, or of a folder above it, begins with a dot or is a system's own"
LINK = "a link to a folder elsewhere, which is not followed: name that folder too, or a copy made by cp -RL"

SYSTEM_FOLDERS = {"__macosx", "@eadir", "$recycle.bin", "system volume information"}
SYSTEM_FILES = {"thumbs.db", "desktop.ini", "dicomdir"}


@dataclass(frozen=True)
class NotRead:
    """A photograph, or what may hold some, that was not read, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Folder:
    """What one folder holds, in order of name.

    `photographs` are files that are one by content or by name, `unsupported` those of a kind that is not
    read, such as GIF or DICOM, `others` the rest. `not_read` are paths below the folder that was searched.
    """

    path: Path
    photographs: list[str]
    unsupported: list[str]
    others: list[str]
    not_read: list[NotRead]


def walk(root: Path, *, leave_out: Path | None = None) -> Iterator[Folder]:
    """Search a folder to the bottom; a folder before the ones in it, these in order of name.

    Links to folders are not followed, and hidden files and folders are not read; the photographs among them
    are in `not_read`, unless a link leads to a folder that is searched anyway.

    Parameters
    ----------
    root
        The folder.
    leave_out
        A folder below that is not searched.

    Raises
    ------
    InputError
        `root` cannot be read; a folder below that cannot is in `not_read`.
    """
    top, skipped = root.resolve(), leave_out.resolve() if leave_out is not None else None
    waiting = [root]
    while waiting:
        path = waiting.pop()
        folder = Folder(path, [], [], [], [])
        folders: set[str] = set()
        names: list[str] = []  # and no entries: a folder may hold a million
        try:
            with os.scandir(path) as scanned:
                for entry in scanned:
                    names.append(entry.name)
                    if _leads_to_folder(entry):
                        folders.add(entry.name)
        except OSError as error:
            if path == root:
                raise InputError(f"Cannot read {error.filename}: {error.strerror}.") from error
            folder.not_read.append(_passed(root, path, f"a folder that cannot be read ({error.strerror})"))
            names = []
        below = []
        names.sort()
        for name in names:
            place = path / name
            hidden = name.startswith(".") or name.lower() in SYSTEM_FOLDERS
            if name not in folders:
                if not hidden:
                    _sort_file(place, name, folder)
                elif format_of_file(place) is not None:
                    folder.not_read.append(_passed(root, place, HIDDEN))
            elif place.is_symlink():
                if not hidden and not place.resolve().is_relative_to(top):
                    folder.not_read.append(_passed(root, place, LINK))
            elif hidden:
                folder.not_read.extend(_passed(root, file, HIDDEN) for file in _hidden_photographs(place))
            elif skipped is None or place.resolve() != skipped:
                below.append(place)
        waiting += reversed(below)
        del names
        yield folder


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _hidden_photographs(folder: Path) -> Iterator[Path]:
    """Photographs in a hidden folder, known by name and content: it may hold other files without end."""
    for name, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            if format_of_name(file) is not None and format_of_file(Path(name) / file) is not None:
                yield Path(name) / file


def _sort_file(place: Path, name: str, folder: Folder) -> None:
    """Put a file where it belongs in `folder`."""
    if name.lower() in SYSTEM_FILES:
        return
    named = format_of_name(name)
    if named == "":
        folder.photographs.append(name)
        return
    kind = format_of_file(place)
    if kind in FORMATS and not is_raw(name, kind):
        folder.photographs.append(name)
    elif kind is not None or named is not None:
        folder.unsupported.append(name)
    else:
        folder.others.append(name)


def _passed(root: Path, path: Path, reason: str) -> NotRead:
    return NotRead(path.relative_to(root).as_posix(), reason)


def by_reason(not_read: Iterable[NotRead]) -> list[str]:
    """A line for each reason: how many, the first of them, and the reason."""
    first: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for one in not_read:
        first.setdefault(one.reason, one.path)
        counts[one.reason] += 1
    return [
        f"{first[reason]}: {reason}" if count == 1 else f"{count:,} files, such as {first[reason]}: {reason}"
        for reason, count in counts.items()
    ]
