"""Under a path of another web server every address is right: links, redirects, cookies, scripts, the API."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from bs4 import BeautifulSoup
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from clinic.cases import photograph, screened
from clinic.waiting import free_port, wait_until
from clinic.web_app import FIRST_TOKEN, PASSWORD, client, shown
from dermsentry.clinic.clinic import ServedClinic
from dermsentry.clinic.store.database import writing
from dermsentry.clinic.store.tables import Case, Model
from dermsentry.clinic.web.app import bind, create_app
from dermsentry.clinic.web.root_path import below, checked_root_path
from dermsentry.errors import InputError
from dermsentry.files import plain

ROOT = "/derm"
STATIC = Path(__file__).parents[3] / "src" / "dermsentry" / "clinic" / "web" / "static"
NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port};
    location /derm/ {{
      proxy_pass http://127.0.0.1:{behind}{end};
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
}}
"""


class Proxy:
    """What is below /derm goes to the app, with that path or without; nothing else does."""

    def __init__(self, app: ASGIApp, *, strips: bool) -> None:
        self.app, self.strips = app, strips

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            assert scope["path"].startswith(ROOT), f"{scope['path']} leaves the service's path"
            if self.strips:
                own = scope["path"].removeprefix(ROOT) or "/"
                scope = {**scope, "path": own, "raw_path": own.encode()}
        await self.app(scope, receive, send)


@pytest.fixture
def clinic(clinic: ServedClinic) -> ServedClinic:
    """The clinic, served under a path."""
    return replace(clinic, root_path=ROOT)


@pytest.fixture(params=["stripped", "kept"])
def strips(request: pytest.FixtureRequest) -> bool:
    """Both kinds of proxies."""
    return bool(request.param == "stripped")


@pytest.fixture
def filled(clinic: ServedClinic, draw: Callable[[str], None]) -> list[int]:
    """Cases of every tier, their numbers."""
    with writing(clinic.engine) as session:
        session.add(Model(digest="a" * 64, name="tiny", card=plain(clinic.card)))
        session.flush()
        made = [screened(tier) for tier in ("alert", "refer", "routine", "cannot-say", "unreadable", "")]
        session.add_all(made)
        session.flush()
        for case in made:
            if case.tier not in ("", "unreadable"):
                draw(case.sha256)
        return [case.id for case in made]


def addresses(page: BeautifulSoup) -> set[str]:
    """Every address in a page, of links, pictures, scripts, forms and what htmx asks for."""
    found = set()
    for tag in page.find_all(True):
        for name, value in tag.attrs.items():
            held = name in ("href", "src", "action") or name.startswith(("hx-", "data-"))
            if held and name != "data-key":
                found.add(str(value))
    return {own for own in found if own.startswith("/")}


def signed_in(app: FastAPI, *, strips: bool) -> TestClient:
    """A browser that made the first account, through the proxy."""
    browser = client(Proxy(app, strips=strips))  # type: ignore[arg-type]
    number = shown(browser.get(f"{ROOT}/first-visit")).select_one("input[name=csrf]")
    assert number is not None
    given = {"token": FIRST_TOKEN, "name": "anna", "full_name": "Anna", "password": PASSWORD}
    given |= {"again": PASSWORD, "csrf": str(number["value"])}
    answer = browser.post(f"{ROOT}/first-visit", data=given)
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"].startswith(f"{ROOT}/")
    return browser


def test_everything_that_a_page_leads_to_is_below_the_path(app: FastAPI, filled: list[int]) -> None:
    browser = signed_in(app, strips=False)
    waiting, seen = [f"{ROOT}/", *(f"{ROOT}/cases/{number}" for number in filled)], set()
    while waiting and len(seen) < 400:
        place = waiting.pop(0)
        if place in seen:
            continue
        seen.add(place)
        answer = browser.get(place)
        assert answer.status_code in (200, 204, 303, 307, 405, 409), f"{place} {answer.status_code}"
        if 300 <= answer.status_code < 400:
            waiting.append(answer.headers["location"])
        if not answer.headers.get("content-type", "").startswith("text/html"):
            continue
        page = shown(answer)
        for own in addresses(page):
            assert own.startswith(f"{ROOT}/"), f"{place}: {own}"
            assert not own.startswith(f"{ROOT}{ROOT}"), f"{place}: {own}"
        posts = {str(form["action"]) for form in page.select("form[method=post]") if form.get("action")}
        asked = {str(tag["hx-post"]) for tag in page.select("[hx-post]")}
        beginnings = {own for own in addresses(page) if own.endswith("/") and own != f"{ROOT}/"}  # of tiles
        waiting += sorted(addresses(page) - posts - asked - seen - beginnings)
    for part in ("static/clinic.css", "cases/1/picture/view", "cases/1/fhir", "api/openapi.json", "audit"):
        assert any(own.startswith(f"{ROOT}/{part}") for own in seen), part
    assert len(seen) > 60


def test_cookies_redirects_and_what_programs_are_told(app: FastAPI, filled: list[int], strips: bool) -> None:
    nobody = client(Proxy(app, strips=strips))  # type: ignore[arg-type]
    answer = nobody.get(f"{ROOT}/cases/1?lane=suspicion")
    assert answer.headers["location"] == f"{ROOT}/sign-in?next=%2Fcases%2F1%3Flane%3Dsuspicion"
    browser = signed_in(app, strips=strips)
    assert {cookie.path for cookie in browser.cookies.jar} == {ROOT}
    assert browser.get(f"{ROOT}/api/openapi.json").json()["servers"] == [{"url": ROOT}]
    ended = browser.get(f"{ROOT}/cases/1", headers={"cookie": "", "hx-request": "true"})
    if ended.status_code == 401:
        assert ended.headers["hx-redirect"].startswith(f"{ROOT}/sign-in")
    number = str(shown(browser.get(f"{ROOT}/")).select_one("input[name=csrf]")["value"])  # type: ignore[index]
    out = browser.post(f"{ROOT}/sign-out", data={"csrf": number})
    assert (out.status_code, out.headers["location"]) == (303, f"{ROOT}/sign-in")
    page = shown(browser.get(f"{ROOT}/sign-in", params={"next": f"{ROOT}/cases/1"}))
    given = {str(own["name"]): str(own.get("value", "")) for own in page.select("form input")}
    back = browser.post(f"{ROOT}/sign-in", data={**given, "name": "anna", "password": PASSWORD})
    assert back.headers["location"] == f"{ROOT}/cases/1"


def test_a_photograph_is_uploaded_and_leads_to_its_case(
    app: FastAPI, filled: list[int], strips: bool
) -> None:
    browser = signed_in(app, strips=strips)
    number = str(shown(browser.get(f"{ROOT}/upload")).select_one("input[name=csrf]")["value"])  # type: ignore[index]
    sent = browser.post(
        f"{ROOT}/upload", data={"csrf": number}, files={"photographs": ("a.jpg", photograph(3), "image/jpeg")}
    )
    assert sent.status_code == 200
    assert all(own.startswith(f"{ROOT}/") for own in addresses(shown(sent)))


def test_without_a_path_nothing_changes(built: FastAPI, clinic: ServedClinic) -> None:
    bind(built, replace(clinic, root_path=""))
    page = shown(client(built).get("/first-visit"))
    assert str(page.html["data-root"]) == "/"  # type: ignore[index]
    assert not any(own.startswith(ROOT) for own in addresses(page))


def test_text_of_a_page_is_left_as_it_is(app: FastAPI, clinic: ServedClinic, strips: bool) -> None:
    text = 'href="/cases/1" src="/x" \' action="/y"'
    with writing(clinic.engine) as session:
        session.add(Case(sha256="b" * 64, source="page", format="PNG", patient=text, note=text))
    browser = signed_in(app, strips=strips)
    page = shown(browser.get(f"{ROOT}/cases/1"))
    assert text in page.get_text()


@pytest.mark.parametrize(
    ("page", "made"),
    [
        (b'<a href="/x">', b'<a href="/derm/x">'),
        (b'<a href="/">', b'<a href="/derm/">'),
        (b'<a href="/derm/x">', b'<a href="/derm/x">'),
        (b'<a href="/derm">', b'<a href="/derm">'),
        (b'<a href="/dermal">', b'<a href="/derm/dermal">'),
        (b'<a href="//host/x">', b'<a href="//host/x">'),
        (b'<a href="https://host/x">', b'<a href="https://host/x">'),
        (b'<kbd data-key="/">', b'<kbd data-key="/">'),
        (b'<form data-draft="/cases/1/draft">', b'<form data-draft="/derm/cases/1/draft">'),
        (b'<input value="/x">', b'<input value="/x">'),
    ],
)
def test_addresses_are_put_below_once(page: bytes, made: bytes) -> None:
    assert below(ROOT, page) == made
    assert below(ROOT, made) == made


def test_no_script_holds_an_address_from_the_root() -> None:
    for path in sorted(STATIC.glob("*.js")):
        if path.name.endswith(".min.js"):
            continue
        found = re.findall(r"""["'`]/[a-z][\w/-]*""", path.read_text(encoding="utf-8"))
        assert found == [], f"{path.name}: {found}; begin it with document.documentElement.dataset.root"


def test_a_path_that_cannot_be_one_is_refused(clinic: ServedClinic) -> None:
    right = {"": "", "/": "", "/derm": ROOT, "/derm/": ROOT, "/a/b.c": "/a/b.c"}
    assert {own: checked_root_path(own) for own in right} == right
    for wrong in ("derm", "//host", "/a b", "/../x", "/a/./b", "https://host/derm", "/ä", '/"x'):
        with pytest.raises(InputError, match="expected a path such as /derm"):
            checked_root_path(wrong)
    with pytest.raises(InputError, match="/cases is a page of the service"):
        create_app(replace(clinic, root_path="/cases/derm"))


@contextmanager
def behind_nginx(app: FastAPI, folder: Path, *, strips: bool) -> Iterator[int]:
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("no nginx here")
    behind, port = free_port(), free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=behind, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    named: dict[str, Any] = {"folder": folder, "port": port, "behind": behind, "end": "/" if strips else ""}
    (folder / "nginx.conf").write_text(NGINX.format(**named), encoding="utf-8")
    process = subprocess.Popen([nginx, "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")])
    try:
        wait_until(lambda: server.started and answers(port), 20, "nginx")
        yield port
    finally:
        process.terminate()
        process.wait(10)
        server.should_exit = True
        thread.join(10)


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/derm/health", timeout=2).status_code < 500
    except httpx.HTTPError:
        return False


def test_it_works_behind_nginx(app: FastAPI, filled: list[int], tmp_path: Path, strips: bool) -> None:
    with behind_nginx(app, tmp_path, strips=strips) as port:
        browser = httpx.Client(base_url=f"http://127.0.0.1:{port}", follow_redirects=True, timeout=20)
        browser.headers["accept"] = "text/html"
        page = BeautifulSoup(browser.get("/derm/first-visit").text, "html.parser")
        given = {"token": FIRST_TOKEN, "name": "anna", "full_name": "Anna", "password": PASSWORD}
        given |= {"again": PASSWORD, "csrf": str(page.select_one("input[name=csrf]")["value"])}  # type: ignore[index]
        answer = browser.post("/derm/first-visit", data=given)
        assert answer.status_code == 200
        assert answer.url.path.startswith("/derm/")
        case = BeautifulSoup(browser.get("/derm/cases/1").text, "html.parser")
        for own in sorted(addresses(case)):
            if "picture" in own or "static" in own or own.endswith("/fhir"):
                assert browser.get(own).status_code == 200, own
        browser.close()
