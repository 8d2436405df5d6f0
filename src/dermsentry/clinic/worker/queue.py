"""The queue of photographs that wait for the model, in the database that holds the cases.

A worker leases a job, and renews the lease while it works. If it dies, the lease runs out and another takes
the job; what a worker brings after its lease was lost is not used. So nothing is lost, and nothing is counted
twice. A job goes when its result is kept, in the same transaction.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from dermsentry.clinic.store.tables import Case, Job, now

LEASE = timedelta(seconds=30)
MOST_ATTEMPTS = 3
"""A photograph that stopped its worker this often is not tried again."""


@dataclass(frozen=True)
class Leased:
    """A job in one worker's hands. `worn_out`: it was tried as often as it may be."""

    job_id: int
    case_id: int
    sha256: str
    format: str
    technique: str
    lease: str
    worn_out: bool


def lease(session: Session, duration: timedelta = LEASE) -> Leased | None:
    """Take the oldest job that nobody works on, or None. Runs in a writing transaction of its own."""
    moment = now()
    free = or_(Job.state == "queued", (Job.state == "leased") & (Job.lease_until < moment))
    # PostgreSQL passes over rows that another worker is taking; SQLite has one writer at a time.
    found = session.scalars(
        select(Job).where(free).order_by(Job.id).limit(1).with_for_update(skip_locked=True)
    ).first()
    if found is None:
        return None
    case = session.get_one(Case, found.case_id)
    found.state = "leased"
    found.lease = secrets.token_hex(16)
    found.lease_until = moment + duration
    found.attempts += 1
    worn_out = found.attempts > MOST_ATTEMPTS
    return Leased(found.id, case.id, case.sha256, case.format, case.technique, found.lease, worn_out)


def finish(session: Session, leased: Leased) -> Case | None:
    """Remove a job in the transaction that keeps its result; None where the lease was lost meanwhile."""
    job = _held(session, leased)
    if job is None:
        return None
    session.delete(job)
    return session.get_one(Case, leased.case_id)


def renew(session: Session, leased: Leased, duration: timedelta = LEASE) -> bool:
    """Keep a job for longer; False where the lease was lost meanwhile."""
    job = _held(session, leased)
    if job is None:
        return False
    job.lease_until = now() + duration
    return True


def give_up_lease(session: Session, leased: Leased, *, tried: bool) -> None:
    """Put a job back; the attempt counts only where the photograph was `tried`."""
    job = _held(session, leased)
    if job is not None:
        job.state, job.lease = "queued", ""
        job.attempts -= 0 if tried else 1


def length(session: Session) -> int:
    """How many jobs wait or are worked on."""
    return session.scalar(select(func.count()).select_from(Job)) or 0


def _held(session: Session, leased: Leased) -> Job | None:
    job = session.scalars(select(Job).where(Job.id == leased.job_id).with_for_update()).first()
    return job if job is not None and job.state == "leased" and job.lease == leased.lease else None
