"""Working on one case with others: who is to read it, who has it open, comments, tags; how it was taken."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import select

from dermsentry.clinic import lengths
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import Account
from dermsentry.clinic.web.api.schemas import (
    ALWAYS,
    Alone,
    Assignment,
    CaseSummary,
    CommentMade,
    LockHeld,
    NewComment,
    NewTag,
    Number,
    TechniqueGiven,
)
from dermsentry.clinic.web.case_pictures import find_case
from dermsentry.clinic.web.problems import problem_responses
from dermsentry.clinic.web.security import TokenCorrects, TokenDecides, TokenReads, clinic_of
from dermsentry.clinic.web.views import note_view
from dermsentry.clinic.worklist.locks import lock, lock_of, release, take_over
from dermsentry.clinic.worklist.parts import parts_of, set_alone
from dermsentry.clinic.worklist.patients import set_technique
from dermsentry.clinic.worklist.reading import CannotRead, may_read
from dermsentry.clinic.worklist.remarks import (
    add_tag,
    assign,
    comment,
    follow_up_done,
    remove_tag,
    tags_of,
    visible_comments,
)
from dermsentry.errors import InputError

router = APIRouter(prefix="/api", responses=ALWAYS)


@router.get(
    "/cases/{case_id}/comments",
    summary="List the comments on a case",
    tags=["working together"],
    responses=problem_responses(404),
)
def comments(request: Request, person: TokenReads, case_id: Number) -> list[CommentMade]:
    """The comments that the token's owner may see: a second reader is blind to the first."""
    clinic = clinic_of(request)
    with reading(clinic.engine) as session:
        said = visible_comments(session, clinic, find_case(session, case_id), person)
        found = [CommentMade.model_validate(own) for own in said]
    note_view(clinic, person, case_id)
    return found


@router.post(
    "/cases/{case_id}/comments",
    summary="Comment on a case",
    tags=["working together"],
    status_code=201,
    responses=problem_responses(400, 404),
)
def says(request: Request, person: TokenDecides, case_id: Number, given: NewComment) -> CommentMade:
    """Keep a comment in the name of the token's owner; it stays as it was written."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        find_case(session, case_id)
        return CommentMade.model_validate(comment(session, clinic, case_id, person, given.text))


@router.get(
    "/cases/{case_id}/tags",
    summary="List the tags of a case",
    tags=["working together"],
    responses=problem_responses(404),
)
def tags(request: Request, person: TokenReads, case_id: Number) -> list[str]:
    """The tags, in alphabetical order."""
    with reading(clinic_of(request).engine) as session:
        find_case(session, case_id)
        found = list(tags_of(session, case_id))
    note_view(clinic_of(request), person, case_id)
    return found


@router.post(
    "/cases/{case_id}/tags",
    summary="Tag a case",
    tags=["working together"],
    status_code=201,
    responses=problem_responses(400, 404),
)
def adds_tag(request: Request, person: TokenDecides, case_id: Number, given: NewTag) -> list[str]:
    """Give a case a tag, which it may have already; all of its tags are returned."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        find_case(session, case_id)
        add_tag(session, clinic, case_id, person, given.tag)
        return list(tags_of(session, case_id))


@router.delete(
    "/cases/{case_id}/tags",
    summary="Remove a tag from a case",
    tags=["working together"],
    responses=problem_responses(404),
)
def removes_tag(
    request: Request,
    person: TokenDecides,
    case_id: Number,
    tag: Annotated[str, Query(min_length=1, max_length=lengths.TAG)],
) -> list[str]:
    """Take a tag from a case, if it has it; the tags that are left are returned."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        find_case(session, case_id)
        remove_tag(session, clinic, case_id, person, tag)
        return list(tags_of(session, case_id))


@router.put(
    "/cases/{case_id}/assignment",
    summary="Assign a case",
    tags=["working together"],
    responses=problem_responses(400, 404),
)
def assigns(request: Request, person: TokenDecides, case_id: Number, given: Assignment) -> Assignment:
    """Say who is to read a case, by the account's name; null for nobody."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        find_case(session, case_id)
        number = None
        if given.assigned_to is not None:
            number = session.scalar(select(Account.id).where(Account.name == given.assigned_to.casefold()))
            if number is None:
                raise InputError(f"There is no account {given.assigned_to}.")
        assign(session, clinic, case_id, person, number)
    return given


@router.get(
    "/cases/{case_id}/lock",
    summary="Get who has a case open",
    tags=["working together"],
    responses=problem_responses(404),
)
def locked(request: Request, _: TokenReads, case_id: Number) -> LockHeld | None:
    """Who has the case open to read it, until when unless it is renewed; null if nobody has."""
    with reading(clinic_of(request).engine) as session:
        find_case(session, case_id)
        held = lock_of(session, case_id)
        return LockHeld.model_validate(held) if held is not None else None


@router.put(
    "/cases/{case_id}/lock",
    summary="Lock a case",
    tags=["working together"],
    responses=problem_responses(404, 409),
)
def locks(
    request: Request,
    person: TokenDecides,
    case_id: Number,
    take: Annotated[bool, Query(alias="take_over", description="Also from another person")] = False,
) -> LockHeld:
    """Hold a case for five minutes in the name of the token's owner, or renew that.

    409 if another person has it open; with `take_over` it is taken from them, which the audit trail tells.
    """
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        problem = may_read(session, clinic, find_case(session, case_id), person)
        if problem:
            raise CannotRead(problem)
        if take:
            take_over(session, clinic, case_id, person)
        held = lock(session, case_id, person)
        if held.account_id != person.account_id:
            raise CannotRead(f"{held.account.full_name} is reading this case; take it over to decide it.")
        return LockHeld.model_validate(held)


@router.delete(
    "/cases/{case_id}/lock",
    summary="Unlock a case",
    tags=["working together"],
    status_code=204,
    response_class=Response,
    responses=problem_responses(404),
)
def unlocks(request: Request, person: TokenDecides, case_id: Number) -> None:
    """Give up one's own lock, if there is one."""
    with writing(clinic_of(request).engine) as session:
        find_case(session, case_id)
        release(session, case_id, person)


@router.delete(
    "/cases/{case_id}/follow-up",
    summary="Note that a lesion was seen again",
    tags=["working together"],
    status_code=204,
    response_class=Response,
    responses=problem_responses(404),
)
def follows_up(request: Request, person: TokenDecides, case_id: Number) -> None:
    """Take the case from the list of those to be seen again."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        find_case(session, case_id)
        follow_up_done(session, clinic, case_id, person)


@router.put(
    "/cases/{case_id}/alone",
    summary="Make a photograph a case of its own",
    tags=["cases"],
    responses=problem_responses(400, 404, 409),
)
def alone(request: Request, person: TokenCorrects, case_id: Number, given: Alone) -> CaseSummary:
    """Make a photograph a case of its own, or put it back with those of its lesion and day."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        find_case(session, case_id)
        case = set_alone(session, clinic, case_id, person, alone=given.alone)
        session.flush()
        return CaseSummary.model_validate(case).model_copy(
            update={"parts": [own.id for own in parts_of(session, case.id)]}
        )


@router.put(
    "/cases/{case_id}/technique",
    summary="Set how a photograph was taken",
    tags=["cases"],
    responses=problem_responses(400, 404),
)
def technique(
    request: Request, person: TokenCorrects, case_id: Number, given: TechniqueGiven
) -> TechniqueGiven:
    """Keep how a photograph was taken; empty where nobody knows."""
    clinic = clinic_of(request)
    with writing(clinic.engine) as session:
        find_case(session, case_id)
        set_technique(session, clinic, case_id, person, given.technique)
    return given
