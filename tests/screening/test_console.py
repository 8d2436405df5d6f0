"""What a terminal shows of findings: colours where it has them, lines that fit."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from dermsentry.diagnoses import CODES
from dermsentry.screening import Finding
from dermsentry.screening.console import print_findings

REASONS = (
    "melanoma 84.9 %, at or above the alert threshold of 5.0 % (chosen for a sensitivity of 95 %)",
    "hair covers the lesion: retake after moving or clipping the hair",
)
PATH = "visits/2026-11-26/a-long-name-of-a-photograph-that-fits-no-line.jpg"

Shown = Callable[..., list[str]]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shown:
    def show(columns: int | None = None, **environment: str) -> list[str]:
        for name in ("NO_COLOR", "TERM", "COLUMNS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        if columns is not None:
            monkeypatch.setattr("sys.stdout.isatty", lambda: True)
            monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((columns, 24)))
        finding = Finding(
            image="a", path=PATH, tier="alert", probabilities=dict.fromkeys(CODES, 1 / 9), no_lesion=None,
            out_of_distribution=None, quality=None, reasons=REASONS, model="dermoscopy",
        )  # fmt: skip
        print_findings([finding], "table")
        return capsys.readouterr().out.splitlines()

    return show


def test_a_narrow_terminal_gets_lines_that_fit_and_the_path_in_one_piece(shown: Shown) -> None:
    lines = shown(60, TERM="dumb")
    assert [line for line in lines if len(line) > 60] == [" " * 22 + PATH]
    assert " ".join(" ".join(lines[3:]).split()) == "; ".join(REASONS)


def test_a_pipe_gets_a_line_for_a_finding_and_one_for_its_reasons(shown: Shown) -> None:
    lines = shown(TERM="xterm", COLUMNS="60")
    assert len(lines) == 3
    assert lines[1].endswith(PATH)
    assert lines[2].strip() == "; ".join(REASONS)


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
    ],
)
def test_colours_are_for_terminals_that_have_them_and_want_them(
    shown: Shown, environment: dict[str, str], coloured: bool
) -> None:
    assert any("\x1b[" in line for line in shown(120, **environment)) is coloured
