"""A patient: the body map, every lesion's photographs in time, spellings to join, and how lesions compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException

from dermsentry.clinic import lengths
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.database import find, reading, writing
from dermsentry.clinic.store.events import PatientViewedEvent
from dermsentry.clinic.store.tables import Case, Join, Outcome, Read
from dermsentry.clinic.store.text import spelling_key
from dermsentry.clinic.web.case_pictures import find_case
from dermsentry.clinic.web.rendering import page
from dermsentry.clinic.web.security import Corrector, Reader, clinic_of
from dermsentry.clinic.web.views import note
from dermsentry.clinic.worklist.body_map import VIEWS, file_lesion
from dermsentry.clinic.worklist.patients import Lesion, Patient, patient_of, set_technique
from dermsentry.clinic.worklist.spellings import Kind, say, take_back
from dermsentry.errors import InputError

router = APIRouter(include_in_schema=False)

_NOT_FILED = {"lesion": "", "named": "", "region": ""}


@router.get("/cases/{case_id}/patient")
def patient(request: Request, person: Reader, case_id: int) -> Response:
    """The page of the patient whose photograph a case is."""
    return _page(request, person, case_id)


@router.post("/cases/{case_id}/patient/spellings")
def says(
    request: Request,
    person: Corrector,
    case_id: int,
    kind: Annotated[Kind, Form()],
    first: Annotated[str, Form(max_length=lengths.PATIENT)],
    second: Annotated[str, Form(max_length=lengths.PATIENT)],
    same: Annotated[bool, Form()],
) -> Response:
    """Keep that two spellings are one patient or lesion, or that they are not."""

    def change(session: Session, case: Case) -> None:
        say(session, clinic_of(request), person, kind, case.patient, (first, second), same)

    return _changed(request, person, case_id, change)


@router.post("/cases/{case_id}/patient/spellings/{join_id}/undo")
def takes_back(request: Request, person: Corrector, case_id: int, join_id: int) -> Response:
    """Undo what was said of two spellings."""

    def change(session: Session, case: Case) -> None:
        own = find(session, Join, join_id)
        if own is None or own.key != spelling_key(case.patient):
            raise HTTPException(404, f"Nothing of that number was said of the patient of case {case_id}.")
        take_back(session, clinic_of(request), person, join_id)

    return _changed(request, person, case_id, change)


@router.post("/cases/{case_id}/patient/lesions")
def files(
    request: Request,
    person: Corrector,
    case_id: int,
    lesion: Annotated[str, Form(max_length=lengths.LESION)] = "",
    named: Annotated[str, Form(max_length=2 * lengths.LESION)] = "",
    region: Annotated[str, Form(max_length=40)] = "",
    x: Annotated[str, Form(max_length=20)] = "",
    y: Annotated[str, Form(max_length=20)] = "",
) -> Response:
    """File a lesion on the body map, at a point or at its region's middle; without a region, take it off."""

    def change(session: Session, case: Case) -> None:
        try:
            at = (float(x), float(y)) if x and y else None
        except ValueError:
            raise InputError("Received a point that is none; click on the body map.") from None
        file_lesion(session, clinic_of(request), person, case.patient, lesion or named, region, at)

    return _changed(request, person, case_id, change, {"lesion": lesion, "named": named, "region": region})


@router.post("/cases/{case_id}/technique")
def technique(
    request: Request,
    person: Corrector,
    case_id: int,
    technique: Annotated[str, Form(max_length=lengths.CODE)] = "",
) -> Response:
    """Keep how a photograph was taken."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        find_case(session, case_id)
        set_technique(session, clinic, case_id, person, technique)
    return RedirectResponse(f"/cases/{case_id}/closely", 303)


def _changed(
    request: Request,
    person: Person,
    case_id: int,
    change: Callable[[Session, Case], None],
    given: Mapping[str, str] | None = None,
) -> Response:
    try:
        with writing(clinic_of(request).engine) as session:
            case = find_case(session, case_id)
            if not case.patient:
                raise HTTPException(404, f"Case {case_id} has no patient reference.")
            change(session, case)
    except InputError as error:
        return _page(request, person, case_id, problem=str(error), given=given, status=422)
    return RedirectResponse(f"/cases/{case_id}/patient", 303)


def _page(
    request: Request,
    person: Person,
    case_id: int,
    *,
    problem: str = "",
    given: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    clinic = clinic_of(request)
    with reading(clinic.engine) as session:
        case = find_case(session, case_id)
        found = patient_of(session, case)
        if found is None:
            raise HTTPException(404, f"Case {case_id} has no patient reference, so it has no patient's page.")
        shown = [own.id for own in found.cases]
        answer = page(
            request,
            "patient.html",
            person=person,
            status=status,
            case=case,
            patient=found,
            lesions=_by_worry(found),
            views=VIEWS,
            decided=_decisions(session, shown),
            outcomes=_outcomes(session, shown),
            problem=problem,
            given={**_NOT_FILED, **(given or {})},
            longest=lengths.LESION,
        )
    note(clinic, person, PatientViewedEvent(case_id, shown))
    return answer


def _by_worry(found: Patient) -> list[Lesion]:
    """The lesions, by their latest screened photograph, as the worklist is ordered; others last."""

    def order(lesion: Lesion) -> tuple[int, int, float, str]:
        screened = [own for own in lesion.cases if own.state == "screened"]
        if not screened:
            return 1, 0, 0.0, lesion.name
        return (
            0,
            screened[-1].rank if screened[-1].lane == "suspicion" else 1,
            screened[-1].malignancy_order,
            "",
        )

    return sorted(found.lesions, key=order)


def _decisions(session: Session, cases: list[int]) -> dict[int, Read]:
    """The decision on each case that is decided; before that nobody is shown what one reader said."""
    query = (
        select(Read)
        .join(Case, Case.id == Read.case_id)
        .where(Read.case_id.in_(cases), Read.undone_at.is_(None), Case.stage == "decided")
        .order_by(Read.position, Read.id)
    )
    return {read.case_id: read for read in session.scalars(query)}


def _outcomes(session: Session, cases: list[int]) -> dict[int, Outcome]:
    query = select(Outcome).where(Outcome.case_id.in_(cases)).order_by(Outcome.id)
    return {outcome.case_id: outcome for outcome in session.scalars(query)}
