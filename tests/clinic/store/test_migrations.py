"""What version 1 of the tables kept is read as before: findings, models' cards, pictures."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyotp
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, inspect, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dermsentry.clinic.alerts.alerting import urgent_alerts
from dermsentry.clinic.alerts.delivery import claim, dead_letters
from dermsentry.clinic.backup import backup, restore
from dermsentry.clinic.checklists import Abcd, SevenPoint
from dermsentry.clinic.store.accounts import (
    add_openid_account,
    check_password,
    person_of_cookie,
    person_of_token,
)
from dermsentry.clinic.store.audit_trail import Trail, append, open_trail, verify
from dermsentry.clinic.store.database import MIGRATIONS, migrate, open_database, reading, writing
from dermsentry.clinic.store.events import TrailEvent
from dermsentry.clinic.store.folder import database_of
from dermsentry.clinic.store.passwords import hash_password
from dermsentry.clinic.store.pictures import Pictures
from dermsentry.clinic.store.records import verify_records
from dermsentry.clinic.store.second_factor import is_recovery_code, new_secret, set_up
from dermsentry.clinic.store.tables import Account, Case, Export, Model, Outcome, Read, now
from dermsentry.clinic.worker.queue import finish, lease
from dermsentry.clinic.worklist.corrections import outdated_exports
from dermsentry.clinic.worklist.drafts import begun, keep_draft
from dermsentry.files import to_json
from dermsentry.model import bundled, read_network

SHA256 = "ab" * 32
CARD = json.loads((bundled() / "card.json").read_text(encoding="utf-8"))
FINDING = {
    "tier": "routine",
    "melanoma": 0.1,
    "familiarity": 0.7,
    "quality": None,
    "reasons": ["familiarity"],
}
UNREADABLE = {"tier": "unreadable", "melanoma": None, "familiarity": None, "reasons": []}


def version_1(url: str) -> Engine:
    """A database as version 1 made it: a screened case, an unreadable one, and one that waits."""
    engine = open_database(url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.execution_options(writing=True).connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(
            text("INSERT INTO models VALUES (:digest, 'a model', :card, '2026-01-31 00:00:00')"),
            {"digest": CARD["digest"], "card": json.dumps(CARD)},
        )
        for number, finding in enumerate((FINDING, UNREADABLE, None)):
            columns = {
                "id": number + 1, "sha256": SHA256 if not number else f"{number:064}", "file_name": "",
                "format": "PNG", "patient": "", "lesion": "", "site": "", "note": "", "search": "",
                "source": "page", "received_at": "2026-01-31 00:00:00", "failure": "", "rank": 2,
                "state": "screened" if finding else "waiting", "melanoma_order": 0.0, "lane": "suspicion",
                "tier": finding["tier"] if finding else "", "stage": "unread",
                "finding": json.dumps(finding) if finding else None,
            }  # fmt: skip
            names, marks = ", ".join(columns), ", ".join(f":{name}" for name in columns)
            connection.execute(text(f"INSERT INTO cases ({names}) VALUES ({marks})"), columns)
    return engine


def findings(engine: Engine) -> list[Any]:
    with reading(engine) as session:
        return [case.finding for case in session.query(Case).order_by(Case.id)]


def renamed(finding: dict[str, Any], no_lesion: float | None) -> dict[str, Any]:
    kept = {name: value for name, value in finding.items() if name != "familiarity"}
    return {**kept, "no_lesion": no_lesion, "out_of_distribution": None}


EXPECTED = [renamed(FINDING, 0.3), renamed(UNREADABLE, None), None]


def test_what_version_1_kept_is_read_in_the_new_names(database_url: str) -> None:
    engine = version_1(database_url)
    migrate(engine)
    assert findings(engine) == EXPECTED
    card, _ = read_network(bundled())
    with reading(engine) as session:
        kept = session.get_one(Model, card.digest).card
    assert kept == json.loads(to_json(card))
    assert "failure" not in {column["name"] for column in inspect(engine).get_columns("cases")}
    assert {index["name"] for index in inspect(engine).get_indexes("cases")} >= {
        index.name
        for index in Case.__table__.indexes  # type: ignore[attr-defined]
    }
    engine.dispose()


def test_the_findings_of_many_cases_are_all_rewritten(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = version_1(database_url)
    columns = {column["name"] for column in inspect(engine).get_columns("cases")} - {"id", "sha256"}
    names = ", ".join(f'"{name}"' for name in sorted(columns))
    copy = f"INSERT INTO cases (id, sha256, {names}) SELECT :id, :sha256, {names} FROM cases WHERE id = 1"
    with engine.begin() as connection:
        connection.execute(text(copy), [{"id": n, "sha256": f"{n:064}"} for n in range(10, 2015)])
    migrate(engine)
    found = findings(engine)
    assert len(found) == 2008
    assert all(one == EXPECTED[0] for one in found[3:])
    engine.dispose()


def test_a_backup_of_version_1_is_restored_and_then_migrated(
    database_kind: str, database_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = tmp_path / "old" if database_kind == "postgresql" else tmp_path
    open_trail(folder)
    version_1(database_url).dispose()
    pictures = Pictures(folder)
    pictures.original(SHA256).parent.mkdir(parents=True)
    pictures.original(SHA256).write_bytes(b"photograph")
    old = pictures.drawn(SHA256, "saliency").with_name(f"{SHA256}.heat.png")
    old.parent.mkdir(parents=True)
    old.write_bytes(b"\x89PNG")
    assert pictures.drawn(SHA256, "saliency") == old
    file = tmp_path / "backup.tar"
    backup(folder, database_url, file)
    new = tmp_path / "new"
    url = database_of(new, None)
    if database_kind == "postgresql":
        url = request.getfixturevalue("postgresql").database()
    restore(file, new, url if database_kind == "postgresql" else None)
    engine = open_database(url)
    migrate(engine)
    assert findings(engine) == EXPECTED
    assert Pictures(new).drawn(SHA256, "saliency").read_bytes() == b"\x89PNG"
    engine.dispose()


def version_4(url: str) -> Engine:
    """A database of the fourth version: a case that came as DICOM and was exported, and another one."""
    engine = version_1(url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.execution_options(writing=True).connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        connection.execute(
            text("UPDATE cases SET dicom = :dicom, patient = 'P1', search = 'p1' WHERE id = 1"),
            {"dicom": json.dumps({"accession": "A-17", "modality": "DMS"})},
        )
        exported = [("case 1", "FHIR"), ("case 1", "FHIR"), ("case 2", "CSV"), ("case 9", "FHIR")]
        for number, (subject, form) in enumerate(exported, 1):
            connection.execute(
                text(
                    "INSERT INTO events VALUES (:id, '2026-02-01T10:00:00.000000+00:00', 'anna', 'exported', "
                    ":subject, :detail, '', '')"
                ),
                {"id": number, "subject": subject, "detail": json.dumps({"as": form})},
            )
    return engine


def test_accessions_can_be_searched_and_what_left_before_is_remembered(database_url: str) -> None:
    engine = version_4(database_url)
    migrate(engine)
    with reading(engine) as session:
        first, second = (session.get_one(Case, number) for number in (1, 2))
        assert (first.accession, first.search, first.revision) == ("A-17", "p1 a-17", 0)
        assert (second.accession, second.search, second.pixels) == ("", "", None)
        [left] = session.query(Export).all()
        assert (left.case_id, left.form, left.reference) == (1, "FHIR", None)
        assert left.at.isoformat() == "2026-02-01T10:00:00+00:00"
    with writing(engine) as session:
        session.get_one(Case, 1).revision += 1
        session.flush()
        assert [own.case_id for own in outdated_exports(session)] == [1]
    engine.dispose()


def test_the_order_of_earlier_versions_is_made_anew_of_each_finding(database_url: str) -> None:
    engine = version_4(database_url)
    shares = {"MEL": 0.1, "BCC": 0.6, "SCC": 0.05, "NV": 0.25}
    with engine.begin() as connection:
        kept = json.dumps(FINDING | {"probabilities": shares, "no_lesion": None, "out_of_distribution": None})
        connection.execute(text("UPDATE cases SET finding = :kept WHERE id = 1"), {"kept": kept})
    migrate(engine)
    with reading(engine) as session:
        orders = {case.id: case.malignancy_order for case in session.query(Case)}
    assert orders == {1: pytest.approx(-0.85), 2: 0.0, 3: 0.0}
    names = {column for index in inspect(engine).get_indexes("cases") for column in index["column_names"]}
    assert "malignancy_order" in names
    assert "melanoma_order" not in names
    engine.dispose()


def test_reads_of_earlier_versions_have_no_reason_and_no_checklists_and_take_some(database_url: str) -> None:
    engine = version_4(database_url)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO accounts VALUES (1, 'anna', 'Anna', 'dermatologist', '-', :yes, "
                "'2026-01-31 00:00:00')"
            ),
            {"yes": True},
        )
        connection.execute(
            text(
                "INSERT INTO reads (id, case_id, account_id, position, diagnosis, action, note, at) "
                "VALUES (1, 1, 1, 1, 'NV', 'discharge', '', '2026-02-01 00:00:00')"
            )
        )
    migrate(engine)
    with reading(engine) as session:
        read = session.get_one(Read, 1)
        assert (read.diagnosis, read.reason) == ("NV", "")
        assert read.abcd is read.seven_point is None
    filled = Abcd(2, 5, ("light-brown", "black"), ("network",)), SevenPoint(())
    with writing(engine) as session:
        read = session.get_one(Read, 1)
        read.abcd, read.seven_point = filled
    with reading(engine) as session:
        read = session.get_one(Read, 1)
        assert (read.abcd, read.seven_point) == filled
        assert session.execute(text("SELECT count(*) FROM reads WHERE abcd IS NULL")).scalar() == 0
    engine.dispose()


def test_a_filled_database_of_the_sixth_version_takes_drafts(database_url: str) -> None:
    engine = version_4(database_url)
    migrate(engine)
    with writing(engine) as session:
        account = Account(name="anna", full_name="Anna", role="dermatologist", password_hash="-")
        session.add(account)
        session.flush()
        keep_draft(session, 1, account.id, "decision", {"note": "ulcerated"})
        found = begun(session, 1, account.id).decision
        assert found is not None
        assert found.fields["note"] == "ulcerated"
    engine.dispose()


def test_accounts_of_earlier_versions_keep_their_passwords_and_have_no_second_factor(
    database_url: str, tmp_path: Path
) -> None:
    engine = version_4(database_url)
    hashed = hash_password("calm clinical garden")
    with engine.begin() as connection:
        for number, name in enumerate(("anna", "ben"), 101):  # no sequence is used up
            connection.execute(
                text("INSERT INTO accounts VALUES (:id, :name, 'X', 'dermatologist', :hash, :yes, :at)"),
                {"id": number, "name": name, "hash": hashed, "yes": True, "at": "2026-01-31 00:00:00"},
            )
    migrate(engine)
    trail = open_trail(tmp_path / "trail")
    with writing(engine) as session:
        anna = check_password(session, "anna", "calm clinical garden")
        assert anna is not None
        assert not anna.password_given
        assert anna.totp_secret is None
        assert anna.openid_issuer is None
        secret = new_secret()
        codes = set_up(session, trail, anna, secret, pyotp.TOTP(secret).at(now()))
        assert is_recovery_code(session, anna.id, codes[0])
        add_openid_account(session, "https://id.example", "a1", "anna", "Anna", "uploader")
    with pytest.raises(IntegrityError), writing(engine) as session:
        add_openid_account(session, "https://id.example", "a1", "another", "Anna", "uploader")
    engine.dispose()


@dataclass(frozen=True)
class Told(TrailEvent):
    """An event as version 1 told it."""

    action: str  # type: ignore[misc]
    subject: str  # type: ignore[misc]
    told: dict[str, Any]

    def detail(self) -> dict[str, Any]:
        return self.told


COOKIE, TOKEN = "a browser's cookie", "a program's token"
PAST = "2026-01-31 08:00:00"


def filled_version_1(url: str, trail: Trail) -> Engine:
    """A database of version 1 with rows in every table, and the events that told of them then."""
    engine = version_1(url)
    later = (now() + timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S")
    seen = now().strftime("%Y-%m-%d %H:%M:%S")
    hidden = {name: hashlib.sha256(name.encode()).hexdigest() for name in (COOKIE, TOKEN)}
    account = {"active": True, "created_at": seen, "password_hash": hash_password("calm clinical garden")}
    message = {"channel": "email", "next_at": seen, "escalation": False, "error": ""}
    rows: list[tuple[str, dict[str, Any]]] = [
        ("accounts", {"name": "ada", "full_name": "Ada", "role": "administrator", **account}),
        ("accounts", {"name": "ben", "full_name": "Ben", "role": "dermatologist", **account,
                      "active": False}),
        ("sign_ins", {"id": hidden[COOKIE], "account_id": 1, "csrf": "c", "created_at": seen, "seen_at": seen,
                      "expires_at": later}),
        ("tokens", {"account_id": 1, "label": "camera", "secret_hash": hidden[TOKEN], "created_at": seen,
                    "scopes": json.dumps(["cases:write"]), "used_at": seen}),
        ("alerts", {"case_id": 1, "rule": "melanoma suspected", "raised_at": seen, "acknowledged_at": seen,
                    "acknowledged_by": 1}),
        ("alerts", {"case_id": 2, "rule": "refused", "raised_at": seen, "escalated_at": seen}),
        ("deliveries", {"alert_id": 1, "address": "a@b.example", "state": "sent", "attempts": 1,
                        **message, "sent_at": seen}),
        ("deliveries", {"alert_id": 2, "address": "c@d.example", "state": "pending", "attempts": 0,
                        **message}),
        ("deliveries", {"alert_id": 2, "address": "e@f.example", "state": "dead", "attempts": 8,
                        **message, "error": "no such host"}),
        ("jobs", {"case_id": 3, "state": "leased", "attempts": 1, "lease": "ef" * 16, "lease_until": PAST}),
        ("outcomes", {"case_id": 1, "diagnosis": "NV", "method": "histology", "note": "no atypia", "at": seen,
                      "account_id": 1}),
        ("reads", {"case_id": 1, "account_id": 1, "position": 1, "agrees": False, "diagnosis": "MEL",
                   "action": "biopsy", "note": "a slip", "at": seen, "undone_at": seen}),
        ("reads", {"case_id": 1, "account_id": 1, "position": 1, "agrees": True, "diagnosis": "NV",
                   "action": "discharge", "note": "regular", "at": seen}),
    ]  # fmt: skip
    with engine.begin() as connection:
        for table, row in rows:
            names, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({marks})"), row)
        screened = (
            "UPDATE cases SET model_digest = :digest, melanoma = :share, screened_at = :at WHERE id = :id"
        )
        for number, share in ((1, FINDING["melanoma"]), (2, None)):
            own = {"digest": CARD["digest"], "share": share, "at": seen, "id": number}
            connection.execute(text(screened), own)
        decided = "UPDATE cases SET received_by = 1, stage = 'decided', decided_at = :at WHERE id = 1"
        connection.execute(text(decided), {"at": seen})
        connection.execute(text("UPDATE cases SET received_at = :at"), {"at": seen})  # as the events tell
        for number, lane, rank in ((2, "cannot-say", 1), (3, "waiting", 9)):
            connection.execute(
                text("UPDATE cases SET lane = :lane, rank = :rank WHERE id = :id"),
                {"id": number, "lane": lane, "rank": rank},
            )
    read = {"position": 1, "stage": "decided", "model": CARD["digest"], "tier": "routine"}
    slip = {**read, "read": 1, "agrees": False, "diagnosis": "MEL", "action": "biopsy"}
    kept = {**read, "read": 2, "agrees": True, "diagnosis": "NV", "action": "discharge"}
    shown = {"model": CARD["digest"], "threshold": 0.5}
    rule, refused = {"rule": "melanoma suspected"}, {"rule": "refused"}
    events: list[tuple[str, str, str, dict[str, Any]]] = [
        ("ada", "account added", "account ada", {"role": "administrator"}),
        ("ada", "account added", "account ben", {"role": "dermatologist"}),
        ("ada", "account closed", "account ben", {}),
        *(("ada", "received", f"case {number + 1}", {"sha256": sha256, "source": "page"})
          for number, sha256 in enumerate((SHA256, f"{1:064}", f"{2:064}"))),
        ("worker", "screened", "case 1", {"tier": "routine", "melanoma": 0.1, **shown}),
        ("system", "alert raised", "case 1", rule),
        ("worker", "screened", "case 2", {"tier": "unreadable", "melanoma": None, **shown}),
        ("system", "alert raised", "case 2", refused),
        ("system", "message sent", "case 1", {"delivery": 1, "channel": "email", "attempt": 1}),
        ("system", "alert escalated", "case 2", refused),
        ("ada", "read", "case 1", slip),
        ("ada", "read undone", "case 1", slip),
        ("ada", "read", "case 1", kept),
        ("ada", "alert acknowledged", "case 1", rule),
        ("ada", "outcome recorded", "case 1", {"outcome": 1, "diagnosis": "NV", "method": "histology"}),
    ]  # fmt: skip
    with writing(engine) as session:
        for actor, action, subject, told in events:
            append(session, trail, actor, Told(action, subject, told))
    return engine


def test_a_filled_database_of_version_1_works_on_and_is_as_its_trail_tells(
    database_url: str, tmp_path: Path
) -> None:
    trail = open_trail(tmp_path / "trail")
    engine = filled_version_1(database_url, trail)
    with engine.connect() as connection:
        filled = {
            table: connection.execute(text(f"SELECT count(*) FROM {table}")).scalar()
            for table in inspect(engine).get_table_names()
            if table != "alembic_version"
        }
    assert min(filled.values()) >= 1  # every table of that version
    migrate(engine)
    with reading(engine) as session:
        for table, number in filled.items():
            assert session.execute(text(f"SELECT count(*) FROM {table}")).scalar() == number, table
        assert verify(session, trail).problems == ()
        assert list(verify_records(session, None)) == []
        by_cookie, by_token = person_of_cookie(session, COOKIE), person_of_token(session, TOKEN)
        assert by_cookie is not None
        assert by_token is not None
        assert (by_cookie.name, by_cookie.due, by_token.may) == ("ada", "", {"cases:write"})
        assert check_password(session, "ben", "calm clinical garden") is None  # closed
        [opened], number = urgent_alerts(session)
        assert (opened.case_id, opened.rule, number) == (2, "refused", 1)
        assert opened.escalated_at is not None
        [dead] = dead_letters(session)
        assert (dead.address, dead.error, dead.change) == ("e@f.example", "no such host", "")
        reads = session.scalars(select(Read).order_by(Read.id)).all()
        assert [(own.diagnosis, own.note, own.undone_at is None) for own in reads] == [
            ("MEL", "a slip", False),
            ("NV", "regular", True),
        ]
        assert all(own.batch == own.finer == own.other == "" for own in reads)
        [outcome] = session.scalars(select(Outcome))
        assert (outcome.diagnosis, outcome.note, outcome.breslow_mm) == ("NV", "no atypia", None)
    with writing(engine) as session:  # what was under way goes on
        claimed = claim(session)
        assert claimed is not None
        assert claimed.address == "c@d.example"
        leased = lease(session)
        assert leased is not None
        assert (leased.case_id, leased.sha256) == (3, f"{2:064}")
        case = finish(session, leased)
        assert case is not None
    # What somebody bends afterwards is found, of whatever version it is.
    bent = {
        "reads": "diagnosis = 'MEL' WHERE id = 2",
        "outcomes": "diagnosis = 'MEL'",
        "alerts": "acknowledged_at = NULL WHERE id = 1",
        "accounts": "role = 'administrator' WHERE name = 'ben'",
        "cases": f"sha256 = '{'cd' * 32}' WHERE id = 1",
    }
    for table, change in bent.items():
        with engine.connect() as connection, connection.begin() as transaction:
            connection.execute(text(f"UPDATE {table} SET {change}"))
            with Session(connection) as session:
                [problem] = verify_records(session, None)
            assert "not as the events tell" in problem, table
            transaction.rollback()
    engine.dispose()
