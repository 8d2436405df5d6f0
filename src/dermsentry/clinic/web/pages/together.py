"""Working on one case with others: who has it open, who is to read it, comments, tags."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from dermsentry.clinic import lengths
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import LARGEST_ID
from dermsentry.clinic.web.case_pictures import find_case
from dermsentry.clinic.web.filters import as_query
from dermsentry.clinic.web.pages.worklist import asked_for
from dermsentry.clinic.web.security import Decider, clinic_of
from dermsentry.clinic.worklist.drafts import discard_draft
from dermsentry.clinic.worklist.locks import lock, release, take_over
from dermsentry.clinic.worklist.remarks import add_tag, assign, comment, follow_up_done, remove_tag

router = APIRouter(include_in_schema=False)


@router.post("/cases/{case_id}/lock")
def renews(
    request: Request, person: Decider, case_id: int, key: Annotated[str, Form(max_length=32)] = ""
) -> Response:
    """Renew a page's lock; answers 409 with who has the case open where another took it over."""
    with reading(clinic_of(request).engine) as session:
        find_case(session, case_id)
    with writing(clinic_of(request).engine) as session:
        held = lock(session, case_id, person, key)
    if held.account_id != person.account_id:
        return JSONResponse({"detail": f"{held.account.full_name} has taken over this case."}, 409)
    return Response(status_code=204)


@router.post("/cases/{case_id}/lock/release")
def releases(
    request: Request, person: Decider, case_id: int, key: Annotated[str, Form(max_length=32)] = "-"
) -> Response:
    """Give up the lock of a page that is left."""
    with writing(clinic_of(request).engine) as session:
        release(session, case_id, person, key or "-")
    return Response(status_code=204)


@router.post("/cases/{case_id}/lock/take-over")
def takes_over(request: Request, person: Decider, case_id: int) -> Response:
    """Take over a case that another person has open."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        find_case(session, case_id)
        take_over(session, clinic, case_id, person)
    return _back(request, person, case_id)


@router.post("/cases/{case_id}/assignment")
def assigns(
    request: Request, person: Decider, case_id: int, to: Annotated[int, Form(ge=0, le=LARGEST_ID)] = 0
) -> Response:
    """Say who is to read a case; 0 for nobody."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        find_case(session, case_id)
        assign(session, clinic, case_id, person, to or None)
    return _back(request, person, case_id)


@router.post("/cases/{case_id}/follow-up/done")
def follows_up(request: Request, person: Decider, case_id: int) -> Response:
    """Note that a lesion was seen again."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        find_case(session, case_id)
        follow_up_done(session, clinic, case_id, person)
    return _back(request, person, case_id)


@router.post("/cases/{case_id}/comments")
def comments(
    request: Request,
    person: Decider,
    case_id: int,
    text: Annotated[str, Form(max_length=2 * lengths.NOTE)] = "",
) -> Response:
    """Comment on a case."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        find_case(session, case_id)
        comment(session, clinic, case_id, person, text)
        discard_draft(session, case_id, person.account_id, "comment")
    return _back(request, person, case_id)


@router.post("/cases/{case_id}/tags")
def tags(
    request: Request,
    person: Decider,
    case_id: int,
    add: Annotated[str, Form(max_length=200)] = "",
    remove: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Give a case a tag, or take one from it."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        find_case(session, case_id)
        if remove:
            remove_tag(session, clinic, case_id, person, remove)
        else:
            add_tag(session, clinic, case_id, person, add)
    return _back(request, person, case_id)


def _back(request: Request, person: Decider, case_id: int) -> Response:
    text, _ = asked_for(request, person)
    return RedirectResponse(f"/cases/{case_id}?{as_query(text)}", 303)
