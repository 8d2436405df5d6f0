"""Every sentence is written from the numbers, and comes out the other way where they do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from columns import table
from dermsentry.audit.audit import Audit, Twins
from dermsentry.audit.balance import count_classes
from dermsentry.audit.disagreements import Disagreement
from dermsentry.audit.duplicates import DoubtfulGroup
from dermsentry.audit.leaks import AuditedPhotograph, PhotographGroup, SharedLesion
from dermsentry.audit.shortcuts import EVERYTHING, Shortcut
from dermsentry.audit.summary import AuditFinding, as_text, describe, verdict
from dermsentry.collection.groups import DuplicateGroup
from dermsentry.collection.lesions import KnownLesions
from dermsentry.image_files import NotRead
from dermsentry.reporting.prose import counted, listed, render_block


def clean(labels: list[str] | None = None, splits: list[str] | None = None) -> Audit:
    labels = labels or ["MEL"] * 10 + ["NV"] * 10
    splits = splits or (["train"] * 8 + ["test"] * 2) * 2
    paths = [f"{i:03d}.jpg" for i in range(len(labels))]
    return Audit(
        images=len(labels),
        **vars(count_classes(table(path=paths, diagnosis=labels, split=splits))),
        unreadable=(),
        not_read=(),
        colours_in_doubt=(),
        unknown_diagnoses=(),
        confirmed={},
        duplicates=(),
        conflicts=(),
        leaks=(),
        shared_lesions=(),
        lesions=KnownLesions(photographs=len(labels), lesion=0, patient=0, published=0, lesions=0),
        label_disagreements=(),
        labels_compared=None,
        shortcuts=(),
        twins=Twins(0, 0.0),
        synthetic=False,
        left_alone=(),
        fingerprint="",
        configuration={},
    )


def pair(test: str, train: str, name: str = "a") -> tuple[AuditedPhotograph, AuditedPhotograph]:
    return AuditedPhotograph(f"test/{name}", test, "test"), AuditedPhotograph(f"train/{name}", train, "train")


def leak(test: str, train: str, name: str = "a") -> PhotographGroup:
    return PhotographGroup(pair(test, train, name))


def finding(audit: Audit, key: str) -> AuditFinding:
    return describe(audit)[key]


def shortcut(reached: float, tells: bool, family: str = EVERYTHING) -> Shortcut:
    columns = ("rim red",) if family != "range of image ids" else ("id number",)
    return Shortcut(family, columns, 100, reached, 0.11, 0.14, 0.02, 0.9, {"MEL": reached}, tells)


def test_a_clean_collection_has_nothing_that_corrupts() -> None:
    assert {finding.severity for finding in clean().findings} == {"fine"}
    assert not any(finding.training for finding in clean().findings)
    assert "!" not in as_text(clean())


@pytest.mark.parametrize(
    ("leaks", "quoted", "how"),
    [
        ([leak("MEL", "MEL")], "62.5 %", "memorised them"),
        ([leak("MEL", "NV")], "37.5 %", "All of them carry another label"),
        ([leak("MEL", "MEL"), leak("NV", "MEL", "b")], "50.0 %", "1 carries the same label there, 1 another"),
        ([leak("SK", "PBK|SK")], "62.5 %", "memorised them"),
    ],
)
def test_leaks_flatter_under_the_same_label_and_spoil_under_another(
    leaks: list[PhotographGroup], quoted: str, how: str
) -> None:
    found = finding(replace(clean(), leaks=tuple(leaks)), "leaks")
    assert found.severity == "corrupts"
    assert f"quoted at {quoted} instead of 50.0 %" in found.figures
    assert how in found.figures


def test_a_leak_into_validation_needs_no_test() -> None:
    one = PhotographGroup(
        (AuditedPhotograph("a", "MEL", "train"), AuditedPhotograph("b", "MEL", "validation"))
    )
    found = finding(replace(clean(splits=["train"] * 20), leaks=(one,)), "leaks")
    assert "leave these out" in found.figures


def test_without_splits_there_is_nothing_to_leak_into() -> None:
    assert "not split" in finding(clean(splits=[""] * 20), "leaks").found
    assert "Train and Test" in finding(clean(), "leaks").found


def test_conflicts_say_how_much_cannot_be_right() -> None:
    found = finding(replace(clean(), conflicts=(leak("MEL", "NV"),)), "conflicts")
    assert found.severity == "corrupts"
    assert (
        "1 photograph carries two or more labels, 2 files in all; most often melanoma and nevus (1)"
        in found.found
    )
    assert "at least 1 of 20 images (5.0 %)" in found.figures
    assert "one of the labels is melanoma" in found.figures
    other = finding(replace(clean(), conflicts=(leak("DF", "NV"),)), "conflicts")
    assert "melanoma" not in other.figures


def test_shared_lesions_count_test_photographs() -> None:
    shared = (
        SharedLesion("lesion", "L", pair("MEL", "MEL")),
        SharedLesion("patient", "P", pair("NV", "NV", "b")),
    )
    found = finding(replace(clean(), shared_lesions=shared), "shared_lesions")
    assert "1 lesion and 1 patient" in found.found
    assert "2 of 4 Test photographs (50.0 %)" in found.figures


def test_doubtful_duplicates_are_told_with_what_they_look_like() -> None:
    for in_place, told in ((0.9, "exactly where they are"), (0.1, "augmented copies")):
        doubtful = replace(clean(), doubtful=(DoubtfulGroup(("a.jpg", "b.jpg"), in_place),))
        found = finding(doubtful, "duplicates")
        assert found.severity == "matters"
        assert (
            "2 photographs of 20 (10.0 %) agree as if they were one, such as a.jpg and b.jpg" in found.found
        )
        assert told in found.found
        assert verdict(doubtful).endswith("Look at the doubtful duplicates first.")


def test_leaks_say_which_are_not_the_same_file() -> None:
    copies = (
        DuplicateGroup("identical", ("test/a", "train/a")),
        DuplicateGroup("near", ("test/a", "train/a")),
        DuplicateGroup("near", ("test/b", "train/b")),
        DuplicateGroup("near", ("train/c", "train/d")),
    )
    leaks = (leak("MEL", "MEL", "a"), leak("MEL", "MEL", "b"))
    audit = replace(clean(), duplicates=copies, leaks=leaks)
    assert audit.summary["near_leaking_test_images"] == 1
    assert "1 Test photograph is there not as the same file" in finding(audit, "leaks").found
    assert "same file" not in finding(replace(audit, duplicates=copies[:1]), "leaks").found


def test_reference_labels_both_ways() -> None:
    assert finding(clean(), "reference").severity == "fine"
    agreed = replace(clean(), labels_compared=12)
    assert "12 of 20 photographs and contradicts none" in finding(agreed, "reference").found
    wrong = (Disagreement("a", "SK", "train", "MEL"), Disagreement("b", "MEL", "test", "NV"))
    found = finding(replace(agreed, label_disagreements=wrong), "reference")
    assert found.severity == "corrupts"
    assert "melanoma is nevus in the reference (1)." in found.found
    assert "16.7 % of the labels that could be checked are contradicted, 1 of them in Test" in found.figures
    assert "1 melanoma is labelled as something else" in found.figures
    assert "1 photograph labelled melanoma should not be" in found.figures


def test_balance_both_ways() -> None:
    assert finding(clean(), "balance").severity == "fine"
    uneven = finding(clean(["NV"] * 18 + ["MEL"] * 2, ["train"] * 19 + ["test"]), "balance")
    assert uneven.severity == "matters"
    assert "Rarest in Train: melanoma, 1 photograph (5.3 %). Dominating: nevus (94.7 %)." in uneven.found
    assert "18.0 times" in uneven.training
    assert "moves that recall by 100 percentage points" in uneven.figures
    assert "Test has none of nevus" in uneven.figures
    assert "only one diagnosis, nevus" in finding(clean(["NV"] * 4, ["train"] * 4), "balance").found
    assert "only one diagnosis, unknown" in finding(clean([""] * 4, ["train"] * 4), "balance").found


def test_shortcuts_both_ways() -> None:
    assert "Not measured" in finding(clean(), "shortcuts").found
    quiet = finding(replace(clean(), shortcuts=(shortcut(0.12, False, "picture size"),)), "shortcuts")
    assert quiet.severity == "fine"
    assert "no better than chance (11.0 % balanced accuracy). Tried: picture size." in quiet.found
    loud = finding(
        replace(clean(), shortcuts=(shortcut(0.3, True, "colour of the rim"), shortcut(0.44, True))),
        "shortcuts",
    )
    assert loud.severity == "matters"
    assert "44.0 % balanced accuracy, where chance is 11.0 %, and an AUROC of 0.90 for" in loud.found
    assert loud.found.endswith("Above chance: colour of the rim (30.0 %).")
    assert "colour of the rim goes with" in loud.training
    assert "44.0 % can be reached" in loud.figures
    ids = finding(replace(clean(), shortcuts=(shortcut(0.3, True, "range of image ids"),)), "shortcuts")
    assert "sets one archive apart" in ids.figures


def test_duplicates_say_what_a_random_split_would_meet() -> None:
    found = finding(replace(clean(), twins=Twins(6, 0.3)), "duplicates")
    assert found.severity == "matters"
    assert "6 of 16 photographs" in found.found
    assert "30.0 %" in found.figures


def test_no_share_but_all_is_100_percent() -> None:
    found = finding(replace(clean(), twins=Twins(6, 0.9996)), "duplicates")
    assert "> 99.9 %" in found.figures


def test_unreadable_both_ways() -> None:
    broken = replace(clean(), unreadable=(NotRead("a", "the file is empty"),))
    assert "1 file of 20 cannot be read: a: the file is empty." in finding(broken, "unreadable").found
    assert " ! Unreadable files" in as_text(broken)


@pytest.mark.parametrize("field", ["unreadable", "not_read"])
def test_a_verdict_is_never_better_than_what_was_seen(field: str) -> None:
    assert verdict(clean()) == "nothing was found that corrupts a result."
    unseen = replace(clean(), **{field: (NotRead("a", "missing"), NotRead("b", "missing"))})
    assert verdict(unseen).endswith("but 2 photographs could not be read or found: nothing is known of them.")
    assert "2 files, such as a: missing" in finding(unseen, "unreadable").found
    assert (
        "Read, but: a: odd"
        in finding(replace(clean(), colours_in_doubt=(NotRead("a", "odd"),)), "unreadable").found
    )


def test_lines_of_the_terminal_are_short() -> None:
    audit = replace(clean(), leaks=(leak("MEL", "NV"),), conflicts=(leak("MEL", "NV"),), twins=Twins(6, 0.3))
    assert max(len(line) for line in as_text(audit).splitlines()) <= 96
    assert "!! Leaks" in as_text(audit)
    for found in audit.findings:
        assert " ".join((found.found + " " + found.figures).split()) in " ".join(as_text(audit).split())


def test_counts_and_lists() -> None:
    assert [counted(n, "file") for n in (0, 1, 2, 1234)] == ["no files", "1 file", "2 files", "1,234 files"]
    assert [listed("abc"[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert render_block("audit_findings.txt", "nothing_found") == ""
