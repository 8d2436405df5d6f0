"""A case by its number, and its pictures: only ones rendered here, never a file as received."""

from __future__ import annotations

from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import FileResponse
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException

from dermsentry.clinic.store.database import find
from dermsentry.clinic.store.pictures import Kind, Pictures
from dermsentry.clinic.store.tables import Case

MEDIA = {".jpg": "image/jpeg", ".png": "image/png"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Content-Disposition": "inline",
    # Revalidated each time, so that a browser that was signed out shows nothing.
    "Cache-Control": "private, no-cache",
}


def find_case(session: Session, case_id: int) -> Case:
    """A case by its number. Raises HTTPException, 404, where there is none."""
    case = find(session, Case, case_id)
    if case is None:
        raise HTTPException(404, f"There is no case {case_id}.")
    return case


def send_picture(request: Request, pictures: Pictures, case: Case, kind: Kind) -> Response:
    """A picture rendered from a case's photograph; 304 if the browser has it already.

    Raises
    ------
    HTTPException
        404: it was not drawn, since the photograph waits or cannot be read.
    """
    path = pictures.drawn(case.sha256, kind)
    try:
        drawn_at = path.stat().st_mtime_ns
    except OSError as error:
        raise HTTPException(404, f"Case {case.id} has no such picture.") from error
    return send_file(request, path, f"{case.sha256[:32]}-{kind}-{drawn_at:x}")


def send_file(request: Request, path: Path, name: str) -> Response:
    """A picture that was drawn here, under a name of its own; 304 if the browser has it already."""
    mark = f'"{name}"'
    headers = {**HEADERS, "ETag": mark}
    if request.headers.get("if-none-match") == mark:
        return Response(status_code=304, headers=headers)
    # No page asks for a range of a picture; ignoring the header avoids answers about invalid ranges.
    request.scope["headers"] = [(name, value) for name, value in request.scope["headers"] if name != b"range"]
    return FileResponse(path, headers=headers, media_type=MEDIA[path.suffix])
