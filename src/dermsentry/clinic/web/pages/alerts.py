"""Alerts: which are open, acknowledging them, and messages that could not be delivered."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import func, select
from sqlalchemy.orm import joinedload

from dermsentry.clinic.alerting import acknowledge
from dermsentry.clinic.database import reading, writing
from dermsentry.clinic.tables import Alert, Delivery
from dermsentry.clinic.web.rendering import page
from dermsentry.clinic.web.security import Decider, Reader, clinic_of
from dermsentry.clinic.web.sending import find_case

router = APIRouter(include_in_schema=False)

AT_ONCE = 50


@router.get("/alerts")
def alerts(
    request: Request, person: Reader, before: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0, all: bool = False
) -> Response:
    """Open alerts, or all of them, the newest first."""
    clinic = clinic_of(request)
    query = select(Alert).options(joinedload(Alert.case)).order_by(Alert.id.desc()).limit(AT_ONCE + 1)
    if not all:
        query = query.where(Alert.acknowledged_at.is_(None))
    if before:
        query = query.where(Alert.id < before)
    with reading(clinic.engine) as session:
        found = list(session.scalars(query))
        dead = session.scalars(
            select(Delivery).where(Delivery.state == "dead").order_by(Delivery.id.desc()).limit(20)
        ).all()
        pending = session.scalar(
            select(func.count()).select_from(Delivery).where(Delivery.state == "pending")
        )
    return page(
        request,
        "alerts.html",
        person=person,
        alerts=found[:AT_ONCE],
        more=found[AT_ONCE - 1].id if len(found) > AT_ONCE else 0,
        all=all,
        dead=dead,
        pending=pending,
        settings=clinic.settings,
    )


@router.post("/cases/{case_id}/acknowledge")
def acknowledges(request: Request, person: Decider, case_id: int) -> Response:
    """Acknowledge the open alerts of a case."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        find_case(session, case_id)
        acknowledge(session, clinic.trail, case_id, person.account_id, person.name)
    return RedirectResponse("/alerts", 303)
