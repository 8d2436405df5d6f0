"""Silent mode: findings recorded where nothing shows them, and shown once the mode has ended."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from dermsentry.clinic.alerts.alerting import raise_alerts
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.store.audit_trail import append, hold
from dermsentry.clinic.store.events import FindingShownEvent
from dermsentry.clinic.store.tables import PLACES, SILENT, SILENT_PLACE, Case

AT_ONCE = 500


def show_finding(case: Case, found: dict[str, Any]) -> None:
    """Give a case its finding, and the place in the worklist that it calls for."""
    case.tier, case.finding, case.silent = found["tier"], found, None
    case.melanoma, case.melanoma_order = found["melanoma"], -(found["melanoma"] or 0.0)
    case.lane, case.rank = PLACES[found["tier"]]


def hide_finding(case: Case, found: dict[str, Any]) -> None:
    """Record a finding where neither page, API nor export looks; the case's place tells nothing of it."""
    case.tier, case.finding, case.silent = SILENT, None, found
    case.melanoma, case.melanoma_order = None, 0.0
    case.lane, case.rank = SILENT_PLACE


def show_silent_findings(session: Session, clinic: Clinic) -> int:
    """After silent mode: show the findings of cases that nobody has read yet, and raise their alerts.

    How many, up to 500: the transaction stays short, and the next call takes the rest. A case that was read
    without its finding keeps it hidden: a second reader must not see more than the first.
    """
    if clinic.settings.silent:
        return 0
    hold(session)
    query = select(Case).where(Case.tier == SILENT, Case.stage == "unread").order_by(Case.id).limit(AT_ONCE)
    cases = session.scalars(query).all()
    for case in cases:
        assert case.silent is not None
        show_finding(case, case.silent)
        append(session, clinic.trail, "system", FindingShownEvent(case.id))
        raise_alerts(session, clinic, case)
    return len(cases)
