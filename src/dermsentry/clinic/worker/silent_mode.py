"""Silent mode: findings recorded where nothing shows them, and shown once the mode has ended."""

from __future__ import annotations

from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, aliased

from dermsentry.clinic.alerts.alerting import raise_alerts
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.store.audit_trail import append, hold
from dermsentry.clinic.store.events import FindingShownEvent
from dermsentry.clinic.store.tables import (
    COUNTED,
    PART,
    SILENT,
    WITHDRAWN,
    Case,
    malignancy_order,
    place_of,
)
from dermsentry.clinic.worklist.parts import lead_by_urgency, parts_of

AT_ONCE = 500


def show_finding(case: Case, found: dict[str, Any]) -> None:
    """Give a case its finding, and the place in the worklist that it calls for."""
    case.tier, case.finding, case.silent = found["tier"], found, None
    case.melanoma, case.malignancy_order = found["melanoma"], malignancy_order(found["probabilities"])
    _put(case)


def hide_finding(case: Case, found: dict[str, Any]) -> None:
    """Record a finding where neither page, API nor export looks; the case's place tells nothing of it."""
    case.tier, case.finding, case.silent = SILENT, None, found
    case.melanoma, case.malignancy_order = None, 0.0
    _put(case)


def _put(case: Case) -> None:
    lane, case.rank = place_of(case)
    if case.lane not in (PART, WITHDRAWN):
        case.lane = lane


def show_silent_findings(session: Session, clinic: Clinic) -> int:
    """After silent mode: show the findings of cases that nobody has read yet, and raise their alerts.

    How many cases, up to 500: the transaction stays short, and the next call takes the rest. A case that was
    read without its finding keeps it hidden: a second reader must not see more than the first.
    """
    if clinic.settings.silent:
        return 0
    hold(session)
    part = aliased(Case)
    hidden_part = select(part.id).where(part.part_of == Case.id, part.tier == SILENT).exists()
    waiting = (or_(Case.tier == SILENT, hidden_part), Case.stage == "unread", COUNTED)
    cases = session.scalars(select(Case).where(*waiting).order_by(Case.id).limit(AT_ONCE)).all()
    for case in cases:
        for own in (case, *parts_of(session, case.id)):
            if own.silent is not None:
                show_finding(own, own.silent)
                append(session, clinic.trail, "system", FindingShownEvent(own.id))
        lead_by_urgency(session, clinic, case)
        raise_alerts(session, clinic, case)
    return len(cases)
