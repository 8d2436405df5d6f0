"""A case's page: what it shows to whom, deciding, undoing, two readers, its pictures."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, event, func, select, update

from clinic.cases import photograph, reread
from clinic.web_app import shown, texts
from dermsentry.clinic.clinic import ServedClinic
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import Alert, Case, Event, Model, Read, SignIn, now
from dermsentry.clinic.worker.worker import register
from dermsentry.diagnoses import DIAGNOSES

Maker = Callable[..., TestClient]
Adder = Callable[..., int]
YES = {"agrees": "yes", "diagnosis": "MEL", "action": "biopsy", "note": "ulcerated"}


def stage(engine: Engine, number: int) -> str:
    with reading(engine) as session:
        return session.get_one(Case, number).stage


def test_a_case_shows_what_the_model_found_with_its_operating_point(browser: Maker, add_case: Adder) -> None:
    number = add_case("alert", 0.7, patient="P-1", lesion="A", site="back", note="grew")
    page = shown(browser().get(f"/cases/{number}"))
    assert sorted(texts(page, ".chances tbody th")) == sorted(diagnosis.name for diagnosis in DIAGNOSES)
    assert texts(page, ".chances tr.melanoma .number") == ["70.0 %"]
    assert [cut["x"] for cut in page.select("tr.melanoma .cut")] == ["49.75", "19.75"]
    assert re.findall(r"[\d.]+ %", *texts(page, ".cuts")) == ["50.0 %", "20.0 %"]
    assert len(page.select(".facts .is-good")) == 3  # a lesion, like those learned from, of good quality
    assert len(page.select(f".facts a[href='/models/{'a' * 64}']")) == 1
    assert page.select(".history q") == []
    assert texts(page, ".about b") == ["P-1", "A", "back"]
    assert "grew" in page.select_one(".note").get_text()


@pytest.mark.parametrize(
    ("tier", "melanoma"), [("alert", 0.5), ("refer", 0.4999), ("refer", 0.2), ("routine", 0.19996)]
)
def test_no_probability_prints_on_the_wrong_side_of_a_threshold(
    browser: Maker, add_case: Adder, tier: str, melanoma: float
) -> None:
    number = add_case(tier, melanoma)
    who = browser()
    for path in (f"/cases/{number}", f"/cases/{number}/print"):
        page = shown(who.get(path))
        [value] = texts(page, "tr.melanoma .number")
        alert, refer = (float(own) for own in re.findall(r"([\d.]+) %", *texts(page, ".cuts")))
        told = float(value.removesuffix(" %"))
        assert ("alert" if told >= alert else "refer" if told >= refer else "routine") == tier
    [listed] = texts(shown(who.get("/")), ".cases .chance")
    told = float(listed.removeprefix("melanoma ").removesuffix(" %"))
    assert ("alert" if told >= 50 else "refer" if told >= 20 else "routine") == tier


def test_what_the_model_could_not_judge_never_looks_like_a_clean_bill(
    browser: Maker, add_case: Adder
) -> None:
    number = add_case("cannot-say", 0.01, no_lesion=0.8)
    page = shown(browser().get(f"/cases/{number}"))
    assert len(page.select(".finding .notice")) == 1
    assert len(page.select(".facts .is-bad")) == 1
    assert page.select("[name=agrees]") == []  # there is nothing to agree with
    assert len(page.select(".chances")) == len(page.select("details:not([open]) .chances")) == 1
    broken = shown(browser().get(f"/cases/{add_case('unreadable', None)}"))
    assert "Drawn for a test" in broken.select_one(".stage.none").get_text()
    assert broken.select(".chances, .viewer img") == []


def test_a_case_that_waits_renews_itself_and_cannot_be_decided(browser: Maker, add_case: Adder) -> None:
    number = add_case("", None)
    who = browser()
    page = shown(who.get(f"/cases/{number}"))
    assert len(page.select(f"[hx-get='/cases/{number}/waiting'][hx-trigger]")) == 1
    assert page.select("[name=diagnosis]") == []
    told = who.get(f"/cases/{number}/waiting")
    assert (told.status_code, "hx-refresh" in told.headers) == (204, False)
    done = who.get(f"/cases/{add_case('alert', 0.9)}/waiting")
    assert done.headers["hx-refresh"] == "true"
    assert who.post(f"/cases/{number}/decision", data=YES).status_code == 409


def test_deciding_keeps_acknowledges_and_goes_on(browser: Maker, add_case: Adder, engine: Engine) -> None:
    first, second = add_case("alert", 0.9), add_case("alert", 0.8)
    with writing(engine) as session:
        session.add(Alert(case_id=first, rule="melanoma suspected"))
    who = browser()
    answer = who.post(f"/cases/{first}/decision?lane=suspicion", data=YES)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"/cases/{second}?lane=suspicion&done=")
    page = shown(who.get(answer.headers["location"]))
    assert len(page.select(f".banner a[href^='/cases/{first}?']")) == 1
    assert len(page.select(f".banner form[action^='/cases/{first}/decision/1/undo']")) == 1
    last = who.post(f"/cases/{second}/decision?lane=suspicion", data=YES)
    assert last.headers["location"].startswith("/?lane=suspicion&done=")
    with reading(engine) as session:
        assert session.scalars(select(Alert.acknowledged_at)).one() is not None
        read = session.scalars(select(Read).order_by(Read.id)).first()
        assert read is not None
        assert (read.diagnosis, read.action, read.agrees, read.note) == ("MEL", "biopsy", True, "ulcerated")
    assert stage(engine, first) == "decided"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"agrees": ""}, "agree"),
        ({"diagnosis": "WART"}, "WART"),
        ({"action": ""}, "action"),
        ({"action": "burn"}, "burn"),
    ],
)
def test_a_decision_that_makes_no_sense_is_told_and_what_was_typed_stays(
    browser: Maker, add_case: Adder, engine: Engine, wrong: dict[str, str], words: str
) -> None:
    number = add_case("alert", 0.9)
    answer = browser().post(f"/cases/{number}/decision", data=YES | wrong)
    assert answer.status_code == 422
    page = shown(answer)
    assert words in page.select_one(".problem").get_text()
    assert texts(page, "#note") == ["ulcerated"]
    assert stage(engine, number) == "unread"


@pytest.mark.parametrize(
    ("tier", "most", "implied"),
    [
        ("alert", "MEL", "MEL"),
        ("alert", "NV", ""),
        ("alert", "BCC", ""),
        ("refer", "BCC", "BCC"),
        ("refer", "MEL", "MEL"),
        ("refer", "NV", ""),
        ("routine", "NV", "NV"),
        ("routine", "AK", ""),
        ("cannot-say", "MEL", ""),
    ],
)
def test_agreeing_is_with_the_tier_and_never_files_an_alert_as_something_else(
    browser: Maker, add_case: Adder, engine: Engine, tier: str, most: str, implied: str
) -> None:
    number = add_case(tier, 0.3)
    with writing(engine) as session:
        case = session.get_one(Case, number)
        shares = dict.fromkeys(case.finding["probabilities"], 0.01) | {"MEL": 0.3, most: 0.6}
        case.finding = case.finding | {"probabilities": shares}
    form = shown(browser().get(f"/cases/{number}")).select_one("form[data-decide]")
    assert form["data-agreed"] == implied
    legends = texts(form, "fieldset.inline legend")
    assert ("alert" in legends[0]) is (tier == "alert")
    assert form.select("[checked]") == []


def test_a_contradiction_is_asked_once_and_only_what_was_asked_is_confirmed(
    browser: Maker, program: Maker, add_case: Adder, engine: Engine
) -> None:
    number, who = add_case("alert", 0.9), browser()
    odd = {**YES, "diagnosis": "NV", "action": "discharge"}
    answer = who.post(f"/cases/{number}/decision", data=odd)
    assert answer.status_code == 422
    page = shown(answer)
    assert "You agree with the melanoma alert, and discharge" in page.select_one("#contradiction").get_text()
    assert texts(page, "#note") == ["ulcerated"]
    assert [own["value"] for own in page.select("form[data-decide] [checked]")] == ["yes", "NV", "discharge"]
    assert page.select("form[data-decide] [data-key=s]") == []  # no single key saves it all the same
    confirmed = page.select_one("[name=confirmed]")["value"]
    other = {**odd, "diagnosis": "MEL", "confirmed": confirmed}
    assert who.post(f"/cases/{number}/decision", data=other).status_code == 422
    assert stage(engine, number) == "unread"
    assert who.post(f"/cases/{number}/decision", data=odd | {"confirmed": confirmed}).status_code == 303
    assert stage(engine, number) == "decided"
    second = add_case("alert", 0.9)
    decision = {"agrees": True, "diagnosis": "MEL", "action": "discharge"}
    told = program("dermatologist").post(f"/api/cases/{second}/decisions", json=decision)
    assert (told.status_code, "confirm it" in told.json()["detail"]) == (422, True)
    sure = decision | {"confirmed": True}
    assert program("dermatologist").post(f"/api/cases/{second}/decisions", json=sure).status_code == 201


def test_a_melanoma_in_words_is_asked_about_once_on_the_page_and_by_the_api(
    browser: Maker, program: Maker, add_case: Adder, engine: Engine
) -> None:
    number, who = add_case("alert", 0.9), browser()
    odd = {"agrees": "no", "diagnosis": "", "action": "discharge", "note": ""}
    odd |= {"other": "<b>amelanotic</b> melanoma", "other_code": "ICD-O 8730/3"}
    page = shown(who.post(f"/cases/{number}/decision", data=odd))
    asked = page.select_one("#contradiction").get_text()
    assert "You diagnose <b>amelanotic</b> melanoma, and discharge the case." in asked
    assert "do not agree with the melanoma alert, and diagnose melanoma" in asked
    odd["confirmed"] = page.select_one("[name=confirmed]")["value"]
    # Another diagnosis than the one that was asked about is asked about anew.
    assert who.post(f"/cases/{number}/decision", data=odd | {"other": "melanoma"}).status_code == 422
    assert stage(engine, number) == "unread"
    assert who.post(f"/cases/{number}/decision", data=odd).status_code == 303
    longest = {**odd, "other": "melanoma " * 13, "other_code": "SNOMED 372244006"}
    second = f"/cases/{add_case('alert', 0.9)}/decision"
    confirmed = shown(who.post(second, data=longest)).select_one("[name=confirmed]")["value"]
    assert who.post(second, data=longest | {"confirmed": confirmed}).status_code == 303
    third = f"/api/cases/{add_case('alert', 0.9)}/decisions"
    told = {"agrees": False, "diagnosis": "", "action": "discharge", "other": "amelanotic melanoma"}
    refused = program("dermatologist").post(third, json=told)
    assert (refused.status_code, "confirm it" in refused.json()["detail"]) == (422, True)
    assert program("dermatologist").post(third, json=told | {"confirmed": True}).status_code == 201


def test_a_decision_is_amended_from_its_page_and_reports_follow(
    browser: Maker, program: Maker, add_case: Adder, engine: Engine
) -> None:
    number, anna = add_case("alert", 0.9), browser("dermatologist", "anna")
    address = f"/cases/{number}"
    anna.post(f"{address}/decision", data=YES)
    anna.get(f"{address}/fhir")
    page = shown(anna.get(address))
    form = page.select_one(f"form[action^='{address}/amendment']")
    assert [own["value"] for own in form.select("[checked]")] == ["yes", "MEL", "biopsy"]
    assert form.select("[data-key]") == []
    other = shown(browser("dermatologist", "bea").get(address))
    assert other.select(f"form[action^='{address}/amendment']") == []
    change = {**YES, "agrees": "no", "diagnosis": "NV", "action": "follow-up", "reason": ""}
    wrong = anna.post(f"{address}/amendment", data=change)
    assert wrong.status_code == 422
    page = shown(wrong)
    assert len(page.select("details.amend[open]")) == 1
    assert [own["value"] for own in page.select("details.amend [checked]")] == ["no", "NV", "follow-up"]
    assert anna.post(f"{address}/amendment", data=change | {"reason": "seen again"}).status_code == 303
    page = shown(anna.get(address))
    assert texts(page, ".history li strong") == ["melanoma", "nevus"]
    assert "Amended since." in texts(page, ".history li")[-2]
    assert texts(page, ".history q")[-1] == "seen again"
    assert "FHIR" in page.select_one(".notice:not(.synthetic)").get_text()
    report = anna.get(f"{address}/fhir").json()["entry"][0]["resource"]
    assert report["status"] == "amended"
    assert {coding["code"] for coding in report["conclusionCode"][0]["coding"]} == {"NV"}
    with reading(engine) as session:
        last = session.scalar(select(func.max(Read.id)))
    told = {"agrees": False, "diagnosis": "SK", "action": "follow-up", "reason": "histology"}
    told["instead_of"] = last
    refused = program("dermatologist").post(f"/api{address}/amendments", json=told)
    assert (refused.status_code, refused.json()["error"]) == (409, "not-now")
    made = program("administrator").post(f"/api{address}/amendments", json=told).json()
    assert (made["position"], made["reason"]) == (4, "histology")


def test_what_was_decided_meanwhile_is_not_decided_again(
    browser: Maker, add_case: Adder, engine: Engine
) -> None:
    number = add_case("alert", 0.9)
    anna, bea = browser("dermatologist", "anna"), browser("dermatologist", "bea")
    assert anna.post(f"/cases/{number}/decision", data=YES).status_code == 303
    answer = bea.post(f"/cases/{number}/decision", data=YES | {"diagnosis": "NV"})
    assert answer.status_code == 409
    assert len(shown(answer).select(".decide .problem")) == 1
    with reading(engine) as session:
        assert session.scalars(select(Read.diagnosis)).all() == ["MEL"]


def test_undoing_brings_the_case_back_within_the_session_and_for_its_author(
    browser: Maker, add_case: Adder, engine: Engine
) -> None:
    number = add_case("alert", 0.9)
    anna, bea = browser("dermatologist", "anna"), browser("dermatologist", "bea")
    anna.post(f"/cases/{number}/decision", data=YES)
    undo = "form[action*='/undo']"
    assert len(shown(anna.get(f"/cases/{number}")).select(undo)) == 1
    assert shown(bea.get(f"/cases/{number}?done=1")).select(undo) == []
    assert bea.post(f"/cases/{number}/decision/1/undo").status_code == 409
    assert anna.post(f"/cases/{number + 1}/decision/1/undo").status_code == 404
    assert anna.post(f"/cases/{number}/decision/99/undo").status_code == 404
    answer = anna.post(f"/cases/{number}/decision/1/undo?lane=suspicion")
    assert answer.headers["location"] == f"/cases/{number}?lane=suspicion"
    assert stage(engine, number) == "unread"
    assert anna.post(f"/cases/{number}/decision/1/undo").status_code == 409
    anna.post(f"/cases/{number}/decision", data=YES)
    with writing(engine) as session:
        session.execute(update(SignIn).values(created_at=now() + timedelta(seconds=5)))
    assert shown(anna.get(f"/cases/{number}?done=2")).select(undo) == []
    assert anna.post(f"/cases/{number}/decision/2/undo").status_code == 409
    with reading(engine) as session:
        actions = session.scalars(select(Event.action).order_by(Event.id)).all()
    assert [a for a in actions if "read" in a] == ["read", "read undone", "read"]


@pytest.mark.parametrize("settings", [Settings(readers=2)])
def test_the_second_reader_is_blind_to_the_first_and_the_third_sees_both(
    browser: Maker, program: Maker, add_case: Adder, engine: Engine, settings: Settings
) -> None:
    number = add_case("alert", 0.9)
    anna, bea, cleo = (browser("dermatologist", name) for name in ("anna", "bea", "cleo"))
    anna.post(f"/cases/{number}/decision", data=YES | {"note": "SECRET-NOTE", "diagnosis": "DF"})
    for path in ("", "/print"):
        answer = bea.get(f"/cases/{number}{path}")
        assert "SECRET-NOTE" not in answer.text
        assert shown(answer).select(".history strong, .history q") == []
        assert "Anna" not in shown(answer).select_one(".history").get_text()
    told = program("dermatologist", name="bea").get(f"/api/cases/{number}/decisions")
    assert told.json() == []
    assert shown(anna.get(f"/cases/{number}")).select("[name=diagnosis]") == []
    assert anna.post(f"/cases/{number}/decision", data=YES).status_code == 409
    bea.post(f"/cases/{number}/decision", data=YES)
    assert stage(engine, number) == "adjudication"
    assert "SECRET-NOTE" not in bea.get(f"/cases/{number}").text
    page = shown(cleo.get(f"/cases/{number}"))
    assert texts(page, ".history strong") == ["dermatofibroma", "melanoma"]
    assert texts(page, ".history q") == ["SECRET-NOTE", "ulcerated"]
    cleo.post(f"/cases/{number}/decision", data=YES)
    assert stage(engine, number) == "decided"
    for who in (anna, bea):
        assert "SECRET-NOTE" in who.get(f"/cases/{number}").text


def test_photographs_of_the_lesion_are_below_it(browser: Maker, add_case: Adder) -> None:
    days = [now() - timedelta(days=d) for d in (30, 20, 10, 0)]
    first, second, other, this = (
        add_case("refer", 0.3, patient="P-1", lesion=lesion, received_at=day)
        for lesion, day in zip(("A", "A", "B", "A"), days, strict=True)
    )
    add_case("refer", 0.3, patient="P-2", lesion="A", received_at=days[0])
    page = shown(browser().get(f"/cases/{this}"))
    links = [link["href"] for link in page.select(".over-time .of-day a")]
    assert links == [f"/cases/{own}" for own in (first, second, this)]
    assert [link["href"] for link in page.select(".over-time .this a")] == [f"/cases/{this}"]
    assert page.select(f"a[href='/cases/{other}']") == []


def test_pictures_are_drawn_ones_with_safe_headers(
    browser: Maker, add_case: Adder, draw: Callable[[str], None], clinic: ServedClinic
) -> None:
    draw("c" * 64)
    number, bare = add_case("alert", 0.9, sha256="c" * 64), add_case("alert", 0.9)
    who = browser()
    for kind, media in (("view", "image/jpeg"), ("thumbnail", "image/jpeg"), ("saliency", "image/png")):
        answer = who.get(f"/cases/{number}/picture/{kind}")
        assert answer.headers["content-type"] == media
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "private, no-cache"
        again = who.get(f"/cases/{number}/picture/{kind}", headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert who.get(f"/cases/{bare}/picture/{kind}").status_code == 404
    for wrong in ("original", "..%2f..%2fclinic.sqlite", "view.jpg"):
        assert who.get(f"/cases/{number}/picture/{wrong}").status_code in (404, 422)


def test_no_address_serves_a_file_as_it_came(
    browser: Maker, program: Maker, clinic: ServedClinic, add_case: Adder
) -> None:
    sha256 = clinic.pictures.keep(photograph())
    number = add_case("alert", 0.9, sha256=sha256)
    who, caller = browser("administrator"), program()
    for path in (f"/cases/{number}", f"/cases/{number}/print", f"/cases/{number}/picture/view"):
        assert photograph() not in who.get(path).content
    assert photograph() not in caller.get(f"/api/cases/{number}/picture/view").content


@pytest.mark.parametrize(
    "number", ["0", "-1", "999", "2147483648", "99999999999999999999", "x", "1.5", "%00"]
)
def test_a_case_that_is_none_is_told(browser: Maker, number: str) -> None:
    who = browser()
    for path in (f"/cases/{number}", f"/cases/{number}/print", f"/cases/{number}/picture/view"):
        answer = who.get(path)
        assert answer.status_code in (404, 422)
        assert len(shown(answer).select("main a[href='/']")) == 1
    assert who.post(f"/cases/{number}/decision", data=YES).status_code in (404, 422)


def test_the_models_card_is_one_click_away(browser: Maker, clinic: ServedClinic, engine: Engine) -> None:
    who = browser()
    page = shown(who.get(f"/models/{clinic.card.digest}"))
    assert "tiny" in page.select_one("h1").get_text()
    assert page.select(".prose table")
    with writing(engine) as session:
        register(session, clinic.card)
        kept = session.get_one(Model, clinic.card.digest)
        session.add(
            Model(digest="b" * 64, name="older", card=kept.card | {"name": "<b>older</b> ![x](//e.x/y)"})
        )
        session.add(Model(digest="e" * 64, name="broken", card={"name": "broken"}))
    older = shown(who.get(f"/models/{'b' * 64}"))
    assert "<b>older</b>" in older.select_one("h1").get_text()
    assert older.select("main img") == []
    assert who.get(f"/models/{'e' * 64}").status_code == 503
    assert who.get("/models/nothing").status_code == 404


def test_the_page_for_paper_says_that_nobody_has_decided(browser: Maker, add_case: Adder) -> None:
    number = add_case("alert", 0.9, patient="P-1")
    who = browser()
    preliminary = "Preliminary: no dermatologist has decided this case yet."
    assert texts(shown(who.get(f"/cases/{number}/print")), ".outcome strong") == [preliminary]
    who.post(f"/cases/{number}/decision", data=YES)
    page = shown(who.get(f"/cases/{number}/print"))
    assert preliminary not in page.text
    assert texts(page, ".history strong") == ["melanoma"]


def test_a_part_of_a_picture_is_the_whole(
    browser: Maker, add_case: Adder, draw: Callable[[str], None]
) -> None:
    draw("c" * 64)
    who = browser("dermatologist")
    address = f"/cases/{add_case('alert', 0.9, sha256='c' * 64)}/picture/view"
    whole = who.get(address)
    for part in ("bytes=0-1", "bytes=999999999-", "bytes=a-b"):
        answer = who.get(address, headers={"range": part})
        assert (answer.status_code, answer.content) == (200, whole.content)


@pytest.mark.parametrize("settings", [Settings(readers=2)])
def test_an_administrator_who_reads_second_is_blind_on_the_audit_page_too(
    browser: Maker, add_case: Adder, settings: Settings
) -> None:
    number = add_case("alert", 0.9)
    anna, bea, chief = (
        browser("dermatologist", "anna"),
        browser("dermatologist", "bea"),
        browser("administrator"),
    )
    anna.post(f"/cases/{number}/decision", data=YES | {"diagnosis": "DF"})
    address = f"/audit?subject={number}&action=read"
    events = ".events tbody tr"
    page = shown(chief.get(address))
    assert texts(page, f"{events} td:nth-child(3)") == ["anna"]
    assert "DF" not in page.select_one(f"{events} .detail").get_text()
    bea.post(f"/cases/{number}/decision", data=YES | {"diagnosis": "DF"})
    assert sum("diagnosis DF" in told for told in texts(shown(chief.get(address)), f"{events} .detail")) == 2


def test_an_alert_on_an_unlike_lesion_says_so_and_stays_an_alert(browser: Maker, add_case: Adder) -> None:
    number = add_case("alert", 0.67, out_of_distribution=0.8)
    page = shown(browser().get(f"/cases/{number}"))
    assert page.select(".finding .notice") == []
    [said] = [own.get_text() for own in page.select(".facts .is-bad")]
    assert "unlike the lesions in the model's training images" in said
    assert page.select("details .chances") == []


@pytest.mark.parametrize("diagnosis", ["a\nb", "XXX", "<b>"])
def test_a_diagnosis_that_is_none_is_shown_again_and_not_kept(
    browser: Maker, add_case: Adder, engine: Engine, diagnosis: str
) -> None:
    number, who = add_case("alert", 0.9), browser()
    data = {"agrees": "yes", "diagnosis": diagnosis, "action": "biopsy"}
    for path in ("decision", "amendment"):
        assert who.post(f"/cases/{number}/{path}", data=data).status_code in (409, 422)
    assert who.post(f"/cases/{number}/decision", data=data | {"diagnosis": "MEL"}).status_code == 303
    for path in ("decision", "amendment"):
        assert who.post(f"/cases/{number}/{path}", data=data | {"reason": "why"}).status_code in (409, 422)
    assert stage(engine, number) == "decided"


def test_a_printed_case_begins_with_the_decision(browser: Maker, add_case: Adder, engine: Engine) -> None:
    number, who = add_case("alert", 0.9), browser()
    page = shown(who.get(f"/cases/{number}/print"))
    assert texts(page, ".outcome p") == ["Preliminary: no dermatologist has decided this case yet."]
    data = {"agrees": "yes", "diagnosis": "MEL", "action": "biopsy", "note": "ulcerated"}
    assert who.post(f"/cases/{number}/decision", data=data).status_code == 303
    page = shown(who.get(f"/cases/{number}/print"))
    [told] = texts(page, ".outcome p")
    assert told.startswith("Melanoma, biopsy. Dermatologist, ")
    assert "ulcerated" in told
    sections = [str(own.get("class")) for own in page.select("main section, main .pictures")]
    assert "outcome" in sections[0]


def test_a_case_asks_the_database_as_often_however_many_photographs_it_shows(
    browser: Maker, add_case: Adder, engine: Engine
) -> None:
    number, who = add_case("alert", 0.7, patient="P-1", lesion="L1"), browser()
    asked: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))

    def selects() -> int:
        asked.clear()
        assert who.get(f"/cases/{number}").status_code == 200
        return len([text for text in asked if text.startswith("SELECT")])

    selects()  # notes the view, which is looked up from then on
    alone = selects()
    for _ in range(20):
        add_case("alert", 0.7, patient="P-1", lesion="L1")
    assert selects() == alone <= 27


def test_a_photograph_that_joined_since_the_page_was_opened_is_shown_before_it_is_decided(
    browser: Maker, add_case: Adder, engine: Engine
) -> None:
    lead = add_case("alert", 0.9)
    first = add_case("routine", 0.05, lane="part", part_of=lead)
    who = browser()
    sent = shown(who.get(f"/cases/{lead}")).select_one(".decide [name=parts]")["value"]
    assert sent == str(first)
    second = add_case("routine", 0.05, lane="part", part_of=lead)
    answer = who.post(f"/cases/{lead}/decision", data=YES | {"parts": sent})
    assert answer.status_code == 409
    page = shown(answer)
    assert f"({second})" in page.select_one(".problem").get_text()
    assert page.select_one(".decide [name=note]").get_text().strip() == YES["note"]
    again = YES | {"parts": page.select_one(".decide [name=parts]")["value"]}
    assert who.post(f"/cases/{lead}/decision", data=again).status_code == 303
    assert stage(engine, lead) == "decided"


def test_photographs_of_a_day_that_came_apart_are_made_one_case(
    browser: Maker, add_case: Adder, engine: Engine
) -> None:
    first, second, other = (
        add_case("refer", melanoma, patient="P-1", lesion=lesion)
        for melanoma, lesion in ((0.2, "L1"), (0.1, "L1"), (0.1, "L2"))
    )
    who = browser()
    button = "form[action^='/cases/{}/alone'] button"
    assert not shown(who.get(f"/cases/{other}")).select(button.format(other))
    assert shown(who.get(f"/cases/{second}")).select(button.format(second))
    answer = who.post(f"/cases/{second}/alone", data={"alone": "no"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/cases/{first}?lane=suspicion")
    assert reread(engine, second).part_of == first
    assert not shown(who.get(f"/cases/{first}")).select(button.format(first))
    assert who.post(f"/cases/{first}/alone", data={"alone": "yes"}).status_code == 409
    assert who.post(f"/cases/{second}/alone", data={"alone": "yes"}).status_code == 303
    assert not shown(who.get(f"/cases/{first}")).select(button.format(first))  # a person took it out
    assert "Put it back" in shown(who.get(f"/cases/{second}")).text
