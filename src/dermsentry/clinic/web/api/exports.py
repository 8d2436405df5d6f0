"""Cases leave as FHIR, as DICOM report, as a table."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from dermsentry.clinic.web.api.schemas import (
    ALWAYS,
    Number,
    Since,
    Until,
)
from dermsentry.clinic.web.errors import problem_responses
from dermsentry.clinic.web.exporting import (
    DICOM,
    FHIR,
    send_case_table,
    send_fhir,
    send_structured_report,
)
from dermsentry.clinic.web.filters import read_days
from dermsentry.clinic.web.security import (
    TokenReads,
)

router = APIRouter(prefix="/api", responses=ALWAYS)


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
