"""Checklists that a reader filled in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Columns of `reads`."""
    op.add_column("reads", sa.Column("abcd", sa.JSON()))
    op.add_column("reads", sa.Column("seven_point", sa.JSON()))
