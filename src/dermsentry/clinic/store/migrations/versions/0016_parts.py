"""Photographs of one lesion and day as one case: which case a photograph is part of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Columns of `cases`; photographs that came before stay cases of their own."""
    # With its constraint in the statement: SQLite adds none to a table that is there.
    op.execute(
        "ALTER TABLE cases ADD COLUMN part_of INTEGER CONSTRAINT fk_cases_part_of REFERENCES cases (id)"
    )
    op.add_column("cases", sa.Column("alone", sa.Boolean(), nullable=False, server_default=sa.false()))
    there = sa.text("part_of IS NOT NULL")
    op.create_index("ix_cases_part_of", "cases", ["part_of"], sqlite_where=there, postgresql_where=there)
