"""Findings recorded in silent mode, and the models that administrators chose."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """`cases.silent`, and the table `model_choices`."""
    op.add_column("cases", sa.Column("silent", sa.JSON(none_as_null=True), nullable=True))
    op.create_table(
        "model_choices",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("base", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["digest"], ["models.digest"], name=op.f("fk_model_choices_digest")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_model_choices_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_choices")),
    )
    op.create_index("ix_model_choices_base", "model_choices", ["base", "id"], unique=False)
