"""What an audit found, in words: what was found, and what that means for training and for reported figures.

The sentences are in `reporting/templates/audit_findings.txt`, the numbers for them here.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dermsentry.audit.balance import UNKNOWN, UNSPLIT
from dermsentry.audit.content import KINDS
from dermsentry.audit.leaks import PhotographGroup, count_in_test
from dermsentry.audit.shortcuts import EVERYTHING, ID_NUMBER, VISIBLE
from dermsentry.audit.since import CORRUPTING, FINDINGS
from dermsentry.collection.labels import describe_unknown
from dermsentry.diagnoses import MELANOMA, agree, codes_of, name_of
from dermsentry.image_files import by_reason
from dermsentry.reporting.prose import render_block
from dermsentry.stats.numbers import compared, counted, percent

if TYPE_CHECKING:
    from dermsentry.audit.audit import Audit

Severity = Literal["corrupts", "matters", "fine"]
_Facts = tuple[Severity, dict[str, Any]]

_TEMPLATE = "audit_findings.txt"
_GUESS = 0.5  # the accuracy that a model is taken to have honestly, to show what leaks add
_MARKS: dict[Severity, str] = {"corrupts": "!!", "matters": " !", "fine": "  "}


@dataclass(frozen=True)
class AuditFinding:
    """What an audit found about one topic, in words.

    Attributes
    ----------
    topic
        Such as `Leaks`.
    severity
        `corrupts` a result, `matters`, or `fine`.
    found
        What was found.
    training, figures
        What that means for training, and for the figures that one would report; `""` where nothing.
    """

    topic: str
    severity: Severity
    found: str
    training: str
    figures: str


def describe(audit: Audit) -> dict[str, AuditFinding]:
    """The finding on each topic by its key, in the order of the report; a topic that is in order says so."""
    findings = {}
    for key, (topic, facts) in _TOPICS.items():
        if key == "since" and audit.since is None:
            continue
        severity, values = facts(audit)
        found, training, figures = (
            render_block(_TEMPLATE, f"{key}_{part}", **values) for part in ("found", "training", "figures")
        )
        findings[key] = AuditFinding(topic, severity, found, training, figures)
    return findings


def verdict(audit: Audit) -> str:
    """What the whole audit comes to, never better than what was seen, as the end of a sentence."""
    unseen = len(audit.unreadable) + len(audit.not_read)
    if audit.corrupting:
        told = "a result on this collection as it is would be wrong."
    elif len(audit.unreadable) >= audit.images:
        told = "none of them could be read, so nothing is known of them."
    elif unseen:
        told = (
            f"nothing was found that corrupts a result, but {counted(unseen, 'photograph')} "
            f"could not be read or found: nothing is known of {'it' if unseen == 1 else 'them'}."
        )
    else:
        told = "nothing was found that corrupts a result."
    return f"{told} Look at the doubtful duplicates first." if audit.doubtful else told


def as_text(audit: Audit, width: int = 96) -> str:
    """The summary for a terminal: a paragraph per finding, `!!` before what corrupts a result."""
    lines = [f"{counted(audit.images, 'photograph')}: {verdict(audit)}", ""]
    for finding in audit.findings:
        paragraph = " ".join(part for part in (finding.found, finding.figures) if part)
        lead = f"{_MARKS[finding.severity]} {finding.topic}: "
        lines += textwrap.wrap(paragraph, width, initial_indent=lead, subsequent_indent="     ")
    return "\n".join(lines) + "\n"


def _conflicts(audit: Audit) -> _Facts:
    groups = [[p.diagnosis for p in group.photographs] for group in audit.conflicts]
    pairs = Counter(" and ".join(sorted({name_of(label) for label in labels})) for labels in groups)
    pair, often = pairs.most_common(1)[0] if groups else ("", 0)
    return "corrupts" if groups else "fine", {
        "groups": len(groups),
        "images": sum(map(len, groups)),
        "pair": pair,
        "often": often,
        "wrong": sum(len(labels) - max(Counter(labels).values()) for labels in groups),
        "of": audit.images,
        "melanoma": sum(any(MELANOMA in codes_of(label) for label in labels) for labels in groups),
    }


def _leaks(audit: Audit) -> _Facts:
    leaking, tests = count_in_test(audit.leaks), audit.splits.get("test", 0)
    same = _same_label(audit.leaks)
    memorised = (same + _GUESS * (tests - leaking)) / tests if tests else _GUESS
    quoted, honest = compared(memorised, _GUESS)
    return "corrupts" if audit.leaks else "fine", {
        "groups": len(audit.leaks),
        "splits": [name.capitalize() for name in audit.splits if name != UNSPLIT],
        "leaking": leaking,
        "tests": tests,
        "same": same,
        "other": leaking - same,
        "near": audit.summary["near_leaking_test_images"],
        "quoted": quoted,
        "honest": honest,
    }


def _same_label(leaks: Iterable[PhotographGroup]) -> int:
    """Leaking Test images that carry the label of one of their copies elsewhere; memory gets them right."""
    same = 0
    for group in leaks:
        learnt = [p.diagnosis for p in group.photographs if p.split != "test"]
        same += sum(
            p.split == "test" and any(agree(p.diagnosis, label) for label in learnt)
            for p in group.photographs
        )
    return same


def _shared_lesions(audit: Audit) -> _Facts:
    kinds = Counter(shared.of for shared in audit.shared_lesions)
    return "corrupts" if kinds else "fine", {
        "kinds": [counted(kinds[of], of) for of in ("lesion", "patient") if kinds[of]],
        "affected": count_in_test(audit.shared_lesions),
        "tests": audit.splits.get("test", 0),
        "known": audit.lesions.sentence,
    }


def _reference(audit: Audit) -> _Facts:
    wrong = audit.label_disagreements
    pairs = Counter(f"{name_of(d.diagnosis)} is {name_of(d.reference)}" for d in wrong)
    return "corrupts" if wrong else "fine", {
        "compared": audit.labels_compared,
        "images": audit.images,
        "wrong": len(wrong),
        "pairs": pairs.most_common(3),
        "tests": sum(d.split == "test" for d in wrong),
        "melanomas_lost": sum(MELANOMA in codes_of(d.reference) for d in wrong),
        "melanomas_false": sum(MELANOMA in codes_of(d.diagnosis) for d in wrong),
    }


def _duplicates(audit: Audit) -> _Facts:
    summary = audit.summary
    return "matters" if audit.twins.images or audit.doubtful else "fine", {
        "doubtful": [
            {
                "photographs": len(group.photographs),
                "first": group.photographs[:2],
                "in_place": group.in_place,
            }
            for group in audit.doubtful
        ],
        "images": audit.images,
        "identical": summary["identical_groups"],
        "near": summary["near_groups"],
        "related": audit.twins.images,
        "held_out": audit.twins.held_out,
        "outside": sum(count for name, count in audit.splits.items() if name != "test"),
    }


def _diagnoses(audit: Audit) -> _Facts:
    total, known = audit.images, audit.images - audit.summary["unknown_diagnosis"]
    coarse = {
        label: sum(counts.values())
        for label, counts in audit.classes.items()
        if label != UNKNOWN and len(codes_of(label)) > 1
    }
    return "matters" if known < total or audit.unknown_diagnoses else "fine", {
        "unknown": total - known,
        "total": total,
        "lost": [describe_unknown(one) for one in audit.unknown_diagnoses],
        "coarse": [f"{name_of(label)} ({count:,})" for label, count in coarse.items()],
        "confirmed": [f"{way} ({percent(count / known)})" for way, count in audit.confirmed.items()],
    }


def _balance(audit: Audit) -> _Facts:
    known = {label: counts[audit.counted_in] for label, counts in audit.classes.items() if label != UNKNOWN}
    total = sum(known.values())
    if len(known) < 2 or not total:
        return "matters", {"single": True, "only": name_of(next(iter(known), "")), "uneven": False}
    top = max(known, key=lambda label: known[label])
    most, fewest = known[top], known[audit.least]
    tests = {label: audit.classes[label].get("test", 0) for label in known}
    tested = {label: count for label, count in tests.items() if count and audit.counted_in != "test"}
    smallest = min(tested, key=lambda label: tested[label], default="")
    uneven = most >= 2 * max(fewest, 1)
    return "matters" if uneven else "fine", {
        "single": False,
        "where": "" if audit.counted_in == UNSPLIT else f" in {audit.counted_in.capitalize()}",
        "least": audit.least,
        "fewest": fewest,
        "total": total,
        "dominant": [f"{name_of(label)} ({percent(known[label] / total)})" for label in audit.dominant],
        "top": top,
        "most": most,
        "uneven": uneven,
        "ratio": most / max(fewest, 1),
        "smallest": smallest,
        "tested": tested.get(smallest, 0),
        "untested": [name_of(label) for label in known if label not in tested],
    }


def _shortcuts(audit: Audit) -> _Facts:
    telling = [s for s in audit.shortcuts if s.tells]
    single = [s for s in telling if s.family not in (VISIBLE, EVERYTHING)]
    best = max(telling, key=lambda s: s.balanced_accuracy, default=None)
    visible = (s for s in telling if ID_NUMBER not in s.columns)
    return "matters" if telling else "fine", {
        "measured": len(audit.shortcuts),
        "chance": audit.shortcuts[-1].chance if audit.shortcuts else None,
        "tried": [s.family for s in audit.shortcuts if s.family not in (VISIBLE, EVERYTHING)],
        "best": best,
        "above": [f"{s.family} ({percent(s.balanced_accuracy)})" for s in single],
        "visible": max(visible, key=lambda s: s.balanced_accuracy, default=None),
        "families": [s.family for s in single] or [best.family if best else ""],
    }


def _content(audit: Audit) -> _Facts:
    content = audit.content
    counts = {} if content is None else content.counts
    return "matters" if counts else "fine", {
        "content": content,
        "kinds": [f"{KINDS[kind].lower()} ({count:,})" for kind, count in counts.items()],
        "compared": 0 if content is None else content.by_model + content.by_probe,
        "labels": counts.get("label", 0),
    }


def _table(audit: Audit) -> _Facts:
    by_kind: dict[str, list[str]] = {}
    for problem in audit.table_problems:
        by_kind.setdefault(problem.kind, []).append(problem.told)
    return "matters" if by_kind else "fine", {
        "checked": [name.replace("_", " ") for name in audit.tables_say],
        "told": [_sentence("; ".join(told[:3]) + _more(len(told) - 3)) for told in by_kind.values()],
        "people": {"sex", "patient", "ages", "spelling"} & by_kind.keys(),
        "subgroups": {"sex", "age", "ages"} & by_kind.keys(),
    }


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _more(count: int) -> str:
    return f" and {count:,} more such" if count > 0 else ""


def _unreadable(audit: Audit) -> _Facts:
    files = len(audit.unreadable)
    return "matters" if files or audit.not_read or audit.colours_in_doubt else "fine", {
        "files": files,
        "images": audit.images,
        "reasons": by_reason(audit.unreadable),
        "beside": by_reason(audit.not_read),
        "doubts": by_reason(audit.colours_in_doubt),
    }


def _since(audit: Audit) -> _Facts:
    since = audit.since
    assert since is not None
    names = {what: what.replace("_", " ") for what in FINDINGS} | {"duplicates": "groups of duplicates"}
    corrupts = any(since.groups[what] for what in CORRUPTING)
    return "corrupts" if corrupts else "matters" if any(since.groups.values()) else "fine", {
        "since": since,
        "images": since.images,
        "new": len(since.new),
        "changed": len(since.changed),
        "gone": len(since.gone),
        "groups": [f"{names[what]} ({len(own):,})" for what, own in since.groups.items() if own],
        "settled": [f"{names[what]} ({count:,})" for what, count in since.settled.items() if count],
    }


_TOPICS: dict[str, tuple[str, Callable[[Audit], _Facts]]] = {
    "conflicts": ("Conflicting labels", _conflicts),
    "leaks": ("Leaks", _leaks),
    "shared_lesions": ("Lesions in more than one split", _shared_lesions),
    "reference": ("Reference labels", _reference),
    "duplicates": ("Duplicates and related images", _duplicates),
    "diagnoses": ("Diagnoses", _diagnoses),
    "balance": ("Class balance", _balance),
    "content": ("Photographs", _content),
    "table": ("Table", _table),
    "shortcuts": ("Shortcuts", _shortcuts),
    "unreadable": ("Unreadable files", _unreadable),
    "since": ("Since the earlier audit", _since),
}
