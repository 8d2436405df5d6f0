"""The audit trail, of a case or whole, and its verification."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from sqlalchemy import select
from sqlalchemy.orm import Session

from dermsentry.clinic.store.database import reading
from dermsentry.clinic.store.tables import LARGEST_ID, Event
from dermsentry.clinic.web.api.schemas import ALWAYS, AuditEvent, AuditEvents, AuditVerdict, Number
from dermsentry.clinic.web.case_pictures import find_case
from dermsentry.clinic.web.pages.audit_trail import verified
from dermsentry.clinic.web.problems import problem_responses
from dermsentry.clinic.web.security import TokenAudits, clinic_of

router = APIRouter(prefix="/api", responses=ALWAYS)


@router.get(
    "/cases/{case_id}/audit",
    summary="Get the audit trail of a case",
    tags=["audit"],
    responses=problem_responses(404),
)
def audit_of_case(
    request: Request,
    _: TokenAudits,
    case_id: Number,
    after: Annotated[int, Query(ge=0, le=LARGEST_ID)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> AuditEvents:
    """The events of a case, the oldest first."""
    with reading(clinic_of(request).engine) as session:
        find_case(session, case_id)
        return _events(session, after, limit, f"case {case_id}")


@router.get("/audit", summary="Get the audit trail", tags=["audit"])
def audit(
    request: Request,
    _: TokenAudits,
    after: Annotated[int, Query(ge=0, le=LARGEST_ID)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> AuditEvents:
    """All events, the oldest first."""
    with reading(clinic_of(request).engine) as session:
        return _events(session, after, limit)


@router.get("/audit/verification", summary="Verify the audit trail", tags=["audit"])
def verification(request: Request, _: TokenAudits) -> AuditVerdict:
    """Verify the whole hash chain, and that tables and photographs are what it tells.

    `problems` is empty if all of it is intact. Every photograph is read.
    """
    verdict = verified(clinic_of(request))
    return AuditVerdict(events=verdict.events, problems=list(verdict.problems))


def _events(session: Session, after: int, limit: int, subject: str = "") -> AuditEvents:
    query = select(Event).where(Event.id > after).order_by(Event.id).limit(limit + 1)
    if subject:
        query = query.where(Event.subject == subject)
    found = session.scalars(query).all()
    more = found[limit - 1].id if len(found) > limit else None
    return AuditEvents(events=[AuditEvent.model_validate(event) for event in found[:limit]], next=more)
