"""What version 1 of the tables kept is read as before: findings, models' cards, pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, inspect, text

from dermsentry.clinic.backup import backup, restore
from dermsentry.clinic.store.audit_trail import open_trail
from dermsentry.clinic.store.database import MIGRATIONS, migrate, open_database, reading
from dermsentry.clinic.store.folder import database_of
from dermsentry.clinic.store.pictures import Pictures
from dermsentry.clinic.store.tables import Case, Model
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
