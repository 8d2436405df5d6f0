"""Downloads, each recorded in the audit trail: a case as FHIR or DICOM report, cases and the trail as CSV."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException

from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.export.case_table import COLUMNS, PERSONAL, case_table
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.audit_trail import append, as_csv, hold
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.events import (
    CaseExportedEvent,
    CasesExportedEvent,
    TrailEvent,
    TrailExportedEvent,
)
from dermsentry.clinic.store.tables import Case, Export, now
from dermsentry.clinic.web.case_pictures import find_case
from dermsentry.clinic.web.security import clinic_of
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

    def write(session: Session, case: Case) -> tuple[bytes, None]:
        return json.dumps(
            fhir_bundle(session, clinic_of(request), case), ensure_ascii=False, indent=1
        ).encode(), None

    data = _written(request, person, case_id, "FHIR", write)
    return Response(data, headers=_named(f"case-{case_id}.fhir.json"), media_type=FHIR)


def send_structured_report(request: Request, person: Person, case_id: int) -> Response:
    """A case as a DICOM structured report beside its image.

    Raises
    ------
    HTTPException
        404: there is no such case. 409: it cannot be told yet, or did not come as DICOM.
    """
    from dermsentry.clinic.export.structured_report import FORM, structured_report  # takes a second, once

    def write(session: Session, case: Case) -> tuple[bytes, dict[str, str]]:
        made = structured_report(session, clinic_of(request).pictures, case)
        return made.data, made.reference

    data = _written(request, person, case_id, FORM, write)
    return Response(data, headers=_named(f"case-{case_id}.sr.dcm"), media_type=DICOM)


def send_case_table(
    request: Request, person: Person, since: datetime | None, until: datetime | None, *, personal: bool
) -> Response:
    """The cases received from `since` and before `until` as CSV; patient details only if `personal`."""
    clinic = clinic_of(request)
    columns = (*COLUMNS[:1], *PERSONAL, *COLUMNS[1:]) if personal else COLUMNS
    first, last = since.isoformat() if since else None, until.isoformat() if until else None
    note_export(clinic, person, CasesExportedEvent("CSV", personal, since=first, until=last))

    def lines(session: Session) -> Iterator[str]:
        return case_table(session, since=since, until=until, columns=columns)

    return _csv(clinic, "cases", lines)


def send_audit_trail(request: Request, person: Person) -> Response:
    """The whole audit trail as CSV."""
    clinic = clinic_of(request)
    note_export(clinic, person, TrailExportedEvent("CSV"))
    return _csv(clinic, "audit", as_csv)


def note_export(clinic: Clinic, person: Person, event: TrailEvent) -> None:
    """Record an export in the audit trail, before it is sent. Raises DatabaseError, OutputError."""
    with writing(clinic.engine) as session:
        append(session, clinic.trail, person.name, event)


def note_report(
    session: Session,
    clinic: Clinic,
    person: Person,
    case: Case,
    form: str,
    reference: dict[str, str] | None = None,
) -> None:
    """Record that a report of a case leaves: who has it must get it again once the case changes."""
    hold(session)
    kept = select(Export.id).where(
        Export.case_id == case.id, Export.form == form, Export.revision == case.revision
    )
    if session.scalar(kept) is None:
        session.add(Export(case_id=case.id, form=form, revision=case.revision, reference=reference))
    append(session, clinic.trail, person.name, CaseExportedEvent(case.id, form))


def _written(
    request: Request,
    person: Person,
    case_id: int,
    form: str,
    write: Callable[[Session, Case], tuple[bytes, dict[str, str] | None]],
) -> bytes:
    """A case in a form, recorded in the audit trail."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        hold(session)
        try:
            case = find_case(session, case_id)
            data, reference = write(session, case)
        except InputError as error:
            raise HTTPException(409, str(error)) from error
        note_report(session, clinic, person, case, form, reference)
    return data


def _csv(clinic: Clinic, name: str, lines: Callable[[Session], Iterator[str]]) -> Response:
    """A table, streamed by the hundreds of lines: to send each line as a chunk of its own is slow."""

    def blocks() -> Iterator[str]:
        with reading(clinic.engine) as session:
            left = lines(session)
            while block := "".join(islice(left, _LINES)):
                yield block

    return StreamingResponse(blocks(), media_type=CSV, headers=_named(f"{name}-{now():%Y-%m-%d}.csv"))


def _named(file_name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{file_name}"'}
