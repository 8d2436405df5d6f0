"""Outcomes: final diagnoses, entered one by one or imported as CSV."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile
from fastapi.responses import RedirectResponse
from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session, aliased

from dermsentry.clinic import lengths
from dermsentry.clinic.monitoring.outcomes import METHODS, import_outcomes, record_outcome
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import LARGEST_ID, WITHDRAWN, Case, Outcome, Read
from dermsentry.clinic.web.rendering import page
from dermsentry.clinic.web.security import Reader, Recorder, clinic_of
from dermsentry.errors import InputError

router = APIRouter(include_in_schema=False)

SHOWN = 50
MOST_BYTES = 7 * 1024 * 1024
BLANK = {"case": "", "diagnosis": "", "method": "histology", "note": ""}


@router.get("/outcomes")
def outcomes(
    request: Request, person: Reader, case: Annotated[str, Query(max_length=12)] = "", kept: int = 0
) -> Response:
    """Biopsies awaiting histology, the form, and recent outcomes."""
    return _page(request, person, given={**BLANK, "case": case if case.isdecimal() else ""}, kept=kept)


@router.post("/outcomes")
def record(
    request: Request,
    person: Recorder,
    case: Annotated[str, Form(max_length=12)] = "",
    diagnosis: Annotated[str, Form(max_length=lengths.CODE)] = "",
    method: Annotated[str, Form(max_length=lengths.CODE)] = "",
    note: Annotated[str, Form(max_length=lengths.NOTE)] = "",
) -> Response:
    """Save an outcome."""
    clinic = clinic_of(request)
    given = {"case": case, "diagnosis": diagnosis, "method": method, "note": note}
    try:
        number = _number(case)
        with writing(clinic.engine) as session:
            record_outcome(session, clinic, number, person, diagnosis=diagnosis, method=method, note=note)
    except InputError as error:
        return _page(request, person, given=given, problem=str(error), status=422)
    return RedirectResponse(f"/outcomes?kept={number}", 303)


@router.post("/outcomes/import")
def imports(request: Request, person: Recorder, table: Annotated[UploadFile, File()]) -> Response:
    """Save the outcomes of a CSV file and report each unusable line."""
    clinic = clinic_of(request)
    try:
        data = table.file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise InputError(f"The file is larger than {MOST_BYTES >> 20} MiB; send it in parts.")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InputError("The file is not text in UTF-8; save it as “CSV UTF-8”.") from None
        with writing(clinic.engine) as session:
            imported = import_outcomes(session, clinic, person, text)
    except InputError as error:
        return _page(request, person, import_problem=str(error), status=422)
    status = 200 if imported.recorded or imported.unchanged else 422
    return _page(request, person, imported=imported, status=status)


def _page(
    request: Request,
    person: Person,
    *,
    given: Mapping[str, str] = BLANK,
    problem: str = "",
    import_problem: str = "",
    imported: Any = None,
    kept: int = 0,
    status: int = 200,
) -> Response:
    with reading(clinic_of(request).engine) as session:
        latest = session.execute(
            select(Outcome, Case)
            .join(Case, Case.id == Outcome.case_id)
            .order_by(Outcome.id.desc())
            .limit(SHOWN)
        ).all()
        return page(
            request,
            "outcomes.html",
            person=person,
            status=status,
            given=given,
            problem=problem,
            import_problem=import_problem,
            imported=imported,
            kept=kept,
            methods=METHODS,
            awaited=_awaited(session),
            latest=latest,
            most_bytes=MOST_BYTES,
        )


def _awaited(session: Session) -> list[tuple[Read, Case]]:
    """Cases decided as biopsy that have no outcome yet, the oldest first."""
    later = aliased(Read)
    overruled = select(later.id).where(
        later.case_id == Read.case_id,
        later.undone_at.is_(None),
        tuple_(later.position, later.id) > tuple_(Read.position, Read.id),
    )
    rows = session.execute(
        select(Read, Case)
        .join(Case, Case.id == Read.case_id)
        .where(Read.action == "biopsy", Read.undone_at.is_(None), Case.stage == "decided")
        .where(Case.lane != WITHDRAWN, ~overruled.exists())
        .where(~select(Outcome.id).where(Outcome.case_id == Case.id).exists())
        .order_by(Read.id)
        .limit(SHOWN)
    ).all()
    return [(read, case) for read, case in rows]


def _number(text: str) -> int:
    if not text.strip().isascii() or not text.strip().isdigit() or int(text) > LARGEST_ID:
        raise InputError(f"Received the case {text.strip()[:20]!r}; expected its number, such as 12.")
    return int(text)
