"""The site bundle: its parent's network, and a card that says what was adopted, and on what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from dermsentry.adoption.report import write_pages
from dermsentry.adoption.results import Adoption, Cut
from dermsentry.files import plain
from dermsentry.model import CARD_FILE, Adopted, Bundle, Card, Promise, Threshold, read_network, write_bundle
from dermsentry.stats.intervals import exact_binomial

SUFFIX = " (site)"


def site_card(card: Card, adoption: Adoption) -> Card:
    """The card of the site bundle; `write_bundle` fills in what only the network can tell.

    The parent's own figures were measured at its thresholds: they are kept under `adoption.record.parent`.
    Raises ValueError where nothing was adopted.
    """
    if adoption.alert is None or adoption.refer is None:
        raise ValueError(f"Received an adoption that was refused: {adoption.refusal}")
    before = card.adoption
    slope, intercept = adoption.slope, adoption.intercept
    if before is not None:  # its two numbers and these, one after the other
        intercept += slope * before.intercept
        slope *= before.slope
    demand, after = adoption.demand, adoption.after
    promise = Promise(demand.sensitivity, demand.confidence, demand.melanomas) if demand else None
    kept = {name: plain(getattr(card, name)) for name in ("created", "thresholds", "evaluation", "adoption")}
    record = {**plain(adoption), "parent": {**adoption.parent, **kept}}
    figures: dict[str, Any] = {}
    if after is not None:
        aside = ("value", "reliability")
        shown = {name: own for name, own in plain(after).items() if name not in aside and own is not None}
        counts = adoption.counts
        number = counts.melanomas + counts.others
        figures = {"site": {"photographs": number, "melanomas": counts.melanomas, **shown}}
    return replace(
        card,
        name=card.name.removesuffix(SUFFIX)[: 200 - len(SUFFIX)] + SUFFIX,
        thresholds={"alert": _threshold(adoption.alert, card, "alert"),
                    "refer": _threshold(adoption.refer, card, "refer")},
        evaluation=figures,
        adoption=Adopted(card.digest, slope, intercept, promise, record),
        created="",
        sha256="",
        digest="",
    )  # fmt: skip


def write_site_bundle(bundle: Bundle, adoption: Adoption, out: Path) -> Adoption:
    """Write the site bundle with its pages, or the pages alone where nothing was adopted.

    Then a bundle that is in `out` already stays as it is, its pages too.

    Raises
    ------
    BundleError
        The bundle's files have changed.
    OutputError
        The folder cannot be written, or holds something that is no bundle.
    """
    if adoption.refusal:
        if not (out / CARD_FILE).exists():
            write_pages(out, adoption)
        return adoption
    _, onnx = read_network(bundle.folder)
    write_bundle(out, onnx, site_card(bundle.card, adoption), bundle.learned_from)
    write_pages(out, adoption)
    return replace(adoption, bundle=out)


def _threshold(cut: Cut, card: Card, name: Any) -> Threshold:
    old = card.thresholds[name]
    if not cut.melanomas:
        return replace(old, value=cut.now)
    on = f"{cut.melanomas} melanomas of the site"
    if cut.reason == "kept":
        on = f"{old.chosen_on[:120]}, kept on {on}"
    return Threshold(cut.now, cut.sensitivity_target, exact_binomial(cut.found, cut.melanomas), on)
