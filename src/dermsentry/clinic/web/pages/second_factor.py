"""One's own second factor: setting up a phone, new recovery codes, removing it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import segno
from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from markupsafe import Markup

from dermsentry.clinic.store.accounts import Person, sign_in, sign_out_everywhere
from dermsentry.clinic.store.audit_trail import append
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.events import (
    RecoveryCodesMadeEvent,
    SecondFactorRemovedEvent,
    SecondFactorSetEvent,
)
from dermsentry.clinic.store.second_factor import (
    new_recovery_codes,
    new_secret,
    phone_address,
    remove,
    set_up,
)
from dermsentry.clinic.store.tables import Account
from dermsentry.clinic.web.pages.account import account_page, not_confirmed
from dermsentry.clinic.web.rendering import page
from dermsentry.clinic.web.sealed import seal, unseal
from dermsentry.clinic.web.security import (
    DUE,
    Present,
    SignedIn,
    begin_session,
    clinic_of,
    own_path,
)
from dermsentry.errors import InputError

router = APIRouter(include_in_schema=False)

SETUP = "setting up a second factor"
SETUP_LASTS = timedelta(minutes=30)
NONE = "There is no second factor to change; set one up first."


@router.get("/account/second-factor")
def second_factor_form(request: Request, person: Present, next: str = "/") -> Response:
    """The page with the QR code for a phone."""
    if person.due == "password":
        return RedirectResponse(DUE[person.due], 303)
    if _by_provider(request, person):
        return RedirectResponse("/account", 303)
    return _setup_page(request, person, new_secret(), own_path(next))


@router.post("/account/second-factor")
def sets_up(
    request: Request,
    person: Present,
    setup: Annotated[str, Form(max_length=2000)] = "",
    code: Annotated[str, Form(max_length=100)] = "",
    password: Annotated[str, Form(max_length=1000)] = "",
    next: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """Take the phone, once it has shown a code; the recovery codes are on the page that answers only."""
    if person.due == "password":
        return RedirectResponse(DUE[person.due], 303)
    clinic, next = clinic_of(request), own_path(next)
    kept = unseal(clinic.trail, SETUP, setup)
    if kept is None or kept["account"] != person.account_id:
        problem = "That took too long. Scan this new code instead."
        return _setup_page(request, person, new_secret(), next, problem=problem, status=422)
    if not person.due:  # who must set one up has just entered the password
        problem = not_confirmed(request, person, password)
        if problem:
            return _setup_page(request, person, kept["secret"], next, problem=problem, status=422)
    try:
        with writing(clinic.engine) as session:
            account = session.get_one(Account, person.account_id)
            codes = set_up(session, clinic.trail, account, kept["secret"], code)
            append(session, clinic.trail, person.name, SecondFactorSetEvent(person.name))
            sign_out_everywhere(session, account.id)
            secret = sign_in(session, account)
    except InputError as error:
        return _setup_page(request, person, kept["secret"], next, problem=str(error), status=422)
    response = page(
        request,
        "recovery_codes.html",
        person=None,
        status=201,
        codes=codes,
        next=next if person.due else "/account",
    )
    begin_session(request, response, secret, person.name)
    return response


@router.post("/account/second-factor/recovery-codes")
def makes_codes(
    request: Request, person: SignedIn, password: Annotated[str, Form(max_length=1000)] = ""
) -> Response:
    """Make new recovery codes in place of the old ones, and show them once."""
    problem = not_confirmed(request, person, password)
    if problem:
        return account_page(request, person, factor_problem=problem, status=422)
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        account = session.get_one(Account, person.account_id)
        if account.totp_secret is None:
            return account_page(request, person, factor_problem=NONE, status=409)
        codes = new_recovery_codes(session, account.id)
        append(session, clinic.trail, person.name, RecoveryCodesMadeEvent(person.name))
    return page(request, "recovery_codes.html", person=person, status=201, codes=codes, next="/account")


@router.post("/account/second-factor/removal")
def removes(
    request: Request, person: SignedIn, password: Annotated[str, Form(max_length=1000)] = ""
) -> Response:
    """Remove one's second factor, where the role does not need one."""
    clinic = clinic_of(request)
    problem = (
        "The settings require a second factor of your role; you can only replace the phone."
        if person.role in clinic.settings.second_factor
        else not_confirmed(request, person, password)
    )
    if problem:
        return account_page(request, person, factor_problem=problem, status=422)
    with writing(clinic.engine) as session:
        account = session.get_one(Account, person.account_id)
        if account.totp_secret is None:
            return account_page(request, person, factor_problem=NONE, status=409)
        remove(session, account)
        sign_out_everywhere(session, account.id)
        secret = sign_in(session, account)
        append(session, clinic.trail, person.name, SecondFactorRemovedEvent(person.name))
    response = RedirectResponse("/account", 303)
    begin_session(request, response, secret, person.name)
    return response


def _by_provider(request: Request, person: Person) -> bool:
    with reading(clinic_of(request).engine) as session:
        return session.get_one(Account, person.account_id).openid_issuer is not None


def _setup_page(
    request: Request, person: Person, secret: str, next: str, *, problem: str = "", status: int = 200
) -> Response:
    address = phone_address(person.name, secret)
    picture = segno.make(address, error="m").svg_inline(border=4, dark="#000", light="#fff", omitsize=True)
    told = {"account": person.account_id, "secret": secret}
    return page(
        request,
        "second_factor.html",
        person=person,
        status=status,
        problem=problem,
        next=next,
        picture=Markup(picture),  # what segno draws holds no text
        address=address,
        shown=" ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
        setup=seal(clinic_of(request).trail, SETUP, told, SETUP_LASTS),
    )
