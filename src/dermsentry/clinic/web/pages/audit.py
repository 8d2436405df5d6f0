"""The audit trail: read it, verify it, take it away as CSV."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse
from sqlalchemy import select

from dermsentry.clinic.audit_trail import as_csv, verify
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.database import reading
from dermsentry.clinic.tables import Event, now
from dermsentry.clinic.web.exporting import CSV, in_blocks, note_export
from dermsentry.clinic.web.rendering import page, part
from dermsentry.clinic.web.security import Auditor, clinic_of

router = APIRouter(include_in_schema=False)

AT_ONCE = 100


@router.get("/audit")
def audit(
    request: Request,
    person: Auditor,
    before: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    subject: Annotated[str, Query(max_length=120)] = "",
    action: Annotated[str, Query(max_length=60)] = "",
) -> Response:
    """Events, the newest first; of one subject or action where asked for."""
    query = select(Event).order_by(Event.id.desc()).limit(AT_ONCE + 1)
    subject, action = subject.replace("\0", "").strip(), action.replace("\0", "").strip()
    if subject.isdecimal():
        subject = f"case {subject}"
    for column, value in ((Event.subject, subject), (Event.action, action)):
        if value:
            query = query.where(column == value)
    if before:
        query = query.where(Event.id < before)
    with reading(clinic_of(request).engine) as session:
        events = list(session.scalars(query))
    return page(
        request,
        "audit.html",
        person=person,
        events=[(event, _details(event.detail)) for event in events[:AT_ONCE]],
        more=events[AT_ONCE - 1].id if len(events) > AT_ONCE else 0,
        subject=subject,
        action=action,
        continued=bool(before),
    )


@router.post("/audit/verification")
def verifies(request: Request, _: Auditor) -> Response:
    """Go through the whole chain, and say what is wrong with it."""
    clinic = clinic_of(request)
    with reading(clinic.engine) as session:
        verdict = verify(session, clinic.trail)
    return HTMLResponse(part("_verdict.html", verdict=verdict, at=now()))


@router.get("/audit.csv")
def export(request: Request, person: Auditor) -> Response:
    """The whole chain as CSV."""
    clinic = clinic_of(request)
    note_export(clinic, person, "audit trail", {"as": "CSV"})
    name = f"audit-{now():%Y-%m-%d}.csv"
    return StreamingResponse(
        _lines(clinic),
        media_type=CSV,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _lines(clinic: Clinic) -> Iterator[str]:
    with reading(clinic.engine) as session:
        yield from in_blocks(as_csv(session))


def _details(text: str) -> list[tuple[str, str]]:
    """An event's detail as names and values, for a person."""
    found = json.loads(text)
    if not isinstance(found, dict):
        return [("", text)]
    return [(name, _shown(value)) for name, value in found.items()]


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
