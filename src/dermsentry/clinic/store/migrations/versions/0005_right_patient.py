"""Conflicts, corrections and the reports that left; accession numbers where they can be searched by."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_AT_ONCE = 1000
_FORMS = ("FHIR", "DICOM SR", "print")
_SEARCHED = ("patient", "lesion", "site", "accession", "file_name")


def upgrade() -> None:
    """Columns of `cases`, and the tables `conflicts`, `corrections` and `exports`."""
    op.add_column("cases", sa.Column("accession", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("cases", sa.Column("pixels", sa.String(length=64), nullable=True))
    op.add_column("cases", sa.Column("revision", sa.Integer(), nullable=False, server_default="0"))
    op.create_index("ix_cases_accession", "cases", ["accession"], unique=False)
    op.create_index("ix_cases_pixels", "cases", ["pixels"], unique=False)
    op.create_table(
        "conflicts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=10), nullable=False),
        sa.Column("sender", sa.String(length=120), nullable=False),
        sa.Column("told", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("resolved_at", sa.DateTime(), nullable=True),
        sa.Column("resolved_by", sa.Integer(), nullable=True),
        sa.Column("resolution", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["case_id"], ["cases.id"], name=op.f("fk_conflicts_case_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["resolved_by"], ["accounts.id"], name=op.f("fk_conflicts_resolved_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conflicts")),
    )
    op.create_index(op.f("ix_conflicts_case_id"), "conflicts", ["case_id"], unique=False)
    still_open = sa.text("resolved_at IS NULL")
    op.create_index(
        "ix_conflicts_open", "conflicts", ["id"], sqlite_where=still_open, postgresql_where=still_open
    )
    op.create_table(
        "corrections",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("before", sa.JSON(), nullable=False),
        sa.Column("after", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["case_id"], ["cases.id"], name=op.f("fk_corrections_case_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_corrections_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_corrections")),
    )
    op.create_index(op.f("ix_corrections_case_id"), "corrections", ["case_id"], unique=False)
    exports = op.create_table(
        "exports",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("form", sa.String(length=20), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("reference", sa.JSON(), nullable=True),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["case_id"], ["cases.id"], name=op.f("fk_exports_case_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exports")),
        sa.UniqueConstraint("case_id", "form", "revision", name=op.f("uq_exports_case_id_form_revision")),
    )
    _move_accessions()
    _recall_exports(exports)


def _move_accessions() -> None:
    """The accession number of a DICOM case, from its header into a column."""
    connection = op.get_bind()
    names = ("id", *_SEARCHED, "search")
    cases = sa.table("cases", *(sa.column(name) for name in names), sa.column("dicom", sa.JSON()))
    update = (
        sa.update(cases)
        .where(cases.c.id == sa.bindparam("key"))
        .values(accession=sa.bindparam("accession_"), search=sa.bindparam("search_"))
    )
    query = sa.select(cases).where(cases.c.dicom.is_not(None)).order_by(cases.c.id).limit(_AT_ONCE)
    found = connection.execute(query).mappings().all()
    while found:
        changed = []
        for row in found:
            given = str((row["dicom"] or {}).get("accession", ""))[:64]
            if given:
                texts = [given if name == "accession" else row[name] for name in _SEARCHED]
                search = " ".join(" ".join(texts).casefold().split())[:400]
                changed.append({"key": row["id"], "accession_": given, "search_": search})
        if changed:
            connection.execute(update, changed)
        found = connection.execute(query.where(cases.c.id > found[-1]["id"])).mappings().all()


def _recall_exports(exports: Any) -> None:
    """Which reports left before, as the audit trail has it: they are outdated by what changes from now on."""
    connection = op.get_bind()
    events = sa.table("events", *(sa.column(name) for name in ("id", "at", "action", "subject", "detail")))
    query = sa.select(events.c.at, events.c.subject, events.c.detail).where(
        events.c.action == "exported", events.c.subject.like("case %")
    )
    left = {
        (int(subject.removeprefix("case ")), str(json.loads(detail).get("as"))): at
        for at, subject, detail in connection.execute(query.order_by(events.c.id))
    }
    cases = sa.table("cases", sa.column("id"))
    known = set(connection.scalars(sa.select(cases.c.id))) if left else set()
    rows = [
        {
            "case_id": case_id,
            "form": form,
            "revision": 0,
            "at": datetime.fromisoformat(at).replace(tzinfo=None),
        }
        for (case_id, form), at in sorted(left.items())
        if case_id in known and form in _FORMS
    ]
    if rows:
        op.bulk_insert(exports, rows)
