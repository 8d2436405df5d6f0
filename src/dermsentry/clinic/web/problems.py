"""Errors for programs (one JSON envelope) and for people (a page), with the request's identifier."""

from __future__ import annotations

import contextlib
import errno
import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from dermsentry.clinic.language import read_by, translated
from dermsentry.clinic.monitoring.outcomes import NotTheirs
from dermsentry.clinic.store.database import DatabaseError
from dermsentry.clinic.web.guard import read_form, secure
from dermsentry.clinic.web.rendering import page, reading_of
from dermsentry.clinic.web.security import (
    FORM_TOO_OLD,
    SAFE_METHODS,
    DueFirst,
    SignInFirst,
    leading_back,
    page_behind,
    sign_in_path,
    signed_in,
)
from dermsentry.clinic.worklist.parts import CannotJoin
from dermsentry.clinic.worklist.reading import CannotRead
from dermsentry.errors import BundleError, DermsentryError, OutputError

log = logging.getLogger(__name__)

NO_SPACE, AWAY = 507, 503
_CONFLICTS = (CannotJoin, CannotRead, NotTheirs)
"""What cannot be done as things are, whatever is sent."""
LONGEST_FORM = 64 * 1024

ERRORS = {
    400: ("bad-request", "The request cannot be understood"),
    401: ("not-signed-in", "Please sign in"),
    403: ("forbidden", "You do not have access to this"),
    404: ("not-found", "Not found"),
    405: ("method-not-allowed", "Method not allowed"),
    409: ("not-now", "This is not possible now"),
    413: ("too-large", "The request is too large"),
    415: ("unsupported-type", "Unsupported file type"),
    422: ("unusable", "Invalid input"),
    429: ("too-many-attempts", "Too many attempts"),
    500: ("unexpected", "Something went wrong"),
    503: ("unavailable", "The service is temporarily unavailable"),
    507: ("no-space", "No storage space left"),
}
"""Of a status: what programs distinguish it by, which does not change between versions, and for people."""


class Problem(BaseModel):
    """The envelope of every error."""

    error: str = Field(description="For example `not-found`; does not change between versions")
    detail: str = Field(description="One line for a person: what was received, what was expected, what to do")
    request_id: str = Field(description="Also in the header X-Request-ID and in the log")


def problem_responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The errors of an endpoint, for its OpenAPI description."""
    return {code: {"model": Problem, "description": ERRORS[code][1]} for code in codes}


def install(app: FastAPI) -> None:
    """Turn every error that leaves a route into the envelope or a page."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(DermsentryError, _told)
    app.add_exception_handler(Exception, _unexpected)


def wants_page(request: Request) -> bool:
    """Whether the answer is a page for a person, not for a program or a part of a page."""
    if request.url.path.startswith(("/api/", "/health")) or "hx-request" in request.headers:
        return False
    accepted = request.headers.get("accept", "")
    return "text/html" in accepted or "application/json" not in accepted


def answer(request: Request, status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """An error in the form that the request asked for."""
    own = headers or {}
    number = request_number(request)
    name, title = ERRORS.get(status, ("refused", HTTPStatus(status).phrase))
    title = "The form has expired" if detail == FORM_TOO_OLD else title  # the person has access
    if wants_page(request):
        return page(
            request,
            "error.html",
            status=status,
            headers=own,
            person=getattr(request.state, "person", None),
            title=title,
            detail=detail,
            number=number,
            given=_given(request),
            sign_in=sign_in_path(request),
            back=page_behind(request),
        )
    if not request.url.path.startswith(("/api/", "/health")):  # a script of a page shows it to a person
        with read_by(reading_of(request, getattr(request.state, "person", None))):
            detail = translated(detail)
    envelope = Problem(error=name, detail=detail, request_id=number)
    return JSONResponse(envelope.model_dump(), status, headers=own)


def _given(request: Request) -> dict[str, str]:
    """What a person filled into the form that was not saved, so that it is not lost; no files."""
    forms = request.scope.get("dermsentry.forms", ())
    return {
        name: " ".join(text for text in form.getlist(name) if isinstance(text, str))
        for form in forms[:1]
        for name in form
    }


async def _read_what_was_written(request: Request) -> None:
    """Read a small form that came without a session, to show its text again; files are never read."""
    kind = request.headers.get("content-type", "")
    length = request.headers.get("content-length", "")
    if (
        kind.startswith("application/x-www-form-urlencoded")
        and length.isdigit()
        and int(length) <= LONGEST_FORM
    ):
        with contextlib.suppress(HTTPException, OutputError):
            await read_form(request, 0)


def request_number(request: Request) -> str:
    """The request's identifier in the log."""
    return str(request.scope.get("dermsentry.request", ""))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if wants_page(request) and not hasattr(request.state, "person"):
        # No route, so no rule has identified the person whose navigation the page shows.
        with contextlib.suppress(DatabaseError):
            request.state.person = await run_in_threadpool(signed_in, request)
    if isinstance(error, DueFirst):
        path = leading_back(request, error.page)
        if "hx-request" in request.headers:
            return answer(request, 403, str(error.detail), {"HX-Redirect": path})
        if wants_page(request) and request.method in SAFE_METHODS:
            return RedirectResponse(path, 303)
    if isinstance(error, SignInFirst):
        path = sign_in_path(request)
        if "hx-request" in request.headers:
            return answer(request, 401, str(error.detail), {"HX-Redirect": path})
        if wants_page(request) and request.method in SAFE_METHODS:
            return RedirectResponse(path, 303)
        if wants_page(request):
            await _read_what_was_written(request)
    detail = str(error.detail)
    if detail == HTTPStatus(error.status_code).phrase:
        _, title = ERRORS.get(error.status_code, ("", detail))
        detail = f"{title}: {request.method} {request.url.path}."
    return answer(request, error.status_code, detail, dict(error.headers or {}))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = []
    for own in error.errors():
        place = " ".join(str(part) for part in own["loc"][1:]) or str(own["loc"][0])
        found.append(f"{place}: {own['msg']}")
    shown = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
    return answer(request, 422, f"Received invalid input: {shown}.")


_FULL = (errno.ENOSPC, errno.EDQUOT)
_IN_PART = "this was not saved, or only in part"
_NO_SPACE_LEFT = f"There is no storage space left; {_IN_PART}. Contact your administrator."
_HIDDEN: tuple[tuple[type[DermsentryError], int, str], ...] = (
    (DatabaseError, AWAY, f"The database cannot be reached; {_IN_PART}. Try again in a minute."),
    (
        BundleError,
        AWAY,
        "The model cannot be used: it was changed, or made by another version. Contact your administrator.",
    ),
    (
        OutputError,
        AWAY,
        f"The service may not write to one of its folders, or a disk fails; {_IN_PART}. "
        "Contact your administrator.",
    ),
)
"""Errors whose details, of databases and folders, belong in the log, not in a browser."""


async def _told(request: Request, error: Exception) -> Response:
    for kind, status, detail in _HIDDEN:
        if isinstance(error, kind):
            if kind is OutputError and _is_full(error):
                status, detail = NO_SPACE, _NO_SPACE_LEFT
            log.error("request %s: %s", request_number(request), error)
            return answer(request, status, detail, {"Retry-After": "30"})
    return answer(request, 409 if isinstance(error, _CONFLICTS) else 422, str(error))


def _is_full(error: BaseException) -> bool:
    """Whether a disk is full, or a database says that its own is, and not a permission missing."""
    cause = error.__cause__
    return cause.errno in _FULL if isinstance(cause, OSError) else cause is not None


async def _unexpected(request: Request, error: Exception) -> Response:
    # The server below writes the traceback.
    log.error("request %s failed: %s", request_number(request), type(error).__name__)
    detail = "An unexpected error; the service's log has it under this request number."
    response = answer(request, 500, detail)
    # This answer bypasses the middleware that adds the headers elsewhere.
    secure(response.headers, request_number(request))
    return response
