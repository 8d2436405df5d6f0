"""Authentication and authorisation: every route declares a rule; one without is refused at start.

Pages know a person by the session's cookie, the API by a token. A request of a page that changes something
must carry the session's secret number (OWASP, "Synchronizer Token Pattern"), and before there is a session
one derived from the visitor's cookie ("Signed Double-Submit Cookie"); a browser that says that the request
comes from another site is refused in any case.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

from fastapi import Depends, FastAPI, Request, Response
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from dermsentry.clinic.clinic import ServedClinic
from dermsentry.clinic.settings import Secrets
from dermsentry.clinic.store.accounts import (
    SESSION,
    Person,
    note_use,
    person_of_cookie,
    person_of_token,
    seen,
)
from dermsentry.clinic.store.audit_trail import Trail
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.events import SignedInEvent
from dermsentry.clinic.store.tables import Event
from dermsentry.clinic.web.attempts import Gate, Visitor, network
from dermsentry.clinic.web.guard import read_form
from dermsentry.clinic.web.openid import Provider
from dermsentry.clinic.web.sealed import seal, unseal

COOKIE, VISITOR, DEVICE = "dermsentry", "dermsentry-visitor", "dermsentry-device"
CSRF_FIELD, CSRF_HEADER = "csrf", "x-csrf-token"
SAFE_METHODS = frozenset({"GET", "HEAD"})
ANYONE, SIGNED_IN, PRESENT = "anyone", "signed-in", "present"
MOST_FILES = 200
DEVICE_KNOWN = timedelta(days=180)
MOST_REMEMBERED = 200
"""Sign-ins that are looked through for an address."""
MOST_ACCOUNTS = 20
"""Accounts that a browser is known by: a ward's computer is everybody's."""
DUE = {"password": "/account/first-password", "second-factor": "/account/second-factor"}
"""Where a person does what must be done first."""
FORM_TOO_OLD = "The form is too old, or not from this site. Open the page again and retry."


class DueFirst(HTTPException):
    """A person must choose a password, or set up a second factor, before anything else."""

    def __init__(self, due: str) -> None:
        what = "choose a password of your own" if due == "password" else "set up a second factor"
        super().__init__(403, f"You must {what} first.")
        self.page = DUE[due]


class SignInFirst(HTTPException):
    """The page requires signing in."""

    def __init__(self) -> None:
        super().__init__(401, "You are not signed in, or your session has ended. Sign in and try again.")


def clinic_of(request: Request) -> ServedClinic:
    """The clinic that this app serves."""
    clinic: ServedClinic = request.app.state.clinic
    return clinic


def gate_of(request: Request) -> Gate:
    """The app's count of failed sign-ins."""
    gate: Gate = request.app.state.gate
    return gate


def provider_of(request: Request) -> Provider | None:
    """The OpenID provider that people sign in through, if there is one."""
    state, settings = request.app.state, clinic_of(request).settings
    if not settings.openid.issuer:
        return None
    if state.provider is None:
        state.provider = Provider(settings.openid, Secrets().openid_secret, settings.link)
    provider: Provider = state.provider
    return provider


@dataclass(frozen=True)
class PageRule:
    """Who may open a page: `anyone`, who is `signed-in`, or who may do what `scope` says.

    `present`: who is signed in, even if they must do something else first.
    """

    scope: str

    async def __call__(self, request: Request) -> Person | None:
        """The person, if the rule allows it.

        Raises
        ------
        HTTPException
            401, nobody is signed in; 403, it is not theirs to do, they must do something else first, or the
            request was made elsewhere.
        """
        person = await run_in_threadpool(signed_in, request)
        request.state.person = person
        if self.scope != ANYONE:
            if person is None:
                raise SignInFirst
            if person.due and self.scope != PRESENT:
                raise DueFirst(person.due)
            if self.scope not in (SIGNED_IN, PRESENT) and self.scope not in person.may:
                raise HTTPException(403, f"The role {person.role} has no access to this page.")
        if request.method not in SAFE_METHODS:
            await _not_forged(request, person)
        return person


_bearer = HTTPBearer(auto_error=False, description="A token created under My account, such as ds_…")


@dataclass(frozen=True)
class ApiRule:
    """Which programs may call: any (`anyone`), or one whose token has the `scope`."""

    scope: str

    async def __call__(
        self, request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> Person:
        """Whose token it is, if the rule allows it.

        Raises
        ------
        HTTPException
            401, there is no token, or it counts no longer; 403, it does not reach this far; 422, there is a
            parameter that the call does not know.
        """
        person = await run_in_threadpool(_of_token, request, given.credentials) if given else None
        if person is None:
            received = "a token that is unknown, revoked or expired" if given else "no token"
            raise HTTPException(
                401,
                f"Received {received}; expected the header Authorization: Bearer ds_….",
                {"WWW-Authenticate": "Bearer"},
            )
        if self.scope not in person.may:
            raise HTTPException(403, f"The token does not include {self.scope}.")
        request.state.person = person
        _no_other_parameters(request)
        return person


@dataclass(frozen=True)
class OpenRule:
    """For what anyone may fetch: no session is looked up."""

    scope: str = ANYONE

    async def __call__(self) -> None:
        """Allow."""


Open = Annotated[None, Depends(OpenRule())]
Anyone = Annotated[Person | None, Depends(PageRule(ANYONE))]
Present = Annotated[Person, Depends(PageRule(PRESENT))]
SignedIn = Annotated[Person, Depends(PageRule(SIGNED_IN))]
Sender = Annotated[Person, Depends(PageRule("cases:write"))]
Reader = Annotated[Person, Depends(PageRule("cases:read"))]
Decider = Annotated[Person, Depends(PageRule("reads:write"))]
Recorder = Annotated[Person, Depends(PageRule("outcomes:write"))]
Corrector = Annotated[Person, Depends(PageRule("correct"))]
Auditor = Annotated[Person, Depends(PageRule("audit:read"))]
Administrator = Annotated[Person, Depends(PageRule("administer"))]

TokenSends = Annotated[Person, Depends(ApiRule("cases:write"))]
TokenReads = Annotated[Person, Depends(ApiRule("cases:read"))]
TokenDecides = Annotated[Person, Depends(ApiRule("reads:write"))]
TokenRecords = Annotated[Person, Depends(ApiRule("outcomes:write"))]
TokenCorrects = Annotated[Person, Depends(ApiRule("correct"))]
TokenAudits = Annotated[Person, Depends(ApiRule("audit:read"))]


def rules(app: FastAPI) -> dict[tuple[str, str], str]:
    """Each route of the app, (method, path), and whom its rule allows.

    Raises
    ------
    RuntimeError
        A route has no rule.
    """
    found = {}
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        called = [own.call for own in route.dependant.dependencies] if isinstance(route, APIRoute) else []
        own = [call for call in called if isinstance(call, PageRule | ApiRule | OpenRule)]
        if len(own) != 1:
            raise RuntimeError(f"The route {context.path} declares {len(own)} rules; expected one.")
        for method in sorted(context.methods or ()):
            found[method, str(context.path)] = own[0].scope
    return found


def begin_session(request: Request, response: Response, secret: str, name: str) -> None:
    """Give the browser its session's cookie, and let it be known as one that the account signs in with."""
    # Strict would ask who follows the link of a message, or comes from a provider, to sign in again.
    _set(request, response, COOKIE, secret, SESSION)
    known = _known(request)
    accounts = [own for own in known.get("accounts", []) if own != _short(name)][: MOST_ACCOUNTS - 1]
    told = {"device": known.get("device") or secrets.token_hex(8), "accounts": [_short(name), *accounts]}
    _set(request, response, DEVICE, seal(clinic_of(request).trail, DEVICE, told, DEVICE_KNOWN), DEVICE_KNOWN)


def visitor_of(request: Request, name: str) -> Visitor:
    """Who tries to sign in as this account."""
    known = _known(request)
    device = known["device"] if _short(name) in known.get("accounts", []) else ""
    return Visitor(name, address(request), device)


def signed_in_from(request: Request, visitor: Visitor) -> bool:
    """Whether the account has signed in from this network lately, as the audit trail tells."""
    query = select(Event.detail).where(
        Event.action == SignedInEvent.action, Event.subject == f"account {visitor.name}"
    )
    with reading(clinic_of(request).engine) as session:
        found = session.scalars(query.order_by(Event.id.desc()).limit(MOST_REMEMBERED)).all()
    return network(visitor.address) in {network(json.loads(detail)["address"]) for detail in found}


def keep_sealed(
    request: Request, response: Response, name: str, values: Mapping[str, Any], lifetime: timedelta
) -> None:
    """Let the browser keep what the server needs at the next step."""
    _set(request, response, name, seal(clinic_of(request).trail, name, values, lifetime), lifetime)


def kept_sealed(request: Request, name: str) -> dict[str, Any] | None:
    """What the browser keeps under this name, if it does and its time is not over."""
    text = request.cookies.get(name)
    return unseal(clinic_of(request).trail, name, text) if text else None


def _known(request: Request) -> dict[str, Any]:
    return kept_sealed(request, DEVICE) or {}


def _short(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _set(request: Request, response: Response, name: str, value: str, lifetime: timedelta) -> None:
    response.set_cookie(
        name,
        value,
        max_age=int(lifetime.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )


def end_session(response: Response) -> None:
    """Remove the session's cookie, and pictures from the browser's cache."""
    response.delete_cookie(COOKIE, httponly=True, samesite="lax")
    response.headers["Clear-Site-Data"] = '"cache"'


def form_number(request: Request, person: Person | None) -> str:
    """The CSRF number of a form: the session's, or the visitor's where there is no session yet."""
    if person is not None:
        return person.csrf
    visitor: str = request.cookies.get(VISITOR, "") or getattr(request.state, "visitor", "")
    if not visitor:
        visitor = request.state.visitor = secrets.token_urlsafe(32)
    return _of_visitor(clinic_of(request).trail, visitor)


def remember_visitor(request: Request, response: Response) -> None:
    """Set the visitor's cookie, from which the form's number is derived, if there is none."""
    visitor = getattr(request.state, "visitor", "")
    if visitor:
        response.set_cookie(
            VISITOR, visitor, httponly=True, samesite="strict", secure=request.url.scheme == "https"
        )


def address(request: Request) -> str:
    """Where the request comes from."""
    return request.client.host if request.client else "unknown"


def sign_in_path(request: Request) -> str:
    """The sign-in page, which leads back to the requested page."""
    return leading_back(request, "/sign-in")


def leading_back(request: Request, path: str) -> str:
    """A page, from which one is led back to the requested one."""
    wanted = page_behind(request) + (f"?{request.url.query}" if request.url.query else "")
    current = urlsplit(request.headers.get("hx-current-url", ""))
    if "hx-request" in request.headers:
        wanted = own_path(current.path + (f"?{current.query}" if current.query else ""))
    return path if wanted == "/" else f"{path}?next={quote(wanted, safe='')}"


def page_behind(request: Request) -> str:
    """The page that a request came from: its own, or the one whose form it sent."""
    path = request.url.path
    if request.method in SAFE_METHODS:
        return path
    found = re.match(r"/(cases/\d+|outcomes|upload|alerts|conflicts|site-model|accounts?)(?=/|$)", path)
    return found[0] if found else "/"


def own_path(text: str) -> str:
    """The text if it is a path of this site, else the first page."""
    plain = text.startswith("/") and not text.startswith("//") and text.isprintable() and "\\" not in text
    return text if plain else "/"


def signed_in(request: Request) -> Person | None:
    """The person of the request's cookie; None without a valid one. Raises DatabaseError."""
    secret = request.cookies.get(COOKIE)
    if not secret:
        return None
    engine = clinic_of(request).engine
    with reading(engine) as session:
        person = person_of_cookie(session, secret, clinic_of(request).settings.second_factor)
    # Requests by which a page refreshes itself are no sign of a person in front of it.
    if person is not None and person.stale and "hx-request" not in request.headers:
        with writing(engine) as session:
            seen(session, secret)
    return person


def _no_other_parameters(request: Request) -> None:
    """Refuse a misspelt filter, which would silently give everything."""
    route = request.scope["route"]
    known = [own.alias for own in route.dependant.query_params]
    other = next((name for name in request.query_params if name not in known), None)
    if other is not None:
        expected = f"some of {', '.join(known)}" if known else "none"
        raise HTTPException(422, f"Received the parameter {other[:40]!r}; expected {expected}.")


def _of_token(request: Request, secret: str) -> Person | None:
    engine = clinic_of(request).engine
    with reading(engine) as session:
        person = person_of_token(session, secret)
    if person is not None and person.stale:
        with writing(engine) as session:
            note_use(session, secret)
    return person


async def _not_forged(request: Request, person: Person | None) -> None:
    origin = request.headers.get("origin")
    if origin is not None:
        origin = origin.partition("://")[2]
    # Sec-Fetch-Site takes precedence: a web server in front may have changed the host.
    own = "same-origin" if origin in (None, request.headers.get("host")) else "cross-site"
    if request.headers.get("sec-fetch-site", own) not in ("same-origin", "none"):
        raise HTTPException(403, "The request came from another site.")
    given: Any = request.headers.get(CSRF_HEADER)
    if given is None:
        # Read only now, so that no file is accepted from anyone who is not signed in.
        form = await read_form(request, MOST_FILES if person else 0)
        given = form.get(CSRF_FIELD, "")
    expected = person.csrf if person is not None else _of_visitor_cookie(request)
    if not (isinstance(given, str) and expected and hmac.compare_digest(given.encode(), expected.encode())):
        raise HTTPException(403, FORM_TOO_OLD)


def _of_visitor_cookie(request: Request) -> str:
    visitor = request.cookies.get(VISITOR, "")
    return _of_visitor(clinic_of(request).trail, visitor) if visitor else ""


def _of_visitor(trail: Trail, visitor: str) -> str:
    return hmac.new(trail.key, b"form of a visitor: " + visitor.encode(), hashlib.sha256).hexdigest()
