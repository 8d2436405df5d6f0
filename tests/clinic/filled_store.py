"""What a clinic keeps, without its server, and what becomes of the cases in it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from dermsentry.clinic.clinic import Clinic, open_clinic
from dermsentry.clinic.intake.admission import About, receive
from dermsentry.clinic.store.database import writing
from dermsentry.clinic.store.tables import Account, Alert, Case, Delivery, Model, Read, now
from dermsentry.clinic.worker.screener import unread
from dermsentry.diagnoses import CODES
from dermsentry.files import plain
from dermsentry.model import Card, bundled, read_network


@dataclass(frozen=True)
class Store(Clinic):
    """A clinic with the folder and the database's address that it was opened from."""

    folder: Path
    url: str

    def case(self, data: bytes, **about: str) -> int:
        """A case of these bytes, which need not be a photograph, behind a PNG's signature."""
        got = receive(
            self,
            b"\x89PNG\r\n\x1a\n" + data,
            About(**about),
            source="api",
            actor="someone",
        )
        return got.case_id

    def alert(self, case_id: int, *messages: tuple[str, str]) -> tuple[int, ...]:
        """An alert of a case and its messages, as (channel, address); their numbers."""
        with writing(self.engine) as session:
            case = session.get_one(Case, case_id)
            alert = Alert(case_id=case.id, rule=f"rule {secrets.token_hex(4)}")
            session.add(alert)
            session.flush()
            made = [Delivery(alert_id=alert.id, channel=channel, address=to) for channel, to in messages]
            session.add_all(made)
            session.flush()
            return tuple(one.id for one in made)


def open_store(folder: Path, url: str) -> Store:
    """The store of a folder and a database that has its tables."""
    opened = open_clinic(url, folder)
    return Store(opened.engine, opened.trail, opened.pictures, opened.settings, folder, url)


def finding(tier: str = "alert", melanoma: float = 0.61) -> dict[str, Any]:
    """A finding such as the screening process gives."""
    if tier == "unreadable":
        return unread("the file is truncated")
    rest = (1.0 - melanoma) / (len(CODES) - 1)
    probabilities = {code: melanoma if code == "MEL" else rest for code in CODES}
    return {
        "tier": tier,
        "melanoma": melanoma,
        "probabilities": probabilities,
        "no_lesion": 0.02,
        "out_of_distribution": 0.07,
        "quality": {"acceptable": True, "side": 120, "problems": []},
        "reasons": [f"melanoma {100 * melanoma:.0f} %"],
    }


def card() -> Card:
    return read_network(bundled())[0]


def take(store: Store, data: bytes, **about: Any) -> int:
    """The number of the case that a file becomes."""
    own = About(**about)
    return receive(store, data, own, source="page", actor="x").case_id


def screen(store: Store, case_id: int, tier: str = "alert", melanoma: float = 0.61) -> None:
    """Give a case a finding of the bundled model."""
    own = card()
    with writing(store.engine) as session:
        if session.get(Model, own.digest) is None:
            session.add(Model(digest=own.digest, name=own.name, card=plain(own)))
            session.flush()
        case = session.get_one(Case, case_id)
        case.finding = finding(tier, melanoma)
        case.tier, case.melanoma = tier, case.finding["melanoma"]
        case.lane = "suspicion" if tier in ("alert", "refer", "routine") else "cannot-say"
        case.state, case.screened_at, case.model_digest = "screened", now(), own.digest


def decide(
    store: Store,
    case_id: int,
    *,
    diagnosis: str = "MEL",
    action: str = "biopsy",
    position: int = 1,
    decided: bool = True,
    name: str = "reader",
    **more: Any,
) -> int:
    """A person's read of a case, as its row."""
    with writing(store.engine) as session:
        account = session.scalars(select(Account).where(Account.name == name)).one_or_none()
        if account is None:
            account = Account(
                name=name, full_name="Dr. Anna Beispiel", role="dermatologist", password_hash="-"
            )
            session.add(account)
            session.flush()
        read = Read(
            case_id=case_id,
            account_id=account.id,
            position=position,
            agrees=True,
            diagnosis=diagnosis,
            action=action,
            note="private words",
            **more,
        )
        session.add(read)
        case = session.get_one(Case, case_id)
        case.revision += 1
        if decided:
            case.stage, case.decided_at = "decided", now()
        session.flush()
        return read.id


def undo(store: Store, read_id: int) -> None:
    with writing(store.engine) as session:
        read = session.get_one(Read, read_id)
        read.undone_at = now()
        case = session.get_one(Case, read.case_id)
        case.stage, case.decided_at = "unread", None
        case.revision += 1
