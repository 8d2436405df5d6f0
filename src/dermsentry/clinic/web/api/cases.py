"""Uploading photographs; reading cases and their pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException

from dermsentry.clinic import lengths
from dermsentry.clinic.intake.admission import Held
from dermsentry.clinic.store.database import reading
from dermsentry.clinic.store.pictures import Kind, may_leave
from dermsentry.clinic.web.api.schemas import (
    ALWAYS,
    CaseDetail,
    Cases,
    CaseSummary,
    HeldFile,
    MatchFound,
    Number,
    Refused,
    SentFile,
    SentFiles,
    Since,
    Until,
    Upload,
    Whose,
)
from dermsentry.clinic.web.case_pictures import find_case, send_picture
from dermsentry.clinic.web.filters import Shown, read_filter
from dermsentry.clinic.web.problems import problem_responses, request_number
from dermsentry.clinic.web.security import TokenReads, TokenSends, clinic_of
from dermsentry.clinic.web.uploads import receive_all
from dermsentry.clinic.web.views import note_list, note_view
from dermsentry.clinic.worklist.matches import matches_of
from dermsentry.clinic.worklist.parts import parts_of
from dermsentry.clinic.worklist.remarks import blind_reader
from dermsentry.clinic.worklist.worklist import Order, list_cases
from dermsentry.screening.triage import Tier

router = APIRouter(prefix="/api", responses=ALWAYS)


@router.post(
    "/cases",
    summary="Upload photographs",
    tags=["cases"],
    status_code=201,
    responses={
        200: {"model": SentFiles, "description": "All photographs were uploaded before"},
        201: {"model": SentFiles, "description": "All photographs have a case, at least one of them new"},
        207: {"model": SentFiles, "description": "Some were refused or held; each with its reason"},
        409: {"model": Refused, "description": "It is a case already, of another patient, lesion or site"},
        422: {"model": Refused, "description": "None could be used"},
        **problem_responses(400, 413, 507),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": Upload.model_json_schema()}},
        }
    },
)
async def send(request: Request, person: TokenSends) -> Response:
    """Each photograph becomes a case and is queued for screening. One uploaded twice is one case.

    One that is a case already, of another patient, lesion, site or accession, is held for a person.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise HTTPException(
            422, f"Received a body of the type {kind[:60] or 'none'}; expected multipart/form-data."
        )
    sent = await receive_all(request, person, "api")
    files = [
        SentFile(
            file_name=one.file_name,
            case=one.case_id,
            new=one.new,
            problem=one.problem,
            held=_told(one.held) if one.held else None,
        )
        for one in sent
    ]
    refused = [one for one in files if one.problem]
    if len(refused) == len(files):
        held = any(one.held for one in files)
        what = "used" if not held else "taken: each is refused or held"
        detail = refused[0].problem if len(files) == 1 else f"None of the {len(files)} files could be {what}."
        number = request_number(request)
        error, status = ("conflict", 409) if held else ("unusable", 422)
        envelope = Refused(error=error, detail=detail, request_id=number, photographs=files)
        return JSONResponse(envelope.model_dump(), status)
    status = 207 if refused else 201 if any(one.new for one in files) else 200
    return JSONResponse(SentFiles(photographs=files).model_dump(), status)


def _told(held: Held) -> HeldFile:
    return HeldFile(
        conflict=held.conflict_id,
        kept=Whose(**held.kept),
        told=Whose(**held.told),
        differs=list(held.differs),
        withdrawn=held.withdrawn,
    )


@router.get("/cases", summary="List cases", tags=["cases"])
def cases(
    request: Request,
    person: TokenReads,
    lane: Annotated[
        Shown | None,
        Query(
            description="`decided` and `follow-up` list those of every lane. Left out: `suspicion`, or with "
            "a search every case, decided and withdrawn ones too"
        ),
    ] = None,
    tier: Annotated[Literal[Tier, ""], Query()] = "",
    search: Annotated[
        str,
        Query(
            max_length=lengths.SEARCH,
            description="Part of the patient, lesion, site, file name, comments or tags; or a case's number",
        ),
    ] = "",
    site: Annotated[str, Query(max_length=lengths.SITE)] = "",
    since: Since = None,
    until: Until = None,
    tag: Annotated[str, Query(max_length=lengths.TAG)] = "",
    assigned: Annotated[Literal["", "me", "nobody"], Query(description="`me`: to the token's owner")] = "",
    order: Annotated[Order, Query(description="Of cases that are not decided")] = "suspicion",
    after: Annotated[str, Query(max_length=lengths.CURSOR, description="`next` of the previous page")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Cases:
    """Cases, in worklist order.

    A search for which no `lane` is named looks in every list, those that came last first: `lane` and `stage`
    of each case say where it is.
    """
    given = {
        "lane": lane or "",
        "tier": tier,
        "search": search,
        "site": site,
        "since": str(since or ""),
        "until": str(until or ""),
        "tag": tag,
        "assigned": assigned,
        "order": order,
    }
    blind = blind_reader(clinic_of(request), person)
    text, wanted = read_filter(given, me=person.account_id, blind=blind)
    if lane is None and text["search"]:
        wanted = replace(wanted, stage="anything")
    with reading(clinic_of(request).engine) as session:
        found = list_cases(session, wanted, after=after or None, limit=limit)
    asked = {**text, "lane": lane or ("" if text["search"] else text["lane"])}
    note_list(clinic_of(request), person, "cases", {name: value for name, value in asked.items() if value})
    return Cases(cases=[CaseSummary.model_validate(case) for case in found.cases], next=found.next)


@router.get("/cases/{case_id}", summary="Get a case", tags=["cases"], responses=problem_responses(404))
def case(request: Request, person: TokenReads, case_id: Number) -> CaseDetail:
    """A case with the model's finding."""
    with reading(clinic_of(request).engine) as session:
        found = CaseDetail.model_validate(find_case(session, case_id))
        found.parts = [own.id for own in parts_of(session, case_id)]
        found.matches = [MatchFound.model_validate(own) for own in matches_of(session, case_id)]
    note_view(clinic_of(request), person, case_id)
    return found


@router.get(
    "/cases/{case_id}/picture/{kind}",
    summary="Get a picture of a case",
    tags=["cases"],
    response_class=FileResponse,
    responses={
        200: {"content": {"image/jpeg": {}, "image/png": {}}, "description": "The picture"},
        304: {"description": "The picture has not changed since the given ETag"},
        **problem_responses(404, 409),
    },
)
def picture(request: Request, person: TokenReads, case_id: Number, kind: Kind) -> Response:
    """The photograph as `view` (JPEG, up to 2048 pixels) or `thumbnail`, or the map `saliency` (PNG).

    A DICOM photograph whose pixels name the patient is refused: it may be viewed, not exported.
    """
    clinic = clinic_of(request)
    with reading(clinic.engine) as session:
        found = find_case(session, case_id)
    if not may_leave(found.dicom):
        raise HTTPException(409, f"The pixels of case {case_id} name the patient; they may not be exported.")
    note_view(clinic, person, case_id)
    return send_picture(request, clinic.pictures, found, kind)
