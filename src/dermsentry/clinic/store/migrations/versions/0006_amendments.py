"""Decisions that change an earlier one, with the reason."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """`reads.reason`."""
    op.add_column("reads", sa.Column("reason", sa.Text(), nullable=False, server_default=""))
