"""Putting right: photographs held for a person, corrections and withdrawals, and reports exported before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Path, Request
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException

from dermsentry.clinic.store.database import find, reading, writing
from dermsentry.clinic.store.tables import IDENTIFYING, LARGEST_ID, Conflict, Correction, Match
from dermsentry.clinic.web.api.schemas import (
    ALWAYS,
    ConflictOpen,
    ConflictSettled,
    CorrectedCase,
    CorrectionMade,
    MatchFound,
    MatchResolution,
    Number,
    ReportOutdated,
    Resolution,
    Why,
)
from dermsentry.clinic.web.case_pictures import find_case
from dermsentry.clinic.web.problems import problem_responses
from dermsentry.clinic.web.security import TokenCorrects, TokenReads, clinic_of
from dermsentry.clinic.web.views import note_view, note_views
from dermsentry.clinic.worklist.corrections import (
    correct,
    corrections_of,
    open_conflicts,
    outdated_exports,
    restore,
    settle_conflict,
    withdraw,
)
from dermsentry.clinic.worklist.matches import open_matches, settle_match

router = APIRouter(prefix="/api", responses=ALWAYS)


@router.get("/conflicts", summary="List conflicts", tags=["corrections"])
def conflicts(request: Request, person: TokenReads) -> list[ConflictOpen]:
    """Photographs that came again for somebody or something else, the oldest first; up to 200."""
    with reading(clinic_of(request).engine) as session:
        found = open_conflicts(session)
        cases = [own.case_id for own in found]
        answer = [ConflictOpen.model_validate(own) for own in found]
    note_views(clinic_of(request), person, cases)
    return answer


@router.post(
    "/conflicts/{conflict_id}/resolution",
    summary="Settle a conflict",
    tags=["corrections"],
    status_code=201,
    responses=problem_responses(400, 404),
)
def settles(
    request: Request,
    person: TokenCorrects,
    conflict_id: Annotated[int, Path(ge=1, le=LARGEST_ID)],
    given: Resolution,
) -> ConflictSettled:
    """Keep the case as it is, or correct it to what was told; in the name of the token's owner."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        if find(session, Conflict, conflict_id) is None:
            raise HTTPException(404, f"There is no conflict {conflict_id}.")
        settled = settle_conflict(session, clinic, conflict_id, person, given.resolution, given.reason)
        session.flush()
        return ConflictSettled.model_validate(settled)


@router.get("/matches", summary="List matches to settle", tags=["corrections"])
def matches(request: Request, person: TokenReads) -> list[MatchFound]:
    """Cases that show the same skin and are filed under two patients, the oldest first; up to 200."""
    with reading(clinic_of(request).engine) as session:
        found = [MatchFound.model_validate(own) for doubt in open_matches(session) for own in doubt.matches]
    note_views(clinic_of(request), person, [number for own in found for number in (own.case, own.other)])
    return found


@router.post(
    "/matches/{match_id}/resolution",
    summary="Settle a match",
    tags=["corrections"],
    status_code=201,
    responses=problem_responses(400, 404),
)
def settles_match(
    request: Request,
    person: TokenCorrects,
    match_id: Annotated[int, Path(ge=1, le=LARGEST_ID)],
    given: MatchResolution,
) -> MatchFound:
    """Say whether two cases show the same skin; in the name of the token's owner. Neither case changes."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        if find(session, Match, match_id) is None:
            raise HTTPException(404, f"There is no match {match_id}.")
        settled = settle_match(session, clinic, match_id, person, given.resolution, given.reason)
        session.flush()
        return MatchFound.model_validate(settled)


@router.get(
    "/cases/{case_id}/corrections",
    summary="List the corrections of a case",
    tags=["corrections"],
    responses=problem_responses(404),
)
def corrections(request: Request, person: TokenReads, case_id: Number) -> list[CorrectionMade]:
    """What was put right about a case, the oldest first."""
    with reading(clinic_of(request).engine) as session:
        find_case(session, case_id)
        found = [CorrectionMade.model_validate(own) for own in corrections_of(session, case_id)]
    note_view(clinic_of(request), person, case_id)
    return found


@router.post(
    "/cases/{case_id}/corrections",
    summary="Correct a case",
    tags=["corrections"],
    status_code=201,
    responses=problem_responses(400, 404),
)
def corrects(
    request: Request, person: TokenCorrects, case_id: Number, given: CorrectedCase
) -> CorrectionMade:
    """Correct whose photograph it is. Whoever was notified of the case is notified again."""
    told = {name: getattr(given, name) for name in IDENTIFYING if getattr(given, name) is not None}

    def change(session: Session) -> Correction:
        return correct(session, clinic_of(request), case_id, person, told, given.reason)

    return _changed(request, case_id, change)


@router.post(
    "/cases/{case_id}/withdrawal",
    summary="Withdraw a case",
    tags=["corrections"],
    status_code=201,
    responses=problem_responses(400, 404),
)
def withdraws(request: Request, person: TokenCorrects, case_id: Number, given: Why) -> CorrectionMade:
    """Take it out of every list and figure; its reports are then entered in error."""

    def change(session: Session) -> Correction:
        return withdraw(session, clinic_of(request), case_id, person, given.reason)

    return _changed(request, case_id, change)


@router.post(
    "/cases/{case_id}/restoration",
    summary="Restore a withdrawn case",
    tags=["corrections"],
    status_code=201,
    responses=problem_responses(400, 404),
)
def restores(request: Request, person: TokenCorrects, case_id: Number, given: Why) -> CorrectionMade:
    """Put it back where it was."""

    def change(session: Session) -> Correction:
        return restore(session, clinic_of(request), case_id, person, given.reason)

    return _changed(request, case_id, change)


def _changed(request: Request, case_id: int, change: Callable[[Session], Correction]) -> CorrectionMade:
    with writing(clinic_of(request).engine) as session:
        find_case(session, case_id)
        made = change(session)
        session.refresh(made, ["account"])
        return CorrectionMade.model_validate(made)


@router.get("/exports/outdated", summary="List outdated reports", tags=["exports"])
def outdated(request: Request, _: TokenReads) -> list[ReportOutdated]:
    """Reports to fetch again: their case was decided, corrected or withdrawn since. Up to 200."""
    with reading(clinic_of(request).engine) as session:
        return [
            ReportOutdated(case=own.case_id, form=own.form, exported_at=own.exported.at)
            for own in outdated_exports(session)
        ]
