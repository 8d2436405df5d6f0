"""Choosing by hospitals left out: nothing of them is learned from."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dermoscopic import draw_sets
from dermsentry.errors import InputError

torch = pytest.importorskip("torch", reason="only the bundled model's recipe needs PyTorch")

from recipe_examples import LESION, SKIN, disc
from recipes.dermoscopy import leave_one_out as module
from recipes.dermoscopy.data import HOSPITALS
from recipes.dermoscopy.leave_one_out import COARSE, SHORT, WAYS, coarse, leave_one_out, summary


def test_a_coarse_image_has_lost_what_is_fine() -> None:
    fine = np.indices((128, 128)).sum(axis=0) % 2 * 255.0
    pixels = torch.as_tensor(fine).float().expand(1, 3, 128, 128)
    assert COARSE < 128
    made = coarse(pixels, torch.zeros(1, 64, 64))
    assert made.shape == pixels.shape
    assert made.std() < 0.3 * pixels.std()


def test_a_lesion_is_painted_out_or_left_alone() -> None:
    image, mask = disc(16)
    image[:6] = (0, 0, 255)  # ink at the edge
    pixels, masks = torch.as_tensor(image).permute(2, 0, 1)[None].float(), torch.as_tensor(mask)[None]
    middle, corner = (0, slice(None), 32, 32), (0, slice(None), 0, 0)
    without = module._each(module.lesion_painted_out)(pixels, masks)
    assert (without[middle] - torch.tensor(LESION)).min() > 50
    assert torch.equal(without[corner], pixels[corner])
    alone = module._each(module.only_the_lesion)(pixels, masks)
    assert (alone[middle] - torch.tensor(LESION)).abs().max() <= 3
    assert (alone[corner] - torch.tensor(SKIN)).abs().max() <= 10


def test_ways_differ_in_one_thing_each_from_the_recipe() -> None:
    for name, way in WAYS.items():
        differing = [field for field, value in vars(way).items() if value != vars(SHORT)[field]]
        assert len(differing) == (name != "recipe"), name


@pytest.mark.slow
def test_each_hospital_is_left_out_once_and_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = draw_sets(tmp_path / "sets")
    short = replace(SHORT, size=32, images=32, batch_size=16)
    monkeypatch.setattr(module, "WAYS", {"short": short})
    seen: list[Any] = []
    own = module.train_network

    def kept(photographs: Any, *rest: Any, **further: Any) -> Any:
        seen.append(photographs.table)
        return own(photographs, *rest, **further)

    monkeypatch.setattr(module, "train_network", kept)
    rows = leave_one_out(data, tmp_path / "run", stored=64, steps=2)
    assert [row["left_out"] for row in rows] == list(HOSPITALS)
    whole = module.read_pack(tmp_path / "run" / module.PACK, 32).table
    for row, learned in zip(rows, seen, strict=True):
        left_out = whole[whole["hospital"] == row["left_out"]]
        assert set(learned["hospital"]) == set(HOSPITALS) - {row["left_out"]}
        assert set(learned["part"]) == {"train"}
        assert not set(learned["group"]) & set(left_out["group"])
        assert row["photographs"] == len(left_out)
        assert row["photographs_learned_from"] == len(learned)
    assert {"test", "calibration"} <= set(whole["part"])
    for row in rows:
        for figure in ("", "_coarse", "_lesion_painted_out", "_only_the_lesion"):
            measured = row[f"melanoma_roc_auc{figure}"]
            assert measured["low"] <= measured["value"] <= measured["high"]
        assert set(row["in_domain"]) <= set(HOSPITALS) - {row["left_out"]}
        assert row["in_domain"]
        assert row["seconds"] > 0
        assert row["options"]["images"] == 32
    table = summary(rows)
    assert table.loc["short", "worst"] <= table.loc["short", "mean"]
    shutil.rmtree(data)  # what training reads is in the run's folder
    assert leave_one_out(data, tmp_path / "run") == rows
    assert len(seen) == len(HOSPITALS)  # nothing was trained again
    monkeypatch.setattr(module, "WAYS", {"short": replace(short, seed=1)})
    assert [row["options"]["seed"] for row in leave_one_out(data, tmp_path / "run")] == [1, 1, 1]


def test_a_way_of_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Received other; expected names among recipe"):
        leave_one_out(tmp_path, tmp_path / "run", ["other"])
