"""Within a tier cases are ordered by the probability of malignancy, not of melanoma alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_AT_ONCE = 1000
_WEIGHTS = {"MEL": 2.0, "SCC": 1.0, "BCC": 1.0}


def upgrade() -> None:
    """`cases.melanoma_order` becomes `malignancy_order`, of each finding anew; indexes follow the name."""
    op.execute("ALTER TABLE cases RENAME COLUMN melanoma_order TO malignancy_order")
    connection = op.get_bind()
    cases = sa.table(
        "cases", sa.column("id"), sa.column("finding", sa.JSON()), sa.column("malignancy_order", sa.Float())
    )
    query = (
        sa.select(cases.c.id, cases.c.finding)
        .where(cases.c.finding.is_not(None))
        .order_by(cases.c.id)
        .limit(_AT_ONCE)
    )
    update = (
        sa.update(cases)
        .where(cases.c.id == sa.bindparam("key"))
        .values(malignancy_order=sa.bindparam("order_"))
    )
    found = connection.execute(query).all()
    while found:
        rows = []
        for case_id, finding in found:
            shares = (finding or {}).get("probabilities") or {}
            order = -sum(weight * shares.get(code, 0.0) for code, weight in _WEIGHTS.items())
            rows.append({"key": case_id, "order_": order})
        connection.execute(update, rows)
        found = connection.execute(query.where(cases.c.id > found[-1].id)).all()
