"""Cases that show the same skin: what a person must look at, what is told quietly, and how it is settled."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.audit_trail import hold, verify
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.records import verify_records
from dermsentry.clinic.store.tables import Case, Match
from dermsentry.clinic.worklist import matches, spellings
from dermsentry.clinic.worklist.corrections import correct, restore, withdraw
from dermsentry.clinic.worklist.matches import (
    count_open_matches,
    doubts_of,
    keep_match,
    matches_of,
    open_matches,
    settle_match,
)
from dermsentry.errors import InputError

People = Callable[..., Person]
Cases = Callable[..., int]


def match(clinic: Clinic, one: int, other: int) -> int | None:
    with writing(clinic.engine) as session:
        hold(session)
        found = keep_match(
            session, clinic, session.get_one(Case, one), session.get_one(Case, other), 0.75, True
        )
        return None if found is None else found.id


def to_settle(clinic: Clinic) -> list[tuple[int, str, list[int]]]:
    with reading(clinic.engine) as session:
        assert verify(session, clinic.trail).problems == ()
        doubts = open_matches(session)
        assert count_open_matches(session) == len(doubts)  # what the lane's tab says
        return [(own.case.id, own.patient, [match.first_id for match in own.matches]) for own in doubts]


def told(clinic: Clinic, case_id: int) -> list[tuple[int, int]]:
    with reading(clinic.engine) as session:
        return [(own.first_id, own.second_id) for own in matches_of(session, case_id)]


@pytest.mark.parametrize(
    ("patients", "two"),
    [(("P-1", "P-2"), True), (("P-1", "p-1 "), False), (("P-1", ""), False), (("", ""), False)],
)
def test_two_patients_are_for_a_person_and_one_is_told_on_the_case(
    clinic: Clinic, add_case: Cases, patients: tuple[str, str], two: bool
) -> None:
    first, second = (add_case(patient=patient) for patient in patients)
    assert match(clinic, second, first)  # whichever came first is the earlier one
    assert match(clinic, first, second) is None
    assert told(clinic, first) == told(clinic, second) == [(first, second)]
    assert to_settle(clinic) == ([(second, patients[0], [first])] if two else [])


def test_those_of_one_other_patient_are_settled_as_one(clinic: Clinic, add_case: Cases) -> None:
    series = [add_case(patient="P-1") for _ in range(3)]
    other, new = add_case(patient="P-2"), add_case(patient="P-3")
    for number in (*series, other):
        match(clinic, new, number)
    assert to_settle(clinic) == [(new, "P-1", series), (new, "P-2", [other])]
    with reading(clinic.engine) as session:
        doubts = doubts_of(session, matches_of(session, other), other)
        assert [(own.case.id, own.listed) for own in doubts] == [(new, new)]


def test_a_person_says_that_it_is_not_the_same(clinic: Clinic, add_case: Cases, person: People) -> None:
    number = match(clinic, add_case(patient="P-1"), add_case(patient="P-2"))
    assert number is not None
    anna, uli = person("anna"), person("uli", "uploader")
    for who, resolution, reason in ((uli, "different", ""), (anna, "kept", ""), (anna, "same", "x" * 5000)):
        with pytest.raises(InputError), writing(clinic.engine) as session:
            settle_match(session, clinic, number, who, resolution, reason)
    with writing(clinic.engine) as session:
        settle_match(session, clinic, number, anna, "different", " only alike ")
    assert to_settle(clinic) == []
    with reading(clinic.engine) as session:
        [own] = matches_of(session, 1)
        assert (own.resolution, own.reason) == ("different", "only alike")
        assert own.account is not None
        assert own.account.name == "anna"
        assert [line for line in verify_records(session, None) if line.startswith("match")] == []
    with pytest.raises(InputError, match="may have settled it"), writing(clinic.engine) as session:
        settle_match(session, clinic, number, anna, "same", "")
    assert match(clinic, 1, 2) is None  # nobody is asked again


def test_a_corrected_patient_settles_it_or_raises_it(clinic: Clinic, add_case: Cases, person: People) -> None:
    first, second = add_case(patient="P-1"), add_case(patient="P-2")
    match(clinic, first, second)
    for patient, left in (("P-1", []), ("P-7", [(second, "P-1", [first])])):
        with writing(clinic.engine) as session:
            correct(session, clinic, second, person(f"anna{patient}"), {"patient": patient}, "swapped")
        assert to_settle(clinic) == left


def test_a_withdrawn_case_leaves_until_it_is_restored(
    clinic: Clinic, add_case: Cases, person: People
) -> None:
    first, second, anna = add_case(patient="P-1"), add_case(patient="P-2"), person("anna")
    match(clinic, first, second)
    with writing(clinic.engine) as session:
        withdraw(session, clinic, first, anna, "a test")
    assert to_settle(clinic) == told(clinic, second) == []
    with writing(clinic.engine) as session:
        restore(session, clinic, first, anna, "no test")
    assert len(to_settle(clinic)) == len(told(clinic, second)) == 1


def test_two_spellings_that_a_person_joined_are_one_patient(
    clinic: Clinic, add_case: Cases, person: People
) -> None:
    first, second, anna = add_case(patient="S-1"), add_case(patient="S 01"), person("anna")
    match(clinic, first, second)
    assert len(to_settle(clinic)) == 1
    with writing(clinic.engine) as session:
        joined = spellings.say(session, clinic, anna, "patient", "S-1", ("S-1", "S 01"), True)
    assert to_settle(clinic) == []
    with writing(clinic.engine) as session:
        spellings.take_back(session, clinic, anna, joined.id)
    assert len(to_settle(clinic)) == 1


def test_joined_spellings_hide_no_later_match(
    clinic: Clinic, add_case: Cases, person: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matches, "MOST_SHOWN", 2)
    anna = person("anna")
    for _ in range(3):
        match(clinic, add_case(patient="S-1"), add_case(patient="S 01"))
    first, second = add_case(patient="P-1"), add_case(patient="P-2")
    match(clinic, first, second)
    with writing(clinic.engine) as session:
        spellings.say(session, clinic, anna, "patient", "S-1", ("S-1", "S 01"), True)
    assert to_settle(clinic) == [(second, "P-1", [first])]


def test_a_match_changed_behind_the_trails_back_is_found(clinic: Clinic, add_case: Cases) -> None:
    number = match(clinic, add_case(patient="P-1"), add_case(patient="P-2"))
    with writing(clinic.engine) as session:
        session.get_one(Match, number).resolution = "different"
    with reading(clinic.engine) as session:
        assert f"match {number} is not as the events tell: resolution" in set(verify_records(session, None))
