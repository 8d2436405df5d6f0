"""The language in which a person reads the pages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The column `language` of accounts; empty for the browser's."""
    op.add_column("accounts", sa.Column("language", sa.String(length=20), nullable=False, server_default=""))
