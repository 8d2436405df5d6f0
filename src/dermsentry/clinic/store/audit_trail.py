"""The audit trail: who did what, when, in rows that are only ever added.

Each row holds a keyed hash (HMAC-SHA-256, RFC 2104) over itself and the row before: whoever changes, removes
or inserts one without the key breaks the chain there. Rows taken off the end are missed by the anchor, a
file beside the key that holds the last row's number and hash. It moves forward right after each commit
(`database.writing`), and only while the row that it remembers is still in the chain: what was taken off the
end stays missed, however many rows follow. What a crash kept from being anchored, the next commit anchors.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import bindparam, select, text
from sqlalchemy.orm import Session

from dermsentry.clinic import lengths
from dermsentry.clinic.store.events import TrailEvent
from dermsentry.clinic.store.tables import Event, now
from dermsentry.errors import InputError, OutputError
from dermsentry.files import csv_line

COLUMNS = ("id", "at", "actor", "action", "subject", "detail", "previous", "hash")
KEY, ANCHOR = "audit.key", "audit.anchor"
"""Files of the data folder."""
FIRST = "0" * 64
"""What the first row has before it."""
_LOCK = 1296387156  # PostgreSQL's advisory lock of the chain's end
_END = "audit trail"  # where a session keeps the trail that is to be anchored once it is committed

# Made once: every event asks them.
_EVENTS = Event.__table__.c
_LAST = select(_EVENTS.id, _EVENTS.hash).order_by(_EVENTS.id.desc()).limit(1)
_HASH_OF = select(_EVENTS.hash).where(_EVENTS.id == bindparam("number"))

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trail:
    """The key that a chain is hashed with, and the file that remembers how far it went."""

    key: bytes
    anchor: Path


@dataclass(frozen=True)
class End:
    """The last row of a chain."""

    trail: Trail
    number: int
    hash: str


@dataclass(frozen=True)
class Verdict:
    """What verifying found: how many rows hold, and what is wrong, in words; empty where nothing is."""

    events: int
    problems: tuple[str, ...]


def open_trail(folder: Path) -> Trail:
    """The trail of a data folder; key and anchor are made the first time, readable by their owner alone.

    Raises
    ------
    OutputError
        The key or the anchor cannot be written.
    InputError
        The key cannot be read.
    """
    path, anchor = folder / KEY, folder / ANCHOR
    if not path.exists():
        # The anchor first: who finds a key without its anchor knows that the anchor was taken away.
        _make(anchor, _record(0, FIRST))
        _make(path, secrets.token_hex(32))
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise InputError(f"The audit trail's key {path} cannot be read: {error}.") from error
    if len(key) != 32:
        raise InputError(f"The audit trail's key {path} is not whole; restore it from a backup.")
    return Trail(key, anchor)


def hold(session: Session) -> None:
    """Keep the chain's end until the transaction ends; `append` does so by itself.

    A transaction that locks other rows too takes this first: two that lock in one order never wait for each
    other. SQLite has one writer at a time anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))


def append(session: Session, trail: Trail, actor: str, happened: TrailEvent) -> Event:
    """Add an event in the transaction of what it tells: both are kept, or neither.

    `actor`: the account's name, or `worker`, `system`. The session must be one of `database.writing`.
    """
    hold(session)
    if _END not in session.info:
        session.info[_END] = None if _cut_off(session, trail) else trail
    last = _end(session, trail)
    event = Event(
        id=last.number + 1 if last else 1,
        at=now().isoformat(timespec="microseconds"),
        actor=_plain(actor),
        action=happened.action,
        subject=_plain(happened.subject),
        detail=_storable(json.dumps(happened.detail(), sort_keys=True, ensure_ascii=False, allow_nan=False)),
        previous=last.hash if last else FIRST,
    )
    event.hash = _hash(trail.key, event)
    session.add(event)
    session.flush()
    return event


def end_to_anchor(session: Session) -> End | None:
    """What a session's transaction will have made the chain's end, None where it appended nothing."""
    trail = session.info.pop(_END, None)
    return _end(session, trail) if trail is not None else None


def _end(session: Session, trail: Trail) -> End | None:
    last = session.execute(_LAST).first()
    return End(trail, last.id, last.hash) if last else None


def anchor(end: End) -> None:
    """Move the anchor forward to what is committed.

    That stays committed whatever happens here: an anchor that cannot be written is logged, and stays behind
    until the next commit.
    """
    trail, number, value = end.trail, end.number, end.hash
    try:
        with trail.anchor.open("r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Another process may have committed later and been here sooner.
            if number > _parsed(file.read())[0]:
                os.pwrite(file.fileno(), _record(number, value).encode(), 0)
    except (OSError, ValueError) as error:
        log.error("The audit trail's anchor %s cannot be written: %s.", trail.anchor, error)


def remember(session: Session, trail: Trail) -> None:
    """Anchor the chain's end, as every commit does by itself: for what a crash kept from it."""
    end = None if _cut_off(session, trail) else _end(session, trail)
    if end is not None:
        anchor(end)


def verify(session: Session, trail: Trail) -> Verdict:
    """Go through the chain from its first row, and say what was changed, removed or inserted."""
    problems: list[str] = []
    count, previous, expected = 0, FIRST, 1
    anchored: tuple[int, str] | None = None
    try:
        anchored = _anchored(trail)
    except FileNotFoundError:
        problems.append(f"the anchor {trail.anchor} is missing: rows taken off the end would not be missed")
    except (OSError, ValueError) as error:
        problems.append(f"the anchor {trail.anchor} cannot be read: {error}")
    hashes_at_anchor = FIRST if anchored and anchored[0] == 0 else None
    # A session that sees a moment after the anchor's: the one given may have begun before the last commits.
    with Session(session.get_bind()) as own:
        for event in own.scalars(select(Event).order_by(Event.id).execution_options(yield_per=1000)):
            if event.id != expected:
                several = f"events {expected} to {event.id - 1} are missing"
                problems.append(f"event {expected} is missing" if event.id == expected + 1 else several)
            elif event.previous != previous:
                problems.append(f"event {event.id} does not follow the one before it")
            if not hmac.compare_digest(event.hash.encode(), _hash(trail.key, event).encode()):
                problems.append(f"event {event.id} was changed")
            if anchored and event.id == anchored[0]:
                hashes_at_anchor = event.hash
            count, previous, expected = count + 1, event.hash, event.id + 1
            own.expunge(event)
    if anchored and hashes_at_anchor is None:
        problems.append(f"the last events are missing: there were {anchored[0]}, there are {expected - 1}")
    elif anchored and hashes_at_anchor != anchored[1]:
        problems.append(f"event {anchored[0]} is not the one that the anchor remembers")
    return Verdict(count, tuple(problems))


def as_csv(session: Session) -> Generator[str, None, None]:
    """The chain as CSV, line by line, with its header."""
    yield csv_line(COLUMNS)
    query = select(Event).order_by(Event.id).execution_options(yield_per=1000)
    with session.scalars(query) as found:  # closed where whoever reads the lines stops early
        for event in found:
            yield csv_line([getattr(event, column) for column in COLUMNS])


def belongs(session: Session, trail: Trail) -> bool:
    """Whether the chain's last row was hashed with this key; a chain without rows belongs to any."""
    last = session.scalars(select(Event).order_by(Event.id.desc()).limit(1)).first()
    return last is None or hmac.compare_digest(last.hash.encode(), _hash(trail.key, last).encode())


def _hash(key: bytes, event: Event) -> str:
    fields = [event.id, event.at, event.actor, event.action, event.subject, event.detail, event.previous]
    return hmac.new(key, json.dumps(fields, ensure_ascii=False).encode(), hashlib.sha256).hexdigest()


def _cut_off(session: Session, trail: Trail) -> bool:
    """Whether the row that the anchor remembers is gone; then the anchor must stay where it is."""
    try:
        number, value = _anchored(trail)
    except (OSError, ValueError) as error:
        log.error("The audit trail's anchor %s cannot be read: %s.", trail.anchor, error)
        return True
    if number and session.scalar(_HASH_OF, {"number": number}) != value:
        log.error("The audit trail was changed: event %d is not the one that its anchor remembers.", number)
        return True
    return False


def _anchored(trail: Trail) -> tuple[int, str]:
    with trail.anchor.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        return _parsed(file.read())


def _record(number: int, value: str) -> str:
    # Always as long, so that one write in place puts it there whole.
    return f"{number:020d} {value}\n"


def _parsed(record: bytes) -> tuple[int, str]:
    match = re.fullmatch(rb"(\d{1,20}) ([0-9a-f]{64})\s*", record)
    if match is None:
        raise ValueError("it holds no number and hash")
    return int(match[1]), match[2].decode()


def _make(path: Path, content: str) -> None:
    """Write a file that only its owner may read, whole, unless it is there already."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(name, path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error


def _plain(text: str) -> str:
    """Text that every database keeps as it is."""
    return "".join(c if c.isprintable() else " " for c in _storable(text))[: lengths.SUBJECT]


def _storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
