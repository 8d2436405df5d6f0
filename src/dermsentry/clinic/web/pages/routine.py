"""Discharging several routine cases at once: looked at together, confirmed, and taken back together."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from dermsentry.clinic.batches import undo_minutes, undoable_until
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.web.filters import as_query
from dermsentry.clinic.web.pages.worklist import asked_for
from dermsentry.clinic.web.rendering import page
from dermsentry.clinic.web.security import Decider, clinic_of
from dermsentry.clinic.web.views import note_views
from dermsentry.clinic.worklist.parts import parts_of
from dermsentry.clinic.worklist.routine import (
    batch_of,
    cases_of,
    chosen,
    discharge,
    undo_batch,
    why_not,
)

router = APIRouter(include_in_schema=False)

Chosen = Annotated[list[str] | None, Form(alias="case")]


@router.post("/routine/review")
def reviews(request: Request, person: Decider, given: Chosen = None) -> Response:
    """The chosen cases with their photographs, to be confirmed."""
    clinic = clinic_of(request)
    wanted = chosen(given or [])
    text, _ = asked_for(request, person)
    with reading(clinic.engine) as session:
        found = cases_of(session, wanted)
        problems = {case.id: why_not(session, clinic, case, person) for case in found}
        parts = {case.id: parts_of(session, case.id) for case in found}
        answer = page(
            request,
            "routine.html",
            person=person,
            parts=parts,
            cases=[case for case in found if not problems[case.id]],
            left={number: problem for number, problem in problems.items() if problem},
            minutes=undo_minutes(),
            carried=as_query(text),
        )
    shown = [number for number, problem in problems.items() if not problem]
    note_views(clinic, person, [*shown, *(own.id for number in shown for own in parts[number])])
    return answer


@router.post("/routine/discharge")
def discharges(request: Request, person: Decider, given: Chosen = None) -> Response:
    """Discharge them, each by a read of its own."""
    clinic = clinic_of(request)
    text, _ = asked_for(request, person)
    with writing(clinic.engine) as session:
        batch = discharge(session, clinic, person, chosen(given or []))
    if not batch.left:
        return RedirectResponse(f"/?{as_query(text, batch=batch.key)}", 303)
    with reading(clinic.engine) as session:
        reads = batch_of(session, batch.key, person)
    return page(
        request,
        "routine_done.html",
        person=person,
        batch=batch,
        undone=False,
        until=undoable_until(read.at for read in reads),
        carried=as_query(text),
    )


@router.post("/routine/{batch}/undo")
def undoes(request: Request, person: Decider, batch: str) -> Response:
    """Take back what was discharged together."""
    clinic = clinic_of(request)
    text, _ = asked_for(request, person)
    with writing(clinic.engine) as session:
        found = undo_batch(session, clinic, batch, person)
    if not found.left:
        return RedirectResponse(f"/?{as_query(text)}", 303)
    return page(
        request,
        "routine_done.html",
        person=person,
        batch=found,
        undone=True,
        until=None,
        carried=as_query(text),
    )
