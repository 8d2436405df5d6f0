"""What people decide on a case: one reader, or two and an adjudicator where they differ.

Whatever happens to a read is an event of the audit trail in the same transaction, and everyone who decides
waits for who decides just then: the second of two finds the case as the first left it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from dermsentry.clinic.alerts.alerting import acknowledge, reopen, tell_change
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.store.accounts import IDLE, Person
from dermsentry.clinic.store.audit_trail import append, hold
from dermsentry.clinic.store.database import find, held_case
from dermsentry.clinic.store.events import ReadAmendedEvent, ReadEvent, ReadUndoneEvent
from dermsentry.clinic.store.tables import (
    ACTIONS,
    ADJUDICATOR,
    AMENDMENT,
    ASSESSED,
    PART,
    WITHDRAWN,
    Case,
    Read,
    now,
)
from dermsentry.clinic.store.text import clean_note, clean_reason, digest_of, written
from dermsentry.clinic.worklist.locks import holder, release
from dermsentry.clinic.worklist.parts import parts_of
from dermsentry.clinic.worklist.terms import Details, cleaned, is_melanoma, is_serious
from dermsentry.diagnoses import CODES, name_of
from dermsentry.errors import InputError
from dermsentry.files import plain

NO_DETAILS = Details()
DETAILS = tuple(own.name for own in fields(Details))


class Contradiction(InputError):
    """What was decided contradicts itself; it is kept once a person has confirmed it. `words` say each."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        super().__init__(f"{' '.join(words)} If that is meant, confirm it.")


class CannotRead(InputError):
    """The person may not read this case, or not any more; or may not undo this read."""


class DecisionChanged(CannotRead):
    """Another decision counts than the one that is to be amended."""


def decide(
    session: Session,
    clinic: Clinic,
    case_id: int,
    person: Person,
    *,
    agrees: bool | None,
    diagnosis: str,
    action: str,
    note: str = "",
    confirmed: bool = False,
    batch: str = "",
    details: Details = NO_DETAILS,
    parts: Collection[int] | None = None,
) -> Read:
    """Keep what a person decided; the case's alerts are acknowledged by it.

    Parameters
    ----------
    agrees
        Whether with the model's tier; None only where the model did not assess the photograph.
    diagnosis
        A code of `dermsentry.diagnoses`, or empty where it is none of them or cannot be told.
    action
        `biopsy`, `follow-up`, `discharge` or `retake`.
    confirmed
        That it is meant, where it contradicts itself.
    batch
        Of routine cases that are discharged together.
    details
        A finer or other diagnosis, how certain it is, the day of follow-up, checklists.
    parts
        The case's other photographs that the person has seen; None for all that there are.

    Raises
    ------
    CannotRead
        `may_read` says why; or another person has the case open, or it has a photograph that the person has
        not seen.
    Contradiction
        What was decided contradicts itself, and is not confirmed.
    InputError
        There is no such case, or what was decided makes no sense.
    """
    case = held_case(session, case_id)
    problem = may_read(session, clinic, case, person)
    if problem:
        raise CannotRead(problem)
    other = holder(session, case.id, person)
    if other is not None:
        raise CannotRead(f"{other.full_name} is reading this case; take it over to decide it.")
    there = [own.id for own in parts_of(session, case.id)] if parts is not None else []
    unseen = ", ".join(str(number) for number in there if number not in (parts or ()))
    if unseen:
        raise CannotRead(f"You had not been shown all photographs of this case ({unseen}); look at them all.")
    before = active_reads(session, case.id)
    read = _read(
        case,
        person,
        min(len(before) + 1, ADJUDICATOR),
        agrees,
        diagnosis,
        action,
        note,
        details,
        confirmed=confirmed,
    )
    read.batch = batch
    session.add(read)
    session.flush()
    session.refresh(read, ["account"])
    _move(case, clinic, (*before, read))
    append(session, clinic.trail, person.name, _event(ReadEvent, read, case))
    release(session, case.id, person)
    acknowledge(session, clinic, case.id, person)
    return read


def amend(
    session: Session,
    clinic: Clinic,
    case_id: int,
    person: Person,
    *,
    agrees: bool | None,
    diagnosis: str,
    action: str,
    reason: str,
    note: str = "",
    confirmed: bool = False,
    instead_of: int | None = None,
    details: Details = NO_DETAILS,
) -> Read:
    """Change the decision on a case; the one before stays among its reads, and reports say so.

    Parameters
    ----------
    agrees, diagnosis, action, confirmed, details
        As `decide` takes them.
    reason
        Why it is changed.
    instead_of
        The number of the read that counted when the person looked; not given, whichever counts now.

    Raises
    ------
    CannotRead
        `may_amend` says why.
    DecisionChanged
        Another read counts by now than `instead_of`.
    Contradiction
        What was decided contradicts itself, and is not confirmed.
    InputError
        There is no such case or no reason, nothing changes, or what was decided makes no sense.
    """
    case = held_case(session, case_id)
    before = active_reads(session, case.id)
    if before and instead_of not in (None, before[-1].id):
        name = before[-1].account.full_name
        raise DecisionChanged(f"{name} has changed the decision since you opened the case; look at it again.")
    problem = may_amend(case, person, before)
    if problem:
        raise CannotRead(problem)
    reason = clean_reason(reason, of="amended decision")
    read = _read(case, person, AMENDMENT, agrees, diagnosis, action, note, details, confirmed=confirmed)
    last = before[-1]
    if all(
        getattr(read, name) == getattr(last, name)
        for name in ("agrees", "diagnosis", "action", "note", *DETAILS)
    ):
        raise InputError("Nothing was changed; the decision is as it was.")
    read.reason = reason
    session.add(read)
    session.flush()
    session.refresh(read, ["account"])
    _move(case, clinic, (*before, read))
    event = _event(ReadEvent, read, case)
    append(session, clinic.trail, person.name, ReadAmendedEvent(**vars(event), reason=reason))
    tell_change(session, case.id, "amended")
    return read


def may_amend(case: Case, person: Person, reads: Sequence[Read]) -> str:
    """Why a person may not change the decision on a case, in words; empty where they may.

    Who made it may, of two who agreed each, and every administrator. `reads`: the case's `active_reads`.
    """
    if "reads:write" not in person.may:
        return "Only dermatologists can amend decisions."
    if case.lane == WITHDRAWN:
        return "The case was withdrawn."
    if case.stage != "decided" or not reads:
        return "The case has not been decided yet."
    last = reads[-1]
    made = [read for read in reads if (read.diagnosis, read.action) == (last.diagnosis, last.action)]
    if person.role == "administrator" or any(read.account_id == person.account_id for read in made):
        return ""
    return "Only the person who made a decision, or an administrator, can amend it."


def _read(
    case: Case,
    person: Person,
    position: int,
    agrees: bool | None,
    diagnosis: str,
    action: str,
    note: str,
    details: Details,
    *,
    confirmed: bool,
) -> Read:
    """What was decided, if it makes sense. Raises InputError, Contradiction."""
    if diagnosis and diagnosis not in CODES:
        raise InputError(
            f"Received the diagnosis {diagnosis!r}; expected one of {', '.join(CODES)}, or none."
        )
    if action not in ACTIONS:
        raise InputError(f"Received the action {action!r}; expected one of {', '.join(ACTIONS)}.")
    if agrees is None and case.tier in ASSESSED:
        raise InputError("Received no answer on agreement with the model; expected yes or no.")
    read = Read(
        case_id=case.id,
        account_id=person.account_id,
        position=position,
        agrees=agrees,
        diagnosis=diagnosis,
        action=action,
        note=clean_note(note),
        batch="",
        at=now(),
    )
    found = cleaned(details, diagnosis, action, now().date() - timedelta(days=1))
    for name in DETAILS:
        setattr(read, name, getattr(found, name))
    words = contradictions(case.tier, read)
    if words and not confirmed:
        raise Contradiction(words)
    return read


def contradictions(tier: str, read: Read) -> tuple[str, ...]:
    """In what a decision on a case of a tier contradicts itself, a sentence each.

    A diagnosis in words counts by its code too, and where it sounds malignant.
    """
    named = name_of(read.diagnosis) if read.diagnosis else read.other
    given = (read.diagnosis, read.other, read.other_code)
    serious = is_serious(*given)
    found = []
    if tier == "alert" and read.agrees and read.action == "discharge":
        found.append("You agree with the melanoma alert, and discharge the case.")
    if tier == "alert" and read.agrees is False and is_melanoma(*given):
        found.append("You do not agree with the melanoma alert, and diagnose melanoma.")
    if tier == "routine" and read.agrees and serious:
        found.append(f"You agree that a routine check is enough, and diagnose {named}.")
    if serious and read.action == "discharge":
        found.append(f"You diagnose {named}, and discharge the case.")
    return tuple(found)


def undo(session: Session, clinic: Clinic, read_id: int, person: Person) -> None:
    """Take a read back: by its author, in the session it was made in, while nobody has read the case since.

    The alerts that it acknowledged are open again; who was told of an amendment is told that it was undone.
    For a program, which has no session, an hour is one.

    Raises
    ------
    CannotRead
        It is not so.
    InputError
        There is no such read.
    """
    hold(session)
    read = find(session, Read, read_id, anew=True)
    if read is None or (read.account_id != person.account_id and "reads:write" not in person.may):
        raise InputError(f"There is no read {read_id}.")
    if read.account_id != person.account_id:
        raise CannotRead("Only the person who made a decision can undo it.")
    if read.undone_at is not None:
        raise CannotRead("This decision has already been undone.")
    if read.at < (person.signed_in_at or now() - IDLE):
        raise CannotRead("A decision can be undone only in the session in which it was made.")
    reads = active_reads(session, read.case_id)
    if reads[-1].id != read.id:
        raise CannotRead("Another person has read the case since; the decision can no longer be undone.")
    case = session.get_one(Case, read.case_id, populate_existing=True)
    if case.lane == WITHDRAWN:
        raise CannotRead("The case was withdrawn.")
    read.undone_at = now()
    if read.position == AMENDMENT:  # what it changed is the decision again
        case.revision += 1
        case.follow_up_on = reads[-2].follow_up_on
        tell_change(session, case.id, "amendment-undone")
    else:
        _move(case, clinic, reads[:-1])
    append(session, clinic.trail, person.name, _event(ReadUndoneEvent, read, case))
    reopen(session, clinic, case.id, person, read.at)


def may_read(session: Session, clinic: Clinic, case: Case, person: Person) -> str:
    """Why a person may not read a case now, in words; empty where they may."""
    if "reads:write" not in person.may:
        return "Only dermatologists can decide cases."
    if case.lane == WITHDRAWN:
        return "The case was withdrawn."
    if case.lane == PART:
        return f"This photograph is part of case {case.part_of}; what is decided there counts for it."
    if case.state == "waiting":
        return "The photograph has not been screened yet."
    if case.stage == "decided":
        return "The case has already been decided."
    if any(read.account_id == person.account_id for read in active_reads(session, case.id)):
        if case.stage == "adjudication":
            return "You have read this case; a third person adjudicates."
        return "You have read this case; it is awaiting a second reader."
    if (
        clinic.settings.readers == 2
        and case.stage == "second-read"
        and _read_it_second(session, case, person)
    ):
        return "You undid your decision after it revealed the first one; another person must read this case."
    return ""


def visible_reads(session: Session, clinic: Clinic, case: Case, person: Person) -> tuple[Read, ...]:
    """The reads of a case that a person may see, in their order.

    All once it is decided. Before, everyone sees their own alone, so that the second reader is blind to the
    first; who may settle where the two differ sees both.
    """
    if "cases:read" not in person.may:
        return ()
    reads = active_reads(session, case.id)
    settles = case.stage == "adjudication" and not may_read(session, clinic, case, person)
    if case.stage == "decided" or settles:
        return reads
    return tuple(read for read in reads if read.account_id == person.account_id)


def active_reads(session: Session, case_id: int) -> tuple[Read, ...]:
    """The reads of a case that were not undone, in their order, the one that counts last.

    Readers are shown `visible_reads`.
    """
    query = select(Read).where(Read.case_id == case_id, Read.undone_at.is_(None))
    return tuple(session.scalars(query.order_by(Read.position, Read.id)))


def _read_it_second(session: Session, case: Case, person: Person) -> bool:
    """Whether a person was the second reader once, and was told whether the first decided the same."""
    own = select(Read.id).where(Read.case_id == case.id, Read.account_id == person.account_id)
    return session.scalar(own.where(Read.position == 2).limit(1)) is not None


def _move(case: Case, clinic: Clinic, reads: Sequence[Read]) -> None:
    """Put a case where its reads leave it."""
    if not reads:
        case.stage = "unread"
    elif clinic.settings.readers == 1 or len(reads) >= ADJUDICATOR or reads[-1].position == AMENDMENT:
        case.stage = "decided"
    elif len(reads) == 1:
        case.stage = "second-read"
    else:
        first, second = reads
        same = (first.diagnosis, first.action) == (second.diagnosis, second.action)
        case.stage = "decided" if same else "adjudication"
    case.decided_at = now() if case.stage == "decided" else None
    case.follow_up_on = reads[-1].follow_up_on if case.stage == "decided" else None
    case.revision += 1


def _event(kind: type[ReadEvent], read: Read, case: Case) -> ReadEvent:
    return kind(
        case.id,
        read=read.id,
        position=read.position,
        agrees=read.agrees,
        diagnosis=read.diagnosis,
        decided=read.action,
        stage=case.stage,
        model=case.model_digest,
        tier=case.tier,
        note_sha256=digest_of(*written(read.note, read.reason, read.other, read.other_code)),
        batch=read.batch,
        finer=read.finer,
        certainty=read.certainty,
        follow_up_on=read.follow_up_on.isoformat() if read.follow_up_on else None,
        abcd=plain(read.abcd),
        seven_point=plain(read.seven_point),
    )
