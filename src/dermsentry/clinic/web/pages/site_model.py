"""The clinic's own model: proposed from its outcomes, accepted or withdrawn by an administrator."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session

from dermsentry.adoption.report import figure_rows, verdict
from dermsentry.clinic.clinic import ServedClinic
from dermsentry.clinic.monitoring.site_model import (
    Proposal,
    ProposalChanged,
    accept_site_model,
    choices,
    propose_site_model,
    with_model_in_force,
    withdraw_site_model,
)
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.database import reading
from dermsentry.clinic.web.performance_cache import PerformanceCache
from dermsentry.clinic.web.rendering import page
from dermsentry.clinic.web.security import Administrator, clinic_of
from dermsentry.errors import InputError

router = APIRouter(include_in_schema=False)

USUAL = 95.0


@router.get("/site-model")
def site_model(
    request: Request,
    person: Administrator,
    sensitivity: Annotated[float, Query(gt=0, lt=100)] = USUAL,
    confidence: Annotated[float, Query(gt=0, lt=100)] = USUAL,
) -> Response:
    """What the clinic's outcomes make of the model in force."""
    return _page(request, person, sensitivity, confidence)


@router.post("/site-model")
def accepts(
    request: Request,
    person: Administrator,
    proposal: Annotated[str, Form(max_length=64)] = "",
    sensitivity: Annotated[float, Form(gt=0, lt=100)] = USUAL,
    confidence: Annotated[float, Form(gt=0, lt=100)] = USUAL,
    rarer: Annotated[str, Form(max_length=10)] = "",
) -> Response:
    """Put the proposed site bundle in force."""
    try:
        made = accept_site_model(
            clinic_of(request),
            person,
            proposal,
            sensitivity=sensitivity / 100,
            confidence=confidence / 100,
            may_be_rarer=rarer == "yes",
        )
    except InputError as error:
        status = 409 if isinstance(error, ProposalChanged) else 422
        return _page(request, person, sensitivity, confidence, problem=str(error), status=status)
    _serve(request, made)
    return RedirectResponse("/site-model", 303)


@router.post("/site-model/withdraw")
def withdraws(request: Request, person: Administrator) -> Response:
    """Return to the model that the clinic is served with."""
    try:
        made = withdraw_site_model(clinic_of(request), person)
    except InputError as error:
        return _page(request, person, USUAL, USUAL, problem=str(error), status=409)
    _serve(request, made)
    return RedirectResponse("/site-model", 303)


def _proposed(session: Session, clinic: ServedClinic, sensitivity: float, confidence: float) -> Proposal:
    return propose_site_model(session, clinic, sensitivity=sensitivity / 100, confidence=confidence / 100)


def _serve(request: Request, clinic: ServedClinic) -> None:
    """Let the pages name the model that screens from now on; figures cached of the other one are dropped."""
    request.app.state.clinic = clinic
    request.app.state.performance = PerformanceCache()


def _page(
    request: Request,
    person: Person,
    sensitivity: float,
    confidence: float,
    *,
    problem: str = "",
    status: int = 200,
) -> Response:
    with reading(clinic_of(request).engine) as session:
        # Another server of this database may have accepted one.
        clinic = with_model_in_force(session, clinic_of(request))
        if clinic is not clinic_of(request):
            _serve(request, clinic)
        found, nothing = None, ""
        try:
            found = _proposed(session, clinic, sensitivity, confidence)
        except InputError as error:
            nothing = str(error)
        return page(
            request,
            "site_model.html",
            person=person,
            status=status,
            problem=problem,
            nothing=nothing,
            proposal=found,
            adoption=found and found.adoption,
            rows=[] if found is None else figure_rows(found.adoption),
            verdict="" if found is None else verdict(found.adoption),
            sensitivity=sensitivity,
            confidence=confidence,
            card=clinic.card,
            base=clinic.served_with[1],
            choices=choices(session, clinic),
        )
