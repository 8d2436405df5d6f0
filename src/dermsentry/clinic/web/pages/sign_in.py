"""Signing in and out: a password, the second factor after it; and the first visit, which makes an account."""

from __future__ import annotations

import hmac
from datetime import timedelta
from functools import partial
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from dermsentry.clinic.store.accounts import (
    add_account,
    check_password,
    forget_old_sessions,
    has_accounts,
    sign_in,
    sign_out,
)
from dermsentry.clinic.store.audit_trail import append, hold
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.events import (
    AccountAddedEvent,
    CodeRefusedEvent,
    RecoveryCodeUsedEvent,
    SignedInEvent,
    SignedOutEvent,
    SignInRefusedEvent,
)
from dermsentry.clinic.store.passwords import renew_hash
from dermsentry.clinic.store.second_factor import is_code, is_recovery_code, recovery_codes_left
from dermsentry.clinic.store.tables import Account
from dermsentry.clinic.store.text import digest_of
from dermsentry.clinic.web.attempts import Visitor, in_words, network
from dermsentry.clinic.web.openid import Provider
from dermsentry.clinic.web.rendering import page
from dermsentry.clinic.web.security import (
    COOKIE,
    Anyone,
    Present,
    address,
    begin_session,
    clinic_of,
    end_session,
    gate_of,
    keep_sealed,
    kept_sealed,
    own_path,
    provider_of,
    signed_in_from,
    visitor_of,
)
from dermsentry.errors import DermsentryError, InputError

router = APIRouter(include_in_schema=False)

WRONG = "Wrong user name or password, or the account is closed."
WRONG_CODE = "Wrong code, or one that was used already. Wait for the next one, or use a recovery code."
HALFWAY = "dermsentry-halfway"
"""The cookie of who had the password right and owes the second factor."""
HALFWAY_LASTS = timedelta(minutes=10)


@router.get("/sign-in")
def sign_in_form(request: Request, person: Anyone, next: str = "/", left: bool = False) -> Response:
    """The sign-in page; the first visit's if there is no account. `left`: the provider's, a moment ago."""
    if person is not None:
        return RedirectResponse(own_path(next), 303)
    with reading(clinic_of(request).engine) as session:
        if not has_accounts(session):
            return RedirectResponse("/first-visit", 303)
    return form_page(request, own_path(next), left=left)


def form_page(
    request: Request,
    next: str,
    *,
    problem: str = "",
    name: str = "",
    left: bool = False,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Response:
    """The sign-in page, with what was wrong."""
    return page(
        request,
        "sign_in.html",
        person=None,
        status=status,
        headers=headers,
        problem=problem,
        name=name,
        next=next,
        left=left,
        provider=_button(provider_of(request)),
    )


def _button(provider: Provider | None) -> str:
    return provider.openid.name if provider else ""


@router.post("/sign-in")
def signs_in(
    request: Request,
    _: Anyone,
    name: Annotated[str, Form(max_length=200)] = "",
    password: Annotated[str, Form(max_length=1000)] = "",
    next: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """Begin a session, or ask for the second factor, unless there were too many attempts."""
    clinic, gate = clinic_of(request), gate_of(request)
    who = name.strip().casefold()
    visitor = visitor_of(request, who)
    refused = partial(form_page, request, own_path(next), name=name)
    wait = gate.enter(visitor, lambda: signed_in_from(request, visitor))
    if wait:
        return refused(status=429, problem=in_words(wait), headers={"Retry-After": str(wait)})
    try:
        with reading(clinic.engine) as session:  # hashing is slow; no write lock is held meanwhile
            known = session.execute(
                select(Account.id, Account.password_hash).where(Account.name == who)
            ).one_or_none()
            checked = check_password(session, who, password)
            session.rollback()
    except DermsentryError:
        gate.take_back(visitor)  # the password was not checked
        raise
    if checked is None or known is None:
        if known is not None:
            with writing(clinic.engine) as session:
                append(session, clinic.trail, who, SignInRefusedEvent(who, visitor.address))
        return refused(status=401, problem=WRONG)
    with writing(clinic.engine) as session:
        account = session.scalar(select(Account).where(Account.id == known.id, Account.active))
        if account is None or account.password_hash != known.password_hash:
            return refused(status=401, problem=WRONG)
        renew_hash(account, password)
        two_steps = account.totp_secret is not None
        secret = "" if two_steps else begin(session, request, account, "password")
    gate.passed(visitor)
    if two_steps:
        response = RedirectResponse(f"/sign-in/code?next={quote(own_path(next), safe='')}", 303)
        told = {"account": account.id, "password": digest_of(account.password_hash)}
        keep_sealed(request, response, HALFWAY, told, HALFWAY_LASTS)
        return response
    response = RedirectResponse(own_path(next), 303)
    begin_session(request, response, secret, account.name)
    return response


def begin(session: Session, request: Request, account: Account, means: str) -> str:
    """Begin an account's session, within `writing`; the cookie's value."""
    forget_old_sessions(session)
    event = SignedInEvent(account.name, address(request), means)
    append(session, clinic_of(request).trail, account.name, event)
    return sign_in(session, account)


@router.get("/sign-in/code")
def code_form(request: Request, person: Anyone, next: str = "/") -> Response:
    """The page that asks for the second factor of who had the password right."""
    if person is not None:
        return RedirectResponse(own_path(next), 303)
    with reading(clinic_of(request).engine) as session:
        if _halfway(session, request) is None:
            return RedirectResponse(f"/sign-in?next={quote(own_path(next), safe='')}", 303)
    return page(request, "sign_in_code.html", person=None, problem="", next=own_path(next))


@router.post("/sign-in/code")
def gives_code(
    request: Request,
    _: Anyone,
    code: Annotated[str, Form(max_length=100)] = "",
    next: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """Begin the session, if the code is the phone's or a recovery code; each counts once."""
    clinic, gate = clinic_of(request), gate_of(request)
    refused = partial(page, request, "sign_in_code.html", person=None, next=own_path(next))
    with reading(clinic.engine) as session:
        found = _halfway(session, request)
    if found is None:
        problem = "That took too long, or the password was changed. Enter it again."
        return form_page(request, own_path(next), status=401, problem=problem)
    visitor = visitor_of(request, found.name)
    visitor = Visitor(f"{found.name} code", visitor.address, visitor.device)
    wait = gate.enter(visitor, lambda: signed_in_from(request, visitor_of(request, found.name)))
    if wait:
        return refused(status=429, problem=in_words(wait), headers={"Retry-After": str(wait)})
    with writing(clinic.engine) as session:
        account = session.get_one(Account, found.id)
        means = _means(session, request, account, code)
        if means:
            secret = begin(session, request, account, means)
        else:
            append(session, clinic.trail, account.name, CodeRefusedEvent(account.name, visitor.address))
    if not means:
        return refused(status=401, problem=WRONG_CODE)
    gate.passed(visitor)
    response = RedirectResponse(own_path(next), 303)
    begin_session(request, response, secret, account.name)
    response.delete_cookie(HALFWAY, httponly=True, samesite="lax")
    return response


def _halfway(session: Session, request: Request) -> Account | None:
    """Whose password this browser had right a moment ago; nobody's once that or the account changed."""
    kept = kept_sealed(request, HALFWAY)
    account = session.get(Account, kept["account"]) if kept else None
    if kept is None or account is None or not account.active or account.totp_secret is None:
        return None
    return account if kept["password"] == digest_of(account.password_hash) else None


def _means(session: Session, request: Request, account: Account, code: str) -> str:
    """By what the second factor was shown; nothing where it was not."""
    trail = clinic_of(request).trail
    if is_code(session, trail, account, code):
        return "password and code"
    if is_recovery_code(session, account.id, code):
        left = recovery_codes_left(session, account.id)
        append(session, trail, account.name, RecoveryCodeUsedEvent(account.name, left))
        return "password and recovery code"
    return ""


@router.post("/sign-out")
def signs_out(request: Request, person: Present) -> Response:
    """End the session."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        account = session.get_one(Account, person.account_id)
        sign_out(session, request.cookies[COOKIE])
        append(session, clinic.trail, person.name, SignedOutEvent(person.name))
    by_provider = account.openid_issuer is not None and provider_of(request) is not None
    response = RedirectResponse("/sign-in?left=true" if by_provider else "/sign-in", 303)
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
    clinic, gate, where = clinic_of(request), gate_of(request), network(address(request))
    refused = partial(
        page, request, "first_visit.html", person=None, token=token, name=name, full_name=full_name
    )
    wait = gate.addresses.enter(where)
    if wait:
        return refused(status=429, problem=in_words(wait))
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
    begin_session(request, response, secret, account.name)
    return response
