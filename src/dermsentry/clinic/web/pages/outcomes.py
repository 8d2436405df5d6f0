"""Outcomes: final diagnoses, entered one by one or imported as CSV.

One is entered for a case that was found and is shown: a number alone, which may be mistyped, is asked back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile
from fastapi.responses import RedirectResponse
from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session, aliased

from dermsentry.clinic import lengths
from dermsentry.clinic.export.decisions import decision_of
from dermsentry.clinic.monitoring.outcomes import (
    METHODS,
    import_outcomes,
    read_millimetres,
    record_outcome,
)
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.database import find, reading, writing
from dermsentry.clinic.store.tables import COUNTED, IDENTIFYING, LARGEST_ID, WITHDRAWN, Case, Outcome, Read
from dermsentry.clinic.web.rendering import page
from dermsentry.clinic.web.security import Reader, Recorder, clinic_of
from dermsentry.clinic.web.views import note_view
from dermsentry.clinic.worklist.remarks import blind_reader
from dermsentry.clinic.worklist.worklist import search_cases
from dermsentry.errors import InputError

router = APIRouter(include_in_schema=False)

SHOWN = 50
MOST_BYTES = 7 * 1024 * 1024
MOST_FOUND = 20
BLANK = {"case": "", "diagnosis": "", "method": "histology", "note": "", "breslow": ""}


@router.get("/outcomes")
def outcomes(
    request: Request,
    person: Reader,
    case: Annotated[str, Query(max_length=12)] = "",
    search: Annotated[str, Query(max_length=lengths.SEARCH)] = "",
    kept: int = 0,
) -> Response:
    """Biopsies awaiting histology, the form for a case that was found, and recent outcomes."""
    given = {**BLANK, "case": case if case.isdecimal() else ""}
    answer = _page(request, person, given=given, search=search.replace("\0", " ").strip(), kept=kept)
    with reading(clinic_of(request).engine) as session:
        chosen = _chosen(session, given["case"])
    if chosen is not None:
        note_view(clinic_of(request), person, chosen.id)
    return answer


@router.post("/outcomes")
def record(
    request: Request,
    person: Recorder,
    case: Annotated[str, Form(max_length=12)] = "",
    diagnosis: Annotated[str, Form(max_length=lengths.CODE)] = "",
    method: Annotated[str, Form(max_length=lengths.CODE)] = "",
    note: Annotated[str, Form(max_length=lengths.NOTE)] = "",
    breslow: Annotated[str, Form(max_length=20)] = "",
    shown: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """Save an outcome of the case whose photograph and patient the form showed."""
    clinic = clinic_of(request)
    given = {"case": case, "diagnosis": diagnosis, "method": method, "note": note, "breslow": breslow}
    try:
        number = _number(case)
        with writing(clinic.engine) as session:
            found = find(session, Case, number)
            if found is not None and shown != _mark(found):
                raise InputError("Check that the photograph and the patient below are meant, then save it.")
            record_outcome(
                session,
                clinic,
                number,
                person,
                diagnosis=diagnosis,
                method=method,
                note=note,
                breslow_mm=read_millimetres(breslow),
            )
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
    search: str = "",
    problem: str = "",
    import_problem: str = "",
    imported: Any = None,
    kept: int = 0,
    status: int = 200,
) -> Response:
    clinic = clinic_of(request)
    with reading(clinic.engine) as session:
        chosen = _chosen(session, given["case"])
        if search and not problem:
            try:
                found, number = search_cases(
                    session, search, limit=MOST_FOUND, blind=blind_reader(clinic, person)
                )
            except InputError as error:
                found, number, problem = (), 0, str(error)
        else:
            found, number = (), 0
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
            search=search,
            found=found,
            more_found=number > len(found),
            chosen=chosen,
            mark=_mark(chosen) if chosen is not None else "",
            has_picture=chosen is not None and clinic.pictures.drawn(chosen.sha256, "view").is_file(),
            decision=decision_of(session, chosen).read if chosen is not None else None,
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
        .where(COUNTED, ~overruled.exists())
        .where(~select(Outcome.id).where(Outcome.case_id == Case.id).exists())
        .order_by(Read.id)
        .limit(SHOWN)
    ).all()
    return [(read, case) for read, case in rows]


def _chosen(session: Session, number: str) -> Case | None:
    """The case that an outcome is entered for, unless it was withdrawn; of a part the case that it is of."""
    case = find(session, Case, int(number)) if number.isascii() and number.isdigit() else None
    if case is not None and case.part_of is not None:
        case = session.get_one(Case, case.part_of)
    return case if case is not None and case.lane != WITHDRAWN else None


def _mark(case: Case) -> str:
    """What a form that showed the case holds: its photograph, and whose it was said to be."""
    told = "\0".join((case.sha256, *(getattr(case, name) for name in IDENTIFYING)))
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _number(text: str) -> int:
    if not text.strip().isascii() or not text.strip().isdigit() or int(text) > LARGEST_ID:
        raise InputError(f"Received the case {text.strip()[:20]!r}; expected its number, such as 12.")
    return int(text)
