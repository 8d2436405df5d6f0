"""Findings as people and programs want them: table, JSON lines, predictions, saliency maps.

Files are written during screening and take their place when it ends: whole, or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dermsentry.diagnoses import name_of
from dermsentry.files import plain, whole_file
from dermsentry.screening.finding import Finding
from dermsentry.screening.predictions import Challenge, header, row
from dermsentry.stats.numbers import percent

# How a terminal shows a tier: bold white on red, yellow, as it is, cyan, magenta.
_COLOURS = {"alert": "1;97;41", "refer": "33", "routine": "0", "cannot-say": "36", "unreadable": "35"}

_ROUTINE_REASONS = 2  # the threshold and the likeliest diagnosis, which the line shows; anything else is told

Write = Callable[[Finding], object]


@contextmanager
def findings_file(path: Path) -> Iterator[Write]:
    """Yield what writes a finding as a line of `findings.jsonl`. Raises OutputError."""
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        yield lambda finding: file.write(json_line(finding))


@contextmanager
def predictions_file(path: Path, challenge: Challenge | None) -> Iterator[Write]:
    """Yield what writes a photograph's row of a table of predictions. Raises OutputError."""
    with (
        whole_file(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="", errors="backslashreplace") as file,
    ):
        file.write(header(challenge))
        yield lambda finding: file.write(predictions_row(finding, challenge))


def json_line(finding: Finding) -> str:
    """A finding's line of `findings.jsonl`. Bytes of a file name that are no UTF-8 become `\\udcXX`."""
    line = json.dumps(plain(finding), ensure_ascii=False, allow_nan=False) + "\n"
    return line if line.isascii() else line.encode("utf-8", "backslashreplace").decode("utf-8")


def predictions_row(finding: Finding, challenge: Challenge | None) -> str:
    """A photograph's row of a table of predictions; nothing for one that could not be read."""
    if finding.probabilities is None:
        return ""
    return row(finding.image, finding.probabilities, finding.out_of_distribution, challenge)


def table_header() -> str:
    """The first line of the table."""
    return f"{'tier':<11} {'melanoma':>8}  {'likeliest':<27} photograph"


def table_rows(finding: Finding, *, colour: bool = False) -> str:
    """A finding's line of the table, and a line with the reasons under it where someone must act."""
    tier = f"{finding.tier:<11}"
    if colour:
        tier = f"\x1b[{_COLOURS[finding.tier]}m{tier}\x1b[0m"
    melanoma = "" if finding.melanoma is None else percent(finding.melanoma)
    likeliest = "" if finding.likeliest is None else name_of(finding.likeliest)
    line = f"{tier} {melanoma:>8}  {likeliest:<27} {printable(finding.path)}"
    if finding.tier == "routine" and len(finding.reasons) <= _ROUTINE_REASONS:
        return line
    return f"{line}\n{'':<11} {'':>8}  {'; '.join(printable(reason) for reason in finding.reasons)}"


def printable(text: str) -> str:
    """`text` without what could move a terminal's cursor or change its colours."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
