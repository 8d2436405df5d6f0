"""Whatever is changed in the tables or among the photographs behind the trail's back is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from bundles import tiny_card
from clinic.cases import photograph
from clinic.filled_store import finding
from clinic.trail_events import Made
from dermsentry.clinic.alerts.alerting import acknowledge
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.intake.admission import About, receive
from dermsentry.clinic.monitoring.outcomes import record_outcome
from dermsentry.clinic.store.accounts import MAY, Person, add_account
from dermsentry.clinic.store.audit_trail import append, verify
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.events import AccountAddedEvent, RoleChangedEvent
from dermsentry.clinic.store.records import verify_records
from dermsentry.clinic.store.tables import Case, now
from dermsentry.clinic.worker.queue import lease
from dermsentry.clinic.worker.screener import Screening
from dermsentry.clinic.worker.silent_mode import show_silent_findings
from dermsentry.clinic.worker.worker import keep_result
from dermsentry.clinic.worklist.corrections import correct, restore, settle_conflict, withdraw
from dermsentry.clinic.worklist.reading import amend, decide, undo
from dermsentry.clinic.worklist.remarks import comment
from dermsentry.clinic.worklist.terms import Details


@pytest.fixture
def lived(clinic: Clinic) -> Clinic:
    """A clinic in which all that can happen to a case has happened, each by the way that people take."""
    with writing(clinic.engine) as session:
        account = add_account(session, "anna", "Anna", "dermatologist", "several words to keep")
        append(session, clinic.trail, "system", AccountAddedEvent("anna", "dermatologist"))
        append(session, clinic.trail, "system", RoleChangedEvent("anna", "dermatologist", "administrator"))
        account.role = "administrator"
        may, since = MAY["administrator"], now() - timedelta(hours=1)
        anna = Person(account.id, "anna", "Anna", "administrator", may, "", since)
    for number in range(3):
        about = About(patient=f"P{number}", site="arm", accession="A", note="itches")
        receive(clinic, photograph(number), about, source="page", actor="anna")
        with writing(clinic.engine) as session:
            leased = lease(session)
            assert leased is not None
            found = finding("alert", 0.61) if number else finding("unreadable")
            assert keep_result(session, clinic, leased, Screening(found, 120, 90, {}), tiny_card())
    for again in (About(note="bleeds"), About(patient="P7", note="of another")):
        receive(clinic, photograph(0), again, source="page", actor="anna")
    told = {"agrees": True, "diagnosis": "MEL", "action": "biopsy"}
    with writing(clinic.engine) as session:
        correct(session, clinic, 2, anna, {"patient": "P9"}, "exchanged")
        undo(session, clinic, decide(session, clinic, 2, anna, **told).id, anna)  # type: ignore[arg-type]
        decide(session, clinic, 2, anna, **told, note="ulcerated")  # type: ignore[arg-type]
        changed = told | {"diagnosis": "NV", "reason": "seen again"}
        amend(session, clinic, 2, anna, **changed)  # type: ignore[arg-type]
        record_outcome(session, clinic, 2, anna, diagnosis="NV", method="histology", note="pT0")
        acknowledge(session, clinic, 3, anna)
        withdraw(session, clinic, 3, anna, "why")
        restore(session, clinic, 3, anna, "why")
        settle_conflict(session, clinic, 1, anna, "corrected", "exchanged")
        comment(session, clinic, 2, anna, "ask again")
        seen = {"agrees": None, "diagnosis": "", "action": "follow-up"}
        planned = Details(follow_up_on=now().date() + timedelta(days=90))
        decide(session, clinic, 1, anna, **seen, details=planned)  # type: ignore[arg-type]
        add_account(session, "bert", "Bert", "dermatologist", "several words to keep")
        append(session, clinic.trail, "system", AccountAddedEvent("bert", "dermatologist"))
    receive(clinic, photograph(3), About(patient="P3"), source="page", actor="anna")
    silent = replace(clinic, settings=clinic.settings.model_copy(update={"silent": True}))
    for number in (4, 5):  # screened silently; the finding of the first is shown later
        with writing(clinic.engine) as session:
            leased = lease(session)
            assert leased is not None
            assert keep_result(session, silent, leased, Screening(finding(), 120, 90, {}), tiny_card())
        if number == 4:
            with writing(clinic.engine) as session:
                assert show_silent_findings(session, clinic) == 1
            receive(clinic, photograph(4), About(patient="P4"), source="page", actor="anna")
    receive(clinic, photograph(5), About(patient="P5"), source="page", actor="anna")
    return clinic


def found(clinic: Clinic) -> list[str]:
    with reading(clinic.engine) as session:
        assert verify(session, clinic.trail).problems == ()  # the events themselves are whole
        return list(verify_records(session, clinic.pictures))


def test_a_clinic_in_which_all_happened_is_as_its_events_tell(lived: Clinic) -> None:
    assert found(lived) == []


CHANGES = {
    "UPDATE cases SET patient = 'P8' WHERE id = 2": (
        "case 2 is not as the events tell: patient, search, patient_key"
    ),
    "UPDATE cases SET site = 'leg' WHERE id = 1": "case 1 is not as the events tell: site, search",
    "UPDATE cases SET lane = 'withdrawn' WHERE id = 1": "case 1 is not as the events tell: lane",
    # What decides whether, and where, anyone sees a case.
    "UPDATE cases SET stage = 'decided' WHERE id = 3": "case 3 is not as the events tell: stage",
    "UPDATE cases SET stage = 'unread' WHERE id = 2": "case 2 is not as the events tell: stage",
    "UPDATE cases SET state = 'waiting' WHERE id = 3": "case 3 is not as the events tell: state",
    "UPDATE cases SET tier = 'routine', rank = 2 WHERE id = 3": (
        "case 3 is not as the events tell: tier, rank"
    ),
    "UPDATE cases SET tier = 'silent' WHERE id = 4": "case 4 is not as the events tell: tier",
    "UPDATE cases SET silent = finding, finding = NULL WHERE id = 3": (
        "case 3 is not as the events tell: silent, malignancy_order"
    ),
    "UPDATE cases SET finding = silent WHERE id = 5": (
        "case 5 is not as the events tell: silent, malignancy_order"
    ),
    "UPDATE cases SET finding = '[]' WHERE id = 3": (
        "case 3 is not as the events tell: malignancy_order, finding's tier, finding's melanoma, finding"
    ),
    """UPDATE cases SET finding = '{"probabilities": {"MEL": "x"}}' WHERE id = 3""": (
        "case 3 is not as the events tell: malignancy_order, finding's tier, finding's melanoma, finding"
    ),
    "UPDATE conflicts SET told = '[]'": "conflict 1 is not as the events tell: patient, note",
    "UPDATE cases SET melanoma = 0.01 WHERE id = 3": "case 3 is not as the events tell: melanoma",
    "UPDATE cases SET melanoma = 0.01 WHERE id = 5": "case 5 is not as the events tell: melanoma",
    "UPDATE cases SET malignancy_order = 0 WHERE id = 3": (
        "case 3 is not as the events tell: malignancy_order"
    ),
    "UPDATE cases SET rank = 3 WHERE id = 6": "case 6 is not as the events tell: rank",
    "UPDATE cases SET lane = 'waiting' WHERE id = 3": "case 3 is not as the events tell: lane",
    "UPDATE cases SET lane = 'suspicion' WHERE id = 1": "case 1 is not as the events tell: lane",
    "UPDATE cases SET note = 'harmless' WHERE id = 3": "case 3 is not as the events tell: note",
    "UPDATE cases SET note = 'itches' WHERE id = 1": "case 1 is not as the events tell: note",
    "UPDATE cases SET follow_up_on = NULL WHERE id = 1": "case 1 is not as the events tell: follow_up_on",
    "UPDATE cases SET follow_up_on = '2040-01-01' WHERE id = 2": (
        "case 2 is not as the events tell: follow_up_on"
    ),
    "UPDATE cases SET decided_at = '2020-01-01 00:00:00' WHERE id = 2": (
        "case 2 is not as the events tell: decided_at"
    ),
    "UPDATE cases SET received_at = '2040-01-01 00:00:00' WHERE id = 3": (
        "case 3 is not as the events tell: received_at"
    ),
    "UPDATE cases SET screened_at = NULL WHERE id = 3": "case 3 is not as the events tell: screened_at",
    "UPDATE cases SET source = 'dicom' WHERE id = 3": "case 3 is not as the events tell: source",
    "UPDATE cases SET search = '' WHERE id = 3": "case 3 is not as the events tell: search",
    "UPDATE cases SET patient_key = '' WHERE id = 3": "case 3 is not as the events tell: patient_key",
    # Who did what, and when.
    "UPDATE reads SET account_id = 2 WHERE id = 2": "read 2 is not as the events tell: author",
    "UPDATE reads SET at = '2020-01-01 00:00:00' WHERE id = 2": "read 2 is not as the events tell: at",
    "UPDATE outcomes SET account_id = 2": "outcome 1 is not as the events tell: author",
    "UPDATE outcomes SET account_id = NULL": "outcome 1 is not as the events tell: author",
    "UPDATE outcomes SET at = '2020-01-01 00:00:00'": "outcome 1 is not as the events tell: at",
    "UPDATE comments SET account_id = 2": "comment 1 is not as the events tell: author",
    "UPDATE comments SET at = '2020-01-01 00:00:00'": "comment 1 is not as the events tell: at",
    "UPDATE conflicts SET resolution = 'kept'": "conflict 1 is not as the events tell: resolution",
    "DELETE FROM conflicts": "conflict 1 is missing",
    "UPDATE reads SET diagnosis = 'SK' WHERE id = 2": "read 2 is not as the events tell: diagnosis",
    "UPDATE reads SET note = 'regular' WHERE id = 2": "read 2 is not as the events tell: note",
    "UPDATE reads SET reason = 'other' WHERE id = 3": "read 3 is not as the events tell: note",
    "UPDATE reads SET undone_at = NULL WHERE id = 1": "read 1 is not as the events tell: undone",
    "DELETE FROM reads WHERE id = 3": "read 3 is missing",
    "UPDATE outcomes SET diagnosis = 'MEL' WHERE id = 1": "outcome 1 is not as the events tell: diagnosis",
    "UPDATE outcomes SET note = 'pT4' WHERE id = 1": "outcome 1 is not as the events tell: note",
    "DELETE FROM outcomes": "outcome 1 is missing",
    "UPDATE alerts SET acknowledged_at = NULL WHERE case_id = 3": (
        "alert 'melanoma suspected' of case 3 is not as the events tell: acknowledged_at"
    ),
    "UPDATE alerts SET acknowledged_by = 2 WHERE case_id = 3": (
        "alert 'melanoma suspected' of case 3 is not as the events tell: acknowledged_by"
    ),
    "UPDATE alerts SET escalated_at = '2026-01-01 00:00:00' WHERE case_id = 4": (
        "alert 'melanoma suspected' of case 4 is not as the events tell: escalated_at"
    ),
    "UPDATE alerts SET raised_at = '2040-01-01 00:00:00' WHERE case_id = 4": (
        "alert 'melanoma suspected' of case 4 is not as the events tell: raised_at"
    ),
    "DELETE FROM alerts WHERE case_id = 2": "alert 'melanoma suspected' of case 2 is missing",
    "UPDATE accounts SET role = 'dermatologist' WHERE id = 1": "account anna is not as the events tell: role",
    "INSERT INTO alerts (case_id, rule, raised_at) VALUES (1, 'mine', '2026-01-01 00:00:00')": (
        "alert 'mine' of case 1 is in no event"
    ),
}


@pytest.mark.parametrize("statement", CHANGES)
def test_what_is_changed_behind_the_trails_back_is_found(lived: Clinic, statement: str) -> None:
    with writing(lived.engine) as session:
        session.execute(text(statement))
    assert found(lived) == [CHANGES[statement]]


def test_a_finding_that_is_changed_is_found(lived: Clinic) -> None:
    with writing(lived.engine) as session:
        case = session.get_one(Case, 3)
        assert case.finding is not None
        shares = {**case.finding["probabilities"], "NV": 0.9}
        case.finding = {**case.finding, "probabilities": shares}
    assert found(lived) == ["case 3 is not as the events tell: finding"]


def test_a_photograph_that_is_another_or_gone_is_found(lived: Clinic) -> None:
    with reading(lived.engine) as session:
        first, second = (session.get_one(Case, number).sha256 for number in (1, 2))
    lived.pictures.original(first).write_bytes(b"another")
    lived.pictures.original(second).unlink()
    problems = found(lived)
    assert len(problems) == 2
    assert "was changed" in problems[0]
    assert "cannot be read" in problems[1]
    with writing(lived.engine) as session:  # also where the table was made to fit
        session.execute(text("UPDATE cases SET sha256 = :other WHERE id = 1"), {"other": "0" * 64})
    assert "case 1 is not as the events tell: sha256" in found(lived)


def test_a_case_that_is_gone_or_was_put_in_is_found(lived: Clinic, add_case: Callable[..., int]) -> None:
    number = add_case("alert", 0.9)
    with writing(lived.engine) as session:
        session.execute(text("DELETE FROM jobs"))
        session.execute(text("DELETE FROM cases WHERE id = 1"))
    told = found(lived)
    assert f"case {number} is in no event" in told
    assert "case 1 is missing" in told


def test_an_event_of_nonsense_stops_nothing(lived: Clinic) -> None:
    with writing(lived.engine) as session:
        append(session, lived.trail, "x", Made("read", "case 2", {"read": "none"}))
    [problem] = found(lived)
    assert "does not tell" in problem
