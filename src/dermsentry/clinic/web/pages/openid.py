"""Signing in through the clinic's OpenID provider: going there, coming back, signing out there too."""

from __future__ import annotations

import hmac
import logging
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from dermsentry.clinic.roles import Role
from dermsentry.clinic.store.accounts import add_openid_account, openid_account, sign_out_everywhere
from dermsentry.clinic.store.audit_trail import append, hold
from dermsentry.clinic.store.database import writing
from dermsentry.clinic.store.events import AccountAddedEvent, OpenIdRefusedEvent, RoleChangedEvent
from dermsentry.clinic.web.attempts import in_words, network
from dermsentry.clinic.web.openid import CALLBACK, Identity, NotBelieved, Provider, ProviderAway
from dermsentry.clinic.web.pages.sign_in import begin, form_page
from dermsentry.clinic.web.security import (
    Anyone,
    address,
    begin_session,
    clinic_of,
    gate_of,
    keep_sealed,
    kept_sealed,
    own_path,
    provider_of,
)

log = logging.getLogger(__name__)
router = APIRouter(include_in_schema=False)

WAY = "dermsentry-openid"
"""The cookie of who was sent to the provider: state, nonce, code verifier."""
WAY_LASTS = timedelta(minutes=10)
AWAY = "The sign-in service cannot be reached. Try again in a minute; whoever has a password here can use it."
REFUSED = "The sign-in service did not confirm who you are. Try again, or ask an administrator."
NO_ROLE = "You have no role in this service: none of your groups has one. Ask an administrator."
CLOSED = "Your account in this service is closed. Ask an administrator."
STRAY = "That sign-in took too long, or was begun in another browser. Begin again."


@router.get("/sign-in/openid")
def goes(request: Request, _: Anyone, next: str = "/") -> Response:
    """Send the browser to the provider."""
    try:
        place, kept = _provider(request).begin()
    except ProviderAway as error:
        return _away(request, own_path(next), error)
    response = RedirectResponse(place, 303)
    keep_sealed(request, response, WAY, {**kept, "next": own_path(next)}, WAY_LASTS)
    return response


@router.get(CALLBACK)
def comes_back(
    request: Request,
    _: Anyone,
    code: Annotated[str, Query(max_length=4000)] = "",
    state: Annotated[str, Query(max_length=500)] = "",
    error: Annotated[str, Query(max_length=500)] = "",
) -> Response:
    """Begin a session for whom the provider names, in an account that is made the first time."""
    provider, gate, where = _provider(request), gate_of(request), network(address(request))
    kept = kept_sealed(request, WAY)
    if kept is None or not hmac.compare_digest(kept["state"].encode(), state.encode()):
        return _ended(form_page(request, "/", status=400, problem=STRAY))
    wait = gate.addresses.enter(where)
    if wait:
        return form_page(request, kept["next"], status=429, problem=in_words(wait))
    try:
        if error or not code:
            raise NotBelieved("the provider let nobody in")
        identity = provider.identity(code, kept)
    except ProviderAway as problem:
        gate.addresses.take_back(where)
        return _ended(_away(request, kept["next"], problem))
    except NotBelieved as problem:
        _note_refusal(request, str(problem), "")
        return _ended(form_page(request, kept["next"], status=403, problem=REFUSED))
    gate.addresses.take_back(where)
    response = _let_in(request, identity, provider.openid.role_of(identity.groups), kept["next"])
    return _ended(response)


@router.get("/sign-out/openid")
def leaves(request: Request, _: Anyone) -> Response:
    """Send the browser to where one signs out of the provider."""
    provider = _provider(request)
    back = provider.callback.removesuffix(CALLBACK) + "/sign-in"
    try:
        return RedirectResponse(provider.sign_out_address(back), 303)
    except ProviderAway as error:
        return _away(request, "/", error)


def _let_in(request: Request, identity: Identity, role: Role | None, next: str) -> Response:
    clinic, secret = clinic_of(request), ""
    with writing(clinic.engine) as session:
        hold(session)  # of two who come for the first time at once, the second sees the account
        account = openid_account(session, identity.issuer, identity.subject)
        if role is not None and account is None:
            account = add_openid_account(
                session, identity.issuer, identity.subject, identity.name, identity.full_name, role
            )
            added = AccountAddedEvent(account.name, role, identity.issuer, identity.subject)
            append(session, clinic.trail, account.name, added)
        if account is not None and role is None:
            sign_out_everywhere(session, account.id)
        if account is not None and role is not None and account.active:
            if account.role != role:
                append(session, clinic.trail, "system", RoleChangedEvent(account.name, account.role, role))
                account.role = role
            secret = begin(session, request, account, "OpenID Connect")
    if account is None or not secret:
        problem, told = (
            (NO_ROLE, "no group has a role") if role is None else (CLOSED, "the account is closed")
        )
        _note_refusal(request, told, identity.subject)
        return form_page(request, next, status=403, problem=problem)
    response = RedirectResponse(next, 303)
    begin_session(request, response, secret, account.name)
    return response


def _provider(request: Request) -> Provider:
    provider = provider_of(request)
    if provider is None:
        raise HTTPException(404, "This service has no OpenID provider.")
    return provider


def _away(request: Request, next: str, error: ProviderAway) -> Response:
    log.error("%s", error)
    return form_page(request, next, status=503, problem=AWAY, headers={"Retry-After": "60"})


def _note_refusal(request: Request, problem: str, person: str) -> None:
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        told = OpenIdRefusedEvent(address(request), problem, person)
        append(session, clinic.trail, "system", told)


def _ended(response: Response) -> Response:
    response.delete_cookie(WAY, httponly=True, samesite="lax")
    return response
