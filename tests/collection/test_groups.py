from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from columns import table
from dermsentry.collection.groups import (
    _AGAIN,
    DuplicateGroup,
    _named_copies,
    components,
    connected_groups,
    is_counter,
    original_id,
)
from dermsentry.diagnoses import agree


def test_components_are_in_order() -> None:
    assert components(6, [(0, 2), (4, 3), (2, 4), (1, 1)]) == [[0, 2, 3, 4], [1], [5]]
    assert components(2, []) == [[0], [1]]
    assert components(0, []) == []


@pytest.mark.parametrize(
    ("name", "original"),
    [
        ("ISIC_0024306", "ISIC_0024306"),
        ("ISIC_0024306_downsampled", "ISIC_0024306"),
        ("copy of ISIC_0024306", "ISIC_0024306"),
        ("nevus_original_ISIC_0024306.jpg_0a1b2c3d-1234-4abc-8def-0123456789ab", "ISIC_0024306"),
        ("nevus_original_IMD 7.jpg_0a1b2c3d-1234-4abc-8def-0123456789ab", "IMD 7"),
        ("nevus_original_IMG_1057.jpg_0a1b2c3d-1234-4abc-8def-0123456789ab", "IMG_1057"),
        ("IMD002_jpg.rf.0123456789abcdef0123456789abcdef", "IMD002"),
        ("IMD002_aug1", "IMD002"),
        ("flip_IMD002", "IMD002"),
        ("IMD002-rot90_hflip", "IMD002"),
        ("IMG_7_horizontal_flip_3", "IMG_7"),
        ("ISIC_0000001_ISIC_0000002", "ISIC_0000001_ISIC_0000002"),
        ("IMD002", "IMD002"),
        ("PAT_8_15_820", "PAT_8_15_820"),
        ("flip", "flip"),
    ],
)
def test_the_photograph_a_name_speaks_of(name: str, original: str) -> None:
    assert original_id(name) == original


def test_counters_are_no_identity() -> None:
    assert all(
        is_counter(name)
        for name in ("1", "0012", "IMG_0012", "image 7", "DSC00012", "img (3)", "photo-9", "melanoma_60")
    )
    assert not any(is_counter(name) for name in ("ISIC_0024306", "IMD002", "PHANTOM_0000001", "PAT_8_15_820"))
    rows = table(path=["mel/1.jpg", "nv/1.jpg"], image_id=["1", "1"])
    assert connected_groups(rows, ()) == ["mel/1.jpg", "nv/1.jpg"]


def test_copies_of_counters_stay_with_the_original_near_them() -> None:
    uuid = "0a1b2c3d-1234-4abc-8def-0123456789ab"
    rows = table(
        path=[
            "mel/1057.jpg",
            f"mel/output/mel_original_1057.jpg_{uuid}.jpg",
            "nv/1057.jpg",
            "nv/1057_aug1.jpg",
            "nv/1057 (1).jpg",
            "augmented/nv/flip_1057.png",
            "nv/7 (1).jpg",
            "nv/8_aug1.jpg",
            "nv/8_aug2.jpg",
            "mel/8_aug2.jpg",
        ],
        image_id=[
            "1057", f"mel_original_1057.jpg_{uuid}", "1057", "1057_aug1", "1057 (1)", "flip_1057", "7 (1)",
            "8_aug1", "8_aug2", "8_aug2",
        ],
        diagnosis=["MEL", "MEL", "NV", "NV", "NV", "NV", "NV", "NV", "NV", "MEL"],
    )  # fmt: skip
    assert _together(rows) == {
        ("mel/1057.jpg", f"mel/output/mel_original_1057.jpg_{uuid}.jpg"),
        ("augmented/nv/flip_1057.png", "nv/1057 (1).jpg", "nv/1057.jpg", "nv/1057_aug1.jpg"),
        ("nv/7 (1).jpg",),
        ("nv/8_aug1.jpg", "nv/8_aug2.jpg"),
        ("mel/8_aug2.jpg",),
    }


def test_a_second_file_of_a_name_is_a_copy_only_beside_the_first() -> None:
    rows = table(
        path=[
            "a/IMD002.bmp",
            "a/IMD002 (1).bmp",
            "a/IMD002_0_5531.jpeg",
            "b/melanoma (1).jpg",
            "b/melanoma (2).jpg",
        ],
        image_id=["IMD002", "IMD002 (1)", "IMD002_0_5531", "melanoma (1)", "melanoma (2)"],
    )
    assert _together(rows) == {
        ("a/IMD002 (1).bmp", "a/IMD002.bmp", "a/IMD002_0_5531.jpeg"),
        ("b/melanoma (1).jpg",),
        ("b/melanoma (2).jpg",),
    }


def _together(rows: pd.DataFrame) -> set[tuple[str, ...]]:
    """The paths of each group."""
    groups = connected_groups(rows, ())
    return {
        tuple(path for path, own in zip(rows["path"], groups, strict=True) if own == name) for name in groups
    }


def test_each_connection_joins_and_chains() -> None:
    rows = table(
        path=["a", "b", "c", "d", "e", "f"],
        image_id=[
            "ISIC_0000009",
            "ISIC_0000009",
            "ISIC_0000003",
            "ISIC_0000004",
            "ISIC_0000005",
            "ISIC_0000006",
        ],
        lesion_id=["", "L1", "L1", "", "", "L2"],
        patient_id=["", "", "P1", "P1", "", ""],
    )
    near = DuplicateGroup("near", ("d", "e"))
    assert connected_groups(rows, [near]) == ["ISIC_0000003"] * 5 + ["ISIC_0000006"]


def test_lesions_and_patients_are_only_known_within_a_source() -> None:
    rows = table(
        path=["a", "b", "c"],
        image_id=["ISIC_0000001", "ISIC_0000002", "ISIC_0000003"],
        lesion_id=["1", "1", "1"],
        source=["one", "two", "two"],
    )
    assert connected_groups(rows, ()) == ["ISIC_0000001", "ISIC_0000002", "ISIC_0000002"]


def test_copies_of_another_collection_are_ignored() -> None:
    rows = table(path=["a", "b"], image_id=["ISIC_0000001", "ISIC_0000002"])
    assert len(set(connected_groups(rows, [DuplicateGroup("near", ("a", "elsewhere"))]))) == 2


NAMES = st.tuples(
    st.sampled_from(["a", "a/b", "a/b/c", "a/d", "e", ""]),
    st.sampled_from(["1", "1_aug2", "1 (1)", "IMD2", "IMD2 (1)", "imd2", "IMD2_aug1", "1 copy", "2_aug1"]),
    st.sampled_from(["MEL", "NV", "MEL|NV", ""]),
)


@given(st.lists(NAMES, min_size=1, max_size=14))
def test_a_copy_goes_with_the_nearest_that_its_name_means_however_that_is_looked_for(
    named: list[tuple[str, str, str]],
) -> None:
    rows = table(
        path=[f"{folder}/{i}.jpg".lstrip("/") for i, (folder, _, _) in enumerate(named)],
        image_id=[name for _, name, _ in named],
        diagnosis=[label for _, _, label in named],
    )
    originals = [original_id(name) for name in rows["image_id"]]
    found = components(len(rows), _named_copies(rows, originals))
    assert found == components(len(rows), _every_pair_looked_at(rows, originals))


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many leading folders two places have in common."""
    return max(k for k in range(len(one) + 1) if one[:k] == other[:k])


def _every_pair_looked_at(rows: pd.DataFrame, originals: list[str]) -> Iterator[tuple[int, int]]:
    """The rule as it reads, in a time that grows with the square."""
    folders = [PurePosixPath(path).parent.parts for path in rows["path"]]
    ids, labels = list(rows["image_id"]), list(rows["diagnosis"])
    orphans: dict[str, int] = {}
    for row, original in enumerate(originals):
        name = _AGAIN.sub("", original, count=1)
        if name == ids[row] or (name == original and not is_counter(original)):
            continue
        near = [
            (_shared(folders[row], folders[i]), i)
            for i in range(len(rows))
            if i != row and ids[i].casefold() == name.casefold() and agree(labels[row], labels[i])
        ]
        yield from ((row, i) for depth, i in near if depth == max(near)[0])
        if not near and name == original:
            yield orphans.setdefault(f"{'/'.join(folders[row])}/{name}", row), row


IDS = st.integers(0, 6).map(lambda n: f"ISIC_{n:07d}")
ROWS = st.lists(
    st.tuples(
        IDS, st.sampled_from(["", "L1", "L2", "L3"]), st.sampled_from(["", "P1", "P2"]), st.sampled_from("ab")
    ),
    min_size=1,
    max_size=12,
)


def _table(rows: list[tuple[str, str, str, str]]) -> pd.DataFrame:
    ids, lesions, patients, sources = zip(*rows, strict=True)
    paths = [f"p{i:02d}" for i in range(len(rows))]
    return table(path=paths, image_id=ids, lesion_id=lesions, patient_id=patients, source=sources)


@given(ROWS, st.data())
def test_groups_respect_every_connection_and_no_order(
    rows: list[tuple[str, str, str, str]], data: st.DataObject
) -> None:
    one = _table(rows)
    pairs = data.draw(
        st.lists(st.tuples(st.sampled_from(list(one["path"])), st.sampled_from(list(one["path"]))))
    )
    copies = [DuplicateGroup("near", pair) for pair in pairs]
    groups = connected_groups(one, copies)
    of = dict(zip(one["path"], groups, strict=True))
    assert all(of[a] == of[b] for a, b in pairs)
    for i, first in enumerate(rows):
        for j, second in enumerate(rows):
            same_place = first[3] == second[3]
            linked = first[0] == second[0] or (
                same_place and ((first[1] and first[1] == second[1]) or (first[2] and first[2] == second[2]))
            )
            assert not linked or groups[i] == groups[j]
    # What is not linked, even by a chain, is apart: each group is connected.
    for name in set(groups):
        members = [i for i, g in enumerate(groups) if g == name]
        assert min(rows[i][0] for i in members) == name
    order = data.draw(st.permutations(range(len(rows))))
    shuffled = connected_groups(one.iloc[list(order)].reset_index(drop=True), copies[::-1])
    assert [groups[i] for i in order] == shuffled
