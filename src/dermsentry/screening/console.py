"""Findings on stdout as they come, for a person or a pipe; what they add up to on stderr."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from typing import Literal

from dermsentry.errors import OutputError
from dermsentry.progress import in_colour, terminal_width
from dermsentry.screening.finding import Finding
from dermsentry.screening.predictions import Challenge, header
from dermsentry.screening.triage import TIERS, Tier
from dermsentry.screening.writers import (
    json_line,
    predictions_row,
    table_header,
    table_rows,
)

Form = Literal["table", "json", "csv"]


def print_findings(
    findings: Iterable[Finding], form: Form, challenge: Challenge | None = None
) -> Counter[Tier]:
    """Print each finding to stdout at once; return how many there are of each tier. Raises OutputError."""
    counts: Counter[Tier] = Counter()

    def put(text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"Cannot write to stdout: {error.strerror or error}.") from error

    first = {"table": table_header() + "\n", "json": "", "csv": header(challenge)}
    put(first[form])
    colour, width = in_colour(), terminal_width()
    for finding in findings:
        counts[finding.tier] += 1
        if form == "json":
            put(json_line(finding))
        elif form == "csv":
            put(predictions_row(finding, challenge))
        else:
            put(table_rows(finding, colour=colour, width=width) + "\n")
    return counts


def summary(counts: Counter[Tier], seconds: float) -> str:
    """The counts in words."""
    listed = ", ".join(f"{counts[tier]} {tier}" for tier in TIERS if counts[tier])
    noun = "photograph" if counts.total() == 1 else "photographs"
    return f"{counts.total()} {noun} in {seconds:.1f} s: {listed or 'none'}"
