"""Several routine cases discharged at once, each by a read of its own, and taken back together.

Never a case that the model finds suspicious or could not assess: those are opened one by one. The diagnosis
is left open, since nobody gave one; a reader who wants to give one decides the case on its page.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from dermsentry.clinic.batches import MOST_AT_ONCE, UNDO_FOR, undo_minutes
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.database import find, held_case
from dermsentry.clinic.store.tables import Case, Read, now
from dermsentry.clinic.worklist.locks import holder
from dermsentry.clinic.worklist.reading import CannotRead, decide, may_read, undo
from dermsentry.errors import InputError


@dataclass(frozen=True)
class Batch:
    """What became of the cases: the numbers of those that it happened to, and why not to the others."""

    key: str
    cases: tuple[int, ...]
    left: Mapping[int, str]


def why_not(session: Session, clinic: Clinic, case: Case, person: Person) -> str:
    """Why a person may not discharge a case together with others, in words; empty where they may."""
    if case.tier != "routine" or case.lane != "suspicion":
        return "It is not routine; open it and decide it by itself."
    problem = may_read(session, clinic, case, person)
    if problem:
        return problem
    other = holder(session, case.id, person)
    return f"{other.full_name} is reading it." if other is not None else ""


def discharge(session: Session, clinic: Clinic, person: Person, wanted: Mapping[int, int]) -> Batch:
    """Discharge routine cases, each by a read that agrees with the tier and gives no diagnosis.

    Parameters
    ----------
    wanted
        Of each case's number the revision that the person saw; one that has changed since is left.

    Raises
    ------
    InputError
        There is no such case.
    """
    key, done, left = secrets.token_hex(8), [], {}
    for case_id, revision in sorted(wanted.items()):
        case = held_case(session, case_id)
        problem = why_not(session, clinic, case, person)
        if not problem and case.revision != revision:
            problem = "It has changed since you chose it; look at it again."
        if problem:
            left[case_id] = problem
            continue
        decide(session, clinic, case_id, person, agrees=True, diagnosis="", action="discharge", batch=key)
        done.append(case_id)
    return Batch(key, tuple(done), left)


def undo_batch(session: Session, clinic: Clinic, key: str, person: Person) -> Batch:
    """Take back what is left of such reads; each for itself, where nobody has read its case since.

    Raises
    ------
    InputError
        There is no such batch of this person's, or it was longer ago than can be undone.
    """
    reads = batch_of(session, key, person)
    if not reads:
        raise InputError("There is nothing to undo.")
    if reads[0].at < now() - UNDO_FOR:
        minutes = undo_minutes()
        raise InputError(f"Cases that were discharged together can be taken back for {minutes} minutes.")
    done, left = [], {}
    for read in reads:
        try:
            undo(session, clinic, read.id, person)
            done.append(read.case_id)
        except CannotRead as error:
            left[read.case_id] = str(error)
    return Batch(key, tuple(done), left)


def batch_of(session: Session, key: str, person: Person) -> Sequence[Read]:
    """The reads of a batch of a person's that were not taken back, by case."""
    if not re.fullmatch(r"[0-9a-f]{16}", key):
        return ()
    query = select(Read).where(Read.batch == key, Read.account_id == person.account_id)
    return session.scalars(query.where(Read.undone_at.is_(None)).order_by(Read.case_id)).all()


def chosen(given: Sequence[str]) -> dict[int, int]:
    """The cases of a form, each as NUMBER.REVISION.

    Raises
    ------
    InputError
        One is not of this form, or there are none or too many.
    """
    wanted = {}
    for text in given:
        if not re.fullmatch(r"[0-9]{1,10}\.[0-9]{1,10}", text):
            raise InputError(f"Received the case {text[:40]!r}; expected NUMBER.REVISION.")
        number, revision = text.split(".")
        wanted[int(number)] = int(revision)
    if not 0 < len(wanted) <= MOST_AT_ONCE:
        raise InputError(f"Received {len(wanted)} cases; expected 1 to {MOST_AT_ONCE}.")
    return wanted


def cases_of(session: Session, wanted: Mapping[int, int]) -> Sequence[Case]:
    """The chosen cases that there are, by number."""
    found = (find(session, Case, number) for number in sorted(wanted))
    return [case for case in found if case is not None]
