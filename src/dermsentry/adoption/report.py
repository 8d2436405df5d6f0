"""An adoption as lines for a terminal, as `adoption.json` and as one HTML page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dermsentry.adoption.promise import demand
from dermsentry.adoption.results import Adoption, Figures
from dermsentry.files import write_json
from dermsentry.model import PAGES
from dermsentry.reporting import write_report
from dermsentry.reporting.figures import BLUE, GREY, as_png, new_figure
from dermsentry.reporting.prose import render_block
from dermsentry.stats.calibration import ReliabilityBin
from dermsentry.stats.intervals import Estimate
from dermsentry.stats.numbers import (
    MISSING,
    decimal_interval,
    percent_as_given,
    percent_interval,
    significant,
)

TARGETS = (0.8, 0.85, 0.9, 0.95, 0.98)
"""Sensitivities that the page tells the needed melanomas of."""


def write_pages(folder: Path, adoption: Adoption) -> None:
    """Write `adoption.html` and `adoption.json` into a folder. Raises OutputError."""
    page, record = PAGES
    asked = adoption.demand
    write_report(
        folder / page,
        "adoption.html",
        adoption=adoption,
        verdict=verdict(adoption),
        rows=figure_rows(adoption),
        targets=[] if asked is None else needed_for(asked.confidence),
        plot=reliability_plot(adoption),
        synthetic=bool(adoption.about.get("synthetic")),
    )
    write_json(folder / record, adoption)


def verdict(adoption: Adoption) -> str:
    """What is promised, or that nothing is, in a sentence or two."""
    return render_block("adoption_verdict.txt", "verdict", adoption=adoption, given=percent_as_given)


def needed_for(confidence: float) -> list[tuple[float, int]]:
    """How many melanomas each of `TARGETS` needs, all of them found."""
    return [(target, demand(0, target, confidence).needed) for target in TARGETS]


def figure_rows(adoption: Adoption) -> list[tuple[str, str, str]]:
    """The figures before and after as text: name, before, after."""
    before, after = adoption.before, adoption.after
    if before is None:
        return []
    cut = adoption.alert
    there = adoption.prevalence
    at = "" if there is None else f" at {percent_as_given(round(there, 3))} melanomas"
    rows = [] if cut is None else [("alert threshold", significant(cut.before), significant(cut.now))]

    def add(name: str, figure: str, shown: Any = percent_interval) -> None:
        values = [None if own is None else _found(own, figure) for own in (before, after)]
        first, second = (MISSING if value is None else shown(value) for value in values)
        rows.append((name, first, second))

    add("melanoma sensitivity", "sensitivity")
    add("melanoma specificity", "specificity")
    add("photographs that raise an alert", "alerts")
    add(f"alerts that are right{at}", "value.positive_predictive_value")
    add(f"alerts per melanoma found{at}", "value.alerts_per_melanoma", lambda v: decimal_interval(v, 1))
    add("calibration error of melanoma", "calibration_error")
    add("Brier score of melanoma", "brier_score", decimal_interval)
    add("log loss of melanoma", "log_loss", decimal_interval)
    return rows


def summary(adoption: Adoption) -> str:
    """The promise and the figures as lines of text, for a terminal."""
    return "\n".join(_lines(adoption))


def _lines(adoption: Adoption) -> Iterator[str]:
    counts, asked = adoption.counts, adoption.demand
    yield verdict(adoption)
    if asked is not None:
        yield (
            f"{counts.melanomas} melanomas of {counts.melanoma_groups} lesions or patients, "
            f"{counts.others} other photographs; {asked.needed} melanomas needed"
        )
    rows = figure_rows(adoption)
    if rows:
        wide = max(len(name) for name, _, _ in rows)
        yield f"{'':<{wide}}  {'before':<24}{'after'}"
        yield from (f"{name:<{wide}}  {first:<24}{second}".rstrip() for name, first, second in rows)


def _found(figures: Figures, name: str) -> Estimate | None:
    value: Any = figures
    for part in name.split("."):
        value = None if value is None else getattr(value, part)
    return value  # type: ignore[no-any-return]


def reliability_plot(adoption: Adoption) -> bytes | None:
    """Stated probability of melanoma against the observed share, before and after; PNG bytes."""
    parts = [("before", adoption.before), ("after, on photographs not fitted to", adoption.after)]
    shown = [(name, own.reliability) for name, own in parts if own is not None]
    if not shown:
        return None
    with new_figure(1, len(shown), width=3.9 * len(shown) + 0.4, height=3.5) as (figure, panels):
        for axes, (name, bins) in zip([panels] if len(shown) == 1 else panels, shown, strict=True):
            _draw(axes, bins)
            axes.set_title(name)
        return as_png(figure)


def _draw(axes: Any, bins: tuple[ReliabilityBin, ...]) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
    stated = [own.stated for own in bins]
    observed = [own.observed for own in bins]
    ends = [[own.value - own.low for own in observed], [own.high - own.value for own in observed]]
    axes.errorbar(stated, [own.value for own in observed], ends, color=BLUE, fmt="o", markersize=4)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set(xlabel="stated probability of melanoma", ylabel="share of melanomas")
