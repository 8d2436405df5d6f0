from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, select

from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import Job, now
from dermsentry.clinic.worker import queue
from dermsentry.clinic.worker.queue import MOST_ATTEMPTS, Leased, finish, give_up_lease, length, renew

Cases = Callable[..., int]


@pytest.fixture
def enqueue(engine: Engine, add_case: Cases) -> Callable[[], int]:
    def make() -> int:
        case = add_case("")
        with writing(engine) as session:
            session.add(Job(case_id=case))
        return case

    return make


def lease(engine: Engine, duration: timedelta = queue.LEASE) -> Leased | None:
    with writing(engine) as session:
        return queue.lease(session, duration)


def test_jobs_are_leased_in_their_order_and_once(engine: Engine, enqueue: Callable[[], int]) -> None:
    cases = [enqueue() for _ in range(3)]
    leased = [lease(engine) for _ in range(4)]
    assert [own and own.case_id for own in leased] == [*cases, None]
    with writing(engine) as session:
        assert length(session) == 3
        assert leased[0] is not None
        case = finish(session, leased[0])
        assert case is not None
        assert case.id == cases[0]
    with writing(engine) as session:
        assert length(session) == 2
        assert finish(session, leased[0]) is None


def test_a_lease_that_ran_out_is_anothers_and_its_result_unused(
    engine: Engine, enqueue: Callable[[], int]
) -> None:
    enqueue()
    lost = lease(engine, timedelta(seconds=-1))
    taken = lease(engine)
    assert lost is not None
    assert taken is not None
    assert lost.case_id == taken.case_id
    with writing(engine) as session:
        assert finish(session, lost) is None
        assert renew(session, lost) is False
        give_up_lease(session, lost, tried=False)
    assert lease(engine) is None
    with writing(engine) as session:
        assert renew(session, taken) is True
        assert finish(session, taken) is not None


def test_a_renewed_lease_stays(engine: Engine, enqueue: Callable[[], int]) -> None:
    enqueue()
    leased = lease(engine, timedelta(seconds=-1))
    assert leased is not None
    with writing(engine) as session:
        assert renew(session, leased)
    assert lease(engine) is None
    with reading(engine) as session:
        assert session.scalars(select(Job)).one().lease_until > now() + timedelta(seconds=20)


def test_a_photograph_that_stops_its_workers_wears_out(engine: Engine, enqueue: Callable[[], int]) -> None:
    enqueue()
    for attempt in range(MOST_ATTEMPTS + 1):
        leased = lease(engine, timedelta(seconds=-1))
        assert leased is not None
        assert leased.worn_out is (attempt == MOST_ATTEMPTS)


def test_only_an_attempt_on_the_photograph_counts(engine: Engine, enqueue: Callable[[], int]) -> None:
    enqueue()
    for tried, attempts in ((False, 0), (True, 1), (False, 1), (True, 2)):
        leased = lease(engine)
        assert leased is not None
        with writing(engine) as session:
            give_up_lease(session, leased, tried=tried)
        with reading(engine) as session:
            assert session.scalars(select(Job)).one().attempts == attempts


def test_of_many_workers_none_gets_anothers_job(engine: Engine, enqueue: Callable[[], int]) -> None:
    cases = [enqueue() for _ in range(20)]
    done: list[int] = []

    def work() -> None:
        while (leased := lease(engine)) is not None:
            with writing(engine) as session:
                case = finish(session, leased)
                assert case is not None
            done.append(case.id)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == cases


def test_a_job_that_is_being_taken_makes_nobody_wait(engine: Engine, enqueue: Callable[[], int]) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    cases = [enqueue(), enqueue()]
    with writing(engine) as session:
        first = queue.lease(session)
        second = lease(engine)
    assert first is not None
    assert second is not None
    assert [first.case_id, second.case_id] == cases


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["take", "die", "finish", "give up", "renew"]), st.integers(0, 3)),
        max_size=14,
    )
)
def test_whatever_workers_do_each_job_is_done_once(
    engine: Engine, enqueue: Callable[[], int], steps: list[tuple[str, int]]
) -> None:
    with writing(engine) as session:
        session.execute(delete(Job))
    cases = [enqueue() for _ in range(2)]
    hands: list[Leased] = []
    done: list[int] = []
    for what, which in steps:
        own = hands[which % len(hands)] if hands else None
        if what in ("take", "die"):
            # Who dies leaves a lease that has run out.
            leased = lease(engine, timedelta(seconds=-1) if what == "die" else queue.LEASE)
            hands += [leased] if leased else []
        elif own is not None:
            with writing(engine) as session:
                if what == "finish":
                    case = finish(session, own)
                    done += [case.id] if case else []
                elif what == "renew":
                    renew(session, own)
                else:
                    give_up_lease(session, own, tried=False)
        with reading(engine) as session:
            waiting = list(session.scalars(select(Job.case_id)))
        assert sorted(waiting + done) == cases
