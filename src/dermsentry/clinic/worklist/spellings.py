"""Spellings of a patient's reference or a lesion's name: proposed where alike, joined by a person.

Nothing about a case changes: who looks for one spelling is shown the others too, those that come later as
well, until a person takes it back. Spellings look alike where `spelling_key` makes the same of both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.audit_trail import append, hold
from dermsentry.clinic.store.database import find
from dermsentry.clinic.store.events import (
    SpellingEvent,
    SpellingsJoinedEvent,
    SpellingsKeptApartEvent,
    SpellingsUndoneEvent,
)
from dermsentry.clinic.store.tables import WITHDRAWN, Case, Join, now
from dermsentry.clinic.store.text import spelling_key
from dermsentry.errors import InputError

Kind = Literal["patient", "lesion"]


@dataclass(frozen=True)
class Proposal:
    """Two spellings that look alike, of which nobody has said yet whether they are one."""

    kind: Kind
    first: str
    second: str


@dataclass(frozen=True)
class Spellings:
    """The spellings of a patient's reference.

    `joined`: those of this patient, the one that was asked for first. `apart`: those that look alike and are
    not this patient's, as far as a person has said. `told`: what was said of them, and of lesions'.
    """

    key: str
    joined: tuple[str, ...]
    apart: tuple[str, ...]
    told: tuple[Join, ...]

    def proposals(self) -> tuple[Proposal, ...]:
        """References that look like this patient's, unless a person has said that they are another's."""
        refused = {
            frozenset((own.first, own.second)) for own in self.told if own.kind == "patient" and not own.same
        }
        return tuple(
            Proposal("patient", self.joined[0], other)
            for other in self.apart
            if not any(frozenset((mine, other)) in refused for mine in self.joined)
        )

    def lesions(self, names: Iterable[str]) -> tuple[tuple[str, ...], ...]:
        """Names of the patient's lesions, in groups of those that a person said are one."""
        pairs = [
            (own.first, own.second)
            for own in self.told
            if own.kind == "lesion" and own.same and own.patient in self.joined
        ]
        return _groups(list(dict.fromkeys(names)), pairs)

    def lesion_proposals(self, groups: Sequence[Sequence[str]]) -> tuple[Proposal, ...]:
        """Of the groups that `lesions` gave: pairs that look alike and of which nobody has said anything."""
        refused = {
            frozenset((own.first, own.second))
            for own in self.told
            if own.kind == "lesion" and not own.same and own.patient in self.joined
        }
        found = []
        for place, group in enumerate(groups):
            for other in groups[place + 1 :]:
                alike = {spelling_key(name) for name in group} & {spelling_key(name) for name in other}
                said = any(frozenset((mine, theirs)) in refused for mine in group for theirs in other)
                if alike and not said:
                    found.append(Proposal("lesion", group[0], other[0]))
        return tuple(found)


def spellings_of(session: Session, patient: str) -> Spellings:
    """The spellings that look like this patient's reference, and what was said of them."""
    key = spelling_key(patient)
    there = session.scalars(
        select(Case.patient).where(Case.patient_key == key, Case.lane != WITHDRAWN).distinct()
    )
    told = tuple(session.scalars(_standing(key)))
    names = sorted({*there, patient})
    pairs = [(own.first, own.second) for own in told if own.kind == "patient" and own.same]
    groups = _groups(names, pairs)
    mine = next(group for group in groups if patient in group)
    joined = (patient, *(name for name in mine if name != patient))
    return Spellings(key, joined, tuple(name for name in names if name not in mine), told)


def say(
    session: Session,
    clinic: Clinic,
    person: Person,
    kind: Kind,
    patient: str,
    pair: tuple[str, str],
    same: bool,
) -> Join:
    """Keep a person's word that two spellings are one patient or one lesion, or that they are not.

    Parameters
    ----------
    patient
        The reference of the patient on whose page it was said.
    pair
        The two spellings, of the patient's reference or of a lesion of theirs.

    Raises
    ------
    InputError
        The person may not, the spellings do not look alike, or it was said already.
    """
    if "correct" not in person.may:
        raise InputError("Only dermatologists and administrators can join spellings.")
    hold(session)
    first, second = pair
    if first == second or spelling_key(first) != spelling_key(second):
        raise InputError(f"Received {first[:40]!r} and {second[:40]!r}; expected two spellings of one name.")
    key = spelling_key(patient)
    if kind == "patient" and patient not in pair:
        raise InputError("Received spellings of another patient's reference.")
    for own in session.scalars(_standing(key)):
        if own.kind == kind and {own.first, own.second} == {first, second}:
            raise InputError("That was said already; undo it first.")
    made = Join(
        kind=kind,
        key=key,
        patient=patient,
        first=first,
        second=second,
        same=same,
        account_id=person.account_id,
    )
    session.add(made)
    session.flush()
    event = SpellingsJoinedEvent if same else SpellingsKeptApartEvent
    append(session, clinic.trail, person.name, _event(event, made))
    return made


def take_back(session: Session, clinic: Clinic, person: Person, number: int) -> Join:
    """Undo what was said of two spellings. Raises InputError where it was undone, or the person may not."""
    if "correct" not in person.may:
        raise InputError("Only dermatologists and administrators can separate spellings.")
    hold(session)
    own = find(session, Join, number, anew=True)
    if own is None or own.undone_at is not None:
        raise InputError("That was undone already.")
    own.undone_at, own.undone_by = now(), person.account_id
    append(session, clinic.trail, person.name, _event(SpellingsUndoneEvent, own))
    return own


def _event(kind: type[SpellingEvent], own: Join) -> SpellingEvent:
    return kind(own.id, own.kind, own.patient, own.first, own.second)


def _standing(key: str) -> Select[Join]:
    return select(Join).where(Join.key == key, Join.undone_at.is_(None)).order_by(Join.id)


def _groups(names: Sequence[str], pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, ...], ...]:
    """Names that pairs connect, together, in the order of the names."""
    group = {name: {name} for name in names}
    for first, second in pairs:
        both = group.setdefault(first, {first}) | group.setdefault(second, {second})
        for name in both:
            group[name] = both
    done: set[str] = set()
    found = []
    for name in names:
        if name not in done:
            own = [other for other in names if other in group[name]]
            done.update(own)
            found.append(tuple(own))
    return tuple(found)
