"""Comparing two photographs and looking closely at one: who may, what is shown, what is refused."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import Engine, select

from clinic.cases import photograph
from clinic.web_app import shown, texts
from dermsentry.clinic.clinic import ServedClinic
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.database import reading
from dermsentry.clinic.store.tables import Event
from dermsentry.clinic.worker.looking import KEPT_S, forget_old_looks
from dermsentry.files import write_bytes

Browsers = Callable[..., TestClient]
AddCase = Callable[..., int]


@pytest.fixture
def add(clinic: ServedClinic, add_case: AddCase) -> Callable[..., int]:
    """Makes a case with its photograph: `add(data, patient="P", lesion="A")`."""

    def make(data: bytes, tier: str = "alert", **fields: object) -> int:
        sha256 = clinic.pictures.keep(data)
        for kind in ("view", "thumbnail"):
            write_bytes(clinic.pictures.drawn(sha256, kind), photograph())  # type: ignore[arg-type]
        kind = "PNG" if data.startswith(b"\x89") else "JPEG"
        return add_case(tier, 0.6, sha256=sha256, format=kind, **{"width": 160, "height": 120, **fields})

    return make


def pair(add: Callable[..., int], **fields: object) -> tuple[int, int]:
    data = photograph(1, size=(320, 240))
    again = io.BytesIO()
    Image.open(io.BytesIO(data)).rotate(4, fillcolor=(200, 160, 140)).save(again, "JPEG", quality=90)
    told = {"patient": "P", "lesion": "A", "width": 320, "height": 240, **fields}
    later = add(again.getvalue(), taken="2025-01-01", **told)
    return add(data, taken="2024-01-01", **told), later


def test_two_photographs_are_registered_whichever_is_named_first(
    browser: Browsers, add: Callable[..., int], engine: Engine
) -> None:
    early, late = pair(add)
    anna = browser()
    for path in (f"/cases/{early}/compare/{late}", f"/cases/{late}/compare/{early}"):
        answer = anna.get(path)
        assert answer.status_code == 200
        page = shown(answer)
        over = page.select_one(".over")
        assert over is not None
        assert over["src"] == f"/cases/{early}/compare/{late}/registered"
        assert [own["data-mode"] for own in page.select("button[data-mode]")] == [
            "slider",
            "flicker",
            "beside",
        ]
        assert "Probability of melanoma" in texts(page, ".changes th")
    drawn = anna.get(f"/cases/{early}/compare/{late}/registered")
    assert drawn.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert Image.open(io.BytesIO(drawn.content)).size == (320, 240)
    again = anna.get(
        f"/cases/{early}/compare/{late}/registered", headers={"if-none-match": drawn.headers["etag"]}
    )
    assert again.status_code == 304
    with reading(engine) as session:
        viewed = session.scalars(select(Event.subject).where(Event.action == "viewed")).all()
    assert sorted(viewed) == sorted(f"case {own}" for own in (early, late))


def test_what_cannot_be_registered_is_said_and_shown_beside(
    browser: Browsers, add: Callable[..., int]
) -> None:
    told = {"patient": "P", "lesion": "A"}
    one, other = add(photograph(1), **told), add(photograph(2, "NV"), **told)
    anna = browser()
    answer = anna.get(f"/cases/{one}/compare/{other}")
    assert answer.status_code == 200
    page = shown(answer)
    assert "Could not be registered." in texts(page, ".notice strong")
    assert page.select(".over") == []
    assert "not compared: without a registration the scales are unknown" in texts(page, ".changes td")
    assert anna.get(f"/cases/{one}/compare/{other}/registered").status_code == 404


def test_a_damaged_photograph_is_told_and_other_lesions_are_not_compared(
    browser: Browsers, add: Callable[..., int]
) -> None:
    told = {"patient": "P", "lesion": "A"}
    one = add(photograph(1), **told)
    broken = add(photograph(3)[:900], **told)
    other = add(photograph(4), patient="P", lesion="B")
    anna = browser()
    answer = anna.get(f"/cases/{one}/compare/{broken}")
    assert answer.status_code == 422
    assert "could not be compared" in answer.text
    for wrong in (other, one, 99):
        assert anna.get(f"/cases/{one}/compare/{wrong}").status_code == 404
    assert browser("uploader").get(f"/cases/{one}/compare/{broken}").status_code == 403


@pytest.mark.parametrize("settings", [Settings(silent=True)])
def test_silent_mode_hides_probabilities_when_comparing(browser: Browsers, add: Callable[..., int]) -> None:
    early, late = pair(add)
    assert "Probability" not in browser().get(f"/cases/{early}/compare/{late}").text


def test_the_probability_is_withheld_where_the_model_could_not_assess(
    browser: Browsers, add: Callable[..., int]
) -> None:
    told = {"patient": "P", "lesion": "A"}
    one, other = add(photograph(1), **told), add(photograph(2), "cannot-say", **told)
    page = shown(browser().get(f"/cases/{one}/compare/{other}"))
    assert "withheld: the model could not assess one of them" in texts(page, ".changes td")


def test_a_photograph_is_shown_at_its_original_size_in_tiles(
    browser: Browsers, add: Callable[..., int], clinic: ServedClinic
) -> None:
    case_id = add(photograph(5, size=(1100, 700)), width=1100, height=700, dicom={"spacing": [0.02, 0.02]})
    anna = browser()
    page = shown(anna.get(f"/cases/{case_id}/closely"))
    root = page.select_one("[data-closely]")
    assert root is not None
    assert (root["data-levels"], root["data-spacing"]) == ("3", "0.02")
    tile = anna.get(f"/cases/{case_id}/tiles/2/2_1.jpg")
    assert tile.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(tile.content)).size == (1100 - 1024, 700 - 512)
    mark = {"if-none-match": tile.headers["etag"]}
    assert anna.get(f"/cases/{case_id}/tiles/2/2_1.jpg", headers=mark).status_code == 304
    for wrong in ("2/9_9.jpg", "7/0_0.jpg", "0/..%2f..%2faudit.key", "2/2_1"):
        assert anna.get(f"/cases/{case_id}/tiles/{wrong}").status_code == 404
    uli = browser("uploader")
    assert {uli.get(f"/cases/{case_id}/{own}").status_code for own in ("closely", "tiles/0/0_0.jpg")} == {403}
    kept = list((clinic.pictures.folder / "looks").rglob("*.zip"))
    assert forget_old_looks(clinic.pictures) == 0
    os.utime(kept[0], (time.time() - KEPT_S - 60,) * 2)
    assert forget_old_looks(clinic.pictures) == 1
    assert anna.get(f"/cases/{case_id}/tiles/0/0_0.jpg").status_code == 200  # made again


@pytest.mark.parametrize("spacing", [[], [0.02, 0.05], "0.02"])
def test_without_one_spacing_there_is_no_scale_in_millimetres(
    browser: Browsers, add: Callable[..., int], spacing: object
) -> None:
    case_id = add(photograph(5), dicom={"spacing": spacing})
    answer = browser().get(f"/cases/{case_id}/closely")
    assert answer.status_code == 200
    assert "data-spacing" not in answer.text


def test_what_cannot_be_read_has_no_tiles(browser: Browsers, add: Callable[..., int]) -> None:
    broken = add(photograph(3)[:900])
    unread = add(photograph(6), "unreadable", width=None, height=None)
    anna = browser()
    assert anna.get(f"/cases/{broken}/tiles/0/0_0.jpg").status_code == 404
    assert anna.get(f"/cases/{unread}/closely").status_code == 404
