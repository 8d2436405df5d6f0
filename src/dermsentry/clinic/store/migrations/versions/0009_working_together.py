"""Who is to read a case, who is reading it, what was said about it, and what reads and outcomes may tell."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_OPEN = sa.text("stage <> 'decided'")
_FILTERED = ("site", "received_by", "search", "stage")


def upgrade() -> None:
    """Columns of cases, reads and outcomes; the tables `locks`, `comments`, `tags`; indexes."""
    # With its constraint in the statement: SQLite adds none to a table that is there.
    op.execute(
        "ALTER TABLE cases ADD COLUMN assigned_to INTEGER "
        "CONSTRAINT fk_cases_assigned_to REFERENCES accounts (id)"
    )
    op.add_column("cases", sa.Column("follow_up_on", sa.Date()))
    op.add_column("reads", sa.Column("batch", sa.String(length=32), nullable=False, server_default=""))
    for name, length in (("finer", 20), ("other", 120), ("other_code", 40), ("certainty", 20)):
        op.add_column("reads", sa.Column(name, sa.String(length=length), nullable=False, server_default=""))
    op.add_column("reads", sa.Column("follow_up_on", sa.Date()))
    op.add_column("outcomes", sa.Column("breslow_mm", sa.Double()))
    op.create_index("ix_reads_batch", "reads", ["batch"])
    for name, order in (
        ("ix_cases_open_received", ("received_at",)),
        ("ix_cases_open_patient", ("patient", "lesion", "received_at")),
    ):
        columns = ["lane", *order, "id", "rank", *_FILTERED]
        op.create_index(name, "cases", columns, sqlite_where=_OPEN, postgresql_where=_OPEN)
    for name, column, more in (
        ("ix_cases_assigned", "assigned_to", ()),
        ("ix_cases_follow_up", "follow_up_on", ("id",)),
    ):
        there = sa.text(f"{column} IS NOT NULL")
        op.create_index(name, "cases", [column, *more], sqlite_where=there, postgresql_where=there)
    op.create_index("ix_deliveries_sent", "deliveries", ["address", "sent_at"])
    op.create_table(
        "locks",
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=32), nullable=False),
        sa.Column("since", sa.DateTime(), nullable=False),
        sa.Column("until", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_locks_case_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name="fk_locks_account_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("case_id", name="pk_locks"),
    )
    op.create_table(
        "comments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("search", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_comments_case_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_comments_account_id"),
        sa.PrimaryKeyConstraint("id", name="pk_comments"),
    )
    op.create_index("ix_comments_case_id", "comments", ["case_id"])
    op.create_table(
        "tags",
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=80), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_tags_case_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("case_id", "key", name="pk_tags"),
    )
    op.create_index("ix_tags_key", "tags", ["key"])
