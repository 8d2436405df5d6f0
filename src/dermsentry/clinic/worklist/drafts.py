"""What a person has begun to decide on a case: kept until it is saved or discarded, shown to them alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from dermsentry.clinic.store.audit_trail import hold
from dermsentry.clinic.store.tables import Draft, now
from dermsentry.clinic.worklist.reading import active_reads
from dermsentry.clinic.worklist.terms import FORM

Form = Literal["decision", "amendment"]
FIELDS = ("agrees", "diagnosis", "action", "note", "reason", *FORM)


def keep_draft(
    session: Session, case_id: int, account_id: int, form: Form, fields: Mapping[str, str]
) -> None:
    """Keep what a person has begun to decide in place of what they had before; nothing where it is empty.

    Nothing either of a case that they have decided: it came late, and would look as if it had not been saved.
    """
    if form == "decision" and any(own.account_id == account_id for own in active_reads(session, case_id)):
        return
    given = {name: fields.get(name, "") for name in FIELDS}
    if not any(value.strip() for value in given.values()):
        discard_draft(session, case_id, account_id)
        return
    hold(session)
    found = draft_of(session, case_id, account_id)
    if found is None:
        session.add(Draft(case_id=case_id, account_id=account_id, form=form, fields=given))
    else:
        found.form, found.fields, found.at = form, given, now()


def draft_of(session: Session, case_id: int, account_id: int) -> Draft | None:
    """What a person has begun to decide on a case."""
    return session.scalar(select(Draft).where(Draft.case_id == case_id, Draft.account_id == account_id))


def discard_draft(session: Session, case_id: int, account_id: int) -> None:
    """Forget what a person has begun to decide on a case."""
    session.execute(delete(Draft).where(Draft.case_id == case_id, Draft.account_id == account_id))
