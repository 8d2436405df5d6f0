"""What people make of cases: decisions, outcomes, alerts, and the performance measured from them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy import select
from starlette.exceptions import HTTPException

from dermsentry.clinic.alerts.alerting import acknowledge, list_alerts
from dermsentry.clinic.monitoring.outcomes import record_outcome, see_named
from dermsentry.clinic.monitoring.performance import Performance
from dermsentry.clinic.store.database import held_case, reading, writing
from dermsentry.clinic.store.tables import LARGEST_ID, Outcome, Read
from dermsentry.clinic.web.api.schemas import (
    ALWAYS,
    AlertRaised,
    Alerts,
    Amendment,
    Decision,
    DecisionMade,
    DecisionReplaced,
    NewOutcome,
    Number,
    OutcomeKept,
    Since,
    Until,
)
from dermsentry.clinic.web.case_pictures import find_case
from dermsentry.clinic.web.filters import read_days
from dermsentry.clinic.web.performance_cache import cached_performance
from dermsentry.clinic.web.problems import Problem, problem_responses, request_number
from dermsentry.clinic.web.security import TokenDecides, TokenReads, TokenRecords, clinic_of
from dermsentry.clinic.web.views import note_list, note_view
from dermsentry.clinic.worklist.reading import CannotRead, DecisionChanged, amend, decide, undo, visible_reads

router = APIRouter(prefix="/api", responses=ALWAYS)


@router.get(
    "/cases/{case_id}/decisions",
    summary="List the decisions on a case",
    tags=["decisions"],
    responses=problem_responses(404),
)
def decisions(request: Request, person: TokenReads, case_id: Number) -> list[DecisionMade]:
    """The decisions that the token's owner may see: a second reader is blind to the first."""
    clinic = clinic_of(request)
    with reading(clinic.engine) as session:
        reads = visible_reads(session, clinic, find_case(session, case_id), person)
        found = [DecisionMade.model_validate(read) for read in reads]
    note_view(clinic, person, case_id)
    return found


@router.post(
    "/cases/{case_id}/decisions",
    summary="Decide a case",
    tags=["decisions"],
    status_code=201,
    responses=problem_responses(400, 404, 409),
)
def decides(request: Request, person: TokenDecides, case_id: Number, given: Decision) -> DecisionMade:
    """Save a decision in the name of the token's owner; it acknowledges the case's open alerts."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        find_case(session, case_id)
        read = decide(session, clinic, case_id, person, **given.values_given())
        session.flush()
        return DecisionMade.model_validate(read)


@router.post(
    "/cases/{case_id}/amendments",
    summary="Amend the decision on a case",
    tags=["decisions"],
    status_code=201,
    response_model=DecisionMade,
    responses=problem_responses(400, 404)
    | {
        409: {
            "model": Problem | DecisionReplaced,
            "description": "Not possible now, or another decision counts",
        }
    },
)
def amends(
    request: Request, person: TokenDecides, case_id: Number, given: Amendment
) -> DecisionMade | JSONResponse:
    """Change the decision, if the token's owner made it or is an administrator; the earlier one is kept.

    `instead_of` is the number of the decision that you saw. If another one counts by now, nothing is changed,
    and the answer has both.
    """
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        found = find_case(session, case_id)
        try:
            read = amend(session, clinic, case_id, person, **given.values_given())
        except DecisionChanged as error:
            shown = [
                DecisionMade.model_validate(own) for own in visible_reads(session, clinic, found, person)
            ]
            told = DecisionReplaced(
                error="decision-changed",
                detail=str(error),
                request_id=request_number(request),
                seen=next((own for own in shown if own.id == given.instead_of), None),
                current=shown[-1] if shown else None,
            )
            return JSONResponse(told.model_dump(mode="json"), 409)
        return DecisionMade.model_validate(read)


@router.delete(
    "/cases/{case_id}/decisions/{decision_id}",
    summary="Undo a decision",
    tags=["decisions"],
    status_code=204,
    response_class=Response,
    responses=problem_responses(404, 409),
)
def undoes(
    request: Request,
    person: TokenDecides,
    case_id: Number,
    decision_id: Annotated[int, Path(ge=1, le=LARGEST_ID)],
) -> None:
    """Undo one's own decision; both events stay in the audit trail."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        read = session.get(Read, decision_id)
        if read is None or read.case_id != case_id:
            raise HTTPException(404, f"There is no decision {decision_id} of case {case_id}.")
        undo(session, clinic, decision_id, person)


@router.get(
    "/cases/{case_id}/outcomes",
    summary="List the outcomes of a case",
    tags=["outcomes"],
    responses=problem_responses(404),
)
def outcomes(request: Request, person: TokenReads, case_id: Number) -> list[OutcomeKept]:
    """The outcomes of a case, the most recent first."""
    with reading(clinic_of(request).engine) as session:
        find_case(session, case_id)
        kept = session.scalars(select(Outcome).where(Outcome.case_id == case_id).order_by(Outcome.id.desc()))
        found = [OutcomeKept.model_validate(own) for own in kept]
    note_view(clinic_of(request), person, case_id)
    return found


@router.post(
    "/cases/{case_id}/outcomes",
    summary="Enter an outcome",
    tags=["outcomes"],
    status_code=201,
    responses=problem_responses(400, 404, 409),
)
def records(request: Request, person: TokenRecords, case_id: Number, given: NewOutcome) -> OutcomeKept:
    """Save the final diagnosis of a case. Earlier outcomes are kept; the most recent counts.

    Where the case has a patient or an accession number, send one of them along; 409 if none comes, or another
    one than the case's.
    """
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        see_named(find_case(session, case_id), patient=given.patient, accession=given.accession)
        kept = record_outcome(session, clinic, case_id, person, **given.model_dump())
        session.flush()
        return OutcomeKept.model_validate(kept)


@router.get("/alerts", summary="List alerts", tags=["alerts"])
def alerts(
    request: Request,
    person: TokenReads,
    all: Annotated[bool, Query(description="Include acknowledged alerts")] = False,
    before: Annotated[int, Query(ge=0, le=LARGEST_ID, description="`next` of the previous page")] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Alerts:
    """Open alerts, or all alerts, the newest first."""
    with reading(clinic_of(request).engine) as session:
        found, more = list_alerts(session, all=all, before=before, limit=limit)
        answer = Alerts(alerts=[AlertRaised.model_validate(own) for own in found], next=more or None)
    note_list(clinic_of(request), person, "alerts", {"all": "true"} if all else {})
    return answer


@router.post(
    "/cases/{case_id}/acknowledgement",
    summary="Acknowledge the alerts of a case",
    tags=["alerts"],
    status_code=204,
    response_class=Response,
    responses=problem_responses(404, 409),
)
def acknowledges(request: Request, person: TokenDecides, case_id: Number) -> None:
    """Acknowledge them in the name of the token's owner; they are not escalated.

    409 for a photograph that is part of a case, which has its alerts.
    """
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        case = held_case(session, find_case(session, case_id).id)
        if case.part_of is not None:
            raise CannotRead(f"This photograph is part of case {case.part_of}; acknowledge that one.")
        acknowledge(session, clinic, case_id, person)


@router.get("/performance", summary="Get performance", tags=["performance"])
def performance(
    request: Request, person: TokenReads, since: Since = None, until: Until = None
) -> Performance:
    """Accuracy of readers and model here with 95 % intervals, alert burden, drift.

    Findings of silent mode count only for a token with `audit:read`.
    """
    _text, days = read_days({"since": str(since or ""), "until": str(until or "")})
    return cached_performance(request, person, days)
