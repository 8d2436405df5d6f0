"""The service under a path of another web server, such as /derm: every address that leaves is put below it.

Within, nothing knows of it. Requests may come with the path or without it, since some proxies take it off.
Pages, redirects and cookies are written as if the service were alone, and get the path here, in one place:
an address that a new page holds cannot be forgotten.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.datastructures import MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dermsentry.clinic.clinic import ServedClinic
from dermsentry.errors import InputError

_PATH = re.compile(r"(/[A-Za-z0-9._~-]{1,80}){1,8}")
_ADDRESS = re.compile(
    rb'(\s(?:(?:href|src|action|formaction|poster|hx-[a-z-]+)="|data-root="|data-[a-z-]+="(?=/[a-z])))/(?!/)'
)
"""An attribute that holds an address of this service; the text of a page holds no quotation mark."""


class RootPath:
    """Takes the root path off what comes, and puts it before the addresses in what leaves (ASGI)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        clinic: ServedClinic | None = getattr(scope["app"].state, "clinic", None) if "app" in scope else None
        root = clinic.root_path if clinic is not None else ""
        if scope["type"] != "http" or not root:
            await self.app(scope, receive, send)
            return
        if scope["path"] == root:
            await RedirectResponse(f"{root}/", 307)(scope, receive, send)
            return
        if scope["path"].startswith(f"{root}/"):
            own = scope["path"].removeprefix(root)
            raw = scope.get("raw_path") or own.encode()
            scope = {**scope, "path": own, "raw_path": raw.removeprefix(root.encode())}
        held: list[Message] = []

        async def under(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                _put_below(root, headers)
                if headers.get("content-type", "").startswith("text/html"):
                    held.append(message)
                    return
            elif held:
                message = {**message, "body": below(root, message.get("body", b""))}
                if not message.get("more_body"):
                    MutableHeaders(scope=held[0])["content-length"] = str(len(message["body"]))
                await send(held.pop())
            await send(message)

        await self.app(scope, receive, under)


def below(root: str, page: bytes) -> bytes:
    """A page whose addresses are below the root path; those that are already stay."""
    start = root.encode()

    def put(found: re.Match[bytes]) -> bytes:
        there = page[found.end() - 1 :]
        return found[0] if re.match(re.escape(start) + rb"[/\"?#]", there) else found[1] + start + b"/"

    return _ADDRESS.sub(put, page)


def checked_root_path(given: str) -> str:
    """A root path without a slash at its end; `""` for none. Raises InputError where it is no path."""
    path = given.rstrip("/")
    if path and not (_PATH.fullmatch(path) and ".." not in path.split("/") and "." not in path.split("/")):
        raise InputError(f"Received --root-path {given[:80]!r}; expected a path such as /derm.")
    return path


def require_free(root: str, paths: Iterable[str]) -> None:
    """Raise InputError where the root path begins as a page of the service does: none could be told apart."""
    first = root.split("/")[1] if root else ""
    if first and first in {path.split("/")[1] for path in paths}:
        raise InputError(f"Received --root-path {root}; /{first} is a page of the service, choose another.")


def _put_below(root: str, headers: MutableHeaders) -> None:
    for name in ("location", "hx-redirect", "hx-location", "hx-push-url"):
        place = headers.get(name, "")
        if place.startswith("/") and not place.startswith(("//", f"{root}/")) and place != root:
            headers[name] = root + place
    cookies = headers.getlist("set-cookie")
    if cookies:
        del headers["set-cookie"]
        for cookie in cookies:
            headers.append("set-cookie", re.sub(r"(?i)(; path=)/(?=;|$)", rf"\1{root}", cookie))
