"""Who has a case open to read it: so that two people do not read the same case at the same time.

A lock runs out by itself. It keeps nobody from looking; who wants to decide takes it over, which is an event.
"""

from __future__ import annotations

import secrets
from datetime import timedelta

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.audit_trail import append, hold
from dermsentry.clinic.store.database import find
from dermsentry.clinic.store.events import LockTakenOverEvent
from dermsentry.clinic.store.tables import Account, Lock, now

LOCKED_FOR = timedelta(minutes=5)
"""A page that is in use renews its lock every minute."""


def lock(session: Session, case_id: int, person: Person, key: str = "") -> Lock:
    """The lock of a case: the person's own, taken or renewed, or another's that has not run out.

    Parameters
    ----------
    key
        Of the lock that is renewed; empty for a page that is only being opened.
    """
    hold(session)
    found = find(session, Lock, case_id, anew=True)
    moment = now()
    if found is not None and found.account_id != person.account_id and found.until > moment:
        return found
    if found is None:
        found = Lock(case_id=case_id)
        session.add(found)
    if found.account_id != person.account_id or found.until <= moment:
        found.account_id, found.since = person.account_id, moment
    found.key = key or secrets.token_hex(16)
    found.until = moment + LOCKED_FOR
    session.flush()
    session.refresh(found, ["account"])
    return found


def take_over(session: Session, clinic: Clinic, case_id: int, person: Person) -> None:
    """Put a person in the place of who has a case open; an event if that is somebody else."""
    hold(session)
    held = lock_of(session, case_id)
    if held is not None and held.account_id != person.account_id:
        append(session, clinic.trail, person.name, LockTakenOverEvent(case_id, held.account.name))
        held.until = now()
        session.flush()
    lock(session, case_id, person)


def release(session: Session, case_id: int, person: Person, key: str = "") -> None:
    """Give a person's lock of a case up; where a `key` is given, only if that page still holds it."""
    query = delete(Lock).where(Lock.case_id == case_id, Lock.account_id == person.account_id)
    session.execute(query.where(Lock.key == key) if key else query)


def lock_of(session: Session, case_id: int) -> Lock | None:
    """The lock of a case that has not run out."""
    query = select(Lock).where(Lock.case_id == case_id, Lock.until > now())
    return session.scalar(query.execution_options(populate_existing=True))


def locked_by_others(account_id: int) -> Select[int]:
    """The numbers of the cases that others have open."""
    return select(Lock.case_id).where(Lock.account_id != account_id, Lock.until > now())


def holder(session: Session, case_id: int, person: Person) -> Account | None:
    """Who else has a case open; None where nobody has, or the person themselves."""
    found = lock_of(session, case_id)
    return found.account if found is not None and found.account_id != person.account_id else None
