"""A case: its photograph, the model's finding, its decisions; and the form to decide it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import Field, StringConstraints
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException

from dermsentry.clinic import checklists, lengths
from dermsentry.clinic.checklists import CRITERIA
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.database import DatabaseError, find, reading, writing
from dermsentry.clinic.store.pictures import Kind, may_leave
from dermsentry.clinic.store.tables import LARGEST_ID, WITHDRAWN, Alert, Case, Model, Outcome, Read
from dermsentry.clinic.web.case_pictures import find_case, send_picture
from dermsentry.clinic.web.filters import as_query
from dermsentry.clinic.web.pages.worklist import asked_for, is_undoable, undoable
from dermsentry.clinic.web.rendering import markdown_html, page, part
from dermsentry.clinic.web.security import Corrector, Decider, Reader, clinic_of
from dermsentry.clinic.web.views import note_view
from dermsentry.clinic.worklist.corrections import corrections_of, outdated_exports
from dermsentry.clinic.worklist.drafts import FIELDS, begun, discard_draft, keep_draft
from dermsentry.clinic.worklist.drafts import Form as DraftForm
from dermsentry.clinic.worklist.locks import lock, lock_of
from dermsentry.clinic.worklist.matches import count_more, doubts_of, matches_of
from dermsentry.clinic.worklist.parts import may_join, parts_of, set_alone
from dermsentry.clinic.worklist.patients import by_day, same_lesion, when_taken
from dermsentry.clinic.worklist.reading import (
    CannotRead,
    Contradiction,
    active_reads,
    amend,
    decide,
    may_amend,
    may_read,
    undo,
    visible_reads,
)
from dermsentry.clinic.worklist.remarks import deciders, known_tags, tags_of, visible_comments
from dermsentry.clinic.worklist.terms import FORM, as_form, read_form
from dermsentry.clinic.worklist.worklist import next_case
from dermsentry.errors import InputError, OutputError
from dermsentry.model.card import parse_card
from dermsentry.model.model_card import card_page

router = APIRouter(include_in_schema=False)
log = logging.getLogger(__name__)

MOST_RELATED = 12
"""Photographs of a lesion on a case's page, those nearest in time; the patient's page has all."""
MOST_ASKED = 2 * lengths.OTHER_DIAGNOSIS + 200
BLANK = dict.fromkeys((*FIELDS, "confirmed"), "")


Ticked = Annotated[
    tuple[Annotated[str, StringConstraints(max_length=40)], ...], Field(max_length=len(CRITERIA) + 1)
]


def _details_form(
    finer: Annotated[str, Form(max_length=lengths.CODE)] = "",
    other: Annotated[str, Form(max_length=2 * lengths.OTHER_DIAGNOSIS)] = "",
    other_code: Annotated[str, Form(max_length=100)] = "",
    certainty: Annotated[str, Form(max_length=lengths.CODE)] = "",
    follow_up_on: Annotated[str, Form(max_length=20)] = "",
    asymmetry: Annotated[str, Form(max_length=20)] = "",
    border: Annotated[str, Form(max_length=20)] = "",
    colours: Annotated[Ticked, Form()] = (),
    structures: Annotated[Ticked, Form()] = (),
    seven_point: Annotated[Ticked, Form()] = (),
) -> dict[str, str]:
    ticked = (" ".join(own) for own in (colours, structures, seven_point))
    given = (finer, other, other_code, certainty, follow_up_on, asymmetry, border, *ticked)
    return dict(zip(FORM, given, strict=True))


DetailsForm = Annotated[dict[str, str], Depends(_details_form)]


@router.get("/cases/{case_id}")
def case(
    request: Request, person: Reader, case_id: int, done: Annotated[int, Query(ge=0, le=LARGEST_ID)] = 0
) -> Response:
    """The page of a case, which holds its lock for who may decide it."""
    _hold_lock(clinic_of(request), person, case_id)
    answer = _page(request, person, case_id, done=done)
    note_view(clinic_of(request), person, case_id)
    return answer


def _hold_lock(clinic: Clinic, person: Person, case_id: int) -> None:
    """Take the case's lock, unless another has it or it is not theirs to decide now."""
    with reading(clinic.engine) as session:
        if may_read(session, clinic, find_case(session, case_id), person):
            return
    try:
        with writing(clinic.engine) as session:
            lock(session, case_id, person)
    except (DatabaseError, OutputError) as error:  # as on a full disk: the case is shown all the same
        log.error("The lock of case %d cannot be kept: %s", case_id, error)


@router.get("/cases/{case_id}/waiting")
def waiting(request: Request, _: Reader, case_id: int) -> Response:
    """Nothing while the case waits to be screened; then tells the page to reload."""
    with reading(clinic_of(request).engine) as session:
        found = find_case(session, case_id)
    return Response(status_code=204, headers={} if found.state == "waiting" else {"HX-Refresh": "true"})


@router.get("/cases/{case_id}/picture/{kind}")
def picture(request: Request, person: Reader, case_id: int, kind: Kind) -> Response:
    """A picture drawn from the case's photograph: `view`, `thumbnail` or `saliency`."""
    clinic = clinic_of(request)
    with reading(clinic.engine) as session:
        found = find_case(session, case_id)
    if kind != "thumbnail":  # those of lists, of a page of fifty
        note_view(clinic, person, case_id)
    return send_picture(request, clinic.pictures, found, kind)


@router.post("/cases/{case_id}/decision")
def decides(
    request: Request,
    person: Decider,
    case_id: int,
    more: DetailsForm,
    agrees: Annotated[str, Form(max_length=10)] = "",
    diagnosis: Annotated[str, Form(max_length=lengths.CODE)] = "",
    action: Annotated[str, Form(max_length=lengths.CODE)] = "",
    note: Annotated[str, Form(max_length=lengths.NOTE)] = "",
    confirmed: Annotated[str, Form(max_length=MOST_ASKED)] = "",
    parts: Annotated[str, Form(max_length=lengths.NOTE)] = "",
) -> Response:
    """Save a decision and continue with the next case."""
    clinic = clinic_of(request)
    text, wanted = asked_for(request, person)
    with reading(clinic.engine) as session:
        find_case(session, case_id)
        following = next_case(session, wanted, case_id, person.account_id)
    given = {"agrees": agrees, "diagnosis": diagnosis, "action": action, "note": note, **more}
    try:
        with writing(clinic.engine) as session:
            read = decide(
                session,
                clinic,
                case_id,
                person,
                agrees={"yes": True, "no": False}.get(agrees),
                diagnosis=diagnosis,
                action=action,
                note=note,
                details=read_form(more),
                parts={int(own) for own in parts.split() if own.isascii() and own.isdecimal()},
                # Only what was asked about is confirmed by having been asked.
                confirmed=confirmed == _asked(given),
            )
            discard_draft(session, case_id, person.account_id)
    except InputError as error:
        return _not_kept(request, person, case_id, error, given)
    query = as_query(text, done=read.id)
    return RedirectResponse(f"/cases/{following}?{query}" if following else f"/?{query}", 303)


@router.post("/cases/{case_id}/amendment")
def amends(
    request: Request,
    person: Decider,
    case_id: int,
    more: DetailsForm,
    agrees: Annotated[str, Form(max_length=10)] = "",
    diagnosis: Annotated[str, Form(max_length=lengths.CODE)] = "",
    action: Annotated[str, Form(max_length=lengths.CODE)] = "",
    note: Annotated[str, Form(max_length=lengths.NOTE)] = "",
    reason: Annotated[str, Form(max_length=2 * lengths.REASON)] = "",
    confirmed: Annotated[str, Form(max_length=MOST_ASKED)] = "",
    instead_of: Annotated[int, Form(ge=0, le=LARGEST_ID)] = 0,
) -> Response:
    """Change the decision on a case."""
    clinic = clinic_of(request)
    given = {
        "agrees": agrees,
        "diagnosis": diagnosis,
        "action": action,
        "note": note,
        "reason": reason,
        **more,
    }
    with reading(clinic.engine) as session:
        find_case(session, case_id)
    try:
        with writing(clinic.engine) as session:
            amend(
                session,
                clinic,
                case_id,
                person,
                agrees={"yes": True, "no": False}.get(agrees),
                diagnosis=diagnosis,
                action=action,
                note=note,
                reason=reason,
                details=read_form(more),
                confirmed=confirmed == _asked(given),
                instead_of=instead_of or None,
            )
            discard_draft(session, case_id, person.account_id)
    except InputError as error:
        return _not_kept(request, person, case_id, error, given)
    text, _ = asked_for(request, person)
    return RedirectResponse(f"/cases/{case_id}?{as_query(text)}", 303)


@router.post("/cases/{case_id}/draft")
def drafts(
    request: Request,
    person: Decider,
    case_id: int,
    more: DetailsForm,
    form: Annotated[DraftForm, Form()] = "decision",
    agrees: Annotated[str, Form(max_length=10)] = "",
    diagnosis: Annotated[str, Form(max_length=lengths.CODE)] = "",
    action: Annotated[str, Form(max_length=lengths.CODE)] = "",
    note: Annotated[str, Form(max_length=2 * lengths.NOTE)] = "",
    reason: Annotated[str, Form(max_length=2 * lengths.REASON)] = "",
    text: Annotated[str, Form(max_length=2 * lengths.NOTE)] = "",
    discard: Annotated[str, Form(max_length=10)] = "",
) -> Response:
    """Keep what a person has begun to decide or say, for themselves; or discard it and show the case."""
    fields = {
        "text": text,
        "agrees": agrees,
        "diagnosis": diagnosis,
        "action": action,
        "note": note,
        "reason": reason,
        **more,
    }
    with writing(clinic_of(request).engine) as session:
        find_case(session, case_id)
        if discard:
            discard_draft(session, case_id, person.account_id, form)
        else:
            keep_draft(session, case_id, person.account_id, form, fields)
    if not discard:
        return Response(status_code=204)
    carried, _ = asked_for(request, person)
    return RedirectResponse(f"/cases/{case_id}?{as_query(carried)}", 303)


def _not_kept(
    request: Request, person: Person, case_id: int, error: InputError, given: Mapping[str, str]
) -> Response:
    """The case again, with what was filled in: a contradiction to confirm, or what is wrong."""
    if isinstance(error, Contradiction):
        asked = {**given, "confirmed": _asked(given)}
        return _page(request, person, case_id, contradictions=error.words, given=asked, status=422)
    status = 409 if isinstance(error, CannotRead) else 422
    return _page(request, person, case_id, problem=str(error), given=given, status=status)


def _asked(given: Mapping[str, str]) -> str:
    return "|".join(given[name] for name in ("agrees", "diagnosis", "action", "other", "other_code"))


@router.post("/cases/{case_id}/decision/{read_id}/undo")
def undoes(request: Request, person: Decider, case_id: int, read_id: int) -> Response:
    """Undo a decision and show its case again."""
    clinic = clinic_of(request)
    text, _ = asked_for(request, person)
    with writing(clinic.engine) as session:
        read = find(session, Read, read_id)
        if read is None or read.case_id != case_id:
            raise HTTPException(404, f"There is no decision {read_id} of case {case_id}.")
        undo(session, clinic, read_id, person)
    return RedirectResponse(f"/cases/{case_id}?{as_query(text)}", 303)


@router.post("/cases/{case_id}/alone")
def makes_alone(
    request: Request,
    person: Corrector,
    case_id: int,
    alone: Annotated[Literal["yes", "no"], Form()],
) -> Response:
    """Make a photograph a case of its own, or put it back with those of its lesion and day."""
    clinic = clinic_of(request)
    text, _ = asked_for(request, person)
    try:
        with writing(clinic.engine) as session:
            find_case(session, case_id)
            case = set_alone(session, clinic, case_id, person, alone=alone == "yes")
            shown = case.part_of or case.id
    except InputError as error:
        return _page(request, person, case_id, problem=str(error), status=409)
    return RedirectResponse(f"/cases/{shown}?{as_query(text)}", 303)


@router.get("/checklists")
def checklist_scores(
    request: Request,
    person: Decider,
    asymmetry: Annotated[str, Query(max_length=20)] = "",
    border: Annotated[str, Query(max_length=20)] = "",
    colours: Annotated[Ticked, Query()] = (),
    structures: Annotated[Ticked, Query()] = (),
    seven_point: Annotated[Ticked, Query()] = (),
) -> Response:
    """The scores of checklists as far as they are filled in, for the form in which they are."""
    ticked = (" ".join(own) for own in (colours, structures, seven_point))
    given = dict(zip(checklists.FIELDS, (asymmetry, border, *ticked), strict=True))
    return HTMLResponse(part(request, "_scores.html", person=person, given=given))


@router.get("/models/{digest}")
def model(request: Request, person: Reader, digest: str) -> Response:
    """The model card of the present model or of an earlier one."""
    clinic = clinic_of(request)
    card = clinic.card
    if digest != card.digest:
        with reading(clinic.engine) as session:
            kept = session.get(Model, digest[:64])
        if kept is None:
            raise HTTPException(404, "No such model has screened anything here.")
        card = parse_card(json.dumps(kept.card), Path(kept.name))
    return page(request, "model.html", person=person, card=card, text=markdown_html(card_page(card)))


def _page(
    request: Request,
    person: Person,
    case_id: int,
    *,
    done: int = 0,
    problem: str = "",
    contradictions: Sequence[str] = (),
    given: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    clinic = clinic_of(request)
    text, wanted = asked_for(request, person)
    with reading(clinic.engine) as session:
        found = find_case(session, case_id)
        related = same_lesion(session, found)
        near = nearest(related, found)
        why_not = may_read(session, clinic, found, person) if "reads:write" in person.may else ""
        reads = active_reads(session, case_id)
        kept = begun(session, case_id, person.account_id)
        draft = kept.decision if given is None else None
        given = given or (draft.fields if draft is not None else {})
        return page(
            request,
            "case.html",
            person=person,
            status=status,
            problem=problem,
            contradictions=contradictions,
            given={**BLANK, **given},
            draft=draft,
            begun_comment=kept.comment,
            decision=(decision := reads[-1] if not may_amend(found, person, reads) else None),
            decided_as=_as_form(decision) if decision is not None else {},
            carried=as_query(text),
            following=next_case(session, wanted, case_id, person.account_id),
            related=related,
            related_days=by_day(near),
            joinable=joinable(found, related),
            compared_with=[own for own in near if own.id != found.id and has_view(clinic, own)],
            more_related=len(related) - len(near),
            why_not=why_not,
            lock=lock_of(session, case_id) if not why_not else None,
            deciders=deciders(session),
            known_tags=known_tags(session),
            own_read=next((read for read in reads[-1:] if _may_undo(read, found, person)), None),
            read=undoable(session, done, person),
            readers=clinic.settings.readers,
            matches=(matches := matches_of(session, case_id)),
            more_matches=count_more(session, case_id, matches),
            doubts=doubts_of(session, matches, case_id),
            **what_is_shown(session, clinic, found, person),
        )


def joinable(found: Case, related: Sequence[Case]) -> bool:
    """Whether a photograph that is a case of its own could be one with another of its lesion and day."""
    day = when_taken(found).day
    return may_join(found) and any(
        own.id != found.id and not own.alone and when_taken(own).day == day
        for own in related
        if may_join(own)
    )


def nearest(related: Sequence[Case], found: Case) -> Sequence[Case]:
    """Of photographs in time, the case itself and those nearest to it."""
    place = next(number for number, own in enumerate(related) if own.id == found.id)
    start = max(0, min(place - MOST_RELATED // 2, len(related) - MOST_RELATED))
    return related[start : start + MOST_RELATED]


def has_view(clinic: Clinic, case: Case) -> bool:
    """Whether a case's photograph can be shown."""
    return clinic.pictures.drawn(case.sha256, "view").is_file()


def _as_form(read: Read) -> dict[str, str]:
    """What a decision was made with, as the fields of its form."""
    agrees = {True: "yes", False: "no", None: ""}[read.agrees]
    told = {name: getattr(read, name) for name in ("diagnosis", "action", "note")}
    return {**BLANK, **told, "agrees": agrees, **as_form(read)}


def _may_undo(read: Read, case: Case, person: Person) -> bool:
    """Whether it is the person's own decision, and can still be undone."""
    return "reads:write" in person.may and case.lane != WITHDRAWN and is_undoable(read, person)


def what_is_shown(session: Session, clinic: Clinic, case: Case, person: Person) -> dict[str, Any]:
    """The template values that a case's page and its print share."""
    finding = case.finding or {}
    probabilities = finding.get("probabilities") or {}
    outcomes = session.scalars(
        select(Outcome).where(Outcome.case_id == case.id).order_by(Outcome.id.desc())
    ).all()
    alerts = session.scalars(select(Alert).where(Alert.case_id == case.id).order_by(Alert.id)).all()
    return {
        "case": case,
        "finding": finding,
        "probabilities": sorted(probabilities.items(), key=lambda item: -item[1]),
        "thresholds": case.thresholds,
        "aspect": case.model.card["aspect"] if case.model else "squash",
        "has_picture": has_view(clinic, case),
        "has_saliency": clinic.pictures.drawn(case.sha256, "saliency").is_file(),
        "reads": visible_reads(session, clinic, case, person),
        "outcomes": outcomes,
        "alerts": alerts,
        "tags": tags_of(session, case.id),
        "comments": visible_comments(session, clinic, case, person),
        "corrections": corrections_of(session, case.id),
        "outdated": outdated_exports(session, case.id),
        "may_leave": may_leave(case.dicom),
        "parts": (parts := parts_of(session, case.id)),
        "printable": [own for own in parts if own.width and may_leave(own.dicom)],
    }
