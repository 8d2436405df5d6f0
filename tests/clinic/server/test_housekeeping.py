"""What is due by the clock happens once, whoever keeps house, and is tried again where it could not."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from clinic.filled_store import Store
from dermsentry.clinic.server import housekeeping
from dermsentry.clinic.server.housekeeping import keep_house, run_housekeeping
from dermsentry.clinic.settings import Mail, Rule, Settings
from dermsentry.clinic.store.accounts import add_account, sign_in
from dermsentry.clinic.store.audit_trail import verify
from dermsentry.clinic.store.database import DatabaseError, reading, writing
from dermsentry.clinic.store.tables import Alert, Case, Delivery, SignIn, now

SETTINGS = Settings(
    rules=(Rule(name="forgotten", tiers=("refer",), after_hours=4),),
    escalate_after_hours=24,
    mail=Mail(to=("reader@clinic.example",), escalate_to=("head@clinic.example",)),
)


def screened(store: Store, number: int, tier: str, hours: float) -> int:
    """A case that was screened and has waited some hours."""
    case = store.case(f"photograph {number}".encode())
    with writing(store.engine) as session:
        found = session.get_one(Case, case)
        found.state, found.tier, found.melanoma = "screened", tier, 0.3
        found.received_at = now() - timedelta(hours=hours)
    return case


def messages(store: Store) -> list[tuple[str, bool]]:
    with reading(store.engine) as session:
        return [
            (one.address, one.escalation) for one in session.scalars(select(Delivery).order_by(Delivery.id))
        ]


def test_a_case_that_was_forgotten_alerts_once_and_is_escalated_once(store: Store) -> None:
    late = screened(store, 1, "refer", hours=5)
    screened(store, 2, "refer", hours=3)
    screened(store, 3, "routine", hours=50)
    keep_house(replace(store, settings=SETTINGS))
    keep_house(replace(store, settings=SETTINGS))
    with reading(store.engine) as session:
        assert [alert.case_id for alert in session.scalars(select(Alert))] == [late]
    assert messages(store) == [("reader@clinic.example", False)]
    with writing(store.engine) as session:
        session.execute(update(Alert).values(raised_at=now() - timedelta(hours=25)))
    keep_house(replace(store, settings=SETTINGS))
    keep_house(replace(store, settings=SETTINGS))
    assert messages(store) == [("reader@clinic.example", False), ("head@clinic.example", True)]
    with reading(store.engine) as session:
        assert verify(session, store.trail).problems == ()


def test_several_that_keep_house_do_everything_once(store: Store) -> None:
    late = [screened(store, number, "refer", hours=5) for number in range(12)]
    failed: list[BaseException] = []

    def keep() -> None:
        try:
            keep_house(replace(store, settings=SETTINGS))
        except BaseException as error:
            failed.append(error)
            raise

    def all_at_once() -> None:
        keepers = [threading.Thread(target=keep) for _ in range(4)]
        for keeper in keepers:
            keeper.start()
        for keeper in keepers:
            keeper.join()

    all_at_once()
    with writing(store.engine) as session:
        session.execute(update(Alert).values(raised_at=now() - timedelta(hours=25)))
    all_at_once()
    assert failed == []
    with reading(store.engine) as session:
        assert sorted(alert.case_id for alert in session.scalars(select(Alert))) == late
    assert messages(store).count(("head@clinic.example", True)) == len(late)
    assert messages(store).count(("reader@clinic.example", False)) == len(late)


def test_sessions_that_ended_are_forgotten(store: Store) -> None:
    with writing(store.engine) as session:
        account = add_account(session, "reader", "A Reader", "dermatologist", "several words to keep")
        sign_in(session, account)
        sign_in(session, account)
        session.flush()
        first = session.scalars(select(SignIn).limit(1)).one()
        first.expires_at = now() - timedelta(minutes=1)
        kept = session.scalars(select(SignIn.id).where(SignIn.id != first.id)).one()
    keep_house(replace(store, settings=SETTINGS))
    with reading(store.engine) as session:
        assert list(session.scalars(select(SignIn.id))) == [kept]


def test_a_database_that_is_away_is_waited_for(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rounds: list[int] = []

    def sometimes(*_: object) -> None:
        rounds.append(1)
        if len(rounds) == 1:
            raise DatabaseError("The database cannot be used: away.")

    monkeypatch.setattr(housekeeping, "keep_house", sometimes)
    monkeypatch.setattr(housekeeping, "EVERY_S", 0.01)
    run_housekeeping(store.url, Path(store.folder), SETTINGS, lambda: len(rounds) >= 3)
    assert len(rounds) >= 3, "once more as it ends"
    assert "away" in caplog.text
