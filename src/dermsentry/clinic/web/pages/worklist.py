"""The worklist, the most suspicious cases first."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy.orm import Session

from dermsentry.clinic import lengths
from dermsentry.clinic.batches import undoable_until
from dermsentry.clinic.language import lazy, zone_of
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.database import reading
from dermsentry.clinic.store.tables import LARGEST_ID, WITHDRAWN, Read
from dermsentry.clinic.web.filters import LANES, NARROWING, as_query, read_filter
from dermsentry.clinic.web.rendering import page, part
from dermsentry.clinic.web.security import Reader, SignedIn, clinic_of
from dermsentry.clinic.worklist.corrections import count_conflicts
from dermsentry.clinic.worklist.matches import count_open_matches
from dermsentry.clinic.worklist.remarks import blind_reader
from dermsentry.clinic.worklist.routine import batch_of
from dermsentry.clinic.worklist.worklist import Filter, counts, list_cases, search_cases

router = APIRouter(include_in_schema=False)

AT_ONCE = 50
MOST_ELSEWHERE = 50


@router.get("/")
def worklist(
    request: Request,
    person: SignedIn,
    after: Annotated[str, Query(max_length=lengths.CURSOR)] = "",
    done: Annotated[int, Query(ge=0, le=LARGEST_ID)] = 0,
    batch: Annotated[str, Query(max_length=32)] = "",
) -> Response:
    """A lane of the worklist; an uploader is redirected to their own uploads."""
    if "cases:read" not in person.may:
        return RedirectResponse("/upload", 303)
    text, wanted = asked_for(request, person)
    with reading(clinic_of(request).engine) as session:
        found = list_cases(session, wanted, after=after or None, limit=AT_ONCE)
        open_by = counts(session, zone_of(clinic_of(request).settings.timezone))
        read = undoable(session, done, person)
        # What was searched for may be in another lane, decided or withdrawn.
        here = {case.id for case in found.cases}
        everywhere, number = search_cases(
            session, text["search"], limit=MOST_ELSEWHERE + len(here), blind=wanted.blind
        )
        elsewhere = [case for case in everywhere if case.id not in here][:MOST_ELSEWHERE]
        together = batch_of(session, batch, person)
        return page(
            request,
            "worklist.html",
            person=person,
            text=text,
            batch=batch,
            together=together,
            together_until=undoable_until(read.at for read in together),
            lanes=[
                (lane, "/?" + as_query({**text, "lane": lane, "tier": ""}))
                for lane in LANES
                if lane != WITHDRAWN or text["lane"] == WITHDRAWN
            ],
            counts=open_by,
            conflicts=count_conflicts(session) + count_open_matches(session),
            filtered=any(text[name] for name in NARROWING),
            views=[
                (name, "/?" + as_query({**text, "view": view}), view == text["view"])
                for name, view in ((lazy("List"), ""), (lazy("Gallery"), "gallery"))
            ],
            read=read,
            cases=found.cases,
            elsewhere=elsewhere,
            found_in_all=number,
            more=as_query(text, after=found.next) if found.next else "",
            carried=as_query(text),
            continued=bool(after),
        )


@router.get("/worklist/rows")
def rows(
    request: Request, person: Reader, after: Annotated[str, Query(max_length=lengths.CURSOR)] = ""
) -> Response:
    """Further rows of a lane, for the page that shows it."""
    text, wanted = asked_for(request, person)
    with reading(clinic_of(request).engine) as session:
        found = list_cases(session, wanted, after=after or None, limit=AT_ONCE)
        more = as_query(text, after=found.next) if found.next else ""
        return HTMLResponse(
            part(
                request,
                "_rows.html",
                cases=found.cases,
                more=more,
                carried=as_query(text),
                text=text,
                person=person,
            )
        )


def undoable(session: Session, read_id: int, person: Person) -> Read | None:
    """The decision just made by this person, if it can be undone."""
    read = session.get(Read, read_id) if read_id else None
    return read if read is not None and is_undoable(read, person) else None


def is_undoable(read: Read, person: Person) -> bool:
    """Whether this person made the decision in this session and has not undone it."""
    return (
        read.account_id == person.account_id
        and read.undone_at is None
        and person.signed_in_at is not None
        and read.at >= person.signed_in_at
    )


def asked_for(request: Request, person: Person) -> tuple[dict[str, str], Filter]:
    """The filter in a page's address; where two people read each case, without those the person has read."""
    blind = blind_reader(clinic_of(request), person)
    reader = person.account_id if blind and "reads:write" in person.may else None
    zone = clinic_of(request).settings.timezone
    return read_filter(request.query_params, reader, me=person.account_id, zone=zone, blind=blind)
