"""What the findings mean, in words: for training, and for the number that one would otherwise quote."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from dermsentry.audit.audit import Audit
from dermsentry.audit.balance import UNSPLIT
from dermsentry.audit.leaks import Placed
from dermsentry.audit.shortcuts import EVERYTHING, VISIBLE, Shortcut
from dermsentry.diagnoses import MELANOMA, agree, codes_of, name_of

Weight = Literal["corrupts", "matters", "fine"]
_GUESS = 0.5  # what a model is taken to get right honestly, to show what leaks add


@dataclass(frozen=True)
class Words:
    """A finding: `what` was found, what that means for `training` and for the `number` one would quote."""

    topic: str
    weight: Weight
    what: str
    training: str
    number: str


def explain(audit: Audit) -> list[Words]:
    """All findings in words, in the order of the report; what is in order says so."""
    return [
        _conflicts(audit),
        _leaks(audit),
        _shared(audit),
        _reference(audit),
        _copies(audit),
        _balance(audit),
        _shortcuts(audit),
        _unreadable(audit),
    ]


_MARKS: dict[Weight, str] = {"corrupts": "!!", "matters": " !", "fine": "  "}


def as_text(audit: Audit, width: int = 96) -> str:
    """The summary for a terminal: a paragraph per finding, `!!` before what corrupts a result."""
    lines = [
        f"{count(audit.images, 'photograph')}: "
        + (
            "as it stands, a result on this collection would be wrong."
            if audit.corrupting
            else "nothing corrupts a result."
        ),
        "",
    ]
    for words in explain(audit):
        paragraph = " ".join(part for part in (words.what, words.number) if part)
        lead = f"{_MARKS[words.weight]} {words.topic}: "
        lines += textwrap.wrap(paragraph, width, initial_indent=lead, subsequent_indent="     ")
    return "\n".join(lines) + "\n"


def count(number: int, one: str, many: str | None = None) -> str:
    """`1 photograph`, `2 photographs`, `no photographs`; thousands with a comma."""
    word = one if number == 1 else many or f"{one}s"
    return f"{number:,} {word}" if number else f"no {word}"


def percent(share: float) -> str:
    """A share in per cent, with a decimal below 10 %."""
    return f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"


def _conflicts(audit: Audit) -> Words:
    if not audit.conflicts:
        return Words("Conflicts", "fine", "No photograph stands under two diagnoses.", "", "")
    images = sum(len(group) for group in audit.conflicts)
    pairs = Counter(" and ".join(sorted({name_of(p.diagnosis) for p in group})) for group in audit.conflicts)
    pair, often = pairs.most_common(1)[0]
    melanoma = [g for g in audit.conflicts if any(MELANOMA in codes_of(p.diagnosis) for p in g)]
    wrong = sum(len(group) - max(Counter(p.diagnosis for p in group).values()) for group in audit.conflicts)
    number = (
        f"A model that answers the same for the same photograph is counted wrong on at least {wrong:,} of "
        f"{audit.images:,} ({percent(wrong / audit.images)}), however good it is."
    )
    if melanoma:
        number += (
            f" {count(len(melanoma), 'of the groups has', 'of the groups have')} melanoma as one of the two: "
            "sensitivity and false alarms are both measured against a coin."
        )
    return Words(
        "Conflicts",
        "corrupts",
        f"{count(len(audit.conflicts), 'photograph stands', 'photographs stand')} under two diagnoses or "
        "more, "
        f"{images:,} files in all; most often {pair} ({often:,}).",
        "At least one label of each is wrong, and nobody can see which. A network is punished for either "
        "answer "
        "and learns that the two diagnoses look the same. `dermsentry split` sets them aside unless a "
        "reference "
        "table (`--labels`) settles them.",
        number,
    )


def _test(groups: Iterable[Iterable[Placed]]) -> int:
    return len({p.path for group in groups for p in group if p.split == "test"})


def _leaks(audit: Audit) -> Words:
    if not audit.leaks:
        sides = [name.capitalize() for name in audit.balance.splits if name != UNSPLIT]
        what = (
            f"No photograph is on two sides of {_list(sides)}."
            if len(sides) > 1
            else "There are no sides yet that a photograph could be on both of."
        )
        return Words("Leaks", "fine", what, "", "")
    leaking, tests = _test(audit.leaks), audit.balance.splits.get("test", 0)
    number = "What is seen in training is no test: leave these out of any figure."
    if leaking:
        number = (
            f"{leaking:,} of {count(tests, 'Test photograph')} ({percent(leaking / tests)}) have been seen "
            "in training. " + _remembered(audit.leaks, leaking, tests)
        )
    return Words(
        "Leaks",
        "corrupts",
        f"{count(len(audit.leaks), 'photograph is', 'photographs are')} on both sides of the split.",
        "Training runs as usual, and no curve shows it. `dermsentry split` keeps these apart as "
        "`test-leaking`.",
        number,
    )


def _remembered(leaks: Iterable[Iterable[Placed]], leaking: int, tests: int) -> str:
    """What knowing the leaks by heart does to accuracy: it flatters, or spoils under another label."""
    same = 0
    for group in leaks:
        photographs = list(group)
        learnt = [p.diagnosis for p in photographs if p.split != "test"]
        same += sum(
            p.split == "test" and any(agree(p.diagnosis, label) for label in learnt) for p in photographs
        )
    other = leaking - same
    quoted = f"{100 * (same + _GUESS * (tests - leaking)) / tests:.1f} % instead of {100 * _GUESS:.1f} %"
    if not other:
        how = "a model that knows these by heart"
    elif not same:
        how = (
            "All of them stand under another diagnosis in training: a model that knows them by heart is "
            "counted wrong "
            "on every one, and"
        )
    else:
        how = (
            f"{same:,} under the same diagnosis, {other:,} under another: a model that knows all by heart "
            "is counted "
            "right on the former, wrong on the latter, and"
        )
    return f"{how[0].upper()}{how[1:]}, if right on half of the others, would be quoted at {quoted}."


def _shared(audit: Audit) -> Words:
    if not audit.shared_lesions:
        return Words(
            "Lesions on both sides",
            "fine",
            "No known lesion or patient is on two sides by different photographs.",
            "",
            "",
        )
    kinds = Counter(shared.of for shared in audit.shared_lesions)
    listed = " and ".join(count(kinds[of], of) for of in ("lesion", "patient") if kinds[of])
    affected, tests = _test(s.photographs for s in audit.shared_lesions), audit.balance.splits.get("test", 0)
    number = "Leave these out of any figure."
    if affected and tests:
        number = (
            f"{affected:,} of {count(tests, 'Test photograph')} ({percent(affected / tests)}), besides "
            "those that leak as "
            "copies, ask about a lesion or a person whose answer was given in training. No copy check "
            "finds them; "
            "only metadata does."
        )
    return Words(
        "Lesions on both sides",
        "corrupts",
        f"{listed} on both sides of the split, by different photographs.",
        "A second photograph of the same lesion is recognised, not diagnosed.",
        number,
    )


def _reference(audit: Audit) -> Words:
    if audit.comparison is None:
        return Words(
            "Reference labels",
            "fine",
            "No reference table was given, so labels were compared with each other only (`--labels`).",
            "",
            "",
        )
    compared, wrong = audit.comparison.compared, audit.comparison.disagreements
    if not wrong:
        what = (
            f"The reference table knows {compared:,} of {count(audit.images, 'photograph')} and "
            "contradicts none."
        )
        return Words("Reference labels", "fine", what, "", "")
    lost = sum(MELANOMA in codes_of(d.reference) for d in wrong)
    false = sum(MELANOMA in codes_of(d.diagnosis) for d in wrong)
    tests = sum(d.split == "test" for d in wrong)
    number = (
        f"{percent(len(wrong) / compared)} of the labels that could be checked are contradicted, "
        f"{f'{tests:,}' if tests else 'none'} of them in Test."
    )
    if lost:
        number += (
            f" {count(lost, 'melanoma is', 'melanomas are')} filed as something else: found, it counts as "
            "a false alarm."
        )
    if false:
        number += (
            f" {count(false, 'photograph', 'photographs')} filed as melanoma should not be: missed, it "
            "costs sensitivity."
        )
    pairs = Counter(f"{name_of(d.diagnosis)} is {name_of(d.reference)}" for d in wrong)
    listed = "; ".join(f"{pair} by the reference ({often:,})" for pair, often in pairs.most_common(3))
    return Words(
        "Reference labels",
        "corrupts",
        f"The reference table knows {compared:,} of {count(audit.images, 'photograph')} and contradicts "
        f"{len(wrong):,}: "
        f"{listed}.",
        "Contradicted labels teach the wrong answer. `dermsentry split --labels` corrects what the "
        "reference settles "
        "and says so in `reason`.",
        number,
    )


def _copies(audit: Audit) -> Words:
    summary = audit.summary()
    outside = sum(n for name, n in audit.balance.splits.items() if name != "test")
    if not audit.twins:
        return Words("Copies and company", "fine", "Every photograph outside Test stands for itself.", "", "")
    return Words(
        "Copies and company",
        "matters",
        f"{count(summary['identical_groups'], 'group')} of identical and "
        f"{count(summary['near_groups'], 'group')} of near-identical photographs. Outside Test, "
        f"{audit.twins:,} of "
        f"{count(outside, 'photograph')} have a copy or another photograph of their lesion or patient "
        "beside them.",
        "Copies weigh their lesion double. Augmented copies made before a split multiply this.",
        f"Of a random fifth held out for validation, {percent(audit.twins_held_out)} would have such a "
        "twin in training: "
        "validation accuracy, early stopping and the choice of a model would rest on memory. A split by "
        "groups "
        "holds out none.",
    )


def _balance(audit: Audit) -> Words:
    balance = audit.balance
    known = {label: balance.count(label) for label in balance.classes if label}
    total = sum(known.values())
    if len(known) < 2 or not balance.least or not total:
        what = f"Only one diagnosis: {name_of(next(iter(known), ''))}. There is nothing to tell apart."
        return Words("Class balance", "matters", what, "", "")
    where = "" if balance.counted_in == UNSPLIT else f" in {balance.counted_in.capitalize()}"
    top = max(known, key=lambda k: known[k])
    ruling = _list(f"{name_of(k)} ({percent(known[k] / total)})" for k in balance.dominant)
    fewest = known[balance.least]
    what = (
        f"Rarest{where}: {name_of(balance.least)}, {count(fewest, 'photograph')} "
        f"({percent(fewest / total)}). "
    )
    what += f"Dominating: {ruling}." if ruling else "No class dominates."
    tests = {k: v["test"] for k, v in balance.classes.items() if k and v.get("test")}
    number = (
        f"Answering {name_of(top)} to everything would already be right on "
        f"{percent(known[top] / total)}{where}: quote "
        "balanced accuracy beside accuracy."
    )
    if tests and balance.counted_in != "test":
        small = min(tests, key=lambda k: tests[k])
        step = f"{100 / tests[small]:.0f} percentage points"
        number += (
            f" Test has {count(tests[small], 'photograph')} of {name_of(small)}: each moves that recall by "
            f"{step}."
        )
        missing = [name_of(k) for k in known if k not in tests]
        if missing:
            number += f" Test has none of {_list(missing)}."
    uneven = known[top] >= 2 * max(fewest, 1)
    return Words(
        "Class balance",
        "matters" if uneven else "fine",
        what,
        f"The largest class has {known[top] / max(fewest, 1):.1f} times the photographs of the smallest; "
        "without weights "
        "or balanced sampling the rare ones hardly count."
        if uneven
        else "",
        number,
    )


def _list(parts: Iterable[str]) -> str:
    *head, last = list(parts) or [""]
    return f"{', '.join(head)} and {last}" if head else last


def _shortcuts(audit: Audit) -> Words:
    if not audit.shortcuts:
        return Words(
            "Shortcuts",
            "fine",
            "Not measured: at least two diagnoses with five photographs each, and something that differs "
            "around "
            "the lesions, are needed.",
            "",
            "",
        )
    telling = [s for s in audit.shortcuts if s.tells]
    single = [s for s in telling if s.family not in (VISIBLE, EVERYTHING)]
    whole = audit.shortcuts[-1]
    if not telling:
        what = (
            f"What is not the lesion tells no more than chance ({percent(whole.chance)} balanced accuracy): "
            f"{_list(s.family for s in audit.shortcuts if s.family not in (VISIBLE, EVERYTHING))} were tried."
        )
        return Words("Shortcuts", "fine", what, "", "")
    best = max(telling, key=lambda s: s.balanced_accuracy)
    what = (
        f"Without seeing a lesion, a small classifier reaches {percent(best.balanced_accuracy)} balanced "
        "accuracy, where "
        f"chance is {percent(best.chance)}"
    )
    if best.melanoma_auroc is not None:
        what += f", and an AUROC of {best.melanoma_auroc:.2f} for melanoma against the rest"
    what += f". Above chance: {_list(_measured(s) for s in single)}." if single else "."
    shown = max(
        (s for s in telling if "id number" not in s.columns), key=lambda s: s.balanced_accuracy, default=None
    )
    number = (
        f"A network cannot see an id, but {percent(shown.balanced_accuracy)} can be had from what "
        "surrounds the lesion. A "
        "random part of the same collection rewards that as if it were diagnosis; expect less elsewhere, "
        "and test on "
        "another source."
        if shown
        else "A network cannot see an id, but it sees what sets one archive apart from another. A random "
        "part of the same "
        "collection rewards that as if it were diagnosis; expect less elsewhere, and test on another source."
    )
    families = _list(s.family for s in single) or best.family
    return Words(
        "Shortcuts",
        "matters",
        what,
        f"A network finds what is easiest. Here {families} {'goes' if len(single) < 2 else 'go'} with the "
        "diagnosis, so "
        "it may learn the source instead. Cropping and colour augmentation make that harder.",
        number,
    )


def _measured(shortcut: Shortcut) -> str:
    return f"{shortcut.family} ({percent(shortcut.balanced_accuracy)})"


def _unreadable(audit: Audit) -> Words:
    number = len(audit.found.unreadable)
    if not number:
        return Words("Unreadable files", "fine", "Every file could be read.", "", "")
    return Words(
        "Unreadable files",
        "matters",
        f"{count(number, 'file')} of {audit.images:,} cannot be read.",
        "Dermsentry leaves them out and says so; other tools stop in the middle of an epoch.",
        "Figures are over the readable ones. If files of one class fail more often, that class looks rarer "
        "than it is.",
    )
