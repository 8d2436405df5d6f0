"""Who looked at what: a case that is shown to a person or given to a program, in the audit trail."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from sqlalchemy import func, select

from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.audit_trail import append
from dermsentry.clinic.store.database import DatabaseError, reading, writing
from dermsentry.clinic.store.events import CaseEvent, CasesListedEvent, CaseViewedEvent, TrailEvent
from dermsentry.clinic.store.tables import Event, now
from dermsentry.errors import OutputError

ONCE_IN = timedelta(minutes=15)
"""One who looks at a case again and again is told once."""
_LISTS = 50
"""Among how many lists, the latest that one asked for, the same one is looked for."""

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
    if last is None or not _lately(last):
        _keep(clinic, person, [happened])


def note_views(clinic: Clinic, person: Person, cases: Collection[int]) -> None:
    """Record that a person looks at several cases at once, but for those that they looked at lately."""
    events = {event.subject: event for event in (CaseViewedEvent(number) for number in sorted(set(cases)))}
    if not events:
        return
    query = (
        select(Event.subject, func.max(Event.at))
        .where(Event.subject.in_(events), Event.action == CaseViewedEvent.action, Event.actor == person.name)
        .group_by(Event.subject)
    )
    with reading(clinic.engine) as session:
        lately = {subject for subject, at in session.execute(query) if _lately(at)}
    _keep(clinic, person, [event for subject, event in events.items() if subject not in lately])


def note_list(clinic: Clinic, person: Person, what: str, asked: Mapping[str, str]) -> None:
    """Record that a program was given a list, unless it asked for the same one lately; its pages are one."""
    happened = CasesListedEvent(what, asked)
    query = (
        select(Event.at, Event.detail)
        .where(Event.subject == happened.subject, Event.action == happened.action, Event.actor == person.name)
        .order_by(Event.id.desc())
        .limit(_LISTS)
    )
    with reading(clinic.engine) as session:
        for at, detail in session.execute(query):
            if _lately(at) and json.loads(detail) == happened.detail():
                return
    _keep(clinic, person, [happened])


def _lately(at: str) -> bool:
    return now() - datetime.fromisoformat(at) < ONCE_IN


def _keep(clinic: Clinic, person: Person, happened: Collection[TrailEvent]) -> None:
    if not happened:
        return
    try:
        with writing(clinic.engine) as session:
            for one in happened:
                append(session, clinic.trail, person.name, one)
    except (DatabaseError, OutputError) as error:
        seen = ", ".join(one.subject for one in happened)
        log.error("A view of %s is not in the audit trail: %s", seen, error)
