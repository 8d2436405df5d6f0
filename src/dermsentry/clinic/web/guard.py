"""The guard before every route: request identifiers, size limits, security headers, forms read once."""

from __future__ import annotations

import re
import secrets
import tempfile
from collections.abc import Callable

from starlette.datastructures import FormData, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dermsentry.errors import OutputError

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SAFE = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "Cache-Control": "no-store",
}

MOST_FIELDS = 100
SMALL = 1024 * 1024
"""Bytes of a request that holds no file."""
LARGE: tuple[tuple[str, re.Pattern[str], int], ...] = (
    ("POST", re.compile(r"/(api/cases|upload)"), 1024 * 1024 * 1024),
    ("POST", re.compile(r"/outcomes/import"), 8 * 1024 * 1024),
)
"""Requests that may be larger: method, path, bytes."""
_END = 4096
"""Bytes at the end of a form that hold its last boundary."""


def secure(headers: MutableHeaders, number: str) -> None:
    """Add the headers of every response; what a route set itself is kept."""
    for name, value in SAFE.items():
        headers.setdefault(name, value)
    headers["X-Request-ID"] = number


def most_bytes(method: str, path: str) -> int:
    """How large this request may be."""
    return next((most for own, pattern, most in LARGE if own == method and pattern.fullmatch(path)), SMALL)


class TooLarge(HTTPException):
    """A request has more bytes than it may."""

    def __init__(self, most: int) -> None:
        super().__init__(
            413, f"The request is larger than {most >> 20} MiB; send fewer or smaller files at once."
        )


class Guard:
    """Gives each request its number, stops one that is too large, adds the headers to its answer."""

    def __init__(self, app: ASGIApp, refuse: Callable[[Request, TooLarge], Response]) -> None:
        self.app, self.refuse = app, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        number = secrets.token_hex(8)
        if scope["method"] == "HEAD":  # the server sends what a GET would answer, less its body
            scope = {**scope, "method": "GET"}
        scope["dermsentry.request"] = number
        forms: list[FormData] = []
        scope["dermsentry.forms"] = forms
        most = most_bytes(scope["method"], scope["path"])
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        came = 0
        scope["dermsentry.end"] = b""

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            body = message.get("body", b"")
            came += len(body)
            scope["dermsentry.end"] = (scope["dermsentry.end"] + body)[-_END:]
            if came > most:
                raise TooLarge(most)
            return message

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                secure(MutableHeaders(scope=message), number)
            await send(message)

        if length.isdigit() and int(length) > most:
            response = self.refuse(Request(scope), TooLarge(most))
            response.headers["Connection"] = "close"  # what comes after is not read
            await response(scope, receive, headed)
            return
        try:
            await self.app(scope, counted, headed)
        finally:
            for form in forms:
                await form.close()


async def read_form(request: Request, most_files: int) -> FormData:
    """The form of a request, read once; its files are closed when the request is over.

    Raises
    ------
    HTTPException
        400, it is no form, has too many parts, or no end; 413, it is too large.
    OutputError
        There is no space for its files where the system keeps what is temporary.
    """
    try:
        form = await request.form(max_files=most_files, max_fields=MOST_FIELDS)
    except OSError as error:
        raise OutputError(
            f"Cannot write to {tempfile.gettempdir()}: {error.strerror or error}. Free space, or set TMPDIR."
        ) from error
    request.scope["dermsentry.forms"].append(form)
    boundary = re.search(r'boundary="?([^";,]+)', request.headers.get("content-type", ""))
    if boundary and f"--{boundary[1]}--".encode() not in request.scope["dermsentry.end"]:
        raise HTTPException(400, "The form is incomplete, so its last file may be truncated; send it again.")
    return form
