"""All accounts and tokens, for administrators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException

from dermsentry.clinic import lengths
from dermsentry.clinic.roles import ROLES
from dermsentry.clinic.store.accounts import Person, sign_out_everywhere
from dermsentry.clinic.store.administration import (
    give_password,
    keep_an_administrator,
    open_account,
    reset_second_factor,
)
from dermsentry.clinic.store.audit_trail import append
from dermsentry.clinic.store.database import find, reading, writing
from dermsentry.clinic.store.events import (
    AccountClosedEvent,
    AccountEvent,
    AccountOpenedEvent,
    RoleChangedEvent,
)
from dermsentry.clinic.store.passwords import hash_password
from dermsentry.clinic.store.tables import Account, Token
from dermsentry.clinic.web.rendering import page
from dermsentry.clinic.web.security import Administrator as Administers
from dermsentry.clinic.web.security import clinic_of, provider_of
from dermsentry.errors import InputError

router = APIRouter(include_in_schema=False)

BLANK = {"name": "", "full_name": "", "role": "dermatologist"}


@router.get("/accounts")
def accounts(request: Request, person: Administers) -> Response:
    """All accounts and tokens, and the form for a new account."""
    return _page(request, person)


@router.post("/accounts")
def adds(
    request: Request,
    person: Administers,
    name: Annotated[str, Form(max_length=200)] = "",
    full_name: Annotated[str, Form(max_length=200)] = "",
    role: Annotated[str, Form(max_length=lengths.CODE)] = "",
    password: Annotated[str, Form(max_length=1000)] = "",
) -> Response:
    """Create an account."""
    clinic = clinic_of(request)
    try:
        with writing(clinic.engine) as session:
            open_account(session, clinic.trail, person.name, name, full_name, role, password)
    except InputError as error:
        given = {"name": name, "full_name": full_name, "role": role}
        return _page(request, person, problem=str(error), given=given, status=422)
    return RedirectResponse("/accounts", 303)


@router.post("/accounts/{account_id}")
def changes(
    request: Request,
    person: Administers,
    account_id: int,
    role: Annotated[str, Form(max_length=lengths.CODE)] = "",
    state: Annotated[str, Form(max_length=lengths.CODE)] = "",
    password: Annotated[str, Form(max_length=1000)] = "",
) -> Response:
    """Change an account's role, open or close it, or give a new password; empty fields change nothing."""
    clinic = clinic_of(request)
    try:
        if role and role not in ROLES:
            raise InputError(f"Received the role {role!r}; expected one of {', '.join(ROLES)}.")
        if state not in ("", "open", "closed"):
            raise InputError(f"Received the state {state!r}; expected open or closed.")
        hashed = ""
        if password:
            with reading(clinic.engine) as session:
                hashed = hash_password(password, *_names(session, account_id))
        with writing(clinic.engine) as session:
            _change(session, request, person, account_id, role, state, hashed)
    except InputError as error:
        return _page(request, person, problem=str(error), status=422)
    return RedirectResponse("/accounts", 303)


@router.post("/accounts/{account_id}/second-factor/reset")
def resets(request: Request, person: Administers, account_id: int) -> Response:
    """Remove an account's second factor, for who has lost the phone and the recovery codes."""
    clinic = clinic_of(request)
    try:
        with writing(clinic.engine) as session:
            reset_second_factor(session, clinic.trail, person.name, _account(session, account_id))
    except InputError as error:
        return _page(request, person, problem=str(error), status=422)
    return RedirectResponse("/accounts", 303)


def _names(session: Session, account_id: int) -> tuple[str, str]:
    found = _account(session, account_id)
    return found.name, found.full_name


def _account(session: Session, account_id: int) -> Account:
    found = find(session, Account, account_id)
    if found is None:
        raise HTTPException(404, f"There is no account {account_id}.")
    return found


def _change(
    session: Session, request: Request, person: Person, account_id: int, role: str, state: str, hashed: str
) -> None:
    trail, found = clinic_of(request).trail, _account(session, account_id)
    if found.openid_issuer is not None and (hashed or role not in ("", found.role)):
        raise InputError(f"{found.name} signs in through the provider, whose groups say the role.")
    happened: list[AccountEvent] = []
    if role and role != found.role:
        happened.append(RoleChangedEvent(found.name, found.role, role))
        found.role = role
    if state and (state == "open") != found.active:
        happened.append((AccountOpenedEvent if state == "open" else AccountClosedEvent)(found.name))
        found.active = state == "open"
    for event in happened:
        append(session, trail, person.name, event)
    if hashed:
        give_password(session, trail, person.name, found, hashed)
    if not found.active:
        sign_out_everywhere(session, found.id)
    keep_an_administrator(session)


def _page(
    request: Request,
    person: Person,
    *,
    problem: str = "",
    given: Mapping[str, str] = BLANK,
    status: int = 200,
) -> Response:
    with reading(clinic_of(request).engine) as session:
        people = session.scalars(select(Account).order_by(Account.name).limit(1000)).all()
        tokens = session.scalars(
            select(Token).where(Token.revoked_at.is_(None)).order_by(Token.id.desc()).limit(200)
        ).all()
    return page(
        request,
        "accounts.html",
        person=person,
        status=status,
        problem=problem,
        given=given,
        people=people,
        tokens=tokens,
        roles=ROLES,
        provider=provider.openid.name if (provider := provider_of(request)) else "a provider",
    )
