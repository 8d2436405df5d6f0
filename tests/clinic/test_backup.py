"""A backup brings everything back, on both databases, and one that was changed is refused."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import tarfile
from pathlib import Path

import pytest
from sqlalchemy import delete, select

from clinic.filled_store import Store
from clinic.postgresql import Cluster
from dermsentry.clinic.backup import backup, restore
from dermsentry.clinic.store.audit_trail import open_trail, remember, verify
from dermsentry.clinic.store.database import open_database, reading, writing
from dermsentry.clinic.store.folder import database_of
from dermsentry.clinic.store.tables import Base, Event
from dermsentry.errors import DermsentryError, InputError, OutputError


@pytest.fixture
def lived_in(store: Store) -> Store:
    """A clinic with cases, drawn pictures, an alert, settings, and an anchor."""
    for number in range(5):
        case = store.case(bytes([number]) * 1000, patient=f"patient {number}", note="één\nregel")
        store.alert(case, ("email", "reader@clinic.example"))
    first = next((store.folder / "photographs").rglob("*/*/*"))
    drawn = store.pictures.drawn(first.name, "thumbnail")
    drawn.parent.mkdir(parents=True)
    drawn.write_bytes(b"a thumbnail")
    (store.folder / "clinic.toml").write_text("readers = 2\n")
    with reading(store.engine) as session:
        remember(session, store.trail)
    return store


def elsewhere(store: Store, request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """An empty folder and database of the same kind."""
    folder = tmp_path / "restored"
    if store.engine.dialect.name == "sqlite":
        return folder, database_of(folder, None)
    return folder, request.getfixturevalue("postgresql").database()


def rows(url: str) -> dict[str, list[tuple[object, ...]]]:
    engine = open_database(url)
    with reading(engine) as session:
        found = {
            name: sorted((tuple(row) for row in session.execute(select(table))), key=repr)
            for name, table in Base.metadata.tables.items()
        }
    engine.dispose()
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("clinic.sqlite")
    }


def test_everything_comes_back(lived_in: Store, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    out = tmp_path / "clinic.tar"
    kept = backup(lived_in.folder, lived_in.url, out)
    assert (kept.cases, kept.photographs, kept.problems) == (5, 5, ())
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    before, photographs = rows(lived_in.url), files(lived_in.folder)
    assert len(before["cases"]) == 5
    folder, url = elsewhere(lived_in, request, tmp_path)
    before_umask = os.umask(0o022)
    try:
        back = restore(out, folder, url)
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before_umask)
    assert back == kept
    assert rows(url) == before
    assert files(folder) == photographs
    for path in (folder, *folder.rglob("*")):  # as the server makes them, whoever restores
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert {path.name for path in folder.iterdir()} >= {
        "audit.key",
        "audit.anchor",
        "clinic.toml",
        "photographs",
    }
    assert not any(path.name.startswith(".") for path in (*folder.iterdir(), *tmp_path.iterdir()))
    engine = open_database(url)
    with reading(engine) as session:
        assert verify(session, open_trail(folder)).problems == ()
    # The clinic goes on where it was: numbers are not given twice, and the chain grows.
    again = Store(engine, open_trail(folder), lived_in.pictures, lived_in.settings, folder, url)
    assert again.case(b"new") > max(row[0] for row in before["cases"])  # type: ignore[type-var]
    with reading(engine) as session:
        assert verify(session, open_trail(folder)).problems == ()
    engine.dispose()


def test_a_clinic_that_goes_on_is_backed_up_as_of_one_moment(
    lived_in: Store, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    import threading

    enough = threading.Event()

    def go_on() -> None:
        number = 0
        while not enough.is_set():
            lived_in.case(f"later {number}".encode())
            with reading(lived_in.engine) as session:
                remember(session, lived_in.trail)
            number += 1

    busy = threading.Thread(target=go_on)
    busy.start()
    try:
        kept = [backup(lived_in.folder, lived_in.url, tmp_path / f"{n}.tar") for n in range(3)]
    finally:
        enough.set()
        busy.join()
    assert [one.problems for one in kept] == [(), (), ()]
    assert all(one.photographs == one.cases for one in kept)
    back = restore(tmp_path / "2.tar", *elsewhere(lived_in, request, tmp_path))
    assert back == kept[2]


def test_events_taken_off_the_end_are_told_in_both_places(
    lived_in: Store, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with writing(lived_in.engine) as session:
        last = session.scalars(select(Event.id).order_by(Event.id.desc()).limit(1)).one()
        session.execute(delete(Event).where(Event.id == last))
    kept = backup(lived_in.folder, lived_in.url, tmp_path / "clinic.tar")
    assert len(kept.problems) == 1
    assert "missing" in kept.problems[0]
    back = restore(tmp_path / "clinic.tar", *elsewhere(lived_in, request, tmp_path))
    assert back.problems == kept.problems


def test_a_photograph_that_is_gone_is_told(lived_in: Store, tmp_path: Path) -> None:
    next((lived_in.folder / "photographs").rglob("*/*/*")).unlink()
    kept = backup(lived_in.folder, lived_in.url, tmp_path / "clinic.tar")
    assert (kept.cases, kept.photographs) == (5, 4)
    assert "is missing" in kept.problems[0]


def test_nothing_is_written_over(lived_in: Store, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    out = tmp_path / "clinic.tar"
    backup(lived_in.folder, lived_in.url, out)
    before = out.read_bytes()
    with pytest.raises(OutputError, match="already exists"):
        backup(lived_in.folder, lived_in.url, out)
    assert out.read_bytes() == before
    with pytest.raises(OutputError, match="not empty"):
        restore(out, lived_in.folder, lived_in.url)
    with pytest.raises(OutputError, match=r"already exists|not empty"):
        restore(out, tmp_path / "other", lived_in.url)
    assert not (tmp_path / "other").exists() or not any((tmp_path / "other").iterdir())


def rewritten(file: Path, name: str, change: str) -> Path:
    """The backup anew, with one member changed, left out, twice, or under another name."""
    out = file.with_name(f"{change}.tar")
    with tarfile.open(file) as old, tarfile.open(out, "w") as new:
        for member in old:
            source = old.extractfile(member)
            assert source is not None
            data = source.read()
            if member.name == name:
                if change == "left out":
                    continue
                if change == "changed":
                    data = data[:-1] + bytes([data[-1] ^ 1])
                if change == "elsewhere":
                    member.name = "../outside"
                if change == "a link":
                    member.type, member.linkname, data = tarfile.SYMTYPE, "/etc/passwd", b""
            member.size = len(data)
            for _ in range(2 if change == "twice" and member.name == name else 1):
                new.addfile(member, io.BytesIO(data))
    return out


def test_a_backup_that_was_changed_is_refused(
    lived_in: Store, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    out = tmp_path / "clinic.tar"
    backup(lived_in.folder, lived_in.url, out)
    with tarfile.open(out) as tar:
        names = [name for name in tar.getnames() if name != "clinic.toml"]
    folder, url = elsewhere(lived_in, request, tmp_path)
    for start in ("clinic.", "audit.key", "photographs/", "manifest"):
        name = next(name for name in names if name.startswith(start))
        for change in ("changed", "left out", "twice", "elsewhere", "a link"):
            if (start, change) == ("manifest", "twice"):
                continue  # the same manifest twice says the same
            with pytest.raises(DermsentryError) as told:
                restore(rewritten(out, name, change), folder, url)
            assert "\n" not in str(told.value), (name, change)
            assert not any(folder.iterdir()), (name, change)
            assert not (tmp_path / "outside").exists(), (name, change)
    # The place is still empty: the backup as it was goes in.
    assert restore(out, folder, url).cases == 5


def test_a_manifest_that_names_what_it_may_not_is_refused(lived_in: Store, tmp_path: Path) -> None:
    out, bad = tmp_path / "clinic.tar", tmp_path / "bad.tar"
    backup(lived_in.folder, lived_in.url, out)
    with tarfile.open(out) as old, tarfile.open(bad, "w") as new:
        for member in old:
            source = old.extractfile(member)
            assert source is not None
            data = source.read()
            if member.name == "manifest.json":
                manifest = json.loads(data)
                manifest["files"]["../outside"] = "0" * 64
                data = json.dumps(manifest).encode()
                member.size = len(data)
                outside = tarfile.TarInfo("../outside")
                outside.size = 1
                new.addfile(outside, io.BytesIO(b"x"))
            new.addfile(member, io.BytesIO(data))
    with pytest.raises(InputError, match="outside"):
        restore(bad, tmp_path / "restored", None if "sqlite" in lived_in.url else lived_in.url)
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("content", [b"", b"not a tar", b"\0" * 10240])
def test_a_file_that_is_no_backup_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "clinic.tar"
    file.write_bytes(content)
    with pytest.raises(InputError, match="backup"):
        restore(file, tmp_path / "restored")


def test_half_a_backup_is_refused(lived_in: Store, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    out = tmp_path / "clinic.tar"
    backup(lived_in.folder, lived_in.url, out)
    whole = out.read_bytes().rstrip(b"\0")  # a tar ends in zeros, which hold nothing
    folder, url = elsewhere(lived_in, request, tmp_path)
    for share in (0.1, 0.5, 0.9):
        half = tmp_path / "half.tar"
        half.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InputError):
            restore(half, folder, url)
        assert not any(folder.iterdir())


def test_a_backup_of_the_other_database_is_refused(tmp_path: Path, postgresql: Cluster) -> None:
    folder = tmp_path / "clinic"
    folder.mkdir()
    from dermsentry.clinic.store.database import migrate

    engine = open_database(database_of(folder, None))
    migrate(engine)
    open_trail(folder)
    engine.dispose()
    backup(folder, database_of(folder, None), tmp_path / "clinic.tar")
    url = postgresql.database()
    with pytest.raises(InputError, match="on sqlite") as told:
        restore(tmp_path / "clinic.tar", tmp_path / "restored", url)
    assert postgresql.password not in str(told.value)


def test_without_a_clinic_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"audit\.key is missing"):
        backup(tmp_path, database_of(tmp_path, None), tmp_path / "clinic.tar")
    assert list(tmp_path.iterdir()) == []


def test_no_space_left_is_one_line_and_leaves_nothing(
    lived_in: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dermsentry.clinic import backup as module
    from dermsentry.errors import OutputError

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_add", full)
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputError, match="No space left"):
        backup(lived_in.folder, lived_in.url, tmp_path / "out" / "clinic.tar")
    assert list((tmp_path / "out").iterdir()) == []
    shutil.rmtree(tmp_path / "out")


def sparse(name: str, size: int) -> bytes:
    """A tar of one file that claims a size of which no byte stands in it (PAX, GNU.sparse 0.1)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo(name)
        member.pax_headers = {
            "GNU.sparse.size": str(size),
            "GNU.sparse.numblocks": "1",
            "GNU.sparse.map": f"{size},0",
        }
        tar.addfile(member)
    return buffer.getvalue()


def test_a_file_that_claims_a_size_it_has_not_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    file.write_bytes(sparse("manifest.json", 1 << 50))
    with tarfile.open(file) as tar:
        assert tar.getmember("manifest.json").issparse()
        assert tar.getmember("manifest.json").size == 1 << 50
    with pytest.raises(InputError, match="no usable manifest"):
        restore(file, tmp_path / "restored")


def test_a_folder_is_no_backup(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Cannot read"):
        restore(tmp_path, tmp_path / "restored")
