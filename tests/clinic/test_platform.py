from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dermsentry.cli import main


@pytest.mark.parametrize(
    "command", ["serve", "backup clinic.tar", "restore clinic.tar", "audit-log verify", "audit-log export"]
)
@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_on_another_system_the_clinic_says_where_it_runs(
    command: str,
    platform: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DERMSENTRY_HOME", str(tmp_path / "clinic"))
    monkeypatch.setattr(sys, "argv", ["dermsentry", *command.split()])
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "Linux" in told
    assert platform in told
    assert told.count("\n") == 1
    assert not (tmp_path / "clinic").exists()
