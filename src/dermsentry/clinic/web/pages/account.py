"""One's own account: the password, the sessions, the tokens for programs."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import select
from starlette.exceptions import HTTPException

from dermsentry.clinic.store.accounts import (
    MAY,
    SCOPES,
    Person,
    add_token,
    check_password,
    hash_password,
    sign_in,
    sign_out_everywhere,
)
from dermsentry.clinic.store.audit_trail import append
from dermsentry.clinic.store.database import find, reading, writing
from dermsentry.clinic.store.events import PasswordChangedEvent, TokenMadeEvent, TokenRevokedEvent
from dermsentry.clinic.store.tables import Account, Token, now
from dermsentry.clinic.web.rendering import page
from dermsentry.clinic.web.security import SignedIn, address, begin_session, clinic_of, gate_of
from dermsentry.errors import InputError

router = APIRouter(include_in_schema=False)

LIFETIMES = {"30": "30 days", "90": "90 days", "365": "a year", "": "until it is revoked"}


@router.get("/account")
def account(request: Request, person: SignedIn, changed: bool = False) -> Response:
    """The page of one's own account."""
    return _page(request, person, changed=changed)


@router.post("/account/stay")
def stays(_: SignedIn) -> Response:
    """A person is still there: the session does not end for want of use."""
    return Response(status_code=204)


@router.post("/account/password")
def new_password(
    request: Request,
    person: SignedIn,
    old: Annotated[str, Form(max_length=1000)] = "",
    password: Annotated[str, Form(max_length=1000)] = "",
    again: Annotated[str, Form(max_length=1000)] = "",
) -> Response:
    """Change one's password; every other session of the account ends."""
    clinic, gate, where = clinic_of(request), gate_of(request), address(request)
    if gate.enter(person.name, where):
        return _page(request, person, problem="Too many attempts. Try again in a few minutes.", status=429)
    with reading(clinic.engine) as session:
        right = check_password(session, person.name, old) is not None
    if not right:
        return _page(request, person, problem="The current password is wrong.", status=422)
    gate.passed(person.name, where)
    if password != again:
        return _page(request, person, problem="The two new passwords differ.", status=422)
    try:
        hashed = hash_password(password)
    except InputError as error:
        return _page(request, person, problem=str(error), status=422)
    with writing(clinic.engine) as session:
        found = session.get_one(Account, person.account_id)
        found.password_hash = hashed
        sign_out_everywhere(session, found.id)
        secret = sign_in(session, found)
        append(session, clinic.trail, person.name, PasswordChangedEvent(person.name))
    response = RedirectResponse("/account?changed=true", 303)
    begin_session(request, response, secret)
    return response


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
        return _page(request, person, token_problem=str(error), status=422)
    return _page(request, person, secret=secret, status=201)


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


def _page(
    request: Request,
    person: Person,
    *,
    problem: str = "",
    token_problem: str = "",
    secret: str = "",
    changed: bool = False,
    status: int = 200,
) -> Response:
    with reading(clinic_of(request).engine) as session:
        tokens = session.scalars(
            select(Token).where(Token.account_id == person.account_id).order_by(Token.id.desc()).limit(100)
        ).all()
    return page(
        request,
        "account.html",
        person=person,
        status=status,
        problem=problem,
        token_problem=token_problem,
        secret=secret,
        changed=changed,
        tokens=tokens,
        scopes=[scope for scope in SCOPES if scope in MAY[person.role]],
        lifetimes=LIFETIMES,
        base=str(request.base_url).rstrip("/"),
    )
