from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bundles import tiny_bundle
from PIL import Image

from dermsentry.images import Pixels
from dermsentry.model import Bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def lesion(darkness: int = 100, seed: int = 0, side: int = 160) -> Pixels:
    """A dark disc with fine grain on skin: passes the quality gate."""
    rng = np.random.default_rng(seed)
    places = np.arange(side) - side / 2
    inside = (places[:, None] ** 2 + places[None, :] ** 2) < (side / 3) ** 2
    skin = np.array([210, 160, 140])
    picture = np.where(inside[:, :, None], skin - darkness, skin)
    grain = rng.normal(0, 14, (side // 4, side // 4, 1)).repeat(4, 0).repeat(4, 1)
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Six readable photographs in two folders, three unreadable ones, and what screening must leave alone."""
    root = tmp_path / "photographs"
    for number in range(6):
        folder = root / ("first" if number < 3 else "second")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(lesion(30 * number, number)).save(folder / f"lesion{number}.jpg", quality=95)
    (root / "first" / "broken.jpg").write_bytes((root / "first" / "lesion0.jpg").read_bytes()[:900])
    (root / "second" / "empty.png").write_bytes(b"")
    (root / "second" / "words.jpg").write_text("no photograph")
    (root / "second" / "notes.txt").write_text("not a photograph, and not named like one")
    (root / ".hidden").mkdir()
    (root / ".hidden" / "thumb.jpg").write_bytes(b"junk")
    return root
