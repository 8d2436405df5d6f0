"""Several alerts acknowledged at once, after they were looked at together, and opened again together.

They have the moment of their acknowledgement in common: it and the person are the batch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session, contains_eager

from dermsentry.clinic.alerts.alerting import MOST_URGENT_FIRST
from dermsentry.clinic.batches import MOST_AT_ONCE, UNDO_FOR, undo_minutes
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.audit_trail import append, hold
from dermsentry.clinic.store.events import AlertAcknowledgedEvent, AlertReopenedEvent
from dermsentry.clinic.store.tables import LARGEST_ID, PART, WITHDRAWN, Alert, Case, now
from dermsentry.errors import InputError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST_KEY = 10**16  # in the year 2286


@dataclass(frozen=True)
class Acknowledged:
    """What became of the alerts: those that it happened to, and why not to the others; the batch's key."""

    key: int
    alerts: tuple[Alert, ...]
    left: tuple[tuple[Alert, str], ...]


def numbers_of(given: Sequence[str]) -> tuple[int, ...]:
    """The alerts of a form, each by its number.

    Raises
    ------
    InputError
        One is no number, or there are none or too many.
    """
    for text in given:
        if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) > LARGEST_ID:
            raise InputError(f"Received the alert {text[:40]!r}; expected its number.")
    wanted = tuple(sorted({int(text) for text in given}))
    if not 0 < len(wanted) <= MOST_AT_ONCE:
        raise InputError(f"Received {len(wanted)} alerts; expected 1 to {MOST_AT_ONCE}.")
    return wanted


def chosen_alerts(session: Session, wanted: Sequence[int]) -> Sequence[Alert]:
    """Those of the chosen alerts that there are, the most urgent first."""
    query = select(Alert).join(Case, Case.id == Alert.case_id).where(Alert.id.in_(wanted))
    return session.scalars(query.options(contains_eager(Alert.case)).order_by(*MOST_URGENT_FIRST)).all()


def why_not_acknowledged(alert: Alert) -> str:
    """Why an alert cannot be acknowledged, in words; empty where it can."""
    return "It has been acknowledged already." if alert.acknowledged_at is not None else ""


def acknowledge_chosen(
    session: Session, clinic: Clinic, person: Person, wanted: Sequence[int]
) -> Acknowledged:
    """Acknowledge alerts that a person has seen, each with its event, and no others of their cases."""
    hold(session)
    at, done, left = now(), [], []
    for alert in chosen_alerts(session, wanted):
        problem = why_not_acknowledged(alert)
        if problem:
            left.append((alert, problem))
            continue
        alert.acknowledged_at, alert.acknowledged_by = at, person.account_id
        append(session, clinic.trail, person.name, AlertAcknowledgedEvent(alert.case_id, alert.rule))
        done.append(alert)
    return Acknowledged((at - _EPOCH) // timedelta(microseconds=1), tuple(done), tuple(left))


def reopen_chosen(session: Session, clinic: Clinic, key: int, person: Person) -> Acknowledged:
    """Open again what is left of alerts that a person acknowledged together.

    Raises
    ------
    InputError
        There is no such batch of this person's, or it was longer ago than can be undone.
    """
    hold(session)
    alerts = batch_of_alerts(session, key, person)
    if not alerts:
        raise InputError("There is nothing to undo.")
    if _moment(key) < now() - UNDO_FOR:
        minutes = undo_minutes()
        raise InputError(f"Alerts that were acknowledged together can be opened again for {minutes} minutes.")
    done, left = [], []
    for alert in alerts:
        if alert.case.stage == "decided":
            left.append((alert, "The case has been decided since."))
        elif alert.case.lane == WITHDRAWN:
            left.append((alert, "The case has been withdrawn since."))
        elif alert.case.lane == PART:
            left.append((alert, f"It has become part of case {alert.case.part_of} since."))
        else:
            alert.acknowledged_at = alert.acknowledged_by = None
            append(session, clinic.trail, person.name, AlertReopenedEvent(alert.case_id, alert.rule))
            done.append(alert)
    return Acknowledged(key, tuple(done), tuple(left))


def batch_of_alerts(session: Session, key: int, person: Person) -> Sequence[Alert]:
    """The alerts of a batch of a person's that were not opened again, the most urgent first."""
    if not 0 < key < _LARGEST_KEY:
        return ()
    mine = Alert.acknowledged_by == person.account_id, Alert.acknowledged_at == _moment(key)
    query = select(Alert).join(Case, Case.id == Alert.case_id).where(*mine)
    return session.scalars(query.options(contains_eager(Alert.case)).order_by(*MOST_URGENT_FIRST)).all()


def _moment(key: int) -> datetime:
    return _EPOCH + timedelta(microseconds=key)
