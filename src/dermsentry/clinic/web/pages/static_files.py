"""Packaged files for browsers, and the description of the API."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from dermsentry.clinic.web.rendering import static_files
from dermsentry.clinic.web.security import Open, clinic_of

router = APIRouter(include_in_schema=False)


@router.get("/static/{name}")
def shipped(request: Request, name: str, _: Open) -> Response:
    """A style, a script or an icon."""
    found = static_files().get(name)
    if found is None:
        raise HTTPException(404, f"There is no file {name[:80]}.")
    data, kind, mark = found
    lasting = request.query_params.get("v") == mark
    headers = {
        "ETag": f'"{mark}"',
        "Cache-Control": "public, max-age=31536000, immutable" if lasting else "no-cache",
    }
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(data, headers=headers, media_type=kind)


@router.get("/favicon.ico")
def icon(_: Open) -> Response:
    """The icon under the name that browsers ask for by default."""
    data, kind, _mark = static_files()["icon.svg"]
    return Response(data, headers={"Cache-Control": "public, max-age=86400"}, media_type=kind)


@router.get("/api/openapi.json")
def description(request: Request, _: Open) -> Response:
    """The API's description (OpenAPI)."""
    root = clinic_of(request).root_path
    servers = {"servers": [{"url": root}]} if root else {}
    return JSONResponse({**request.app.openapi(), **servers})
