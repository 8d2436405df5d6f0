"""Silent mode: recorded, told to nobody who reads, and shown once it has ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from bundles import tiny_bundle
from clinic.cases import photograph, reread
from dermsentry.clinic.alerts.alerting import raise_late_alerts
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.export.case_table import case_table
from dermsentry.clinic.intake.admission import About, receive
from dermsentry.clinic.monitoring.performance import measure_performance
from dermsentry.clinic.server.housekeeping import keep_house
from dermsentry.clinic.settings import Rule, Settings
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import SILENT, Alert, Case, Delivery, Event, Outcome, now
from dermsentry.clinic.worker.queue import lease
from dermsentry.clinic.worker.screener import Screener, Screening, unread
from dermsentry.clinic.worker.worker import keep_result, work
from dermsentry.clinic.worklist.reading import decide
from dermsentry.clinic.worklist.worklist import Filter, counts, list_cases
from dermsentry.diagnoses import CODES
from dermsentry.model import Bundle

LATE = Rule(name="nobody looked", after_hours=1)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def silent(clinic: Clinic) -> Clinic:
    rules = (*Settings().rules, LATE)
    return replace(clinic, settings=Settings(silent=True, rules=rules))


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """SQLite, but for what reads two columns of JSON as one."""
    return getattr(request, "param", "sqlite")


def found(melanoma: float) -> dict[str, Any]:
    shares = dict.fromkeys(CODES, (1 - melanoma) / 8) | {"MEL": melanoma}
    quality = {
        "acceptable": True,
        "side": 160,
        "sharpness": 0.6,
        "brightness": 150.0,
        "contrast": 20.0,
        "problems": [],
    }
    tier = "alert" if melanoma >= 0.5 else "routine"
    return unread("drawn") | {"tier": tier, "melanoma": melanoma, "probabilities": shares,
                              "out_of_distribution": 0.1, "quality": quality}  # fmt: skip


def screen(clinic: Clinic, bundle: Bundle, number: int, finding: dict[str, Any], hours: float = 0) -> int:
    case_id = receive(clinic, photograph(number), About(), source="api", actor="uli").case_id
    with writing(clinic.engine) as session:
        session.get_one(Case, case_id).received_at = now() - timedelta(hours=hours)
        leased = lease(session)
    assert leased is not None
    with writing(clinic.engine) as session:
        assert keep_result(session, clinic, leased, Screening(finding, 160, 120, {}), bundle.card)
    return case_id


def test_a_finding_is_recorded_and_shown_nowhere(silent: Clinic, bundle: Bundle) -> None:
    case = reread(silent.engine, screen(silent, bundle, 1, found(0.9)))
    assert (case.state, case.tier, case.finding, case.melanoma) == ("screened", SILENT, None, None)
    assert case.silent is not None
    assert case.silent["melanoma"] == 0.9
    with reading(silent.engine) as session:
        assert session.scalars(select(Alert)).all() == []
        assert session.scalars(select(Delivery)).all() == []
        event = session.scalars(select(Event).where(Event.action == "screened silently")).one()
        assert json.loads(event.detail)["tier"] == "alert"
        _, line = case_table(session)
        assert "0.9" not in line
        assert "alert" not in line
        assert ",silent," in line


def test_no_alert_is_raised_however_long_a_case_waits(silent: Clinic, bundle: Bundle) -> None:
    screen(silent, bundle, 1, found(0.9), hours=5)
    with writing(silent.engine) as session:
        assert raise_late_alerts(session, silent) == 0
    keep_house(silent)
    with reading(silent.engine) as session:
        assert session.scalars(select(Alert)).all() == []


def test_the_worklist_is_in_the_order_in_which_cases_came(silent: Clinic, bundle: Bundle) -> None:
    shares = {4: 0.2, 3: 0.95, 2: 0.6, 1: 0.01}
    came = [screen(silent, bundle, i, found(share), hours=i) for i, share in shares.items()]
    with reading(silent.engine) as session:
        assert [case.id for case in list_cases(session, Filter()).cases] == came
        assert counts(session)["suspicion"] == 4
        assert counts(session)["alert"] == 0


def test_a_file_that_cannot_be_read_is_told(silent: Clinic, bundle: Bundle) -> None:
    case = reread(silent.engine, screen(silent, bundle, 1, unread("the file is truncated")))
    assert (case.tier, case.lane) == ("unreadable", "cannot-say")
    assert case.silent is None


def test_a_case_is_decided_without_the_model(
    silent: Clinic, bundle: Bundle, person: Callable[..., Person]
) -> None:
    number = screen(silent, bundle, 1, found(0.9))
    with writing(silent.engine) as session:
        decide(session, silent, number, person(), agrees=None, diagnosis="NV", action="discharge")
    assert reread(silent.engine, number).stage == "decided"


def test_no_saliency_map_is_kept(silent: Clinic, bundle: Bundle) -> None:
    class Told(Screener):
        def __init__(self) -> None:
            pass

        def start(self) -> None:
            pass

        def screen(self, path: Path, kind: str, *, dermoscopic: bool = True) -> Screening:
            return Screening(found(0.9), 160, 120, {"view": b"\xff\xd8\xff", "saliency": b"\x89PNG"})

    receive(silent, photograph(1), About(), source="api", actor="uli")
    turns = iter(range(1))
    work(silent, Told(), bundle.card, lambda: next(turns, None) is None)
    case = reread(silent.engine, 1)
    assert case.tier == SILENT
    assert silent.pictures.drawn(case.sha256, "view").is_file()
    assert not silent.pictures.drawn(case.sha256, "saliency").exists()


def test_after_silent_mode_unread_cases_get_their_finding_and_their_alert(
    clinic: Clinic, silent: Clinic, bundle: Bundle, person: Callable[..., Person]
) -> None:
    first, second = (screen(silent, bundle, i, found(0.9)) for i in (1, 2))
    with writing(silent.engine) as session:
        decide(session, silent, second, person(), agrees=None, diagnosis="NV", action="discharge")
    keep_house(silent)
    assert reread(clinic.engine, first).tier == SILENT
    keep_house(clinic)
    shown, kept = (reread(clinic.engine, number) for number in (first, second))
    assert (shown.tier, shown.melanoma, shown.lane, shown.rank) == ("alert", 0.9, "suspicion", 0)
    assert (shown.silent, shown.malignancy_order) == (None, pytest.approx(-1.8, abs=0.2))
    assert (kept.tier, kept.finding) == (SILENT, None)
    with reading(clinic.engine) as session:
        assert [alert.case_id for alert in session.scalars(select(Alert))] == [first]
        told = session.scalars(select(Event).where(Event.action == "finding shown")).one()
        assert told.subject == f"case {first}"


@pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)
def test_what_would_have_been_is_measured_for_those_who_may_see_it(
    silent: Clinic, bundle: Bundle, person: Callable[..., Person]
) -> None:
    numbers = [screen(silent, bundle, i, found(share)) for i, share in enumerate((0.9, 0.2, 0.8, 0.1))]
    screen(silent, bundle, 9, unread("the file is truncated"))
    with writing(silent.engine) as session:
        for number, diagnosis in zip(numbers, ("MEL", "MEL", "NV", "NV"), strict=True):
            session.add(Outcome(case_id=number, diagnosis=diagnosis, method="histology"))
        decide(session, silent, numbers[0], person(), agrees=None, diagnosis="MEL", action="biopsy")
    with reading(silent.engine) as session:
        hidden = measure_performance(session)
        told = measure_performance(session, with_silent=True)
    assert (hidden.silent, hidden.silent_alerts) == (4, None)
    assert hidden.rules[0].sensitivity.estimate is None
    assert hidden.agreement.model.of == 0
    assert (told.silent, told.silent_alerts) == (4, 2)
    assert (told.rules[0].sensitivity.count, told.rules[0].sensitivity.of) == (1, 2)
    assert (told.rules[0].specificity.count, told.rules[0].specificity.of) == (1, 2)
    assert told.agreement.model.of == 1
    assert told.unjudged == hidden.unjudged == 1
    assert told.load.alerts == 0
    assert told.drift is not None
    assert told.drift.card is not None
