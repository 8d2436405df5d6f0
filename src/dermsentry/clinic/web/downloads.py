"""Downloads, each recorded in the audit trail: a case as FHIR or DICOM report, cases as a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException

from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.export.case_table import COLUMNS, PERSONAL, case_table
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.audit_trail import append
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.events import CaseExportedEvent, CasesExportedEvent, TrailEvent
from dermsentry.clinic.store.tables import Case, now
from dermsentry.clinic.web.security import clinic_of
from dermsentry.clinic.web.sending import find_case
from dermsentry.errors import InputError

FHIR, DICOM, CSV = "application/fhir+json", "application/dicom", "text/csv; charset=utf-8"
_LINES = 500


def send_fhir(request: Request, person: Person, case_id: int) -> Response:
    """A case as a FHIR R4 Bundle.

    Raises
    ------
    HTTPException
        404: there is no such case. 409: it cannot be told yet, or not in this form.
    """
    from dermsentry.clinic.export.fhir import fhir_bundle  # takes a second, once

    def write(session: Session, case: Case) -> bytes:
        return json.dumps(fhir_bundle(session, case), ensure_ascii=False, indent=1).encode()

    data = _written(request, person, case_id, "FHIR", write)
    return Response(data, headers=_named(f"case-{case_id}.fhir.json"), media_type=FHIR)


def send_structured_report(request: Request, person: Person, case_id: int) -> Response:
    """A case as a DICOM structured report beside its image.

    Raises
    ------
    HTTPException
        404: there is no such case. 409: it cannot be told yet, or did not come as DICOM.
    """
    from dermsentry.clinic.export.structured_report import structured_report  # takes a second, once

    def write(session: Session, case: Case) -> bytes:
        return structured_report(session, clinic_of(request).pictures, case)

    data = _written(request, person, case_id, "DICOM SR", write)
    return Response(data, headers=_named(f"case-{case_id}.sr.dcm"), media_type=DICOM)


def send_case_table(
    request: Request, person: Person, since: datetime | None, until: datetime | None, *, personal: bool
) -> Response:
    """The cases received from `since` and before `until` as CSV; who they are of only where `personal`."""
    clinic = clinic_of(request)
    columns = (*COLUMNS[:1], *PERSONAL, *COLUMNS[1:]) if personal else COLUMNS
    first, last = since.isoformat() if since else None, until.isoformat() if until else None
    note_export(clinic, person, CasesExportedEvent("CSV", personal, since=first, until=last))
    return StreamingResponse(
        _lines(clinic, since, until, columns),
        media_type=CSV,
        headers=_named(f"cases-{now():%Y-%m-%d}.csv"),
    )


def note_export(clinic: Clinic, person: Person, event: TrailEvent) -> None:
    """Tell the audit trail who takes what away, before they do. Raises DatabaseError, OutputError."""
    with writing(clinic.engine) as session:
        append(session, clinic.trail, person.name, event)


def in_blocks(lines: Iterator[str]) -> Iterator[str]:
    """Lines, several hundred at once: a piece of an answer for each would take longer than the lines."""
    block: list[str] = []
    for line in lines:
        block.append(line)
        if len(block) == _LINES:
            yield "".join(block)
            block = []
    yield "".join(block)


def _written(
    request: Request, person: Person, case_id: int, form: str, write: Callable[[Session, Case], bytes]
) -> bytes:
    """A case in a form, once the audit trail knows who takes it."""
    clinic = clinic_of(request)
    with reading(clinic.engine) as session:
        try:
            data = write(session, find_case(session, case_id))
        except InputError as error:
            raise HTTPException(409, str(error)) from error
    note_export(clinic, person, CaseExportedEvent(case_id, form))
    return data


def _lines(
    clinic: Clinic, since: datetime | None, until: datetime | None, columns: tuple[str, ...]
) -> Iterator[str]:
    with reading(clinic.engine) as session:
        yield from in_blocks(case_table(session, since=since, until=until, columns=columns))


def _named(file_name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{file_name}"'}
