from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, select

from clinic.cases import reread
from dermsentry.clinic.alerts.alerting import raise_alerts
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.export.decisions import SettledDecision, decision_of
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.accounts import MAY, Person
from dermsentry.clinic.store.audit_trail import verify
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import ACTIONS, Account, Alert, Case, Delivery, Event, Read
from dermsentry.clinic.worklist.corrections import restore, withdraw
from dermsentry.clinic.worklist.reading import (
    CannotRead,
    Contradiction,
    active_reads,
    amend,
    decide,
    may_read,
    undo,
    visible_reads,
)
from dermsentry.clinic.worklist.terms import Details
from dermsentry.diagnoses import CODES
from dermsentry.errors import InputError

People = Callable[..., Person]
Cases = Callable[..., int]


@pytest.fixture
def two(clinic: Clinic) -> Clinic:
    """A clinic in which two read each case."""
    return replace(clinic, settings=Settings(readers=2))


def say(
    clinic: Clinic,
    case_id: int,
    who: Person,
    diagnosis: str = "MEL",
    action: str = "biopsy",
    **more: Any,
) -> int:
    with writing(clinic.engine) as session:
        return decide(
            session,
            clinic,
            case_id,
            who,
            **({"agrees": True, "diagnosis": diagnosis, "action": action, "confirmed": True} | more),
        ).id


def take_back(clinic: Clinic, read_id: int, who: Person) -> None:
    with writing(clinic.engine) as session:
        undo(session, clinic, read_id, who)


def seen(clinic: Clinic, case_id: int, who: Person) -> list[str]:
    with reading(clinic.engine) as session:
        case = session.get_one(Case, case_id)
        return [read.account.name for read in visible_reads(session, clinic, case, who)]


def why_not(clinic: Clinic, case_id: int, who: Person) -> str:
    with reading(clinic.engine) as session:
        return may_read(session, clinic, session.get_one(Case, case_id), who)


def events(engine: Engine, case_id: int) -> list[tuple[str, str]]:
    with reading(engine) as session:
        query = select(Event.actor, Event.action).where(Event.subject == f"case {case_id}").order_by(Event.id)
        return [(row[0], row[1]) for row in session.execute(query)]


def test_one_reader_decides(clinic: Clinic, add_case: Cases, person: People) -> None:
    case, anna = add_case(), person("anna")
    with writing(clinic.engine) as session:
        raise_alerts(session, clinic, session.get_one(Case, case))
    with writing(clinic.engine) as session:
        read = decide(
            session, clinic, case, anna, agrees=False, diagnosis="NV", action="discharge", note=" a\x00b "
        )
    assert (read.position, read.agrees, read.note, read.account.name) == (1, False, "a b", "anna")
    kept = reread(clinic.engine, case)
    assert kept.stage == "decided"
    assert kept.decided_at is not None
    with reading(clinic.engine) as session:
        alert = session.scalars(select(Alert)).one()
        assert alert.acknowledged_by == anna.account_id
        assert verify(session, clinic.trail).problems == ()
        event = session.scalars(select(Event).where(Event.action == "read")).one()
    told = json.loads(event.detail)
    assert (told["diagnosis"], told["action"], told["stage"]) == ("NV", "discharge", "decided")
    assert events(clinic.engine, case) == [
        ("system", "alert raised"),
        ("anna", "read"),
        ("anna", "alert acknowledged"),
    ]


def test_two_who_agree_settle_it_and_the_second_is_blind(
    two: Clinic, add_case: Cases, person: People
) -> None:
    case, anna, ben = add_case(), person("anna"), person("ben")
    say(two, case, anna)
    assert reread(two.engine, case).stage == "second-read"
    assert seen(two, case, ben) == []
    assert seen(two, case, anna) == ["anna"]
    assert "second reader" in why_not(two, case, anna)
    with pytest.raises(CannotRead, match="second reader"):
        say(two, case, anna)
    say(two, case, ben)
    assert reread(two.engine, case).stage == "decided"
    assert seen(two, case, anna) == seen(two, case, ben) == ["anna", "ben"]


@pytest.mark.parametrize(("diagnosis", "action"), [("NV", "biopsy"), ("MEL", "follow-up"), ("", "biopsy")])
def test_a_third_settles_where_two_differ(
    two: Clinic, add_case: Cases, person: People, diagnosis: str, action: str
) -> None:
    case, anna, ben, cora = add_case(), person("anna"), person("ben"), person("cora")
    say(two, case, anna)
    say(two, case, ben, diagnosis, action)
    assert reread(two.engine, case).stage == "adjudication"
    assert seen(two, case, anna) == ["anna"]
    assert seen(two, case, ben) == ["ben"]
    assert seen(two, case, cora) == ["anna", "ben"]
    assert "third" in why_not(two, case, ben)
    say(two, case, cora, "SK", "discharge")
    assert reread(two.engine, case).stage == "decided"
    with reading(two.engine) as session:
        assert [read.position for read in active_reads(session, case)] == [1, 2, 3]
    assert seen(two, case, ben) == ["anna", "ben", "cora"]


def test_who_may_not_read_is_told_why(clinic: Clinic, add_case: Cases, person: People) -> None:
    case, waiting, anna, uli = add_case(), add_case(""), person("anna"), person("uli", "uploader")
    assert "dermatologists" in why_not(clinic, case, uli)
    assert "not been screened" in why_not(clinic, waiting, anna)
    assert why_not(clinic, case, anna) == ""
    say(clinic, case, anna)
    assert "already been decided" in why_not(clinic, case, person("ben"))
    assert seen(clinic, case, uli) == []
    listening = replace(uli, may=MAY["dermatologist"] - {"reads:write"})
    assert seen(clinic, case, listening) == ["anna"]


def test_what_makes_no_sense_is_refused_and_nothing_kept(
    clinic: Clinic, add_case: Cases, person: People
) -> None:
    case, anna = add_case(), person()
    for wrong in (
        {"diagnosis": "melanoma"},
        {"diagnosis": "MEL|NV"},
        {"action": "wait"},
        {"action": ""},
        {"agrees": None},
        {"note": "x" * 4001},
    ):
        with pytest.raises(InputError):
            say(clinic, case, anna, **wrong)
    assert reread(clinic.engine, case).stage == "unread"
    assert events(clinic.engine, case) == []


@pytest.mark.parametrize(
    ("tier", "agrees", "diagnosis", "action", "asked"),
    [
        ("alert", True, "NV", "discharge", ["alert, and discharge"]),
        ("alert", True, "MEL", "discharge", ["alert, and discharge", "melanoma, and discharge"]),
        ("alert", False, "MEL", "biopsy", ["do not agree"]),
        ("refer", True, "MEL", "discharge", ["melanoma, and discharge"]),
        ("refer", False, "BCC", "discharge", ["basal cell carcinoma, and discharge"]),
        ("routine", True, "SCC", "biopsy", ["routine check is enough"]),
        ("cannot-say", None, "MEL", "discharge", ["melanoma, and discharge"]),
        ("alert", True, "MEL", "biopsy", []),
        ("alert", True, "NV", "biopsy", []),  # suspicious, and most probably none
        ("alert", False, "NV", "discharge", []),
        ("routine", True, "NV", "discharge", []),
        ("routine", False, "MEL", "biopsy", []),
        ("refer", True, "", "follow-up", []),
    ],
)
def test_what_contradicts_itself_is_asked_once_before_it_is_kept(
    clinic: Clinic,
    add_case: Cases,
    person: People,
    tier: str,
    agrees: bool | None,
    diagnosis: str,
    action: str,
    asked: list[str],
) -> None:
    case, anna = add_case(tier, 0.7), person()
    told = {"agrees": agrees, "confirmed": False}
    if asked:
        with pytest.raises(Contradiction) as refused:
            say(clinic, case, anna, diagnosis, action, **told)
        assert len(refused.value.words) == len(asked)
        assert all(part in words for part, words in zip(asked, refused.value.words, strict=True))
        assert reread(clinic.engine, case).stage == "unread"
        told["confirmed"] = True
    say(clinic, case, anna, diagnosis, action, **told)
    assert reread(clinic.engine, case).stage == "decided"


def change(clinic: Clinic, case_id: int, who: Person, diagnosis: str, action: str, **more: Any) -> int:
    told = {"agrees": True, "reason": "seen again", "confirmed": True} | more
    with writing(clinic.engine) as session:
        return amend(session, clinic, case_id, who, diagnosis=diagnosis, action=action, **told).id


@pytest.mark.parametrize("readers", [1, 2])
def test_a_decision_is_amended_later_and_the_old_one_stays(
    clinic: Clinic, add_case: Cases, person: People, readers: int
) -> None:
    own = replace(clinic, settings=Settings(readers=readers))
    case, anna, ben = add_case(), person("anna"), person("ben")
    for who in (anna, ben)[:readers]:
        say(own, case, who, "NV", "discharge", agrees=False)
    revision = reread(clinic.engine, case).revision
    change(own, case, replace(anna, signed_in_at=None), "MEL", "biopsy", reason=" second look ")
    kept = reread(clinic.engine, case)
    assert (kept.stage, kept.revision) == ("decided", revision + 1)
    with reading(clinic.engine) as session:
        reads = active_reads(session, case)
        assert [(read.position, read.diagnosis) for read in reads][-1] == (4, "MEL")
        assert len(reads) == readers + 1
        assert (reads[-1].reason, reads[-1].account.name) == ("second look", "anna")
        event = session.scalars(select(Event).order_by(Event.id.desc())).first()
        assert event is not None
        assert (event.action, json.loads(event.detail)["reason"]) == ("read amended", "second look")
        assert decision_of(session, kept) == SettledDecision("amended", reads[-1])
    change(own, case, person("chief", "administrator"), "SK", "discharge", agrees=False)
    with reading(clinic.engine) as session:
        assert decision_of(session, reread(clinic.engine, case)).read.diagnosis == "SK"  # type: ignore[union-attr]
        assert verify(session, clinic.trail).problems == ()


MELANOMA, MALIGNANT = "melanoma, and discharge", "carcinoma, and discharge"


@pytest.mark.parametrize(
    ("tier", "agrees", "action", "other", "code", "asked"),
    [
        ("alert", False, "discharge", "amelanotic melanoma", "", ["not agree", MELANOMA]),
        ("alert", False, "biopsy", "desmoplastic", "ICD-O 8745/3", ["not agree"]),
        ("alert", False, "biopsy", "in situ", "ICD-10 D03.5", ["not agree"]),
        ("alert", False, "biopsy", "see note", "SNOMED 372244006", ["not agree"]),
        ("refer", True, "discharge", "nodular", "ICD-O 8721/3", ["nodular, and discharge"]),
        ("refer", True, "discharge", "Merkel cell carcinoma", "", [MALIGNANT]),
        ("refer", True, "discharge", "Merkel", "ICD-O 8247/3", ["Merkel, and discharge"]),
        ("refer", True, "discharge", "Amelanotisches MELANOM", "", ["MELANOM, and discharge"]),
        ("refer", True, "discharge", "mélanome", "", ["mélanome, and discharge"]),
        ("refer", True, "discharge", "Bowen's disease", "ICD-10 D04.3", ["Bowen's disease, and discharge"]),
        ("refer", True, "discharge", "Plattenepithelkarzinom", "", ["karzinom, and discharge"]),
        ("routine", True, "biopsy", "cutaneous lymphoma", "", ["routine check is enough, and diagnose cut"]),
        ("refer", True, "discharge", "pigmented lesion", "SNOMED 93655004", ["pigmented lesion, and"]),
        ("routine", True, "discharge", "Basaliom", "", ["diagnose Basaliom", "Basaliom, and discharge"]),
        ("refer", True, "discharge", "no melanoma", "", []),
        ("cannot-say", None, "discharge", "lentigo maligna", "", ["lentigo maligna, and discharge"]),
        ("alert", False, "discharge", "blue nevus", "ICD-O 8780/0", []),
        ("refer", True, "discharge", "melanocytic nevus", "", []),
        ("refer", True, "discharge", "neurofibroma", "ICD-O 9540/0", []),
        ("routine", True, "discharge", "benign lichenoid keratosis", "", []),
        ("alert", False, "biopsy", "Merkel cell carcinoma", "ICD-O 8247/3", []),
    ],
)
def test_a_malignant_diagnosis_in_words_or_by_its_code_is_asked_about_too(
    clinic: Clinic,
    add_case: Cases,
    person: People,
    tier: str,
    agrees: bool | None,
    action: str,
    other: str,
    code: str,
    asked: list[str],
) -> None:
    case, anna = add_case(tier, 0.7), person()
    told = {"agrees": agrees, "confirmed": False, "details": Details(other=other, other_code=code)}
    if asked:
        with pytest.raises(Contradiction) as refused:
            say(clinic, case, anna, "", action, **told)
        assert len(refused.value.words) == len(asked)
        assert all(part in words for part, words in zip(asked, refused.value.words, strict=True))
        assert reread(clinic.engine, case).stage == "unread"
        told["confirmed"] = True
    say(clinic, case, anna, "", action, **told)
    assert reread(clinic.engine, case).stage == "decided"


def test_who_may_amend_and_what_is_no_amendment(clinic: Clinic, add_case: Cases, person: People) -> None:
    case, waiting, anna, ben = add_case(), add_case(), person("anna"), person("ben")
    say(clinic, case, anna, note="ulcerated")
    with pytest.raises(CannotRead, match="not been decided"):
        change(clinic, waiting, anna, "NV", "biopsy")
    with pytest.raises(CannotRead, match="Only the person who made"):
        change(clinic, case, ben, "NV", "biopsy")
    with pytest.raises(CannotRead, match="Only dermatologists"):
        change(clinic, case, person("uli", "uploader"), "NV", "biopsy")
    with pytest.raises(InputError, match="no reason"):
        change(clinic, case, anna, "NV", "biopsy", reason=" ")
    with pytest.raises(InputError, match="1001"):
        change(clinic, case, anna, "NV", "biopsy", reason="x" * 1001)
    with pytest.raises(InputError, match="Nothing was changed"):
        change(clinic, case, anna, "MEL", "biopsy", note="ulcerated")
    with pytest.raises(InputError, match="WART"):
        change(clinic, case, anna, "WART", "biopsy")
    with pytest.raises(Contradiction):
        change(clinic, case, anna, "MEL", "discharge", confirmed=False)
    with reading(clinic.engine) as session:
        assert len(active_reads(session, case)) == 1


def test_who_was_overruled_does_not_amend_what_the_adjudicator_decided(
    two: Clinic, add_case: Cases, person: People
) -> None:
    case, anna, ben, cora = add_case(), person("anna"), person("ben"), person("cora")
    say(two, case, anna)
    say(two, case, ben, "NV", "discharge")
    say(two, case, cora)
    with pytest.raises(CannotRead, match="Only the person who made"):
        change(two, case, ben, "SK", "discharge")
    change(two, case, cora, "SK", "discharge")


def test_an_amendment_is_undone_in_its_session_and_the_decision_before_counts(
    clinic: Clinic, add_case: Cases, person: People
) -> None:
    case, anna = add_case(), person("anna", ago=timedelta(minutes=5))
    say(clinic, case, anna)
    # Also where two have come to read each case since.
    later = replace(clinic, settings=Settings(readers=2))
    read = change(later, case, anna, "NV", "discharge")
    assert reread(clinic.engine, case).stage == "decided"
    take_back(later, read, anna)
    kept = reread(clinic.engine, case)
    assert kept.stage == "decided"
    with reading(clinic.engine) as session:
        found = decision_of(session, kept)
        assert (found.status, found.read and found.read.diagnosis) == ("amended", "MEL")


def test_who_was_told_that_a_case_was_amended_is_told_that_this_was_undone(
    clinic: Clinic, add_case: Cases, person: People
) -> None:
    case, anna = add_case(), person("anna", ago=timedelta(minutes=5))
    with writing(clinic.engine) as session:
        alert = Alert(case_id=case, rule="alert")
        session.add(alert)
        session.flush()
        told = {"alert_id": alert.id, "channel": "email", "state": "sent"}
        session.add(Delivery(**told, address="a@clinic.example"))
    say(clinic, case, anna)
    read = change(clinic, case, anna, "NV", "discharge")
    take_back(clinic, read, anna)
    with reading(clinic.engine) as session:
        sent = [(own.address, own.change) for own in session.scalars(select(Delivery).order_by(Delivery.id))]
    assert sent == [("a@clinic.example", told) for told in ("", "amended", "amendment-undone")]


def test_a_read_of_a_withdrawn_case_is_not_undone(clinic: Clinic, add_case: Cases, person: People) -> None:
    case, anna = add_case(), person("anna", ago=timedelta(minutes=5))
    read = say(clinic, case, anna)
    with writing(clinic.engine) as session:
        withdraw(session, clinic, case, anna, "wrong patient")
    with pytest.raises(CannotRead, match="withdrawn"):
        take_back(clinic, read, anna)
    with writing(clinic.engine) as session:
        restore(session, clinic, case, anna, "the right one")
    take_back(clinic, read, anna)


def test_a_case_that_is_none_is_refused(clinic: Clinic, person: People) -> None:
    anna = person()
    for case_id in (0, -1, 999, 2**31, 10**30):
        with pytest.raises(InputError, match="no case"):
            say(clinic, case_id, anna)
        with pytest.raises(InputError, match="no read"):
            take_back(clinic, case_id, anna)


def test_what_the_model_could_not_judge_is_read_without_agreeing(
    clinic: Clinic, add_case: Cases, person: People
) -> None:
    case, anna = add_case("unreadable"), person()
    say(clinic, case, anna, "", "retake", agrees=None)
    assert reread(clinic.engine, case).stage == "decided"


def test_an_undone_read_leaves_the_case_as_it_was(clinic: Clinic, add_case: Cases, person: People) -> None:
    case, anna = add_case(), person("anna")
    with writing(clinic.engine) as session:
        raise_alerts(session, clinic, session.get_one(Case, case))
    read = say(clinic, case, anna)
    anna = replace(anna, signed_in_at=reread(clinic.engine, case).received_at - timedelta(minutes=1))
    take_back(clinic, read, anna)
    kept = reread(clinic.engine, case)
    assert (kept.stage, kept.decided_at) == ("unread", None)
    assert seen(clinic, case, anna) == []
    assert why_not(clinic, case, anna) == ""
    with reading(clinic.engine) as session:
        alert = session.scalars(select(Alert)).one()
        assert (alert.acknowledged_at, alert.acknowledged_by) == (None, None)
        assert session.get_one(Read, read).undone_at is not None
    assert [action for _, action in events(clinic.engine, case)][-2:] == ["read undone", "alert opened again"]
    with pytest.raises(CannotRead, match="already been undone"):
        take_back(clinic, read, anna)


def test_only_the_author_undoes_in_the_session_before_anyone_else_reads(
    two: Clinic, add_case: Cases, person: People
) -> None:
    case = add_case()
    anna, ben = (person(name, ago=timedelta(hours=2)) for name in ("anna", "ben"))
    first = say(two, case, anna)
    with pytest.raises(CannotRead, match="Only the person who"):
        take_back(two, first, ben)
    with pytest.raises(InputError, match="no read"):
        take_back(two, first, person("uli", "uploader"))
    later = replace(anna, signed_in_at=ben.signed_in_at and ben.signed_in_at + timedelta(hours=3))
    with pytest.raises(CannotRead, match="session"):
        take_back(two, first, later)
    second = say(two, case, ben)
    with pytest.raises(CannotRead, match="Another person"):
        take_back(two, first, anna)
    take_back(two, second, ben)
    assert reread(two.engine, case).stage == "second-read"
    assert seen(two, case, ben) == []
    take_back(two, first, replace(anna, signed_in_at=None))  # a program's hour
    assert reread(two.engine, case).stage == "unread"
    with writing(two.engine) as session:
        session.get_one(Read, second).undone_at = None
        session.get_one(Read, second).at -= timedelta(hours=2)
    with pytest.raises(CannotRead, match="session"):
        take_back(two, second, replace(ben, signed_in_at=None))


@pytest.mark.parametrize("readers", [1, 2])
def test_of_many_who_decide_at_once_as_many_as_are_wanted_do(
    clinic: Clinic, add_case: Cases, person: People, readers: int
) -> None:
    case, own = add_case(), replace(clinic, settings=Settings(readers=readers))
    people = [person(f"reader{i}") for i in range(6)]
    start, said, refused = threading.Barrier(6), [], []

    def read(who: Person) -> None:
        start.wait()
        try:
            said.append(say(own, case, who))
        except CannotRead as error:
            refused.append(str(error))

    threads = [threading.Thread(target=read, args=(who,)) for who in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(said), len(refused)) == (readers, 6 - readers)
    with reading(clinic.engine) as session:
        assert [own.position for own in active_reads(session, case)] == list(range(1, readers + 1))
        assert verify(session, clinic.trail).problems == ()
    assert reread(clinic.engine, case).stage == "decided"


def test_one_person_twice_at_once_reads_once(two: Clinic, add_case: Cases, person: People) -> None:
    case, anna = add_case(), person()
    start, said = threading.Barrier(4), []

    def read() -> None:
        start.wait()
        try:
            said.append(say(two, case, anna))
        except CannotRead:
            return

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 1
    assert reread(two.engine, case).stage == "second-read"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["read", "undo"]),
        st.integers(0, 3),
        st.sampled_from(["", "MEL", "NV"]),
        st.sampled_from(ACTIONS[:2]),
    ),
    max_size=9,
)


@examples(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, readers=st.sampled_from([1, 2]))
def test_whatever_people_do_stage_reads_and_trail_fit(
    clinic: Clinic, add_case: Cases, person: People, steps: Any, readers: int
) -> None:
    own = replace(clinic, settings=Settings(readers=readers))
    people = _people(clinic.engine, person)
    case = add_case()
    for what, who, diagnosis, action in steps:
        try:
            if what == "read":
                say(own, case, people[who], diagnosis, action)
            else:
                with reading(clinic.engine) as session:
                    last = [r for r in active_reads(session, case) if r.account_id == people[who].account_id]
                if last:
                    take_back(own, last[0].id, people[who])
        except CannotRead:
            pass
        with reading(clinic.engine) as session:
            reads = active_reads(session, case)
            stage = session.get_one(Case, case).stage
            assert verify(session, clinic.trail).problems == ()
        assert [read.position for read in reads] == list(range(1, len(reads) + 1))
        assert len({read.account_id for read in reads}) == len(reads)
        assert all(read.diagnosis in ("", *CODES) for read in reads)
        same = len(reads) > 1 and (reads[0].diagnosis, reads[0].action) == (
            reads[1].diagnosis,
            reads[1].action,
        )
        if readers == 1:
            assert stage == ("decided" if reads else "unread")
        else:
            between = "decided" if same else "adjudication"
            assert stage == ["unread", "second-read", between, "decided"][len(reads)]
            if len(reads) == 1:
                blind = [who for who in people if who.account_id != reads[0].account_id]
                assert all(seen(own, case, who) == [] for who in blind)


def _people(engine: Engine, person: People) -> list[Person]:
    with reading(engine) as session:
        known = list(session.scalars(select(Account).order_by(Account.id)))
    if not known:
        return [person(f"p{i}", ago=timedelta(hours=1)) for i in range(4)]
    return [Person(a.id, a.name, a.full_name, a.role, MAY[a.role]) for a in known]


def test_a_read_is_kept_with_its_event_or_not_at_all(clinic: Clinic, add_case: Cases, person: People) -> None:
    case, anna = add_case(), person()
    with pytest.raises(ZeroDivisionError):
        _fail_after_deciding(clinic, case, anna)
    assert reread(clinic.engine, case).stage == "unread"
    assert events(clinic.engine, case) == []
    with writing(clinic.engine) as session:
        assert session.execute(delete(Read)).rowcount == 0  # type: ignore[attr-defined]


def _fail_after_deciding(clinic: Clinic, case: int, who: Person) -> None:
    with writing(clinic.engine) as session:
        decide(session, clinic, case, who, agrees=True, diagnosis="MEL", action="biopsy")
        raise ZeroDivisionError


def test_who_undoes_a_second_read_knows_too_much_to_read_it_again(
    two: Clinic, person: People, add_case: Cases
) -> None:
    anna, bea, cleo = person("anna"), person("bea"), person("cleo")
    case = add_case("alert")
    say(two, case, anna, "MEL")
    told = say(two, case, bea, "NV", "discharge")
    take_back(two, told, bea)
    with pytest.raises(CannotRead, match="another person must read"):
        say(two, case, bea, "MEL")
    say(two, case, cleo, "MEL")
    assert reread(two.engine, case).stage == "decided"
