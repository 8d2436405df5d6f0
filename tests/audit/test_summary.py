"""Every sentence is written from the numbers, and comes out the other way where they do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from columns import table
from dermsentry.audit.audit import Audit
from dermsentry.audit.balance import count_classes
from dermsentry.audit.duplicates import Duplicates
from dermsentry.audit.labels import Comparison, Disagreement
from dermsentry.audit.leaks import Placed, SharedLesion
from dermsentry.audit.shortcuts import EVERYTHING, Shortcut
from dermsentry.audit.summary import Words, as_text, count, explain, percent


def clean(labels: list[str] | None = None, splits: list[str] | None = None) -> Audit:
    labels = labels or ["MEL"] * 10 + ["NV"] * 10
    splits = splits or (["train"] * 8 + ["test"] * 2) * 2
    paths = [f"{i:03d}.jpg" for i in range(len(labels))]
    return Audit(
        images=len(labels),
        balance=count_classes(table(path=paths, diagnosis=labels, split=splits)),
        found=Duplicates((), {}),
        conflicts=(),
        leaks=(),
        shared_lesions=(),
        comparison=None,
        shortcuts=(),
        twins=0,
        twins_held_out=0.0,
        synthetic=False,
        left_alone=(),
        fingerprint="",
        configuration={},
    )


def words(audit: Audit, topic: str) -> Words:
    return next(word for word in explain(audit) if word.topic == topic)


def leak(test: str, train: str, name: str = "a") -> tuple[Placed, Placed]:
    return Placed(f"test/{name}", test, "test"), Placed(f"train/{name}", train, "train")


def shortcut(reached: float, tells: bool, family: str = EVERYTHING) -> Shortcut:
    columns = ("rim red",) if family != "range of image ids" else ("id number",)
    return Shortcut(family, columns, 100, reached, 0.11, 0.14, 0.02, 0.9, {"MEL": reached}, tells)


def test_a_clean_collection_has_nothing_that_corrupts() -> None:
    assert {word.weight for word in explain(clean())} == {"fine"}
    assert "nothing corrupts a result" in as_text(clean())
    assert "!" not in as_text(clean()).replace("!!", "!")


@pytest.mark.parametrize(
    ("leaks", "quoted"),
    [
        ([leak("MEL", "MEL")], "62.5 %"),
        ([leak("MEL", "NV")], "37.5 %"),
        ([leak("MEL", "MEL"), leak("NV", "MEL", "b")], "50.0 %"),
        ([leak("SK", "PBK|SK")], "62.5 %"),
    ],
)
def test_leaks_flatter_under_the_same_label_and_spoil_under_another(
    leaks: list[tuple[Placed, Placed]], quoted: str
) -> None:
    found = words(replace(clean(), leaks=tuple(leaks)), "Leaks")
    assert found.weight == "corrupts"
    assert f"quoted at {quoted} instead of 50.0 %" in found.number
    assert ("another diagnosis" in found.number or "under another" in found.number) == (quoted != "62.5 %")


def test_a_leak_into_validation_needs_no_test() -> None:
    one = (Placed("a", "MEL", "train"), Placed("b", "MEL", "validation"))
    found = words(replace(clean(splits=["train"] * 20), leaks=(one,)), "Leaks")
    assert "leave these out" in found.number


def test_conflicts_say_how_much_cannot_be_right() -> None:
    found = words(replace(clean(), conflicts=(leak("MEL", "NV"),)), "Conflicts")
    assert found.weight == "corrupts"
    assert "melanoma and nevus" in found.what
    assert "at least 1 of 20 (5.0 %)" in found.number
    assert "melanoma as one of the two" in found.number
    other = words(replace(clean(), conflicts=(leak("DF", "NV"),)), "Conflicts")
    assert "melanoma" not in other.number


def test_shared_lesions_count_test_photographs() -> None:
    shared = (
        SharedLesion("lesion", "L", leak("MEL", "MEL")),
        SharedLesion("patient", "P", leak("NV", "NV", "b")),
    )
    found = words(replace(clean(), shared_lesions=shared), "Lesions on both sides")
    assert found.what.startswith("1 lesion and 1 patient")
    assert "2 of 4 Test photographs (50 %)" in found.number


def test_reference_labels_both_ways() -> None:
    assert words(clean(), "Reference labels").weight == "fine"
    agreed = replace(clean(), comparison=Comparison(12, ()))
    assert "contradicts none" in words(agreed, "Reference labels").what
    wrong = Comparison(12, (Disagreement("a", "SK", "train", "MEL"), Disagreement("b", "MEL", "test", "NV")))
    found = words(replace(clean(), comparison=wrong), "Reference labels")
    assert found.weight == "corrupts"
    assert "1 melanoma is filed as something else" in found.number
    assert "1 photograph filed as melanoma should not be" in found.number


def test_balance_both_ways() -> None:
    assert words(clean(), "Class balance").weight == "fine"
    uneven = words(clean(["NV"] * 18 + ["MEL"] * 2, ["train"] * 19 + ["test"]), "Class balance")
    assert uneven.weight == "matters"
    assert "18.0 times" in uneven.training
    assert "moves that recall by 100 percentage points" in uneven.number
    assert "Test has none of nevus" in uneven.number
    assert "Only one diagnosis" in words(clean(["NV"] * 4, ["train"] * 4), "Class balance").what


def test_shortcuts_both_ways() -> None:
    assert "Not measured" in words(clean(), "Shortcuts").what
    quiet = words(replace(clean(), shortcuts=(shortcut(0.12, False),)), "Shortcuts")
    assert quiet.weight == "fine"
    assert "no more than chance" in quiet.what
    loud = words(
        replace(clean(), shortcuts=(shortcut(0.3, True, "colour of the rim"), shortcut(0.44, True))),
        "Shortcuts",
    )
    assert loud.weight == "matters"
    assert "44 %" in loud.what
    assert "colour of the rim (30 %)" in loud.what
    ids = words(replace(clean(), shortcuts=(shortcut(0.3, True, "range of image ids"),)), "Shortcuts")
    assert "sets one archive apart" in ids.number


def test_copies_say_what_a_random_split_would_meet() -> None:
    found = words(replace(clean(), twins=6, twins_held_out=0.3), "Copies and company")
    assert found.weight == "matters"
    assert "6 of 16 photographs" in found.what
    assert "30 %" in found.number


def test_unreadable_both_ways() -> None:
    broken = replace(clean(), found=Duplicates((), {"a": "the file is empty"}))
    assert "1 file of 20" in words(broken, "Unreadable files").what
    assert " ! Unreadable files" in as_text(broken)


def test_lines_of_the_terminal_are_short() -> None:
    audit = replace(
        clean(), leaks=(leak("MEL", "NV"),), conflicts=(leak("MEL", "NV"),), twins=6, twins_held_out=0.3
    )
    assert max(len(line) for line in as_text(audit).splitlines()) <= 96
    assert "!! Leaks" in as_text(audit)


def test_counts_and_shares() -> None:
    assert [count(n, "file") for n in (0, 1, 2, 1234)] == ["no files", "1 file", "2 files", "1,234 files"]
    assert [percent(x) for x in (0, 0.004, 0.0999, 0.1, 1)] == ["0 %", "0.4 %", "10.0 %", "10 %", "100 %"]
