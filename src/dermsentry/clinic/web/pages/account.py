"""One's own account: the password, the sessions, the tokens for programs."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import select
from starlette.exceptions import HTTPException

from dermsentry.clinic import lengths
from dermsentry.clinic.language import languages, lazy
from dermsentry.clinic.store.accounts import (
    MAY,
    SCOPES,
    Person,
    add_token,
    check_password,
    new_hash,
    set_password,
    sign_in,
)
from dermsentry.clinic.store.audit_trail import append
from dermsentry.clinic.store.database import find, reading, writing
from dermsentry.clinic.store.events import PasswordChangedEvent, TokenMadeEvent, TokenRevokedEvent
from dermsentry.clinic.store.second_factor import recovery_codes_left
from dermsentry.clinic.store.tables import Account, Token, now
from dermsentry.clinic.web.attempts import in_words
from dermsentry.clinic.web.rendering import page
from dermsentry.clinic.web.security import (
    Present,
    SignedIn,
    begin_session,
    clinic_of,
    gate_of,
    own_path,
    provider_of,
    visitor_of,
)
from dermsentry.errors import InputError

router = APIRouter(include_in_schema=False)

LIFETIMES = {
    "30": lazy("30 days"),
    "90": lazy("90 days"),
    "365": lazy("a year"),
    "": lazy("until it is revoked"),
}


@router.get("/account")
def account(request: Request, person: SignedIn, changed: bool = False) -> Response:
    """The page of one's own account."""
    return account_page(request, person, changed=changed)


@router.post("/account/stay")
def stays(_: Present) -> Response:
    """A person is still there: the session does not end for want of use."""
    return Response(status_code=204)


@router.get("/account/first-password")
def first_password_form(request: Request, person: Present, next: str = "/") -> Response:
    """The page for replacing a password that somebody else chose."""
    if person.due != "password":
        return RedirectResponse(own_path(next), 303)
    return page(request, "first_password.html", person=person, problem="", next=own_path(next))


@router.post("/account/first-password")
def first_password(
    request: Request,
    person: Present,
    password: Annotated[str, Form(max_length=1000)] = "",
    again: Annotated[str, Form(max_length=1000)] = "",
    next: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """Replace the password that somebody else chose; then everything else can be reached."""
    if person.due != "password":
        return RedirectResponse(own_path(next), 303)
    problem = _not_twice(password, again)
    if not problem:
        try:
            return _changed(request, person, password, own_path(next))
        except InputError as error:
            problem = str(error)
    return page(
        request, "first_password.html", person=person, status=422, problem=problem, next=own_path(next)
    )


@router.post("/account/password")
def new_password(
    request: Request,
    person: SignedIn,
    old: Annotated[str, Form(max_length=1000)] = "",
    password: Annotated[str, Form(max_length=1000)] = "",
    again: Annotated[str, Form(max_length=1000)] = "",
) -> Response:
    """Change one's password; every other session of the account ends."""
    problem = not_confirmed(request, person, old) or _not_twice(password, again)
    if not problem:
        try:
            return _changed(request, person, password, "/account?changed=true")
        except InputError as error:
            problem = str(error)
    return account_page(request, person, problem=problem, status=422)


def not_confirmed(request: Request, person: Person, password: str) -> str:
    """Why this does not show that it is still the person; nothing where it is their password."""
    gate, visitor = gate_of(request), visitor_of(request, person.name)
    wait = gate.enter(visitor)
    if wait:
        return in_words(wait)
    with reading(clinic_of(request).engine) as session:
        right = check_password(session, person.name, password) is not None
    if not right:
        return "The current password is wrong."
    gate.passed(visitor)
    return ""


def _not_twice(password: str, again: str) -> str:
    return "" if password == again else "The two new passwords differ."


def _changed(request: Request, person: Person, password: str, next: str) -> Response:
    """Set the new password and begin a new session. Raises InputError."""
    clinic = clinic_of(request)
    with reading(clinic.engine) as session:
        hashed = new_hash(session.get_one(Account, person.account_id), password)
    with writing(clinic.engine) as session:
        found = session.get_one(Account, person.account_id)
        set_password(session, found, hashed, given=False)
        secret = sign_in(session, found)
        append(session, clinic.trail, person.name, PasswordChangedEvent(person.name))
    response = RedirectResponse(next, 303)
    begin_session(request, response, secret, person.name)
    return response


@router.post("/account/language")
def chooses_language(
    request: Request, person: SignedIn, language: Annotated[str, Form(max_length=lengths.CODE)] = ""
) -> Response:
    """Choose the language of the pages; none is the browser's."""
    if language and language not in languages():
        known = ", ".join(languages())
        raise InputError(f"Received the language {language!r}; expected one of {known}, or none.")
    with writing(clinic_of(request).engine) as session:
        session.get_one(Account, person.account_id).language = language
    return RedirectResponse("/account", 303)


@router.post("/account/tokens")
def new_token(
    request: Request,
    person: SignedIn,
    label: Annotated[str, Form(max_length=200)] = "",
    scopes: Annotated[list[str] | None, Form()] = None,
    days: Annotated[str, Form(max_length=5)] = "90",
) -> Response:
    """Create a token; its secret is shown once, on the page that answers."""
    clinic = clinic_of(request)
    try:
        if days not in LIFETIMES:
            raise InputError(
                f"Received a token for {days} days; expected {', '.join(filter(None, LIFETIMES))}."
            )
        ends = now() + timedelta(days=int(days)) if days else None
        with writing(clinic.engine) as session:
            owner = session.get_one(Account, person.account_id)
            token, secret = add_token(session, owner, label, scopes or [], ends)
            made = TokenMadeEvent(person.name, token.id, token.scopes)
            append(session, clinic.trail, person.name, made)
    except InputError as error:
        return account_page(request, person, token_problem=str(error), status=422)
    return account_page(request, person, secret=secret, status=201)


@router.post("/account/tokens/{token_id}/revoke")
def revokes(request: Request, person: SignedIn, token_id: int) -> Response:
    """Revoke a token: one's own, or anyone's for an administrator."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        token = find(session, Token, token_id)
        own = token is not None and token.account_id == person.account_id
        if token is None or not (own or "administer" in person.may):
            raise HTTPException(404, f"You have no token {token_id}.")
        if token.revoked_at is None:
            token.revoked_at = now()
            append(session, clinic.trail, person.name, TokenRevokedEvent(token.account.name, token.id))
    return RedirectResponse("/account" if own else "/accounts", 303)


def account_page(
    request: Request,
    person: Person,
    *,
    problem: str = "",
    factor_problem: str = "",
    token_problem: str = "",
    secret: str = "",
    changed: bool = False,
    status: int = 200,
) -> Response:
    """The page of one's own account, with what was wrong."""
    with reading(clinic_of(request).engine) as session:
        own = session.get_one(Account, person.account_id)
        codes_left = recovery_codes_left(session, own.id)
        tokens = session.scalars(
            select(Token).where(Token.account_id == person.account_id).order_by(Token.id.desc()).limit(100)
        ).all()
    return page(
        request,
        "account.html",
        person=person,
        status=status,
        problem=problem,
        factor_problem=factor_problem,
        token_problem=token_problem,
        own=own,
        codes_left=codes_left,
        factor_needed=person.role in clinic_of(request).settings.second_factor,
        provider=provider.openid.name if (provider := provider_of(request)) else "",
        secret=secret,
        changed=changed,
        tokens=tokens,
        scopes=[scope for scope in SCOPES if scope in MAY[person.role]],
        lifetimes=LIFETIMES,
        languages=languages(),
        base=str(request.base_url).rstrip("/"),
    )
