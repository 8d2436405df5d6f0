"""What is left out is not learned from; every group is left out once; what cannot be divided says why."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermsentry.audit.duplicates import Duplicates
from dermsentry.collection import Collection
from dermsentry.diagnoses import CODES
from dermsentry.errors import InputError
from dermsentry.split import Fold, Split, check_split, make_folds, make_split
from dermsentry.split.folds import LEARNED_FROM
from tables import table_collection

ROWS = st.fixed_dictionaries(
    {
        "diagnosis": st.sampled_from([*CODES[:4], ""]),
        "split": st.sampled_from(["", "", "", "test"]),
        "lesion_id": st.sampled_from(["", "", "a", "b", "c"]),
        "patient_id": st.sampled_from(["", "", "x", "y"]),
        "site": st.sampled_from(["north", "south", "east", ""]),
    }
)


def divided(rows: list[dict[str, str]]) -> tuple[Collection, Split]:
    collection = table_collection(rows)
    return collection, make_split(collection, duplicates=Duplicates((), {}))


def many(number: int = 40, **columns: Any) -> tuple[Collection, Split]:
    """Photographs that are their own lesions; a column's value by a photograph's number."""
    return divided(
        [
            {"diagnosis": ("MEL", "NV", "BCC", "NV")[i % 4]}
            | {name: value(i) for name, value in columns.items()}
            for i in range(number)
        ]
    )


def parts_of(split: Split) -> dict[str, str]:
    return dict(zip(split.table["path"], split.table["part"], strict=True))


def groups_in(fold: Fold, *parts: str) -> set[str]:
    return set(fold.split.table.loc[fold.split.table["part"].isin(parts), "group"])


@given(st.lists(ROWS, min_size=2, max_size=30))
def test_nothing_of_a_value_that_is_left_out_is_learned_from(rows: list[dict[str, str]]) -> None:
    try:
        collection, split = divided(rows)
        folds = make_folds(split, collection, leave_out="site")
    except InputError:
        return
    site = dict(zip(collection.table["path"], collection.table["site"], strict=True))
    given_as = dict(zip(collection.table["path"], collection.table["split"], strict=True))
    before = parts_of(split)
    for fold in folds:
        check_split(fold.split)
        after = parts_of(fold.split)
        own = {
            group
            for group, path in zip(split.table["group"], split.table["path"], strict=True)
            if site[path] in ("", fold.name)
        }
        assert not groups_in(fold, *LEARNED_FROM) & own
        assert {site[path] for path, part in after.items() if part == "test"} <= {fold.name}
        assert not any(given_as[path] == "test" for path, part in after.items() if part != "quarantined")
        for path, part in after.items():
            if before[path] == "quarantined":
                assert part == "quarantined"
            if part in LEARNED_FROM and before[path] != "test":
                assert part == before[path]
        counts = Counter(after.values())
        newly = sum(part == "quarantined" != before[path] for path, part in after.items())
        assert newly == fold.across + fold.unknown + fold.aside
        assert bool(fold.problem) == (not counts["test"] or not counts["train"])
        assert fold.told in fold.problem or not fold.problem


@given(st.lists(ROWS, min_size=2, max_size=30), st.integers(2, 4), st.integers(0, 3))
def test_every_group_is_left_out_once(rows: list[dict[str, str]], number: int, seed: int) -> None:
    try:
        collection, split = divided(rows)
        folds = make_folds(split, collection, folds=number, seed=seed)
    except InputError:
        return
    left_out = Counter(
        path for fold in folds for path, part in parts_of(fold.split).items() if part == "test"
    )
    named = set(collection.table.loc[collection.table["split"] == "test", "path"])
    pool = {path for path, part in parts_of(split).items() if part != "quarantined"} - named
    assert left_out == dict.fromkeys(pool, 1)
    for fold in folds:
        check_split(fold.split)
        assert not groups_in(fold, "test") & groups_in(fold, *LEARNED_FROM)
    assert folds[0].split.table.equals(make_folds(split, collection, folds=number, seed=seed)[0].split.table)


def test_folds_are_stratified() -> None:
    collection, split = many(80)
    for fold in make_folds(split, collection, folds=4):
        table = fold.split.table
        assert Counter(table.loc[table["part"] == "test", "diagnosis"]) == {"NV": 10, "MEL": 5, "BCC": 5}


def test_a_group_that_reaches_across_is_quarantined_with_its_reason() -> None:
    collection, split = many(
        source=lambda i: "ab"[i % 2], patient_id=lambda i: "", lesion_id=lambda i: "", site=lambda i: ""
    )
    collection.table.loc[[0, 1], "source"] = ["a", "b"]
    split.table.loc[[0, 1], "group"] = "one"
    split.table.loc[[0, 1], "part"] = "train"
    for name in "ab":
        (fold,) = make_folds(split, collection, leave_out=f"source={name}")
        assert (fold.across, fold.across_groups, fold.unknown, fold.aside) == (2, 1, 0, 0)
        quarantined = fold.split.table[fold.split.table["part"] == "quarantined"]
        assert set(quarantined["reason"]) == {"its group is of source a, b"}
        assert "2 quarantined in 1 group that reach into others" in fold.told
        assert fold.split.counts()["test"] == 19


def test_a_column_of_metadata_will_do() -> None:
    collection, split = many()
    collection.table["hospital"] = ["Graz" if i % 4 else "Wien" for i in range(40)]
    collection.table.loc[5, "hospital"] = ""
    graz, wien = make_folds(split, collection, leave_out="hospital")
    assert (graz.name, graz.split.counts()["test"], graz.unknown) == ("Graz", 29, 1)
    assert (wien.name, wien.split.counts()["test"], wien.unknown) == ("Wien", 10, 1)
    assert (graz.number, wien.number) == (1, 2)
    assert make_folds(split, collection, leave_out="hospital=Wien")[0].number == 2
    assert "1 quarantined whose value is unknown" in wien.told


def test_the_collections_own_test_stays_aside_and_a_drawn_one_is_learned_from() -> None:
    collection, split = many(split=lambda i: "test" if i < 10 else "", sex=lambda i: "fm"[i % 2])
    (fold,) = make_folds(split, collection, leave_out="sex=f")
    assert fold.aside == 10
    assert fold.split.counts()["test"] == 15
    collection, split = many(sex=lambda i: "fm"[i % 2])
    assert split.counts()["test"]
    (fold,) = make_folds(split, collection, leave_out="sex=f")
    assert fold.split.counts()["test"] == 20
    assert "quarantined" not in fold.split.counts()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"leave_out": "hosptal"}, r"has no column 'hosptal'; its columns with values are sex \(2 values\)"),
        ({"leave_out": "age"}, r"has no values in the column 'age'; its columns with values are sex"),
        ({"leave_out": "diagnosis"}, "is not divided by 'diagnosis'"),
        ({"leave_out": "sex=x"}, r"No photograph of the split has sex 'x'; it has f \(20\), m \(20\)\."),
        ({"leave_out": "source"}, "All photographs of the split have source only: without them nothing"),
        (
            {"folds": 1},
            "Received 1 folds and seed 0; expected at least 2 folds, at most one for each of the",
        ),
        ({"folds": 41}, "Received 41 folds"),
        ({"folds": 2, "seed": -1}, "seed -1"),
        ({}, "Received neither of leave_out and folds"),
        ({"folds": 2, "leave_out": "sex"}, "Received both of leave_out and folds"),
    ],
)
def test_what_cannot_be_divided_says_why(options: dict[str, Any], message: str) -> None:
    collection, split = many(sex=lambda i: "fm"[i % 2])
    if options.get("leave_out") == "source":
        collection.table["source"] = "only"
    with pytest.raises(InputError, match=message):
        make_folds(split, collection, **options)


def test_a_value_that_leaves_nothing_is_refused_alone_and_told_among_others() -> None:
    collection, split = many(30, sex=lambda i: "fm"[i % 2], split=lambda i: "test" if i % 2 else "")
    female, male = make_folds(split, collection, leave_out="sex")
    assert female.problem.startswith("nothing is left to train on (0 photographs to learn from, 15 left out")
    assert male.problem.startswith("nothing is left to evaluate on")
    assert "15 of the collection's own Test set aside" in male.problem
    with pytest.raises(InputError, match="Without sex m, nothing is left to evaluate on"):
        make_folds(split, collection, leave_out="sex=m")


def test_a_split_of_another_collection_is_refused() -> None:
    _, split = many()
    with pytest.raises(InputError, match="30 photographs not in nowhere, such as 0010"):
        make_folds(split, many(10)[0], folds=2)
