"""Partitions are planned once and written whole: resumed, changed, cut off, in archives and at addresses."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from dermsentry.errors import OutputError
from dermsentry.model import Bundle
from dermsentry.screening import partitions as module
from dermsentry.screening import screen
from dermsentry.screening.inference import Screened, screen_sources
from dermsentry.screening.inputs import Source, find_photographs
from dermsentry.screening.partitions import (
    Manifest,
    Of,
    begin,
    findings_name,
    finish,
    finished,
    make_plan,
    plan_name,
    read_plan,
    screen_partition,
)
from dermsentry.screening.place import Place
from screening.poison import write_photograph


def manifest(bundle: Bundle, *given: object) -> Manifest:
    return Manifest(False, bundle.name, bundle.card.digest, tuple(map(str, given)), {}, {})


class Counting:
    """Screens here, and counts what it is given."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle, self.paths = bundle, list[str]()

    def __call__(self, sources: Iterable[Source]) -> Iterator[Screened]:
        def counted() -> Iterator[Source]:
            for source in sources:
                self.paths.append(source.path)
                yield source

        return screen_sources(counted(), self.bundle)


def run(place: Place, given: object, bundle: Bundle, size: int = 4) -> tuple[Manifest, list[str]]:
    """What the driver does, without Ray; the manifest, and what was screened."""
    screening, own = Counting(bundle), manifest(bundle, given)
    begin(place, own)
    gone = make_plan(place, find_photographs(given, open_archives=False), size)  # type: ignore[arg-type]
    missing, done = finished(place, bundle.card.digest)
    kept = sum(sum(of.tiers.values()) for of in done.values())
    for number in missing:
        done[number] = screen_partition(place, number, screening, bundle.card.digest)
        kept += done[number].kept
    return finish(place, own, done, kept, gone), screening.paths


def rows(place: Place) -> dict[str, dict[str, Any]]:
    found = [
        row
        for number in place.numbers("findings")
        for row in parquet.read_table(io.BytesIO(place.read(findings_name(number)) or b"")).to_pylist()
    ]
    counts = Counter(row["path"] for row in found)
    assert set(counts.values()) <= {1}
    return {row["path"]: row for row in found}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(10):
        write_photograph(tmp_path / "photographs" / f"{number:02}.jpg", number)
    (tmp_path / "photographs" / "03.jpg").write_bytes(b"\xff\xd8\xff none")
    return tmp_path / "photographs"


@pytest.fixture(params=["folder", "address"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "folder":
        yield Place(str(tmp_path / "out"))
        return
    yield Place("memory://results/out")
    fsspec.filesystem("memory").rm("/results", recursive=True)


def test_partitions_hold_what_screening_finds_and_nothing_twice(
    folder: Path, bundle: Bundle, place: Place
) -> None:
    done, screened = run(place, folder, bundle)
    expected = {finding.path: finding for finding in screen(folder, bundle)}
    found = rows(place)
    assert found.keys() == expected.keys() == set(screened)
    assert all(row["melanoma"] == expected[path].melanoma for path, row in found.items())
    assert all(row["tier"] == expected[path].tier for path, row in found.items())
    assert all(row["version"] == expected[path].version for path, row in found.items())
    assert done.complete
    assert done.partitions == {findings_name(1): 4, findings_name(2): 4, findings_name(3): 2}
    assert done.counts["findings"] == 10
    assert (done.counts["unreadable"], done.counts["kept"], done.counts["gone"]) == (1, 0, 0)
    told = json.loads(place.read("manifest.json") or b"")
    assert (told["digest"], told["counts"]["findings"]) == (bundle.card.digest, 10)


def test_a_run_that_is_stopped_anywhere_is_resumed(folder: Path, bundle: Bundle, place: Place) -> None:
    done, _ = run(place, folder, bundle)
    before = rows(place)
    again, screened = run(place, folder, bundle)
    assert (screened, again.counts["kept"]) == ([], 10)
    for lost in (findings_name(2), plan_name(3), findings_name(3)):
        place.remove(lost)
    resumed, screened = run(place, folder, bundle)
    assert len(screened) == 6
    assert rows(place) == before
    assert {**resumed.counts, "kept": 0} == done.counts


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_file_that_was_cut_off_is_no_partition(
    folder: Path, bundle: Bundle, place: Place, cut: int
) -> None:
    run(place, folder, bundle)
    before = rows(place)
    data = place.read(findings_name(2)) or b""
    place.write(findings_name(2), data[:cut])
    _, screened = run(place, folder, bundle)
    assert len(screened) == 4
    assert rows(place) == before


def test_what_changed_came_or_went_is_seen(folder: Path, bundle: Bundle, place: Place) -> None:
    run(place, folder, bundle)
    before = rows(place)
    write_photograph(folder / "01.jpg", 101)
    write_photograph(folder / "20.jpg", 20)
    (folder / "05.jpg").unlink()
    done, screened = run(place, folder, bundle)
    assert sorted(Path(path).name for path in screened) == ["01.jpg", "20.jpg"]
    assert (done.counts["gone"], done.counts["findings"], done.counts["kept"]) == (1, 11, 9)
    after = rows(place)
    assert after.keys() == before.keys() | {str(folder / "20.jpg")}
    assert after[str(folder / "01.jpg")]["version"] != before[str(folder / "01.jpg")]["version"]
    assert run(place, folder, bundle)[1] == []


def test_what_could_not_be_opened_is_tried_again(
    folder: Path, bundle: Bundle, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_plan(place, find_photographs(folder), 4)
    (folder / "05.jpg").rename(folder.parent / "away")
    own = screen_partition(place, 2, Counting(bundle), bundle.card.digest)
    assert (own.again, own.tiers["unreadable"]) == (1, 1)
    (folder.parent / "away").rename(folder / "05.jpg")
    missing, done = finished(place, bundle.card.digest)
    assert (missing, done) == ([1, 2, 3], {})
    screening = Counting(bundle)
    own = screen_partition(place, 2, screening, bundle.card.digest)
    assert (own.again, own.kept, sum(own.tiers.values())) == (0, 3, 4)
    assert screening.paths == [str(folder / "05.jpg")]
    # Whoever is asked again, since another could not tell that it was done, does nothing.
    assert screen_partition(place, 2, screening, bundle.card.digest) == own
    assert len(screening.paths) == 1


def test_archives_are_read_where_they_are_screened_in_parts_by_their_size(
    folder: Path, bundle: Bundle, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = folder.parent / "visits.zip"

    def pack(count: int) -> None:
        with zipfile.ZipFile(archive, "w") as file:
            for path in sorted(folder.iterdir())[:count]:
                file.write(path, path.name)

    pack(9)
    monkeypatch.setitem(module._PER_PART, "zip", 1 + archive.stat().st_size // 3)
    done, screened = run(place, archive, bundle)
    assert len(done.partitions) == 3
    assert len(screened) == 9
    assert rows(place).keys() == {finding.path for finding in screen(archive, bundle)}
    assert run(place, archive, bundle)[1] == []
    monkeypatch.setitem(module._PER_PART, "zip", 1 + archive.stat().st_size // 4)
    pack(10)  # in four parts now, and changed
    grown, _ = run(place, archive, bundle)
    assert len(grown.partitions) in (4, 5)
    assert rows(place).keys() == {finding.path for finding in screen(archive, bundle)}
    assert grown.counts["gone"] == 0


def test_photographs_at_an_address_are_found_again_by_it(bundle: Bundle, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for number in range(5):
        write_photograph(tmp_path / "one.jpg", number)
        memory.pipe_file(f"/archive/{number}.jpg", (tmp_path / "one.jpg").read_bytes())
    place = Place("memory://archive-results")
    try:
        done, screened = run(place, "memory://archive/", bundle, size=2)
        assert sorted(screened) == [f"memory:///archive/{number}.jpg" for number in range(5)]
        assert done.counts["unreadable"] == 0
        assert rows(place).keys() == {own.path for own in screen("memory://archive/", bundle)}
    finally:
        for name in ("/archive", "/archive-results"):
            memory.rm(name, recursive=True)


@pytest.mark.parametrize("other", ["model", "photographs", "nothing said"])
def test_findings_of_something_else_are_refused(
    folder: Path, bundle: Bundle, place: Place, other: str
) -> None:
    run(place, folder, bundle)
    own = manifest(bundle, folder)
    if other == "model":
        own = Manifest(**{**own.__dict__, "digest": "0" * 64})
    elif other == "photographs":
        own = manifest(bundle, "/elsewhere")
    else:
        place.remove("manifest.json")
    with pytest.raises(OutputError, match="--force"):
        begin(place, own)
    assert len(rows(place)) == 10
    begin(place, own, force=True)
    assert rows(place) == {}
    assert place.numbers("plan") == []


def test_a_plan_that_other_machines_do_not_see_is_told(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="every machine sees"):
        screen_partition(Place(str(tmp_path)), 1, Counting(bundle), bundle.card.digest)
    done = {1: Of("", "", 3, {"alert": 1})}
    with pytest.raises(OutputError, match="every machine sees"):
        finish(Place(str(tmp_path)), manifest(bundle), done, 0, 0)


def test_a_partition_that_fails_leaves_what_was_there(folder: Path, bundle: Bundle, place: Place) -> None:
    run(place, folder, bundle)
    before = rows(place)
    write_photograph(folder / "01.jpg", 101)
    make_plan(place, find_photographs(folder), 4)

    def failing(sources: Iterable[Source]) -> Iterator[Screened]:
        yield from screen_sources(sources, bundle)
        raise OSError("stopped")

    with pytest.raises(OSError, match="stopped"):
        screen_partition(place, 1, failing, bundle.card.digest)
    assert rows(place) == before


@settings(max_examples=40, deadline=None)
@given(
    listed=st.lists(st.sets(st.integers(0, 30)), min_size=1, max_size=4),
    size=st.integers(1, 7),
    removed=st.integers(0, 10),
)
def test_whatever_is_listed_and_lost_a_photograph_is_in_one_partition(
    tmp_path_factory: pytest.TempPathFactory, listed: list[set[int]], size: int, removed: int
) -> None:
    place = Place(str(tmp_path_factory.mktemp("plan")))
    ever: set[str] = set()
    for numbers in listed:
        sources = [Source(f"/{number}.jpg", version="1") for number in sorted(numbers)]
        gone = make_plan(place, sources, size)
        now = {source.path for source in sources}
        assert gone == len(ever - now)
        ever |= now
        planned = Counter(row.path for own in place.numbers("plan") for row in read_plan(place, own)[0])
        assert planned == Counter(ever)
        numbers_there = place.numbers("plan")
        if numbers_there and removed:  # a plan that was lost is planned anew
            lost = numbers_there[removed % len(numbers_there)]
            ever -= {row.path for row in read_plan(place, lost)[0]}
            place.remove(plan_name(lost))
