"""Signing in and out, and the first visit, which creates the first account."""

from __future__ import annotations

import hmac
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import select

from dermsentry.clinic.store.accounts import (
    add_account,
    check_password,
    forget_old_sessions,
    has_accounts,
    renew_hash,
    sign_in,
    sign_out,
)
from dermsentry.clinic.store.audit_trail import append, hold
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.events import (
    AccountAddedEvent,
    SignedInEvent,
    SignedOutEvent,
    SignInRefusedEvent,
)
from dermsentry.clinic.store.tables import Account
from dermsentry.clinic.web.rendering import page
from dermsentry.clinic.web.security import (
    COOKIE,
    Anyone,
    SignedIn,
    address,
    begin_session,
    clinic_of,
    end_session,
    gate_of,
    own_path,
)
from dermsentry.errors import DermsentryError, InputError

router = APIRouter(include_in_schema=False)

WRONG = "Wrong user name or password, or the account is closed."


@router.get("/sign-in")
def sign_in_form(request: Request, person: Anyone, next: str = "/") -> Response:
    """The sign-in page; the first visit's if there is no account."""
    if person is not None:
        return RedirectResponse(own_path(next), 303)
    with reading(clinic_of(request).engine) as session:
        if not has_accounts(session):
            return RedirectResponse("/first-visit", 303)
    return page(request, "sign_in.html", person=None, problem="", name="", next=own_path(next))


@router.post("/sign-in")
def signs_in(
    request: Request,
    _: Anyone,
    name: Annotated[str, Form(max_length=200)] = "",
    password: Annotated[str, Form(max_length=1000)] = "",
    next: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """Begin a session, unless there were too many attempts."""
    clinic, gate = clinic_of(request), gate_of(request)
    who, where = name.strip().casefold(), address(request)

    refused = partial(page, request, "sign_in.html", person=None, name=name, next=own_path(next))
    wait = gate.enter(who, where)
    if wait:
        problem = f"Too many attempts. Try again in {-(-wait // 60)} min, or ask an administrator."
        return refused(status=429, problem=problem, headers={"Retry-After": str(wait)})
    try:
        with reading(clinic.engine) as session:  # hashing is slow; no write lock is held meanwhile
            known = session.execute(
                select(Account.id, Account.password_hash).where(Account.name == who)
            ).one_or_none()
            checked = check_password(session, who, password)
            session.rollback()
    except DermsentryError:
        gate.take_back(who, where)  # the password was not checked
        raise
    if checked is None or known is None:
        if known is not None:
            with writing(clinic.engine) as session:
                append(session, clinic.trail, who, SignInRefusedEvent(who, where))
        return refused(status=401, problem=WRONG)
    with writing(clinic.engine) as session:
        account = session.scalar(select(Account).where(Account.id == known.id, Account.active))
        if account is None or account.password_hash != known.password_hash:
            return refused(status=401, problem=WRONG)
        renew_hash(account, password)
        forget_old_sessions(session)
        secret = sign_in(session, account)
        append(session, clinic.trail, account.name, SignedInEvent(account.name, where))
    gate.passed(who, where)
    response = RedirectResponse(own_path(next), 303)
    begin_session(request, response, secret)
    return response


@router.post("/sign-out")
def signs_out(request: Request, person: SignedIn) -> Response:
    """End the session."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        sign_out(session, request.cookies[COOKIE])
        append(session, clinic.trail, person.name, SignedOutEvent(person.name))
    response = RedirectResponse("/sign-in", 303)
    end_session(response)
    return response


@router.get("/first-visit")
def first_form(request: Request, _: Anyone, token: str = "") -> Response:
    """The page for creating the first account."""
    with reading(clinic_of(request).engine) as session:
        if has_accounts(session):
            return RedirectResponse("/sign-in", 303)
    return page(
        request, "first_visit.html", person=None, problem="", token=token[:200], name="", full_name=""
    )


@router.post("/first-visit")
def first_visit(
    request: Request,
    _: Anyone,
    token: Annotated[str, Form(max_length=200)] = "",
    name: Annotated[str, Form(max_length=200)] = "",
    full_name: Annotated[str, Form(max_length=200)] = "",
    password: Annotated[str, Form(max_length=1000)] = "",
    again: Annotated[str, Form(max_length=1000)] = "",
) -> Response:
    """Create the first account, an administrator, and sign in."""
    clinic, gate, where = clinic_of(request), gate_of(request), address(request)
    refused = partial(
        page, request, "first_visit.html", person=None, token=token, name=name, full_name=full_name
    )
    wait = gate.addresses.enter(where)
    if wait:
        return refused(status=429, problem=f"Too many attempts. Try again in {-(-wait // 60)} min.")
    right = clinic.first_token and hmac.compare_digest(token.strip().encode(), clinic.first_token.encode())
    if not right:
        return refused(status=403, problem="This is not the token shown in the terminal. Copy it in full.")
    gate.addresses.take_back(where)
    if password != again:
        return refused(status=422, problem="The two passwords differ.")
    try:
        with writing(clinic.engine) as session:
            hold(session)  # of two visitors at once the second sees the first
            if has_accounts(session):
                raise InputError("There is an account already. Sign in, or ask an administrator for one.")
            account = add_account(session, name, full_name, "administrator", password)
            append(session, clinic.trail, account.name, AccountAddedEvent(account.name, account.role))
            secret = sign_in(session, account)
    except InputError as error:
        return refused(status=422, problem=str(error))
    response = RedirectResponse("/", 303)
    begin_session(request, response, secret)
    return response
