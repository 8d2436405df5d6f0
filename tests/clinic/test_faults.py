"""Processes are killed in the middle of uploads and of a doctor's work.

Nothing that was acknowledged is lost, nothing is doubled, tables and audit trail agree.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, Select, func, select

from bundles import tiny_bundle
from clinic.filled_store import Store
from clinic.server_process import PASSWORD, Server, add_sender, case_of, photograph, send, server
from clinic.waiting import wait_until
from dermsentry.clinic.store.accounts import add_account, add_token, sign_in
from dermsentry.clinic.store.audit_trail import verify
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.records import verify_records
from dermsentry.clinic.store.tables import (
    AMENDMENT,
    ASSESSED,
    Alert,
    Case,
    Correction,
    Draft,
    Event,
    Job,
    Outcome,
    Read,
    SignIn,
)
from dermsentry.clinic.web.security import COOKIE

pytestmark = pytest.mark.slow

TOGETHER = 3
"""Photographs of one lesion, which nobody reads: one case."""


class Uploader:
    """Sends photographs one after the other, each again until the server says that it is kept.

    With `together`, as many as that are of one lesion of a patient. It goes on after a broken connection and
    after an error of the server's; any other answer ends it and is in `refused`.
    """

    def __init__(self, address: str, token: str, photographs: list[bytes], together: int = 0) -> None:
        self.address, self.token, self.photographs = address, token, photographs
        self.together = together
        self.accepted: list[int] = []
        self.refused = ""
        self.thread = threading.Thread(target=self._send_all, daemon=True)

    def _send_all(self) -> None:
        for number, data in enumerate(self.photographs):
            about = {"patient": f"Q-{number // self.together}", "lesion": "A"} if self.together else {}
            expected = {201}
            while True:
                try:
                    answer = send(self.address, self.token, data, **about)
                except httpx.TransportError:
                    answer = None
                if answer is not None and answer.status_code < 500:
                    break
                expected = {200, 201}  # it may have been kept before the answer was lost
                time.sleep(0.1)
            if answer.status_code not in expected:
                self.refused = f"{answer.status_code}: {answer.text}"
                return
            self.accepted.append(case_of(answer))

    def wait_for(self, count: int, seconds: float) -> None:
        wait_until(
            lambda: len(self.accepted) >= count or not self.thread.is_alive(), seconds, f"{count} uploads"
        )
        assert len(self.accepted) >= count, self.refused


class Doctor:
    """Begins, decides, amends, corrects each case and enters its outcome, as soon as it is screened.

    Each step is sent until the server says that it is kept, or the database has it: the answer may be what
    was lost. Any other answer ends the work and is in `refused`.
    """

    STEPS = ("draft", "decisions", "amendments", "corrections", "outcomes")

    def __init__(self, address: str, store: Store, cases: int, accepted: list[int]) -> None:
        self.address, self.store, self.cases, self.accepted = address, store, cases, accepted
        with writing(store.engine) as session:
            account = add_account(session, "doctor", "The Doctor", "dermatologist", PASSWORD)
            scopes = ("cases:read", "reads:write", "outcomes:write", "correct")
            self.token = add_token(session, account, "for a test", scopes)[1]
            self.cookie = sign_in(session, account)
            session.flush()
            self.csrf = str(session.scalar(select(SignIn.csrf).where(SignIn.account_id == account.id)))
        self.done: list[tuple[int, str]] = []
        self.answered_late = 0
        self.refused = ""
        self.thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        for place in range(self.cases):
            while len(self.accepted) <= place:
                time.sleep(0.05)
            number = self.accepted[place]
            tier = self._screened(number)
            for step in self.STEPS:
                while not self.refused:
                    try:
                        answer = self._send(number, step, tier)
                    except httpx.TransportError:
                        answer = None
                    if answer is not None and answer.status_code < 300:
                        break
                    if self._is_kept(number, step):
                        self.answered_late += 1
                        break
                    if answer is not None and answer.status_code < 500:
                        self.refused = f"{number} {step}: {answer.status_code} {answer.text}"
                    time.sleep(0.1)
                if self.refused:
                    return
                self.done.append((number, step))

    def _screened(self, number: int) -> str:
        while True:
            with reading(self.store.engine) as session:
                case = session.get(Case, number)
                if case is not None and case.state == "screened":
                    return case.tier
            time.sleep(0.05)

    def _send(self, number: int, step: str, tier: str) -> httpx.Response:
        words = f"{step} {number}"
        with reading(self.store.engine) as session:
            first = session.scalar(select(Read.id).where(Read.case_id == number, Read.position == 1))
        decision = {"diagnosis": "NV", "action": "biopsy", "agrees": tier in ASSESSED or None, "note": words}
        given: dict[str, Any] = {
            "decisions": decision,
            "amendments": {**decision, "diagnosis": "SK", "reason": words, "instead_of": first},
            "corrections": {"patient": f"P-{number}", "reason": words},
            "outcomes": {
                **{"diagnosis": "NV", "method": "histology", "note": words},
                "patient": f"P-{number}",  # as it was corrected to
            },
        }
        if step == "draft":
            form = {"csrf": self.csrf, "form": "decision", "note": words, "action": "biopsy"}
            path = f"{self.address}/cases/{number}/draft"
            return httpx.post(path, data=form, cookies={COOKIE: self.cookie}, timeout=60)
        path = f"{self.address}/api/cases/{number}/{step}"
        return httpx.post(
            path, json=given[step], headers={"Authorization": f"Bearer {self.token}"}, timeout=60
        )

    def _is_kept(self, number: int, step: str) -> bool:
        with reading(self.store.engine) as session:
            return bool(session.scalar(kept(number, step)))

    def check(self) -> None:
        """Everything that was acknowledged is there, once, in the tables and in the trail."""
        assert self.refused == ""
        assert len(self.done) == len(self.STEPS) * self.cases
        with reading(self.store.engine) as session:
            counted = {(number, step): session.scalar(kept(number, step)) for number, step in self.done}
            assert {place: count for place, count in counted.items() if count != 1} == {}
            assert session.scalar(select(func.count(Read.id))) == 2 * self.cases
            events = Counter((event.action, event.subject) for event in session.scalars(select(Event)))
            for number in self.accepted:
                for action in ("read", "read amended", "corrected", "outcome recorded"):
                    assert events[action, f"case {number}"] == 1, (action, number)
            problems = verify_records(session, self.store.pictures)
            # The accounts were made by hand.
            assert [own for own in problems if not own.startswith("account ")] == []


def kept(number: int, step: str) -> Select[int]:
    """How often a step of a case is in its table."""
    table, *asked = {
        "draft": (Draft,),
        "decisions": (Read, Read.position == 1),
        "amendments": (Read, Read.position == AMENDMENT),
        "corrections": (Correction,),
        "outcomes": (Outcome,),
    }[step]
    return select(func.count()).select_from(table).where(table.case_id == number, *asked)


def kill_one(running: Server, engine: Engine, which: str) -> None:
    """kill -9, at a moment when a photograph is being screened where there is one."""
    wait_until(lambda: running.workers(), 240, "a worker")
    end = time.monotonic() + 5
    while time.monotonic() < end:
        with reading(engine) as session:
            if session.scalar(select(Job.id).where(Job.state == "leased").limit(1)):
                break
        time.sleep(0.002)
    if which == "worker":
        for pid in running.workers():
            os.kill(pid, signal.SIGKILL)
        return
    running.end(signal.SIGKILL)
    running.start()


def kill_in_the_middle(tmp_path: Path, store: Store, uploads: int, kills: int) -> None:
    engine, token = store.engine, add_sender(store.engine)
    tiny_bundle(tmp_path / "bundle")
    photographs = [photograph(number) for number in range(uploads)]
    of_lesions = [photograph(uploads + number) for number in range(uploads // TOGETHER * TOGETHER)]
    with server(store.folder, "--db", store.url, "--model", str(tmp_path / "bundle")) as running:
        running.start()
        uploader = Uploader(running.address, token, photographs)
        doctor = Doctor(running.address, store, uploads, uploader.accepted)
        lesions = Uploader(running.address, token, of_lesions, TOGETHER)
        uploader.thread.start()
        lesions.thread.start()
        doctor.thread.start()
        for number in range(kills):
            uploader.wait_for((number + 1) * uploads // (kills + 1), 300)
            kill_one(running, engine, ("worker", "server")[number % 2])
        uploader.wait_for(uploads, 400)
        lesions.wait_for(len(of_lesions), 400)
        for own in (uploader, lesions):
            own.thread.join(60)

        def waiting() -> int:
            with reading(engine) as session:
                return len(session.scalars(select(Case.id).where(Case.state == "waiting")).all())

        wait_until(lambda: waiting() == 0, 400, "screening")
        wait_until(lambda: not doctor.thread.is_alive(), 400, f"the doctor's work {doctor.done[-1:]}")
        words = running.words()
        assert running.end() == 0, words
        assert "Traceback" not in words, words
        sent = [*photographs, *of_lesions]
        everything_is_there_once(store, sent, [*uploader.accepted, *lesions.accepted])
        lesions_are_one_case_each(store, lesions.accepted)
        doctor.check()


def raises_an_alert(case: Case) -> bool:
    """By its tier, or at once though the model could not assess it, for its probability of melanoma."""
    assert case.model is not None
    threshold = case.model.card["thresholds"]["alert"]["value"]
    refused = case.tier == "cannot-say" and (case.melanoma or 0) >= threshold
    return case.tier == "alert" or refused


def everything_is_there_once(store: Store, sent: list[bytes], accepted: list[int]) -> None:
    pictures = store.pictures
    with reading(store.engine) as session:
        cases = session.scalars(select(Case).order_by(Case.id)).all()
        assert Counter(case.sha256 for case in cases) == Counter(hashlib.sha256(d).hexdigest() for d in sent)
        by_id = {case.id: case for case in cases}
        for number, data in zip(accepted, sent, strict=True):
            assert by_id[number].sha256 == hashlib.sha256(data).hexdigest()
        assert Counter((case.state, case.tier == "unreadable") for case in cases) == {
            ("screened", False): len(sent)
        }
        assert set(session.scalars(select(Job.state))) <= {"done"}
        assert all(pictures.read_original(case.sha256) for case in cases)
        assert all(pictures.drawn(case.sha256, "view").is_file() for case in cases)
        events = Counter((event.action, event.subject) for event in session.scalars(select(Event)))
        for case in cases:
            assert events["received", f"case {case.id}"] == 1
            assert events["screened", f"case {case.id}"] == 1
        alerts = Counter(session.scalars(select(Alert.case_id)))
        raising = {case.part_of or case.id for case in cases if raises_an_alert(case)}
        assert set(alerts) == raising
        whole = {case.part_of for case in cases}  # whose photographs may have met a rule each
        assert {number for number, count in alerts.items() if count > 1} <= whole
        assert alerts, "some of the photographs are to be alerts"
        assert verify(session, store.trail).problems == ()


def lesions_are_one_case_each(store: Store, accepted: list[int]) -> None:
    with reading(store.engine) as session:
        cases = {case.id: case for case in session.scalars(select(Case).where(Case.id.in_(accepted)))}
    for first in range(0, len(accepted), TOGETHER):
        own = [cases[number] for number in accepted[first : first + TOGETHER]]
        [lead] = [case for case in own if case.part_of is None]
        assert {case.part_of for case in own if case is not lead} == {lead.id}


def test_a_few_kills_lose_and_double_nothing(store: Store, tmp_path: Path) -> None:
    kill_in_the_middle(tmp_path, store, uploads=20, kills=3)


@pytest.mark.skipif(not os.environ.get("DERMSENTRY_FAULTS"), reason="many minutes: set DERMSENTRY_FAULTS=1")
def test_twenty_kills_in_three_hundred_uploads_lose_and_double_nothing(store: Store, tmp_path: Path) -> None:
    kill_in_the_middle(tmp_path, store, uploads=300, kills=20)
