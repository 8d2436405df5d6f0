"""Cases exported as FHIR, as a DICOM report, as a table."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from dermsentry.clinic.web.api.schemas import ALWAYS, Number, Since, Until
from dermsentry.clinic.web.downloads import DICOM, FHIR, send_case_table, send_fhir, send_structured_report
from dermsentry.clinic.web.filters import read_days
from dermsentry.clinic.web.problems import problem_responses
from dermsentry.clinic.web.security import TokenReads

router = APIRouter(prefix="/api", responses=ALWAYS)


@router.get(
    "/cases/{case_id}/fhir",
    summary="Export a case as FHIR",
    tags=["exports"],
    response_class=Response,
    responses={
        200: {"content": {FHIR: {}}, "description": "A Bundle with DiagnosticReport, Observations, Device"},
        **problem_responses(404, 409),
    },
)
def fhir(request: Request, person: TokenReads, case_id: Number) -> Response:
    """A FHIR R4 Bundle. The report is preliminary until a dermatologist has decided, then final."""
    return send_fhir(request, person, case_id)


@router.get(
    "/cases/{case_id}/structured-report",
    summary="Export a case as a DICOM structured report",
    tags=["exports"],
    response_class=Response,
    responses={
        200: {"content": {DICOM: {}}, "description": "A Comprehensive SR that references the image"},
        **problem_responses(404, 409),
    },
)
def report(request: Request, person: TokenReads, case_id: Number) -> Response:
    """Only for a case received as DICOM: the report references its image."""
    return send_structured_report(request, person, case_id)


@router.get(
    "/cases.csv",
    summary="Export cases as CSV",
    tags=["exports"],
    response_class=Response,
    responses={200: {"content": {"text/csv": {}}, "description": "A header, then one line per case"}},
)
def table(
    request: Request,
    person: TokenReads,
    since: Since = None,
    until: Until = None,
    personal: Annotated[bool, Query(description="Include patient, lesion, file name and note")] = False,
) -> Response:
    """Model finding, decision and outcome of each case, the oldest first."""
    _text, days = read_days({"since": str(since or ""), "until": str(until or "")})
    return send_case_table(request, person, *days, personal=personal)
