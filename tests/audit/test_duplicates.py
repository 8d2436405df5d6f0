"""Copies are found, whatever was done to them; different photographs are left apart."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from benchmarks.edits import EDITS, letterbox, round_frame, ruler, turn
from dermsentry.audit import kept, survey
from dermsentry.audit.duplicates import Duplicates, find_duplicates
from dermsentry.audit.workplace import workplace
from dermsentry.collection import Collection, read_collection
from dermsentry.errors import InputError, OutputError
from dermsentry.phantoms import Phantoms
from dermsentry.split import make_split
from pictures import save, skin


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Collection, Duplicates]:
    """Four different pictures for each change, one copy of each, and forty that have none."""
    root = tmp_path_factory.mktemp("changed")
    for number, change in enumerate(EDITS.values()):
        for k in range(4):
            original = skin(100 + 4 * number + k)
            save(original, root / "nevus" / f"change{number}_{k}a.jpg")
            save(change(original), root / "nevus" / f"change{number}_{k}b.jpg")
    for seed in range(1000, 1040):
        save(skin(seed), root / "melanoma" / f"alone_{seed}.jpg")
    collection = read_collection(root)
    return collection, find_duplicates(collection)


@pytest.mark.parametrize("change", EDITS)
def test_a_changed_copy_is_near_its_original(change: str, changed: tuple[Collection, Duplicates]) -> None:
    groups = [set(group.photographs) for group in changed[1].groups if group.kind == "near"]
    number = list(EDITS).index(change)
    pairs = [{f"nevus/change{number}_{k}{ab}.jpg" for ab in "ab"} for k in range(4)]
    assert sum(pair in groups for pair in pairs) >= 3  # recall on real photographs is in docs/why-audit.md


def test_different_pictures_are_apart(changed: tuple[Collection, Duplicates]) -> None:
    for group in changed[1].groups:
        assert len({path[:-5] for path in group.photographs}) == 1
        assert len(group.photographs) == 2


def test_groups_are_disjoint_sorted_and_repeatable(changed: tuple[Collection, Duplicates]) -> None:
    collection, found = changed
    for kind in ("identical", "near"):
        paths = [path for group in found.groups if group.kind == kind for path in group.photographs]
        assert len(paths) == len(set(paths))
    assert all(list(g.photographs) == sorted(g.photographs) for g in found.groups)
    assert find_duplicates(collection, workers=1) == found


def test_identical_bytes_identical_pixels_and_near(tmp_path: Path) -> None:
    original = save(skin(1), tmp_path / "nevus" / "a.png")
    shutil.copy(original, tmp_path / "nevus" / "b.png")
    save(skin(1), tmp_path / "nevus" / "c.bmp")
    save(skin(1), tmp_path / "nevus" / "d.jpg", quality=70)
    twin = save(skin(2), tmp_path / "nevus" / "e.png")
    shutil.copy(twin, tmp_path / "melanoma.png")
    shutil.move(tmp_path / "melanoma.png", save(skin(2), tmp_path / "melanoma" / "f.png"))
    found = find_duplicates(read_collection(tmp_path))
    identical = [(g.photographs, g.same_bytes) for g in found.groups if g.kind == "identical"]
    assert identical == [
        (("melanoma/f.png", "nevus/e.png"), True),
        (("nevus/a.png", "nevus/b.png", "nevus/c.bmp"), False),
    ]
    near = [g.photographs for g in found.groups if g.kind == "near"]
    assert near == [("nevus/a.png", "nevus/b.png", "nevus/c.bmp", "nevus/d.jpg")]


def test_a_much_larger_jpeg_is_near(tmp_path: Path) -> None:
    large = skin(5, (1600, 1200))
    save(large, tmp_path / "nevus" / "large.jpg")
    save(large.resize((200, 150)), tmp_path / "nevus" / "small.jpg")
    found = find_duplicates(read_collection(tmp_path))
    assert [g.photographs for g in found.groups] == [("nevus/large.jpg", "nevus/small.jpg")]


def test_pictures_without_anything_in_them_are_no_copies(tmp_path: Path) -> None:
    for grey in range(100, 110):
        save(Image.new("RGB", (60, 60), (grey, grey, grey)), tmp_path / "nevus" / f"{grey}.png")
    assert find_duplicates(read_collection(tmp_path)).groups == ()


def test_what_cannot_be_read_has_its_reason(tmp_path: Path) -> None:
    save(skin(1), tmp_path / "nevus" / "a.jpg")
    (tmp_path / "nevus" / "empty.jpg").write_bytes(b"")
    (tmp_path / "nevus" / "text.jpg").write_text("no photograph")
    found = find_duplicates(read_collection(tmp_path))
    assert set(found.unreadable) == {"nevus/empty.jpg", "nevus/text.jpg"}
    assert all(found.unreadable.values())


def test_nothing_readable_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "nevus").mkdir()
    (tmp_path / "nevus" / "empty.jpg").write_bytes(b"")
    assert find_duplicates(read_collection(tmp_path)).groups == ()


def test_every_planted_copy_among_phantoms_is_found_and_nothing_else(
    phantoms: Phantoms, phantom_collection: Collection
) -> None:
    found = find_duplicates(phantom_collection)
    planted = [set(pair) for pair in (*phantoms.identical, *phantoms.near)]
    for pair in planted:
        assert any(pair <= set(group.photographs) for group in found.groups), pair
    for group in found.groups:
        assert any(pair <= set(group.photographs) for pair in planted), group
    assert set(phantoms.unreadable) == set(found.unreadable)


def stamped(image: Image.Image) -> Image.Image:
    """With a clinic's logo and date, the same on every picture."""
    image = image.copy()
    pen = ImageDraw.Draw(image)
    pen.rectangle((4, 4, 60, 26), fill=(20, 60, 140))
    pen.text((8, 8), "CLINIC", fill=(255, 255, 255))
    pen.text((90, 104), "2021-03-04", fill=(255, 240, 0))
    return image


@pytest.mark.parametrize(
    "padded",
    [
        letterbox,
        lambda image: letterbox(image, (255, 255, 255)),
        lambda image: letterbox(image, (124, 116, 104)),
        round_frame,
        lambda image: round_frame(image, (255, 255, 255)),
        ruler,
        stamped,
    ],
    ids=["black bars", "white bars", "grey bars", "round frame", "white frame", "ruler", "logo and date"],
)
def test_what_every_picture_shares_makes_no_copies(
    padded: Callable[[Image.Image], Image.Image], tmp_path: Path
) -> None:
    for seed in range(40):
        save(padded(skin(seed)), tmp_path / "nevus" / f"s{seed}x.jpg")
    save(padded(skin(7)).resize((120, 90)), tmp_path / "nevus" / "copy.jpg")
    groups = [group.photographs for group in find_duplicates(read_collection(tmp_path)).groups]
    assert groups == [("nevus/copy.jpg", "nevus/s7x.jpg")]


def test_a_photograph_that_makes_up_a_tenth_of_a_collection_is_not_believed(tmp_path: Path) -> None:
    for seed in range(30):
        save(skin(seed), tmp_path / ("nevus", "melanoma")[seed % 2] / f"s{seed}x.jpg")
    for k in range(12):
        copy = turn(skin(100, (200, 200)), 27 * k, 0.2)
        save(copy, tmp_path / ("nevus", "melanoma")[k % 2] / f"c{k}x.jpg")
    collection = read_collection(tmp_path)
    found = find_duplicates(collection)
    assert found.groups == ()
    (group,) = found.doubtful
    assert len(group.photographs) == 12
    assert {Path(path).name[0] for path in group.photographs} == {"c"}
    assert group.in_place < 0.5
    split = make_split(collection, duplicates=found).table.set_index("path")
    assert "quarantined" not in set(split["part"])
    told = split["reason"].str.startswith("doubtful: agrees with 11 others")
    assert set(split.index[told]) == set(group.photographs)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that a survey reads."""
    names: list[str] = []
    read = survey.read_bytes

    def reading(path: Path, root: Path) -> bytes:
        names.append(path.name)
        return read(path, root)

    monkeypatch.setattr(survey, "read_bytes", reading)
    return names


def test_a_grown_collection_reads_only_what_is_new(tmp_path: Path, counted: list[str]) -> None:
    folder, index = tmp_path / "data" / "nevus", tmp_path / "audit" / "index"
    for seed in range(6):
        save(skin(seed), folder / f"s{seed}x.jpg")
    (folder / "broken.jpg").write_bytes(b"no")
    find_duplicates(read_collection(tmp_path / "data"), index=index)
    assert len(counted) == 7
    counted.clear()
    save(turn(skin(3), 20, 0.1), folder / "copy.jpg")
    save(skin(99), folder / "s0x.jpg")
    (folder / "s5x.jpg").unlink()
    collection = read_collection(tmp_path / "data")
    found = find_duplicates(collection, index=index)
    assert sorted(counted) == ["broken.jpg", "copy.jpg", "s0x.jpg"]
    assert [group.photographs for group in found.groups] == [("nevus/copy.jpg", "nevus/s3x.jpg")]
    assert found == find_duplicates(collection)
    counted.clear()
    assert find_duplicates(collection, index=index) == found
    assert counted == ["broken.jpg"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 but no partition", b"none", None])
@pytest.mark.parametrize("folder", ["survey", "pairs"])
def test_a_damaged_partition_is_named(folder: str, content: bytes | None, tmp_path: Path) -> None:
    for name in "abc":
        save(turn(skin(1), 10 * ord(name), 0.1), tmp_path / "data" / "nevus" / f"{name}.jpg")
    index = tmp_path / "index"
    find_duplicates(read_collection(tmp_path / "data"), index=index)
    path = index / folder / "000001.npy"
    path.write_bytes(path.read_bytes()[:-9] if content is None else content)
    with pytest.raises(InputError, match=rf"{folder}/000001\.npy.*delete it"):
        find_duplicates(read_collection(tmp_path / "data"), index=index)


def test_a_partition_with_a_pickle_is_refused(tmp_path: Path) -> None:
    save(skin(1), tmp_path / "data" / "nevus" / "a.jpg")
    path = tmp_path / "index" / "survey" / "000001.npy"
    path.parent.mkdir(parents=True)
    np.save(path, np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="delete it"):
        find_duplicates(read_collection(tmp_path / "data"), index=tmp_path / "index")


def test_a_partition_of_another_version_is_made_again(
    tmp_path: Path, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save(skin(1), tmp_path / "data" / "nevus" / "a.jpg")
    index = tmp_path / "index"
    with monkeypatch.context() as patch:
        for module in (kept, survey):
            patch.setattr(module, "LOOK", replace(kept.LOOK, schema=0))
        find_duplicates(read_collection(tmp_path / "data"), index=index)
    assert counted == ["a.jpg"]
    for _ in range(2):
        find_duplicates(read_collection(tmp_path / "data"), index=index)
    assert counted == ["a.jpg"] * 2


def test_photographs_that_were_all_read_again_are_kept_once(tmp_path: Path) -> None:
    for seed in range(3):
        save(skin(seed), tmp_path / "data" / "nevus" / f"s{seed}x.jpg")
    index = tmp_path / "index"
    for _ in range(3):
        find_duplicates(read_collection(tmp_path / "data"), index=index)
        for path in (tmp_path / "data" / "nevus").iterdir():
            os.utime(path, (1, path.stat().st_mtime + 5))
    assert [path.name for path in (index / "survey").iterdir()] == ["000003.npy"]


def test_two_audits_do_not_work_in_one_folder(tmp_path: Path) -> None:
    save(skin(1), tmp_path / "data" / "nevus" / "a.jpg")
    with workplace(tmp_path / "index"), pytest.raises(OutputError, match="by another process"):
        find_duplicates(read_collection(tmp_path / "data"), index=tmp_path / "index")


@pytest.mark.real
@pytest.mark.parametrize("padded", [None, letterbox, round_frame])
def test_distinct_lesions_are_apart_padded_or_not(
    padded: Callable[[Image.Image], Image.Image] | None, real_data: Path, tmp_path: Path
) -> None:
    table = read_collection(real_data / "ham10000").table.drop_duplicates("lesion_id")
    for path in table["path"].sample(300, random_state=11):
        with Image.open(real_data / "ham10000" / path) as image:
            save((padded or Image.Image.copy)(image.convert("RGB")), tmp_path / "nevus" / Path(path).name)
    assert find_duplicates(read_collection(tmp_path)).groups == ()


@pytest.mark.real
def test_centre_squares_of_frames_are_copies(real_data: Path, tmp_path: Path) -> None:
    images = real_data / "ham10000" / "images"
    for path in sorted((real_data / "ham10000" / "crops224").glob("*.jpg"))[:100]:
        shutil.copy(path, save(Image.new("RGB", (9, 9)), tmp_path / "nevus" / f"c{path.stem[5:]}x.jpg"))
        shutil.copy(images / path.name, tmp_path / "nevus" / f"i{path.stem[5:]}x.jpg")
    groups = find_duplicates(read_collection(tmp_path)).groups
    assert all(len({Path(path).stem[1:] for path in group.photographs}) == 1 for group in groups)
    assert len(groups) >= 99
