"""Spellings that look alike are proposed, joined on a person's word, kept apart, and undone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.audit_trail import verify
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.records import verify_records
from dermsentry.clinic.store.tables import Case, Join
from dermsentry.clinic.store.text import spelling_key
from dermsentry.clinic.worklist.patients import patient_of, same_lesion
from dermsentry.clinic.worklist.spellings import Proposal, say, spellings_of, take_back
from dermsentry.errors import InputError

People = Callable[..., Person]
AddCase = Callable[..., int]


@pytest.mark.parametrize(
    ("one", "other"),
    [("S-1", "s-1"), ("L1", "l1"), ("S 1", "S1"), ("P-007", "p7"), ("Ｌ１", "l1"), ("STRASSE 3", "straße_3")],
)
def test_spellings_of_one_name_have_one_key(one: str, other: str) -> None:
    assert spelling_key(one) == spelling_key(other)


@pytest.mark.parametrize(
    ("one", "other"), [("1-02", "12"), ("P-10", "P-1-0"), ("L1", "L2"), ("0", "00-0"), ("-", "_")]
)
def test_other_names_have_other_keys(one: str, other: str) -> None:
    assert spelling_key(one) != spelling_key(other)


@given(st.text(max_size=200))
def test_a_key_fits_its_column_and_is_its_own_key_in_any_case(text: str) -> None:
    key = spelling_key(text)
    assert len(key) <= 120
    assert (key == "") == (" ".join(text.split()) == "")


def joined(clinic: Clinic, case_id: int) -> tuple[str, ...]:
    with reading(clinic.engine) as session:
        return spellings_of(session, session.get_one(Case, case_id).patient).joined


def lesion_cases(clinic: Clinic, case_id: int) -> list[int]:
    with reading(clinic.engine) as session:
        return [own.id for own in same_lesion(session, session.get_one(Case, case_id))]


def test_patients_spelled_alike_are_apart_until_joined_and_after_it_is_undone(
    clinic: Clinic, person: People, add_case: AddCase
) -> None:
    anna = person()
    first = add_case(patient="S-1", lesion="L1")
    second = add_case(patient="s-1", lesion="L1")
    third = add_case(patient="S 1", lesion="L1")
    add_case(patient="S-2", lesion="L1")
    assert lesion_cases(clinic, first) == [first]
    with reading(clinic.engine) as session:
        found = spellings_of(session, "S-1")
    assert found.proposals() == (Proposal("patient", "S-1", "S 1"), Proposal("patient", "S-1", "s-1"))
    with writing(clinic.engine) as session:
        join = say(session, clinic, anna, "patient", "S-1", ("S-1", "s-1"), True)
    assert joined(clinic, first) == ("S-1", "s-1")
    assert joined(clinic, second) == ("s-1", "S-1")
    assert lesion_cases(clinic, first) == lesion_cases(clinic, second) == [first, second]
    later = add_case(patient="s-1", lesion="L1")  # which comes under either spelling from now on
    assert lesion_cases(clinic, first) == [first, second, later]
    with writing(clinic.engine) as session:
        say(session, clinic, anna, "patient", "s-1", ("s-1", "S 1"), False)
    with reading(clinic.engine) as session:
        assert spellings_of(session, "S-1").proposals() == ()
    assert lesion_cases(clinic, third) == [third]
    with writing(clinic.engine) as session:
        take_back(session, clinic, anna, join.id)
    assert lesion_cases(clinic, first) == [first]
    with reading(clinic.engine) as session:
        assert spellings_of(session, "S-1").proposals() == (
            Proposal("patient", "S-1", "S 1"),
            Proposal("patient", "S-1", "s-1"),
        )


def test_a_lesions_spellings_are_joined_for_their_patient_alone(
    clinic: Clinic, person: People, add_case: AddCase
) -> None:
    anna = person()
    mine = [add_case(patient="S-1", lesion=name) for name in ("L1", "l1", "L 01", "L2")]
    others = [add_case(patient="s-1", lesion=name) for name in ("L1", "l1")]
    with writing(clinic.engine) as session:
        say(session, clinic, anna, "lesion", "S-1", ("L1", "l1"), True)
        say(session, clinic, anna, "lesion", "S-1", ("l1", "L 01"), False)
    assert lesion_cases(clinic, mine[1]) == mine[:2]
    assert lesion_cases(clinic, others[0]) == [others[0]]
    with reading(clinic.engine) as session:
        found = patient_of(session, session.get_one(Case, mine[0]))
        other = patient_of(session, session.get_one(Case, others[0]))
    assert found is not None
    assert other is not None
    assert [lesion.names for lesion in found.lesions] == [("L1", "l1"), ("L 01",), ("L2",)]
    assert [own for own in found.proposals if own.kind == "lesion"] == []
    assert [own for own in other.proposals if own.kind == "lesion"] == [Proposal("lesion", "L1", "l1")]


def test_only_spellings_of_one_name_are_joined_once_and_by_whom_may(
    clinic: Clinic, person: People, add_case: AddCase
) -> None:
    add_case(patient="S-1")
    anna, uli = person(), person("uli", "uploader")
    with writing(clinic.engine) as session:
        own = say(session, clinic, anna, "patient", "S-1", ("S-1", "s-1"), True)
    wrong = [
        (anna, "patient", ("S-1", "s-1"), "already"),
        (anna, "patient", ("S-1", "S-2"), "one name"),
        (anna, "patient", ("S-1", "S-1"), "one name"),
        (anna, "patient", ("T-1", "t-1"), "another patient"),
        (anna, "lesion", ("L1", "L2"), "one name"),
        (uli, "lesion", ("L1", "l1"), "Only"),
    ]
    for who, kind, pair, words in wrong:
        with pytest.raises(InputError, match=words), writing(clinic.engine) as session:
            say(session, clinic, who, kind, "S-1", pair, True)
    with pytest.raises(InputError, match="Only"), writing(clinic.engine) as session:
        take_back(session, clinic, uli, own.id)
    with writing(clinic.engine) as session:
        take_back(session, clinic, anna, own.id)
    for number in (own.id, 99, 2**40):
        with pytest.raises(InputError, match="already"), writing(clinic.engine) as session:
            take_back(session, clinic, anna, number)


def test_a_join_changed_behind_the_trails_back_is_found(
    clinic: Clinic, person: People, add_case: AddCase
) -> None:
    add_case(patient="S-1")
    with writing(clinic.engine) as session:
        say(session, clinic, person(), "patient", "S-1", ("S-1", "s-1"), False)
    with reading(clinic.engine) as session:
        assert verify(session, clinic.trail).problems == ()
        assert [own for own in verify_records(session, None) if "spelling" in own] == []
    with writing(clinic.engine) as session:
        session.scalars(select(Join)).one().same = True
    with reading(clinic.engine) as session:
        assert "spelling 1 is not as the events tell: same" in list(verify_records(session, None))
