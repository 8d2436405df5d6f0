"""Whose photograph a case is can be put right, with a reason; whoever was told otherwise is told again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from clinic.cases import photograph, reread
from dermsentry.clinic.alerts.alerting import (
    acknowledge,
    raise_alerts,
    raise_late_alerts,
    urgent_alerts,
)
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.intake.admission import About, Received, receive
from dermsentry.clinic.monitoring.performance import measure_performance
from dermsentry.clinic.settings import Mail, Rule, Settings
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.audit_trail import verify
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.records import verify_records
from dermsentry.clinic.store.tables import Alert, Case, Conflict, Correction, Delivery, Event, Export
from dermsentry.clinic.worker.silent_mode import show_finding
from dermsentry.clinic.worklist import corrections
from dermsentry.clinic.worklist.corrections import (
    count_conflicts,
    count_outdated,
    open_conflicts,
    outdated_exports,
)
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
    assert last_event(clinic)[1:] == ("alert opened again", {"rule": SUSPECTED})
    assert ("anna", "restored") in actions(clinic, number)
    with pytest.raises(InputError, match="not withdrawn"):
        change(clinic, "restore", number, anna, "again")


def alerts(clinic: Clinic, case_id: int) -> list[tuple[str, bool]]:
    """A case's alerts: the rule of each, and whether it is open."""
    with reading(clinic.engine) as session:
        assert verify(session, clinic.trail).problems == ()
        assert [own for own in verify_records(session, clinic.pictures) if " alert" in own] == []
        found = session.scalars(select(Alert).where(Alert.case_id == case_id).order_by(Alert.id))
        return [(own.rule, own.acknowledged_at is None) for own in found]


def messages(clinic: Clinic) -> list[tuple[str, str, str]]:
    with reading(clinic.engine) as session:
        found = session.scalars(select(Delivery).order_by(Delivery.id))
        return [(own.address, own.change, own.state) for own in found]


def actions(clinic: Clinic, case_id: int) -> list[tuple[str, str]]:
    with reading(clinic.engine) as session:
        found = session.scalars(select(Event).where(Event.subject == f"case {case_id}").order_by(Event.id))
        return [(own.actor, own.action) for own in found]


def back(clinic: Clinic, case_id: int, who: Person, how: str) -> None:
    """Restore a case, as such or by settling a conflict for what was told."""
    if how == "restore":
        change(clinic, "restore", case_id, who, "it was none")
        return
    with writing(clinic.engine) as session:
        told = {"patient": "P9", "lesion": "", "site": "", "accession": "", "note": ""}
        conflict = Conflict(case_id=case_id, sha256="a" * 64, source="api", sender="camera", told=told)
        session.add(conflict)
        session.flush()
    change(clinic, "settle_conflict", conflict.id, who, "corrected", "sent for the right one")


TWO_TOLD = Settings(mail=Mail(to=("a@clinic.example", "b@clinic.example")))
SUSPECTED = "melanoma suspected"
BACK = pytest.mark.parametrize("how", ["restore", "settle"])


@BACK
def test_an_alert_that_a_withdrawal_closed_is_open_and_sent_after_restoring(
    clinic: Clinic, add_case: Cases, person: People, how: str
) -> None:
    clinic = replace(clinic, settings=TWO_TOLD)
    number, anna, ben = add_case("alert", 0.9), person("anna"), person("ben")
    with writing(clinic.engine) as session:
        raise_alerts(session, clinic, session.get_one(Case, number))
        first, second = session.scalars(select(Delivery).order_by(Delivery.id))
        first.state, second.state = "sent", "dead"  # the second was never reached
    change(clinic, "withdraw", number, anna, "why")
    assert alerts(clinic, number) == [(SUSPECTED, False)]
    back(clinic, number, ben, how)
    assert alerts(clinic, number) == [(SUSPECTED, True)]
    again = messages(clinic)[3:]
    assert ("a@clinic.example", "restored", "pending") in again
    assert ("b@clinic.example", "", "pending") in again
    assert ("ben", "alert opened again") in actions(clinic, number)
    with reading(clinic.engine) as session:
        assert [own.case_id for own in urgent_alerts(session)[0]] == [number]
    change(clinic, "withdraw", number, ben, "again")
    back(clinic, number, anna, "restore")
    assert alerts(clinic, number) == [(SUSPECTED, True)]


@BACK
def test_a_case_that_was_screened_while_it_was_withdrawn_raises_its_alert_when_restored(
    clinic: Clinic, add_case: Cases, person: People, how: str
) -> None:
    clinic = replace(clinic, settings=TWO_TOLD)
    number, anna = add_case(""), person("anna")
    change(clinic, "withdraw", number, anna, "why")
    finding = reread(clinic.engine, add_case("alert", 0.9)).finding
    with writing(clinic.engine) as session:
        case = session.get_one(Case, number)
        case.state = "screened"
        show_finding(case, finding)
        assert raise_alerts(session, clinic, case) == []
    back(clinic, number, anna, how)
    assert alerts(clinic, number) == [(SUSPECTED, True)]
    assert messages(clinic) == [(to, "", "pending") for to in TWO_TOLD.mail.to]
    assert ("system", "alert raised") in actions(clinic, number)


def test_a_case_that_is_restored_while_it_waits_raises_nothing_yet(
    clinic: Clinic, add_case: Cases, person: People
) -> None:
    clinic = replace(clinic, settings=Settings(rules=(Rule(name="every"),)))
    number, anna = add_case(""), person("anna")
    change(clinic, "withdraw", number, anna, "why")
    change(clinic, "restore", number, anna, "why")
    assert alerts(clinic, number) == []


@BACK
def test_what_a_person_acknowledged_before_the_withdrawal_stays_acknowledged(
    clinic: Clinic, add_case: Cases, person: People, how: str
) -> None:
    rules = (Rule(name="suspected", tiers=("alert",)), Rule(name="likely", melanoma=0.5))
    clinic = replace(clinic, settings=Settings(rules=rules[:1]))
    number, anna = add_case("alert", 0.9), person("anna")
    with writing(clinic.engine) as session:
        raise_alerts(session, clinic, session.get_one(Case, number))
        acknowledge(session, clinic, number, anna)
    clinic = replace(clinic, settings=Settings(rules=rules))
    with writing(clinic.engine) as session:
        raise_alerts(session, clinic, session.get_one(Case, number))
    assert alerts(clinic, number) == [("suspected", False), ("likely", True)]
    change(clinic, "withdraw", number, anna, "why")
    back(clinic, number, anna, how)
    assert alerts(clinic, number) == [("suspected", False), ("likely", True)]


@BACK
def test_a_decided_case_raises_no_alert_when_restored(
    clinic: Clinic, add_case: Cases, person: People, how: str
) -> None:
    number, anna = add_case("alert", 0.9), person("anna")
    with writing(clinic.engine) as session:
        raise_alerts(session, clinic, session.get_one(Case, number))
        decide(session, clinic, number, anna, agrees=True, diagnosis="MEL", action="biopsy")
    change(clinic, "withdraw", number, anna, "why")
    back(clinic, number, anna, how)
    assert alerts(clinic, number) == [(SUSPECTED, False)]


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
    assert last_event(clinic) == ("anna", "conflict settled", told)


def test_a_conflict_keeps_how_the_photograph_was_taken(clinic: Clinic, person: People) -> None:
    anna = person("anna")
    first = send(clinic, patient="P1", technique="overview").case_id
    for technique in ("", "dermoscopic", "dermoscopic"):
        send(clinic, patient="P2", technique=technique)
    with reading(clinic.engine) as session:
        without, told = open_conflicts(session)
    assert (without.told["technique"], told.told["technique"]) == ("", "dermoscopic")
    change(clinic, "settle_conflict", without.id, anna, "corrected", "exchanged")
    assert reread(clinic.engine, first).technique == "overview"
    change(clinic, "settle_conflict", told.id, anna, "corrected", "exchanged")
    assert reread(clinic.engine, first).technique == "dermoscopic"
    assert ("anna", "technique set") in actions(clinic, first)
    with reading(clinic.engine) as session:
        problems = verify_records(session, clinic.pictures)
        assert [own for own in problems if not own.startswith("account ")] == []  # made by hand


def test_a_conflict_of_before_its_technique_was_kept_is_not_held_twice(
    clinic: Clinic, person: People
) -> None:
    send(clinic, patient="P1")
    send(clinic, patient="P2")
    with writing(clinic.engine) as session:
        conflict = session.scalars(select(Conflict)).one()
        conflict.told = {name: value for name, value in conflict.told.items() if name != "technique"}
    send(clinic, patient="P2")
    with reading(clinic.engine) as session:
        assert count_conflicts(session) == 1
    change(clinic, "settle_conflict", conflict.id, person("anna"), "corrected", "why")


def test_what_is_beyond_the_shown_is_counted(
    clinic: Clinic, add_case: Cases, person: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corrections, "MOST_SHOWN", 2)
    number = add_case(patient="P0")
    with writing(clinic.engine) as session:
        for case_id in (number, add_case(), add_case(), add_case()):
            session.add(Export(case_id=case_id, form="FHIR", revision=-1))
            session.add(Export(case_id=case_id, form="print", revision=0))
    with reading(clinic.engine) as session:
        assert (len(outdated_exports(session)), count_outdated(session)) == (2, 4)


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
