"""What writes into a database from processes of their own; apart from the tests, so that they begin soon."""

from __future__ import annotations

import uuid
from pathlib import Path

from clinic.trail_events import Made
from dermsentry.clinic.store.audit_trail import append, open_trail
from dermsentry.clinic.store.database import migrate, open_database, writing
from dermsentry.clinic.store.tables import Case


def begin(url: str) -> None:
    """Make the tables, and a case."""
    engine = open_database(url)
    migrate(engine)
    with writing(engine) as session:
        session.add(Case(sha256=uuid.uuid4().hex * 2, source="page", format="PNG"))


def append_for_ever(url: str, folder: Path, name: str) -> None:
    """Write events until killed."""
    engine, trail = open_database(url), open_trail(folder)
    number = 0
    while True:
        with writing(engine) as session:
            append(session, trail, name, Made("read", f"case {number}", {"n": number}))
        number += 1
