from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, insert, select, text

from clinic.cases import reread, screened
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.database import find, reading, writing
from dermsentry.clinic.store.tables import Case, malignancy_order, now
from dermsentry.clinic.worklist.reading import decide
from dermsentry.clinic.worklist.worklist import (
    Filter,
    _read_cursor,
    counts,
    list_cases,
    next_case,
)
from dermsentry.diagnoses import CODES
from dermsentry.errors import InputError

ALL = Filter(stage="all")


def walk(engine: Engine, wanted: Filter, limit: int) -> Iterator[int]:
    after = None
    while True:
        with reading(engine) as session:
            page = list_cases(session, wanted, after=after, limit=limit)
        yield from (case.id for case in page.cases)
        if page.next is None:
            return
        assert len(page.cases) == limit
        after = page.next


def test_the_most_worrying_stands_on_top(engine: Engine, add_case: Callable[..., int]) -> None:
    hour = timedelta(hours=1)
    unsure = add_case("refer", 0.06)
    late = add_case("alert", 0.5, received_at=now() - hour)
    early = add_case("alert", 0.5, received_at=now() - 2 * hour)
    harmless = add_case("routine", 0.001, received_at=now() - 9 * hour)
    worst = add_case("alert", 0.9)
    soon = add_case("refer", 0.02)
    add_case("cannot-say", 0.001)
    add_case("")
    assert list(walk(engine, Filter(), 3)) == [worst, early, late, unsure, soon, harmless]


def test_within_a_tier_any_malignancy_comes_before_what_is_none(
    engine: Engine, add_case: Callable[..., int]
) -> None:
    def of(tier: str, **shares: float) -> int:
        number = add_case(tier, shares.get("MEL", 0.0))
        with writing(engine) as session:
            case = session.get_one(Case, number)
            case.finding = {**case.finding, "probabilities": dict.fromkeys(CODES, 0.0) | shares}
            case.malignancy_order = malignancy_order(case.finding["probabilities"])
        return number

    nevus = of("refer", MEL=0.03, NV=0.97)
    carcinoma = of("refer", MEL=0.01, BCC=0.99)
    squamous = of("refer", SCC=0.95, MEL=0.04)
    keratosis = of("refer", AK=0.99)
    melanoma = of("refer", MEL=0.55, NV=0.45)
    alert = of("alert", MEL=0.2, NV=0.8)
    with reading(engine) as session:
        ids = [case.id for case in list_cases(session, Filter()).cases]
    assert ids == [alert, melanoma, squamous, carcinoma, nevus, keratosis]


def test_what_cannot_be_judged_never_stands_among_what_was(
    engine: Engine, add_case: Callable[..., int]
) -> None:
    ids = {tier: add_case(tier) for tier in ("alert", "routine", "cannot-say", "unreadable", "")}
    assert list(walk(engine, Filter(lane="suspicion"), 50)) == [ids["alert"], ids["routine"]]
    assert list(walk(engine, Filter(lane="cannot-say"), 50)) == [ids["cannot-say"], ids["unreadable"]]
    assert list(walk(engine, Filter(lane="waiting"), 50)) == [ids[""]]


def test_counts_are_of_open_cases(
    clinic: Clinic, add_case: Callable[..., int], person: Callable[..., Person]
) -> None:
    for tier in ("alert", "alert", "refer", "routine", "cannot-say", "unreadable", ""):
        add_case(tier)
    decided, anna = add_case("alert"), person()
    with writing(clinic.engine) as session:
        decide(session, clinic, decided, anna, agrees=True, diagnosis="MEL", action="biopsy")
    with reading(clinic.engine) as session:
        assert counts(session) == {
            "suspicion": 4,
            "cannot-say": 2,
            "waiting": 1,
            "alert": 2,
            "refer": 1,
            "routine": 1,
            "unreadable": 1,
            "follow-up": 0,
        }


def test_pages_hold_every_case_once_in_order(engine: Engine) -> None:
    moment = now()
    with writing(engine) as session:
        for i in range(24):
            # Many alike, so that the number alone tells them apart.
            case = screened(("alert", "refer")[i % 2], (0.25, 0.75)[i % 3 % 2], received_at=moment)
            if i % 4 == 0:
                case.stage, case.decided_at = "decided", moment - timedelta(hours=i % 8)
            case.model_digest = None
            session.add(case)
    for wanted, number in ((Filter(), 18), (Filter(stage="decided"), 6), (Filter(stage="all"), 24)):
        seen = list(walk(engine, wanted, 100))
        assert len(seen) == len(set(seen)) == number
        for limit in (1, 2, 7, 500):
            assert list(walk(engine, wanted, limit)) == seen, limit
        keys = []
        for case in (reread(engine, case_id) for case_id in seen):
            if wanted.stage == "decided":
                assert case.decided_at is not None
                keys.append((-case.decided_at.timestamp(), -case.id))
            else:
                keys.append((case.rank, case.malignancy_order, case.id))
        assert keys == sorted(keys)


def test_a_case_decided_between_two_pages_makes_none_be_skipped(
    clinic: Clinic, add_case: Callable[..., int], person: Callable[..., Person]
) -> None:
    ids = [add_case("alert", 0.9 - i / 100) for i in range(6)]
    anna = person()
    with writing(clinic.engine) as session:
        first = list_cases(session, Filter(), limit=3)
        decide(session, clinic, ids[0], anna, agrees=True, diagnosis="MEL", action="biopsy")
    with reading(clinic.engine) as session:
        second = list_cases(session, Filter(), after=first.next, limit=3)
    assert [case.id for case in (*first.cases, *second.cases)] == ids


def test_filters_leave_what_is_asked_for(engine: Engine, add_case: Callable[..., int]) -> None:
    old = add_case("alert", 0.8, received_at=now() - timedelta(days=3), site="left arm")
    new = add_case("refer", 0.7, site="back")
    day = timedelta(days=1)
    for wanted, expected in (
        (Filter(tier="alert"), [old]),
        (Filter(tier="refer"), [new]),
        (Filter(tier="unreadable"), []),
        (Filter(site="back"), [new]),
        (Filter(site="bac"), []),
        (Filter(since=now() - day), [new]),
        (Filter(until=now() - day), [old]),
    ):
        assert list(walk(engine, wanted, 50)) == expected, wanted


def test_search_looks_for_words_in_every_place(engine: Engine, add_case: Callable[..., int]) -> None:
    about = {
        "patient": "P-1234 MÜLLER",
        "lesion": "L1",
        "site": "left arm straße",
        "file_name": "IMG_0001.jpg 100%",
    }
    case = add_case(**about)
    add_case(patient="Q-5", file_name="other.png")
    for search, found in (
        ("p-1234", True),
        ("P-1234 LEFT", True),
        ("23", True),
        ("müller", True),
        ("STRASSE", True),
        ("img_0001.jpg", True),
        ("l1 arm", True),
        ("100%", True),
        ("P-9", False),
        ("p-1234 right", False),
        ("img%0001", False),
        ("img?0001", False),
        ("p_1234", False),
        ("'; DROP TABLE cases; --", False),
        ("   ", True),
    ):
        listed = list(walk(engine, Filter(search=search), 50))
        assert (case in listed) is found, search
    if search.strip() and found:
        assert listed == [case]


def test_search_finds_a_case_by_its_number(engine: Engine, add_case: Callable[..., int]) -> None:
    ids = [add_case("alert", 0.9 - i / 100, sha256=uuid.uuid4().hex * 2) for i in range(3)]
    assert list(walk(engine, Filter(search=str(ids[1])), 50)) == [ids[1]]
    assert list(walk(engine, Filter(search=f"#{ids[2]}"), 50)) == [ids[2]]
    assert list(walk(engine, Filter(search="9" * 30), 50)) == []


def test_search_follows_a_case_that_was_changed(engine: Engine, add_case: Callable[..., int]) -> None:
    case = add_case(patient="wrong")
    with writing(engine) as session:
        session.get_one(Case, case).patient = "right"
    assert list(walk(engine, Filter(search="right"), 50)) == [case]
    assert list(walk(engine, Filter(search="wrong"), 50)) == []


def test_the_longest_texts_are_kept_and_found(engine: Engine, add_case: Callable[..., int]) -> None:
    # Letters that take four bytes, and one that folds to three.
    case = add_case(patient="𝔛" * 120, lesion="ΐ" * 120, site="𝔜" * 120, file_name="𝔷" * 255)
    assert list(walk(engine, Filter(search="𝔛𝔛"), 50)) == [case]


def test_bad_questions_are_refused_in_words(engine: Engine) -> None:
    with reading(engine) as session:
        for wanted, options in (
            (Filter(tier="alrt"), {}),
            (Filter(search="a b c d e f g h i"), {}),
            (Filter(search="a\0"), {}),
            (Filter(), {"limit": 0}),
            (Filter(), {"limit": 10_000}),
            (Filter(), {"after": "rubbish"}),
            (Filter(), {"after": ""}),
            (Filter(), {"after": "W10"}),
            (Filter(), {"after": "ü"}),
        ):
            with pytest.raises(InputError):
                list_cases(session, wanted, **options)


@given(cursor=st.text(max_size=60) | st.binary(max_size=60).map(lambda data: data.hex()))
def test_a_cursor_is_read_or_refused(cursor: str) -> None:
    for stage in ("open", "decided"):
        try:
            _read_cursor(Filter(stage=stage), cursor)
        except InputError:
            continue
        pytest.fail(f"{cursor!r} was taken for a cursor")


def test_a_cursor_of_another_order_is_refused(engine: Engine, add_case: Callable[..., int]) -> None:
    add_case()
    add_case()
    with reading(engine) as session:
        after = list_cases(session, Filter(), limit=1).next
        with pytest.raises(InputError, match="first page"):
            list_cases(session, Filter(stage="decided"), after=after)


def test_the_next_case_comes_after_one_that_has_just_been_decided(
    clinic: Clinic, add_case: Callable[..., int], person: Callable[..., Person]
) -> None:
    ids = [add_case("alert", 0.9 - i / 100) for i in range(3)]
    anna = person()
    with writing(clinic.engine) as session:
        decide(session, clinic, ids[1], anna, agrees=True, diagnosis="MEL", action="biopsy")
    with reading(clinic.engine) as session:
        assert next_case(session, Filter(), ids[0]) == ids[2]
        assert next_case(session, Filter(), ids[1]) == ids[2]
        assert next_case(session, Filter(), ids[2]) is None
        assert next_case(session, Filter(), 10**12) is None
        assert next_case(session, Filter(stage="decided"), ids[0]) == ids[1]
        assert find(session, Case, -1) is None
        assert find(session, Case, 2**40) is None


def test_who_has_read_a_case_is_not_shown_it_again(
    clinic: Clinic, add_case: Callable[..., int], person: Callable[..., Person]
) -> None:
    case, anna, ben = add_case(), person("anna"), person("ben")
    two = replace(clinic, settings=Settings(readers=2))
    with writing(clinic.engine) as session:
        decide(session, two, case, anna, agrees=True, diagnosis="MEL", action="biopsy")
    assert list(walk(clinic.engine, Filter(), 5)) == [case]
    assert list(walk(clinic.engine, Filter(not_read_by=anna.account_id), 5)) == []
    assert list(walk(clinic.engine, Filter(not_read_by=ben.account_id), 5)) == [case]


@pytest.fixture
def crowded(engine: Engine) -> Engine:
    """8,000 cases, most of them decided over the years."""
    template = screened("alert", 0.5)
    rows = [
        {
            "sha256": f"{i:064x}",
            "source": "page",
            "state": "screened",
            "lane": "suspicion" if i % 20 else "cannot-say",
            "tier": "alert" if i % 20 else "cannot-say",
            "rank": 0,
            "melanoma": (i % 997) / 1000,
            "malignancy_order": -(i % 997) / 1000,
            "stage": "decided" if i % 8 else "unread",
            "decided_at": now() if i % 8 else None,
            "patient": f"P{i // 3}",
            "site": "back" if i % 50 else "left heel",
            "file_name": f"IMG_{i:06}.jpg",
            "finding": template.finding,
        }
        for i in range(8_000)
    ]
    with writing(engine) as session:
        for start in range(0, len(rows), 2000):
            session.execute(insert(Case), rows[start : start + 2000])
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("VACUUM ANALYZE cases"))
    return engine


def plan(engine: Engine, wanted: Filter, after: str | None) -> str:
    """How the database would find a page, in its own words."""
    asked = []

    class Listening:
        def scalars(self, query: Any) -> Any:
            asked.append(query)
            return self

        def all(self) -> list[Case]:
            return []

    list_cases(Listening(), wanted, after=after)  # type: ignore[arg-type]
    compiled = asked[0].compile(engine, compile_kwargs={"literal_binds": True})
    word = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(f"{word} {compiled}".replace("%", "%%")).all()
    return "\n".join(str(row[-1]) for row in rows)


def test_no_page_walks_through_what_was_decided_nor_sorts_nor_opens_what_it_searches(crowded: Engine) -> None:
    for stage, index in (
        ("open", "ix_cases_open"),
        ("decided", "ix_cases_decided"),
        ("all", "ix_cases_worklist"),
    ):
        wanted = Filter(stage=stage)  # type: ignore[arg-type]
        with reading(crowded) as session:
            page = list_cases(session, wanted, limit=500)
        for after in (None, page.next):
            words = plan(crowded, wanted, after)
            assert index in words, words
            assert "TEMP B-TREE" not in words, words
            assert "Sort" not in words, words

    # Nor does any filter open a case to look into it.
    for wanted in (
        Filter(search="IMG_007999", stage="all"),
        Filter(site="left heel"),
        Filter(stage="decided", tier="alert", site="left heel", until=now(), search="007999"),
    ):
        words = plan(crowded, wanted, None)
        assert any(way in words for way in ("COVERING INDEX", "Index Only Scan")), words
    assert list(walk(crowded, Filter(search="img_007999", stage="all"), 50)) == list(
        walk(crowded, replace(ALL, search="P2666 007999"), 50)
    )
    with reading(crowded) as session:
        assert session.scalar(select(Case.id).where(Case.file_name == "IMG_007999.jpg")) in walk(
            crowded, replace(ALL, search="img_007999"), 50
        )
