"""Whose photograph a case is can be put right, with a reason; whoever was told otherwise is told again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from clinic.cases import photograph, reread
from dermsentry.clinic.alerts.alerting import raise_alerts, raise_late_alerts
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.intake.admission import About, Received, receive
from dermsentry.clinic.monitoring.performance import measure_performance
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.audit_trail import verify
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import Alert, Case, Conflict, Correction, Event, Export
from dermsentry.clinic.store.text import digest_of
from dermsentry.clinic.worker.silent_mode import show_finding
from dermsentry.clinic.worklist import corrections
from dermsentry.clinic.worklist.corrections import count_conflicts, open_conflicts, outdated_exports
from dermsentry.clinic.worklist.patients import same_lesion
from dermsentry.clinic.worklist.reading import CannotRead, decide
from dermsentry.clinic.worklist.worklist import Filter, counts, list_cases
from dermsentry.errors import InputError

People = Callable[..., Person]
Cases = Callable[..., int]


def change(clinic: Clinic, name: str, *given: Any) -> None:
    with writing(clinic.engine) as session:
        getattr(corrections, name)(session, clinic, *given)


def listed(clinic: Clinic, **wanted: Any) -> list[int]:
    with reading(clinic.engine) as session:
        return [case.id for case in list_cases(session, Filter(**wanted)).cases]


def last_event(clinic: Clinic) -> tuple[str, str, dict[str, Any]]:
    with reading(clinic.engine) as session:
        event = session.scalars(select(Event).order_by(Event.id.desc())).first()
        assert event is not None
        assert verify(session, clinic.trail).problems == ()
        return event.actor, event.action, json.loads(event.detail)


def test_a_correction_keeps_what_was_before_who_made_it_and_why(
    clinic: Clinic, add_case: Cases, person: People
) -> None:
    number, anna = add_case(patient="P1", lesion="A", site="back"), person("anna")
    before = reread(clinic.engine, number).revision
    change(clinic, "correct", number, anna, {"patient": " P2 ", "lesion": "A"}, "exchanged")
    case = reread(clinic.engine, number)
    assert (case.patient, case.lesion, case.revision) == ("P2", "A", before + 1)
    assert listed(clinic, search="p2") == [number]
    assert listed(clinic, search="p1") == []
    told = {"after": {"patient": "P2"}, "before": {"patient": "P1"}, "reason": "exchanged"}
    assert last_event(clinic) == ("anna", "corrected", told)
    with reading(clinic.engine) as session:
        kept = session.scalars(select(Correction)).one()
        assert (kept.kind, kept.before, kept.after, kept.account.name) == (
            "corrected", {"patient": "P1"}, {"patient": "P2"}, "anna",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "reason", "words"),
    [
        ({"patient": "P1"}, "why", "Nothing was changed"),
        ({"patient": "P2"}, "  ", "no reason"),
        ({"patient": "x" * 121}, "why", "121"),
        ({"stage": "decided"}, "why", "stage"),
        ({"patient": "P2"}, "x" * 1001, "1001"),
    ],
)
def test_a_correction_that_makes_no_sense_changes_nothing(
    clinic: Clinic, add_case: Cases, person: People, given: dict[str, str], reason: str, words: str
) -> None:
    number = add_case(patient="P1")
    with pytest.raises(InputError, match=words):
        change(clinic, "correct", number, person(), given, reason)
    case = reread(clinic.engine, number)
    assert (case.patient, case.revision) == ("P1", 0)


def test_only_who_may_corrects(clinic: Clinic, add_case: Cases, person: People) -> None:
    number, uli = add_case(patient="P1"), person("uli", "uploader")
    for name, *given in (("correct", {"patient": "P2"}, "why"), ("withdraw", "why"), ("restore", "why")):
        with pytest.raises(InputError, match="Only dermatologists"):
            change(clinic, name, number, uli, *given)
    with pytest.raises(InputError, match="no case"):
        change(clinic, "withdraw", 999, person("anna"), "why")


def test_a_withdrawn_case_is_in_no_list_no_figure_and_raises_nothing(
    clinic: Clinic, add_case: Cases, person: People
) -> None:
    number, other, anna = add_case(patient="P1"), add_case(patient="P1"), person("anna")
    with writing(clinic.engine) as session:
        raise_alerts(session, clinic, session.get_one(Case, number))
    change(clinic, "withdraw", number, anna, "a test photograph")
    assert listed(clinic) == [other]
    assert listed(clinic, stage="all") == [other]
    assert listed(clinic, lane="withdrawn", stage="all") == [number]
    with reading(clinic.engine) as session:
        assert counts(session)["suspicion"] == 1
        assert "withdrawn" not in counts(session)
        assert measure_performance(session).received == 1
        assert [own.id for own in same_lesion(session, session.get_one(Case, other))] == [other]
        assert session.scalars(select(Alert.acknowledged_by)).all() == [anna.account_id]
    with writing(clinic.engine) as session:
        assert raise_late_alerts(session, clinic) == 0
        assert raise_alerts(session, clinic, session.get_one(Case, number)) == []
        with pytest.raises(CannotRead, match="withdrawn"):
            decide(session, clinic, number, anna, agrees=True, diagnosis="MEL", action="biopsy")
    with pytest.raises(InputError, match="already"):
        change(clinic, "withdraw", number, anna, "again")
    change(clinic, "restore", number, anna, "it was none")
    assert sorted(listed(clinic)) == [number, other]
    assert last_event(clinic)[1:] == ("restored", {"reason": "it was none"})
    with pytest.raises(InputError, match="not withdrawn"):
        change(clinic, "restore", number, anna, "again")


@pytest.mark.parametrize("tier", ["refer", "cannot-say", "unreadable", ""])
def test_a_restored_case_is_where_it_was(clinic: Clinic, add_case: Cases, person: People, tier: str) -> None:
    number, anna = add_case(tier, 0.3), person()
    before = reread(clinic.engine, number)
    change(clinic, "withdraw", number, anna, "why")
    change(clinic, "restore", number, anna, "why")
    after = reread(clinic.engine, number)
    assert (after.lane, after.rank) == (before.lane, before.rank)


def test_a_case_that_is_screened_after_it_was_withdrawn_stays_withdrawn(
    clinic: Clinic, add_case: Cases, person: People
) -> None:
    number, anna = add_case(""), person()
    change(clinic, "withdraw", number, anna, "why")
    finding = reread(clinic.engine, add_case("refer", 0.3)).finding
    with writing(clinic.engine) as session:
        case = session.get_one(Case, number)
        case.state = "screened"
        show_finding(case, finding)
    assert reread(clinic.engine, number).lane == "withdrawn"
    change(clinic, "restore", number, anna, "why")
    assert (reread(clinic.engine, number).lane, reread(clinic.engine, number).rank) == ("suspicion", 1)


def send(clinic: Clinic, **about: str) -> Received:
    return receive(clinic, photograph(), About(**about), source="api", actor="camera")


def test_a_conflict_is_settled_for_the_case_or_for_what_was_told(clinic: Clinic, person: People) -> None:
    anna = person("anna")
    first = send(clinic, patient="P1", lesion="A").case_id
    send(clinic, patient="P2", lesion="B")
    with reading(clinic.engine) as session:
        [conflict] = open_conflicts(session)
    with pytest.raises(InputError, match="perhaps"):
        change(clinic, "settle_conflict", conflict.id, anna, "perhaps", "why")
    with pytest.raises(InputError, match="no reason"):
        change(clinic, "settle_conflict", conflict.id, anna, "kept", "")
    with pytest.raises(InputError, match="Only dermatologists"):
        change(clinic, "settle_conflict", conflict.id, person("uli", "uploader"), "kept", "why")
    change(clinic, "settle_conflict", conflict.id, anna, "kept", "the folder was wrong")
    assert reread(clinic.engine, first).patient == "P1"
    with pytest.raises(InputError, match="no open conflict"):
        change(clinic, "settle_conflict", conflict.id, anna, "corrected", "why")
    send(clinic, patient="P2", lesion="B")  # told again, it is asked again
    with reading(clinic.engine) as session:
        assert count_conflicts(session) == 1
        [conflict] = open_conflicts(session)
    change(clinic, "settle_conflict", conflict.id, anna, "corrected", "exchanged")
    case = reread(clinic.engine, first)
    assert (case.patient, case.lesion) == ("P2", "B")
    told = {"conflict": conflict.id, "reason": "exchanged", "resolution": "corrected"}
    told["note_sha256"] = digest_of("")
    assert last_event(clinic) == ("anna", "conflict settled", told)


def test_a_withdrawn_photograph_that_comes_again_is_never_lost(clinic: Clinic, person: People) -> None:
    anna = person()
    first = send(clinic, patient="P1").case_id
    change(clinic, "withdraw", first, anna, "wrong patient")
    for patient in ("P1", "P2"):
        again = send(clinic, patient=patient)
        assert again.held is not None
        assert again.held.withdrawn
        assert "withdrawn" in again.held.words(first)
    with reading(clinic.engine) as session:
        conflict = session.scalars(select(Conflict).order_by(Conflict.id.desc())).first()
    assert conflict is not None
    change(clinic, "settle_conflict", conflict.id, anna, "corrected", "sent for the right one")
    case = reread(clinic.engine, first)
    assert (case.patient, case.lane) == ("P2", "waiting")


def test_a_report_that_left_is_outdated_by_whatever_changes_the_case(
    clinic: Clinic, add_case: Cases, person: People
) -> None:
    number, other, anna = add_case(patient="P1"), add_case(), person()
    with writing(clinic.engine) as session:
        for case_id in (number, other):
            session.add(Export(case_id=case_id, form="FHIR", revision=0))
    with reading(clinic.engine) as session:
        assert outdated_exports(session) == ()
    change(clinic, "correct", number, anna, {"patient": "P2"}, "why")
    with reading(clinic.engine) as session:
        [own] = outdated_exports(session)
        assert (own.case_id, own.form) == (number, "FHIR")
        assert outdated_exports(session, other) == ()
    with writing(clinic.engine) as session:
        session.add(Export(case_id=number, form="FHIR", revision=1))
    with reading(clinic.engine) as session:
        assert outdated_exports(session) == ()
    change(clinic, "withdraw", number, anna, "why")
    with writing(clinic.engine) as session:
        decide(session, clinic, other, anna, agrees=True, diagnosis="MEL", action="biopsy")
    with reading(clinic.engine) as session:
        assert [own.case_id for own in outdated_exports(session)] == [other, number]
