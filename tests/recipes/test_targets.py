"""Targets: reached, missed, not measured."""

from __future__ import annotations

import pytest

from recipes.dermoscopy.targets import Target


@pytest.mark.parametrize(
    ("bound", "value", "reached"),
    [("at least", 0.9, True), ("at least", 0.89, False), ("at most", 0.9, True), ("at most", 0.91, False)],
)
def test_a_figure_reaches_its_target_or_not(bound: str, value: float, reached: bool) -> None:
    target = Target("there", "roc_auc", bound, 0.9)  # type: ignore[arg-type]
    row = target.row({"there": {"roc_auc": {"value": value, "low": 0.8, "high": 0.95}}})
    assert row["reached"] is reached
    assert row["measured"] == f"{value:.3f} (0.800–0.950)"


@pytest.mark.parametrize("measured", [{}, {"there": {}}, {"there": {"roc_auc": None}}])
def test_what_was_not_measured_is_neither(measured: dict[str, dict[str, None]]) -> None:
    row = Target("there", "roc_auc", "at least", 0.9).row(measured)
    assert row["reached"] is None
    assert row["measured"] is None
