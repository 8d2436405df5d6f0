"""What a message tells of a case: that it raised an alert, or how it changed since."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The column `change` of deliveries; empty for what was queued before."""
    op.add_column("deliveries", sa.Column("change", sa.String(length=20), nullable=False, server_default=""))
