"""Findings and models' cards with two scores; the one they had says whether there is a lesion at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_AT_ONCE = 1000


def upgrade() -> None:
    """`out_of_distribution` becomes `no_lesion`; the new `out_of_distribution` is unknown."""
    _rewrite("cases", "id", "finding", _finding)
    _rewrite("models", "digest", "card", _card)


def _rewrite(table: str, key: str, column: str, changed: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Rewrite each JSON of a column that has one score; some at once, by their key."""
    connection = op.get_bind()
    rows = sa.table(table, sa.column(key), sa.column(column, sa.JSON()))
    at, own = rows.c[key], rows.c[column]
    query = sa.select(at, own).order_by(at).limit(_AT_ONCE)
    update = sa.update(rows).where(at == sa.bindparam("key")).values({column: sa.bindparam("value")})
    found = connection.execute(query).all()
    while found:
        old = [row for row in found if isinstance(row[1], dict) and "no_lesion" not in row[1]]
        if old:
            connection.execute(update, [{"key": row[0], "value": changed(row[1])} for row in old])
        found = connection.execute(query.where(at > found[-1][0])).all()


def _finding(kept: dict[str, Any]) -> dict[str, Any]:
    return {**kept, "no_lesion": kept["out_of_distribution"], "out_of_distribution": None}


def _card(kept: dict[str, Any]) -> dict[str, Any]:
    """A card of schema 3; its digest remains that of the file, by which cases know their model."""
    known, test = kept["out_of_distribution"], kept["self_test"]
    return {
        **kept,
        "schema": 3,
        "no_lesion": known and {**known, "sources": {}},
        "out_of_distribution": None,
        "adoption": None,
        "self_test": test and {**test, "no_lesion": test["out_of_distribution"], "out_of_distribution": 0.0},
    }
