from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.monitoring.outcomes import Imported, import_outcomes, record_outcome
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.audit_trail import verify
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import Account, Event, Outcome
from dermsentry.errors import InputError

People = Callable[..., Person]
Cases = Callable[..., int]


def take(clinic: Clinic, who: Person, text: str) -> Imported:
    with writing(clinic.engine) as session:
        return import_outcomes(session, clinic, who, text)


def kept(engine: Engine) -> list[tuple[int, str, str, str]]:
    with reading(engine) as session:
        found = session.scalars(select(Outcome).order_by(Outcome.id))
        return [(own.case_id, own.diagnosis, own.method, own.note) for own in found]


@pytest.mark.parametrize(
    ("given_as", "label"),
    [("MEL", "MEL"), ("Malignant melanoma", "MEL"), ("bkl", "PBK|SK"), ("naevus", "NV")],
)
def test_an_outcome_is_recorded_with_its_event(
    clinic: Clinic, add_case: Cases, person: People, given_as: str, label: str
) -> None:
    case, anna = add_case(), person()
    with writing(clinic.engine) as session:
        record_outcome(session, clinic, case, anna, diagnosis=given_as, method="histology", note=" 0.4 mm ")
    assert kept(clinic.engine) == [(case, label, "histology", "0.4 mm")]
    with reading(clinic.engine) as session:
        event = session.scalars(select(Event)).one()
        assert (event.actor, event.action, event.subject) == ("anna", "outcome recorded", f"case {case}")
        assert verify(session, clinic.trail).problems == ()


def test_what_cannot_be_an_outcome_is_refused(clinic: Clinic, add_case: Cases, person: People) -> None:
    add_case()
    who = person()
    for case_id, diagnosis, method in (
        (99, "MEL", "histology"),
        (2**40, "MEL", "histology"),
        (1, "scar", "histology"),
        (1, "", "histology"),
        (1, "AK|BCC|DF|MEL|NV|PBK|SCC|SK|VASC", "histology"),
        (1, "MEL", "guess"),
    ):
        with pytest.raises(InputError), writing(clinic.engine) as session:
            record_outcome(session, clinic, case_id, who, diagnosis=diagnosis, method=method)
    assert kept(clinic.engine) == []


def test_outcomes_are_for_dermatologists(clinic: Clinic, add_case: Cases, person: People) -> None:
    case, uli = add_case(), person("uli", "uploader")
    with pytest.raises(InputError, match="dermatologists"):
        take(clinic, uli, f"case,diagnosis,method\n{case},MEL,histology\n")
    assert kept(clinic.engine) == []


def test_every_bad_line_is_told_at_once_and_the_good_ones_are_recorded(
    clinic: Clinic, add_case: Cases, person: People
) -> None:
    first, second = add_case(), add_case()
    text = (
        "case,diagnosis,method,note\n"
        f'{first},melanoma,Histology,"Breslow 0.4 mm,\nlevel II"\n'
        f"{second},unicorn,histology,\n"
        "999,NV,histology,\n"
        "\n"
        "one,NV,histology,\n"
        f"{second},NV,hearsay,\n"
        f"{second},NV,histology\n"
        f"#{second},nevus,follow-up,stable for a year\n"
        f"{second},NV,histology,again\n"
    )
    done = take(clinic, person(), text)
    assert (done.recorded, done.unchanged) == (2, 0)
    assert [line for line, _ in done.problems] == [4, 5, 7, 8, 9, 11]
    words = [why for _, why in done.problems]
    for part, why in zip(
        ("unicorn", "no case 999", "'one'", "hearsay", "3 fields", "line 10"), words, strict=True
    ):
        assert part in why
    assert kept(clinic.engine) == [
        (first, "MEL", "histology", "Breslow 0.4 mm,\nlevel II"),
        (second, "NV", "follow-up", "stable for a year"),
    ]


def test_the_same_file_twice_records_nothing_new(clinic: Clinic, add_case: Cases, person: People) -> None:
    case, anna = add_case(), person()
    text = f"case;diagnosis;method\r\n{case};MEL;histology\r\n"
    assert take(clinic, anna, "\ufeff" + text) == Imported(1, (), 0)
    assert take(clinic, anna, text) == Imported(0, (), 1)
    assert take(clinic, anna, text.replace("MEL", "NV")) == Imported(1, (), 0)
    assert [own[1] for own in kept(clinic.engine)] == ["MEL", "NV"]


def test_a_file_of_another_kind_is_refused_whole(clinic: Clinic, add_case: Cases, person: People) -> None:
    add_case()
    who = person()
    for text in (
        "",
        "\n",
        "case,diagnosis,method\n",
        "case,diagnosis\n1,MEL\n",
        "case,diagnosis,method,method\n1,MEL,histology,x\n",
        "case,diagnosis,method,patient\n1,MEL,histology,Anna\n",
        "nothing of the kind",
        "case,diagnosis,method\n" + "1,MEL,histology\n" * 20_001,
        'case,diagnosis,method\n1,MEL,"histology\n',
    ):
        with pytest.raises(InputError):
            take(clinic, who, text)
    assert kept(clinic.engine) == []


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.lists(
        st.lists(
            st.sampled_from(["1", "2", "77", "MEL", "nevus", "histology", "follow-up", '"', ",", "é\x00"])
            | st.text(max_size=8),
            max_size=5,
        ).map(",".join),
        max_size=8,
    ).map("\n".join)
)
def test_any_text_is_imported_or_told(clinic: Clinic, add_case: Cases, person: People, body: str) -> None:
    with reading(clinic.engine) as session:
        account = session.scalar(select(Account.id))
    if account is None:
        account = person().account_id
        add_case()
        add_case()
    who = Person(account, "anna", "Anna", "dermatologist", frozenset({"outcomes:write"}))
    before = len(kept(clinic.engine))
    try:
        done = take(clinic, who, "case,diagnosis,method\n" + body)
    except InputError:
        done = Imported(0, ())
    assert len(kept(clinic.engine)) == before + done.recorded
    with reading(clinic.engine) as session:
        assert verify(session, clinic.trail).problems == ()
