"""What people make of cases: decisions, outcomes, alerts, and how well it went."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from sqlalchemy import select
from starlette.exceptions import HTTPException

from dermsentry.clinic.alerts.alerting import acknowledge, list_alerts
from dermsentry.clinic.monitoring.outcomes import record_outcome
from dermsentry.clinic.monitoring.performance import Performance
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import LARGEST_ID, Outcome, Read
from dermsentry.clinic.web.api.schemas import (
    ALWAYS,
    AlertRaised,
    Alerts,
    Decision,
    DecisionMade,
    NewOutcome,
    Number,
    OutcomeKept,
    Since,
    Until,
)
from dermsentry.clinic.web.errors import problem_responses
from dermsentry.clinic.web.filters import read_days
from dermsentry.clinic.web.measuring import measured
from dermsentry.clinic.web.security import (
    TokenDecides,
    TokenReads,
    TokenRecords,
    clinic_of,
)
from dermsentry.clinic.web.sending import find_case
from dermsentry.clinic.worklist.reading import decide, undo, visible_reads

router = APIRouter(prefix="/api", responses=ALWAYS)


@router.get(
    "/cases/{case_id}/decisions",
    summary="Decisions on a case",
    tags=["decisions"],
    responses=problem_responses(404, 422),
)
def decisions(request: Request, person: TokenReads, case_id: Number) -> list[DecisionMade]:
    """What was decided, as far as the token's owner may see it: a second reader is blind to the first."""
    clinic = clinic_of(request)
    with reading(clinic.engine) as session:
        found = find_case(session, case_id)
        return [_made(read) for read in visible_reads(session, clinic, found, person)]


@router.post(
    "/cases/{case_id}/decisions",
    summary="Decide a case",
    tags=["decisions"],
    status_code=201,
    responses=problem_responses(400, 404, 409, 422),
)
def decides(request: Request, person: TokenDecides, case_id: Number, given: Decision) -> DecisionMade:
    """Keep a decision in the name of the token's owner; the case's open alerts are acknowledged with it."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        find_case(session, case_id)
        read = decide(session, clinic, case_id, person, **given.model_dump())
        session.flush()
        return _made(read)


@router.delete(
    "/cases/{case_id}/decisions/{decision_id}",
    summary="Undo a decision",
    tags=["decisions"],
    status_code=204,
    response_class=Response,
    responses=problem_responses(404, 409, 422),
)
def undoes(
    request: Request,
    person: TokenDecides,
    case_id: Number,
    decision_id: Annotated[int, Path(ge=1, le=LARGEST_ID)],
) -> None:
    """Take a decision of one's own back; both stay in the audit trail."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        read = session.get(Read, decision_id)
        if read is None or read.case_id != case_id:
            raise HTTPException(404, f"There is no decision {decision_id} of case {case_id}.")
        undo(session, clinic, decision_id, person)


@router.get(
    "/cases/{case_id}/outcomes",
    summary="Outcomes of a case",
    tags=["outcomes"],
    responses=problem_responses(404, 422),
)
def outcomes(request: Request, _: TokenReads, case_id: Number) -> list[OutcomeKept]:
    """What it turned out to be, the latest first."""
    with reading(clinic_of(request).engine) as session:
        find_case(session, case_id)
        found = session.scalars(select(Outcome).where(Outcome.case_id == case_id).order_by(Outcome.id.desc()))
        return [OutcomeKept.model_validate(own) for own in found]


@router.post(
    "/cases/{case_id}/outcomes",
    summary="Enter an outcome",
    tags=["outcomes"],
    status_code=201,
    responses=problem_responses(400, 404, 422),
)
def records(request: Request, person: TokenRecords, case_id: Number, given: NewOutcome) -> OutcomeKept:
    """Keep what a case turned out to be; an earlier outcome stays, the latest counts."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        find_case(session, case_id)
        kept = record_outcome(session, clinic, case_id, person, **given.model_dump())
        session.flush()
        return OutcomeKept.model_validate(kept)


@router.get("/alerts", summary="Alerts", tags=["alerts"], responses=problem_responses(422))
def alerts(
    request: Request,
    _: TokenReads,
    all: Annotated[bool, Query(description="Also those that were acknowledged")] = False,
    before: Annotated[int, Query(ge=0, le=LARGEST_ID, description="The `next` of the page before")] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Alerts:
    """Open alerts, or all, the newest first."""
    with reading(clinic_of(request).engine) as session:
        found, more = list_alerts(session, all=all, before=before, limit=limit)
        return Alerts(alerts=[AlertRaised.model_validate(own) for own in found], next=more or None)


@router.post(
    "/cases/{case_id}/acknowledgement",
    summary="Acknowledge a case's alerts",
    tags=["alerts"],
    status_code=204,
    response_class=Response,
    responses=problem_responses(404, 422),
)
def acknowledges(request: Request, person: TokenDecides, case_id: Number) -> None:
    """Say that somebody has seen them, in the name of the token's owner; they are not sent further."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        find_case(session, case_id)
        acknowledge(session, clinic, case_id, person)


@router.get("/performance", summary="Performance", tags=["performance"], responses=problem_responses(422))
def performance(request: Request, _: TokenReads, since: Since = None, until: Until = None) -> Performance:
    """How often readers and model were right here, with 95 % intervals; what the alerts cost; drift."""
    _text, days = read_days({"since": str(since or ""), "until": str(until or "")})
    return measured(request, days)


def _made(read: Read) -> DecisionMade:
    return DecisionMade(
        id=read.id,
        case_id=read.case_id,
        reader=read.account.name,
        position=read.position,
        agrees=read.agrees,
        diagnosis=read.diagnosis,
        action=read.action,
        note=read.note,
        at=read.at,
    )
