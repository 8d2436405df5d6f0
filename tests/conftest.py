"""What every test can ask for: a drawn collection, and the real photographs where they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from dermsentry.collection import Collection, read_collection
from dermsentry.phantoms import Phantoms, draw_phantoms
from dermsentry.progress import LOG_EVERY_S

# Timings differ between machines; an example that is slow once says nothing.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine takes half a minute for what a test expects to say nothing."""
    monkeypatch.setattr("dermsentry.progress.LOG_EVERY_S", 100 * LOG_EVERY_S)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Phantoms:
    """A small collection of all nine classes with every planted defect; copy it before changing it."""
    return draw_phantoms(tmp_path_factory.mktemp("phantoms"), per_class=5, test_per_class=2, size=(160, 120))


@pytest.fixture(scope="session")
def phantom_collection(phantoms: Phantoms) -> Collection:
    """The phantoms as a collection."""
    return read_collection(phantoms.root)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photographs: `DERMSENTRY_DATA`, or `../shared/data` beside the checkout."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.skip("CI has no real photographs")
    given = os.environ.get("DERMSENTRY_DATA")
    folder = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (folder / "isic9").is_dir():
        pytest.skip(f"no real photographs in {folder}; set DERMSENTRY_DATA")
    return folder
