"""What a person has begun on a case, a decision or a comment: kept for them alone until it is saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from dermsentry.clinic.store.audit_trail import hold
from dermsentry.clinic.store.tables import Comment, Draft, now
from dermsentry.clinic.store.text import clean
from dermsentry.clinic.worklist.reading import active_reads
from dermsentry.clinic.worklist.terms import FORM

Form = Literal["decision", "amendment", "comment"]
FIELDS = ("agrees", "diagnosis", "action", "note", "reason", *FORM)
COMMENT = ("text",)


class Begun(NamedTuple):
    """The draft of a decision or amendment, None where there is none, and of a comment, empty then."""

    decision: Draft | None
    comment: str


def keep_draft(
    session: Session, case_id: int, account_id: int, form: Form, fields: Mapping[str, str]
) -> None:
    """Keep what a person has begun in place of what they had before; nothing where it is empty.

    A comment is kept beside a decision or its amendment. Nothing is kept of a case that they have decided, or
    of a comment that they have made: it came late, and would look as if it had not been saved.
    """
    if _came_late(session, case_id, account_id, form, fields):
        return
    _keep(session, case_id, account_id, form, fields)


def begun(session: Session, case_id: int, account_id: int) -> Begun:
    """What a person has begun on a case."""
    found = _row(session, case_id, account_id)
    if found is None:
        return Begun(None, "")
    return Begun(None if found.form == "comment" else found, str(found.fields.get(*COMMENT, "")))


def discard_draft(session: Session, case_id: int, account_id: int, form: Form = "decision") -> None:
    """Forget what a person has begun on a case: to decide or amend, or their comment."""
    _keep(session, case_id, account_id, form, {})


def _row(session: Session, case_id: int, account_id: int) -> Draft | None:
    return session.scalar(select(Draft).where(Draft.case_id == case_id, Draft.account_id == account_id))


def _came_late(
    session: Session, case_id: int, account_id: int, form: Form, fields: Mapping[str, str]
) -> bool:
    if form == "decision":
        return any(own.account_id == account_id for own in active_reads(session, case_id))
    if form == "comment":
        said = select(Comment.text).where(Comment.case_id == case_id, Comment.account_id == account_id)
        return clean(fields.get(*COMMENT, ""), keep_lines=True) in session.scalars(said).all()
    return False


def _keep(session: Session, case_id: int, account_id: int, form: Form, fields: Mapping[str, str]) -> None:
    hold(session)
    found = _row(session, case_id, account_id)
    names, others = (COMMENT, FIELDS) if form == "comment" else (FIELDS, COMMENT)
    had = found.fields if found is not None else {}
    given = {name: fields.get(name, "") for name in names}
    kept = {name: had.get(name, "") for name in others}
    own, other = (any(value.strip() for value in some.values()) for some in (given, kept))
    if not own and not other:
        if found is not None:
            session.delete(found)
        return
    if found is None:
        session.add(Draft(case_id=case_id, account_id=account_id, form=form, fields=given | kept))
        return
    found.fields = kept | given
    if form != "comment":  # of a draft of both, form and time are those of the decision
        found.form = form if own else "comment"
        found.at = now()
    elif not other:
        found.at = now()
