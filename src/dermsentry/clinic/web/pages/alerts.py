"""Alerts: listing and acknowledging them, one case or several; resending undelivered notifications."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from sqlalchemy import func, select

from dermsentry.clinic.alerts.acknowledging import (
    Acknowledged,
    acknowledge_chosen,
    batch_of_alerts,
    chosen_alerts,
    numbers_of,
    reopen_chosen,
    why_not_acknowledged,
)
from dermsentry.clinic.alerts.alerting import acknowledge, list_alerts, urgent_alerts
from dermsentry.clinic.alerts.delivery import dead_letters, send_again
from dermsentry.clinic.batches import undo_minutes, undoable_until
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import LARGEST_ID, Alert, Delivery
from dermsentry.clinic.web.case_pictures import find_case
from dermsentry.clinic.web.rendering import page
from dermsentry.clinic.web.security import Administrator, Decider, Reader, clinic_of

router = APIRouter(include_in_schema=False)

AT_ONCE = 50

Chosen = Annotated[list[str] | None, Form(alias="alert")]


@router.get("/alerts")
def alerts(
    request: Request,
    person: Reader,
    before: Annotated[int, Query(ge=0, le=LARGEST_ID)] = 0,
    all: bool = False,
    done: int = 0,
) -> Response:
    """Open alerts, the most urgent first; or all of them, the newest first. `done`: acknowledged together."""
    clinic = clinic_of(request)
    with reading(clinic.engine) as session:
        number = 0
        if all:
            found, more = list_alerts(session, all=True, before=before, limit=AT_ONCE)
        else:
            (found, number), more = urgent_alerts(session), 0
        together = batch_of_alerts(session, done, person)
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
            together=together,
            together_until=_undoable_until(together),
            batch=done,
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


@router.post("/alerts/review")
def reviews(request: Request, person: Decider, given: Chosen = None) -> Response:
    """The chosen alerts with their photographs, to be confirmed."""
    wanted = numbers_of(given or [])
    with reading(clinic_of(request).engine) as session:
        found = [(alert, why_not_acknowledged(alert)) for alert in chosen_alerts(session, wanted)]
        return page(
            request,
            "alerts_review.html",
            person=person,
            alerts=[alert for alert, problem in found if not problem],
            left=[(alert, problem) for alert, problem in found if problem],
            minutes=undo_minutes(),
        )


@router.post("/alerts/acknowledge")
def acknowledges_together(request: Request, person: Decider, given: Chosen = None) -> Response:
    """Acknowledge them, each with an event of its own."""
    clinic, wanted = clinic_of(request), numbers_of(given or [])
    with writing(clinic.engine) as session:
        return _became(request, person, acknowledge_chosen(session, clinic, person, wanted), undone=False)


@router.post("/alerts/{batch}/undo")
def undoes(request: Request, person: Decider, batch: int) -> Response:
    """Open again what was acknowledged together."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        return _became(request, person, reopen_chosen(session, clinic, batch, person), undone=True)


def _became(request: Request, person: Person, batch: Acknowledged, *, undone: bool) -> Response:
    """Back to the alerts; before that which were left, and why."""
    if not batch.left:
        return RedirectResponse("/alerts" if undone else f"/alerts?done={batch.key}", 303)
    until = None if undone else _undoable_until(batch.alerts)
    return page(request, "alerts_done.html", person=person, batch=batch, undone=undone, until=until)


def _undoable_until(alerts: Sequence[Alert]) -> datetime | None:
    return undoable_until(own.acknowledged_at for own in alerts if own.acknowledged_at)


@router.post("/messages/{delivery_id}/again")
def sends_again(request: Request, person: Administrator, delivery_id: int) -> Response:
    """Queue an undelivered notification again."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        send_again(session, clinic, delivery_id, person.name)
    return RedirectResponse("/alerts", 303)
