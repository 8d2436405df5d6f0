from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import pytest
from sqlalchemy import Engine, select

from dermsentry.clinic import batches
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.monitoring.outcomes import record_outcome
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.accounts import MAY, Person
from dermsentry.clinic.store.audit_trail import verify
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.records import verify_records
from dermsentry.clinic.store.tables import Alert, Case, Comment, Event, Lock, Read, Tag, now
from dermsentry.clinic.worklist import locks, remarks, routine
from dermsentry.clinic.worklist.reading import CannotRead, amend, decide, undo
from dermsentry.clinic.worklist.terms import TERMS, Details, cleaned, read_day
from dermsentry.clinic.worklist.worklist import (
    ORDERS,
    Filter,
    counts,
    list_cases,
    next_case,
    search_cases,
)
from dermsentry.diagnoses import CODES
from dermsentry.errors import InputError

AddCase = Callable[..., int]
People = Callable[..., Person]


def actions(engine: Engine) -> list[str]:
    with reading(engine) as session:
        return list(session.scalars(select(Event.action).order_by(Event.id)))


def lists(engine: Engine, **wanted: object) -> list[int]:
    with reading(engine) as session:
        return [case.id for case in list_cases(session, Filter(**wanted)).cases]  # type: ignore[arg-type]


def test_a_lock_shows_who_reads_runs_out_and_can_be_taken_over(
    clinic: Clinic, engine: Engine, add_case: AddCase, person: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, anna, bea = add_case(), person("anna"), person("bea")
    with writing(engine) as session:
        key = locks.lock(session, case, anna).key
        assert locks.lock(session, case, bea).account_id == anna.account_id
    with writing(engine) as session:
        assert locks.lock(session, case, anna, key).key == key  # renewed by the page that has it
        other = locks.holder(session, case, bea)
        assert other is not None
        assert other.name == "anna"
        assert locks.holder(session, case, anna) is None
    answer = {"agrees": True, "diagnosis": "MEL", "action": "biopsy"}
    with pytest.raises(CannotRead, match="Anna is reading this case"), writing(engine) as session:
        decide(session, clinic, case, bea, **answer)  # type: ignore[arg-type]
    with writing(engine) as session:
        locks.take_over(session, clinic, case, bea)
        locks.release(session, case, anna)  # what is another's by now is not given up
        assert locks.holder(session, case, anna) is not None
    assert actions(engine) == ["taken over"]
    with pytest.raises(CannotRead, match="Bea is reading"), writing(engine) as session:
        decide(session, clinic, case, anna, **answer)  # type: ignore[arg-type]
    with writing(engine) as session:
        decide(session, clinic, case, bea, **answer)  # type: ignore[arg-type]
        assert locks.lock_of(session, case) is None
    second = add_case()
    with writing(engine) as session:
        locks.lock(session, second, anna)
        moment = now() + locks.LOCKED_FOR + timedelta(seconds=1)
        monkeypatch.setattr(locks, "now", lambda: moment)
        assert locks.holder(session, second, bea) is None
        assert locks.lock(session, second, bea).account_id == bea.account_id


def test_a_page_gives_up_its_own_lock_alone(
    clinic: Clinic, engine: Engine, add_case: AddCase, person: People
) -> None:
    case, anna = add_case(), person("anna")
    with writing(engine) as session:
        first = locks.lock(session, case, anna).key
        second = locks.lock(session, case, anna).key  # the page was opened again
        locks.release(session, case, anna, first)  # and then the first one was left
        assert locks.lock_of(session, case) is not None
        locks.release(session, case, anna, second)
    with reading(engine) as session:
        assert session.scalars(select(Lock)).all() == []
    assert actions(engine) == []


def test_the_next_case_is_none_that_another_reads(
    clinic: Clinic, engine: Engine, add_case: AddCase, person: People
) -> None:
    cases = [add_case("alert", share) for share in (0.9, 0.8, 0.7)]
    anna, bea = person("anna"), person("bea")
    with writing(engine) as session:
        locks.lock(session, cases[1], bea)
        assert next_case(session, Filter(), cases[0], anna.account_id) == cases[2]
        assert next_case(session, Filter(), cases[0], bea.account_id) == cases[1]


def test_an_amendment_never_replaces_a_decision_that_was_not_seen(
    clinic: Clinic, engine: Engine, add_case: AddCase, person: People
) -> None:
    case, anna, head = add_case(), person("anna"), person("head", "administrator")
    with writing(engine) as session:
        seen = decide(session, clinic, case, anna, agrees=True, diagnosis="MEL", action="biopsy").id
        changed = amend(
            session, clinic, case, head,
            agrees=True, diagnosis="", action="biopsy", reason="unclear", instead_of=seen,
        ).id  # fmt: skip
    with pytest.raises(CannotRead, match="Head has changed the decision"), writing(engine) as session:
        amend(
            session, clinic, case, anna,
            agrees=True, diagnosis="BCC", action="biopsy", reason="looked again", instead_of=seen,
        )  # fmt: skip
    with writing(engine) as session:
        amend(
            session, clinic, case, head,
            agrees=True, diagnosis="BCC", action="biopsy", reason="looked again", instead_of=changed,
        )  # fmt: skip


def test_assignment_is_an_event_and_a_filter(
    clinic: Clinic, engine: Engine, add_case: AddCase, person: People
) -> None:
    first, second = add_case(), add_case()
    anna, bea, uli = person("anna"), person("bea"), person("uli", "uploader")
    with writing(engine) as session:
        remarks.assign(session, clinic, first, anna, bea.account_id)
        remarks.assign(session, clinic, first, anna, bea.account_id)  # nothing new
    assert lists(engine, assigned_to=bea.account_id) == [first]
    assert lists(engine, assigned_to=0) == [second]
    with writing(engine) as session:
        remarks.assign(session, clinic, first, bea, None)
        for account in (uli.account_id, 999):
            with pytest.raises(InputError, match="cannot decide"):
                remarks.assign(session, clinic, first, anna, account)
        assert [own.name for own in remarks.deciders(session)] == ["anna", "bea"]
    assert lists(engine, assigned_to=bea.account_id) == []
    with reading(engine) as session:
        told = session.scalars(select(Event.detail).order_by(Event.id)).all()
    assert told == ['{"from": "", "to": "bea"}', '{"from": "bea", "to": ""}']


def test_comments_and_tags_are_found_and_are_events(
    clinic: Clinic, engine: Engine, add_case: AddCase, person: People
) -> None:
    first, second, anna = add_case(patient="P1"), add_case(patient="P2"), person("anna")
    with writing(engine) as session:
        made = remarks.comment(session, clinic, first, anna, "  Grew since SPRING\n100 % sure  ")
        assert made.text == "Grew since SPRING\n100 % sure"
        for name in ("Teaching", "teaching", "second  look"):
            remarks.add_tag(session, clinic, second, anna, name)
        assert remarks.tags_of(session, second) == ["second  look", "Teaching"]
        for text in ("", " \n ", "x" * 4001):
            with pytest.raises(InputError):
                remarks.comment(session, clinic, first, anna, text)
        for name in ("", " ", "x" * 41):
            with pytest.raises(InputError, match="tag"):
                remarks.add_tag(session, clinic, first, anna, name)
    found = {
        "spring": [first],
        "100 %": [first],
        "teach": [second],
        "%": [first],
        "p2 teach": [second],
        "_": [],
    }
    for search, expected in found.items():
        assert lists(engine, search=search) == expected, search
        with reading(engine) as session:
            assert [case.id for case in search_cases(session, search)[0]] == expected
    assert lists(engine, tag="TEACHING") == [second]
    assert lists(engine, tag="teach") == []
    assert lists(engine, tag="second look") == [second]
    with writing(engine) as session:
        remarks.remove_tag(session, clinic, second, anna, "TEACHING")
        remarks.remove_tag(session, clinic, second, anna, "never there")
    assert lists(engine, tag="teaching") == []
    assert actions(engine) == ["commented", "tagged", "tagged", "tag removed"]
    with reading(engine) as session:
        assert "SPRING" not in "".join(session.scalars(select(Event.detail)))
    with writing(engine) as session:
        for number in range(remarks.MOST_TAGS):
            remarks.add_tag(session, clinic, first, anna, f"tag {number}")
        with pytest.raises(InputError, match="the most"):
            remarks.add_tag(session, clinic, first, anna, "one more")


def test_a_second_reader_is_blind_to_what_the_first_commented(
    engine: Engine, clinic: Clinic, add_case: AddCase, person: People
) -> None:
    two = Clinic(clinic.engine, clinic.trail, clinic.pictures, Settings(readers=2))
    case_id, anna, bea, cleo = add_case(), person("anna"), person("bea"), person("cleo")

    def shown(who: Person) -> list[str]:
        with reading(engine) as session:
            case = session.get_one(Case, case_id)
            return [own.text for own in remarks.visible_comments(session, two, case, who)]

    def finds(who: Person, word: str = "surely") -> bool:
        blind = remarks.blind_reader(two, who)
        with reading(engine) as session:
            everywhere, number = search_cases(session, word, blind=blind)
            here = list_cases(session, Filter(search=word, stage="all", blind=blind)).cases
            assert number == len(everywhere) == len(here)
            return bool(here)

    with writing(engine) as session:
        remarks.comment(session, two, case_id, cleo, "patient is anxious")
        remarks.comment(session, two, case_id, anna, "surely a melanoma")
        decide(session, two, case_id, anna, agrees=True, diagnosis="MEL", action="biopsy")
    assert shown(bea) == ["patient is anxious"]
    assert shown(anna) == ["patient is anxious", "surely a melanoma"]
    # Nor does a search tell, which would say the words one by one.
    assert [finds(who) for who in (anna, bea, cleo)] == [True, False, False]
    assert finds(bea, "anxious")
    assert remarks.blind_reader(clinic, bea) is None
    with writing(engine) as session:
        differs = decide(session, two, case_id, bea, agrees=False, diagnosis="NV", action="biopsy")
        remarks.comment(session, two, case_id, bea, "regular network")
    # Who settles where they differ sees both; they do not see each other yet.
    assert [finds(who) for who in (anna, bea, cleo)] == [True, False, True]
    assert [finds(who, "network") for who in (anna, bea, cleo)] == [False, True, True]
    assert [len(shown(who)) for who in (anna, bea, cleo)] == [2, 2, 3]
    uploader = replace(cleo, may=MAY["uploader"])
    assert not finds(uploader)
    with writing(engine) as session:
        undo(session, two, differs.id, bea)
    assert [finds(who, "network") for who in (anna, bea, cleo)] == [True, True, True]  # bea has read nothing
    assert not finds(bea)
    with writing(engine) as session:
        decide(session, two, case_id, cleo, agrees=True, diagnosis="MEL", action="biopsy")
    assert len(shown(bea)) == 3
    assert all(finds(who) for who in (anna, bea, cleo, uploader))


def test_each_order_lists_every_case_once_page_by_page(engine: Engine, add_case: AddCase) -> None:
    moment = now() - timedelta(days=1)
    rows = [("alert", 0.9, "P2"), ("routine", 0.01, "P1"), ("refer", 0.2, "P2"), ("alert", 0.7, "P1")]
    ids = [
        add_case(tier, share, patient=patient, lesion=f"L{i}", received_at=moment + timedelta(minutes=i))
        for i, (tier, share, patient) in enumerate(rows)
    ]
    expected = {
        "suspicion": [ids[0], ids[3], ids[2], ids[1]],
        "longest-waiting": ids,
        "latest": ids[::-1],
        "patient": [ids[1], ids[3], ids[0], ids[2]],
    }
    assert set(expected) == set(ORDERS)
    for order, wanted in expected.items():
        own = Filter(order=order)  # type: ignore[arg-type]
        found, after = [], None
        with reading(engine) as session:
            while True:
                page = list_cases(session, own, after=after, limit=1)
                found += [case.id for case in page.cases]
                after = page.next
                if after is None:
                    break
            assert found == wanted
            assert [next_case(session, own, case_id) for case_id in wanted] == [*wanted[1:], None]
        for other in set(ORDERS) - {order, "latest"} - ({"longest-waiting"} if order == "latest" else set()):
            with reading(engine) as session:
                cursor = list_cases(session, own, limit=1).next
                with pytest.raises(InputError, match="page that is none"):
                    list_cases(session, Filter(order=other), after=cursor)  # type: ignore[arg-type]


def test_routine_cases_are_discharged_together_and_taken_back_together(
    clinic: Clinic, engine: Engine, add_case: AddCase, person: People
) -> None:
    anna, bea = person("anna", ago=timedelta(hours=1)), person("bea")
    routine_ids = [add_case("routine", 0.01) for _ in range(5)]
    others = [
        add_case("alert", 0.9),
        add_case("refer", 0.2),
        add_case("cannot-say", 0.3),
        add_case("unreadable"),
    ]
    with writing(engine) as session:
        session.add(Alert(case_id=routine_ids[0], rule="a rule of the clinic's"))
        session.get_one(Case, routine_ids[3]).revision += 1  # changed since it was chosen
        locks.lock(session, routine_ids[4], bea)
    with writing(engine) as session:
        batch = routine.discharge(session, clinic, anna, dict.fromkeys([*routine_ids, *others], 0))
    assert batch.cases == tuple(routine_ids[:3])
    assert set(batch.left) == {*routine_ids[3:], *others}
    assert "changed" in batch.left[routine_ids[3]]
    assert "Bea is reading" in batch.left[routine_ids[4]]
    assert all("not routine" in batch.left[number] for number in others)
    with reading(engine) as session:
        reads = session.scalars(select(Read)).all()
        assert {(r.agrees, r.diagnosis, r.action, r.batch) for r in reads} == {
            (True, "", "discharge", batch.key)
        }
        assert session.scalars(select(Event.subject).where(Event.action == "read")).all() == [
            f"case {number}" for number in batch.cases
        ]
        assert session.scalars(select(Alert.acknowledged_at)).one() is not None
        assert {session.get_one(Case, number).stage for number in others} == {"unread"}
    with pytest.raises(InputError, match="nothing to undo"), writing(engine) as session:
        routine.undo_batch(session, clinic, batch.key, bea)
    with writing(engine) as session:
        undone = routine.undo_batch(session, clinic, batch.key, anna)
    assert (undone.cases, undone.left) == (batch.cases, {})
    with reading(engine) as session:
        assert {session.get_one(Case, number).stage for number in batch.cases} == {"unread"}
        assert session.scalars(select(Alert.acknowledged_at)).one() is None
        assert verify(session, clinic.trail).problems == ()


def test_what_was_discharged_long_ago_stays_and_nothing_is_not_a_batch(
    clinic: Clinic,
    engine: Engine,
    add_case: AddCase,
    person: People,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    anna, case = person("anna", ago=timedelta(hours=1)), add_case("routine", 0.01)
    for wanted in ([], [f"{number}.0" for number in range(1, batches.MOST_AT_ONCE + 2)]):
        with pytest.raises(InputError, match="expected 1 to 200"):
            routine.chosen(wanted)
    with writing(engine) as session:
        batch = routine.discharge(session, clinic, anna, {case: 0})
        reads = routine.batch_of(session, batch.key, anna)
        [at] = [read.at for read in reads]
        assert batches.undoable_until([at]) == at + batches.UNDO_FOR
        later = now() + batches.UNDO_FOR + timedelta(seconds=1)
        for module in (batches, routine):
            monkeypatch.setattr(module, "now", lambda: later)
        assert batches.undoable_until([at]) is batches.undoable_until([]) is None
        with pytest.raises(InputError, match="15 minutes"):
            routine.undo_batch(session, clinic, batch.key, anna)
    for text in ("", "1", "1.", "1.x", "-1.0", "1.0.0", "9" * 11 + ".0"):
        with pytest.raises(InputError, match=r"NUMBER\.REVISION"):
            routine.chosen([text])
    assert routine.chosen(["3.0", "12.4"]) == {3: 0, 12: 4}


def test_comments_and_tags_belong_to_their_case(clinic: Clinic, engine: Engine, person: People) -> None:
    anna = person("anna")
    with writing(engine) as session:
        for act in (
            lambda: remarks.comment(session, clinic, 9, anna, "x"),
            lambda: remarks.add_tag(session, clinic, 9, anna, "x"),
            lambda: remarks.remove_tag(session, clinic, 9, anna, "x"),
            lambda: remarks.assign(session, clinic, 9, anna, anna.account_id),
        ):
            with pytest.raises(InputError, match="no case 9"):
                act()
        assert session.scalars(select(Comment)).all() == session.scalars(select(Tag)).all() == []


TODAY = date(2026, 11, 26)


@pytest.mark.parametrize(
    ("details", "diagnosis", "action", "words"),
    [
        (Details(finer="MIS"), "NV", "biopsy", "it goes with MEL"),
        (Details(finer="X"), "MEL", "biopsy", "expected MIS"),
        (Details(certainty="utter"), "MEL", "biopsy", "expected low"),
        (Details(other="Kaposi sarcoma"), "MEL", "biopsy", "expected one of the two"),
        (Details(other="x" * 121), "", "biopsy", "121 characters"),
        (Details(other="Kaposi sarcoma", other_code="9140/3"), "", "biopsy", "expected such as SNOMED"),
        (Details(other_code="ICD-O 9140/3"), "", "biopsy", "expected both"),
        (Details(follow_up_on=date(2027, 1, 1)), "NV", "discharge", "another action"),
        (Details(follow_up_on=date(2026, 11, 25)), "NV", "follow-up", "is past"),
        (Details(follow_up_on=date(2126, 1, 1)), "NV", "follow-up", "too far"),
    ],
)
def test_details_that_make_no_sense_are_told(
    details: Details, diagnosis: str, action: str, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        cleaned(details, diagnosis, action, TODAY)


def test_each_finer_diagnosis_is_within_one_of_the_nine() -> None:
    assert len({own.code for own in TERMS} - set(CODES)) == len(TERMS)
    for own in TERMS:
        for code in own.within:
            assert code in ("", *CODES)
            assert cleaned(Details(finer=own.code), code, "biopsy", TODAY).finer == own.code
    found = cleaned(Details(other=" Kaposi  sarcoma ", other_code="ICD-O  9140/3"), "", "biopsy", TODAY)
    assert (found.other, found.other_code) == ("Kaposi  sarcoma", "ICD-O 9140/3")
    assert (read_day(""), read_day("2027-01-31")) == (None, date(2027, 1, 31))
    with pytest.raises(InputError, match="2026-01-31"):
        read_day("31.1.2027")


def test_what_is_to_be_seen_again_is_a_list_until_it_was(
    clinic: Clinic, engine: Engine, add_case: AddCase, person: People
) -> None:
    anna = person("anna", ago=timedelta(hours=1))
    ids = [add_case("refer", 0.1), add_case("cannot-say", 0.3), add_case("refer", 0.1)]
    days = [now().date() + timedelta(days=own) for own in (30, 0, 9)]
    for case, day in zip(ids, days, strict=True):
        agrees = None if case == ids[1] else True
        details = Details(finer="DYS", certainty="high", follow_up_on=day)
        with writing(engine) as session:
            read = decide(
                session, clinic, case, anna,
                agrees=agrees, diagnosis="NV", action="follow-up", details=details,
            ).id  # fmt: skip
    assert lists(engine, stage="follow-up") == [ids[1], ids[2], ids[0]]
    with reading(engine) as session:
        page = list_cases(session, Filter(stage="follow-up"), limit=2)
        rest = list_cases(session, Filter(stage="follow-up"), limit=2, after=page.next)
        assert [case.id for case in rest.cases] == [ids[0]]
        assert counts(session)["follow-up"] == 1  # one is due
    with writing(engine) as session:
        remarks.follow_up_done(session, clinic, ids[1], anna)
        with pytest.raises(InputError, match="No follow-up"):
            remarks.follow_up_done(session, clinic, ids[1], anna)
        amend(session, clinic, ids[0], anna, agrees=True, diagnosis="NV", action="discharge", reason="seen")
        undo(session, clinic, read, anna)
    assert lists(engine, stage="follow-up") == []
    with reading(engine) as session:
        session.get_one(Read, read).certainty = "low"
        session.flush()
        problems = [own for own in verify_records(session, None) if "read" in own]
        assert problems == [f"read {read} is not as the events tell: certainty"]


def test_the_breslow_thickness_is_of_a_melanoma_by_histology(
    clinic: Clinic, engine: Engine, add_case: AddCase, person: People
) -> None:
    case, anna = add_case(), person("anna")
    with writing(engine) as session:
        for diagnosis, method, thickness in (
            ("NV", "histology", 0.4),
            ("MEL", "follow-up", 0.4),
            ("MEL", "histology", 0.0),
            ("MEL", "histology", float("nan")),
            ("MEL", "histology", 101.0),
        ):
            with pytest.raises(InputError, match="Breslow"):
                record_outcome(
                    session, clinic, case, anna, diagnosis=diagnosis, method=method, breslow_mm=thickness
                )
        found = record_outcome(
            session, clinic, case, anna, diagnosis="MEL", method="histology", breslow_mm=0.404
        )
        assert found.breslow_mm == 0.4
