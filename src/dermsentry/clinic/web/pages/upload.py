"""Uploading photographs, and the status of one's own uploads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from sqlalchemy import or_, select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from dermsentry.clinic.intake.admission import LONGEST, MAX_BYTES
from dermsentry.clinic.language import read_by, translated
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.database import reading
from dermsentry.clinic.store.tables import TECHNIQUES, Case, Conflict, Read, now
from dermsentry.clinic.web.case_pictures import find_case, send_picture
from dermsentry.clinic.web.problems import wants_page
from dermsentry.clinic.web.rendering import page, part, reading_of
from dermsentry.clinic.web.security import MOST_FILES, Sender, clinic_of
from dermsentry.clinic.web.uploads import receive_all

router = APIRouter(include_in_schema=False)

SHOWN = 20
SETTLED_FOR = timedelta(days=7)


@router.get("/upload")
def upload_form(request: Request, person: Sender) -> Response:
    """The upload page."""
    return _form(request, person)


@router.post("/upload")
async def upload(request: Request, person: Sender) -> Response:
    """Store the photographs of a form; answers scripts in JSON."""
    sent = await receive_all(request, person, "page")
    if wants_page(request):
        held = any(one.held for one in sent)
        status = 200 if any(not one.problem for one in sent) else 409 if held else 422
        return await run_in_threadpool(_form, request, person, sent=sent, status=status)
    with read_by(reading_of(request, person)):
        return JSONResponse([{**asdict(one), "problem": translated(one.problem)} for one in sent])


@router.get("/upload/mine")
def mine(request: Request, person: Sender) -> Response:
    """One's recent uploads, for the page that shows them."""
    with reading(clinic_of(request).engine) as session:
        return HTMLResponse(
            part(request, "_mine.html", person=person, own=_own(session, person), held=_held(session, person))
        )


@router.get("/upload/mine/{case_id}/thumbnail")
def own_thumbnail(request: Request, person: Sender, case_id: int) -> Response:
    """The thumbnail of one's own upload."""
    clinic = clinic_of(request)
    with reading(clinic.engine) as session:
        case = find_case(session, case_id)
        if case.received_by != person.account_id:
            raise HTTPException(404, f"You have not uploaded case {case_id}.")
        return send_picture(request, clinic.pictures, case, "thumbnail")


def _form(request: Request, person: Person, *, status: int = 200, sent: Sequence[object] = ()) -> Response:
    with reading(clinic_of(request).engine) as session:
        return page(
            request,
            "upload.html",
            person=person,
            status=status,
            sent=sent,
            longest=LONGEST,
            most_bytes=MAX_BYTES,
            most_files=MOST_FILES,
            techniques=TECHNIQUES,
            own=_own(session, person),
            held=_held(session, person),
        )


def _held(session: Session, person: Person) -> Sequence[Conflict]:
    """A person's latest uploads that are held, or were: those settled before a week are over."""
    wanted = (Conflict.sender == person.name, Conflict.source.in_(("page", "api")))
    lately = or_(Conflict.resolved_at.is_(None), Conflict.resolved_at >= now() - SETTLED_FOR)
    query = select(Conflict).where(*wanted, lately).order_by(Conflict.id.desc()).limit(SHOWN)
    return session.scalars(query).all()


def _own(session: Session, person: Person) -> list[tuple[Case, str]]:
    """A person's latest uploads, each with the action decided, if it or the case it is part of is decided."""
    cases = session.scalars(
        select(Case)
        .where(Case.received_by == person.account_id)
        .order_by(Case.received_at.desc(), Case.id.desc())
        .limit(SHOWN)
    ).all()
    whole = [case.part_of or case.id for case in cases]
    reads = session.scalars(
        select(Read)
        .join(Case, Case.id == Read.case_id)
        .where(Case.id.in_(whole), Case.stage == "decided", Read.undone_at.is_(None))
        .order_by(Read.position, Read.id)
    )
    actions = {read.case_id: read.action for read in reads}
    return [(case, actions.get(number, "")) for case, number in zip(cases, whole, strict=True)]
