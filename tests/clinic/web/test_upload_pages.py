"""Photographs sent from a page and by a program: kept, refused, hostile."""

from __future__ import annotations

import errno
import io
import json
import os
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select

from clinic.cases import photograph
from clinic.web_app import shown, texts
from dermsentry.clinic.clinic import ServedClinic
from dermsentry.clinic.intake.admission import MAX_BYTES
from dermsentry.clinic.store.database import DatabaseError, reading, writing
from dermsentry.clinic.store.tables import Case, Conflict, Event, Job, Read, now
from dermsentry.errors import OutputError

Maker = Callable[..., TestClient]
Adder = Callable[..., int]


def cases_of(engine: Engine) -> list[Case]:
    with reading(engine) as session:
        return list(session.scalars(select(Case).order_by(Case.id)))


def test_photographs_become_cases_that_wait(browser: Maker, engine: Engine, clinic: ServedClinic) -> None:
    files = [("photographs", (f"IMG {i}.jpg", photograph(i), "image/jpeg")) for i in range(3)]
    about = {"patient": " P-1 ", "lesion": "A", "site": "back", "note": "grew\r\nfast"}
    answer = browser("uploader").post("/upload", files=files, data=about)
    assert answer.status_code == 200
    assert len(shown(answer).select(".progress .kept")) == 3
    kept = cases_of(engine)
    assert [case.file_name for case in kept] == ["IMG 0.jpg", "IMG 1.jpg", "IMG 2.jpg"]
    assert {(c.patient, c.lesion, c.site, c.note, c.source) for c in kept} == {
        ("P-1", "A", "back", "grew\nfast", "page")
    }
    assert clinic.pictures.original(kept[0].sha256).read_bytes() == photograph(0)
    with reading(engine) as session:
        assert len(session.scalars(select(Job)).all()) == 3
        assert {event.actor for event in session.scalars(select(Event))} == {"uploader"}


def test_a_script_gets_its_answer_in_json(browser: Maker) -> None:
    who = browser("uploader")
    file = {"photographs": ("a.jpg", photograph(), "image/jpeg")}
    first = who.post("/upload", files=file, headers={"accept": "application/json"})
    one = {"file_name": "a.jpg", "case_id": 1, "new": True, "problem": "", "held": None}
    assert first.json() == [one]
    again = who.post("/upload", files=file, headers={"accept": "application/json"})
    assert again.json() == [{**one, "new": False}]


def test_the_same_photograph_for_another_patient_is_held_and_both_are_told(
    program: Maker, browser: Maker, engine: Engine
) -> None:
    files = {"photographs": ("a.jpg", photograph(), "image/jpeg")}
    who = program("uploader")
    assert who.post("/api/cases", files=files, data={"patient": "P-1", "site": "arm"}).status_code == 201
    told = who.post("/api/cases", files=files, data={"patient": "P-2", "site": "arm"})
    assert told.status_code == 409
    assert told.json()["error"] == "conflict"
    [one] = told.json()["photographs"]
    assert (one["case"], one["new"]) == (1, False)
    assert one["held"] == {
        "conflict": 1,
        "kept": {"patient": "P-1", "lesion": "", "site": "arm", "accession": ""},
        "told": {"patient": "P-2", "lesion": "", "site": "arm", "accession": ""},
        "differs": ["patient"],
        "withdrawn": False,
    }
    two = [("photographs", ("a.jpg", photograph())), ("photographs", ("b.jpg", photograph(2)))]
    assert who.post("/api/cases", files=two, data={"patient": "P-2", "site": "arm"}).status_code == 207
    answer = browser("uploader").post("/upload", files=files, data={"patient": "P-2", "site": "arm"})
    assert answer.status_code == 409
    page = shown(answer)
    assert page.select(".progress .kept") == []
    [line] = texts(page, ".progress .held")
    assert "patient P-1" in line
    assert "patient P-2" in line
    assert [field["value"] for field in page.select("[data-about][value]") if field["value"]] == []
    assert [case.patient for case in cases_of(engine)] == ["P-1", "P-2"]
    listed = program("dermatologist").get("/api/conflicts").json()
    assert [(own["case_id"], own["kept"]["patient"], own["told"]["patient"]) for own in listed] == [
        (1, "P-1", "P-2")
    ]


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a", "b" * 1000)
    return buffer.getvalue()


HOSTILE = {
    "empty": b"",
    "text": b"hello",
    "page": b"<html><script>alert(1)</script>",
    "drawing": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
    "animation": b"GIF89a" + b"\0" * 100,
    "archive": archive(),
    "pickle": b"\x80\x04\x95",
    "program": b"\x7fELF" + b"\0" * 100,
    "postscript": b"%!PS-Adobe-3.0\n",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_photograph_is_refused_whatever_its_name_says(
    browser: Maker, program: Maker, engine: Engine, tmp_path: Path, kind: str
) -> None:
    file = {"photographs": ("lesion.jpg", HOSTILE[kind], "image/jpeg")}
    answer = browser("uploader").post("/upload", files=file)
    assert answer.status_code == 422
    assert len(shown(answer).select(".progress .refused")) == 1
    told = program("uploader").post("/api/cases", files=file)
    assert told.status_code == 422
    assert set(told.json()) == {"error", "detail", "request_id", "photographs"}
    assert cases_of(engine) == []
    assert not (tmp_path / "photographs").exists()


def test_one_that_is_too_large_is_refused_and_the_others_are_kept(program: Maker, engine: Engine) -> None:
    files = [
        ("photographs", ("huge.jpg", b"\xff\xd8\xff" + b"\0" * MAX_BYTES, "image/jpeg")),
        ("photographs", ("good.jpg", photograph(), "image/jpeg")),
        ("photographs", ("bad.jpg", b"no", "image/jpeg")),
    ]
    answer = program("uploader").post("/api/cases", files=files)
    assert answer.status_code == 207
    huge, good, bad = answer.json()["photographs"]
    assert (huge["case"], good["case"], bad["case"]) == (None, 1, None)
    assert "100" in huge["problem"]
    assert len(cases_of(engine)) == 1


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "..\\..\\x.jpg",
        "/etc/cron.d/x",
        "a\0b.jpg",
        "x" * 2000,
        "<script>.jpg",
        "\u202egpj.exe",
        "",
    ],
)
def test_a_files_name_is_told_and_never_used(
    browser: Maker, engine: Engine, clinic: ServedClinic, name: str
) -> None:
    body = photograph()
    boundary = "b"
    quoted = name.replace("\0", "%00").replace('"', "%22").encode()
    content = (
        b'--b\r\nContent-Disposition: form-data; name="photographs"; filename="' + quoted + b'"\r\n'
        b"Content-Type: image/jpeg\r\n\r\n" + body + b"\r\n--b--\r\n"
    )
    kind = {"content-type": f"multipart/form-data; boundary={boundary}"}
    answer = browser("uploader").post("/upload", content=content, headers=kind)
    assert "<script>" not in answer.text.replace("<script src=", "")
    kept = cases_of(engine)
    if not name:
        assert len(kept) <= 1
        return
    assert answer.status_code == 200
    assert len(kept[0].file_name) <= 255
    files = [
        path for path in clinic.pictures.folder.rglob("*") if path.is_file() and "photographs" in path.parts
    ]
    assert files == [clinic.pictures.original(kept[0].sha256)]


@pytest.mark.parametrize(
    ("about", "words"),
    [({"patient": "x" * 121}, "121"), ({"note": "x" * 4001}, "4001")],
)
def test_a_text_that_is_too_long_keeps_nothing(
    program: Maker, engine: Engine, about: dict[str, str], words: str
) -> None:
    answer = program("uploader").post("/api/cases", files={"photographs": photograph()}, data=about)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]
    assert cases_of(engine) == []


def test_a_form_without_a_photograph_or_with_wrong_parts_is_told(program: Maker, engine: Engine) -> None:
    who = program("uploader")
    for given in (
        {"data": {"patient": "P"}, "files": {"other": b"x"}},
        {"files": {"photographs": ("a.jpg", photograph()), "patient": ("p.txt", b"P")}},
        {"files": {"photographs": ("a.jpg", photograph())}, "data": {"patient": ["P", "Q"]}},
        {"data": {"photographs": "text"}, "files": {"x": b""}},
        {"json": {"photographs": []}},
        {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
        {"content": b"--b\r\ngarbage", "headers": {"content-type": "multipart/form-data; boundary=b"}},
        {"content": b""},
    ):
        answer = who.post("/api/cases", **given)  # type: ignore[arg-type]
        assert answer.status_code in (400, 422), given
        assert {"error", "detail", "request_id"} <= set(answer.json())
    assert cases_of(engine) == []


def test_too_many_files_at_once_are_told(program: Maker) -> None:
    files = [("photographs", (f"{i}.jpg", b"x")) for i in range(201)]
    answer = program("uploader").post("/api/cases", files=files)
    assert answer.status_code == 400
    assert "200" in answer.json()["detail"]


def test_the_api_tells_new_from_known(program: Maker) -> None:
    who = program("uploader")
    two = [("photographs", ("a.jpg", photograph(1))), ("photographs", ("b.jpg", photograph(2)))]
    assert who.post("/api/cases", files=two).status_code == 201
    again = who.post("/api/cases", files=two)
    assert again.status_code == 200
    assert [one["case"] for one in again.json()["photographs"]] == [1, 2]
    mixed = [*two, ("photographs", ("c.jpg", photograph(3)))]
    assert who.post("/api/cases", files=mixed).status_code == 201


def test_nobody_can_make_the_server_take_a_file_in(
    nobody: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object, **__: object) -> None:
        raise AssertionError("the form of a stranger was read")

    monkeypatch.setattr("starlette.requests.Request.form", read)
    file = {"photographs": photograph()}
    assert nobody.post("/upload", files=file).status_code == 401
    assert nobody.post("/api/cases", files=file).status_code == 401


def test_a_full_disk_is_told_and_keeps_no_case(
    program: Maker, browser: Maker, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    told = program("uploader").post("/api/cases", files={"photographs": photograph()})
    assert told.status_code == 507
    assert told.json()["error"] == "no-space"
    assert "No space left on device" not in json.dumps(told.json())
    page = browser("uploader", "uli").post("/upload", files={"photographs": photograph()})
    assert page.status_code == 507
    assert len(shown(page).select("main code")) == 1
    monkeypatch.undo()
    assert cases_of(engine) == []
    assert program("uploader").post("/api/cases", files={"photographs": photograph()}).status_code == 201


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EIO])
def test_a_missing_permission_is_not_called_a_full_disk(
    program: Maker, browser: Maker, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", refused)
    told = program("uploader").post("/api/cases", files={"photographs": photograph()})
    assert (told.status_code, told.json()["error"]) == (503, "unavailable")
    assert "may not write" in told.json()["detail"]
    page = browser("uploader", "uli").post("/upload", files={"photographs": photograph()})
    assert page.status_code == 503
    assert "no storage space" not in page.text.lower()


def test_a_file_that_is_a_byte_too_large_is_told_without_a_riddle(
    program: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = photograph()
    for module in ("intake.admission", "web.uploads"):
        monkeypatch.setattr(f"dermsentry.clinic.{module}.MAX_BYTES", len(whole) - 1)
    told = program("uploader").post("/api/cases", files={"photographs": whole})
    assert told.status_code == 422
    assert told.json()["detail"] == "The file is larger than 100 MiB, which is the most that is taken."


def test_an_uploader_sees_what_became_of_their_own_alone(
    browser: Maker, engine: Engine, add_case: Adder, draw: Callable[[str], None]
) -> None:
    who = browser("uploader", "uli")
    with reading(engine) as session:
        uli = session.scalars(select(Case.received_by)).first() or 1
    draw("d" * 64)
    own = add_case("alert", 0.9, patient="MINE", sha256="d" * 64, received_by=uli)
    other = add_case("alert", 0.9, patient="THEIRS")
    answer = who.get("/upload/mine")
    assert "MINE" in answer.text
    assert "THEIRS" not in answer.text
    assert "90" not in answer.text  # what the model thinks is for dermatologists
    [became] = texts(shown(answer), ".became")
    assert who.get(f"/upload/mine/{own}/thumbnail").headers["content-type"] == "image/jpeg"
    assert who.get(f"/upload/mine/{other}/thumbnail").status_code == 404
    with writing(engine) as session:
        session.add(Read(case_id=own, account_id=uli, position=1, diagnosis="", action="retake"))
        session.get_one(Case, own).stage = "decided"
    again = shown(who.get("/upload/mine"))
    assert len(again.select(".became .warn")) == 1
    assert texts(again, ".became") != [became]
    part = add_case("routine", 0.02, patient="MINE", received_by=uli, lane="part", part_of=own)
    both = shown(who.get("/upload/mine"))
    assert len(both.select(".became .warn")) == 2, part  # what is decided on a case is said of all of it


@pytest.mark.parametrize("error", [OutputError, DatabaseError])
def test_what_was_kept_before_a_fault_is_not_denied(
    browser: Maker, engine: Engine, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    from dermsentry.clinic.intake.admission import receive
    from dermsentry.clinic.web import uploads

    def failing(*given: Any, **told: Any) -> Any:
        if cases_of(engine):
            raise error("Cannot write: gone.")
        return receive(*given, **told)

    monkeypatch.setattr(uploads, "receive", failing)
    files = [("photographs", (f"{i}.jpg", photograph(i), "image/jpeg")) for i in range(2)]
    answer = browser("uploader").post("/upload", files=files)
    assert answer.status_code in (503, 507)
    assert len(cases_of(engine)) == 1


def test_a_held_upload_stays_among_the_recent_ones_until_some_days_after_it_was_settled(
    browser: Maker, engine: Engine
) -> None:
    uli, other, chief = browser("uploader", "uli"), browser("uploader", "olga"), browser("administrator")
    file = {"photographs": ("nevus.jpg", photograph(), "image/jpeg")}
    other.post("/upload", files=file, data={"patient": "P-1"})
    assert texts(shown(uli.get("/upload")), "#mine .held li") == []
    assert len(shown(uli.get("/upload")).select("#mine .empty")) == 1
    uli.post("/upload", files=file, data={"patient": "P-2", "lesion": "A"})
    for path in ("/upload", "/upload/mine"):
        [line] = texts(shown(uli.get(path)), ".mine.held li")
        for part in ("nevus.jpg", "P-2", "Held:", "Case 1", "A person must decide."):
            assert part in line
        assert "P-1" not in line  # whose it is already is for those who see cases
    assert shown(uli.get("/upload")).select("#mine .empty") == []
    assert texts(shown(other.get("/upload")), ".mine.held li") == []
    settled = {"resolution": "kept", "reason": "P-2 was a slip"}
    assert chief.post("/conflicts/1", data=settled).status_code == 303
    [line] = texts(shown(uli.get("/upload")), ".mine.held li")
    assert "the case stays as it was" in line
    with writing(engine) as session:
        session.get_one(Conflict, 1).resolved_at = now() - timedelta(days=8)
    assert texts(shown(uli.get("/upload")), ".mine.held li") == []
