"""A photograph at its original size, with saliency map, ruler, and the others of its lesion."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from dermsentry.clinic.store.database import reading
from dermsentry.clinic.store.tables import TECHNIQUES, Case
from dermsentry.clinic.web.case_pictures import HEADERS, find_case
from dermsentry.clinic.web.rendering import page
from dermsentry.clinic.web.security import Reader, clinic_of
from dermsentry.clinic.web.views import note_view
from dermsentry.clinic.worker.looking import read_tile, tiles_of
from dermsentry.clinic.worker.tiles import TILE, levels
from dermsentry.clinic.worklist.patients import by_day, same_lesion
from dermsentry.errors import BundleError
from dermsentry.guarded import Stopped
from dermsentry.images import Unreadable

router = APIRouter(include_in_schema=False)


@router.get("/cases/{case_id}/closely")
def closely(request: Request, person: Reader, case_id: int) -> Response:
    """The page of a photograph at its original size."""
    clinic = clinic_of(request)
    with reading(clinic.engine) as session:
        case = find_case(session, case_id)
        if not (case.width and case.height):
            raise HTTPException(404, f"The photograph of case {case_id} cannot be shown.")
        spacing = (case.dicom or {}).get("spacing") or []
        answer = page(
            request,
            "closely.html",
            person=person,
            case=case,
            tile=TILE,
            levels=levels(case.width, case.height),
            # Where rows and columns are not equally far apart, no length has one scale.
            spacing=spacing[0] if len(spacing) == 2 and abs(spacing[0] / spacing[1] - 1) < 0.01 else None,
            has_saliency=clinic.pictures.drawn(case.sha256, "saliency").is_file(),
            aspect=case.model.card["aspect"] if case.model else "squash",
            related_days=by_day(same_lesion(session, case)),
            techniques=TECHNIQUES,
        )
    note_view(clinic, person, case_id)
    return answer


@router.get("/cases/{case_id}/tiles/{level}/{place}")
def tile(request: Request, person: Reader, case_id: int, level: int, place: str) -> Response:
    """A tile of a photograph, `COLUMN_ROW.jpg`."""
    clinic = clinic_of(request)
    with reading(clinic.engine) as session:
        case: Case = find_case(session, case_id)
    mark = f'"{case.sha256[:32]}-{level}-{place[:40]}"'
    headers = {**HEADERS, "ETag": mark}
    if request.headers.get("if-none-match") == mark:
        return Response(status_code=304, headers=headers)
    try:
        data = read_tile(tiles_of(clinic.pictures, clinic.bundle, case), f"{level}/{place}")
    except (Unreadable, BundleError, Stopped) as error:
        raise HTTPException(404, f"The photograph of case {case_id} cannot be shown.") from error
    if data is None:
        raise HTTPException(404, "There is no such tile.")
    return Response(data, headers=headers, media_type="image/jpeg")
