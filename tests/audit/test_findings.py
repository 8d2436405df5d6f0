"""Conflicts, leaks, shared lesions, contradicted labels, balance: what the table tells."""

from __future__ import annotations

import pytest

from columns import table
from dermsentry.audit.balance import count_classes
from dermsentry.audit.conflicts import find_conflicts
from dermsentry.audit.disagreements import compare_labels
from dermsentry.audit.leaks import find_leaks, find_shared_lesions
from dermsentry.collection.groups import DuplicateGroup


def copies(*paths: str) -> list[DuplicateGroup]:
    return [DuplicateGroup("near", paths)]


@pytest.mark.parametrize(
    ("labels", "conflicts"),
    [
        (["MEL", "NV"], 1),
        (["MEL", "MEL"], 0),
        (["PBK|SK", "SK"], 0),
        (["PBK|SK", "MEL"], 1),
        (["", "MEL"], 0),
        (["SK", "PBK"], 1),
    ],
)
def test_a_conflict_is_labels_that_cannot_both_be_true(labels: list[str], conflicts: int) -> None:
    rows = table(path=["a", "b"], image_id=["ISIC_0000001", "ISIC_0000002"], diagnosis=labels)
    assert len(find_conflicts(rows, copies("a", "b"))) == conflicts
    assert find_conflicts(rows, ()) == []
    one_id = table(path=["a", "b"], image_id=["ISIC_0000001"] * 2, diagnosis=labels)
    assert len(find_conflicts(one_id, ())) == conflicts


def test_a_lesion_under_two_diagnoses_is_no_conflict_of_a_photograph() -> None:
    rows = table(path=["a", "b"], diagnosis=["MEL", "NV"], lesion_id=["L", "L"])
    assert find_conflicts(rows, ()) == []


@pytest.mark.parametrize(
    ("splits", "leaks"),
    [
        (["train", "test"], 1),
        (["train", "validation"], 1),
        (["train", "train"], 0),
        (["", "test"], 0),
        (["", ""], 0),
    ],
)
def test_a_leak_is_one_photograph_on_two_sides(splits: list[str], leaks: int) -> None:
    rows = table(path=["a", "b"], diagnosis=["MEL", "MEL"], split=splits)
    found = find_leaks(rows, copies("a", "b"))
    assert len(found) == leaks
    assert all([p.path for p in group.photographs] == ["a", "b"] for group in found)
    assert find_leaks(rows, ()) == []


def test_lesions_on_both_sides_are_told_unless_the_photograph_itself_leaks() -> None:
    rows = table(
        path=["a", "b", "c", "d", "e"],
        split=["train", "test", "train", "test", "test"],
        lesion_id=["L1", "L1", "L2", "L2", "L3"],
    )
    assert [(s.of, s.name) for s in find_shared_lesions(rows, ())] == [("lesion", "L1"), ("lesion", "L2")]
    assert [s.name for s in find_shared_lesions(rows, copies("a", "b"))] == ["L2"]


def test_a_patient_is_told_where_the_lesions_do_not_already() -> None:
    rows = table(
        path=["a", "b", "c", "d"],
        split=["train", "test", "train", "test"],
        lesion_id=["L1", "L1", "", ""],
        patient_id=["P1", "P1", "P2", "P2"],
    )
    assert [(s.of, s.name) for s in find_shared_lesions(rows, ())] == [("lesion", "L1"), ("patient", "P2")]


def test_labels_are_compared_by_id_and_by_what_both_can_mean() -> None:
    rows = table(
        path=["a", "b", "c", "d", "e"],
        image_id=[
            "ISIC_0000001",
            "x_original_ISIC_0000002.jpg",
            "ISIC_0000003",
            "ISIC_0000004",
            "ISIC_0000009",
        ],
        diagnosis=["MEL", "SK", "SK", "", "NV"],
    )
    reference = {"ISIC_0000001": "NV", "ISIC_0000002": "MEL", "ISIC_0000003": "PBK|SK", "ISIC_0000004": "NV"}
    compared, disagreements = compare_labels(rows, reference)
    assert compared == 3
    assert [(d.path, d.diagnosis, d.reference) for d in disagreements] == [
        ("a", "MEL", "NV"),
        ("b", "SK", "MEL"),
    ]


def test_balance_is_counted_in_train_and_names_the_least_and_the_dominating() -> None:
    labels = ["MEL"] * 6 + ["NV"] * 5 + ["DF"] + ["VASC"] * 3 + [""]
    splits = ["train"] * 12 + ["test"] * 3 + ["train"]
    found = count_classes(table(path=[f"{i:02d}" for i in range(16)], diagnosis=labels, split=splits))
    assert found.splits == {"train": 13, "test": 3}
    assert list(found.classes) == ["DF", "MEL", "NV", "VASC", "unknown"]
    assert found.least == "VASC"  # none of it in train
    assert found.dominant == ("MEL", "NV")
    assert found.counted_in == "train"


def test_without_sides_all_are_counted() -> None:
    found = count_classes(table(path=["a", "b", "c"], diagnosis=["NV", "NV", "MEL"]))
    assert found.splits == {"unsplit": 3}
    assert (found.least, found.dominant) == ("MEL", ("NV",))


def test_one_class_has_no_ruler() -> None:
    found = count_classes(table(path=["a", "b"], diagnosis=["NV", "NV"]))
    assert (found.least, found.dominant) == ("NV", ())
    assert count_classes(table(path=["a"], diagnosis=[""])).least == ""
