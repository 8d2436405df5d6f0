"""The audit trail: reading it, verifying it, exporting it as CSV."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from dermsentry.clinic import lengths
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.language import translated
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.audit_trail import Verdict, verify
from dermsentry.clinic.store.database import find, reading
from dermsentry.clinic.store.events import ACTIONS, ReadEvent, ReadUndoneEvent
from dermsentry.clinic.store.records import MOST_TOLD, verify_records
from dermsentry.clinic.store.tables import LARGEST_ID, Case, Event, now
from dermsentry.clinic.web.downloads import send_audit_trail
from dermsentry.clinic.web.rendering import page, part
from dermsentry.clinic.web.security import Auditor, clinic_of
from dermsentry.clinic.worklist.reading import visible_reads

router = APIRouter(include_in_schema=False)

AT_ONCE = 100
READS = (ReadEvent.action, ReadUndoneEvent.action)
HIDDEN = [("", "shown once the case is decided")]


@router.get("/audit")
def audit(
    request: Request,
    person: Auditor,
    before: Annotated[int, Query(ge=0, le=LARGEST_ID)] = 0,
    subject: Annotated[str, Query(max_length=lengths.SUBJECT)] = "",
    action: Annotated[str, Query(max_length=lengths.ACTION)] = "",
) -> Response:
    """Events, the newest first; of one subject or action if asked for."""
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
        blind = _blind_to(session, clinic_of(request), person, events)
    return page(
        request,
        "audit.html",
        person=person,
        events=[
            (event, HIDDEN if event.id in blind else _details(event.detail)) for event in events[:AT_ONCE]
        ],
        more=events[AT_ONCE - 1].id if len(events) > AT_ONCE else 0,
        subject=subject,
        action=action,
        actions=sorted({*ACTIONS, action} - {""}, key=lambda own: translated(own).casefold()),
        continued=bool(before),
    )


@router.post("/audit/verification")
def verifies(request: Request, person: Auditor) -> Response:
    """Verify the whole chain, tables and photographs, and list what is wrong."""
    return HTMLResponse(
        part(request, "_verdict.html", person=person, verdict=verified(clinic_of(request)), at=now())
    )


def verified(clinic: Clinic) -> Verdict:
    """What is wrong with the events, and with tables and photographs that are not as the events tell."""
    with reading(clinic.engine) as session:
        verdict = verify(session, clinic.trail)
        records = tuple(islice(verify_records(session, clinic.pictures), MOST_TOLD))
    return replace(verdict, problems=(*verdict.problems, *records))


@router.get("/audit.csv")
def export(request: Request, person: Auditor) -> Response:
    """The whole chain as CSV."""
    return send_audit_trail(request, person)


def _blind_to(session: Session, clinic: Clinic, person: Person, events: Iterable[Event]) -> set[int]:
    """The events that would unblind this person to a read by someone else."""
    found = set()
    for event in events:
        if event.action not in READS or event.actor == person.name or clinic.settings.readers == 1:
            continue
        case = find(session, Case, int(event.subject.removeprefix("case ")))
        if case is None or case.stage == "decided":
            continue
        seen = {read.id for read in visible_reads(session, clinic, case, person)}
        if json.loads(event.detail).get("read") not in seen:
            found.add(event.id)
    return found


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
