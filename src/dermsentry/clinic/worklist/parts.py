"""The photographs of one lesion and day as one case: one leads it, the others are its parts.

An overview and a dermoscopic photograph, a polarised and an unpolarised one, or several of one lesion are one
case: one row of the worklist, one decision, one report. The photograph that worries most leads, so that no
part says more than the case does. Nobody's work is moved: a photograph joins as long as nobody has begun to
read, and one that worries more than a case that somebody has begun with stays a case of its own. A person can
take a photograph out, and put it back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise

from sqlalchemy import select
from sqlalchemy.orm import Session

from dermsentry.clinic.alerts.alerting import acknowledge, raise_alerts
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.audit_trail import append, hold
from dermsentry.clinic.store.database import held_case
from dermsentry.clinic.store.events import (
    AlertMovedEvent,
    AlertReopenedEvent,
    PartJoinedEvent,
    PartSeparatedEvent,
)
from dermsentry.clinic.store.tables import (
    NOT_DERMOSCOPIC,
    PART,
    SILENT,
    Alert,
    Case,
    Comment,
    Draft,
    Event,
    Export,
    Lock,
    Outcome,
    Read,
    Tag,
    now,
    place_of,
)
from dermsentry.clinic.worklist.patients import when_taken
from dermsentry.clinic.worklist.spellings import spellings_of
from dermsentry.errors import InputError


class CannotJoin(InputError):
    """A photograph cannot be made part of a case, or is none."""


_URGENCY = {"alert": 0, SILENT: 0, "refer": 1, "cannot-say": 2, "unreadable": 2, "routine": 3}
"""What worries most; a finding that nobody is shown yet may be anything."""


def gather(session: Session, clinic: Clinic, case: Case, person: Person | None = None) -> None:
    """Put a screened photograph together with those of its lesion and day, as far as nobody has read them.

    Whichever worries most leads: by its tier, then one with which somebody has begun, then by the probability
    of malignancy; an alert that is out goes to what leads. `person`: who wants it, whose own having them open
    keeps none apart. Where a photograph with an open alert joins a case that has had the same, it is open on
    the case, and acknowledged on the photograph by the person; without a person the two stay apart.
    """
    hold(session)
    if case.alone or not may_join(case):
        return
    others = _others(session, case)
    if not others:
        return
    leading = [case, *others]
    begun = _begun(session, [own.id for own in leading], person)
    free = [own for own in leading if own.id not in begun]
    if not free:
        return
    lead = min(leading, key=lambda own: (_urgency(own), own.id not in begun, own.malignancy_order, own.id))
    joined = [own for own in free if own is not lead and _move_alerts(session, clinic, own, lead, person)]
    for own in joined:
        for part in (*parts_of(session, own.id), own):
            part.part_of, part.lane = lead.id, PART
            append(session, clinic.trail, _actor(person), PartJoinedEvent(part.id, lead.id))
        if person is not None:
            acknowledge(session, clinic, own.id, person)  # after it joined, so that leaving opens it again
    if joined:
        lead.revision += 1  # whoever has seen it has not seen all of it
        session.flush()
        raise_alerts(session, clinic, lead)


def parts_of(session: Session, case_id: int) -> Sequence[Case]:
    """The photographs of a case beside the one that leads it, in the order in which they came."""
    return session.scalars(select(Case).where(Case.part_of == case_id).order_by(Case.id)).all()


def parts_of_cases(session: Session, cases: Iterable[int]) -> Mapping[int, Sequence[int]]:
    """The numbers of the parts of each case that has any."""
    query = select(Case.part_of, Case.id).where(Case.part_of.in_(list(cases))).order_by(Case.id)
    found: dict[int, list[int]] = {}
    for lead, part in session.execute(query):
        found.setdefault(lead or 0, []).append(part)
    return found


def release_parts(session: Session, clinic: Clinic, case: Case, person: Person | None = None) -> None:
    """Make the parts of a case that is no longer theirs a case of their own, together."""
    parts = parts_of(session, case.id)
    for part in parts:
        _separate(session, clinic, part, person)
    if parts:
        case.revision += 1
        session.flush()
        gather(session, clinic, parts[0], person)
        for part in parts:
            raise_alerts(session, clinic, part)


def lead_by_urgency(session: Session, clinic: Clinic, case: Case) -> None:
    """After findings were shown: where a part worries more than what leads it, have them lead anew."""
    if any(_urgency(part) < _urgency(case) for part in parts_of(session, case.id)):
        release_parts(session, clinic, case)


def leave(
    session: Session, clinic: Clinic, case: Case, person: Person | None = None, *, alone: bool = False
) -> None:
    """Take a photograph out of the case that it is part of, if it is; its alerts are still to be raised.

    `alone`: the person said that it is a case of its own.
    """
    if case.part_of is not None:
        session.get_one(Case, case.part_of).revision += 1
        _separate(session, clinic, case, person, alone=alone)
        session.flush()


def set_alone(session: Session, clinic: Clinic, case_id: int, person: Person, *, alone: bool) -> Case:
    """Make a photograph a case of its own, or put it back with those of its lesion and day.

    Raises
    ------
    CannotJoin
        It is a case of its own already, or there is none that it can be put together with.
    InputError
        There is no such case, or the person may not.
    """
    if "correct" not in person.may:
        raise InputError("Only dermatologists and administrators can say which photographs are one case.")
    case = held_case(session, case_id)
    if alone:
        if case.part_of is None:
            raise CannotJoin(f"Case {case.id} is a case of its own already.")
        leave(session, clinic, case, person, alone=True)
        raise_alerts(session, clinic, case)
        return case
    case.alone = False
    session.flush()
    gather(session, clinic, case, person)
    if case.part_of is None and not parts_of(session, case.id):
        raise CannotJoin(
            f"Case {case.id} cannot be put together with another: none of the same lesion and day is unread, "
            "or somebody has begun with it or with one that worries less."
        )
    return case


_LANES = ("suspicion", "cannot-say")
_OPEN = (Case.lane.in_(_LANES), Case.stage == "unread", Case.alone.is_(False))


def may_join(case: Case) -> bool:
    """Whether a photograph may still become part of a case, or have parts."""
    return bool(case.patient and case.lesion and case.stage == "unread" and case.lane in _LANES)


def _others(session: Session, case: Case) -> list[Case]:
    """The other photographs of a case's lesion and day that may still join or be joined."""
    spellings = spellings_of(session, case.patient)
    query = select(Case).where(Case.patient.in_(spellings.joined), Case.id != case.id, Case.lesion != "")
    found = session.scalars(query.where(*_OPEN).order_by(Case.id)).all()
    groups = spellings.lesions([case.lesion, *(own.lesion for own in found)])
    day = when_taken(case).day
    return [own for own in found if own.lesion in groups[0] and when_taken(own).day == day]


def _urgency(case: Case) -> int:
    return len(_URGENCY) if case.technique in NOT_DERMOSCOPIC else _URGENCY.get(case.tier, 3)


def _begun(session: Session, cases: Sequence[int], person: Person | None) -> set[int]:
    """The cases with which somebody has begun: whatever a person did or was sent would hang on a part."""
    own = person.account_id if person is not None else 0
    begun = set(session.scalars(select(Case.id).where(Case.id.in_(cases), Case.assigned_to.is_not(None))))
    for table in (Read, Draft, Comment, Tag, Outcome, Export):
        begun |= set(session.scalars(select(table.case_id).where(table.case_id.in_(cases))))
    opened = select(Lock.case_id).where(Lock.case_id.in_(cases), Lock.until > now(), Lock.account_id != own)
    return begun | set(session.scalars(opened))


def _move_alerts(session: Session, clinic: Clinic, part: Case, lead: Case, person: Person | None) -> bool:
    """Give the open alerts of a photograph to the case that it joins; False where that has had one of them,
    and no person is there.
    """
    opened = session.scalars(
        select(Alert).where(Alert.case_id == part.id, Alert.acknowledged_at.is_(None)).order_by(Alert.id)
    ).all()
    had = {own.rule: own for own in session.scalars(select(Alert).where(Alert.case_id == lead.id))}
    if person is None and any(own.rule in had for own in opened):
        return False
    for own in opened:
        if own.rule not in had:
            own.case_id = lead.id
            append(session, clinic.trail, _actor(person), AlertMovedEvent(part.id, own.rule, lead.id))
        elif had[own.rule].acknowledged_at is not None:
            _open_again(session, clinic, had[own.rule], person)
    session.flush()
    return True


def _separate(
    session: Session, clinic: Clinic, part: Case, person: Person | None, *, alone: bool = False
) -> None:
    assert part.part_of is not None
    append(session, clinic.trail, _actor(person), PartSeparatedEvent(part.id, part.part_of, alone))
    part.part_of, part.alone = None, alone
    part.lane, part.rank = place_of(part)
    closed = select(Alert).where(Alert.case_id == part.id, Alert.acknowledged_at.is_not(None))
    for own in session.scalars(closed.order_by(Alert.id)).all():
        if own.acknowledged_at is not None and own.acknowledged_at >= _joined_at(session, part):
            _open_again(session, clinic, own, person)  # the case had the same, which stays with the case


def _joined_at(session: Session, part: Case) -> datetime:
    """When a photograph that has just left a case became a part, of that case or one that joined it."""
    joined, left = PartJoinedEvent.action, PartSeparatedEvent.action
    query = select(Event.action, Event.at).where(Event.subject == PartJoinedEvent(part.id, 0).subject)
    told = session.execute(query.where(Event.action.in_((joined, left))).order_by(Event.id)).all()
    begins = [at for (before, _), (action, at) in pairwise([(left, ""), *told]) if before == left != action]
    return datetime.fromisoformat(begins[-1])


def _open_again(session: Session, clinic: Clinic, alert: Alert, person: Person | None) -> None:
    alert.acknowledged_at = alert.acknowledged_by = None
    append(session, clinic.trail, _actor(person), AlertReopenedEvent(alert.case_id, alert.rule))


def _actor(person: Person | None) -> str:
    return person.name if person is not None else "system"
