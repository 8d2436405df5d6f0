"""Who looked at what: a case that is shown to a person or given to a program, in the audit trail."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from sqlalchemy import select

from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.audit_trail import append
from dermsentry.clinic.store.database import DatabaseError, reading, writing
from dermsentry.clinic.store.events import CaseEvent, CaseViewedEvent
from dermsentry.clinic.store.tables import Event, now
from dermsentry.errors import OutputError

ONCE_IN = timedelta(minutes=15)
"""One who looks at a case again and again is told once."""

log = logging.getLogger(__name__)


def note_view(clinic: Clinic, person: Person, case_id: int) -> None:
    """Record that a person looks at a case, unless they did lately."""
    note(clinic, person, CaseViewedEvent(case_id))


def note(clinic: Clinic, person: Person, happened: CaseEvent) -> None:
    """Record what a person looks at, unless they did lately.

    A trail that cannot be written, as on a full disk, keeps no doctor from a patient's case: that is logged.
    """
    wanted = (
        Event.subject == happened.subject,
        Event.action == happened.action,
        Event.actor == person.name,
    )
    with reading(clinic.engine) as session:
        last = session.scalar(select(Event.at).where(*wanted).order_by(Event.id.desc()).limit(1))
    if last is not None and now() - datetime.fromisoformat(last) < ONCE_IN:
        return
    try:
        with writing(clinic.engine) as session:
            append(session, clinic.trail, person.name, happened)
    except (DatabaseError, OutputError) as error:
        log.error("A view of case %d is not in the audit trail: %s", happened.case, error)
