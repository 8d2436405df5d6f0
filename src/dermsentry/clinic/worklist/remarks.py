"""What people say about a case beside deciding it: who is to read it, comments, tags.

Each change is an event of the audit trail; comments stay as they were written.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dermsentry.clinic import lengths
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.store.accounts import MAY, Person
from dermsentry.clinic.store.audit_trail import append
from dermsentry.clinic.store.database import find, held_case
from dermsentry.clinic.store.events import (
    AssignedEvent,
    CommentedEvent,
    FollowUpDoneEvent,
    TaggedEvent,
    UntaggedEvent,
)
from dermsentry.clinic.store.tables import PART, Account, Case, Comment, Tag
from dermsentry.clinic.store.text import clean, clean_note, digest_of, folded
from dermsentry.clinic.worklist.worklist import comments_shown_to
from dermsentry.errors import InputError

MOST_TAGS = 20


def assign(session: Session, clinic: Clinic, case_id: int, person: Person, account_id: int | None) -> None:
    """Say who is to read a case; None for nobody.

    Raises
    ------
    InputError
        There is no such case, or no such account that may decide; or it is part of another case.
    """
    case = held_case(session, case_id)
    if case.lane == PART:
        raise InputError(f"This photograph is part of case {case.part_of}; assign that one.")
    if case.assigned_to == account_id:
        return
    names = []
    for number in (case.assigned_to, account_id):
        account = find(session, Account, number) if number is not None else None
        names.append(account.name if account is not None else "")
    if account_id is not None and account_id not in {own.id for own in deciders(session)}:
        raise InputError("Received an account that cannot decide cases; expected one that can.")
    case.assigned_to = account_id
    session.flush()
    session.refresh(case, ["assignee"])
    append(session, clinic.trail, person.name, AssignedEvent(case.id, *names))


def follow_up_done(session: Session, clinic: Clinic, case_id: int, person: Person) -> None:
    """Take a lesion that was seen again from the list of those that are to be.

    Raises
    ------
    InputError
        There is no such case, or nothing was planned for it.
    """
    case = held_case(session, case_id)
    if case.follow_up_on is None:
        raise InputError(f"No follow-up of case {case_id} is planned; another person may have noted it.")
    append(session, clinic.trail, person.name, FollowUpDoneEvent(case.id, case.follow_up_on.isoformat()))
    case.follow_up_on = None


def deciders(session: Session) -> Sequence[Account]:
    """The accounts that may decide cases, by name."""
    roles = [role for role, may in MAY.items() if "reads:write" in may]
    query = select(Account).where(Account.active, Account.role.in_(roles)).order_by(Account.full_name)
    return session.scalars(query).all()


def comment(session: Session, clinic: Clinic, case_id: int, person: Person, text: str) -> Comment:
    """Keep what a person says about a case.

    Raises
    ------
    InputError
        There is no such case, or the text is empty or too long.
    """
    case = held_case(session, case_id)
    text = clean_note(text)
    if not text:
        raise InputError("Received an empty comment; write something.")
    made = Comment(case_id=case.id, account_id=person.account_id, text=text)
    session.add(made)
    session.flush()
    session.refresh(made, ["account"])
    append(session, clinic.trail, person.name, CommentedEvent(case.id, made.id, digest_of(text)))
    return made


def visible_comments(session: Session, clinic: Clinic, case: Case, person: Person) -> Sequence[Comment]:
    """The comments on a case that a person may see, in their order.

    All once it is decided. Before, where two people read each case, none by others who have read it: a second
    reader is blind to the first.
    """
    query = select(Comment).where(Comment.case_id == case.id).order_by(Comment.id)
    blind = blind_reader(clinic, person)
    return session.scalars(query.where(comments_shown_to(blind)) if blind else query).all()


def blind_reader(clinic: Clinic, person: Person) -> Person | None:
    """The person, where two read each case: what hides from one of them must not be found by them either."""
    return person if clinic.settings.readers == 2 else None


def add_tag(session: Session, clinic: Clinic, case_id: int, person: Person, name: str) -> None:
    """Give a case a tag; nothing where it has it already, whatever its capitals.

    Raises
    ------
    InputError
        There is no such case, the tag is empty or too long, or the case has 20.
    """
    case = held_case(session, case_id)
    name = clean(name)
    if not 0 < len(name) <= lengths.TAG:
        raise InputError(f"Received a tag of {len(name)} characters; expected 1 to {lengths.TAG}.")
    if session.get(Tag, (case.id, tag_key(name))) is not None:
        return
    count = session.scalar(select(func.count()).select_from(Tag).where(Tag.case_id == case.id)) or 0
    if count >= MOST_TAGS:
        raise InputError(f"Case {case.id} has {MOST_TAGS} tags, the most there can be; remove one first.")
    session.add(Tag(case_id=case.id, key=tag_key(name), name=name))
    append(session, clinic.trail, person.name, TaggedEvent(case.id, name))


def remove_tag(session: Session, clinic: Clinic, case_id: int, person: Person, name: str) -> None:
    """Take a tag from a case; nothing where it has none such. Raises InputError for no such case."""
    case = held_case(session, case_id)
    found = session.get(Tag, (case.id, tag_key(name)))
    if found is not None:
        session.delete(found)
        append(session, clinic.trail, person.name, UntaggedEvent(case.id, found.name))


def tags_of(session: Session, case_id: int) -> Sequence[str]:
    """The tags of a case, in alphabetical order."""
    return session.scalars(select(Tag.name).where(Tag.case_id == case_id).order_by(Tag.key)).all()


def known_tags(session: Session) -> Sequence[str]:
    """The tags that cases have, those of most cases first."""
    query = select(func.min(Tag.name)).group_by(Tag.key).order_by(func.count().desc(), Tag.key)
    return session.scalars(query.limit(100)).all()


def tag_key(name: str) -> str:
    """A tag as it is compared."""
    return folded(name)
