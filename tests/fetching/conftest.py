"""The archive that every test of fetching asks, in place of the real one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dermsentry.fetching import archive, transfer
from fetching.archive_server import Server, serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """An archive with a collection 7 of five photographs; pauses are short."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with serving() as made:
        for number, diagnosis in enumerate(("nevus", "melanoma", "nevus", "basal cell carcinoma", "wart"), 1):
            made.add(f"ISIC_{number:07}", diagnosis)
        monkeypatch.setattr(archive, "API", f"{made.api}/api/v2")
        monkeypatch.setattr(transfer, "GAP_S", 0.0)
        monkeypatch.setattr(transfer, "FIRST_PAUSE_S", 0.01)
        yield made
