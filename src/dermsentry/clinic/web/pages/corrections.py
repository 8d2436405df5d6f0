"""Putting right whose photograph a case is: conflicts, corrections, withdrawals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException

from dermsentry.clinic import lengths
from dermsentry.clinic.intake.admission import LONGEST, differing
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.database import find, reading, writing
from dermsentry.clinic.store.tables import IDENTIFYING, WITHDRAWN, Case, Match
from dermsentry.clinic.web.case_pictures import find_case
from dermsentry.clinic.web.rendering import page
from dermsentry.clinic.web.security import Corrector, Reader, clinic_of
from dermsentry.clinic.web.views import note_view
from dermsentry.clinic.worklist.corrections import (
    correct,
    corrections_of,
    count_conflicts,
    count_outdated,
    open_conflicts,
    outdated_exports,
    restore,
    settle_conflict,
    withdraw,
)
from dermsentry.clinic.worklist.matches import MOST_SHOWN, count_matches, open_matches, settle_match
from dermsentry.errors import InputError

router = APIRouter(include_in_schema=False)

Reason = Annotated[str, Form(max_length=2 * lengths.REASON)]


@router.get("/conflicts")
def conflicts(request: Request, person: Reader) -> Response:
    """Photographs held for a person, and reports to send again."""
    return _conflicts(request, person)


@router.post("/conflicts/matches")
def settles_matches(
    request: Request,
    person: Corrector,
    match: Annotated[list[int] | None, Form(max_length=MOST_SHOWN)] = None,
    resolution: Annotated[str, Form(max_length=lengths.CODE)] = "",
    reason: Reason = "",
) -> Response:
    """Say whether a case shows the same skin as others of another patient."""
    clinic = clinic_of(request)
    wrong = 0
    try:
        with writing(clinic.engine) as session:
            for number in match or ():
                own = find(session, Match, number)
                wrong = own.second_id if own is not None else 0
                settle_match(session, clinic, number, person, resolution, reason)
    except InputError as error:
        return _conflicts(request, person, problem=str(error), wrong_case=wrong, status=422)
    return RedirectResponse("/conflicts", 303)


@router.post("/cases/{case_id}/matches/{match_id}")
def settles_match(
    request: Request,
    person: Corrector,
    case_id: int,
    match_id: int,
    resolution: Annotated[str, Form(max_length=lengths.CODE)] = "",
    reason: Reason = "",
) -> Response:
    """Say whether a case shows the same skin as another, from its page."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        own = find(session, Match, match_id)
        if own is None or case_id not in (own.first_id, own.second_id):
            raise HTTPException(404, f"There is no match {match_id} of case {case_id}.")
        settle_match(session, clinic, match_id, person, resolution, reason)
    return RedirectResponse(f"/cases/{case_id}", 303)


@router.post("/conflicts/{conflict_id}")
def settles(
    request: Request,
    person: Corrector,
    conflict_id: int,
    resolution: Annotated[str, Form(max_length=lengths.CODE)] = "",
    reason: Reason = "",
) -> Response:
    """Settle a conflict: keep the case as it is, or correct it to what was told."""
    clinic = clinic_of(request)
    try:
        with writing(clinic.engine) as session:
            settle_conflict(session, clinic, conflict_id, person, resolution, reason)
    except InputError as error:
        given = {"resolution": resolution, "reason": reason}
        return _conflicts(request, person, problem=str(error), wrong=conflict_id, given=given, status=422)
    return RedirectResponse("/conflicts", 303)


@router.get("/cases/{case_id}/correction")
def correction(request: Request, person: Corrector, case_id: int) -> Response:
    """The forms to correct, withdraw or restore a case."""
    answer = _correction(request, person, case_id)
    note_view(clinic_of(request), person, case_id)
    return answer


@router.post("/cases/{case_id}/correction")
def corrects(
    request: Request,
    person: Corrector,
    case_id: int,
    patient: Annotated[str, Form(max_length=2 * lengths.PATIENT)] = "",
    lesion: Annotated[str, Form(max_length=2 * lengths.LESION)] = "",
    site: Annotated[str, Form(max_length=2 * lengths.SITE)] = "",
    accession: Annotated[str, Form(max_length=2 * lengths.ACCESSION)] = "",
    reason: Reason = "",
) -> Response:
    """Correct whose photograph a case is."""
    given = {"patient": patient, "lesion": lesion, "site": site, "accession": accession}

    def change(session: Session) -> None:
        correct(session, clinic_of(request), case_id, person, given, reason)

    return _changed(request, person, case_id, change, given | {"reason": reason})


@router.post("/cases/{case_id}/withdrawal")
def withdraws(request: Request, person: Corrector, case_id: int, reason: Reason = "") -> Response:
    """Withdraw a case."""

    def change(session: Session) -> None:
        withdraw(session, clinic_of(request), case_id, person, reason)

    return _changed(request, person, case_id, change, {"withdrawal": reason})


@router.post("/cases/{case_id}/restoration")
def restores(request: Request, person: Corrector, case_id: int, reason: Reason = "") -> Response:
    """Restore a withdrawn case."""

    def change(session: Session) -> None:
        restore(session, clinic_of(request), case_id, person, reason)

    return _changed(request, person, case_id, change, {"withdrawal": reason})


def _changed(
    request: Request,
    person: Person,
    case_id: int,
    change: Callable[[Session], None],
    given: Mapping[str, str],
) -> Response:
    try:
        with writing(clinic_of(request).engine) as session:
            find_case(session, case_id)
            change(session)
    except InputError as error:
        return _correction(request, person, case_id, problem=str(error), given=given, status=422)
    return RedirectResponse(f"/cases/{case_id}", 303)


def _correction(
    request: Request,
    person: Person,
    case_id: int,
    *,
    problem: str = "",
    given: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    with reading(clinic_of(request).engine) as session:
        case = find_case(session, case_id)
        kept = {name: getattr(case, name) for name in IDENTIFYING}
        return page(
            request,
            "correction.html",
            person=person,
            status=status,
            case=case,
            problem=problem,
            given={**kept, "reason": "", "withdrawal": "", **(given or {})},
            longest=LONGEST,
            most_reason=lengths.REASON,
            corrections=corrections_of(session, case_id),
            outdated=outdated_exports(session, case_id),
        )


def _conflicts(
    request: Request,
    person: Person,
    *,
    problem: str = "",
    wrong: int = 0,
    wrong_case: int = 0,
    given: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    with reading(clinic_of(request).engine) as session:
        withdrawn = session.scalar(select(func.count()).select_from(Case).where(Case.lane == WITHDRAWN))
        held, doubts, outdated = open_conflicts(session), open_matches(session), outdated_exports(session)
        return page(
            request,
            "conflicts.html",
            person=person,
            status=status,
            conflicts=held,
            differs={own.id: differing(own.case, own.told) for own in held},
            more_conflicts=count_conflicts(session) - len(held),
            doubts=doubts,
            more_matches=count_matches(session) - sum(len(own.matches) for own in doubts),
            wrong_case=wrong_case,
            fields=IDENTIFYING,
            outdated=outdated,
            more_outdated=count_outdated(session) - len(outdated),
            withdrawn=withdrawn,
            problem=problem,
            wrong=wrong,
            given=given or {"resolution": "", "reason": ""},
            most_reason=lengths.REASON,
        )
