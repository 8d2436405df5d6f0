"""`audit.json`, and the page that shows each finding."""

from __future__ import annotations

import base64
import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import numpy as np

from dermsentry.audit.audit import Audit
from dermsentry.audit.balance import UNKNOWN, UNSPLIT
from dermsentry.audit.content import KINDS, Content, ContentFinding
from dermsentry.audit.findings import Found, list_findings, write_table
from dermsentry.audit.findings_page import write_findings_page
from dermsentry.audit.guarded_reading import begun_readers
from dermsentry.audit.leaks import AuditedPhotograph, in_several_splits, place
from dermsentry.audit.pictures import SIDE, Draw, small_picture
from dermsentry.audit.shortcuts import EVERYTHING, VISIBLE
from dermsentry.audit.summary import describe, verdict
from dermsentry.collection import Collection
from dermsentry.collection.labels import write_draft
from dermsentry.diagnoses import DIAGNOSES, codes_of, name_of
from dermsentry.files import write_json
from dermsentry.images import Pixels
from dermsentry.parallel import cores
from dermsentry.reporting.figures import AMBER, BLUE, GREY, RED, as_png, bars, new_figure
from dermsentry.reporting.html import write_report
from dermsentry.stats.numbers import decimal, percent

_DECIDED = 320  # pixels of a photograph to decide on, which takes a closer look
_SHOWN = 12  # groups of a kind that are drawn here; all are in findings.html
_CARDS = 500  # photographs that are to be decided on


@dataclass(frozen=True)
class _Shown:
    """A photograph on the page: a small picture (None: unreadable), its path and a line about it."""

    picture: Pixels | None
    path: str
    note: str


@dataclass(frozen=True)
class _Card:
    """A photograph to decide on: what was found on it, by kind and in words, and the label suggested."""

    picture: Pixels | None
    path: str
    link: str
    image_id: str
    diagnosis: str
    confirmed: str
    kinds: tuple[str, ...]
    told: tuple[str, ...]
    suggested: str
    learned: bool


def write_audit(audit: Audit, collection: Collection, out: str | Path) -> None:
    """Write `audit.json`, `audit.html` and everything found, each file whole or not at all.

    Everything found is in `findings.html`, to be filtered and paged through, with its pictures in
    `findings/`; and as a table in `findings.csv`, in `findings.parquet` too where the extra `parquet` is
    installed.

    Where diagnoses were not understood, `diagnoses.csv` lists them, to be filled in and given to
    `read_collection`.

    Parameters
    ----------
    audit
        What `audit_collection` found.
    collection
        The collection that was audited; its photographs are drawn on the page.
    out
        The folder to write into; made if it is missing.

    Raises
    ------
    OutputError
        The folder or a file cannot be written.
    """
    out = Path(out)
    write_json(out / "audit.json", audit)
    if audit.unknown_diagnoses:
        write_draft(out / "diagnoses.csv", audit.unknown_diagnoses)
    root = collection.root
    found = list_findings(audit, collection)
    write_table(found, out)
    unreadable = {file.path for file in audit.unreadable}
    with begun_readers(audit.images, cores()) as readers:
        small = small_picture if readers is None else readers.small_picture

        def draw(path: str, side: int) -> Pixels | None:
            return None if path in unreadable else small(root, path, side)

        _write_pages(audit, collection, found, draw, out)


def _write_pages(audit: Audit, collection: Collection, found: Sequence[Found], draw: Draw, out: Path) -> None:
    name = collection.root.resolve().name
    write_findings_page(found, draw, out, name=name, synthetic=audit.synthetic)
    cards, hidden = ([], 0) if audit.content is None else _cards(audit.content, collection, out, draw)
    script = (files("dermsentry.reporting") / "templates" / "audit_decisions.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() if cards else ""
    groups = {
        "conflicts": [group.photographs for group in audit.conflicts],
        "leaks": [group.photographs for group in audit.leaks],
        "shared_lesions": [shared.photographs for shared in audit.shared_lesions],
    }
    groups["conflicts"].sort(key=lambda group: not in_several_splits(group))
    write_report(
        out / "audit.html",
        "audit.html",
        synthetic=audit.synthetic,
        name=name,
        audit=audit,
        summary=audit.summary,
        verdict=verdict(audit),
        findings=describe(audit),
        gallery=_gallery(audit, collection, draw),
        distribution=_distribution(audit),
        surroundings=_surroundings(audit),
        drawn={kind: _drawn(draw, group) for kind, group in groups.items()},
        counts=Counter(own.kind for own in found),
        disagreements=_disagreements(audit, draw),
        near=_drawn(draw, _placed(collection, (g.photographs for g in audit.duplicates if g.kind == "near"))),
        doubtful=_drawn(draw, _placed(collection, (group.photographs for group in audit.doubtful))),
        decimal=decimal,
        cards=cards,
        hidden=hidden,
        kinds=KINDS,
        diagnoses=DIAGNOSES,
        script=script,
        script_hash=digest,
    )


def _cards(content: Content, collection: Collection, out: Path, draw: Draw) -> tuple[list[_Card], int]:
    """A card for each of the first photographs on which something was found, and how many more there are."""
    by_path: dict[str, list[ContentFinding]] = {}
    for finding in content.findings:
        by_path.setdefault(finding.path, []).append(finding)
    rows = collection.table.set_index("path")
    cards = []
    for path, findings in list(by_path.items())[:_CARDS]:
        row = rows.loc[path]
        cards.append(
            _Card(
                draw(path, _DECIDED),
                path,
                quote(os.fsencode(os.path.relpath(collection.root / path, out))),
                str(row["image_id"]),
                findings[0].diagnosis,
                str(row["diagnosis_confirm_type"]),
                tuple(finding.kind for finding in findings),
                tuple(finding.told for finding in findings),
                next((finding.suggested for finding in findings if finding.suggested), ""),
                findings[0].learned,
            )
        )
    return cards, len(by_path) - len(cards)


def _note(photograph: AuditedPhotograph) -> str:
    return (
        f"{name_of(photograph.diagnosis)}, {photograph.split.capitalize()}"
        if photograph.split
        else name_of(photograph.diagnosis)
    )


def _drawn(draw: Draw, groups: Iterable[Sequence[AuditedPhotograph]]) -> list[list[_Shown]]:
    """The first groups, at most six photographs of each."""
    chosen = [group for _, group in zip(range(_SHOWN), groups, strict=False)]
    return [[_Shown(draw(p.path, SIDE), p.path, _note(p)) for p in group[:6]] for group in chosen]


def _placed(collection: Collection, groups: Iterable[Sequence[str]]) -> list[list[AuditedPhotograph]]:
    placed = place(collection.table)
    return [[placed[path] for path in group] for group in groups]


def _gallery(audit: Audit, collection: Collection, draw: Draw) -> list[_Shown]:
    """A photograph of each label that nothing is known against, from train where there is one."""
    doubtful = {p.path for group in audit.conflicts for p in group.photographs}
    doubtful |= {d.path for d in audit.label_disagreements}
    unreadable = {file.path for file in audit.unreadable}
    candidates: dict[str, list[str]] = defaultdict(list)
    table = collection.table
    elsewhere = table["split"].replace("", UNSPLIT) != audit.counted_in
    order = elsewhere.astype(int) + 2 * table["path"].isin(doubtful)
    rows = table.loc[order.sort_values(kind="stable").index]
    for path, label in zip(rows["path"], rows["diagnosis"], strict=True):
        if path not in unreadable:
            candidates[label or UNKNOWN].append(path)
    return [
        _Shown(
            draw(candidates[label][0], SIDE),
            _name(label).capitalize(),
            f"{sum(counts.values()):,} photographs",
        )
        for label, counts in audit.classes.items()
        if candidates[label]
    ]


def _name(label: str) -> str:
    return label if label == UNKNOWN else name_of(label)


def _short(label: str) -> str:
    codes = codes_of(label)
    return _name(label) if len(codes) < 2 else " / ".join(codes)


def _distribution(audit: Audit) -> bytes:
    """Photographs of each class, a panel per split; the dominating ones and the rarest in another colour."""
    labels = sorted(audit.classes, key=lambda label: -audit.classes[label][audit.counted_in])
    height = 0.8 + 0.3 * len(labels)
    with new_figure(1, len(audit.splits), width=8.6, height=height) as (figure, axes):
        for axis, (split, total) in zip(np.atleast_1d(axes), audit.splits.items(), strict=True):
            colours = [BLUE] * len(labels)
            if split == audit.counted_in:
                colours = [
                    AMBER if label in audit.dominant else RED if label == audit.least else BLUE
                    for label in labels
                ]
            bars(axis, {_short(label): audit.classes[label][split] for label in labels}, colours)
            axis.set_title(f"{'Photographs' if split == UNSPLIT else split.capitalize()}: {total:,}")
        for axis in np.atleast_1d(axes)[1:]:
            axis.set_yticklabels([])
        return as_png(figure)


def _surroundings(audit: Audit) -> bytes | None:
    if not audit.shortcuts:
        return None
    values = {s.family[0].upper() + s.family[1:]: 100 * s.balanced_accuracy for s in audit.shortcuts}
    colours = [
        GREY if not s.tells else RED if s.family in (VISIBLE, EVERYTHING) else BLUE for s in audit.shortcuts
    ]
    chance = 100 * audit.shortcuts[-1].chance
    with new_figure(width=8.6, height=1.0 + 0.32 * len(values)) as (figure, axes):
        bars(axes, values, colours, lambda value: percent(value / 100))
        axes.axvline(chance, color=GREY, linestyle="--", linewidth=1)
        axes.annotate(
            f"chance {percent(chance / 100)}", (chance, 1), xycoords=("data", "axes fraction"), xytext=(3, 3),
            textcoords="offset points", fontsize=8.5, color=GREY,
        )  # fmt: skip
        axes.set_xlim(0, max(2.2 * chance, 1.15 * max(values.values())))
        axes.set_xlabel("balanced accuracy in %, from what is not the lesion")
        return as_png(figure)


def _disagreements(audit: Audit, draw: Draw) -> list[_Shown]:
    first = sorted(audit.label_disagreements, key=lambda d: (d.split != "test", d.path))[:_SHOWN]
    return [
        _Shown(
            draw(d.path, SIDE),
            d.path,
            f"labelled {name_of(d.diagnosis)}; reference: {name_of(d.reference)}",
        )
        for d in first
    ]
