"""Every stage in one call: draw or read, audit, split, train, evaluate, screen, and a page about it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dermsentry.audit import Audit, audit_collection, write_audit
from dermsentry.collection import Collection, read_collection
from dermsentry.diagnoses import MELANOMA, codes_of
from dermsentry.errors import InputError
from dermsentry.evaluation import evaluate
from dermsentry.evaluation.results import Evaluation
from dermsentry.files import read_json, write_json
from dermsentry.images import Pixels, Unreadable, read_fitted
from dermsentry.outputs import Output
from dermsentry.phantoms import Phantoms, draw_phantoms, is_synthetic
from dermsentry.reporting import write_report
from dermsentry.screening import Finding, screen
from dermsentry.screening.triage import MEANING, TIERS
from dermsentry.split import Split, make_split, write_split
from dermsentry.training import require_framework, train

STATE = "demo.json"
SHOWN = 12  # alerts on the page
SIDE = 200  # pixels of a picture on the page

# As unequal as such collections are.
_DRAWN = {"AK": 24, "BCC": 40, "DF": 22, "MEL": 48, "NV": 48, "PBK": 44, "SCC": 28, "SK": 22, "VASC": 28}
_DRAWN_TEST = 12


@dataclass(frozen=True)
class Demo:
    """What a demo made: its page, the alerts first among its findings, and the seconds of each step."""

    page: Path
    findings: tuple[Finding, ...]
    seconds: dict[str, float]


@dataclass(frozen=True)
class ShownAlert:
    """A photograph that raised an alert, for the page."""

    finding: Finding
    diagnosis: str
    photograph: Pixels
    saliency: bytes


def demo(
    data: str | Path | None = None,
    out: str | Path = "demo",
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
    force: bool = False,
    quiet: bool = True,
) -> Demo:
    """Run every stage once and write `demo.html`, beside the files and pages of each stage.

    Parameters
    ----------
    data
        A labelled collection; without one, synthetic images with planted defects are drawn.
    out
        A new folder, or that of an earlier demo of the same `data` and `seed`, which is replaced.
    seed
        Random seed.
    say
        Receives a line for each step.
    force
        Whether to replace a demo of other data or another seed, or a split that was edited, which is refused
        otherwise.
    quiet
        Whether to show no progress bars on stderr.

    Returns
    -------
    Demo
        Its page, its findings with the alerts first, and the seconds of each step.

    Raises
    ------
    InputError
        `data` cannot be used, or `out` holds something else.
    TrainingError
        `data` has too few photographs or classes to learn from.
    OutputError
        `out` cannot be written, or holds another demo.
    """
    require_framework()
    folder = Path(out)
    collection = None if data is None else read_collection(data)
    for note in () if collection is None else collection.notes:
        say(f"Note: {note}")
    of = {"data": data, "seed": seed}
    output = Output(folder, "demo", (STATE, "split.csv"), of)
    output.check(force=force)
    _clear(folder)
    output.begin()
    seconds: dict[str, float] = {}

    def step(name: str, words: str) -> None:
        seconds[name] = time.perf_counter() - started - sum(seconds.values())
        say(f"{words} ({seconds[name]:.0f} s)")

    started = time.perf_counter()
    planted = None
    if collection is None:
        planted = draw_phantoms(
            folder / "photographs", per_class=_DRAWN, test_per_class=_DRAWN_TEST, seed=seed
        )
        collection = read_collection(planted.root)
        step("draw", f"Drew {planted.photographs} synthetic images of nine diagnoses, with planted defects")
    audit = audit_collection(collection, seed=seed, quiet=quiet)
    write_audit(audit, collection, folder / "audit")
    step("audit", f"Audited {audit.images} photographs: {_audited(audit)}")
    split = make_split(collection, seed=seed)
    write_split(split, folder / "split.csv")
    step("split", f"Split by groups: {_listed(split.counts())}")
    run = train(collection, split, folder / "run", seed=seed, quiet=quiet)
    step("train", "Trained a linear head on a frozen network")
    evaluation = evaluate(run.bundle, collection, split, out=folder / "evaluation", seed=seed, quiet=quiet)
    step("evaluate", f"Evaluated it on {evaluation.photographs} held-out images")
    tested = split.table[split.table["part"] == "test"]
    screened = screen(
        [collection.root / path for path in tested["path"]],
        run.bundle,
        findings=folder / "screen" / "findings.jsonl",
        predictions=folder / "screen" / "predictions.csv",
        saliency=folder / "screen" / "saliency",
    )
    findings = tuple(sorted(screened, key=_urgency))
    step("screen", f"Screened them: {_listed(_tiers(findings))}")
    page = folder / "demo.html"
    _write_page(page, collection, planted, audit, split, evaluation, findings, seconds)
    write_json(folder / STATE, {**of, "seconds": seconds, "finished": True})
    output.finish()
    return Demo(page, findings, seconds)


def _clear(folder: Path) -> None:
    """Make the folder, or empty an earlier demo's of what later steps would otherwise continue from."""
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / STATE).is_file() or "finished" not in read_json(folder / STATE):
            raise InputError(f"{folder} is not empty and no demo made it; choose another folder with --out.")
        for name in ("photographs", "audit", "run", "evaluation", "screen"):
            shutil.rmtree(folder / name, ignore_errors=True)
    write_json(folder / STATE, {"finished": False})


def _audited(found: Audit) -> str:
    counted = {
        "conflicts": len(found.conflicts),
        "leaks": len(found.leaks),
        "groups of duplicates": len(found.duplicates),
        "unreadable": len(found.unreadable),
    }
    return _listed(counted)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _tiers(findings: Sequence[Finding]) -> dict[str, int]:
    counts = {tier: sum(finding.tier == tier for finding in findings) for tier in TIERS}
    return {tier: count for tier, count in counts.items() if count}


def _urgency(finding: Finding) -> tuple[int, float]:
    return TIERS.index(finding.tier), -(finding.melanoma or 0.0)


def _write_page(
    page: Path,
    collection: Collection,
    planted: Phantoms | None,
    found: Audit,
    split: Split,
    evaluation: Evaluation,
    findings: Sequence[Finding],
    seconds: dict[str, float],
) -> None:
    truth = {
        str(collection.root / path): label
        for path, label in zip(split.table["path"], split.table["diagnosis"], strict=True)
    }
    melanomas = {
        tier: sum(codes_of(truth[f.path]) == (MELANOMA,) for f in findings if f.tier == tier)
        for tier in TIERS
    }
    write_report(
        page,
        "demo.html",
        synthetic=is_synthetic(collection.root),
        name=collection.root.resolve().name,
        found=found,
        planted=None if planted is None else _planted(planted, found),
        parts=split.counts(),
        evaluation=evaluation,
        tiers=_tiers(findings),
        meaning=MEANING,
        melanomas=melanomas,
        alerts=_alerts(page.parent / "screen" / "saliency", findings, truth),
        alert_count=_tiers(findings).get("alert", 0),
        seconds=seconds,
    )


def _planted(planted: Phantoms, found: Audit) -> list[tuple[str, int, int]]:
    """What was planted, how many, and how many of them the audit found."""
    together = [set(group.photographs) for group in found.duplicates]
    in_conflict = [{p.path for p in group.photographs} for group in found.conflicts]
    unreadable = {entry.path for entry in found.unreadable}

    def named(pairs: Sequence[tuple[str, str]], groups: Sequence[set[str]]) -> int:
        return sum(any({first, second} <= group for group in groups) for first, second in pairs)

    copies = (*planted.identical, *planted.near)
    return [
        ("pairs of duplicates, byte for byte or re-encoded", len(copies), named(copies, together)),
        ("of these with conflicting labels", len(planted.conflicts), named(planted.conflicts, in_conflict)),
        ("of these in Train and in Test", len(planted.leaks), named(planted.leaks, together)),
        ("files that cannot be read", len(planted.unreadable), len(unreadable & set(planted.unreadable))),
    ]


def _alerts(saliency: Path, findings: Sequence[Finding], truth: dict[str, str]) -> list[ShownAlert]:
    alerts = []
    for finding in [f for f in findings if f.tier == "alert"][:SHOWN]:
        try:
            photograph = read_fitted(Path(finding.path), SIDE, "squash")
        except Unreadable:  # gone since it was screened
            continue
        alerts.append(
            ShownAlert(
                finding, truth[finding.path], photograph, (saliency / f"{finding.image}.png").read_bytes()
            )
        )
    return alerts
