"""What a person puts right about a case: whose photograph it is, or that it should not be there at all.

Nothing is removed: a withdrawn case is in no list and no figure, and can be restored. Who was sent a message
about the case is sent another, the same way. Who has a report of the case that left the clinic before must be
sent it again (`outdated_exports`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, joinedload

from dermsentry.clinic.alerts.alerting import acknowledge, raise_again, raise_alerts, tell_change
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.intake.admission import LONGEST
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.audit_trail import append, hold
from dermsentry.clinic.store.database import find, held_case
from dermsentry.clinic.store.events import (
    CaseCorrectedEvent,
    CaseRestoredEvent,
    CaseWithdrawnEvent,
    ConflictSettledEvent,
)
from dermsentry.clinic.store.tables import (
    IDENTIFYING,
    WITHDRAWN,
    Case,
    Conflict,
    Correction,
    Event,
    Export,
    now,
    place_of,
)
from dermsentry.clinic.store.text import clean, clean_reason, digest_of, joined_notes
from dermsentry.clinic.worklist.matches import compare_patients
from dermsentry.clinic.worklist.parts import gather, leave, parts_of, release_parts
from dermsentry.clinic.worklist.patients import set_technique
from dermsentry.errors import InputError

MOST_SHOWN = 200


@dataclass(frozen=True)
class Outdated:
    """A report that left the clinic and is not what the case says any more."""

    case_id: int
    form: str
    exported: Export


def correct(
    session: Session, clinic: Clinic, case_id: int, person: Person, given: Mapping[str, str], reason: str
) -> Correction:
    """Put right whose photograph a case is, with all photographs that are part of it.

    A part whose patient or lesion is put right leaves the case; whatever is of one lesion and day by then is
    one case, where nobody has read it.

    Parameters
    ----------
    given
        `patient`, `lesion`, `site` and `accession` as they should be; one that is left out stays.

    Raises
    ------
    InputError
        There is no such case, the person may not, nothing changes, a field is too long, or there is no
        reason.
    """
    case = _case(session, case_id, person)
    reason = clean_reason(reason, of="correction")
    after: dict[str, str] = {}
    for name, text in given.items():
        value = clean(text)
        if name not in IDENTIFYING:
            raise InputError(f"Received the field {name[:40]}; expected some of {', '.join(IDENTIFYING)}.")
        if len(value) > LONGEST[name]:
            raise InputError(f"Received a {name} of {len(value)} characters; expected up to {LONGEST[name]}.")
        if value != getattr(case, name):
            after[name] = value
    if not after:
        raise InputError("Nothing was changed; correct a field, or leave the page.")
    before = {name: getattr(case, name) for name in after}
    moved = bool({"patient", "lesion"} & after.keys())
    left = moved and case.part_of is not None
    if left:
        leave(session, clinic, case, person)
    made = _put_right(session, clinic, case, person, after, reason)
    for part in parts_of(session, case.id):
        own = {
            name: value
            for name, value in after.items()
            if getattr(part, name) != value
            and (name in ("patient", "lesion") or getattr(part, name) == before[name])
        }
        if own:
            _put_right(session, clinic, part, person, own, reason)
    if moved:
        session.flush()
        gather(session, clinic, case, person)
    if left:
        raise_alerts(session, clinic, case)
    return made


def withdraw(session: Session, clinic: Clinic, case_id: int, person: Person, reason: str) -> Correction:
    """Take a case out of every list and figure; its open alerts are acknowledged by it.

    Its other photographs are not withdrawn: they are a case again, which nobody has decided.

    Raises
    ------
    InputError
        There is no such case, the person may not, it is withdrawn already, or no reason is given.
    """
    case = _case(session, case_id, person)
    reason = clean_reason(reason, of="correction")
    if case.lane == WITHDRAWN:
        raise InputError(f"Case {case_id} has been withdrawn already.")
    leave(session, clinic, case, person)
    case.lane = WITHDRAWN
    append(session, clinic.trail, person.name, CaseWithdrawnEvent(case.id, reason))
    acknowledge(session, clinic, case.id, person)
    made = _keep(session, case, person, "withdrawn", reason)
    release_parts(session, clinic, case, person)
    return made


def restore(session: Session, clinic: Clinic, case_id: int, person: Person, reason: str) -> Correction:
    """Put a withdrawn case back where it was; an alert that it calls for is open again, and sent.

    One that a person had acknowledged before the withdrawal stays acknowledged.

    Raises
    ------
    InputError
        There is no such case, the person may not, it is not withdrawn, or no reason is given.
    """
    case = _case(session, case_id, person)
    reason = clean_reason(reason, of="correction")
    if case.lane != WITHDRAWN:
        raise InputError(f"Case {case_id} is not withdrawn.")
    case.lane, case.rank = place_of(case)
    append(session, clinic.trail, person.name, CaseRestoredEvent(case.id, reason))
    raise_again(session, clinic, case, person, _withdrawn_at(session, case))
    made = _keep(session, case, person, "restored", reason)
    gather(session, clinic, case, person)
    return made


def settle_conflict(
    session: Session, clinic: Clinic, conflict_id: int, person: Person, resolution: str, reason: str
) -> Conflict:
    """Decide a conflict: the case is `kept` as it is, or `corrected` to what was told, and back if withdrawn.

    Raises
    ------
    InputError
        There is no such open conflict, the person may not, the resolution is none, or no reason is given.
    """
    hold(session)
    conflict = find(session, Conflict, conflict_id, anew=True)
    if conflict is None or conflict.resolved_at is not None:
        raise InputError(f"There is no open conflict {conflict_id}; another person may have settled it.")
    if resolution not in ("kept", "corrected"):
        raise InputError(f"Received the resolution {resolution[:40]!r}; expected kept or corrected.")
    case = _case(session, conflict.case_id, person)
    reason = clean_reason(reason, of="correction")
    if resolution == "corrected":
        given = {name: conflict.told[name] for name in IDENTIFYING if conflict.told[name]}
        if case.lane == WITHDRAWN:
            restore(session, clinic, case.id, person, reason)
        if any(getattr(case, name) != value for name, value in given.items()):
            correct(session, clinic, case.id, person, given, reason)
        technique = str(conflict.told.get("technique", ""))  # an earlier version did not keep it
        if technique:
            set_technique(session, clinic, case.id, person, technique)
        note = str(conflict.told.get("note", ""))
        if note and note not in case.note:
            case.note = joined_notes(case.note, note)
        if case.dicom is not None and conflict.sha256 != case.sha256:
            # Its header is the one that is right; a report repeats it.
            case.dicom = {**case.dicom, "header_of": conflict.sha256}
    conflict.resolution, conflict.reason = resolution, reason
    conflict.resolved_at, conflict.resolved_by = now(), person.account_id
    settled = ConflictSettledEvent(case.id, conflict.id, resolution, reason, digest_of(case.note))
    append(session, clinic.trail, person.name, settled)
    return conflict


def open_conflicts(session: Session) -> Sequence[Conflict]:
    """The conflicts that nobody has settled, the oldest first; up to 200."""
    query = select(Conflict).options(joinedload(Conflict.case)).where(Conflict.resolved_at.is_(None))
    return session.scalars(query.order_by(Conflict.id).limit(MOST_SHOWN)).all()


def count_conflicts(session: Session) -> int:
    """How many conflicts nobody has settled."""
    return session.scalar(_OPEN_CONFLICTS) or 0


_OPEN_CONFLICTS = select(func.count()).select_from(Conflict).where(Conflict.resolved_at.is_(None))


def corrections_of(session: Session, case_id: int) -> Sequence[Correction]:
    """What was put right about a case, in its order."""
    query = select(Correction).where(Correction.case_id == case_id).order_by(Correction.id)
    return session.scalars(query).all()


def outdated_exports(session: Session, case_id: int | None = None) -> Sequence[Outdated]:
    """The reports that left the clinic and tell what is true no longer, the latest of each form; up to 200.

    Whoever received one must get the case again. `case_id`: of this case alone.
    """
    query = _outdated(select(Export), case_id).order_by(Export.id).limit(MOST_SHOWN)
    return tuple(Outdated(own.case_id, own.form, own) for own in session.scalars(query))


def count_outdated(session: Session) -> int:
    """How many reports `outdated_exports` has, without its limit."""
    return session.scalar(_outdated(select(func.count()).select_from(Export))) or 0


def _outdated(query: Select[Any], case_id: int | None = None) -> Select[Any]:
    latest = select(Export.case_id, Export.form, func.max(Export.id).label("id"))
    if case_id is not None:
        latest = latest.where(Export.case_id == case_id)
    last = latest.group_by(Export.case_id, Export.form).subquery()
    joined = query.join(last, last.c.id == Export.id).join(Case, Case.id == Export.case_id)
    return joined.where(Case.revision > Export.revision)


def _case(session: Session, case_id: int, person: Person) -> Case:
    if "correct" not in person.may:
        raise InputError("Only dermatologists and administrators can correct cases.")
    return held_case(session, case_id)


def _withdrawn_at(session: Session, case: Case) -> datetime:
    """When a case was withdrawn last: just before that acknowledged its alerts."""
    event = CaseWithdrawnEvent(case.id, "")
    query = select(Event.at).where(Event.subject == event.subject, Event.action == event.action)
    return datetime.fromisoformat(session.scalars(query.order_by(Event.id.desc()).limit(1)).one())


def _put_right(
    session: Session, clinic: Clinic, case: Case, person: Person, after: Mapping[str, str], reason: str
) -> Correction:
    before = {name: getattr(case, name) for name in after}
    for name, value in after.items():
        setattr(case, name, value)
    compare_patients(session, case)
    append(session, clinic.trail, person.name, CaseCorrectedEvent(case.id, before, after, reason))
    return _keep(session, case, person, "corrected", reason, before, after)


def _keep(
    session: Session,
    case: Case,
    person: Person,
    kind: str,
    reason: str,
    before: Mapping[str, str] | None = None,
    after: Mapping[str, str] | None = None,
) -> Correction:
    made = Correction(
        case_id=case.id,
        account_id=person.account_id,
        kind=kind,
        reason=reason,
        before=dict(before or {}),
        after=dict(after or {}),
    )
    session.add(made)
    case.revision += 1
    tell_change(session, case.id, kind)
    session.flush()
    return made
