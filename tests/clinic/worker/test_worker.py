from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session

from bundles import tiny_bundle
from clinic.cases import photograph, reread
from dermsentry.clinic.clinic import Clinic, open_clinic
from dermsentry.clinic.intake.admission import About, receive
from dermsentry.clinic.server.processes import Part, run_part
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.audit_trail import verify
from dermsentry.clinic.store.database import DatabaseError, migrate, reading, writing
from dermsentry.clinic.store.tables import Alert, Case, Event, Job, Model, ModelChoice, now
from dermsentry.clinic.worker import queue, worker
from dermsentry.clinic.worker.queue import MOST_ATTEMPTS, lease
from dermsentry.clinic.worker.screener import Screener, Screening, unread
from dermsentry.clinic.worker.worker import keep_result, register, run_worker, work
from dermsentry.errors import BundleError
from dermsentry.model import Adopted, Bundle, open_bundle, read_network, write_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def send(clinic: Clinic, number: int = 1) -> int:
    data = photograph(number=number)
    return receive(clinic, data, About(), source="api", actor="uli").case_id


def finding(melanoma: float = 0.7) -> dict[str, Any]:
    return {
        **unread("drawn for a test"),
        "tier": "alert",
        "melanoma": melanoma,
        "probabilities": {"MEL": 1.0},
    }


class Told(Screener):
    """A screener that does as it is told, once for each photograph, and begins no process."""

    def __init__(self, *steps: Callable[[], Screening]) -> None:
        self.steps = list(steps)

    def start(self) -> None:
        pass

    def screen(self, path: Path, kind: str, *, dermoscopic: bool = True) -> Screening:
        return self.steps.pop(0)()


def screens() -> Screening:
    return Screening(finding(), 160, 120, {"view": b"\xff\xd8\xff"})


def fails() -> Screening:
    raise BundleError("the network failed")


def run(clinic: Clinic, bundle: Bundle, told: Screener, rounds: int) -> None:
    """The worker, for as many turns as `rounds`."""
    turns = iter(range(rounds))
    stopped = lambda: next(turns, None) is None  # noqa: E731
    work(clinic, told, bundle.card, stopped)


def test_a_photograph_goes_from_the_queue_to_the_worklist(
    clinic: Clinic, tmp_path: Path, bundle: Bundle
) -> None:
    case = send(clinic)
    run(clinic, bundle, Told(screens), 1)
    kept = reread(clinic.engine, case)
    assert (kept.state, kept.tier, kept.lane, kept.rank) == ("screened", "alert", "suspicion", 0)
    assert (kept.melanoma, kept.malignancy_order, kept.model_digest) == (0.7, -2.0, bundle.card.digest)
    assert clinic.pictures.drawn(kept.sha256, "view").read_bytes() == b"\xff\xd8\xff"
    with reading(clinic.engine) as session:
        assert session.scalars(select(Job)).all() == []
        assert session.scalars(select(Model)).one().name == "tiny"
        assert session.scalars(select(Alert)).one().case_id == case
        actions = list(session.scalars(select(Event.action).order_by(Event.id)))
        assert actions == ["received", "screened", "alert raised"]
        assert verify(session, clinic.trail).problems == ()


def test_a_worker_screens_with_the_model_that_was_chosen_meanwhile(
    clinic: Clinic, tmp_path: Path, bundle: Bundle, person: Callable[..., Person]
) -> None:
    """A site bundle of the same network, of which the database has the card alone."""
    used: list[Path] = []

    class Switched(Told):
        bundle, base = Path(), None

        def use(self, folder: Path, base: Path) -> None:
            used.append(folder)
            self.base = base

    adopted = replace(bundle.card, adoption=Adopted(bundle.card.digest, 1.5, -1.0, None, {}), digest="")
    site = write_bundle(tmp_path / "made", read_network(bundle.folder)[1], adopted).card
    told = Switched(screens, screens, screens)
    told.bundle = bundle.folder
    cases = [send(clinic, number) for number in range(3)]
    run(clinic, bundle, told, 1)
    administrator = person("ada", "administrator").account_id
    for chosen in (site, bundle.card):
        with writing(clinic.engine) as session:
            register(session, chosen)
            session.flush()
            base = bundle.card.digest
            session.add(ModelChoice(base=base, digest=chosen.digest, account_id=administrator))
        run(clinic, bundle, told, 1)
    models = [reread(clinic.engine, case).model_digest for case in cases]
    assert models == [bundle.card.digest, site.digest, bundle.card.digest]
    assert used == [clinic.pictures.folder / "models" / site.digest]
    assert open_bundle(used[0]).card == site


def test_a_result_that_comes_after_its_lease_is_not_used(
    clinic: Clinic, tmp_path: Path, bundle: Bundle
) -> None:
    case = send(clinic)
    with writing(clinic.engine) as session:
        late = lease(session, timedelta(seconds=-1))
    with writing(clinic.engine) as session:
        taken = lease(session)
    assert late is not None
    assert taken is not None
    for leased, melanoma, kept in ((late, 0.1, False), (taken, 0.7, True), (taken, 0.2, False)):
        with writing(clinic.engine) as session:
            screening = Screening(finding(melanoma), 1, 1, {})
            assert keep_result(session, clinic, leased, screening, bundle.card) is kept
    assert reread(clinic.engine, case).melanoma == 0.7
    with reading(clinic.engine) as session:
        assert session.scalar(select(func.count()).where(Event.action == "screened")) == 1


def test_a_photograph_that_the_network_fails_on_wears_out_and_the_worker_goes_on(
    clinic: Clinic, tmp_path: Path, bundle: Bundle
) -> None:
    bad, good = send(clinic, 1), send(clinic, 2)
    told = Told(*[fails] * MOST_ATTEMPTS, screens)
    run(clinic, bundle, told, MOST_ATTEMPTS + 2)
    kept = reread(clinic.engine, bad)
    assert (kept.tier, kept.lane, kept.melanoma) == ("unreadable", "cannot-say", None)
    assert kept.finding is not None
    assert "3 times" in kept.finding["reasons"][0]
    assert reread(clinic.engine, good).tier == "alert"


def test_a_model_that_is_refused_stops_the_worker_and_no_photograph_is_tried(
    clinic: Clinic, tmp_path: Path, bundle: Bundle
) -> None:
    send(clinic)
    with Screener(tmp_path / "none") as broken, pytest.raises(BundleError):
        run(clinic, bundle, broken, 3)
    with reading(clinic.engine) as session:
        job = session.scalars(select(Job)).one()
        assert (job.state, job.attempts) == ("queued", 0)


def test_a_full_disk_or_a_database_that_is_away_is_waited_for(
    clinic: Clinic, tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = send(clinic)
    monkeypatch.setattr(worker, "wait_for", lambda seconds, stopped: None)
    (tmp_path / "pictures").write_text("a file where a folder should be")
    run(clinic, bundle, Told(screens), 1)
    with reading(clinic.engine) as session:
        job = session.scalars(select(Job)).one()
        assert (job.state, job.attempts) == ("queued", 0)
    (tmp_path / "pictures").unlink()
    tries = iter([DatabaseError("away"), None])
    lease_next = worker.lease

    def sometimes(session: Session) -> Any:
        error = next(tries)
        if error:
            raise error
        return lease_next(session)

    monkeypatch.setattr(worker, "lease", sometimes)
    run(clinic, bundle, Told(screens), 2)
    assert reread(clinic.engine, case).state == "screened"


def test_a_lease_is_renewed_while_a_photograph_takes_its_time(
    clinic: Clinic, tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LEASE", timedelta(seconds=0.3))
    send(clinic)
    found: list[bool] = []

    def slow() -> Screening:
        with writing(clinic.engine) as session:  # as if it had been leased for a moment only
            session.execute(text("UPDATE jobs SET lease_until = '2000-01-01 00:00:00'"))
        time.sleep(1.5)
        with reading(clinic.engine) as session:
            found.append(session.scalars(select(Job.lease_until)).one() > now())
        return screens()

    run(clinic, bundle, Told(slow), 1)
    assert found == [True]
    assert not [thread for thread in threading.enumerate() if thread.name == "lease"]


def test_workers_that_bring_a_new_model_at_once_both_do(engine: Engine, bundle: Bundle) -> None:
    start, failed = threading.Barrier(4), []

    def bring() -> None:
        start.wait()
        try:
            with writing(engine) as session:
                register(session, bundle.card)
        except Exception as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=bring) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with reading(engine) as session:
        assert session.scalar(select(func.count()).select_from(Model)) == 1


def test_workers_killed_in_the_middle_lose_and_double_nothing(
    database_url: str, tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic = open_clinic(database_url, tmp_path)
    engine = clinic.engine
    migrate(engine)
    cases = [send(clinic, number) for number in range(12)]
    spawn = multiprocessing.get_context("spawn")

    def begin() -> Any:
        part = Part("worker", run_worker, (database_url, tmp_path, Settings(), bundle.folder))
        heard = spawn.Value("d", 0.0, lock=False)
        process = spawn.Process(target=run_part, args=(part, os.getpid(), heard))
        process.start()
        return process

    def screened() -> int:
        with reading(engine) as session:
            return session.scalar(select(func.count()).where(Case.state == "screened")) or 0

    def leased_for_long() -> None:
        # As if the leases of those that were killed had run out; that takes half a minute otherwise.
        with writing(engine) as session:
            session.execute(text("UPDATE jobs SET lease_until = '2000-01-01 00:00:00', attempts = 0"))

    for goal in (2, 6):
        process = begin()
        end = time.monotonic() + 120
        while screened() < goal and time.monotonic() < end and process.is_alive():
            time.sleep(0.01)
        assert screened() >= goal
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        leased_for_long()
    process = begin()
    end = time.monotonic() + 120
    while queue_length(engine) and time.monotonic() < end and process.is_alive():
        time.sleep(0.05)
    process.terminate()
    process.join(30)
    assert process.exitcode == 0
    with reading(engine) as session:
        assert sorted(session.scalars(select(Case.id).where(Case.state == "screened"))) == cases
        told = list(session.scalars(select(Event.subject).where(Event.action == "screened")))
        assert sorted(told) == sorted(f"case {case}" for case in cases)
        assert "unreadable" not in set(session.scalars(select(Case.tier)))
        assert verify(session, clinic.trail).problems == ()
    engine.dispose()


def queue_length(engine: Engine) -> int:
    with reading(engine) as session:
        return queue.length(session)
