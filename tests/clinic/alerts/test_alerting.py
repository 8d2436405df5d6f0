from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, insert, select

from bundles import tiny_card
from clinic.cases import screened
from dermsentry.clinic.alerts.alerting import (
    _meets,
    _suspicious,
    acknowledge,
    escalate,
    raise_alerts,
    raise_late_alerts,
    urgent_alerts,
)
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.settings import Mail, Rule, Settings, Webhook
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.audit_trail import verify
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import Alert, Case, Delivery, now
from dermsentry.clinic.worklist.reading import CannotRead, decide
from dermsentry.screening.triage import TIERS

Cases = Callable[..., int]
People = Callable[..., Person]
HOUR = timedelta(hours=1)

OWN = Settings(
    rules=(
        Rule(name="suspected", tiers=("alert",)),
        Rule(name="likely", melanoma=0.5),
        Rule(name="late", tiers=("refer", "cannot-say"), after_hours=2),
    ),
    mail=Mail(to=("a@clinic.example",), escalate_to=("b@clinic.example",)),
    webhooks=(Webhook(url="https://x.example/in"), Webhook(url="https://x.example/up", escalation=True)),
)


@pytest.fixture
def clinic(clinic: Clinic) -> Clinic:
    """A clinic with these rules and addresses."""
    return replace(clinic, settings=OWN)


def rules(engine: Engine, case_id: int) -> list[str]:
    with reading(engine) as session:
        return sorted(session.scalars(select(Alert.rule).where(Alert.case_id == case_id)))


def sent(engine: Engine) -> list[tuple[str, bool]]:
    with reading(engine) as session:
        return sorted((own.address, own.escalation) for own in session.scalars(select(Delivery)))


def raised(clinic: Clinic, case_id: int) -> list[str]:
    with writing(clinic.engine) as session:
        raise_alerts(session, clinic, session.get_one(Case, case_id))
    return rules(clinic.engine, case_id)


def test_a_case_raises_each_alert_it_meets_once(clinic: Clinic, add_case: Cases) -> None:
    both, one, none = add_case("alert", 0.7), add_case("alert", 0.3), add_case("routine", 0.01)
    late = add_case("refer", 0.3, received_at=now() - 3 * HOUR)
    assert raised(clinic, both) == raised(clinic, both) == ["likely", "suspected"]
    assert raised(clinic, one) == ["suspected"]
    assert raised(clinic, none) == []
    assert raised(clinic, late) == ["late"]
    assert sent(clinic.engine) == sorted([("a@clinic.example", False), ("https://x.example/in", False)] * 4)


@pytest.mark.parametrize("own", [Settings(), OWN, Settings(rules=())])
@pytest.mark.parametrize("tier", ["cannot-say", "unreadable"])
def test_what_the_model_refuses_alerts_after_a_set_time_whatever_the_rules(
    clinic: Clinic, add_case: Cases, own: Settings, tier: str
) -> None:
    clinic = replace(clinic, settings=own)
    old = add_case(tier, 0.1, received_at=now() - 25 * HOUR)
    new = add_case(tier, 0.1, received_at=now() - 23 * HOUR)
    assert "not assessed" not in raised(clinic, new)
    with writing(clinic.engine) as session:
        raise_late_alerts(session, clinic)
    assert "not assessed" in rules(clinic.engine, old)
    assert "not assessed" not in rules(clinic.engine, new)


def test_what_the_model_refuses_alerts_at_once_where_melanoma_reaches_the_threshold(
    clinic: Clinic, add_case: Cases
) -> None:
    clinic = replace(clinic, settings=Settings())
    threshold = tiny_card().thresholds["alert"].value
    above, below = add_case("cannot-say", threshold), add_case("cannot-say", threshold - 0.001)
    assert raised(clinic, above) == raised(clinic, above) == ["not assessed"]
    assert raised(clinic, below) == []
    with writing(clinic.engine) as session:  # a day later there is still one
        session.get_one(Case, above).received_at -= 30 * HOUR
        session.flush()
        assert raise_late_alerts(session, clinic) == 0


def test_what_was_refused_before_there_was_a_rule_alerts_now(clinic: Clinic, add_case: Cases) -> None:
    clinic = replace(clinic, settings=Settings(refused_after_hours=0.0))
    old = add_case("cannot-say", 0.1)
    with writing(clinic.engine) as session:
        assert raise_late_alerts(session, clinic) == 1
    assert rules(clinic.engine, old) == ["not assessed"]


def test_late_alerts_are_not_kept_by_cases_that_meet_no_rule(clinic: Clinic, add_case: Cases) -> None:
    with writing(clinic.engine) as session:
        rows = [
            {"sha256": f"{i:064x}", "source": "page", "state": "screened", "tier": "routine"}
            | {"lane": "suspicion", "rank": 2, "received_at": now() - 9 * HOUR}
            for i in range(600)
        ]
        session.execute(insert(Case), rows)
    late = add_case("refer", 0.3, received_at=now() - 3 * HOUR)
    early = add_case("refer", 0.3)
    with writing(clinic.engine) as session:
        assert raise_late_alerts(session, clinic) == 1
    with writing(clinic.engine) as session:
        assert raise_late_alerts(session, clinic) == 0
    assert rules(clinic.engine, late) == ["late"]
    assert rules(clinic.engine, early) == []


def test_an_alert_that_nobody_acknowledges_escalates_once(
    clinic: Clinic, add_case: Cases, person: People
) -> None:
    anna, old, seen, new = person(), add_case("alert", 0.3), add_case("alert", 0.3), add_case("alert", 0.3)
    for case in (old, seen, new):
        raised(clinic, case)
    with writing(clinic.engine) as session:
        assert acknowledge(session, clinic, seen, anna) == 1
        assert acknowledge(session, clinic, seen, anna) == 0
        for alert in session.scalars(select(Alert).where(Alert.case_id.in_([old, seen]))):
            alert.raised_at -= 25 * HOUR
    for expected in (1, 0):
        with writing(clinic.engine) as session:
            assert escalate(session, clinic) == expected
    above = [address for address, escalation in sent(clinic.engine) if escalation]
    assert above == ["b@clinic.example", "https://x.example/up"]
    with reading(clinic.engine) as session:
        assert verify(session, clinic.trail).problems == ()


def test_who_raises_decides_and_escalates_at_once_never_wait_for_each_other_for_ever(
    clinic: Clinic, add_case: Cases, person: People
) -> None:
    people = [person(f"p{i}") for i in range(2)]
    cases = [add_case("alert", 0.7, received_at=now() - 3 * HOUR) for _ in range(10)]
    with writing(clinic.engine) as session:
        for case in cases:
            raise_alerts(session, clinic, session.get_one(Case, case))
        for alert in session.scalars(select(Alert)):
            alert.raised_at -= 25 * HOUR
    failed: list[BaseException] = []

    def run(step: Callable[[], object]) -> None:
        try:
            step()
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    def decide_all(who: Person, order: list[int]) -> None:
        for case in order:
            try:
                with writing(clinic.engine) as session:
                    decide(session, clinic, case, who, agrees=True, diagnosis="MEL", action="biopsy")
            except CannotRead:
                continue

    def again(step: Callable[..., object]) -> None:
        for _ in range(6):
            with writing(clinic.engine) as session:
                step(session, clinic)

    threads = [
        threading.Thread(target=run, args=(step,))
        for step in (
            lambda: decide_all(people[0], cases),
            lambda: decide_all(people[1], cases[::-1]),
            lambda: again(escalate),
            lambda: again(raise_late_alerts),
        )
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with reading(clinic.engine) as session:
        assert verify(session, clinic.trail).problems == ()
        assert set(session.scalars(select(Case.stage))) == {"decided"}
        assert session.scalars(select(Alert).where(Alert.acknowledged_at.is_(None))).all() == []


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tiers=st.lists(st.sampled_from(TIERS), max_size=2),
    limit=st.none() | st.sampled_from([0.0, 0.3, 1.0]),
    tier=st.sampled_from(TIERS),
    melanoma=st.sampled_from([0.0, 0.2, 0.3, 0.31, 1.0]),
)
def test_the_database_and_the_worker_read_a_rule_alike(
    engine: Engine, tiers: list[str], limit: float | None, tier: str, melanoma: float
) -> None:
    rule = Rule(name="x", tiers=tuple(tiers), melanoma=limit)
    case = screened(tier, melanoma, model_digest=None)
    with writing(engine) as session:
        session.add(case)
        session.flush()
        here = session.scalar(select(Case.id).where(Case.id == case.id, _suspicious(rule))) is not None
        assert here is _meets(rule, case, waits=True)


def test_open_alerts_are_listed_by_urgency(clinic: Clinic, add_case: Callable[..., int]) -> None:
    refer, low, unknown, high = (
        add_case(tier, share)
        for tier, share in (("refer", 0.3), ("alert", 0.6), ("cannot-say", 0.9), ("alert", 0.9))
    )
    with writing(clinic.engine) as session:
        session.add_all([Alert(case_id=own, rule="any") for own in (refer, low, unknown, high)])
        session.add(Alert(case_id=high, rule="closed", acknowledged_at=now()))
    with reading(clinic.engine) as session:
        found, number = urgent_alerts(session)
        assert [own.case_id for own in found] == [high, low, refer, unknown]
        assert number == 4
        found, number = urgent_alerts(session, limit=1)
        assert ([own.case_id for own in found], number) == ([high], 4)
