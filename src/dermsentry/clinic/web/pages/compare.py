"""Two photographs of one lesion: registered on each other, with what changed."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException

from dermsentry.clinic.clinic import ServedClinic
from dermsentry.clinic.store.database import reading
from dermsentry.clinic.store.tables import SILENT, Case
from dermsentry.clinic.web.case_pictures import find_case, send_file
from dermsentry.clinic.web.rendering import page
from dermsentry.clinic.web.security import Reader, clinic_of
from dermsentry.clinic.web.views import note_view
from dermsentry.clinic.worker.comparison import DISTURBED, REPEATED, SIDE
from dermsentry.clinic.worker.looking import Looked, compare_cases
from dermsentry.clinic.worklist.matches import matches_of
from dermsentry.clinic.worklist.patients import in_time, same_lesion, when_taken
from dermsentry.errors import BundleError
from dermsentry.guarded import Stopped
from dermsentry.images import Unreadable

router = APIRouter(include_in_schema=False)


@router.get("/cases/{case_id}/compare/{other_id}")
def compare(request: Request, person: Reader, case_id: int, other_id: int) -> Response:
    """The comparison of two photographs of one lesion, the earlier one first whichever was named first."""
    # OpenCV comes with it, which no other page needs.
    from dermsentry.audit.likeness.judge import AGREES

    clinic = clinic_of(request)
    with reading(clinic.engine) as session:
        first, second, _ = _pair(session, case_id, other_id)
    problem, looked = "", None
    try:
        looked = _looked(clinic, first, second)  # which takes seconds: no connection is held meanwhile
    except Unreadable as error:
        problem = error.reason
    except (BundleError, Stopped) as error:
        problem = str(error)
    with reading(clinic.engine) as session:
        first, second, others = _pair(session, case_id, other_id)
        answer = page(
            request,
            "compare.html",
            person=person,
            status=200 if looked else 422,
            case=first if first.id == case_id else second,
            first=first,
            second=second,
            others=others,
            when={own.id: when_taken(own) for own in others},
            looked=looked,
            problem=problem,
            size=_size(first),
            disturbed=DISTURBED,
            repeated=REPEATED,
            needed=AGREES,
            # What silent mode hides of a photograph, comparing must not show.
            silent=clinic.settings.silent or SILENT in (first.tier, second.tier),
            assessed=first.lane == second.lane == "suspicion",
        )
    for own in (first, second):
        note_view(clinic, person, own.id)
    return answer


@router.get("/cases/{case_id}/compare/{other_id}/registered")
def registered(request: Request, person: Reader, case_id: int, other_id: int) -> Response:
    """The later photograph as it is seen where the earlier one was taken."""
    clinic = clinic_of(request)
    with reading(clinic.engine) as session:
        first, second, _ = _pair(session, case_id, other_id)
    try:
        looked = _looked(clinic, first, second)
    except (Unreadable, BundleError, Stopped) as error:
        raise HTTPException(404, "These photographs could not be compared.") from error
    if looked.registered is None:
        raise HTTPException(404, "These photographs could not be registered.")
    mark = f"{first.sha256[:16]}-{second.sha256[:16]}-registered"
    return send_file(request, looked.registered, mark)


def _size(case: Case) -> tuple[float, float]:
    """Of the photograph as it was compared, which outlines are in pixels of."""
    width, height = case.width or SIDE, case.height or SIDE
    scale = min(1.0, SIDE / max(width, height))
    return width * scale, height * scale


def _looked(clinic: ServedClinic, first: Case, second: Case) -> Looked:
    return compare_cases(clinic.pictures, clinic.bundle, clinic.card.digest, first, second)


def _pair(session: Session, case_id: int, other_id: int) -> tuple[Case, Case, tuple[Case, ...]]:
    """Two photographs of a lesion, or of the same skin, as they were taken; all of it that could be read."""
    case = find_case(session, case_id)
    others = same_lesion(session, case)
    if all(own.id != other_id for own in others):
        matched = [own for match in matches_of(session, case_id) for own in (match.first, match.second)]
        others = in_time({own.id: own for own in (case, *matched) if own.id in (case_id, other_id)}.values())
    pair = [own for own in others if own.id in (case_id, other_id)]
    if len(pair) != 2:
        raise HTTPException(404, f"Cases {case_id} and {other_id} are not two photographs of one lesion.")
    return (
        pair[0],
        pair[1],
        tuple(own for own in others if own.state == "screened" and own.tier != "unreadable"),
    )
