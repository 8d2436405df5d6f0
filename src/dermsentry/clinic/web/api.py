"""The REST API: photographs in, cases, pictures, decisions, outcomes and the audit trail out."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException

from dermsentry.clinic.alerts.alerting import acknowledge, list_alerts
from dermsentry.clinic.review.outcomes import record_outcome
from dermsentry.clinic.review.performance import Performance
from dermsentry.clinic.review.reading import decide, undo, visible_reads
from dermsentry.clinic.review.worklist import list_cases
from dermsentry.clinic.store.audit_trail import verify
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.pictures import Kind, may_leave
from dermsentry.clinic.store.tables import Event, Outcome, Read
from dermsentry.clinic.web.errors import Problem, problem_responses
from dermsentry.clinic.web.exporting import (
    DICOM,
    FHIR,
    send_case_table,
    send_fhir,
    send_structured_report,
)
from dermsentry.clinic.web.filters import read_days, read_filter
from dermsentry.clinic.web.measuring import measured
from dermsentry.clinic.web.receiving import receive_all
from dermsentry.clinic.web.security import (
    TokenAudits,
    TokenDecides,
    TokenReads,
    TokenRecords,
    TokenSends,
    clinic_of,
)
from dermsentry.clinic.web.sending import find_case, send_picture
from dermsentry.diagnoses import CODES

ALWAYS = (401, 403, 422, 500, 503)
router = APIRouter(prefix="/api", responses=problem_responses(*ALWAYS))

Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="The case's number")]
Code = Literal["AK", "BCC", "DF", "MEL", "NV", "PBK", "SCC", "SK", "VASC"]
assert set(Code.__args__) == set(CODES)  # type: ignore[attr-defined]
Action = Literal["biopsy", "follow-up", "discharge", "retake"]
Lane = Literal["suspicion", "cannot-say", "waiting", "decided"]
TierName = Literal["alert", "refer", "routine", "cannot-say", "unreadable"]

Since = Annotated[date | None, Query(description="Received on this day or later (UTC)")]
Until = Annotated[date | None, Query(description="Received on this day or earlier (UTC)")]


class _Row(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class CaseSummary(_Row):
    """A case as it stands in the worklist."""

    id: int
    state: Literal["waiting", "screened", "failed"]
    lane: Literal["suspicion", "cannot-say", "waiting"]
    stage: Literal["unread", "second-read", "adjudication", "decided"]
    tier: str = Field(description="alert, refer, routine, cannot-say, unreadable, or empty while it waits")
    melanoma: float | None = Field(description="The calibrated probability of melanoma, 0 to 1")
    patient: str
    lesion: str
    site: str
    received_at: datetime
    screened_at: datetime | None
    decided_at: datetime | None


class CaseDetail(CaseSummary):
    """A case with what the model found."""

    sha256: str = Field(description="SHA-256 of the photograph's file as it came")
    note: str
    source: Literal["page", "api", "folder", "dicom"]
    width: int | None = Field(description="Pixels")
    height: int | None = Field(description="Pixels")
    model_digest: str | None
    finding: dict[str, Any] | None = Field(
        description="As in findings.jsonl: tier, probabilities, familiarity, quality, reasons"
    )


class Cases(BaseModel):
    """A page of the worklist."""

    cases: list[CaseSummary]
    next: str | None = Field(description="What to send as `after` for the next page; null on the last")


class SentFile(BaseModel):
    """What became of one file."""

    file_name: str
    case: int | None = Field(description="Its case, an earlier one where it came before; null where refused")
    new: bool
    problem: str = Field(description="Why it was refused; empty where it was not")


class SentFiles(BaseModel):
    """What became of the files of a request."""

    photographs: list[SentFile]


class Refused(Problem):
    """The envelope where no file could be used."""

    photographs: list[SentFile] = Field(default_factory=list)


class Upload(BaseModel):
    """A form of photographs and what is told with them, which holds for each of them."""

    photographs: list[bytes] = Field(
        description="One or more files: JPEG, PNG, BMP, TIFF, WebP or DICOM", min_length=1
    )
    patient: str = Field("", max_length=120, description="The clinic's reference for the patient, not a name")
    lesion: str = Field("", max_length=120)
    site: str = Field("", max_length=120)
    note: str = Field("", max_length=4000)


class Decision(BaseModel):
    """What a dermatologist decides on a case."""

    model_config = ConfigDict(extra="forbid")

    agrees: bool | None = Field(None, description="With the model; null where it could not say")
    diagnosis: Code | Literal[""] = Field(description="Empty where it is none of them, or cannot be told")
    action: Action
    note: str = Field("", max_length=4000)


class DecisionMade(_Row):
    """A decision. Undone ones are in the audit trail only."""

    id: int
    case_id: int
    reader: str
    position: int = Field(description="1 and 2: the readers; 3: the adjudicator")
    agrees: bool | None
    diagnosis: str
    action: str
    note: str
    at: datetime


class NewOutcome(BaseModel):
    """What a case turned out to be."""

    model_config = ConfigDict(extra="forbid")

    diagnosis: Code
    method: Literal["histology", "follow-up"]
    note: str = Field("", max_length=4000)


class OutcomeKept(_Row):
    """An outcome; of several the latest counts."""

    id: int
    case_id: int
    diagnosis: str
    method: str
    note: str
    at: datetime


class AlertRaised(_Row):
    """A rule that a case met; open until a person acknowledges it."""

    id: int
    case_id: int
    rule: str
    raised_at: datetime
    acknowledged_at: datetime | None
    escalated_at: datetime | None


class Alerts(BaseModel):
    """A page of alerts, the newest first."""

    alerts: list[AlertRaised]
    next: int | None = Field(description="What to send as `before` for the next page; null on the last")


class AuditEvent(_Row):
    """Something that happened, as it stands in the chain."""

    id: int
    at: str
    actor: str
    action: str
    subject: str
    detail: str = Field(description="JSON, as text: the hash is over exactly this")
    previous: str
    hash: str


class AuditEvents(BaseModel):
    """A page of the audit trail, the oldest first."""

    events: list[AuditEvent]
    next: int | None = Field(description="What to send as `after` for the next page; null on the last")


class AuditVerdict(BaseModel):
    """Whether the chain holds."""

    events: int
    problems: list[str]


@router.post(
    "/cases",
    summary="Send photographs",
    tags=["cases"],
    status_code=201,
    responses={
        200: {"model": SentFiles, "description": "Every photograph had come before"},
        201: {"model": SentFiles, "description": "Every photograph has its case, at least one is new"},
        207: {"model": SentFiles, "description": "Some were refused; each says why"},
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
    """Photographs become cases and wait for the model. The same photograph sent twice is one case."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise HTTPException(
            422, f"Received a body of the type {kind[:60] or 'none'}; expected multipart/form-data."
        )
    sent = await receive_all(request, person, "api")
    files = [
        SentFile(file_name=one.file_name, case=one.case_id, new=one.new, problem=one.problem) for one in sent
    ]
    refused = [one for one in files if one.problem]
    if len(refused) == len(files):
        detail = refused[0].problem if len(files) == 1 else f"None of the {len(files)} files could be used."
        number = str(request.scope["dermsentry.request"])
        envelope = Refused(error="unusable", detail=detail, request_id=number, photographs=files)
        return JSONResponse(envelope.model_dump(), 422)
    status = 207 if refused else 201 if any(one.new for one in files) else 200
    return JSONResponse(SentFiles(photographs=files).model_dump(), status)


@router.get("/cases", summary="List cases", tags=["cases"], responses=problem_responses(422))
def cases(
    request: Request,
    _: TokenReads,
    lane: Annotated[Lane, Query(description="`decided` holds the decided cases of every lane")] = "suspicion",
    tier: Annotated[TierName | Literal[""], Query()] = "",
    search: Annotated[
        str,
        Query(
            max_length=120, description="Part of the patient, lesion, site or file name, or a case's number"
        ),
    ] = "",
    site: Annotated[str, Query(max_length=120)] = "",
    since: Since = None,
    until: Until = None,
    after: Annotated[str, Query(max_length=400, description="The `next` of the page before")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Cases:
    """Cases in the order of the worklist."""
    given = {
        "lane": lane,
        "tier": tier,
        "search": search,
        "site": site,
        "since": str(since or ""),
        "until": str(until or ""),
    }
    _text, wanted = read_filter(given)
    with reading(clinic_of(request).engine) as session:
        found = list_cases(session, wanted, after=after or None, limit=limit)
    return Cases(cases=[CaseSummary.model_validate(case) for case in found.cases], next=found.next)


@router.get("/cases/{case_id}", summary="A case", tags=["cases"], responses=problem_responses(404, 422))
def case(request: Request, _: TokenReads, case_id: Number) -> CaseDetail:
    """A case, with what the model found."""
    with reading(clinic_of(request).engine) as session:
        return CaseDetail.model_validate(find_case(session, case_id))


@router.get(
    "/cases/{case_id}/picture/{kind}",
    summary="A picture of a case",
    tags=["cases"],
    response_class=FileResponse,
    responses={
        200: {"content": {"image/jpeg": {}, "image/png": {}}, "description": "The picture"},
        304: {"description": "The picture did not change since the ETag that was sent"},
        **problem_responses(404, 409, 422),
    },
)
def picture(request: Request, _: TokenReads, case_id: Number, kind: Kind) -> Response:
    """The photograph drawn anew: `view` (JPEG, up to 2048 pixels), `thumbnail`, or `heat` (PNG).

    A DICOM photograph that names the patient in its pixels is refused: it may be looked at, not taken away.
    """
    clinic = clinic_of(request)
    with reading(clinic.engine) as session:
        found = find_case(session, case_id)
    if not may_leave(found.dicom):
        raise HTTPException(409, f"The pixels of case {case_id} name the patient; they may not leave.")
    return send_picture(request, clinic.pictures, found, kind)


@router.get(
    "/cases/{case_id}/fhir",
    summary="A case as FHIR",
    tags=["exports"],
    response_class=Response,
    responses={
        200: {"content": {FHIR: {}}, "description": "A Bundle with DiagnosticReport, Observations, Device"},
        **problem_responses(404, 409, 422),
    },
)
def fhir(request: Request, person: TokenReads, case_id: Number) -> Response:
    """FHIR R4. The report is preliminary until a person has decided, then final."""
    return send_fhir(request, person, case_id)


@router.get(
    "/cases/{case_id}/structured-report",
    summary="A case as a DICOM structured report",
    tags=["exports"],
    response_class=Response,
    responses={
        200: {"content": {DICOM: {}}, "description": "A Comprehensive SR beside the image"},
        **problem_responses(404, 409, 422),
    },
)
def report(request: Request, person: TokenReads, case_id: Number) -> Response:
    """Only of a case that came as DICOM: the report names its image."""
    return send_structured_report(request, person, case_id)


@router.get(
    "/cases.csv",
    summary="Cases as a table",
    tags=["exports"],
    response_class=Response,
    responses={200: {"content": {"text/csv": {}}, "description": "A header, then a line each"}},
)
def table(
    request: Request,
    person: TokenReads,
    since: Since = None,
    until: Until = None,
    personal: Annotated[bool, Query(description="Also patient, lesion, file name and note")] = False,
) -> Response:
    """What the model found, what was decided and what it turned out to be, the oldest case first."""
    _text, days = read_days({"since": str(since or ""), "until": str(until or "")})
    return send_case_table(request, person, *days, personal=personal)


@router.get(
    "/cases/{case_id}/decisions",
    summary="Decisions on a case",
    tags=["decisions"],
    responses=problem_responses(404, 422),
)
def decisions(request: Request, person: TokenReads, case_id: Number) -> list[DecisionMade]:
    """What was decided, as far as the token's owner may see it: a second reader is blind to the first."""
    clinic = clinic_of(request)
    with reading(clinic.engine) as session:
        found = find_case(session, case_id)
        return [_made(read) for read in visible_reads(session, clinic.settings, found, person)]


@router.post(
    "/cases/{case_id}/decisions",
    summary="Decide a case",
    tags=["decisions"],
    status_code=201,
    responses=problem_responses(400, 404, 409, 422),
)
def decides(request: Request, person: TokenDecides, case_id: Number, given: Decision) -> DecisionMade:
    """Keep a decision in the name of the token's owner; the case's open alerts are acknowledged with it."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        find_case(session, case_id)
        read = decide(session, clinic.trail, clinic.settings, case_id, person, **given.model_dump())
        session.flush()
        return _made(read)


@router.delete(
    "/cases/{case_id}/decisions/{decision_id}",
    summary="Undo a decision",
    tags=["decisions"],
    status_code=204,
    response_class=Response,
    responses=problem_responses(404, 409, 422),
)
def undoes(
    request: Request,
    person: TokenDecides,
    case_id: Number,
    decision_id: Annotated[int, Path(ge=1, le=2**31 - 1)],
) -> None:
    """Take a decision of one's own back; both stay in the audit trail."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        read = session.get(Read, decision_id)
        if read is None or read.case_id != case_id:
            raise HTTPException(404, f"There is no decision {decision_id} of case {case_id}.")
        undo(session, clinic.trail, clinic.settings, decision_id, person)


@router.get(
    "/cases/{case_id}/outcomes",
    summary="Outcomes of a case",
    tags=["outcomes"],
    responses=problem_responses(404, 422),
)
def outcomes(request: Request, _: TokenReads, case_id: Number) -> list[OutcomeKept]:
    """What it turned out to be, the latest first."""
    with reading(clinic_of(request).engine) as session:
        find_case(session, case_id)
        found = session.scalars(select(Outcome).where(Outcome.case_id == case_id).order_by(Outcome.id.desc()))
        return [OutcomeKept.model_validate(own) for own in found]


@router.post(
    "/cases/{case_id}/outcomes",
    summary="Enter an outcome",
    tags=["outcomes"],
    status_code=201,
    responses=problem_responses(400, 404, 422),
)
def records(request: Request, person: TokenRecords, case_id: Number, given: NewOutcome) -> OutcomeKept:
    """Keep what a case turned out to be; an earlier outcome stays, the latest counts."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        find_case(session, case_id)
        kept = record_outcome(session, clinic.trail, case_id, person, **given.model_dump())
        session.flush()
        return OutcomeKept.model_validate(kept)


@router.get("/alerts", summary="Alerts", tags=["alerts"], responses=problem_responses(422))
def alerts(
    request: Request,
    _: TokenReads,
    all: Annotated[bool, Query(description="Also those that were acknowledged")] = False,
    before: Annotated[int, Query(ge=0, le=2**31 - 1, description="The `next` of the page before")] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Alerts:
    """Open alerts, or all, the newest first."""
    with reading(clinic_of(request).engine) as session:
        found, more = list_alerts(session, all=all, before=before, limit=limit)
        return Alerts(alerts=[AlertRaised.model_validate(own) for own in found], next=more or None)


@router.post(
    "/cases/{case_id}/acknowledgement",
    summary="Acknowledge a case's alerts",
    tags=["alerts"],
    status_code=204,
    response_class=Response,
    responses=problem_responses(404, 422),
)
def acknowledges(request: Request, person: TokenDecides, case_id: Number) -> None:
    """Say that somebody has seen them, in the name of the token's owner; they are not sent further."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        find_case(session, case_id)
        acknowledge(session, clinic.trail, case_id, person.account_id, person.name)


@router.get("/performance", summary="Performance", tags=["performance"], responses=problem_responses(422))
def performance(request: Request, _: TokenReads, since: Since = None, until: Until = None) -> Performance:
    """How often readers and model were right here, with 95 % intervals; what the alerts cost; drift."""
    _text, days = read_days({"since": str(since or ""), "until": str(until or "")})
    return measured(request, days)


@router.get(
    "/cases/{case_id}/audit",
    summary="What happened to a case",
    tags=["audit"],
    responses=problem_responses(404, 422),
)
def audit_of_case(
    request: Request,
    _: TokenAudits,
    case_id: Number,
    after: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> AuditEvents:
    """The events of a case, the oldest first."""
    with reading(clinic_of(request).engine) as session:
        find_case(session, case_id)
        return _events(session, after, limit, f"case {case_id}")


@router.get("/audit", summary="The audit trail", tags=["audit"], responses=problem_responses(422))
def audit(
    request: Request,
    _: TokenAudits,
    after: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> AuditEvents:
    """All events, the oldest first."""
    with reading(clinic_of(request).engine) as session:
        return _events(session, after, limit)


@router.get("/audit/verification", summary="Verify the audit trail", tags=["audit"])
def verification(request: Request, _: TokenAudits) -> AuditVerdict:
    """Go through the whole chain; `problems` is empty where it holds."""
    clinic = clinic_of(request)
    with reading(clinic.engine) as session:
        verdict = verify(session, clinic.trail)
    return AuditVerdict(events=verdict.events, problems=list(verdict.problems))


def _made(read: Read) -> DecisionMade:
    return DecisionMade(
        id=read.id,
        case_id=read.case_id,
        reader=read.account.name,
        position=read.position,
        agrees=read.agrees,
        diagnosis=read.diagnosis,
        action=read.action,
        note=read.note,
        at=read.at,
    )


def _events(session: Session, after: int, limit: int, subject: str = "") -> AuditEvents:
    query = select(Event).where(Event.id > after).order_by(Event.id).limit(limit + 1)
    if subject:
        query = query.where(Event.subject == subject)
    found = session.scalars(query).all()
    more = found[limit - 1].id if len(found) > limit else None
    return AuditEvents(events=[AuditEvent.model_validate(event) for event in found[:limit]], next=more)
