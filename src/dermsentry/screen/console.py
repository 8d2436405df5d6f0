"""Findings on stdout as they come, for a person or a pipe; what they add up to on stderr."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from typing import Literal

from dermsentry.screen.finding import Finding
from dermsentry.screen.triage import TIERS, Tier
from dermsentry.screen.writers import predictions_header, predictions_row, table_header, table_rows

Form = Literal["table", "json", "csv"]


def print_findings(findings: Iterable[Finding], form: Form) -> Counter[Tier]:
    """Print each finding to stdout at once, and return how many there are of each tier."""
    counts: Counter[Tier] = Counter()
    header = {"table": table_header() + "\n", "json": "", "csv": predictions_header()}
    sys.stdout.write(header[form])
    colour = sys.stdout.isatty()
    for finding in findings:
        counts[finding.tier] += 1
        if form == "json":
            sys.stdout.write(finding.as_json() + "\n")
        elif form == "csv":
            sys.stdout.write(predictions_row(finding))
        else:
            sys.stdout.write(table_rows(finding, colour=colour) + "\n")
        sys.stdout.flush()
    return counts


def summary(counts: Counter[Tier], seconds: float) -> str:
    """The counts in words."""
    listed = ", ".join(f"{counts[tier]} {tier}" for tier in TIERS if counts[tier])
    return f"{counts.total()} photographs in {seconds:.1f} s: {listed or 'none'}"
