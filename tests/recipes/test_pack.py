"""What training reads comes back as it was packed; a damaged pack says so in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermsentry.errors import InputError
from dermsentry.images import read_fitted
from pictures import save, skin
from recipes.dermoscopy.pack import MASK, read_pack, write_pack


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, list[Path]]:
    """A pack of two photographs, one of three files of which a small copy is left out."""
    names = ["ham10000/A.jpg", "isic9/A.jpg", "crops/A.png", "isic9/B.jpg", "ham10000/unused.jpg"]
    files = [save(skin(i), tmp_path / name) for i, name in enumerate(names)]
    masks = np.zeros((5, 128, 128), np.uint8)
    for i in range(5):
        masks[i, 40:90, 20 + 10 * i : 70 + 10 * i] = 255
    table = pd.DataFrame(
        {
            "photograph": ["A", "B"],
            "rows": [(0, 1, 2), (3,)],
            "diagnosis": ["PBK|SK", "MEL"],
            "group": ["7", "8"],
            "part": ["train", "validation"],
            "hospital": ["Vienna", "Barcelona"],
            "more": [1, 2],
        }
    )
    write_pack(tmp_path / "photographs.tar", table, files, masks)
    return tmp_path / "photographs.tar", files


def test_photographs_come_back(made: tuple[Path, list[Path]]) -> None:
    pack, files = made
    found = read_pack(pack, 64)
    assert list(found.table["rows"]) == [(0, 1), (2,)]
    assert list(found.table["diagnosis"]) == ["PBK|SK", "MEL"]
    assert list(found.table["part"]) == ["train", "validation"]
    expected = np.stack([read_fitted(files[i], 64, "squash") for i in (0, 2, 3)])
    np.testing.assert_array_equal(found.pixels, expected)
    assert found.masks.shape == (3, MASK, MASK)
    for mask, start in zip(found.masks, (20, 40, 50), strict=True):
        rows, columns = np.nonzero(mask)
        assert (rows.min(), rows.max() + 1) == (20, 45)
        assert (columns.min(), columns.max() + 1) == (start // 2, start // 2 + 25)


@pytest.mark.parametrize("left", [0, 700, 0.5])
def test_a_damaged_pack_is_one_line(made: tuple[Path, list[Path]], left: float) -> None:
    pack, _ = made
    whole = pack.read_bytes()
    pack.write_bytes(whole[: int(left * len(whole) if left < 1 else left)])
    with pytest.raises(InputError, match=r"photographs\.tar is not a pack \([^\n]*\); remove it"):
        read_pack(pack, 32)


def test_a_pack_that_is_missing_or_something_else_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a pack"):
        read_pack(tmp_path / "none.tar", 32)
    (tmp_path / "text.tar").write_text("photographs")
    with pytest.raises(InputError, match="is not a pack"):
        read_pack(tmp_path / "text.tar", 32)


def test_a_photograph_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(save(skin(0), tmp_path / "whole.jpg").read_bytes()[:300])
    row = {"photograph": "A", "rows": (0,), "diagnosis": "NV", "group": "1", "part": "train", "hospital": "V"}
    write_pack(tmp_path / "a.tar", pd.DataFrame([row]), [broken], np.zeros((1, 64, 64), np.uint8))
    with pytest.raises(InputError, match=r"a\.tar: photograph 000000 cannot be read"):
        read_pack(tmp_path / "a.tar", 32)
