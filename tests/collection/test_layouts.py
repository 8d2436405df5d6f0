"""Every published layout is read as meant, and nothing is dropped without a word."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermsentry.collection import read_collection, read_labels
from dermsentry.collection.layouts.photographs import NO_ROW
from dermsentry.collection.table import UnknownDiagnosis
from dermsentry.errors import InputError
from dermsentry.image_files import HIDDEN, LINK, NotRead
from dermsentry.images import Unreadable, read_photograph
from folders import put, rows

ONE_HOT = "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK\n"


def test_class_folders_with_train_and_test_anywhere(tmp_path: Path) -> None:
    put(
        tmp_path,
        "ISIC set/Train/melanoma/a.jpg",
        "ISIC set/Test/Basal_Cell-Carcinoma/b.JPG",
        "x/validation/NEVI/c.png",
    )
    put(tmp_path, "nevus/2019/camera/d.tif", "bkl/e.webp", "Train/bkl/seborrheic keratosis/f.bmp")
    assert rows(read_collection(tmp_path), "path", "image_id", "diagnosis", "split") == [
        ("ISIC set/Test/Basal_Cell-Carcinoma/b.JPG", "b", "BCC", "test"),
        ("ISIC set/Train/melanoma/a.jpg", "a", "MEL", "train"),
        ("Train/bkl/seborrheic keratosis/f.bmp", "f", "SK", "train"),
        ("bkl/e.webp", "e", "PBK|SK", ""),
        ("nevus/2019/camera/d.tif", "d", "NV", ""),
        ("x/validation/NEVI/c.png", "c", "NV", "validation"),
    ]


def test_unknown_folders_are_an_error_that_lists_them_all(tmp_path: Path) -> None:
    put(tmp_path, "melanoma/a.jpg", "warts/b.jpg", "warts/c.jpg", "Test/masks/d.png")
    with pytest.raises(InputError, match=r"'Test/masks' \(1 photograph\); 'warts' \(2 photographs\)"):
        read_collection(tmp_path)


def test_a_photograph_beside_the_class_folders_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "melanoma/a.jpg", "b.jpg")
    with pytest.raises(InputError, match=r"'\.' \(1 photograph\)"):
        read_collection(tmp_path)


def test_folders_that_name_two_diagnoses_are_an_error(tmp_path: Path) -> None:
    put(tmp_path, "melanoma/Train/nevus/a.jpg")
    with pytest.raises(InputError, match="name two diagnoses: 'melanoma/Train/nevus'"):
        read_collection(tmp_path)


def test_what_is_left_alone_is_said(tmp_path: Path) -> None:
    put(tmp_path, "Train/melanoma/a.jpg", "elsewhere/nevus/b.jpg")
    (tmp_path / "Train" / "nevus").mkdir()
    (tmp_path / "Train" / "melanoma" / "a.xcf").write_text("x")
    (tmp_path / "Train" / "melanoma" / ".hidden.jpg").write_text("x")
    (tmp_path / "Train" / "Thumbs.db").write_text("x")
    (tmp_path / "Train" / "dermatofibroma").symlink_to(
        tmp_path / "elsewhere" / "nevus", target_is_directory=True
    )
    collection = read_collection(tmp_path / "Train")
    assert rows(collection, "path") == [("melanoma/a.jpg",)]
    assert collection.left_alone == ("nevus: a class folder without photographs", "1 other file (.xcf)")
    assert collection.not_read == (NotRead("dermatofibroma", LINK),)


def test_photographs_are_known_by_content_and_none_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "melanoma/a", "melanoma/b.JFIF", "melanoma/.c.jpg", ".cache/melanoma/d.png", "nevus/e.HEIC")
    for name in ("nevus/f.gif", "logo.gif"):
        (tmp_path / name).write_bytes(b"GIF89a" + bytes(20))
    (tmp_path / "melanoma" / "notes").write_text("no photograph")
    (tmp_path / ".cache" / "melanoma" / "._d.png").write_bytes(b"\0\5\x16\7")
    collection = read_collection(tmp_path)
    paths = [("melanoma/a",), ("melanoma/b.JFIF",), ("nevus/e.HEIC",), ("nevus/f.gif",)]
    assert rows(collection, "path") == paths
    assert set(collection.not_read) == {
        NotRead("melanoma/.c.jpg", HIDDEN),
        NotRead(".cache/melanoma/d.png", HIDDEN),
        NotRead("logo.gif", "a picture of a kind that is not read, outside every class folder"),
    }
    assert collection.left_alone == ("1 other file (no suffix)",)
    with pytest.raises(Unreadable, match="a GIF file"):
        read_photograph(collection.paths[3])


def test_a_label_table_that_names_no_photograph_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "images/H_1.jpg")
    (tmp_path / "labels.csv").write_text("image_id,diagnosis\nX_1,melanoma\n")
    with pytest.raises(InputError, match=r"No row of .* the id 'X_1', the folder 'images/H_1.jpg'"):
        read_collection(tmp_path)


def test_nothing_to_read_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none does not exist; expected a folder"):
        read_collection(tmp_path / "none")
    with pytest.raises(InputError, match="holds no photographs"):
        read_collection(tmp_path)
    (tmp_path / "melanoma").mkdir()
    with pytest.raises(InputError, match="holds no photographs"):
        read_collection(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"Cannot read .*pipe"):
        read_collection(tmp_path / "pipe")


def test_a_broken_table_beside_class_folders_is_no_hindrance(tmp_path: Path) -> None:
    put(tmp_path, "melanoma/a.jpg")
    (tmp_path / "notes.csv").write_bytes(b"\xff\xfe,\n1,2,3,4\n")
    assert len(read_collection(tmp_path)) == 1


def test_ham10000(tmp_path: Path) -> None:
    put(
        tmp_path,
        "images/H_1.jpg",
        "images/H_2.jpg",
        "images/H_9.jpg",
        "images/copy/H_1.jpg",
        "masks/H_1_segmentation.png",
    )
    table = "lesion_id,image_id,dx,dx_type,age,sex,localization\n"
    table += "L1,H_1,bkl,histo,60.0,male,face\nL2,H_2,akiec,histo,,unknown,back\nL3,H_3,mel,histo,,,\n"
    (tmp_path / "metadata.csv").write_text(table)
    collection = read_collection(tmp_path)
    assert rows(collection, "path", "diagnosis", "lesion_id", "site", "source") == [
        ("images/H_1.jpg", "PBK|SK", "L1", "face", tmp_path.name),
        ("images/H_2.jpg", "AK|SCC", "L2", "back", tmp_path.name),
    ]
    assert collection.left_alone == (
        "masks/: a folder beside images/, not read",
        "metadata.csv: 2 of 3 rows have a photograph here",
        "1 further file of an image id, such as images/copy/H_1.jpg",
    )
    assert [one.path for one in collection.not_read] == ["H_3", "images/H_9.jpg"]


def test_rows_that_contradict_each_other_settle_nothing(tmp_path: Path) -> None:
    put(tmp_path, "images/a.jpg", "images/b.jpg")
    (tmp_path / "labels.csv").write_text("image_id,diagnosis\na,melanoma\na,nevus\nb,nevus\n")
    collection = read_collection(tmp_path)
    assert list(collection.table["diagnosis"]) == ["", "NV"]
    told = "labels.csv: rows of 1 photograph contradict each other, which settles nothing: a"
    assert told in collection.left_alone


def test_isic_archive(tmp_path: Path) -> None:
    put(tmp_path, "images/I_1.jpg", "images/I_2.jpg", "images/I_3.jpg")
    (tmp_path / "labels.csv").write_text("isic_id,diagnosis\nI_1,nevus\nI_2,lentigo NOS\nI_3,\n")
    collection = read_collection(tmp_path)
    assert rows(collection, "diagnosis") == [("NV",), ("",), ("",)]
    assert collection.left_alone == ("labels.csv: 3 of 3 rows have a photograph here",)
    assert collection.unknown_diagnoses == (UnknownDiagnosis("lentigo NOS", 1),)


def test_isic_2017(tmp_path: Path) -> None:
    put(tmp_path, "train/I_1.jpg", "train/I_2.jpg", "val/I_3.jpg", "test/I_4.jpg")
    table = "image_id,split,melanoma,seborrheic_keratosis\n"
    (tmp_path / "labels.csv").write_text(
        table + "I_1,train,1.0,0.0\nI_2,train,0,1\nI_3,val,0,0\nI_4,test,,\n"
    )
    assert rows(read_collection(tmp_path), "path", "diagnosis", "split") == [
        ("test/I_4.jpg", "", "test"),
        ("train/I_1.jpg", "MEL", "train"),
        ("train/I_2.jpg", "SK", "train"),
        ("val/I_3.jpg", "NV", "validation"),
    ]
    (tmp_path / "labels.csv").write_text("image_id,melanoma\nI_1,1\n")
    with pytest.raises(InputError, match="expected image_id, melanoma, seborrheic_keratosis, split"):
        read_collection(tmp_path)


def test_isic_2019(tmp_path: Path) -> None:
    put(tmp_path, "input/I_1.jpg", "input/I_2.jpg", "input/I_3.jpg")
    truth = ONE_HOT + "I_1,1.0,0,0,0,0,0,0,0,0\nI_2,0,0,0,0,1.0,0,0,0,0\nI_3,0,0,0,0,0,0,0,0,1.0\n"
    (tmp_path / "truth.csv").write_text(truth)
    for data in (tmp_path, tmp_path / "truth.csv"):
        assert rows(read_collection(data), "image_id", "diagnosis") == [
            ("I_1", "MEL"),
            ("I_2", "PBK|SK"),
            ("I_3", ""),
        ]
    assert read_labels(tmp_path / "truth.csv") == {"I_1": "MEL", "I_2": "PBK|SK"}


def test_a_plain_table(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "sub/b.png", "sub/c.png")
    path = tmp_path / "table.csv"
    path.write_text(
        "path,diagnosis,split,lesion_id,age,skin_type,extra\n"
        "sub/../a.jpg,Melanoma,Training,L1,50,2,x\nsub/b.png, nevus ,val\nsub/c.png,,,,,,\n"
    )
    assert rows(
        read_collection(path), "path", "image_id", "diagnosis", "split", "lesion_id", "skin_type"
    ) == [
        ("a.jpg", "a", "MEL", "train", "L1", "2"),
        ("sub/b.png", "b", "NV", "validation", "", ""),
        ("sub/c.png", "c", "", "", "", ""),
    ]


def test_a_table_of_photographs_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "pictures/a.jpg", "more/b.jpg")
    (tmp_path / "tables").mkdir()
    path = tmp_path / "tables" / "table.csv"
    path.write_text(f"path,diagnosis\n../pictures/a.jpg,MEL\n{tmp_path}/more/b.jpg,NV\n")
    for where, given_path in ((tmp_path, path), (path.parent, Path("table.csv"))):
        monkeypatch.chdir(where)
        collection = read_collection(given_path)
        assert rows(collection, "path") == [("more/b.jpg",), ("pictures/a.jpg",)]
        assert all(p.is_file() for p in collection.paths)


def test_tables_as_spreadsheets_write_them(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg")
    path = tmp_path / "table.csv"
    path.write_bytes(
        "\ufeffpath ; diagnosis;lesion_id\r\na.jpg;mel; L1\r\n\r\nb.jpg;nv;L1 \r\n;;\r\n".encode()
    )
    assert rows(read_collection(path), "path", "diagnosis", "lesion_id") == [
        ("a.jpg", "MEL", "L1"),
        ("b.jpg", "NV", "L1"),
    ]
    path.write_text("image\tMEL\tNV\tBCC\na\t1\t0\t0\nb\t0\t1\t0\n")
    assert rows(read_collection(tmp_path), "path", "diagnosis") == [("a.jpg", "MEL"), ("b.jpg", "NV")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is not a CSV table"),
        (
            "path|diagnosis\na|b\n",
            r"has the columns path\|diagnosis; expected image_id or path, and diagnosis",
        ),
        ("path,diagnosis\na.jpg,wart\nb.jpg,wart\nc.jpg,corn\n", r"'corn' \(1\); 'wart' \(2\)"),
        ("path,diagnosis,split\na.jpg,MEL,holdout\n", "has splits holdout"),
        ("path,diagnosis\ntable.csv,MEL\n./table.csv,NV\n", "lists 1 photograph twice"),
        (
            "path,diagnosis\na.jpg,MEL\nb\\c.jpg,NV\n",
            r"None of the 2 paths .* leads to a file, such as 'a.jpg'",
        ),
        ("path,diagnosis\n,MEL\n", "1 row without a path"),
        ("path,diagnosis\na.jpg,MEL,x,y\n", "is not a CSV table"),
        ("path,diagnosis\n", "has no rows below its columns"),
        ('path,diagnosis\n"a.jpg,MEL\n', "is not a CSV table"),
        ("path,diagnosis\n//,wart\n", "'wart'"),
        ("image,MEL,NV,BCC\n", "has no rows below its columns"),
        ("who,MEL,NV,BCC\n", "expected image_id"),
    ],
)
def test_an_unusable_table_is_one_clear_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=expected) as caught:
        read_collection(path)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::dermsentry.errors.DataWarning")
@given(st.binary(max_size=200))
def test_hostile_tables_never_give_a_traceback(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.csv"
    for head in (b"", b"path,diagnosis\n", ONE_HOT.encode()):
        path.write_bytes(head + data)
        message = ""
        try:
            read_collection(path)
        except InputError as error:
            message = str(error)
        assert "\n" not in message


def test_a_link_out_of_the_collection_is_refused_on_reading(tmp_path: Path) -> None:
    put(tmp_path, "set/nevus/a.jpg", "secret.jpg")
    (tmp_path / "set" / "nevus" / "b.jpg").symlink_to("../../secret.jpg")
    collection = read_collection(tmp_path / "set")
    assert len(collection) == 2
    with pytest.raises(Unreadable, match="leaves the folder"):
        read_photograph(collection.paths[1], root=collection.root)


def test_names_in_any_script(tmp_path: Path) -> None:
    put(tmp_path, "nevus/母斑 ä.jpg", os.fsdecode(b"nevus/caf\xe9.jpg"))
    collection = read_collection(tmp_path)
    assert len(collection) == 2
    assert len(collection.fingerprint()) == 64


@pytest.mark.real
def test_the_real_collections(real_data: Path) -> None:
    nine = read_collection(real_data / "isic9")
    assert nine.table["split"].value_counts().to_dict() == {"train": 2241, "test": 118}
    assert nine.table["diagnosis"].nunique() == 9
    ham = read_collection(real_data / "ham10000")
    assert (len(ham), ham.table["lesion_id"].nunique()) == (10015, 7470)
    assert [line.split("/")[0] for line in ham.left_alone[:2]] == ["crops224", "masks"]
    archive = read_collection(real_data / "isic-archive")
    assert archive.table["diagnosis"].value_counts()[["NV", "MEL"]].to_list() == [578, 245]
    labels = sorted((real_data / "labels").glob("*GroundTruth*.csv"))
    assert len(read_labels(labels[0])) == 25331


def test_a_table_of_paths_is_found_in_its_folder(tmp_path: Path) -> None:
    put(tmp_path, "pictures/a.jpg", "pictures/b.jpg", "pictures/c.jpg")
    (tmp_path / "list.csv").write_text("path,diagnosis\npictures/a.jpg,melanoma\npictures/b.jpg,nevus\n")
    collection = read_collection(tmp_path)
    assert rows(collection, "path", "diagnosis") == [("pictures/a.jpg", "MEL"), ("pictures/b.jpg", "NV")]
    assert [(one.path, one.reason) for one in collection.not_read] == [("pictures/c.jpg", NO_ROW)]
    given = read_collection(tmp_path / "list.csv")
    assert given.table.equals(collection.table)
    assert not given.not_read
    (tmp_path / "other.csv").write_text("path,diagnosis\npictures/c.jpg,nevus\n")
    with pytest.raises(InputError, match=r"several label tables: list.csv, other.csv"):
        read_collection(tmp_path)


def test_a_split_beside_the_photographs_is_no_label_table(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    (tmp_path / "labels.csv").write_text("image_id,diagnosis\na,melanoma\n")
    split = "path,image_id,diagnosis,group,part,reason\na.jpg,a,NV,1,train,\n"
    (tmp_path / "split.csv").write_text(split)
    assert rows(read_collection(tmp_path), "path", "diagnosis") == [("a.jpg", "MEL")]


def test_only_a_table_beside_the_class_folders_is_metadata(tmp_path: Path) -> None:
    put(tmp_path, "nevus/a.jpg")
    for name in ("metadata.csv", "nevus/metadata.csv"):
        (tmp_path / name).write_text("image_id,sex\na,male\n")
    assert (
        "nevus/metadata.csv: a table by image id; only --metadata joins it"
        in read_collection(tmp_path).left_alone
    )
