from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from dermsentry.errors import InputError
from dermsentry.model import Bundle
from dermsentry.screening import screen
from dermsentry.screening.inputs import Source, find_photographs, read_list, require_own_names


def names(sources: Iterable[Source]) -> list[str]:
    return [Path(source.path).name for source in sources]


def test_a_folder_is_searched_to_the_bottom_in_order(photographs: Path) -> None:
    found = names(find_photographs([photographs]))
    assert found == [
        "broken.jpg",
        "lesion0.jpg",
        "lesion1.jpg",
        "lesion2.jpg",
        "empty.png",
        "lesion3.jpg",
        "lesion4.jpg",
        "lesion5.jpg",
        "words.jpg",
    ]


def test_files_are_taken_whatever_their_name_and_each_once(photographs: Path) -> None:
    note, lesion = photographs / "second" / "notes.txt", photographs / "first" / "lesion1.jpg"
    found = find_photographs([lesion, note, photographs / "first", str(lesion)])
    assert names(found) == ["lesion1.jpg", "notes.txt", "broken.jpg", "lesion0.jpg", "lesion2.jpg"]


def test_patterns(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photographs)
    assert names(find_photographs(["**/lesion[1-4].jpg"])) == [
        "lesion1.jpg",
        "lesion2.jpg",
        "lesion3.jpg",
        "lesion4.jpg",
    ]
    assert names(find_photographs(["fir*"])) == ["broken.jpg", "lesion0.jpg", "lesion1.jpg", "lesion2.jpg"]
    (photographs / "odd[1].jpg").write_bytes(b"x")
    assert names(find_photographs(["odd[1].jpg"])) == ["odd[1].jpg"]
    with pytest.raises(InputError, match=r"Nothing matches none\*\.jpg"):
        find_photographs(["none*.jpg"])


def test_what_is_not_there_is_refused_unless_a_list_named_it(photographs: Path, tmp_path: Path) -> None:
    missing = str(photographs / "lost.jpg")
    with pytest.raises(
        InputError, match=r"lost\.jpg does not exist; expected a photograph, a folder or a pattern"
    ):
        find_photographs([missing])
    assert list(find_photographs([missing], strict=False)) == [Source(missing)]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no photographs; expected JPEG"):
        find_photographs([tmp_path / "empty"])
    with pytest.raises(InputError, match="no photographs"):
        find_photographs([])
    with pytest.raises(InputError, match="does not exist"):
        find_photographs(["a\0b.jpg"])


def test_the_runs_own_pictures_are_left_out(photographs: Path) -> None:
    heat = photographs / "out" / "heat"
    heat.mkdir(parents=True)
    (heat / "lesion0.png").write_bytes(b"x")
    assert "lesion0.png" in names(find_photographs([photographs]))
    assert "lesion0.png" not in names(find_photographs([photographs], leave_out=heat))


def test_links_are_marked_with_the_folder_they_may_not_leave(photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (photographs / "first" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (photographs / "loop").symlink_to(photographs, target_is_directory=True)
    roots = {Path(s.path).name: s.root for s in find_photographs([photographs])}
    assert roots["link.jpg"] == str(photographs)
    assert roots["lesion0.jpg"] is None
    assert len(roots) == 10


def test_a_link_that_leads_to_itself_has_its_line(photographs: Path, bundle: Bundle) -> None:
    (photographs / "first" / "itself.jpg").symlink_to("itself.jpg")
    (photographs / "first" / "itself").symlink_to("itself")
    [found] = [one for one in screen(photographs, bundle) if one.image == "itself"]
    assert (found.tier, Path(found.path).name) == ("unreadable", "itself.jpg")


def test_every_photograph_of_a_folder_has_its_line(photographs: Path, tmp_path: Path) -> None:
    jpeg = (photographs / "first" / "lesion0.jpg").read_bytes()
    visit, elsewhere = tmp_path / "visit", tmp_path / "elsewhere"
    for folder in (visit / ".thumbs", elsewhere):
        folder.mkdir(parents=True)
    for name in ("a", "b.jfif", "c.txt", ".d.jpg", ".thumbs/e.jpg", "f.HEIC"):
        (visit / name).write_bytes(jpeg)
    (visit / "g.dcm").write_bytes(bytes(128) + b"DICM")
    (visit / "h.dng").write_bytes(b"II*\0" + bytes(20))
    (visit / "notes.txt").write_text("no photograph")
    (visit / "link").symlink_to(elsewhere, target_is_directory=True)
    (visit / "again").symlink_to(visit, target_is_directory=True)
    found = {str(Path(one.path).relative_to(visit)): one.refused for one in find_photographs([visit])}
    assert set(found) == {
        "a",
        "b.jfif",
        "c.txt",
        ".d.jpg",
        ".thumbs/e.jpg",
        "f.HEIC",
        "g.dcm",
        "h.dng",
        "link",
    }
    assert {path for path, why in found.items() if why} == {".d.jpg", ".thumbs/e.jpg", "link"}
    assert "hidden" in found[".d.jpg"]
    assert "a link to a folder elsewhere" in found["link"]
    assert "name that folder too, or a copy made by cp -RL" in found["link"]


def test_a_folder_is_searched_however_deep(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(1100):
        os.mkdir("d")  # noqa: PTH102 - a path as long is beyond pathlib
        os.chdir("d")
    Path("a.jpg").write_bytes((photographs / "first" / "lesion0.jpg").read_bytes())
    assert names(find_photographs([tmp_path / "d"])) == ["a.jpg"]
    Path("a.jpg").unlink()
    for _ in range(1100):  # pytest's own clearing up is not as deep
        os.chdir("..")
        os.rmdir("d")  # noqa: PTH106


def test_lists_by_line_and_by_nul() -> None:
    assert read_list("a.jpg\n\n b c.jpg\r\nd.jpg") == ["a.jpg", " b c.jpg", "d.jpg"]
    assert read_list("a\nb.jpg\0c.jpg\0") == ["a\nb.jpg", "c.jpg"]
    assert read_list("") == []


def test_two_photographs_of_one_name_cannot_share_a_csv() -> None:
    sources = [Source("a/IMG_1.jpg"), Source("a/IMG_2.jpg"), Source("b/IMG_1.png")]
    with pytest.raises(InputError, match=r"a/IMG_1\.jpg and b/IMG_1\.png are both named IMG_1"):
        require_own_names(sources, "the challenge's CSV")
    require_own_names(sources[:2], "the challenge's CSV")


@pytest.mark.skipif(os.name == "nt", reason="names are bytes only on POSIX")
def test_a_name_that_is_no_text_is_found(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg")).write_bytes(b"x")
    assert len(list(find_photographs([tmp_path]))) == 1


@pytest.mark.parametrize(
    "given",
    [None, 5, bytearray(b"x"), memoryview(b"x"), io.BytesIO(b"x")],
    ids=lambda own: type(own).__name__,
)
def test_what_is_no_image_is_one_line(given: object) -> None:
    with pytest.raises(InputError, match=rf"^Received {type(given).__name__}; expected a path, bytes"):
        find_photographs(given)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["", [""], iter([""])], ids=["one", "several", "iterator"])
def test_an_empty_path_is_not_this_folder(
    given: object, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of an unset variable: `screen "$FOLDER"`."""
    monkeypatch.chdir(photographs)
    with pytest.raises(InputError, match="Received an empty path"):
        list(find_photographs(given))  # type: ignore[arg-type]
