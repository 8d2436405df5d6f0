"""What photographs are recognised by, and which cases show the same skin."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The tables `fingerprints` and `matches`; fingerprints of earlier cases are made by the server."""
    op.create_table(
        "fingerprints",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary()),
        sa.Column("compared_at", sa.DateTime()),
        sa.ForeignKeyConstraint(
            ["case_id"], ["cases.id"], name="fk_fingerprints_case_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_fingerprints"),
        sa.UniqueConstraint("case_id", name="uq_fingerprints_case_id"),
        sqlite_autoincrement=True,
    )
    waiting = sa.text("compared_at IS NULL")
    op.create_index(
        "ix_fingerprints_waiting", "fingerprints", ["id"], sqlite_where=waiting, postgresql_where=waiting
    )
    op.create_table(
        "matches",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("first_id", sa.Integer(), nullable=False),
        sa.Column("second_id", sa.Integer(), nullable=False),
        sa.Column("agreement", sa.Double(), nullable=False),
        sa.Column("in_place", sa.Boolean(), nullable=False),
        sa.Column("patients", sa.Boolean(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("resolved_at", sa.DateTime()),
        sa.Column("resolved_by", sa.Integer()),
        sa.Column("resolution", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["first_id"], ["cases.id"], name="fk_matches_first_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["second_id"], ["cases.id"], name="fk_matches_second_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["resolved_by"], ["accounts.id"], name="fk_matches_resolved_by"),
        sa.PrimaryKeyConstraint("id", name="pk_matches"),
        sa.UniqueConstraint("second_id", "first_id", name="uq_matches_second_id_first_id"),
    )
    op.create_index("ix_matches_first_id", "matches", ["first_id"])
    to_settle = sa.text("resolved_at IS NULL AND patients")
    op.create_index("ix_matches_open", "matches", ["id"], sqlite_where=to_settle, postgresql_where=to_settle)
