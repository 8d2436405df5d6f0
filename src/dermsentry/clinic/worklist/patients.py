"""All of a patient: their lesions, each with its photographs in the order they were taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.intake.admission import tell_technique
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.database import held_case
from dermsentry.clinic.store.tables import ASSESSED, TECHNIQUES, WITHDRAWN, Case, Embedding
from dermsentry.clinic.worklist.body_map import Point, beside, filed, region_of
from dermsentry.clinic.worklist.spellings import Proposal, Spellings, spellings_of
from dermsentry.clinic.worklist.ugly_duckling import Floats, Standing, compare_lesions
from dermsentry.errors import InputError

MOST = 1000
"""Photographs of a patient that are looked at, the latest."""
_SLACK = timedelta(days=1)  # between the zones of a camera and of the server


@dataclass(frozen=True)
class Taken:
    """When a photograph was taken: `moment` by the camera's clock, or when it was `received`.

    `odd`: what its file says, where that cannot be: later than it was received.
    """

    moment: str
    received: bool
    odd: str = ""

    @property
    def day(self) -> date:
        """The day."""
        return date.fromisoformat(self.moment[:10])


@dataclass(frozen=True)
class Lesion:
    """A lesion of a patient: its names, which a person said are one, and its photographs, the earliest first.

    `place`: where it is on the body map, None where nobody and no site says. `standing`: how its latest
    assessed photograph compares with the patient's others, None where that cannot be said.
    """

    names: tuple[str, ...]
    cases: tuple[Case, ...]
    place: Point | None
    standing: Standing | None

    @property
    def name(self) -> str:
        """The name it is called by."""
        return self.names[0]

    @property
    def tier(self) -> str:
        """The tier of its latest photograph; empty where that is not screened, or there is none."""
        return self.cases[-1].tier if self.cases else ""

    def days(self) -> tuple[tuple[Taken, tuple[Case, ...]], ...]:
        """The photographs of each day together, the earliest day first."""
        return by_day(self.cases)


@dataclass(frozen=True)
class Patient:
    """A patient: all photographs of all spellings of their reference.

    `unnamed`: photographs that name no lesion. `issuers`: who gave the reference, as DICOM headers say; more
    than one may mean more than one person. `more`: whether there are earlier photographs than the `MOST` that
    are here.
    """

    spellings: Spellings
    lesions: tuple[Lesion, ...]
    unnamed: tuple[Case, ...]
    proposals: tuple[Proposal, ...]
    issuers: tuple[str, ...]
    more: bool

    @property
    def reference(self) -> str:
        """The reference, as it was asked for."""
        return self.spellings.joined[0]

    @property
    def cases(self) -> tuple[Case, ...]:
        """Every photograph, of whichever lesion."""
        return (*(case for lesion in self.lesions for case in lesion.cases), *self.unnamed)

    def next_name(self) -> str:
        """A name that no lesion has yet."""
        used = {name.casefold() for lesion in self.lesions for name in lesion.names}
        return next(
            name for name in (f"L{n}" for n in range(1, len(used) + 2)) if name.casefold() not in used
        )


def when_taken(case: Case) -> Taken:
    """When a case's photograph was taken, as far as its file tells and that can be."""
    received = case.received_at
    told = case.taken
    if told:
        try:
            moment = datetime.fromisoformat(told)
        except ValueError:
            told = ""
        else:
            if moment <= received.replace(tzinfo=None) + _SLACK:
                return Taken(told, False)
    return Taken(received.strftime("%Y-%m-%dT%H:%M:%S"), True, told)


def in_time(cases: Iterable[Case]) -> tuple[Case, ...]:
    """Cases in the order in which they were taken."""
    return tuple(sorted(cases, key=lambda case: (when_taken(case).moment, case.id)))


def by_day(cases: Iterable[Case]) -> tuple[tuple[Taken, tuple[Case, ...]], ...]:
    """Cases of each day together, the earliest day first."""
    days: dict[date, list[Case]] = {}
    for case in in_time(cases):
        days.setdefault(when_taken(case).day, []).append(case)
    return tuple((when_taken(own[0]), tuple(own)) for own in days.values())


def patient_of(session: Session, case: Case) -> Patient | None:
    """The patient whose photograph a case is; None where it names none."""
    if not case.patient:
        return None
    spellings = spellings_of(session, case.patient)
    found = _cases(session, spellings)
    cases = in_time(found[:MOST])
    sites = [own for own in filed(session, spellings.key) if own.patient in spellings.joined]
    names = [own.lesion for own in cases if own.lesion]
    groups = spellings.lesions([*names, *(own.lesion for own in sites if own.view)])
    places = {
        own.lesion: Point(own.view, own.region, own.x, own.y) for own in sorted(sites, key=lambda own: own.at)
    }
    series = {group: tuple(own for own in cases if own.lesion in group) for group in groups}
    standings = _standings(session, series)
    lesions, shown = [], list(places.values())
    for group in groups:
        place = _place(group, series[group], places)
        if place is not None and not place.told:
            place = beside(place, shown)
            shown.append(place)
        lesions.append(Lesion(group, series[group], place, standings.get(group[0])))
    issuers = {str((own.dicom or {}).get("issuer", "")) for own in cases} - {""}
    return Patient(
        spellings,
        tuple(lesions),
        tuple(own for own in cases if not own.lesion),
        (*spellings.proposals(), *spellings.lesion_proposals(groups)),
        tuple(sorted(issuers)),
        len(found) > MOST,
    )


def same_lesion(session: Session, case: Case) -> tuple[Case, ...]:
    """The photographs of a case's lesion in time, its own too; of its patient where it names no lesion."""
    if not case.patient:
        return (case,)
    spellings = spellings_of(session, case.patient)
    cases = _cases(session, spellings)
    if case.lesion:
        groups = spellings.lesions([own.lesion for own in cases if own.lesion] + [case.lesion])
        names = next(group for group in groups if case.lesion in group)
        cases = [own for own in cases if own.lesion in names]
    return in_time({own.id: own for own in (*cases, case)}.values())


def set_technique(session: Session, clinic: Clinic, case_id: int, person: Person, technique: str) -> Case:
    """Keep how a photograph was taken, as a person says; empty where nobody knows.

    One that nobody has read is screened again where that decides whether the model assesses it.

    Raises
    ------
    InputError
        There is no such case, the person may not, or it is no technique.
    """
    if "correct" not in person.may:
        raise InputError("Only dermatologists and administrators can say how a photograph was taken.")
    if technique and technique not in TECHNIQUES:
        raise InputError(f"Received {technique[:40]!r}; expected one of {', '.join(TECHNIQUES)}.")
    case = held_case(session, case_id)
    if technique != case.technique:
        tell_technique(session, clinic, case, person.name, technique)
    return case


def _cases(session: Session, spellings: Spellings) -> list[Case]:
    """The latest photographs of a patient, the latest first, one more than `MOST` where there are more."""
    query = (
        select(Case)
        .where(Case.patient.in_(spellings.joined), Case.lane != WITHDRAWN)
        .order_by(Case.received_at.desc(), Case.id.desc())
        .limit(MOST + 1)
    )
    return list(session.scalars(query))


def _place(names: Sequence[str], cases: Sequence[Case], places: Mapping[str, Point]) -> Point | None:
    """Where a lesion was filed last; else where the site that came with its photographs is."""
    own = [place for name, place in places.items() if name in names]
    if own:
        return own[-1] if own[-1].view else None
    told = (region_of(case.site) for case in reversed(cases) if case.site)
    return next((place for place in told if place is not None), None)


def _standings(session: Session, series: Mapping[tuple[str, ...], Sequence[Case]]) -> dict[str, Standing]:
    """How the lesions compare, by the latest photograph of each that the model of the latest one assessed."""
    assessed = {
        names[0]: [case for case in cases if case.tier in ASSESSED and case.melanoma is not None]
        for names, cases in series.items()
    }
    every = [case for cases in assessed.values() for case in cases]
    if not every:
        return {}
    model = max(every, key=lambda case: (case.screened_at or case.received_at, case.id)).model_digest
    latest = {
        name: own[-1]
        for name, cases in assessed.items()
        if (own := [case for case in cases if case.model_digest == model])
    }
    rows = select(Embedding.case_id, Embedding.vector).where(
        Embedding.case_id.in_([case.id for case in latest.values()]), Embedding.model_digest == model
    )
    vectors: dict[int, Floats] = {
        number: np.frombuffer(vector, np.float16).astype(np.float32)
        for number, vector in session.execute(rows)
    }
    return compare_lesions(
        {name: case.melanoma for name, case in latest.items() if case.melanoma is not None},
        {name: vectors[case.id] for name, case in latest.items() if case.id in vectors},
    )
