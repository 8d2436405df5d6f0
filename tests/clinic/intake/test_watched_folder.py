"""Files put into the watched folder become cases once, whatever is stopped or broken meanwhile."""

from __future__ import annotations

import errno
import io
import os
import threading
import time
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import select

from clinic.dicom_files import dicom_bytes
from clinic.filled_store import Store
from dermsentry.clinic.intake import admission, watched_folder
from dermsentry.clinic.intake.watched_folder import Taken, Watched, open_folder, take, watch
from dermsentry.clinic.store.audit_trail import verify
from dermsentry.clinic.store.database import DatabaseError, reading
from dermsentry.clinic.store.pictures import Pictures
from dermsentry.clinic.store.tables import Case, Conflict, Event
from dermsentry.errors import InputError, OutputError
from dermsentry.phantoms import draw_phantom


def jpeg(number: int = 1) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(draw_phantom("MEL", number, (96, 72))).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return open_folder(tmp_path / "in")


def put(watched: Watched, name: str, data: bytes) -> Path:
    path = watched.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def look(store: Store, watched: Watched, settled_s: float = 0.0) -> Taken:
    return take(store, watched, settled_s=settled_s)


def cases(store: Store) -> list[Case]:
    with reading(store.engine) as session:
        return list(session.scalars(select(Case).order_by(Case.id)))


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_what_is_put_there_becomes_a_case(store: Store, watched: Watched) -> None:
    put(watched, "one.jpg", jpeg(1))
    put(watched, "P-1/two.jpg", jpeg(2))
    put(watched, "P-1/left arm/three.jpg", jpeg(3))
    put(watched, "four.dcm", dicom_bytes())
    assert look(store, watched) == Taken(4, 0)
    told = {case.file_name: (case.patient, case.lesion, case.source) for case in cases(store)}
    assert told == {
        "one.jpg": ("", "", "folder"),
        "two.jpg": ("P-1", "", "folder"),
        "three.jpg": ("P-1", "left arm", "folder"),
        "four.dcm": ("P-0042", "", "folder"),
    }
    assert files(watched.folder) == [
        "done/P-1/left arm/three.jpg",
        "done/P-1/two.jpg",
        "done/four.dcm",
        "done/one.jpg",
    ]
    assert look(store, watched) == Taken(0, 0)


def test_a_folder_of_many_files_is_left_between_two_and_asks_at_each(store: Store, watched: Watched) -> None:
    for number in range(6):
        put(watched, f"{number}.jpg", jpeg(number))
    asked = 0

    def stopped() -> bool:  # which is also how the process is heard of
        nonlocal asked
        asked += 1
        return asked > 6 + 2

    assert take(store, watched, stopped, settled_s=0.0) == Taken(2, 0)
    assert len(files(watched.folder / "done")) == 2
    asked = -100
    assert take(store, watched, stopped, settled_s=0.0) == Taken(4, 0)
    assert asked == -100 + 4 + 4
    put(watched, "7.jpg", jpeg(7))
    asked = 100
    assert take(store, watched, stopped, settled_s=0.0) == Taken(0, 0)


def test_the_same_file_twice_is_one_case_and_neither_copy_is_lost(store: Store, watched: Watched) -> None:
    put(watched, "a.jpg", jpeg())
    assert look(store, watched) == Taken(1, 0)
    put(watched, "a.jpg", jpeg())
    put(watched, "b.jpg", jpeg())
    assert look(store, watched) == Taken(2, 0)
    assert len(cases(store)) == 1
    assert files(watched.folder / "done") == ["a.2.jpg", "a.jpg", "b.jpg"]


def test_a_photograph_of_another_patient_is_put_aside_with_both_in_the_reason(
    store: Store, watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    put(watched, "Muster 1/a.jpg", jpeg())
    put(watched, "Muster 2/a.jpg", jpeg())
    assert look(store, watched) == Taken(1, 1)
    assert [case.patient for case in cases(store)] == ["Muster 1"]
    reason = (watched.folder / "failed" / "Muster 2" / "a.jpg.reason.txt").read_text(encoding="utf-8")
    assert "patient Muster 1" in reason
    assert "patient Muster 2" in reason
    assert "Muster" not in caplog.text
    with reading(store.engine) as session:
        assert session.scalars(select(Conflict.case_id)).all() == [1]


BAD = {
    "Muster 4.txt": (b"hello", "Not a photograph"),
    "Muster 1.jpg": (b"", "empty"),
    "Muster 2.jpg": (jpeg() + bytes(admission.MAX_BYTES), "larger than 100 MiB"),
    "a/b/c/Muster 3.jpg": (jpeg(), "3 folders deep"),
    f"{'p' * 130}/Muster 5.jpg": (jpeg(), "patient of 130 characters"),
    f"{'n' * 240}.jpg": (b"hello", "Not a photograph"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_put_aside_with_the_reason(
    store: Store, watched: Watched, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    data, words = BAD[name]
    put(watched, name, data)
    assert look(store, watched) == Taken(0, 1)
    assert cases(store) == []
    kept, (reason,) = watched.folder / "failed" / name, list(watched.folder.rglob("*.reason.txt"))
    assert kept.read_bytes() == data
    assert reason.parent == kept.parent
    assert words in reason.read_text(encoding="utf-8")
    assert Path(name).stem not in caplog.text  # a name may be a patient's
    assert look(store, watched) == Taken(0, 0)


def test_neither_links_nor_pipes_are_followed(store: Store, watched: Watched, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(jpeg())
    (watched.folder / "link.jpg").symlink_to(secret)
    (watched.folder / "folder").symlink_to(tmp_path)
    os.mkfifo(watched.folder / "pipe.jpg")
    assert look(store, watched) == Taken(0, 3)
    assert cases(store) == []
    assert secret.is_file()


def test_a_file_still_being_written_is_left_alone(store: Store, watched: Watched) -> None:
    data = jpeg()
    path = put(watched, "slow.jpg", data[:500])
    put(watched, "other.jpg.part", data)
    put(watched, ".hidden.jpg", data)
    assert look(store, watched, 0.2) == Taken(0, 0)
    time.sleep(0.25)
    path.write_bytes(data)
    assert look(store, watched, 0.2) == Taken(0, 0)
    time.sleep(0.25)
    assert look(store, watched, 0.2) == Taken(1, 0)
    assert cases(store)[0].sha256
    assert (watched.folder / "done" / "slow.jpg").read_bytes() == data
    assert files(watched.folder) == [".hidden.jpg", "done/slow.jpg", "other.jpg.part"]


def test_a_file_that_is_open_to_write_is_left_alone_however_long(store: Store, watched: Watched) -> None:
    path = put(watched, "slow.jpg", jpeg())
    with path.open("ab"):
        handle = os.open(path, os.O_RDONLY)
        leases = watched_folder._written_by_somebody(handle)
        os.close(handle)
        if not leases:
            pytest.skip("this disk knows no leases")
        assert look(store, watched) == Taken(0, 0)
    assert look(store, watched) == Taken(1, 0)


def test_a_stop_between_keeping_and_moving_doubles_nothing(
    store: Store, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(watched, "a.jpg", jpeg())

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            look(store, watched)
    again = open_folder(watched.folder)
    assert look(store, again) == Taken(1, 0)
    assert len(cases(store)) == 1
    with reading(store.engine) as session:
        assert session.scalars(select(Event.action)).all() == ["received", "received again"]
        assert not verify(session, store.trail).problems


@pytest.mark.parametrize("fault", [OutputError("no space left"), DatabaseError("gone")])
def test_a_fault_that_is_not_the_files_leaves_it_to_be_taken_later(
    store: Store, watched: Watched, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    put(watched, "a.jpg", jpeg())

    def fail(*_: object) -> None:
        raise fault

    with monkeypatch.context() as broken:
        broken.setattr(Pictures, "keep", fail)
        with pytest.raises(type(fault)):
            look(store, watched)
    assert files(watched.folder) == ["a.jpg"]
    assert look(store, watched) == Taken(1, 0)


def test_a_file_that_cannot_be_moved_is_taken_once(
    store: Store, watched: Watched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put(watched, "a.jpg", jpeg())

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "rename", refuse)
        for _ in range(5):
            assert look(store, watched) == Taken(0, 0)
    assert caplog.text.count("Permission denied") == 1
    with reading(store.engine) as session:
        assert session.scalars(select(Event.action)).all() == ["received"]
    watched.stuck.clear()
    assert look(store, watched) == Taken(1, 0)


def test_a_damaged_disk_does_not_keep_the_other_files(
    store: Store, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(watched, "a.jpg", jpeg(1))
    put(watched, "b.jpg", jpeg(2))
    real = watched_folder._read

    def read(path: Path) -> bytes:
        if path.name == "a.jpg":
            raise OSError(5, "Input/output error")
        return real(path)

    monkeypatch.setattr(watched_folder, "_read", read)
    assert look(store, watched) == Taken(1, 0)
    assert files(watched.folder) == ["a.jpg", "done/b.jpg"]


def test_it_goes_on_until_it_is_stopped(
    store: Store, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_folder, "PAUSE_S", 0.05)
    monkeypatch.setattr(watched_folder, "AFTER_FAULT_S", 0.05)
    real, faults = watched_folder.take, [DatabaseError("gone"), OSError(5, "gone")]

    def sometimes(*given: object) -> Taken:
        if faults:
            raise faults.pop()
        return real(*given, settled_s=0.05)  # type: ignore[arg-type]

    monkeypatch.setattr(watched_folder, "take", sometimes)
    stop = threading.Event()
    thread = threading.Thread(target=watch, args=(store, watched, stop.is_set))
    thread.start()
    try:
        put(watched, "a.jpg", jpeg())
        end = time.monotonic() + 20
        while not (watched.folder / "done" / "a.jpg").exists() and time.monotonic() < end:
            time.sleep(0.05)
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()
    assert len(cases(store)) == 1


def test_a_folder_that_cannot_be_watched_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be watched"):
        open_folder(tmp_path / "file")


def test_a_folder_that_cannot_be_read_does_not_keep_the_others(
    store: Store, watched: Watched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put(watched, "Muster 1/a.jpg", jpeg(1))
    put(watched, "Muster 2/b.jpg", jpeg(2))
    scandir = os.scandir

    def refusing(path: Path) -> object:
        if Path(path).name == "Muster 1":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert look(store, watched) == Taken(1, 0)
    assert "Permission denied" in caplog.text
    assert "Muster" not in caplog.text


def test_a_name_that_is_taken_or_too_long_is_moved_under_another(store: Store, watched: Watched) -> None:
    put(watched, "P1", jpeg(1))
    assert look(store, watched) == Taken(1, 0)
    put(watched, "P1/m.jpg", jpeg(2))  # done/P1 is a file
    put(watched, "n" * 251 + ".jpg", jpeg(3))
    assert look(store, watched) == Taken(2, 0)
    put(watched, "n" * 251 + ".jpg", jpeg(4))
    assert look(store, watched) == Taken(1, 0)
    assert len([name for name in files(watched.folder) if name.startswith("done/")]) == 4
    assert [case.patient for case in cases(store)] == ["", "P1", "", ""]
