"""Cases whose photographs show the same skin: found when a photograph came, told to a person, never merged.

Filed under two patients, one of them is wrong or both are one person: that is for a person to settle. Of one
patient it is told on the case alone. Where a case is withdrawn, there is nothing to tell while it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy import case as case_when
from sqlalchemy.orm import Session, aliased, contains_eager

from dermsentry.clinic import lengths
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.audit_trail import append, hold
from dermsentry.clinic.store.database import find
from dermsentry.clinic.store.events import MatchFoundEvent, MatchSettledEvent
from dermsentry.clinic.store.tables import WITHDRAWN, Case, Fingerprint, Match, now
from dermsentry.clinic.store.text import clean, folded
from dermsentry.clinic.worklist.spellings import spellings_of
from dermsentry.errors import InputError

RESOLUTIONS = ("different", "same")
MOST_SHOWN = 200


@dataclass(frozen=True)
class Doubt:
    """A case that shows the same skin as earlier cases of another patient; the matches that say so."""

    case: Case
    patient: str
    matches: tuple[Match, ...]


@dataclass(frozen=True)
class Other:
    """A case that shows the same skin, of another patient; which case it is `listed` under to be settled."""

    case: Case
    listed: int


def keep_match(
    session: Session, clinic: Clinic, one: Case, other: Case, agreement: float, in_place: bool
) -> Match | None:
    """Keep that two cases show the same skin; None where that was known. Whoever calls holds the trail."""
    first, second = sorted((one, other), key=lambda case: case.id)
    known = select(Match.id).where(Match.second_id == second.id, Match.first_id == first.id)
    if session.scalar(known) is not None:
        return None
    match = Match(
        first_id=first.id,
        second_id=second.id,
        agreement=agreement,
        in_place=in_place,
        patients=_two_patients(first, second),
    )
    session.add(match)
    session.flush()
    event = MatchFoundEvent(second.id, match.id, first.id, agreement, in_place, match.patients)
    append(session, clinic.trail, "worker", event)
    return match


def matches_of(session: Session, case_id: int) -> tuple[Match, ...]:
    """What a case's photograph was found to show too, the earliest first, settled or not; up to 200."""
    return tuple(session.scalars(_PAIRS.where(_of(case_id)).order_by(Match.id).limit(MOST_SHOWN)))


def count_more(session: Session, case_id: int, shown: Sequence[Match]) -> int:
    """How many matches a case has beside the shown, those of `matches_of`."""
    if len(shown) < MOST_SHOWN:
        return 0
    number = session.scalar(_PAIRS.where(_of(case_id)).with_only_columns(func.count(Match.id)))
    return (number or 0) - len(shown)


def _of(case_id: int) -> ColumnElement[bool]:
    return or_(Match.first_id == case_id, Match.second_id == case_id)


def doubts_of(session: Session, matches: Iterable[Match], case_id: int) -> tuple[Other, ...]:
    """Of a case's matches, the cases for which a person must still look: of another patient."""
    return tuple(
        Other(own.first if own.second_id == case_id else own.second, own.second_id)
        for own in _apart(session, matches)
        if own.resolved_at is None
    )


def open_matches(session: Session) -> tuple[Doubt, ...]:
    """What a person must look at, the oldest first; up to 200 matches, together by case and patient."""
    found: dict[tuple[int, str], list[Match]] = {}
    each = session.scalars(_PAIRS.where(*_OPEN).order_by(Match.id).execution_options(yield_per=MOST_SHOWN))
    for match in islice(_apart(session, each), MOST_SHOWN):
        found.setdefault((match.second_id, match.first.patient), []).append(match)
    return tuple(Doubt(own[0].second, own[0].first.patient, tuple(own)) for own in found.values())


def count_open_matches(session: Session) -> int:
    """How many entries `open_matches` has, without its limit."""
    return _count(session, _OPEN_DOUBTS)


def count_matches(session: Session) -> int:
    """How many matches the entries of `open_matches` hold, without its limit."""
    return _count(session, _OPEN_MATCHES)


def _count(session: Session, by_patients: Select[int, str | None, str | None]) -> int:
    return sum(
        number
        for number, mine, theirs in session.execute(by_patients)
        if mine is None or theirs is None or mine not in spellings_of(session, theirs).joined
    )


def settle_match(
    session: Session, clinic: Clinic, match_id: int, person: Person, resolution: str, reason: str
) -> Match:
    """Keep a person's word on a match; nothing else changes.

    Raises
    ------
    InputError
        There is no such match that is open, the person may not, the resolution is none, or the reason is too
        long.
    """
    if "correct" not in person.may:
        raise InputError("Only dermatologists and administrators can settle matches.")
    hold(session)
    match = find(session, Match, match_id, anew=True)
    if match is None or match.resolved_at is not None:
        raise InputError(f"There is no open match {match_id}; another person may have settled it.")
    if resolution not in RESOLUTIONS:
        raise InputError(f"Received the resolution {resolution[:40]!r}; expected different or same.")
    reason = clean(reason, keep_lines=True)
    if len(reason) > lengths.REASON:
        raise InputError(f"Received a reason of {len(reason)} characters; expected up to {lengths.REASON}.")
    match.resolution, match.reason = resolution, reason
    match.resolved_at, match.resolved_by = now(), person.account_id
    event = MatchSettledEvent(match.second_id, match.id, match.first_id, resolution, reason)
    append(session, clinic.trail, person.name, event)
    return match


def compare_patients(session: Session, case: Case) -> None:
    """After a case was given another patient: whether its matches are of two patients."""
    for match in session.scalars(_EVERY_PAIR.where(_of(case.id))):
        match.patients = _two_patients(match.first, match.second)


def waiting_to_be_compared(session: Session) -> int:
    """How many screened photographs have not been compared with the others."""
    query = select(func.count()).select_from(Fingerprint).where(Fingerprint.compared_at.is_(None))
    return session.scalar(query) or 0


_FIRST, _SECOND = aliased(Case), aliased(Case)
# Made once: an alias has a copy of each of the table's columns.
_NEITHER_WITHDRAWN = (_FIRST.lane != WITHDRAWN, _SECOND.lane != WITHDRAWN)
_OPEN = (Match.resolved_at.is_(None), Match.patients)
_EVERY_PAIR = (
    select(Match)
    .join(_FIRST, _FIRST.id == Match.first_id)
    .join(_SECOND, _SECOND.id == Match.second_id)
    .options(contains_eager(Match.first.of_type(_FIRST)), contains_eager(Match.second.of_type(_SECOND)))
)
_PAIRS = _EVERY_PAIR.where(*_NEITHER_WITHDRAWN)
"""Matches with their cases, without those of a withdrawn case."""
_ALIKE = _FIRST.patient_key == _SECOND.patient_key
_APART = (
    select(
        Match.second_id,
        _FIRST.patient.label("patient"),
        case_when((_ALIKE, _SECOND.patient)).label("mine"),
        case_when((_ALIKE, _FIRST.patient)).label("theirs"),
    )
    .join(_FIRST, _FIRST.id == Match.first_id)
    .join(_SECOND, _SECOND.id == Match.second_id)
    .where(*_NEITHER_WITHDRAWN, *_OPEN)
)


def _counted(pairs: Select[Any]) -> Select[int, str | None, str | None]:
    """How many there are; on lines of their own where the two references look alike and may be one."""
    found = pairs.subquery()
    return select(func.count(), found.c.mine, found.c.theirs).group_by(found.c.mine, found.c.theirs)


_OPEN_MATCHES, _OPEN_DOUBTS = _counted(_APART), _counted(_APART.distinct())


def _two_patients(first: Case, second: Case) -> bool:
    """Whether both name a patient, and not the same; who is not named differs from nobody."""
    names = {folded(own.patient) for own in (first, second)}
    return "" not in names and len(names) == 2


def _apart(session: Session, matches: Iterable[Match]) -> Iterator[Match]:
    """Those of two patients whom nobody has said to be one."""
    for own in matches:
        alike = own.first.patient_key == own.second.patient_key
        joined = alike and own.second.patient in spellings_of(session, own.first.patient).joined
        if own.patients and not joined:
            yield own
