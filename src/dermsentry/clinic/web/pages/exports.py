"""Exports: a case as a page to print, as FHIR or as a DICOM report; cases as a table."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from dermsentry.clinic.store.database import writing
from dermsentry.clinic.web.case_pictures import find_case
from dermsentry.clinic.web.downloads import note_report, send_case_table, send_fhir, send_structured_report
from dermsentry.clinic.web.filters import read_days
from dermsentry.clinic.web.pages.case import what_is_shown
from dermsentry.clinic.web.rendering import page
from dermsentry.clinic.web.security import Reader, clinic_of

router = APIRouter(include_in_schema=False)


@router.get("/cases/{case_id}/print")
def printable(request: Request, person: Reader, case_id: int) -> Response:
    """A case as a page to print."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        case = find_case(session, case_id)
        shown = what_is_shown(session, clinic, case, person)
        answer = page(request, "print.html", person=person, **shown)
        note_report(session, clinic, person, case, "print")
    return answer


@router.get("/cases/{case_id}/fhir")
def fhir(request: Request, person: Reader, case_id: int) -> Response:
    """A case as FHIR."""
    return send_fhir(request, person, case_id)


@router.get("/cases/{case_id}/structured-report")
def structured_report(request: Request, person: Reader, case_id: int) -> Response:
    """A case as a DICOM structured report."""
    return send_structured_report(request, person, case_id)


@router.get("/cases.csv")
def cases(request: Request, person: Reader, personal: bool = False) -> Response:
    """Cases as CSV, of some days if asked for."""
    _text, (since, until) = read_days(request.query_params, clinic_of(request).settings.timezone)
    return send_case_table(request, person, since, until, personal=personal)
