"""Findings and models' cards in the field's words; a case knows no failure, which nothing ever wrote."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_AT_ONCE = 1000
_CARD = {
    "known": "held_out",
    "known_refused": "held_out_refused",
    "strange": "non_lesions",
    "strange_refused": "non_lesions_refused",
    "heat_mean": "class_activation_mean",
}


def upgrade() -> None:
    """`familiarity` becomes `out_of_distribution`, which is 1 less it; `cases.failure` goes."""
    _rewrite("cases", "id", "finding", _finding)
    _rewrite("models", "digest", "card", _card)
    op.drop_column("cases", "failure")


def _rewrite(table: str, key: str, column: str, renamed: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Rewrite each JSON of a column that has the old names; some at once, by their key."""
    connection = op.get_bind()
    rows = sa.table(table, sa.column(key), sa.column(column, sa.JSON()))
    at, own = rows.c[key], rows.c[column]
    query = sa.select(at, own).order_by(at).limit(_AT_ONCE)
    update = sa.update(rows).where(at == sa.bindparam("key")).values({column: sa.bindparam("value")})
    found = connection.execute(query).all()
    while found:
        old = [row for row in found if isinstance(row[1], dict) and "familiarity" in row[1]]
        if old:
            connection.execute(update, [{"key": row[0], "value": renamed(row[1])} for row in old])
        found = connection.execute(query.where(at > found[-1][0])).all()


def _finding(kept: dict[str, Any]) -> dict[str, Any]:
    """A finding in the new names, its score with the four digits that screening gives."""
    found = _with_score(kept)
    score = found["out_of_distribution"]
    return {**found, "out_of_distribution": score if score is None else round(score, 4)}


def _with_score(kept: dict[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in kept.items() if name != "familiarity"}
    familiarity = kept["familiarity"]
    return {**found, "out_of_distribution": None if familiarity is None else 1 - familiarity}


def _card(kept: dict[str, Any]) -> dict[str, Any]:
    """A card in the new names; its digest stays that of the file, by which cases know their model."""
    card = {name: value for name, value in kept.items() if name != "familiarity"}
    known = kept["familiarity"]
    card["schema"] = 2
    card["out_of_distribution"] = known and _in_new_names(known)
    card["self_test"] = card["self_test"] and _in_new_names(_with_score(card["self_test"]))
    return card


def _in_new_names(kept: dict[str, Any]) -> dict[str, Any]:
    return {_CARD.get(name, name): value for name, value in kept.items()}
