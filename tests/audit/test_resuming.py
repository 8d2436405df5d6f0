"""An audit that is ended anywhere is resumed, here or on a cluster, and finds what it would have found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.edits import turn
from benchmarks.ray_processes import guarded, workers
from dermsentry.audit import audit_collection, indexing, reader, search, survey, write_audit
from dermsentry.audit.duplicates import find_duplicates
from dermsentry.audit.likeness import index
from dermsentry.audit.since import FINDINGS, INDEX
from dermsentry.collection import read_collection
from dermsentry.errors import DataWarning, InputError
from dermsentry.evaluation.content import audit_content
from dermsentry.evaluation.looking import Looker
from dermsentry.split import make_split
from pictures import save, skin
from screening.poison import decoder, write_photograph

_CODE = """
import sys
import time
from dermsentry.audit import indexing, reader, search
from dermsentry.audit.likeness import index
reader.PARTITION, indexing.INDEXED, search.SEARCHED, search.JUDGED, index._EXACT = 6, 16, 12, 8, 500
write = indexing._write
indexing._write = lambda *given: (write(*given), time.sleep(0.1))
from dermsentry.cli import app
app(sys.argv[1:])
"""
"""The command with smaller partitions, and keypoints in lists, so that few photographs make many of them.

Indices are written slowly, so that a kill finds some of them.
"""


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty pictures in Train, turned copies of some in Test, one of these with another label, one broken."""
    root = tmp_path_factory.mktemp("photographs")
    for seed in range(50):
        label = ("nevus", "melanoma")[seed % 2]
        save(skin(seed), root / "Train" / label / f"s{seed}x.jpg")
        if seed % 4 == 0:
            copy = turn(skin(seed), 10 * seed, 0.1)
            save(copy, root / "Test" / ("melanoma" if seed == 8 else label) / f"t{seed}x.jpg")
    (root / "Train" / "nevus" / "broken.jpg").write_bytes(b"no")
    return root


def command(photographs: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-c", _CODE, "audit", str(photographs), "--out", str(out), *options]


def run(photographs: Path, out: Path, *options: str, **environment: str) -> dict[str, Any]:
    """What an undisturbed run finds."""
    done = subprocess.run(
        command(photographs, out, *options),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    assert done.returncode == 1, done.stderr
    return found(out)


def found(out: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    return read


def killed(photographs: Path, out: Path, at: str, number: int, options: Sequence[str] = ()) -> None:
    """Begin an audit, and kill it as soon as it has so many partitions of a kind."""
    with subprocess.Popen(
        command(photographs, out, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as driver:
        while len(list((out / INDEX).glob(f"{at}/[0-9a-z]*"))) < number:
            assert driver.poll() is None, driver.communicate()
            time.sleep(0.002)
        left = [*workers(driver.pid), *guarded(driver.pid)]
        driver.kill()
    for _ in range(500):  # Ray ends what the driver began
        if not any(Path(f"/proc/{pid}").exists() for pid in left):
            break
        time.sleep(0.05)
    assert not (out / "audit.json").exists()


def killed_one_after_another(
    photographs: Path, out: Path, moments: Sequence[tuple[str, int]], options: Sequence[str] = ()
) -> dict[Path, int]:
    """Kill an audit at each moment, and say what it has written; nothing of that is written again."""
    kept: dict[Path, int] = {}
    for at, number in moments:
        killed(photographs, out, at, number, options)
        now = written(out)
        # What an index is made from is gone when that is whole.
        kept = {path: time for path, time in kept.items() if path in now or not _of_an_index(path)}
        assert kept.items() <= now.items()
        assert len(now) > len(kept)
        kept = now
    return {path: time for path, time in kept.items() if not _of_an_index(path)}


def written(out: Path) -> dict[Path, int]:
    """When each file of an audit's work was written that is whole."""
    files = (path for path in (out / INDEX).rglob("*") if path.suffix in (".npy", ".npz", ".faiss"))
    # A part of the index has two files, and is there with the second, its pictures.
    whole = (path for path in files if not path.name.startswith(".") and path.parent.name != "keypoints")
    return {path: path.stat().st_mtime_ns for path in whole}


def _of_an_index(path: Path) -> bool:
    return bool({"parts", "trained"} & set(path.parts))


def test_an_index_that_was_ended_is_filled_where_it_was(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "INDEXED", 16)
    monkeypatch.setattr(index, "_EXACT", 500)
    collection = read_collection(photographs)
    expected = find_duplicates(collection)
    assert len(expected.groups) > 8
    begun: list[int] = []
    fill = indexing.Indexer.__call__

    def filling(self: indexing.Indexer, task: tuple[int, int, Any], *rest: Any) -> None:
        begun.append(task[0])
        if begun == [0, 16, 32]:
            raise KeyboardInterrupt
        fill(self, task, *rest)

    monkeypatch.setattr(indexing.Indexer, "__call__", filling)
    kept = tmp_path / "index"
    with pytest.raises(KeyboardInterrupt):
        find_duplicates(collection, index=kept)
    monkeypatch.setattr(indexing, "keypoint_index", None)  # it is not trained again
    whole = kept / "search"
    for path in whole.glob("*/parts/keypoints/*-000000032.faiss"):  # as if ended before its pictures
        path.with_name("000000032-000000040.faiss").write_bytes(path.read_bytes())
    assert find_duplicates(collection, index=kept) == expected
    assert begun == [0, 16, 32, 32, 48]
    assert not list(whole.glob("*/parts"))
    assert find_duplicates(collection, index=kept) == expected
    assert begun[5:] == []


def test_a_split_takes_what_an_audit_kept(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = read_collection(photographs)
    audit_collection(collection, index=tmp_path / "index")
    expected = make_split(collection).table
    for module, name in ((survey, "look_at"), (search.Judge, "_judge"), (search, "partners")):
        monkeypatch.setattr(module, name, None)
    (photographs / "Train" / "nevus" / "broken.jpg").rename(tmp_path / "broken.jpg")
    try:
        collection = read_collection(photographs)
        made = make_split(collection, index=tmp_path / "index").table
    finally:
        (tmp_path / "broken.jpg").rename(photographs / "Train" / "nevus" / "broken.jpg")
    assert made["path"].tolist() == [path for path in expected["path"] if "broken" not in path]


def test_no_byte_of_identical_files_is_read_again(tmp_path: Path) -> None:
    root = tmp_path / "photographs"
    for seed in (1, 2):
        save(skin(seed), root / "nevus" / f"a{seed}x.png")
    (root / "nevus" / "b1x.png").write_bytes((root / "nevus" / "a1x.png").read_bytes())
    save(skin(2), root / "nevus" / "b2x.bmp")
    first = audited(root, tmp_path / "first")
    told = [(group.photographs, group.same_bytes) for group in first.duplicates]
    assert told == [
        (("nevus/a1x.png", "nevus/b1x.png"), True),
        (("nevus/a2x.png", "nevus/b2x.bmp"), False),
    ]
    collection = read_collection(root)
    expected = make_split(collection).table.to_csv()
    for number, path in enumerate(collection.paths):  # what only reading would tell
        kept = path.stat()
        path.write_bytes(bytes([number]) * kept.st_size)
        os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert audit_collection(collection, index=tmp_path / "first" / INDEX).duplicates == first.duplicates
    assert audit_collection(collection, since=tmp_path / "first").duplicates == first.duplicates
    assert make_split(collection, index=tmp_path / "first" / INDEX).table.to_csv() == expected


def audited(root: Path, out: Path, since: Path | None = None) -> Any:
    collection = read_collection(root)
    found = audit_collection(collection, index=out / INDEX, since=since)
    write_audit(found, collection, out)
    return found


@pytest.fixture
def grown(photographs: Path, tmp_path: Path) -> Path:
    """The folder of an audit, and a copy of the photographs in which something is new, changed and gone."""
    root = tmp_path / "photographs"
    shutil.copytree(photographs, root)
    audited(root, tmp_path / "before")
    save(turn(skin(13), 40, 0.1), root / "Test" / "nevus" / "new13.jpg")
    save(skin(700), root / "Train" / "nevus" / "new700.jpg")
    save(skin(800), root / "Train" / "nevus" / "s2x.jpg")
    (root / "Test" / "nevus" / "t4x.jpg").unlink()
    return root


def watched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The photographs that are looked for in the index, by number."""
    searched: list[int] = []
    partners = search.partners

    def looking(index: Any, whitening: Any, numbers: Any, *rest: Any) -> Any:
        searched.extend(numbers)
        return partners(index, whitening, numbers, *rest)

    monkeypatch.setattr(search, "partners", looking)
    return searched


def test_since_an_earlier_audit_what_is_new_is_read_compared_and_told(
    grown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (tmp_path / "before" / "audit.json").read_bytes()
    read: list[str] = []
    own = survey.look_at
    monkeypatch.setattr(survey, "look_at", lambda path, root: read.append(path.name) or own(path, root))
    searched = watched(monkeypatch)
    news = audited(grown, tmp_path / "after", tmp_path / "before")
    assert sorted(read) == ["broken.jpg", "new13.jpg", "new700.jpg", "s2x.jpg"]
    assert len(searched) == 3
    since = news.since
    assert since.images == 64
    assert since.new == ("Test/nevus/new13.jpg", "Train/nevus/new700.jpg")
    assert since.changed == ("Train/nevus/s2x.jpg",)
    assert since.gone == ("Test/nevus/t4x.jpg",)
    pair = ("Test/nevus/new13.jpg", "Train/melanoma/s13x.jpg")
    assert since.groups["duplicates"] == since.groups["leaks"] == since.groups["conflicts"] == (pair,)
    assert since.settled["leaks"] == 1
    full = audit_collection(read_collection(grown))
    assert (news.duplicates, news.leaks, news.conflicts) == (full.duplicates, full.leaks, full.conflicts)
    told = next(finding for finding in news.findings if finding.topic == "Since the earlier audit")
    assert told.severity == "corrupts"
    assert "2 new, 1 changed, 1 gone" in told.found
    assert "leaks (1)" in told.found
    assert found(tmp_path / "after")["since"]["new"] == list(since.new)
    assert (tmp_path / "before" / "audit.json").read_bytes() == before
    again = audited(grown, tmp_path / "third", tmp_path / "after").since
    assert (again.new, again.changed, again.gone) == ((), (), ())
    assert not any(again.groups.values())


def test_a_collection_that_doubled_since_is_searched_anew(
    grown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(100, 170):
        save(skin(seed), grown / "Train" / "nevus" / f"s{seed}x.jpg")
    searched = watched(monkeypatch)
    news = audited(grown, tmp_path / "after", tmp_path / "before")
    assert len(searched) == news.images - 1
    assert news.duplicates == audit_collection(read_collection(grown)).duplicates


def test_since_needs_a_finished_audit_and_another_folder(photographs: Path, tmp_path: Path) -> None:
    collection = read_collection(photographs)
    with pytest.raises(InputError, match=r"audit\.json"):
        audit_collection(collection, since=tmp_path)
    (tmp_path / "audit.json").write_text("{}")
    with pytest.raises(InputError, match="expected the folder that an audit wrote"):
        audit_collection(collection, since=tmp_path)
    audited(photographs, tmp_path / "one")
    with pytest.raises(InputError, match="give another folder"):
        audit_collection(collection, index=tmp_path / "one" / INDEX, since=tmp_path / "one")


def test_the_cluster_needs_a_folder(photographs: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra cluster is not installed")
    with pytest.raises(InputError, match="every machine sees"):
        find_duplicates(read_collection(photographs), engine="ray")
    with pytest.raises(InputError, match="without the engine ray"):
        find_duplicates(read_collection(photographs), address="auto")
    with pytest.raises(InputError, match="nobody answers"):
        find_duplicates(
            read_collection(photographs), engine="ray", address="127.0.0.1:1", index=tmp_path / "index"
        )


@pytest.mark.slow
def test_of_many_photographs_a_poisoned_one_costs_itself(photographs: Path, tmp_path: Path) -> None:
    expected = run(photographs, tmp_path / "here")
    root = tmp_path / "poisoned"
    shutil.copytree(photographs, root)
    for word in ("segfault", "memory"):
        write_photograph(root / "Train" / "nevus" / f"{word}.jpg", 3, word)
    site = os.pathsep.join([str(decoder(tmp_path / "site")), *sys.path])
    _holds_poison(run(root, tmp_path / "out", PYTHONPATH=site), expected)


@pytest.mark.slow
def test_a_poisoned_photograph_ends_neither_a_look_at_its_content_nor_the_pages(
    photographs: Path, tmp_path: Path
) -> None:
    root, out = tmp_path / "poisoned", tmp_path / "out"
    shutil.copytree(photographs, root)
    write_photograph(root / "Train" / "nevus" / "segfault.jpg", 3, "segfault")
    save(skin(900), root / "Test" / "nevus" / "alonex.jpg")  # which by the table is of the same lesion
    table = tmp_path / "lesions.csv"
    table.write_text("image_id,lesion_id\nsegfault,L1\nalonex,L1\n", encoding="utf-8")
    site = os.pathsep.join([str(decoder(tmp_path / "site")), *sys.path])
    audit = run(root, out, "--content", "--metadata", str(table), PYTHONPATH=site)
    shared = [[one["path"] for one in group["photographs"]] for group in audit["shared_lesions"]]
    assert ["Test/nevus/alonex.jpg", "Train/nevus/segfault.jpg"] in shared
    assert len(audit["unreadable"]) == 2
    assert audit["content"]["photographs"] == audit["images"] - 2
    assert (out / "audit.html").stat().st_size
    pictures = {path.stem for path in (out / "findings").glob("*.jpg")}
    assert pictures
    page = (out / "findings.html").read_text(encoding="utf-8")
    assert '"Train/nevus/segfault.jpg","NV","train",false' in page


@pytest.mark.slow
def test_what_ends_its_decoder_only_as_the_model_looks_is_told(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "photographs"
    for seed in range(10):
        save(skin(seed), root / "nevus" / f"s{seed}x.jpg")
    collection = read_collection(root)
    found = audit_collection(collection)
    plain = audit_content(found, collection)
    monkeypatch.setattr(reader, "PARTITION", 6)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(decoder(tmp_path / "site")), *sys.path]))
    assert audit_content(found, collection) == plain
    write_photograph(root / "nevus" / "s3x.jpg", 3, "segfault")
    with pytest.warns(DataWarning, match=r"1 photographs .* such as nevus/s3x.jpg: the file stopped its"):
        content = audit_content(found, collection).content
    assert content is not None
    assert content.photographs == 9
    write_audit(found, collection, tmp_path / "out")


def test_the_model_looks_only_at_what_is_new_or_changed(
    grown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection, index = read_collection(grown), tmp_path / "index"
    audit = audit_collection(collection, index=index)
    expected = audit_content(audit, collection)
    seen: list[str] = []
    look_at = Looker.look_at
    monkeypatch.setattr(Looker, "look_at", lambda self, path: seen.append(path.name) or look_at(self, path))
    assert audit_content(audit, collection, index=index) == expected
    assert len(seen) == audit.images - 1
    seen.clear()
    assert audit_content(audit, collection, index=index) == expected
    assert not seen
    save(skin(900), grown / "Train" / "nevus" / "s2x.jpg")
    save(skin(901), grown / "Train" / "nevus" / "new901.jpg")
    collection = read_collection(grown)
    audit = audit_collection(collection, index=index)
    again = audit_content(audit, collection, index=index)
    assert sorted(seen) == ["new901.jpg", "s2x.jpg"]
    assert again == audit_content(audit, collection)


def _holds_poison(found: dict[str, Any], expected: dict[str, Any]) -> None:
    reasons = {Path(file["path"]).stem: file["reason"] for file in found["unreadable"]}
    assert reasons.pop("broken")
    assert reasons == {"segfault": "the file stopped its decoder", "memory": "too large to decode"}
    assert [found[name] for name in FINDINGS] == [expected[name] for name in FINDINGS]


@pytest.mark.slow
def test_ray_finds_what_is_found_here_and_one_poisoned_photograph_costs_itself(
    photographs: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="the extra cluster is not installed")
    expected = run(photographs, tmp_path / "here")
    root = tmp_path / "poisoned"
    shutil.copytree(photographs, root)
    for word in ("segfault", "memory"):
        write_photograph(root / "Train" / "nevus" / f"{word}.jpg", 3, word)
    site = os.pathsep.join([str(decoder(tmp_path / "site")), *sys.path])
    found = run(root, tmp_path / "out", "--engine", "ray", "--threads", "2", PYTHONPATH=site)
    _holds_poison(found, expected)


@pytest.mark.slow
def test_an_audit_that_is_killed_ten_times_makes_nothing_twice(photographs: Path, tmp_path: Path) -> None:
    expected = run(photographs, tmp_path / "undisturbed", "--content")
    assert expected["conflicts"]
    assert len(expected["leaks"]) > 8
    assert expected["content"]["photographs"] == expected["images"] - 1
    out = tmp_path / "killed"
    moments = (
        ("survey", 2),
        ("survey", 8),
        ("search/*/trained", 1),
        ("search/*/parts/pictures", 1),
        ("search/*/parts/pictures", 3),
        ("search/*/candidates", 2),
        ("pairs", 1),
        ("pairs", 9),
        ("content/*", 2),
        ("content/*", 8),
    )
    kept = killed_one_after_another(photographs, out, moments, ("--content",))
    for place in (out / INDEX).glob("search/*/candidates"):  # cut off while it was written
        (place / ".000000024-000000036.npy.0abcdefg.npy").write_bytes(b"\x93NUMPY")
    assert run(photographs, out, "--content") == expected
    assert kept.items() <= written(out).items()
    assert not list((out / INDEX).glob("search/*/parts"))


@pytest.mark.slow
def test_an_audit_that_is_killed_on_a_cluster_goes_on_there_and_here(
    photographs: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="the extra cluster is not installed")
    out = tmp_path / "cluster"
    moments = (("search/*/parts/pictures", 1), ("content/*", 2))  # the second resumes the first there
    on_ray = ("--content", "--engine", "ray", "--threads", "2")
    kept = killed_one_after_another(photographs, out, moments, on_ray)
    expected = run(photographs, tmp_path / "here", "--content")
    assert run(photographs, out, "--content") == expected
    assert kept.items() <= written(out).items()
