"""Where the photographs of a table are that was written elsewhere: another folder, another machine."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from dermsentry.image_files import walk


@dataclass(frozen=True)
class Found:
    """The file of each path of a table, and what is to be said of them: found elsewhere, not found."""

    paths: list[Path]
    missing: list[str]
    told: tuple[str, ...]


def find_files(folder: Path, paths: Sequence[str]) -> Found:
    """Find the files that a table names: as written, or else by the end of the path.

    A path that leads nowhere is compared, without capitals and suffix and with either slash, with the
    photographs below `folder`: it is the one whose whole path below `folder` the given one ends with. Where
    that leaves none or several, the path is kept, and is missing.

    Parameters
    ----------
    folder
        The table's; paths are relative to it, or absolute.
    paths
        As the table has them.
    """
    top = normal(folder.absolute())
    files = [normal(top / path) for path in paths]
    lost = [place for place, file in enumerate(files) if not os.path.lexists(file)]
    below = _by_stem(top) if lost else {}
    missing, moved = [], []
    for place in lost:
        given = _parts(paths[place])
        found = _ending(given, below)
        files[place] = top.joinpath(*(found or given))
        if found:
            moved.append(f"{paths[place]} as {'/'.join(found)}")
        else:
            missing.append(paths[place])
    told = []
    if moved:
        told.append(f"{len(moved):,} of {len(paths):,} paths were found by their end, such as {moved[0]}")
    if missing:
        told.append(f"{len(missing):,} of {len(paths):,} paths lead to no file, such as {missing[0]}")
    return Found(files, missing, tuple(told))


def normal(path: Path) -> Path:
    """A path without `.` and `..`; links are not followed, they are checked when a photograph is opened."""
    # POSIX gives two leading slashes a meaning of their own, which no file system here has.
    return Path(re.sub("^//", "/", os.path.normpath(path)))


def _parts(path: str) -> tuple[str, ...]:
    """Folders and name of a path of any system, without drive, server or root."""
    windows = PureWindowsPath(path)
    pure = windows if "\\" in path or windows.drive else PurePosixPath(path)
    parts: list[str] = []
    for part in pure.parts[1 if pure.anchor else 0 :]:
        if part != "..":
            parts.append(part)
        elif parts:
            parts.pop()
    return tuple(parts)


def _by_stem(top: Path) -> dict[str, list[tuple[str, ...]]]:
    """The paths of all photographs below a folder, by their stem without capitals."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for folder in walk(top):
        inside = folder.path.relative_to(top).parts
        for name in (*folder.photographs, *folder.unsupported):
            found.setdefault(PurePosixPath(name).stem.casefold(), []).append((*inside, name))
    return found


def _ending(given: tuple[str, ...], below: dict[str, list[tuple[str, ...]]]) -> tuple[str, ...]:
    """The one path below that `given` ends with, the longest, by its own suffix; `()` for none or several."""
    if not given:
        return ()
    own = [part.casefold() for part in given]
    name = PurePosixPath(own[-1])
    stems = {name.stem, name.name}  # without a suffix, what follows a dot is part of the name
    fitting = []
    for path in (path for stem in stems for path in below.get(stem, ())):
        folders = [part.casefold() for part in path[:-1]]
        if not folders or own[:-1][-len(folders) :] == folders:
            fitting.append((len(folders), path[-1].casefold() == name.name, path))
    best = max((one[:2] for one in fitting), default=None)
    chosen = [path for *rank, path in fitting if tuple(rank) == best]
    return chosen[0] if len(chosen) == 1 else ()
