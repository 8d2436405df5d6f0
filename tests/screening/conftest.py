from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from bundles import lesion, tiny_bundle
from dermsentry.model import Bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


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
