"""Photographs of a lesion come, join, leave, are read and put right in any order: nothing is lost."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Engine, or_, select
from sqlalchemy.orm import Session

from bundles import tiny_card
from clinic.cases import photograph, screened
from dermsentry.clinic.alerts.acknowledging import acknowledge_chosen, reopen_chosen
from dermsentry.clinic.alerts.alerting import acknowledge, escalate, raise_late_alerts
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.export.case_table import case_table
from dermsentry.clinic.export.fhir import fhir_bundle
from dermsentry.clinic.intake.admission import About, receive
from dermsentry.clinic.settings import Rule, Settings
from dermsentry.clinic.store.accounts import MAY, Person
from dermsentry.clinic.store.audit_trail import open_trail, verify
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.pictures import Pictures
from dermsentry.clinic.store.records import verify_records
from dermsentry.clinic.store.tables import (
    NOT_DERMOSCOPIC,
    PART,
    SILENT,
    WITHDRAWN,
    Account,
    Alert,
    Case,
    Read,
    now,
)
from dermsentry.clinic.worker.queue import lease
from dermsentry.clinic.worker.screener import Screening, unassessed
from dermsentry.clinic.worker.silent_mode import show_silent_findings
from dermsentry.clinic.worker.worker import keep_result
from dermsentry.clinic.worklist.corrections import correct, restore, withdraw
from dermsentry.clinic.worklist.locks import lock
from dermsentry.clinic.worklist.parts import parts_of, set_alone
from dermsentry.clinic.worklist.patients import set_technique
from dermsentry.clinic.worklist.reading import decide, undo
from dermsentry.clinic.worklist.remarks import comment
from dermsentry.clinic.worklist.spellings import say, take_back
from dermsentry.clinic.worklist.worklist import Filter, list_cases
from dermsentry.errors import InputError

R = TypeVar("R")
FOUND: tuple[tuple[str, float | None], ...] = (("routine", 0.05), ("refer", 0.3), ("cannot-say", 0.2))
FOUND = (*FOUND, ("cannot-say", 0.9), ("unreadable", None), *(("alert", 0.7 + n / 20) for n in range(6)))
RULES = (Rule(name="alert", tiers=("alert",)), Rule(name="late", tiers=("refer",), after_hours=1e-6))
CARD = replace(tiny_card(), digest="a" * 64)
PICTURE = photograph()


@pytest.fixture(params=["sqlite"])
def database_kind(request: pytest.FixtureRequest) -> str:
    """What is told of here is the same on every database."""
    return str(request.param)


class AnyOrder:
    """A clinic, and what happens in it; which photographs' alerts somebody acknowledged is remembered."""

    def __init__(self, engine: Engine, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        readers, silent = self._one((1, 1, 2)), self._one((True, False, False))
        given = Settings(rules=RULES, readers=readers, silent=silent, refused_after_hours=1e-6)
        self.clinic = Clinic(engine, open_trail(folder), Pictures(folder), given)
        self.people = [self._account(name) for name in ("anna", "bert", "cora")]
        self.cases: list[int] = []
        self.acknowledged: set[int] = set()
        self.batch: tuple[int, Person] | None = None
        self.join: int | None = None
        self.told: list[str] = []
        self.usual = self._usual()

    def _usual(self) -> tuple[Callable[[], None], ...]:
        """What happens in this clinic: some of all that may, so that rare sequences come up too."""
        often = (self.separates_or_puts_back, self.corrects, self.withdraws_or_restores, self.says_how_taken)
        seldom = (self.work, self.decides, self.undoes, self.acknowledges, self.acknowledges_several)
        seldom = (*seldom, self.opens_again, self.opens, self.comments, self.joins_spellings)
        seldom = (*seldom, self.changes_mode, self.keeps_house, self.exports)
        chosen = [own for own in (*often * 3, *seldom) if self.random.random() < 0.4]
        return (*chosen, *(self.arrive,) * max(2, len(chosen) // 2))

    def step(self) -> None:
        """Something happens."""
        self._one(self.usual)() if self.cases else self.arrive()
        self.check()

    def _one(self, among: Sequence[R]) -> R:
        return self.random.choice(among)

    def _account(self, name: str) -> Person:
        with writing(self.clinic.engine) as session:
            account = Account(name=name, full_name=name, role="dermatologist", password_hash="-")
            session.add(account)
            session.flush()
            role = account.role
            return Person(account.id, name, name, role, MAY[role], "csrf", now() - timedelta(hours=1))

    def _do(self, function: Callable[..., R], *given: Any, **more: Any) -> R | None:
        """What somebody does; what they may not do changes nothing."""
        said = [getattr(own, "name", own) for own in given]
        try:
            with writing(self.clinic.engine) as session:
                done = function(session, self.clinic, *given, **more)
        except InputError:
            return None
        self.told.append(f"{function.__name__} {said} {more or ''}")
        return done

    def _any(self) -> tuple[int, Person]:
        return self._one(self.cases), self._one(self.people)

    def arrive(self) -> None:
        """A photograph comes; most often it is screened at once."""
        told = {
            "lesion": self._one((*("L1",) * 9, "l1", "L2", "")),
            "technique": self._one(("", "", "", "", "polarised", "overview")),
        }
        data = PICTURE + str(len(self.cases)).encode()
        about = About(patient="P1", **told)
        self.cases.append(receive(self.clinic, data, about, source="api", actor="uli").case_id)
        self.told.append(f"arrive {self.cases[-1]} {told}")
        if self._one((True, True, True, False)):
            self.work()

    def work(self) -> None:
        """The worker's turn: what waits longest is screened."""
        tier, melanoma = self._one(FOUND)
        with writing(self.clinic.engine) as session:
            leased = lease(session)
        if leased is None:
            return
        made = screened(tier, melanoma).finding
        if leased.technique in NOT_DERMOSCOPIC:
            made = unassessed()
        assert made is not None
        taken = self._one((*("",) * 9, "2020-01-02T10:00:00"))
        self.told.append(f"work {leased.case_id} {made['tier']} {made['melanoma']} {taken}")
        with writing(self.clinic.engine) as session:
            assert keep_result(session, self.clinic, leased, Screening(made, 160, 120, {}, taken), CARD)

    def says_how_taken(self) -> None:
        """A technique is set, by which a photograph is to be assessed or not to be."""
        number, person = self._any()
        self._do(set_technique, number, person, self._one(("overview", "polarised")))
        if self._one((True, True, False)):
            self.work()

    def separates_or_puts_back(self) -> None:
        """A photograph is made a case of its own, or is put back."""
        number, person = self._any()
        with reading(self.clinic.engine) as session:
            moved = session.scalars(select(Case.id).where(or_(Case.part_of.is_not(None), Case.alone)))
            number = self._one((*moved.all(), number))
        self._do(set_alone, number, person, alone=True) or self._do(set_alone, number, person, alone=False)

    def withdraws_or_restores(self) -> None:
        """A case is withdrawn; one that is withdrawn already, restored."""
        number, person = self._any()
        self._do(withdraw, number, person, "blurred") or self._do(restore, number, person, "it is not")

    def corrects(self) -> None:
        """A photograph is another patient's or lesion's."""
        given = {
            "patient": self._one(("P1", "P1", "P1", "P2")),
            "lesion": self._one(("L1", "L1", "L1", "l1", "")),
        }
        self._do(correct, *self._any(), given, "exchanged")

    def decides(self) -> None:
        """A case is read."""
        given = {"agrees": True, "diagnosis": "NV", "action": self._one(("biopsy", "discharge"))}
        self._do(decide, *self._any(), **given, confirmed=True)

    def undoes(self) -> None:
        """A read is undone."""
        with reading(self.clinic.engine) as session:
            reads = session.execute(select(Read.id, Read.account_id).where(Read.undone_at.is_(None))).all()
        if reads:
            read = self._one(reads)
            self._do(undo, read.id, next(own for own in self.people if own.account_id == read.account_id))

    def acknowledges(self) -> None:
        """A person acknowledges the alerts of a case."""
        number, person = self._any()
        if self._do(acknowledge, number, person):
            self.acknowledged.update(self._photographs(number))

    def acknowledges_several(self) -> None:
        """A person acknowledges all open alerts."""
        with reading(self.clinic.engine) as session:
            query = select(Alert.id, Alert.case_id).where(Alert.acknowledged_at.is_(None))
            opened = session.execute(query).all()
        person = self._one(self.people)
        done = self._do(acknowledge_chosen, person, [own.id for own in opened]) if opened else None
        if done is not None:
            self.batch = done.key, person
            for own in opened:
                self.acknowledged.update(self._photographs(own.case_id))

    def opens_again(self) -> None:
        """Alerts that were acknowledged together are opened again."""
        if self.batch is not None:
            self._do(reopen_chosen, *self.batch)

    def opens(self) -> None:
        """A person has a case open, or leaves it."""
        number, person = self._any()
        with writing(self.clinic.engine) as session:
            held = lock(session, number, person)
            held.until = self._one((now(), held.until))
        self.told.append(f"opens {number}")

    def comments(self) -> None:
        """A person says something about a case."""
        self._do(comment, *self._any(), "compare")

    def joins_spellings(self) -> None:
        """Two spellings are one lesion, or are so no longer."""
        if self.join is None:
            made = self._do(say, self.people[0], "lesion", "P1", ("L1", "l1"), True)
            self.join = made.id if made is not None else None
        else:
            self._do(take_back, self.people[0], self.join)
            self.join = None

    def changes_mode(self) -> None:
        """The server is started with other settings; its housekeeping comes soon, but not before all else."""
        silent = not self.clinic.settings.silent
        self.clinic = replace(
            self.clinic, settings=self.clinic.settings.model_copy(update={"silent": silent})
        )
        self.told.append(f"silent {silent}")
        if self._one((True, False)):
            self.keeps_house()

    def keeps_house(self) -> None:
        """What is done every minute."""
        for function in (show_silent_findings, raise_late_alerts, escalate):
            self._do(function)
        if self.clinic.settings.silent:
            return
        with reading(self.clinic.engine) as session:
            for case in session.scalars(select(Case).where(Case.tier == SILENT, Case.lane != WITHDRAWN)):
                lead = session.get_one(Case, case.part_of or case.id)
                assert lead.stage != "unread", f"the finding of {case.id} stays hidden"

    def exports(self) -> None:
        """Reports are made, or it is said why there is none."""
        with reading(self.clinic.engine) as session:
            list(case_table(session))
            for case in session.scalars(select(Case)):
                with contextlib.suppress(InputError):
                    fhir_bundle(session, self.clinic, case)

    def _photographs(self, number: int) -> list[int]:
        with reading(self.clinic.engine) as session:
            return [number, *(own.id for own in parts_of(session, number))]

    def check(self) -> None:
        """What has to be true whatever happened."""
        with reading(self.clinic.engine) as session:
            cases = {case.id: case for case in session.scalars(select(Case))}
            self._none_is_lost(session, cases)
            if not self.clinic.settings.silent:
                self._no_alert_is_lost(session, cases)

    def _none_is_lost(self, session: Session, cases: Mapping[int, Case]) -> None:
        listed: set[int] = set()
        for lane in ("suspicion", "cannot-say", "waiting"):
            wanted = Filter(lane=lane, stage="all")  # type: ignore[arg-type]
            listed |= {case.id for case in list_cases(session, wanted, limit=500).cases}
        for case in cases.values():
            assert (case.lane == PART) == (case.part_of is not None), f"the lane of {case.id}"
            lead = cases[case.part_of] if case.part_of is not None else case
            assert lead.part_of is None, f"{case.id} is part of {lead.id}, which is a part"
            assert case.lane == WITHDRAWN or lead.id in listed, f"{case.id} is in no list"
            assert case is lead or not (case.alone or lead.alone), f"{case.id} is alone, and not"
            assert case is lead or case.stage == "unread", f"the part {case.id} was read"

    def _no_alert_is_lost(self, session: Session, cases: Mapping[int, Case]) -> None:
        """What calls for an alert has one that is open, unless somebody acknowledged one by itself."""
        opened = set(session.scalars(select(Alert.case_id).where(Alert.acknowledged_at.is_(None))))
        for number in opened:
            assert cases[number].lane not in (PART, WITHDRAWN), f"an alert is open on {number}"
            assert cases[number].stage != "decided", f"an alert is open on {number}"
        for case in cases.values():
            lead = cases[case.part_of] if case.part_of is not None else case
            calls = case.tier == "alert" or (case.tier == "cannot-say" and case.melanoma == 0.9)
            if calls and lead.stage == "unread" and case.lane != WITHDRAWN:
                photographs = {own.id for own in cases.values() if lead.id in (own.id, own.part_of)}
                acknowledged = photographs & self.acknowledged
                assert lead.id in opened or acknowledged, f"the alert of {case.id} is lost"


SEEDS = range(60)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_photograph_and_no_alert_is_lost_in_any_order(engine: Engine, tmp_path: Path, seed: int) -> None:
    made = AnyOrder(engine, tmp_path, seed)
    try:
        for _ in range(30):
            made.step()
        with reading(engine) as session:
            assert verify(session, made.clinic.trail).problems == ()
            assert [own for own in verify_records(session, None) if "account" not in own] == []
    except Exception as error:
        error.add_note("\n".join(made.told))
        raise
