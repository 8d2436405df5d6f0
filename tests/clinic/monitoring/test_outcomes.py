from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.monitoring.outcomes import Imported, NotTheirs, import_outcomes, record_outcome
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.audit_trail import verify
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import Account, Event, Outcome
from dermsentry.clinic.worklist.reading import decide
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
        take(clinic, uli, f"case,patient,diagnosis,method\n{case},P,MEL,histology\n")
    assert kept(clinic.engine) == []


def test_every_bad_line_is_told_at_once_and_the_good_ones_are_recorded(
    clinic: Clinic, add_case: Cases, person: People
) -> None:
    first, second = add_case(patient="P1"), add_case(patient="P2")
    text = (
        "case,patient,diagnosis,method,note\n"
        f'{first},P1,melanoma,Histology,"Breslow 0.4 mm,\nlevel II"\n'
        f"{second},P2,unicorn,histology,\n"
        "999,P1,NV,histology,\n"
        "\n"
        "one,P1,NV,histology,\n"
        f"{second},P2,NV,hearsay,\n"
        f"{second},P2,NV,histology\n"
        f"#{second},p2,nevus,follow-up,stable for a year\n"
        f"{second},P2,NV,histology,again\n"
    )
    done = take(clinic, person(), text)
    assert (done.recorded, done.unchanged) == (2, 0)
    assert [line for line, _ in done.problems] == [4, 5, 7, 8, 9, 11]
    words = [why for _, why in done.problems]
    for part, why in zip(
        ("unicorn", "no case 999", "'one'", "hearsay", "4 fields", "line 10"), words, strict=True
    ):
        assert part in why
    assert kept(clinic.engine) == [
        (first, "MEL", "histology", "Breslow 0.4 mm,\nlevel II"),
        (second, "NV", "follow-up", "stable for a year"),
    ]


def test_the_same_file_twice_records_nothing_new(clinic: Clinic, add_case: Cases, person: People) -> None:
    case, anna = add_case(patient="P1"), person()
    text = f"case;patient;diagnosis;method\r\n{case};P1;MEL;histology\r\n"
    assert take(clinic, anna, "\ufeff" + text) == Imported(1, (), 0)
    assert take(clinic, anna, text) == Imported(0, (), 1)
    assert take(clinic, anna, text.replace("MEL", "NV")) == Imported(1, (), 0)
    assert [own[1] for own in kept(clinic.engine)] == ["MEL", "NV"]


def test_the_breslow_thickness_comes_with_a_melanoma_by_histology_alone(
    clinic: Clinic, add_case: Cases, person: People
) -> None:
    anna, cases = person(), [add_case(patient=f"P{number}") for number in range(6)]
    zero, one, two, three, four, five = cases
    text = (
        "case;patient;diagnosis;method;breslow_mm\n"
        f"{zero};P0;MEL;histology;0,84\n{one};P1;MEL;histology;1.204\n{two};P2;MEL;histology;\n"
        f"{three};P3;NV;histology;0.4\n{four};P4;MEL;follow-up;0.4\n"
        f"{five};P5;MEL;histology;thin\n{five};P5;MEL;histology;0.001\n"
    )
    done = take(clinic, anna, text)
    assert (done.recorded, [line for line, _ in done.problems]) == (3, [5, 6, 7, 8])
    assert all("Breslow" in why for _, why in done.problems)
    with reading(clinic.engine) as session:
        told = {own.case_id: own.breslow_mm for own in session.scalars(select(Outcome))}
    assert told == {cases[0]: 0.84, cases[1]: 1.2, cases[2]: None}
    assert take(clinic, anna, text).unchanged == 3
    # A table that does not tell it takes nothing away.
    without = f"case,patient,diagnosis,method\n{zero},P0,MEL,histology\n"
    assert take(clinic, anna, without) == Imported(0, (), 1)
    assert take(clinic, anna, text.replace("0,84", "0.9")).recorded == 1


def test_a_file_of_another_kind_is_refused_whole(clinic: Clinic, add_case: Cases, person: People) -> None:
    add_case()
    who = person()
    for text in (
        "",
        "\n",
        "patient,diagnosis,method\n",
        "patient,diagnosis\nP1,MEL\n",
        "patient,diagnosis,method,method\nP1,MEL,histology,x\n",
        "patient,diagnosis,method,age\nP1,MEL,histology,60\n",
        "case,diagnosis,method\n1,MEL,histology\n",  # a number alone
        "patient,diagnosis,method\nP1,MEL,histology\n",
        "accession,lesion,diagnosis,method\nA1,L1,MEL,histology\n",
        "nothing of the kind",
        "patient,diagnosis,method\n" + "P1,MEL,histology\n" * 20_001,
        'patient,diagnosis,method\nP1,MEL,"histology\n',
    ):
        with pytest.raises(InputError):
            take(clinic, who, text)
    assert kept(clinic.engine) == []


def test_histology_finds_its_case_by_patient_lesion_and_accession(
    clinic: Clinic, add_case: Cases, person: People
) -> None:
    anna = person()
    one = add_case(patient="P1", lesion="A", accession="A-1")
    two = add_case(patient="P1", lesion="B", accession="A-1")
    other = add_case(patient="P2", accession="A-3")
    text = (
        "case,accession,patient,lesion,diagnosis,method\n"
        f"{other},A-3,,,NV,histology\n"
        ",A-1,P1,B,MEL,histology\n"
        ",A-1,P1,,SK,histology\n"
        ",A-1,P2,,BCC,histology\n"
        ",A-9,P9,,BCC,histology\n"
        ",,,A,BCC,histology\n"
        ",,P2,,BCC,histology\n"  # P2 may be a slip for P1
        ",A-3,,A,BCC,histology\n"
    )
    done = take(clinic, anna, text)
    assert [(case_id, label) for case_id, label, *_ in kept(clinic.engine)] == [(other, "NV"), (two, "MEL")]
    words = dict(done.problems)
    assert "fits 2 cases (1, 2)" in words[4]
    assert "no case of patient P2, accession A-1" in words[5]
    assert "no case of patient P9" in words[6]
    assert "neither patient nor accession" in words[7]
    assert "add the accession number or the case's number" in words[8]
    assert "add the patient or the case's number" in words[9]
    with writing(clinic.engine) as session:
        decide(session, clinic, one, anna, agrees=True, diagnosis="MEL", action="biopsy")
    awaited = "patient,accession,diagnosis,method\nP1,A-1,SK,histology\n"  # of two, that which awaits it
    assert take(clinic, anna, awaited) == Imported(1, (), 0)
    assert kept(clinic.engine)[-1][:2] == (one, "SK")
    assert take(clinic, anna, awaited) == Imported(0, (), 1)


def test_a_mistyped_number_gives_histology_to_nobody(clinic: Clinic, add_case: Cases, person: People) -> None:
    stranger, withdrawn = add_case(patient="P1"), add_case(patient="P2", lane="withdrawn")
    anna = person()
    lines = [f"{stranger},P2,MEL,histology", f"{withdrawn},P2,MEL,histology", f"{stranger},,MEL,histology"]
    done = take(clinic, anna, "case,patient,diagnosis,method\n" + "\n".join(lines) + "\n")
    assert done.recorded == 0
    assert [
        next(part for part in ("not of patient P2", "withdrawn", "neither patient") if part in why)
        for _, why in done.problems
    ] == ["not of patient P2", "withdrawn", "neither patient"]
    told = {"diagnosis": "MEL", "method": "histology", "accession": "A-1"}
    with pytest.raises(NotTheirs, match="not of accession"), writing(clinic.engine) as session:
        record_outcome(session, clinic, stranger, anna, **told)
    assert kept(clinic.engine) == []


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.lists(
        st.lists(
            st.sampled_from(
                ["1", "2", "77", "P1", "MEL", "nevus", "histology", "follow-up", '"', ",", "é\x00"]
            )
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
        add_case(patient="P1")
        add_case(patient="P2")
    who = Person(account, "anna", "Anna", "dermatologist", frozenset({"outcomes:write"}))
    before = len(kept(clinic.engine))
    try:
        done = take(clinic, who, "case,patient,diagnosis,method\n" + body)
    except InputError:
        done = Imported(0, ())
    assert len(kept(clinic.engine)) == before + done.recorded
    with reading(clinic.engine) as session:
        assert verify(session, clinic.trail).problems == ()
