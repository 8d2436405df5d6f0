"""Passwords to be changed at first use, second factors, and people of an OpenID provider."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Columns of `accounts`, and the table `recovery_codes`."""
    op.add_column(
        "accounts", sa.Column("password_given", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("accounts", sa.Column("totp_secret", sa.String(length=300), nullable=True))
    op.add_column("accounts", sa.Column("totp_step", sa.Integer(), nullable=True))
    op.add_column("accounts", sa.Column("openid_issuer", sa.String(length=500), nullable=True))
    op.add_column("accounts", sa.Column("openid_subject", sa.String(length=255), nullable=True))
    op.create_index("uq_accounts_openid", "accounts", ["openid_issuer", "openid_subject"], unique=True)
    op.create_table(
        "recovery_codes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("used_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_recovery_codes_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recovery_codes")),
        sa.UniqueConstraint("account_id", "hash", name=op.f("uq_recovery_codes_account_id_hash")),
    )
