"""Choosing by hospitals left out: nothing of them is learned from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dermoscopic import draw_sets
from dermsentry.errors import InputError
from recipes.dermoscopy import leave_one_out as module
from recipes.dermoscopy.data import HOSPITALS
from recipes.dermoscopy.leave_one_out import (
    COARSE,
    Way,
    coarse,
    leave_one_out,
    summary,
)


def test_a_coarse_image_has_lost_what_is_fine() -> None:
    fine = np.indices((128, 128)).sum(axis=0) % 2 * 255
    pixels = np.repeat(fine[None, ..., None], 3, axis=-1).astype(np.uint8)
    assert COARSE < 128
    assert coarse(pixels, np.zeros((1, 128, 128), np.uint8)).std() < 0.3 * pixels.std()


def test_a_schedule_has_whole_epochs_of_about_as_many_images() -> None:
    assert Way(images=1000).configuration(300).epochs == 3
    assert Way(images=10).configuration(300).epochs == 1


@pytest.mark.slow
def test_each_hospital_is_left_out_once_and_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = draw_sets(tmp_path / "sets")
    monkeypatch.setattr(module, "WAYS", {"short": Way(size=32, images=32)})
    monkeypatch.setattr(module, "STORED", 32)
    seen: dict[str, Any] = {}
    own = module.views

    def kept(table: Any, *rest: Any) -> Any:
        seen[f"{len(seen)}"] = set(table["hospital"])
        return own(table, *rest)

    monkeypatch.setattr(module, "views", kept)
    rows = leave_one_out(data, tmp_path / "run", steps=2)
    assert [row["left_out"] for row in rows] == list(HOSPITALS)
    for hospital, learned in zip(HOSPITALS, seen.values(), strict=True):
        assert learned == set(HOSPITALS) - {hospital}
    for row in rows:
        figure = row["melanoma_roc_auc"]
        assert figure["low"] <= figure["value"] <= figure["high"]
        assert set(row["in_domain"]) <= set(HOSPITALS) - {row["left_out"]}
        assert row["in_domain"]
    table = summary(rows)
    assert table.loc["short", "worst"] <= table.loc["short", "mean"]
    assert leave_one_out(data, tmp_path / "run", steps=2) == rows
    assert len(seen) == len(HOSPITALS)  # nothing was trained again


def test_a_way_of_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Received other; expected names among recipe"):
        leave_one_out(tmp_path, tmp_path / "run", ["other"])
