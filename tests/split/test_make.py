"""A split parts no group, loses no photograph, says why, and is the same file every time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dermsentry.audit.duplicates import Duplicates, find_duplicates
from dermsentry.collection import Collection, read_collection
from dermsentry.collection.groups import DuplicateGroup, connected_groups, same_photographs
from dermsentry.diagnoses import CODES, agree
from dermsentry.errors import InputError, OutputError
from dermsentry.phantoms import Phantoms
from dermsentry.split import (
    APART,
    PARTS,
    Split,
    check_split,
    make_split,
    random_split,
    read_split,
    write_split,
)
from dermsentry.split.make import relabelled
from pictures import save
from tables import table_collection

NO_COPIES = Duplicates((), {})
ROWS = st.fixed_dictionaries(
    {
        "diagnosis": st.sampled_from([*CODES, "PBK|SK", ""]),
        "split": st.sampled_from(["", "", "train", "test", "validation"]),
        "lesion_id": st.sampled_from(["", "", "a", "b", "c", "d"]),
        "patient_id": st.sampled_from(["", "", "", "x", "y"]),
    },
    optional={"image_id": st.sampled_from(["ISIC_0000001", "ISIC_0000002", "ISIC_0000003"])},
)


@st.composite
def collections(draw: st.DrawFn) -> tuple[Collection, Duplicates]:
    collection = table_collection(draw(st.lists(ROWS, min_size=1, max_size=30)))
    paths = list(collection.table["path"])
    some = st.lists(st.sampled_from(paths), min_size=2, max_size=3, unique=True).map(sorted)
    groups = draw(st.lists(some, max_size=4)) if len(paths) > 1 else []
    unreadable = draw(st.sets(st.sampled_from(paths), max_size=3))
    found = tuple(DuplicateGroup("near", tuple(group)) for group in groups)
    return collection, Duplicates(found, dict.fromkeys(sorted(unreadable), "empty"))


def parts_of(split: Split) -> dict[str, str]:
    return dict(zip(split.table["path"], split.table["part"], strict=True))


def reasons_of(split: Split) -> dict[str, str]:
    return dict(zip(split.table["path"], split.table["reason"], strict=True))


@given(collections(), st.integers(0, 5))
def test_the_rules_hold_for_any_collection(drawn: tuple[Collection, Duplicates], seed: int) -> None:
    collection, copies = drawn
    table = collection.table
    paths = list(table["path"])
    own = dict(zip(paths, table["diagnosis"], strict=True))
    given_as = dict(zip(paths, table["split"], strict=True))
    group = dict(zip(paths, connected_groups(table, copies.groups), strict=True))
    conflicting = {
        path
        for members in same_photographs(table, copies.groups)
        for path in members
        if not all(agree(own[a], own[b]) for a, b in combinations(members, 2))
    }
    apart = conflicting | set(copies.unreadable) | {path for path in paths if not own[path]}
    validated = {group[p] for p in paths if given_as[p] == "validation" and p not in apart}
    learnable = [p for p in paths if p not in apart and given_as[p] != "test" and group[p] not in validated]
    if not learnable:
        with pytest.raises(InputError, match="nothing to train on"):
            make_split(collection, duplicates=copies, seed=seed)
        return
    split = make_split(collection, duplicates=copies, seed=seed)
    part, reason = parts_of(split), reasons_of(split)

    assert list(split.table["path"]) == sorted(paths)  # every photograph exactly once
    assert set(part.values()) <= set(PARTS)
    check_split(split)
    sides = defaultdict(set)
    for path in paths:
        if part[path] in APART:
            sides[group[path]].add(part[path])
    assert all(len(where) == 1 for where in sides.values())

    assert {path for path in paths if part[path] == "quarantined"} == apart
    assert all(reason[path] for path in apart)
    seen = {group[path] for path in paths if given_as[path] != "test" and path not in copies.unreadable}
    for path in set(paths) - apart:
        if given_as[path] == "test":
            assert part[path] == ("test-leaking" if group[path] in seen else "test")
        elif group[path] in validated:
            assert part[path] == "validation"
        elif "test" in given_as.values():
            assert part[path] in ("train", "validation", "calibration")
    assert split.table["diagnosis"].to_list() == [own[path] for path in sorted(paths)]


@given(
    st.lists(st.tuples(st.sampled_from(CODES[:4]), st.integers(1, 5)), min_size=4, max_size=40),
    st.sampled_from([(0.7, 0.15, 0.15, 0.15), (0.5, 0.5, 0.0, 0.2), (1.0, 0.0, 0.0, 0.0)]),
    st.integers(0, 3),
)
def test_each_diagnosis_comes_within_one_group_of_its_share(
    lesions: list[tuple[str, int]], fractions: tuple[float, float, float, float], seed: int
) -> None:
    rows = [
        {"diagnosis": code, "lesion_id": f"l{i}"} for i, (code, n) in enumerate(lesions) for _ in range(n)
    ]
    split = make_split(table_collection(rows), duplicates=NO_COPIES, fractions=fractions, seed=seed)
    found = Counter(zip(split.table["diagnosis"], split.table["part"], strict=True))
    for code in {code for code, _ in lesions}:
        sizes = [n for other, n in lesions if other == code]
        for part, share in zip(APART, fractions, strict=True):
            target = sum(sizes) * share / sum(fractions)
            assert abs(found[code, part] - target) <= max(sizes)
            assert share or not found[code, part]


@pytest.mark.parametrize("seed", range(5))
def test_large_groups_come_first_so_that_small_ones_fill_up(seed: int) -> None:
    rows = [{"diagnosis": "NV", "lesion_id": name} for name in ["large"] * 6 + list("abcdef")]
    split = make_split(table_collection(rows), duplicates=NO_COPIES, fractions=(1, 1, 0, 0), seed=seed)
    assert split.counts() == {"train": 6, "validation": 6}


def test_patients_with_several_diagnoses_do_not_spoil_the_rare_one() -> None:
    """Every melanoma's patient also has five nevi: whole patients move, and melanomas still spread."""
    rows = [
        {"diagnosis": code, "patient_id": f"p{i}"}
        for i in range(40)
        for code in ["NV"] * 5 + ["MEL"] * (i < 20)
    ]
    split = make_split(table_collection(rows), duplicates=NO_COPIES, fractions=(0.5, 0.25, 0.25, 0.0))
    found = Counter(zip(split.table["diagnosis"], split.table["part"], strict=True))
    assert [found["MEL", part] for part in APART] == [10, 5, 5, 0]
    assert [found["NV", part] for part in APART] == [100, 50, 50, 0]


def test_a_published_test_without_labels_is_no_test() -> None:
    labelled = [{"diagnosis": code, "split": "train"} for code in ("MEL", "NV") for _ in range(20)]
    collection = table_collection([*labelled, *[{"diagnosis": "", "split": "test"}] * 5])
    made = make_split(collection, duplicates=NO_COPIES)
    assert made.counts()["quarantined"] == 5
    assert made.counts()["test"] > 0


def test_another_seed_is_another_split() -> None:
    collection = table_collection([{"diagnosis": "NV"}] * 30)
    first, again, other = (make_split(collection, duplicates=NO_COPIES, seed=seed) for seed in (0, 0, 1))
    assert parts_of(first) == parts_of(again) != parts_of(other)
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert first.counts() == other.counts()


def test_the_file_is_the_same_byte_for_byte_in_any_process(tmp_path: Path) -> None:
    code = """
import sys
from dermsentry.audit.duplicates import Duplicates
from dermsentry.collection.groups import DuplicateGroup
from dermsentry.split import make_split, write_split
from tables import table_collection
rows = [{"diagnosis": "MEL NV SK".split()[i % 3], "lesion_id": f"l{i // 2}", "split": "test" * (i % 7 == 0)}
        for i in range(60)]
copies = Duplicates((DuplicateGroup("near", ("0001.jpg", "0004.jpg")),), {"0005.jpg": "empty"})
write_split(make_split(table_collection(rows), duplicates=copies), sys.argv[1])
assert not {"keras", "tensorflow", "sklearn"} & set(sys.modules), "a split needs no training framework"
"""
    for name in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": name, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True, env=environment)
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes()


def test_a_label_table_settles_a_conflict_and_says_so() -> None:
    rows = [
        {"image_id": "ISIC_0000001", "diagnosis": "MEL"},
        {"image_id": "ISIC_0000001", "diagnosis": "NV"},
        *[{"diagnosis": "NV"}] * 4,
    ]
    collection = table_collection(rows)
    unsettled = make_split(collection, duplicates=NO_COPIES)
    assert unsettled.counts()["quarantined"] == 2
    assert reasons_of(unsettled)["0000.jpg"] == "conflict: the same photograph as MEL, NV"
    settled = make_split(collection, duplicates=NO_COPIES, labels={"ISIC_0000001": "melanoma"})
    assert "quarantined" not in settled.counts()
    assert settled.table["diagnosis"].to_list()[:2] == ["MEL", "MEL"]
    assert reasons_of(settled)["0001.jpg"] == "label table: MEL, not NV"
    assert reasons_of(settled)["0000.jpg"] == ""


def test_a_label_also_holds_for_a_copy_under_another_name() -> None:
    rows = [
        {"image_id": "ISIC_0000001", "diagnosis": "MEL"},
        {"image_id": "b", "diagnosis": "NV"},
        *[{"diagnosis": "SK"}] * 4,
    ]
    copies = Duplicates((DuplicateGroup("identical", ("0000.jpg", "0001.jpg")),), {})
    settled = make_split(table_collection(rows), duplicates=copies, labels={"ISIC_0000001": "MEL"})
    assert settled.table["diagnosis"].to_list()[:2] == ["MEL", "MEL"]
    assert "quarantined" not in settled.counts()
    against = {"ISIC_0000001": "MEL", "b": "NV"}  # a table that contradicts itself settles nothing
    assert make_split(table_collection(rows), duplicates=copies, labels=against).counts()["quarantined"] == 2


def test_a_label_table_narrows_and_corrects() -> None:
    rows = [
        {"image_id": f"i{i}", "diagnosis": d} for i, d in enumerate(["PBK|SK", "NV", "", "NV", "NV", "NV"])
    ]
    labels = {"i0": "SK", "i1": "MEL", "i2": "DF"}
    split = make_split(table_collection(rows), duplicates=NO_COPIES, labels=labels)
    assert split.table["diagnosis"].to_list()[:3] == ["SK", "MEL", "DF"]
    assert split.table["reason"].to_list()[:4] == [
        "label table: SK", "label table: MEL, not NV", "label table: DF", "",
    ]  # fmt: skip
    with pytest.raises(InputError, match="mole hill"):
        make_split(table_collection(rows), duplicates=NO_COPIES, labels={"i0": "mole hill"})


@pytest.mark.parametrize(
    "options",
    [{"fractions": (0, 1, 1, 1)}, {"fractions": (1, -1, 1, 1)}, {"fractions": (float("nan"),) * 4},
     {"fractions": (1, 1, 1)}, {"seed": -1}],
)  # fmt: skip
def test_unusable_options_are_refused(options: dict[str, object]) -> None:
    collection = table_collection([{"diagnosis": "NV"}] * 4)
    with pytest.raises(InputError, match="expected"):
        make_split(collection, duplicates=NO_COPIES, **options)  # type: ignore[arg-type]


def test_planted_defects_of_drawn_photographs_are_kept_apart(
    phantoms: Phantoms, phantom_collection: Collection
) -> None:
    copies = find_duplicates(phantom_collection)
    split = make_split(phantom_collection, duplicates=copies)
    part = parts_of(split)
    assert phantoms.conflicts
    assert phantoms.leaks
    assert phantoms.shared_lesions
    assert phantoms.unreadable
    for path in (*(path for pair in phantoms.conflicts for path in pair), *phantoms.unreadable):
        assert part[path] == "quarantined"
    for pair in (*phantoms.leaks, *phantoms.shared_lesions):
        assert "test-leaking" in {part[path] for path in pair}
    for first, second in (*phantoms.identical, *phantoms.near):
        assert len({part[first], part[second]} & set(APART)) <= 1
    check_split(split)


def test_the_random_split_is_the_assignments(phantom_collection: Collection) -> None:
    honest = make_split(phantom_collection, duplicates=find_duplicates(phantom_collection))
    given_as = dict(zip(phantom_collection.table["path"], phantom_collection.table["split"], strict=True))
    own = dict(zip(phantom_collection.table["path"], phantom_collection.table["diagnosis"], strict=True))
    assigned = random_split(phantom_collection, honest, validation=0.2, seed=3)
    before, after = parts_of(honest), parts_of(assigned)
    pool = [p for p in after if after[p] in ("train", "validation")]
    readable = [p for p, r in reasons_of(honest).items() if not r.startswith("unreadable")]
    assert sorted(pool) == sorted(p for p in readable if given_as[p] != "test")  # conflicts are in it
    assert list(after.values()).count("validation") == round(0.2 * len(pool))
    assert {p: after[p] for p in after if p not in pool} == {p: before[p] for p in after if p not in pool}
    assert all(label == own[p] for p, label in zip(after, assigned.table["diagnosis"], strict=True))
    assert parts_of(random_split(phantom_collection, honest, seed=3)) == after
    with pytest.raises(InputError, match="share"):  # which is why it is not honest
        check_split(assigned)


def test_the_random_split_keeps_a_test_that_the_honest_one_took() -> None:
    collection = table_collection([{"diagnosis": "NV"}] * 40)
    honest = make_split(collection, duplicates=NO_COPIES)
    taken = {p for p, part in parts_of(honest).items() if part == "test"}
    assert taken
    assert {p for p, part in parts_of(random_split(collection, honest)).items() if part == "test"} == taken


def test_a_split_is_shown_in_a_line_a_table_and_a_frame(phantom_collection: Collection) -> None:
    split = make_split(phantom_collection, duplicates=NO_COPIES)
    counts = split.counts()
    assert repr(split).startswith(f"<Split of {len(split)} photographs: {counts['train']} train, ")
    assert "\n" not in repr(split)
    page = split._repr_html_()
    assert [page.index(f"<th>{part}</th>") for part in counts] == sorted(
        page.index(f"<th>{part}</th>") for part in counts
    )
    assert f"<td>{len(split)}</td>" in page
    assert split.to_frame().equals(split.table)
    assert split.to_frame() is not split.table


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, Collection]:
    collection = table_collection(
        [{"diagnosis": code, "lesion_id": code} for code in CODES for _ in range(3)]
    )
    write_split(make_split(collection, duplicates=NO_COPIES), tmp_path / "split.csv")
    return tmp_path / "split.csv", collection


def test_a_written_split_reads_back_the_same(written: tuple[Path, Collection]) -> None:
    path, collection = written
    again = read_split(path, collection)
    assert again.table.equals(make_split(collection, duplicates=NO_COPIES).table)
    bytes_before = path.read_bytes()
    write_split(again, path)
    assert path.read_bytes() == bytes_before


@given(st.lists(st.text(st.characters(exclude_characters="\r\0"), min_size=1), min_size=1, unique=True))
def test_any_path_reads_back(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    names = sorted(
        {n for n in names if not any("\ud800" <= c <= "\udc7f" or c > "\udcff" for c in n)} or {"a"}
    )
    collection = table_collection([{"path": n, "diagnosis": "NV"} for n in names])
    path = tmp_path_factory.mktemp("split") / "split.csv"
    write_split(make_split(collection, duplicates=NO_COPIES), path)
    assert read_split(path, collection).table["path"].to_list() == list(collection.table["path"])


def test_a_file_name_that_is_no_utf8_reads_back(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    collection = table_collection([{"path": name, "diagnosis": "NV"}])
    write_split(make_split(collection, duplicates=NO_COPIES), tmp_path / "split.csv")
    assert b"caf\xe9.jpg," in (tmp_path / "split.csv").read_bytes()
    assert read_split(tmp_path / "split.csv", collection).table["path"].to_list() == [name]


def test_an_edited_split_is_read(written: tuple[Path, Collection]) -> None:
    path, collection = written
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[1] = lines[1].replace(",AK,", ",Actinic keratosis,")
    text = "\n".join(["\ufeff" + lines[0], *reversed(lines[2:]), lines[1]])  # as a spreadsheet may leave it
    path.write_text(text.replace("reason", "note", 1), encoding="utf-8")
    edited = read_split(path, collection)
    assert edited.table["path"].is_monotonic_increasing
    assert edited.table["diagnosis"].iloc[0] == "AK"
    assert set(edited.table["reason"]) == {""}


def test_a_split_that_a_spreadsheet_saved_is_the_same(written: tuple[Path, Collection]) -> None:
    path, collection = written
    before = read_split(path, collection).table
    path.write_text(
        path.read_text(encoding="utf-8").replace(",", " ; ").replace("jpg ;", "jpg;"), encoding="utf-8"
    )
    again = read_split(path, collection).table
    assert again.drop(columns="image_id").equals(before.drop(columns="image_id"))


def replaced(before: str, after: str, count: int = -1):  # type: ignore[no-untyped-def]
    return lambda text: text.replace(before, after, count)


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (replaced("group", "groups", 1), "has no column group; expected path, image_id"),
        (replaced(",train,", ",training,"), "has the parts 'training'; expected train, validation"),
        (replaced(",MEL,", ",melanomma,"), "has the diagnoses 'melanomma', none of the nine"),
        (replaced(",MEL,", ",,"), "has 3 photographs without a diagnosis, such as 0009.jpg; quarantine"),
        (lambda text: text + text.splitlines()[1] + "\n", "lists 1 photograph twice, such as 0000.jpg"),
        (
            replaced("0000.jpg", "elsewhere.jpg"),
            "1 photograph not in nowhere, such as elsewhere.jpg",
        ),
        (replaced("0000.jpg", ""), "has 1 row without a path"),
        (replaced(",lesion0000x,train,", ",,train,"), "has 3 rows without a group"),
        (lambda text: text + "0000.jpg,a,NV,g,train,why,more\n", "is not a CSV table"),
        (lambda text: text + "0000.jpg,a,NV,g\n", "has the parts ''"),
        (lambda text: "", "is not a CSV table"),
        (lambda text: text.replace(",", "|"), "has no column path"),
    ],
)
def test_a_split_that_cannot_be_used_is_refused_in_one_line(
    written: tuple[Path, Collection], edit, complaint: str
) -> None:
    path, collection = written
    before = path.read_text(encoding="utf-8")
    path.write_text(edit(before), encoding="utf-8")
    assert edit(before) != before
    with pytest.raises(InputError, match=complaint) as refused:
        read_split(path, collection)
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_missing_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Cannot read .*none\.csv: No such file"):
        read_split(tmp_path / "none.csv")


def test_parts_that_share_a_group_are_named(written: tuple[Path, Collection]) -> None:
    path, collection = written
    split = read_split(path, collection)
    part = list(split.table["part"])
    part[0] = "calibration" if part[0] != "calibration" else "train"
    with pytest.raises(InputError, match=r"share 1 groups: lesion0000x in calibration and"):
        check_split(Split(split.table.assign(part=part)))
    part[0] = "quarantined"
    check_split(Split(split.table.assign(part=part)))


def test_a_split_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    split = make_split(table_collection([{"diagnosis": "NV"}]), duplicates=NO_COPIES)
    with pytest.raises(OutputError, match="Cannot write"):
        write_split(split, tmp_path / "file" / "split.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.real
def test_the_nine_class_set_splits(real_data: Path) -> None:
    from dermsentry.collection import read_collection

    collection = read_collection(real_data / "isic9")
    split = make_split(collection, duplicates=NO_COPIES)  # which take a quarter of a minute to find
    check_split(split)
    assert sum(split.counts().values()) == len(collection)
    given_as_test = set(collection.table.loc[collection.table["split"] == "test", "path"])
    parts = {part for path, part in parts_of(split).items() if path in given_as_test}
    assert parts <= {"test", "test-leaking", "quarantined"}
    mel = split.table[split.table["diagnosis"] == "MEL"]["part"].value_counts()
    assert mel["train"] > mel["validation"] > 0


def test_reference_labels_change_a_split_and_no_part() -> None:
    collection = table_collection([{"diagnosis": "NV"}, {"diagnosis": "PBK|SK"}, {"diagnosis": "MEL"}] * 5)
    split = make_split(collection, duplicates=NO_COPIES)
    labels = {"lesion0000x": "MEL", "lesion0001x": "SK", "lesion0002x": "MEL", "elsewhere": "NV"}
    found = relabelled(split, labels).table
    assert list(found["diagnosis"][:3]) == ["MEL", "SK", "MEL"]
    assert list(found["part"]) == list(split.table["part"])
    assert found["reason"][0].endswith("label table: MEL, not NV")
    assert relabelled(split, {}).table.equals(split.table)


def test_where_nothing_is_left_the_first_reason_is_told(tmp_path: Path) -> None:
    """Links to elsewhere, as data managers make them, are not followed: the error has to say so."""
    elsewhere = tmp_path / "elsewhere"
    for name, diagnosis in (("a", "melanoma"), ("b", "nevus")):
        save(Image.new("RGB", (40, 40), (120, 80, 60)), elsewhere / f"{name}.jpg")
        (tmp_path / "set" / diagnosis).mkdir(parents=True)
        (tmp_path / "set" / diagnosis / f"{name}.jpg").symlink_to(elsewhere / f"{name}.jpg")
    with pytest.raises(InputError, match=r"2 unreadable; the first: melanoma/a\.jpg: .*a link that leaves"):
        make_split(read_collection(tmp_path / "set"))
