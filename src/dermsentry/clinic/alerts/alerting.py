"""Alerts: which cases meet a rule, who acknowledged them, and which messages are due.

A message holds a case's number and a link, nothing else: neither patient nor picture leaves the clinic.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, func, or_, select, true
from sqlalchemy.orm import Session, aliased, contains_eager, joinedload

from dermsentry.clinic.batches import MOST_AT_ONCE
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.settings import REFUSED, Rule, Settings
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.audit_trail import append, hold
from dermsentry.clinic.store.events import (
    AlertAcknowledgedEvent,
    AlertEscalatedEvent,
    AlertRaisedEvent,
    AlertReopenedEvent,
)
from dermsentry.clinic.store.tables import (
    COUNTED,
    NOT_DERMOSCOPIC,
    OPEN,
    WITHDRAWN,
    Alert,
    Case,
    Delivery,
    Model,
    now,
)

MOST_URGENT_FIRST = (
    Case.lane != "suspicion",
    Case.rank,
    Case.malignancy_order,
    Alert.raised_at,
    Alert.id,
)
"""The order of alerts joined with their cases."""


def raise_alerts(session: Session, clinic: Clinic, case: Case) -> list[Alert]:
    """Raise the alerts that a screened case meets and has not raised yet, and queue their messages.

    By any of its photographs, whichever of them is given, except a part that the model is not to assess. None
    in silent mode, and none of a withdrawn case or one that is decided.
    """
    if clinic.settings.silent or case.lane == WITHDRAWN:
        return []
    hold(session)
    if case.part_of is not None:
        case = session.get_one(Case, case.part_of)
    if case.stage == "decided":
        return []
    parts = select(Case).where(Case.part_of == case.id, Case.technique.not_in(NOT_DERMOSCOPIC))
    photographs = (case, *session.scalars(parts.order_by(Case.id)))
    had = set(session.scalars(select(Alert.rule).where(Alert.case_id == case.id)))
    raised = []
    for rule in clinic.settings.all_rules:
        if rule.name in had or not any(_calls_for(session, rule, own) for own in photographs):
            continue
        alert = Alert(case_id=case.id, rule=rule.name)
        session.add(alert)
        session.flush()
        _queue(session, clinic.settings, alert, escalation=False)
        append(session, clinic.trail, "system", AlertRaisedEvent(case.id, rule.name))
        raised.append(alert)
    return raised


def raise_late_alerts(session: Session, clinic: Clinic) -> int:
    """Raise the alerts of rules that wait some hours for a decision; how many.

    Up to 500 cases of each rule: the transaction stays short, and the next call takes the rest. None in
    silent mode.
    """
    if clinic.settings.silent:
        return 0
    hold(session)
    count = 0
    for rule in clinic.settings.all_rules:
        # Also without a wait: cases that were refused before there was this rule.
        if not rule.after_hours and rule.name != REFUSED:
            continue
        before = now() - timedelta(hours=rule.after_hours)
        own_part = _PART.part_of == Case.id, _PART.technique.not_in(NOT_DERMOSCOPIC)
        due_part = select(_PART.id).where(*own_part, _PART.received_at <= before, _suspicious(rule, _PART))
        for photograph in (and_(Case.received_at <= before, _suspicious(rule)), due_part.exists()):
            waiting = session.scalars(
                select(Case)
                .where(OPEN, Case.state == "screened", COUNTED, photograph)
                .where(~select(Alert.id).where(Alert.case_id == Case.id, Alert.rule == rule.name).exists())
                .limit(500)
            ).all()
            for case in waiting:
                count += len(raise_alerts(session, clinic, case))
    return count


def escalate(session: Session, clinic: Clinic) -> int:
    """Send alerts that nobody acknowledged in time to those above; how many."""
    hold(session)
    before = now() - timedelta(hours=clinic.settings.escalate_after_hours)
    due = session.scalars(
        select(Alert).where(
            Alert.acknowledged_at.is_(None), Alert.escalated_at.is_(None), Alert.raised_at <= before
        )
    ).all()
    for alert in due:
        alert.escalated_at = now()
        _queue(session, clinic.settings, alert, escalation=True)
        append(session, clinic.trail, "system", AlertEscalatedEvent(alert.case_id, alert.rule))
    return len(due)


def acknowledge(session: Session, clinic: Clinic, case_id: int, person: Person) -> int:
    """Acknowledge every open alert of a case; how many there were."""
    hold(session)
    opened = session.scalars(
        select(Alert).where(Alert.case_id == case_id, Alert.acknowledged_at.is_(None))
    ).all()
    for alert in opened:
        alert.acknowledged_at, alert.acknowledged_by = now(), person.account_id
        append(session, clinic.trail, person.name, AlertAcknowledgedEvent(case_id, alert.rule))
    return len(opened)


def reopen(session: Session, clinic: Clinic, case_id: int, person: Person, since: datetime) -> int:
    """Open again the alerts of a case that a person acknowledged since then; how many."""
    return len(_reopen(session, clinic, case_id, person, since, Alert.acknowledged_by == person.account_id))


def raise_again(session: Session, clinic: Clinic, case: Case, person: Person, since: datetime) -> None:
    """After a case that was withdrawn since then was restored: open again the alerts that this closed, raise
    those that the case has met meanwhile, and queue a message to whom none went.

    Nothing of a case that was decided, and an alert that a person acknowledged before stays acknowledged.
    """
    hold(session)
    if case.stage == "decided" or case.state != "screened":
        return
    # Whoever withdrew it may not be who restores it.
    opened = _reopen(session, clinic, case.id, person, since, true())
    told = select(Delivery.channel, Delivery.address).join(Alert)
    told = told.where(Alert.case_id == case.id, Delivery.state != "dead")
    reached = {(channel, address) for channel, address in session.execute(told)}
    for alert in opened[:1]:  # a message names the case and not the rule
        _queue(session, clinic.settings, alert, escalation=False, reached=reached)
    raise_alerts(session, clinic, case)


def _reopen(
    session: Session,
    clinic: Clinic,
    case_id: int,
    person: Person,
    since: datetime,
    by: ColumnElement[bool],
) -> Sequence[Alert]:
    hold(session)
    closed = session.scalars(
        select(Alert).where(Alert.case_id == case_id, Alert.acknowledged_at >= since, by).order_by(Alert.id)
    ).all()
    for alert in closed:
        alert.acknowledged_at = alert.acknowledged_by = None
        append(session, clinic.trail, person.name, AlertReopenedEvent(case_id, alert.rule))
    return closed


def tell_change(session: Session, case_id: int, change: str) -> int:
    """Queue a message that a case was corrected, amended, withdrawn or restored, or that an amendment was
    undone; how many.

    It goes to everyone to whom a message about the case went, the same way; who has one of this change that
    is not sent yet gets no second one.
    """
    messages = session.scalars(
        select(Delivery).join(Alert).where(Alert.case_id == case_id).order_by(Delivery.id)
    ).all()
    known = {(own.channel, own.address): own for own in messages if own.state in ("sent", "sending")}
    waiting = {
        (own.channel, own.address) for own in messages if own.state == "pending" and own.change == change
    }
    for place, own in known.items():
        if place not in waiting:
            told = {name: getattr(own, name) for name in ("alert_id", "channel", "address", "escalation")}
            session.add(Delivery(**told, change=change))
    return len(known.keys() - waiting)


def list_alerts(
    session: Session, *, all: bool = False, before: int = 0, limit: int = 50
) -> tuple[Sequence[Alert], int]:
    """Open alerts, or all, the newest first; and the `before` of the page after, 0 where this is the last."""
    query = select(Alert).options(joinedload(Alert.case)).order_by(Alert.id.desc()).limit(limit + 1)
    if not all:
        query = query.where(Alert.acknowledged_at.is_(None))
    if before:
        query = query.where(Alert.id < before)
    found = session.scalars(query).all()
    return found[:limit], found[limit - 1].id if len(found) > limit else 0


def urgent_alerts(session: Session, *, limit: int = MOST_AT_ONCE) -> tuple[Sequence[Alert], int]:
    """Open alerts, the most urgent first, and how many there are.

    By tier, those that the model could not assess after those that it did; then by the probability of
    malignancy, then by how long each is open.
    """
    opened = select(Alert).join(Case, Case.id == Alert.case_id).where(Alert.acknowledged_at.is_(None))
    query = opened.options(contains_eager(Alert.case)).order_by(*MOST_URGENT_FIRST).limit(limit)
    number = select(func.count()).select_from(Alert).where(Alert.acknowledged_at.is_(None))
    return session.scalars(query).all(), session.scalar(number) or 0


_PART = aliased(Case)


def _suspicious(rule: Rule, of: type[Case] = Case) -> ColumnElement[bool]:
    """What `_meets` asks of a tier and a probability, as the database asks it."""
    if not rule.tiers and rule.melanoma is None:
        return true()
    either: list[ColumnElement[bool]] = [of.tier.in_(rule.tiers)]
    if rule.melanoma is not None:
        either.append(and_(of.melanoma.is_not(None), of.melanoma >= rule.melanoma))
    return or_(*either)


def _reaches_alert(session: Session, case: Case) -> bool:
    """Whether the probability of melanoma would have been an alert's, had the model assessed the case."""
    model = session.get(Model, case.model_digest) if case.model_digest else None
    if model is None or case.melanoma is None:
        return False
    return case.melanoma >= float(model.card["thresholds"]["alert"]["value"])


def _calls_for(session: Session, rule: Rule, case: Case) -> bool:
    if not _meets(rule, case, waits=False):
        return False
    return _meets(rule, case, waits=True) or (rule.name == REFUSED and _reaches_alert(session, case))


def _meets(rule: Rule, case: Case, *, waits: bool) -> bool:
    suspicious = case.tier in rule.tiers or (
        rule.melanoma is not None and case.melanoma is not None and case.melanoma >= rule.melanoma
    )
    if not suspicious and (rule.tiers or rule.melanoma is not None):
        return False
    return not (waits and rule.after_hours) or case.received_at <= now() - timedelta(hours=rule.after_hours)


def _queue(
    session: Session,
    settings: Settings,
    alert: Alert,
    *,
    escalation: bool,
    reached: Collection[tuple[str, str]] = (),
) -> None:
    """Queue an alert's messages, but not to those channels and addresses that are `reached` already."""
    mails = settings.mail.escalate_to if escalation else settings.mail.to
    places = [("email", address) for address in mails]
    places += [("webhook", hook.url) for hook in settings.webhooks if hook.escalation == escalation]
    for channel, address in places:
        if (channel, address) not in reached:
            session.add(Delivery(alert_id=alert.id, channel=channel, address=address, escalation=escalation))
