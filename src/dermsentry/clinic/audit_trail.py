"""The audit trail: who did what, when, in rows that are only ever added.

Each row holds a keyed hash (HMAC-SHA-256, RFC 2104) over itself and the row before: whoever changes, removes
or inserts one without the key breaks the chain there. Rows taken off the end are missed by the anchor, a
file beside the key that holds the last row's number and hash.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from dermsentry.clinic.tables import Event, now
from dermsentry.errors import InputError, OutputError
from dermsentry.files import write_text

COLUMNS = ("id", "at", "actor", "action", "subject", "detail", "previous", "hash")
FIRST = "0" * 64
"""What the first row has before it."""
_LOCK = 1296387156  # PostgreSQL's advisory lock of the chain's end


@dataclass(frozen=True)
class Trail:
    """The key that a chain is hashed with, and the file that remembers how far it went."""

    key: bytes
    anchor: Path


@dataclass(frozen=True)
class Verdict:
    """What verifying found: how many rows hold, and what is wrong, in words; empty where nothing is."""

    events: int
    problems: tuple[str, ...]


def open_trail(folder: Path) -> Trail:
    """The trail of a data folder; its key is made the first time, readable by its owner alone.

    Raises
    ------
    OutputError
        The key cannot be written.
    InputError
        The key cannot be read.
    """
    path = folder / "audit.key"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error
    else:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise InputError(f"The audit trail's key {path} cannot be read: {error}.") from error
    if len(key) != 32:
        raise InputError(f"The audit trail's key {path} is not whole; restore it from a backup.")
    return Trail(key, folder / "audit.anchor")


def append(
    session: Session, trail: Trail, actor: str, action: str, subject: str, detail: Mapping[str, Any]
) -> Event:
    """Add an event in the transaction of what it tells: both are kept, or neither.

    `actor`: the account's name, or `worker`, `system`. `subject`: such as `case 12`. `detail` must be plain
    values for JSON, and nothing in it a secret.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    last = session.execute(select(Event.id, Event.hash).order_by(Event.id.desc()).limit(1)).first()
    event = Event(
        id=last.id + 1 if last else 1,
        at=now().isoformat(timespec="microseconds"),
        actor=actor,
        action=action,
        subject=subject,
        detail=json.dumps(detail, sort_keys=True, ensure_ascii=False, allow_nan=False),
        previous=last.hash if last else FIRST,
    )
    event.hash = _hash(trail.key, event)
    session.add(event)
    session.flush()
    return event


def remember(session: Session, trail: Trail) -> None:
    """Write the chain's end to the anchor."""
    last = session.execute(select(Event.id, Event.hash).order_by(Event.id.desc()).limit(1)).first()
    if last:
        write_text(trail.anchor, f"{last.id} {last.hash}\n")


def verify(session: Session, trail: Trail) -> Verdict:
    """Go through the chain from its first row, and say what was changed, removed or inserted."""
    problems: list[str] = []
    count, previous, expected = 0, FIRST, 1
    anchored = _anchored(trail)
    hashes_at_anchor = None
    for event in session.scalars(select(Event).order_by(Event.id).execution_options(yield_per=1000)):
        if event.id != expected:
            missing = f"{expected}" if event.id == expected + 1 else f"{expected} to {event.id - 1}"
            problems.append(f"event {missing} is missing")
        elif event.previous != previous:
            problems.append(f"event {event.id} does not follow the one before it")
        if not hmac.compare_digest(event.hash, _hash(trail.key, event)):
            problems.append(f"event {event.id} was changed")
        if anchored and event.id == anchored[0]:
            hashes_at_anchor = event.hash
        count, previous, expected = count + 1, event.hash, event.id + 1
        session.expunge(event)
    if anchored and hashes_at_anchor is None:
        problems.append(f"the last events are missing: there were {anchored[0]}, there are {expected - 1}")
    elif anchored and hashes_at_anchor != anchored[1]:
        problems.append(f"event {anchored[0]} is not the one that the anchor remembers")
    return Verdict(count, tuple(problems))


def as_csv(session: Session) -> Iterator[str]:
    """The chain as CSV, line by line, with its header."""
    yield _line(COLUMNS)
    for event in session.scalars(select(Event).order_by(Event.id).execution_options(yield_per=1000)):
        yield _line([getattr(event, column) for column in COLUMNS])


def belongs(session: Session, trail: Trail) -> bool:
    """Whether the chain's last row was hashed with this key; a chain without rows belongs to any."""
    last = session.scalars(select(Event).order_by(Event.id.desc()).limit(1)).first()
    return last is None or hmac.compare_digest(last.hash.encode(), _hash(trail.key, last).encode())


def _hash(key: bytes, event: Event) -> str:
    fields = [event.id, event.at, event.actor, event.action, event.subject, event.detail, event.previous]
    return hmac.new(key, json.dumps(fields, ensure_ascii=False).encode(), hashlib.sha256).hexdigest()


def _anchored(trail: Trail) -> tuple[int, str] | None:
    try:
        number, _, value = trail.anchor.read_text(encoding="ascii").strip().partition(" ")
        return int(number), value
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"The audit trail's anchor {trail.anchor} cannot be read: {error}.") from error


def _line(fields: Any) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(fields)
    return out.getvalue()
