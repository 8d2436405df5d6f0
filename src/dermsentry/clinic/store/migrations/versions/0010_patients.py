"""Patients: spellings, lesions on the body map, when and how photographs were taken."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from dermsentry.clinic.store.text import spelling_key

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_AT_ONCE = 1000


def upgrade() -> None:
    """Columns of `cases`, filled from what there is; `joins`, `body_sites` and `embeddings`."""
    for name, length in (("taken", 19), ("technique", 20), ("patient_key", 120)):
        op.add_column("cases", sa.Column(name, sa.String(length=length), nullable=False, server_default=""))
    op.create_index("ix_cases_patient_key", "cases", ["patient_key"], unique=False)
    op.create_table(
        "joins",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("key", sa.String(length=120), nullable=False),
        sa.Column("patient", sa.String(length=120), nullable=False),
        sa.Column("first", sa.String(length=120), nullable=False),
        sa.Column("second", sa.String(length=120), nullable=False),
        sa.Column("same", sa.Boolean(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("undone_at", sa.DateTime(), nullable=True),
        sa.Column("undone_by", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_joins_account_id")),
        sa.ForeignKeyConstraint(["undone_by"], ["accounts.id"], name=op.f("fk_joins_undone_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_joins")),
    )
    op.create_index("ix_joins_key", "joins", ["key"], unique=False)
    op.create_table(
        "body_sites",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=120), nullable=False),
        sa.Column("patient", sa.String(length=120), nullable=False),
        sa.Column("lesion", sa.String(length=120), nullable=False),
        sa.Column("view", sa.String(length=20), nullable=False),
        sa.Column("region", sa.String(length=40), nullable=False),
        sa.Column("x", sa.Double(), nullable=False),
        sa.Column("y", sa.Double(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_body_sites_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_body_sites")),
        sa.UniqueConstraint("patient", "lesion", name=op.f("uq_body_sites_patient_lesion")),
    )
    op.create_index("ix_body_sites_key", "body_sites", ["key"], unique=False)
    op.create_table(
        "embeddings",
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("model_digest", sa.String(length=64), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["case_id"], ["cases.id"], name=op.f("fk_embeddings_case_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("case_id", name=op.f("pk_embeddings")),
    )
    _fill()


def _fill() -> None:
    """The key of each patient's reference; when DICOM photographs were taken."""
    connection = op.get_bind()
    cases = sa.table(
        "cases",
        *(sa.column(name) for name in ("id", "patient", "patient_key", "taken")),
        sa.column("dicom", sa.JSON()),
    )
    update = (
        sa.update(cases)
        .where(cases.c.id == sa.bindparam("number"))
        .values(patient_key=sa.bindparam("key_"), taken=sa.bindparam("taken_"))
    )
    query = sa.select(cases.c.id, cases.c.patient, cases.c.dicom).order_by(cases.c.id).limit(_AT_ONCE)
    found = connection.execute(query).all()
    while found:
        rows = [
            {
                "number": number,
                "key_": spelling_key(patient),
                "taken_": str((dicom or {}).get("acquired", ""))[:19],
            }
            for number, patient, dicom in found
        ]
        connection.execute(update, rows)
        found = connection.execute(query.where(cases.c.id > found[-1].id)).all()
