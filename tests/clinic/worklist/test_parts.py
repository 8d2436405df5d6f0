"""Photographs of one lesion and day are one case: one row, one decision, one report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from threading import Barrier, Thread
from typing import Any, TypeVar

import pytest
from sqlalchemy import select, text

from bundles import tiny_bundle, tiny_card
from clinic.cases import photograph, reread, screened
from dermsentry.clinic.alerts.acknowledging import acknowledge_chosen, reopen_chosen
from dermsentry.clinic.alerts.alerting import acknowledge, raise_late_alerts
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.export.case_table import case_table
from dermsentry.clinic.export.fhir import fhir_bundle
from dermsentry.clinic.intake.admission import About, receive
from dermsentry.clinic.monitoring.outcomes import import_outcomes, record_outcome
from dermsentry.clinic.monitoring.performance import measure_performance
from dermsentry.clinic.settings import Rule, Settings
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.audit_trail import verify
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.records import verify_records
from dermsentry.clinic.store.tables import Alert, Case, Draft, Event, Job, Outcome, now
from dermsentry.clinic.worker.queue import lease
from dermsentry.clinic.worker.screener import Screener, Screening, unassessed
from dermsentry.clinic.worker.silent_mode import show_silent_findings
from dermsentry.clinic.worker.worker import keep_result
from dermsentry.clinic.worklist.corrections import correct, restore, withdraw
from dermsentry.clinic.worklist.locks import lock, take_over
from dermsentry.clinic.worklist.parts import CannotJoin, parts_of, set_alone
from dermsentry.clinic.worklist.patients import set_technique
from dermsentry.clinic.worklist.reading import CannotRead, decide, undo
from dermsentry.clinic.worklist.remarks import assign, comment
from dermsentry.clinic.worklist.spellings import say
from dermsentry.clinic.worklist.worklist import Filter, counts, list_cases
from dermsentry.errors import InputError

People = Callable[..., Person]
R = TypeVar("R")
CARD = replace(tiny_card(), digest="a" * 64)
_NUMBERS = count(1)


def arrive(
    clinic: Clinic, tier: str = "routine", melanoma: float = 0.05, *, taken: str = "", **about: Any
) -> int:
    """A photograph is received and screened, of patient P1's lesion L1 unless it is said otherwise."""
    number = next(_NUMBERS)
    told = About(**{"patient": "P1", "lesion": "L1", **about})
    case_id = receive(clinic, photograph(number), told, source="api", actor="uli").case_id
    work(clinic, tier, melanoma, taken=taken)
    return case_id


def work(clinic: Clinic, tier: str = "routine", melanoma: float = 0.05, *, taken: str = "") -> None:
    """The worker's turn: the model finds this in what waits, unless that is no dermoscopic photograph."""
    with writing(clinic.engine) as session:
        leased = lease(session)
    assert leased is not None
    found = screened(tier, melanoma).finding
    if leased.technique in ("overview", "close-up"):
        found = unassessed()
    assert found is not None
    with writing(clinic.engine) as session:
        assert keep_result(session, clinic, leased, Screening(found, 160, 120, {}, taken), CARD)


def change(function: Callable[..., R], clinic: Clinic, *given: Any, **more: Any) -> R:
    with writing(clinic.engine) as session:
        return function(session, clinic, *given, **more)


def parts(clinic: Clinic, case_id: int) -> list[int]:
    with reading(clinic.engine) as session:
        return [own.id for own in parts_of(session, case_id)]


def listed(clinic: Clinic, **wanted: Any) -> list[int]:
    with reading(clinic.engine) as session:
        return [case.id for case in list_cases(session, Filter(**wanted)).cases]


def alerts(clinic: Clinic) -> list[int]:
    with reading(clinic.engine) as session:
        return list(session.scalars(select(Alert.case_id).order_by(Alert.id)))


@pytest.fixture(autouse=True)
def tells_the_truth(clinic: Clinic) -> Any:
    """After each test: the trail is whole, and the tables are what it tells."""
    yield
    with reading(clinic.engine) as session:
        assert verify(session, clinic.trail).problems == ()
        told = [line for line in verify_records(session, None) if "conflict" not in line]
        assert [line for line in told if "account" not in line] == []


def test_photographs_of_a_lesion_and_day_are_one_row_and_one_decision(clinic: Clinic, person: People) -> None:
    anna = person("anna")
    first, second = arrive(clinic), arrive(clinic, technique="polarised")
    assert parts(clinic, first) == [second]
    assert listed(clinic) == [first]
    with reading(clinic.engine) as session:
        row = list_cases(session, Filter()).cases[0]
        assert (row.parts, row.part_of) == ([second], None)
        assert counts(session)["suspicion"] == 1
    change(decide, clinic, first, anna, agrees=True, diagnosis="NV", action="discharge")
    assert listed(clinic) == []
    assert listed(clinic, stage="decided") == [first]
    with pytest.raises(CannotRead, match=f"part of case {first}"):
        change(decide, clinic, second, anna, agrees=True, diagnosis="NV", action="discharge")
    with reading(clinic.engine) as session:
        assert measure_performance(session).received == 1


def test_the_photograph_that_worries_most_leads_and_raises_the_alert(clinic: Clinic) -> None:
    calm = arrive(clinic)
    worrying = arrive(clinic, "alert", 0.8)
    assert parts(clinic, worrying) == [calm]
    assert listed(clinic) == [worrying]
    assert alerts(clinic) == [worrying]
    calmer = arrive(clinic, "refer", 0.2)
    assert parts(clinic, worrying) == [calm, calmer]
    worst = arrive(clinic, "alert", 0.99)
    assert parts(clinic, worst) == [calm, worrying, calmer]
    assert alerts(clinic) == [worst]  # the alert that is out is that of the case
    with reading(clinic.engine) as session:
        assert session.scalars(select(Event.action).where(Event.action == "alert raised")).all() == [
            "alert raised"
        ]


@pytest.mark.parametrize("technique", ["overview", "close-up"])
def test_what_is_not_dermoscopic_is_not_assessed_and_leads_nothing(clinic: Clinic, technique: str) -> None:
    overview = arrive(clinic, "alert", 0.99, technique=technique)
    case = reread(clinic.engine, overview)
    assert (case.tier, case.lane, case.melanoma) == ("cannot-say", "cannot-say", None)
    dermoscopic = arrive(clinic)
    assert parts(clinic, dermoscopic) == [overview]
    assert listed(clinic, lane="cannot-say") == []
    later = replace(clinic, settings=Settings(rules=(Rule(name="unread", after_hours=0.01),)))
    with writing(clinic.engine) as session:
        session.get_one(Case, overview).received_at = now() - timedelta(days=9)
        assert raise_late_alerts(session, later) == 0  # the case's photograph is assessed
        session.get_one(Case, overview).received_at = case.received_at


def test_an_overview_alone_waits_for_a_person_and_raises_its_alert(clinic: Clinic) -> None:
    overview = arrive(clinic, technique="overview")
    assert listed(clinic, lane="cannot-say") == [overview]
    with writing(clinic.engine) as session:
        received = session.get_one(Case, overview).received_at
        session.get_one(Case, overview).received_at = received - timedelta(days=30)
        assert raise_late_alerts(session, clinic) == 1
        session.get_one(Case, overview).received_at = received


def test_one_that_cannot_be_assessed_is_not_hidden_behind_one_that_is_routine(clinic: Clinic) -> None:
    routine = arrive(clinic)
    refused = arrive(clinic, "cannot-say", 0.1)
    assert parts(clinic, refused) == [routine]
    assert listed(clinic, lane="cannot-say") == [refused]


@pytest.mark.parametrize(
    "other",
    [
        {"lesion": "L2"}, {"patient": "P2"}, {"lesion": ""}, {"patient": ""},
        {"taken": "2020-01-02T10:00:00"},
    ],
)  # fmt: skip
def test_another_lesion_patient_or_day_is_another_case(clinic: Clinic, other: dict[str, Any]) -> None:
    first, second = arrive(clinic), arrive(clinic, **other)
    assert (parts(clinic, first), parts(clinic, second)) == ([], [])


def test_spellings_that_a_person_joined_are_one_lesion(clinic: Clinic, person: People) -> None:
    anna = person("anna")
    first = arrive(clinic, lesion="L1")
    other = arrive(clinic, lesion="l1")
    assert parts(clinic, first) == []  # nobody has said that they are one
    with writing(clinic.engine) as session:
        say(session, clinic, anna, "lesion", "P1", ("L1", "l1"), True)
    change(set_alone, clinic, other, anna, alone=False)
    assert parts(clinic, first) == [other]


@pytest.mark.parametrize("begun", ["lock", "draft", "comment", "assigned", "read"])
def test_nobody_finds_their_work_moved_to_another_case(clinic: Clinic, person: People, begun: str) -> None:
    anna = person("anna")
    first = arrive(clinic)
    with writing(clinic.engine) as session:
        if begun == "lock":
            lock(session, first, anna)
        elif begun == "draft":
            session.add(
                Draft(case_id=first, account_id=anna.account_id, form="decision", fields={"note": "x"})
            )
        elif begun == "comment":
            comment(session, clinic, first, anna, "compare with last year")
        elif begun == "assigned":
            assign(session, clinic, first, anna, anna.account_id)
        else:
            decide(session, clinic, first, anna, agrees=True, diagnosis="NV", action="discharge")
    worse = arrive(clinic, "alert", 0.9)
    assert (parts(clinic, first), parts(clinic, worse)) == ([], [])
    assert alerts(clinic) == [worse]
    calm = arrive(clinic)
    assert parts(clinic, worse) == [calm]


def test_a_new_photograph_keeps_a_case_from_being_discharged_unseen(clinic: Clinic) -> None:
    first = arrive(clinic)
    before = reread(clinic.engine, first).revision
    arrive(clinic)
    assert reread(clinic.engine, first).revision > before


def test_a_person_takes_a_photograph_out_and_puts_it_back(clinic: Clinic, person: People) -> None:
    anna = person("anna")
    worrying = arrive(clinic, "alert", 0.8)
    other = arrive(clinic, "alert", 0.7)
    assert alerts(clinic) == [worrying]
    change(set_alone, clinic, other, anna, alone=True)
    assert listed(clinic) == [worrying, other]
    assert alerts(clinic) == [worrying, other]
    third = arrive(clinic)
    assert parts(clinic, worrying) == [third]  # and not the one that a person took out
    with pytest.raises(CannotJoin, match="own already"):
        change(set_alone, clinic, other, anna, alone=True)
    readers = {number: person(f"reader{number}") for number in (worrying, other)}
    with writing(clinic.engine) as session:
        for number, reader in readers.items():
            lock(session, number, reader)
    with pytest.raises(CannotJoin, match="begun with it"):
        change(set_alone, clinic, other, anna, alone=False)
    change(take_over, clinic, other, anna)
    change(set_alone, clinic, other, anna, alone=False)
    assert parts(clinic, worrying) == [other, third]
    with reading(clinic.engine) as session:  # she has seen it, and the case has one of its own
        seen = session.scalars(select(Alert.case_id).where(Alert.acknowledged_at.is_not(None))).all()
    assert seen == [other]
    with pytest.raises(InputError, match="Only dermatologists"):
        change(set_alone, clinic, other, person("uli", "uploader"), alone=True)


def test_withdrawing_a_case_leaves_its_other_photographs_a_case(clinic: Clinic, person: People) -> None:
    anna = person("anna")
    lead, refer, calm = arrive(clinic, "alert", 0.8), arrive(clinic, "refer", 0.2), arrive(clinic)
    change(decide, clinic, lead, anna, agrees=True, diagnosis="MEL", action="biopsy")
    change(withdraw, clinic, lead, anna, "not this patient's")
    assert listed(clinic) == [refer]
    assert parts(clinic, refer) == [calm]
    change(withdraw, clinic, calm, anna, "blurred")
    assert parts(clinic, refer) == []
    change(restore, clinic, calm, anna, "not so blurred")
    assert parts(clinic, refer) == [calm]


def test_a_correction_of_a_case_is_one_of_all_its_photographs(clinic: Clinic, person: People) -> None:
    anna = person("anna")
    lead, part = arrive(clinic, "alert", 0.8, site="arm"), arrive(clinic, site="left arm")
    there = arrive(clinic, patient="P2")
    change(correct, clinic, lead, anna, {"patient": "P2", "site": "leg"}, "exchanged")
    assert (reread(clinic.engine, part).patient, reread(clinic.engine, part).site) == ("P2", "left arm")
    assert parts(clinic, lead) == [part, there]
    change(correct, clinic, there, anna, {"lesion": "L9"}, "another lesion")
    assert parts(clinic, lead) == [part]
    assert listed(clinic) == [lead, there]


def test_a_photograph_said_to_be_an_overview_is_screened_again(clinic: Clinic, person: People) -> None:
    anna = person("anna")
    first = arrive(clinic, "refer", 0.3)
    second = arrive(clinic)
    assert parts(clinic, first) == [second]
    change(set_technique, clinic, first, anna, "overview")
    work(clinic)
    assert reread(clinic.engine, first).tier == "cannot-say"
    assert parts(clinic, second) == [first]
    change(set_technique, clinic, first, anna, "dermoscopic")
    work(clinic, "alert", 0.9)
    assert parts(clinic, first) == [second]
    assert alerts(clinic) == [first]
    change(set_technique, clinic, first, anna, "polarised")  # assessed before and after
    with reading(clinic.engine) as session:
        assert session.scalars(select(Job)).all() == []


def test_what_is_said_while_a_photograph_is_screened_counts(clinic: Clinic, person: People) -> None:
    anna = person("anna")
    case_id = receive(clinic, photograph(next(_NUMBERS)), About(), source="api", actor="uli").case_id
    with writing(clinic.engine) as session:
        leased = lease(session)
    change(set_technique, clinic, case_id, anna, "overview")
    found = screened("alert", 0.9).finding
    assert leased is not None
    assert found is not None
    with writing(clinic.engine) as session:
        keep_result(session, clinic, leased, Screening(found, 160, 120, {}), CARD)
    assert reread(clinic.engine, case_id).state == "waiting"
    work(clinic)
    assert reread(clinic.engine, case_id).tier == "cannot-say"
    assert alerts(clinic) == []


def test_a_finding_does_not_change_under_a_decision(clinic: Clinic, person: People) -> None:
    anna = person("anna")
    first = arrive(clinic, "refer", 0.3)
    change(set_technique, clinic, first, anna, "overview")
    read = change(decide, clinic, first, anna, agrees=True, diagnosis="NV", action="follow-up").id
    work(clinic)
    assert reread(clinic.engine, first).tier == "refer"
    change(undo, clinic, read, anna)


def test_after_silent_mode_the_most_worrying_leads(clinic: Clinic) -> None:
    silent = replace(clinic, settings=Settings(silent=True))
    first, second = arrive(silent), arrive(silent, "alert", 0.9)
    assert parts(clinic, first) == [second]
    change(show_silent_findings, clinic)
    assert parts(clinic, second) == [first]
    assert alerts(clinic) == [second]


def test_histology_and_reports_are_of_the_case(clinic: Clinic, person: People) -> None:
    anna = person("anna")
    lead, part = (
        arrive(clinic, "alert", 0.8, accession="A1"),
        arrive(clinic, technique="overview", accession="A1"),
    )
    with pytest.raises(InputError, match=f"photograph of case {lead}"):
        change(record_outcome, clinic, part, anna, diagnosis="MEL", method="histology")
    done = change(import_outcomes, clinic, anna, "patient,accession,diagnosis,method\nP1,A1,MEL,histology\n")
    assert done.recorded == 1
    with writing(clinic.engine) as session:
        told = fhir_bundle(session, clinic, session.get_one(Case, lead))
        with pytest.raises(InputError, match=f"photograph of case {lead}"):
            fhir_bundle(session, clinic, session.get_one(Case, part))
        lines = list(case_table(session, columns=("case", "part_of", "stage", "outcome")))
    said = next(
        own["resource"]
        for own in told["entry"]
        if own["resource"].get("code", {}).get("text") == "Photographs of the case"
    )
    assert said["valueInteger"] == 2
    assert said["component"][0]["code"]["text"] == "Another, overview"
    assert [line.strip() for line in lines[1:]] == [f"{lead},,unread,MEL", f"{part},{lead},part,"]


def test_an_overview_is_drawn_and_not_assessed(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "tiny")
    (tmp_path / "overview.jpg").write_bytes(photograph(3))
    with Screener(tmp_path / "tiny") as screener:
        done = screener.screen(tmp_path / "overview.jpg", "JPEG", dermoscopic=False)
        assert done.finding == unassessed()
        assert set(done.pictures) == {"view", "thumbnail"}
        assert (done.width, done.embedding) == (160, b"")
        assert screener.screen(tmp_path / "overview.jpg", "JPEG").finding["melanoma"] is not None


def opened(clinic: Clinic) -> list[int]:
    with reading(clinic.engine) as session:
        query = select(Alert.case_id).where(Alert.acknowledged_at.is_(None)).order_by(Alert.id)
        return list(session.scalars(query))


def test_a_part_that_calls_for_an_alert_raises_that_of_its_case(clinic: Clinic, person: People) -> None:
    lead = arrive(clinic, "refer", 0.3)
    assert alerts(clinic) == []
    part = arrive(clinic, "cannot-say", 0.99)  # not assessed, and its probability is an alert's
    assert parts(clinic, lead) == [part]
    assert opened(clinic) == [lead]
    change(set_alone, clinic, part, person("anna"), alone=True)
    assert opened(clinic) == [lead, part]


def test_a_part_that_waits_too_long_raises_the_alert_of_its_case(clinic: Clinic) -> None:
    later = replace(clinic, settings=Settings(rules=(Rule(name="x", melanoma=0.2, after_hours=1),)))
    lead, part = arrive(later, "refer", 0.1), arrive(later, "cannot-say", 0.25)
    assert parts(clinic, lead) == [part]
    with writing(clinic.engine) as session:
        received = session.get_one(Case, part).received_at
        session.get_one(Case, part).received_at = received - timedelta(hours=2)
        assert raise_late_alerts(session, later) == 1
        assert raise_late_alerts(session, later) == 0
        session.get_one(Case, part).received_at = received
    assert opened(clinic) == [lead]


def test_what_silent_mode_found_is_shown_whatever_it_is_part_of(clinic: Clinic, person: People) -> None:
    silent = replace(clinic, settings=Settings(silent=True))
    hidden, broken = arrive(silent, "alert", 0.9), arrive(silent, "unreadable")
    assert parts(clinic, hidden) == [broken]  # a finding that nobody is shown may be anything
    shown = arrive(clinic, "alert", 0.95)
    assert parts(clinic, shown) == [hidden, broken]
    with reading(clinic.engine) as session:
        told = str(fhir_bundle(session, clinic, session.get_one(Case, shown)))
        assert "finding is not shown" in told
    change(show_silent_findings, clinic)
    assert reread(clinic.engine, hidden).tier == "alert"
    change(withdraw, clinic, shown, person("anna"), "another patient's")
    assert opened(clinic) == [hidden]


def test_an_alert_that_joining_closed_is_open_again_when_its_photograph_leaves(
    clinic: Clinic, person: People
) -> None:
    anna = person("anna", "administrator")
    first, second = arrive(clinic, "alert", 0.9), arrive(clinic, "alert", 0.8, patient="P2")
    change(correct, clinic, second, anna, {"patient": "P1"}, "exchanged")
    assert (parts(clinic, first), opened(clinic)) == ([second], [first])
    third = arrive(clinic, "alert", 0.95)
    assert (parts(clinic, third), opened(clinic)) == ([first, second], [third])
    change(withdraw, clinic, third, anna, "blurred")
    assert (parts(clinic, first), opened(clinic)) == ([second], [first])
    change(withdraw, clinic, first, anna, "blurred")
    assert opened(clinic) == [second]


def test_an_open_alert_is_open_on_the_case_that_its_photograph_joins(clinic: Clinic, person: People) -> None:
    anna = person("anna")
    first, second = arrive(clinic, "alert", 0.9), arrive(clinic, "alert", 0.8, patient="P2")
    change(acknowledge, clinic, first, anna)
    change(correct, clinic, second, anna, {"patient": "P1"}, "exchanged")
    assert (parts(clinic, first), opened(clinic)) == ([second], [first])


def test_an_alert_is_not_opened_again_on_a_part(clinic: Clinic, person: People) -> None:
    anna = person("anna")
    first = arrive(clinic, "alert", 0.8)
    with reading(clinic.engine) as session:
        number = session.scalars(select(Alert.id)).one()
    done = change(acknowledge_chosen, clinic, anna, [number])
    second = arrive(clinic, "alert", 0.9)
    assert parts(clinic, second) == [first]
    left = change(reopen_chosen, clinic, done.key, anna).left
    assert [words for _, words in left] == [f"It has become part of case {second} since."]
    assert opened(clinic) == [second]


def test_a_photograph_is_not_taken_from_a_case_that_was_decided(clinic: Clinic, person: People) -> None:
    anna = person("anna")
    lead, part, other = (arrive(clinic, "refer", share) for share in (0.3, 0.2, 0.1))
    change(set_technique, clinic, other, anna, "overview")
    change(decide, clinic, lead, anna, agrees=True, diagnosis="NV", action="discharge")
    change(set_technique, clinic, part, anna, "overview")
    work(clinic)
    with reading(clinic.engine) as session:
        assert session.scalars(select(Job)).all() == []
    assert parts(clinic, lead) == [part, other]
    assert [reread(clinic.engine, number).tier for number in (part, other)] == ["refer", "refer"]


def test_a_decision_is_not_made_of_a_photograph_that_nobody_was_shown(clinic: Clinic, person: People) -> None:
    anna = person("anna")
    given: dict[str, Any] = {"agrees": True, "diagnosis": "NV", "action": "discharge"}
    lead = arrive(clinic)
    with writing(clinic.engine) as session:
        lock(session, lead, anna)
    part = arrive(clinic)
    assert parts(clinic, lead) == [part]
    with pytest.raises(CannotRead, match=rf"not been shown .* \({part}\)"):
        change(decide, clinic, lead, anna, **given, parts=())
    change(decide, clinic, lead, anna, **given, parts=(part,))


def test_an_outcome_is_that_of_the_case_whichever_photograph_its_accession_names(
    clinic: Clinic, person: People
) -> None:
    lead, part = arrive(clinic, "alert", 0.8, accession="A1"), arrive(clinic, accession="A2")
    assert parts(clinic, lead) == [part]
    lines = "patient,accession,diagnosis,method\nP1,A2,MEL,histology\n"
    assert change(import_outcomes, clinic, person("anna"), lines).recorded == 1
    with reading(clinic.engine) as session:
        assert session.scalars(select(Outcome.case_id)).all() == [lead]


def test_workers_that_screen_photographs_of_a_lesion_at_once_make_one_case_of_them(clinic: Clinic) -> None:
    told = About(patient="P1", lesion="L1")
    cases = [
        receive(clinic, photograph(next(_NUMBERS)), told, source="api", actor="uli").case_id for _ in range(6)
    ]
    start, failed = Barrier(6), []

    def screen(melanoma: float) -> None:
        start.wait()
        try:
            work(clinic, "alert", melanoma)
        except Exception as error:  # noqa: BLE001
            failed.append(error)

    threads = [Thread(target=screen, args=(0.7 + number / 100,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    [lead] = listed(clinic)
    assert parts(clinic, lead) == [number for number in cases if number != lead]
    assert reread(clinic.engine, lead).melanoma == 0.75
    assert opened(clinic) == alerts(clinic) == [lead]


@pytest.mark.parametrize("bent", ["part_of = 3", "alone = true", "part_of = NULL", "lane = 'suspicion'"])
def test_a_part_that_was_changed_behind_the_trails_back_is_found(clinic: Clinic, bent: str) -> None:
    part, *_ = [arrive(clinic), arrive(clinic, "alert", 0.8), arrive(clinic, lesion="L2")]
    kept = "part_of = 2, alone = false, lane = 'part'"
    for now_is, found in ((bent, 1), (kept, 0)):
        with writing(clinic.engine) as session:
            session.execute(text(f"UPDATE cases SET {now_is} WHERE id = {part}"))
        with reading(clinic.engine) as session:
            told = [line for line in verify_records(session, None) if line.startswith(f"case {part}")]
            assert len(told) == found
