"""A folder that photographs are taken from: whatever can save a file can send one.

`FILE`, `PATIENT/FILE` or `PATIENT/LESION/FILE`: a folder's name is the reference. What was taken is moved to
`done/`; what cannot be used to `failed/`, with a file beside it that says why. A photograph is kept before it
is moved, and the same file is one case however often it is looked at, so that a stop at any moment loses
nothing and doubles nothing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import secrets
import signal
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.intake.admission import MAX_BYTES, TOO_LARGE, About, receive
from dermsentry.clinic.store.database import DatabaseError
from dermsentry.clinic.waiting import wait_for
from dermsentry.errors import InputError, OutputError
from dermsentry.files import write_text

DONE, FAILED = "done", "failed"
REASON = ".reason.txt"
SETTLED_S = 5.0
"""A file that nothing was added to for so long is whole, unless somebody still has it open to write."""
PAUSE_S = 1.0
AFTER_FAULT_S = 5.0
STUCK_S = 600.0
"""How long a file that can be neither read nor moved is left alone."""
UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".filepart", "~")
"""How programs name a file that they are still writing."""
LONGEST_NAME = 255
"""Bytes that a file system takes."""
ACTOR = "watched folder"

log = logging.getLogger(__name__)

_Look = tuple[int, int, int]


@dataclass(frozen=True)
class Watched:
    """A watched folder, since when each file in it has looked as it does, and until when which are left."""

    folder: Path
    since: dict[Path, tuple[_Look, float]] = field(default_factory=dict)
    stuck: dict[Path, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Taken:
    """What one look at the folder did: how many files became cases, or were moved to `failed/`."""

    done: int
    failed: int


def open_folder(folder: Path) -> Watched:
    """A folder to watch, with `done` and `failed` in it.

    Raises
    ------
    InputError
        It cannot be made, read or written.
    """
    try:
        for each in (folder, folder / DONE, folder / FAILED):
            each.mkdir(parents=True, exist_ok=True)
            if not os.access(each, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be watched: {error.strerror or error}.") from error
    return Watched(folder)


def watch(clinic: Clinic, watched: Watched, stopped: Callable[[], bool]) -> None:
    """Take photographs until `stopped` says so; a database or a disk that is away is waited for."""
    while not stopped():
        pause = PAUSE_S
        try:
            take(clinic, watched, stopped)
        except (DatabaseError, OutputError) as error:
            log.error("%s The watched folder's files stay where they are.", error)
            pause = AFTER_FAULT_S
        except OSError as error:
            log.error("The folder %s cannot be read: %s.", watched.folder, error.strerror or error)
            pause = AFTER_FAULT_S
        wait_for(pause, stopped)


def take(
    clinic: Clinic,
    watched: Watched,
    stopped: Callable[[], bool] = lambda: False,
    *,
    settled_s: float = SETTLED_S,
) -> Taken:
    """Look at the folder once, and take what is whole; `stopped` is asked at every file, and ends it.

    Raises
    ------
    DatabaseError, OutputError
        Nothing can be kept now; the files stay, to be taken later.
    OSError
        The folder cannot be read.
    """
    done = failed = 0
    there = {}
    for path, look in _files(watched.folder):
        if stopped():
            return Taken(0, 0)
        there[path] = look
    for gone in set(watched.since) - set(there):
        del watched.since[gone]
        watched.stuck.pop(gone, None)
    for path, look in sorted(there.items()):
        if stopped():
            break
        if time.monotonic() < watched.stuck.get(path, 0.0) or not _settled(watched, path, look, settled_s):
            continue
        try:
            data = _read(path)
            about = _about(watched.folder, path)
            received = receive(clinic, data, about, source="folder", actor=ACTOR)
        except _StillWritten:
            continue
        except FileNotFoundError:
            continue  # taken back by whoever put it there
        except OSError as error:
            _leave(watched, path, f"it cannot be read ({error.strerror or error})")
        except InputError as error:
            failed += _move(watched, path, FAILED, str(error))
        else:
            if received.held is not None:
                words = received.held.words(received.case_id)
                failed += _move(watched, path, FAILED, words, f"held with case {received.case_id}")
            else:
                done += _move(watched, path, DONE)
    return Taken(done, failed)


class _StillWritten(Exception):
    """Somebody has the file open to write."""


def _files(folder: Path) -> Iterator[tuple[Path, _Look]]:
    """Every file below, with its size, its time and its number, so that a change is seen."""
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            entries = list(os.scandir(here))
        except OSError as error:
            if here == folder:
                raise
            if not isinstance(error, FileNotFoundError):  # its name may be a patient's
                log.error("A folder in %s cannot be read: %s.", folder, error.strerror or error)
            continue
        for entry in entries:
            path = Path(entry.path)
            if entry.name.startswith(".") or entry.name.lower().endswith(UNFINISHED):
                continue
            if entry.is_dir(follow_symlinks=False):
                if here != folder or entry.name not in (DONE, FAILED):
                    waiting.append(path)
                continue
            with contextlib.suppress(FileNotFoundError):
                found = entry.stat(follow_symlinks=False)
                yield path, (found.st_size, found.st_mtime_ns, found.st_ino)


def _settled(watched: Watched, path: Path, look: _Look, settled_s: float) -> bool:
    before = watched.since.get(path)
    if before is None or before[0] != look:
        watched.since[path] = (look, time.monotonic())
        return settled_s <= 0
    return time.monotonic() - before[1] >= settled_s


def _read(path: Path) -> bytes:
    """A file, whole. Raises InputError where it is at fault, OSError where the disk is, and _StillWritten."""
    try:
        # Neither through a link nor, for ever, from a pipe.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except PermissionError:
        raise InputError("The file cannot be read: this program has no right to.") from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise InputError("A link or a socket, not a file: put the photograph itself here.") from None
        raise
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise InputError("A device or a pipe, not a file.")
        if found.st_size > MAX_BYTES:
            raise InputError(TOO_LARGE)
        if _written_by_somebody(handle):
            raise _StillWritten
        return file.read(MAX_BYTES + 1)


def _written_by_somebody(handle: int) -> bool:
    """Whether a file is open to write anywhere on this machine: then Linux grants no lease on it."""
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        # Whoever opens the file meanwhile has this process told; unless changed, by a signal that ends it.
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN  # not: a file of somebody else's, a disk that knows no leases
    return False


def _about(folder: Path, path: Path) -> About:
    """What the folders' names tell. Raises InputError where there are too many."""
    above = path.relative_to(folder).parts[:-1]
    if len(above) > 2:
        raise InputError(
            f"The file is {len(above)} folders deep; expected FILE, PATIENT/FILE or PATIENT/LESION/FILE."
        )
    patient, lesion = (*above, "", "")[:2]
    return About(patient=patient, lesion=lesion, file_name=path.name)


def _move(watched: Watched, path: Path, where: str, reason: str = "", logged: str = "") -> int:
    """Move a file away, under a name that is free, its reason written first; 1, or 0 where it is stuck.

    `logged`: of a reason that names a patient, what the log says in its place.
    """
    place = watched.folder / where
    try:
        try:
            _rename(path, _free(place / path.relative_to(watched.folder)), reason)
        except (FileExistsError, NotADirectoryError):  # a file there has the name of a folder here
            _rename(path, place / f"{secrets.token_hex(8)}{path.suffix[:20]}", reason)
    except FileNotFoundError:
        return 0
    except (OSError, OutputError) as error:
        words = error.strerror if isinstance(error, OSError) else error
        _leave(watched, path, f"it cannot be moved to {where} ({words})")
        return 0
    watched.since.pop(path, None)
    watched.stuck.pop(path, None)
    if reason:
        log.warning("A file was moved to %s: %s", watched.folder / FAILED, logged or reason)
    return 1


def _free(target: Path) -> Path:
    stem, number = target.stem, 1
    while os.path.lexists(target):
        number += 1
        end = f".{number}{target.suffix}"
        short = os.fsencode(stem)[: LONGEST_NAME - len(os.fsencode(end))]
        target = target.with_name(os.fsdecode(short) + end)
    return target


def _rename(path: Path, target: Path, reason: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if reason:
        short = os.fsdecode(os.fsencode(target.name)[:180])
        write_text(target.with_name(short + REASON), reason + "\n")
    path.rename(target)


def _leave(watched: Watched, path: Path, why: str) -> None:
    # Its name and its folder's may be a patient's, and are kept out of the log.
    watched.stuck[path] = time.monotonic() + STUCK_S
    log.error("A file stays in %s: %s.", watched.folder, why)
