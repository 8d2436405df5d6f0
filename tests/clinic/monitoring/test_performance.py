from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import TypeAdapter
from sqlalchemy import Engine

from dermsentry.clinic.alerts.alerting import raise_alerts
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.monitoring.outcomes import record_outcome
from dermsentry.clinic.monitoring.performance import Performance, measure_performance
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import Alert, Case, now
from dermsentry.clinic.worklist.reading import decide
from dermsentry.stats.intervals import exact_binomial

People = Callable[..., Person]
Cases = Callable[..., int]


def measured(engine: Engine, **window: object) -> Performance:
    with reading(engine) as session:
        return measure_performance(session, **window)  # type: ignore[arg-type]


def test_an_empty_clinic_has_no_figures_and_says_so(engine: Engine) -> None:
    found = measured(engine)
    assert (found.received, found.screened, found.melanomas) == (0, 0, 0)
    assert found.drift is None
    for rule in found.rules:
        assert rule.sensitivity.value is None
        assert rule.sensitivity.remark == "no melanoma with an outcome"
    assert found.needed_to_biopsy.value is None
    assert found.load.per_day == 0
    assert "NaN" not in TypeAdapter(Performance).dump_json(found).decode()


def test_figures_are_those_counted_by_hand(clinic: Clinic, add_case: Cases, person: People) -> None:
    anna = person()
    # (tier, outcome, method): 3 of 4 judged melanomas alerted, 1 referred; one could not be judged.
    told = [
        *[("alert", "MEL", "histology")] * 3,
        ("refer", "MEL", "histology"),
        ("cannot-say", "MEL", "histology"),
        *[("alert", "NV", "histology")] * 2,
        ("refer", "SK", "follow-up"),
        *[("routine", "NV", "follow-up")] * 3,
        ("alert", "MEL|NV", "follow-up"),
        ("routine", "", ""),
        ("", "", ""),
    ]
    for i, (tier, label, method) in enumerate(told):
        case = add_case(tier, {"alert": 0.7, "refer": 0.3}.get(tier, 0.01), patient=f"P{i}")
        if label:
            with writing(clinic.engine) as session:
                record_outcome(session, clinic, case, anna, diagnosis="NV", method="follow-up")
                record_outcome(session, clinic, case, anna, diagnosis=label, method=method)
    found = measured(clinic.engine)
    assert (found.received, found.screened, found.melanomas, found.others, found.untold) == (14, 13, 5, 6, 1)
    assert (found.unjudged, found.unjudged_melanomas) == (1, 1)
    alert, either = found.rules
    for rule, sensitivity, specificity, ppv, npv in (
        (alert, (3, 4), (4, 6), (3, 5), (4, 5)),
        (either, (4, 4), (3, 6), (4, 7), (3, 3)),
    ):
        for figure, (count, of) in zip(
            (rule.sensitivity, rule.specificity, rule.ppv, rule.npv),
            (sensitivity, specificity, ppv, npv),
            strict=True,
        ):
            exact = exact_binomial(count, of)
            assert (figure.count, figure.of, figure.patients) == (count, of, of)
            assert figure.value == pytest.approx(count / of)
            assert figure.low is not None
            assert figure.high is not None
            assert figure.low <= exact.low + 1e-9
            assert figure.high >= exact.high - 1e-9
            assert "too few" in figure.remark
    assert found.needed_to_biopsy.value == pytest.approx(7 / 5)
    assert "11 of 13" in found.remarks[0]
    assert "NaN" not in TypeAdapter(Performance).dump_json(found).decode()


def test_photographs_of_one_patient_are_not_counted_as_many(
    clinic: Clinic, add_case: Cases, person: People
) -> None:
    anna = person()
    for _ in range(12):
        case = add_case("alert", 0.8, patient="P1")
        with writing(clinic.engine) as session:
            record_outcome(session, clinic, case, anna, diagnosis="MEL", method="histology")
    figure = measured(clinic.engine).rules[0].sensitivity
    assert (figure.value, figure.of, figure.patients) == (1.0, 12, 1)
    assert figure.low == pytest.approx(exact_binomial(1, 1).low)


def test_agreement_and_load_are_those_counted_by_hand(
    clinic: Clinic, add_case: Cases, person: People
) -> None:
    anna, ben, cora = person("anna"), person("ben"), person("cora")
    two = replace(clinic, settings=Settings(readers=2))
    ids = [add_case("alert", 0.7) for _ in range(4)]
    with writing(clinic.engine) as session:
        for case in ids:
            raise_alerts(session, two, session.get_one(Case, case))
    plans = [
        (("MEL", "biopsy", True), ("MEL", "biopsy", True), None),
        (("NV", "discharge", False), ("NV", "discharge", False), None),
        (("MEL", "biopsy", True), ("NV", "discharge", False), ("NV", "discharge", False)),
    ]
    for case, reads in zip(ids, plans, strict=False):
        for who, read in zip((anna, ben, cora), reads, strict=True):
            if read is not None:
                with writing(clinic.engine) as session:
                    diagnosis, action, agrees = read
                    decide(session, two, case, who, agrees=agrees, diagnosis=diagnosis, action=action)
    with writing(clinic.engine) as session:
        record_outcome(session, clinic, ids[0], anna, diagnosis="MEL", method="histology")
        session.get_one(Alert, 4).escalated_at = now()
    found = measured(clinic.engine)
    assert found.decided == 3
    agreement, load = found.agreement, found.load
    # The model says melanoma each time; the final readers once.
    assert (agreement.model.count, agreement.model.of) == (1, 3)
    assert agreement.model.value is None
    assert "one of the two used a single diagnosis" in agreement.model.remark
    assert (agreement.melanoma.count, agreement.melanoma.of) == (1, 3)
    assert (agreement.agreed.count, agreement.agreed.of) == (1, 3)
    assert (agreement.readers.count, agreement.readers.of) == (2, 3)
    assert (load.alerts, load.cases, load.open, load.escalated) == (4, 4, 1, 1)
    assert (load.days, load.per_day) == (1.0, 4.0)
    assert (load.dismissed.count, load.dismissed.of) == (2, 3)
    assert load.per_melanoma.value == pytest.approx(4)
    assert load.hours is not None
    assert load.hours < 1
    assert sum(day.alerts for day in load.by_day) == 4
    assert found.drift is not None
    assert found.drift.photographs == 4
    assert "NaN" not in TypeAdapter(Performance).dump_json(found).decode()


def test_a_window_leaves_out_what_came_before_and_after(engine: Engine, add_case: Cases) -> None:
    day = timedelta(days=1)
    for ago in (5, 3, 1):
        add_case("alert", received_at=now() - ago * day)
    assert measured(engine, since=now() - 4 * day).received == 2
    assert measured(engine, until=now() - 2 * day).received == 2
    assert measured(engine, since=now() - 4 * day, until=now() - 2 * day).received == 1
    assert measured(engine, since=now() - 4 * day).load.days == pytest.approx(4, abs=0.01)
