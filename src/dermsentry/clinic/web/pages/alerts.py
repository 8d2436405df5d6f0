"""Alerts: listing and acknowledging them, and resending undelivered notifications."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from sqlalchemy import func, select

from dermsentry.clinic.alerts.alerting import acknowledge, list_alerts, urgent_alerts
from dermsentry.clinic.alerts.delivery import dead_letters, send_again
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import LARGEST_ID, Alert, Delivery
from dermsentry.clinic.web.case_pictures import find_case
from dermsentry.clinic.web.rendering import page
from dermsentry.clinic.web.security import Administrator, Decider, Reader, clinic_of

router = APIRouter(include_in_schema=False)

AT_ONCE = 50


@router.get("/alerts")
def alerts(
    request: Request,
    person: Reader,
    before: Annotated[int, Query(ge=0, le=LARGEST_ID)] = 0,
    all: bool = False,
) -> Response:
    """Open alerts, the most urgent first; or all of them, the newest first."""
    clinic = clinic_of(request)
    with reading(clinic.engine) as session:
        number = 0
        if all:
            found, more = list_alerts(session, all=True, before=before, limit=AT_ONCE)
        else:
            (found, number), more = urgent_alerts(session), 0
        dead = dead_letters(session)
        pending = session.scalar(
            select(func.count()).select_from(Delivery).where(Delivery.state == "pending")
        )
        return page(
            request,
            "alerts.html",
            person=person,
            alerts=found,
            more=more,
            number=number,
            all=all,
            dead=dead,
            pending=pending,
            settings=clinic.settings,
        )


@router.get("/alerts/new")
def new_alerts(
    request: Request, _: Reader, since: Annotated[int, Query(ge=0, le=LARGEST_ID)] = 0
) -> Response:
    """How many open alerts were raised after one, and the number of the latest: for the title of a page."""
    still_open = select(func.count(), func.max(Alert.id)).where(Alert.acknowledged_at.is_(None))
    with reading(clinic_of(request).engine) as session:
        _all, last = session.execute(still_open).one()
        new, _last = session.execute(still_open.where(Alert.id > since)).one()
    return JSONResponse({"new": new, "last": last or 0})


@router.post("/cases/{case_id}/acknowledge")
def acknowledges(request: Request, person: Decider, case_id: int) -> Response:
    """Acknowledge the open alerts of a case."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        find_case(session, case_id)
        acknowledge(session, clinic, case_id, person)
    return RedirectResponse("/alerts", 303)


@router.post("/messages/{delivery_id}/again")
def sends_again(request: Request, person: Administrator, delivery_id: int) -> Response:
    """Queue an undelivered notification again."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        send_again(session, clinic, delivery_id, person.name)
    return RedirectResponse("/alerts", 303)
