"""Inputs bent at random, to every way in: each is answered, none with a fault, and the service goes on.

`DERMSENTRY_MUTATIONS=10000` for a campaign; a few hundred otherwise. The same seed gives the same inputs.
Those of C-STORE and of the screening process are in siblings of theirs.
"""

from __future__ import annotations

import json
import logging
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from clinic.bending import MUTATIONS, SEED, Bend
from clinic.cases import photograph
from clinic.dicom_files import dicom_bytes
from clinic.web_app import all_routes
from dermsentry.clinic.clinic import ServedClinic
from dermsentry.clinic.intake.watched_folder import open_folder, take

CSV = b"case,diagnosis,method,patient\n1,MEL,histology,P-1\n2,NV,follow-up,P-2\n"


FIELDS = (
    "agrees", "diagnosis", "action", "note", "reason", "confirmed", "patient", "lesion", "site", "accession",
    "resolution", "method", "case", "name", "full_name", "role", "password", "label", "scopes", "days",
    "sensitivity", "confidence", "tier", "search", "since", "until", "lane", "after", "limit", "before",
    "sort", "language",
)  # fmt: skip
FILES: tuple[Callable[[int], bytes], ...] = (
    lambda seed: photograph(seed % 5),
    lambda seed: photograph(seed % 5, kind="PNG"),
    lambda seed: dicom_bytes(seed % 5),
    lambda seed: CSV,
)


KEPT_OUT = ("sign-out", "password", "accounts", "revoke", "second-factor", "sign-in", "first-visit")
"""Of paths: what would end the session or the account that the inputs are sent with."""


def ways(
    bend: Bend, chief: TestClient, person: TestClient, clinic: ServedClinic, folder: Path
) -> Iterator[tuple[str, str]]:
    """One input after the other, each given in; what became of it, and where it was given in."""
    watched = open_folder(folder)
    routes = [own for own in all_routes() if not any(word in own[1] for word in KEPT_OUT)]
    originals = [make(seed) for seed in range(5) for make in FILES]
    while True:
        kind = bend.chance.randrange(6)
        data = bend.data(bend.chance.choice(originals))
        if kind == 0:
            told = bend.fields(("patient", "lesion", "site", "accession", "note"))
            files = {"photographs": ("a.jpg", data)}
            yield f"upload {chief.post('/api/cases', files=files, data=told).status_code}", "/api/cases"
        elif kind == 1:
            (folder / f"{bend.chance.randrange(10**9)}.jpg").write_bytes(data)
            taken = take(clinic, watched, settled_s=0)
            assert taken.done + taken.failed == 1
            yield f"folder {'taken' if taken.done else 'failed'}", ""
        elif kind == 2:
            files = {"file": ("outcomes.csv", bend.data(CSV)), "table": ("outcomes.csv", bend.data(CSV))}
            yield f"csv {person.post('/outcomes/import', files=files).status_code}", "/outcomes/import"
        else:
            method, path = bend.chance.choice(routes)
            parts = [
                bend.chance.choice(("1", "2", "0", "-1", "99999999999", "x", "%00", "view", "thumbnail"))
                if part.startswith("{")
                else part
                for part in path.split("/")
            ]
            place = "/".join(parts)
            answer = call(bend, chief if path.startswith("/api/") else person, method, place)
            kind_of = "json" if path.startswith("/api/") else "form"
            yield f"{kind_of} {answer.status_code}", f"{method} {answer.request.url}"


def call(bend: Bend, client: TestClient, method: str, path: str) -> Response:
    """A call of a route with bent parameters and body."""
    if method == "GET":
        return client.request(method, path, params=bend.fields(FIELDS) if bend.chance.random() < 0.7 else {})
    if path.startswith("/api/"):
        body = json.dumps({name: bend.value() for name in bend.fields(FIELDS[:14])}).encode()
        body = bend.data(body) if bend.chance.random() < 0.5 else body
        return client.request(method, path, content=body, headers={"content-type": "application/json"})
    return client.request(method, path, data=bend.fields(FIELDS))


def test_no_input_brings_the_service_down(
    program: Callable[..., TestClient],
    browser: Callable[..., TestClient],
    add_case: Callable[..., int],
    clinic: ServedClinic,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for tier in ("alert", "cannot-say"):
        add_case(tier, 0.7, patient="P-1")
    chief, person = program("administrator"), browser("administrator", "chief")
    counts: Counter[str] = Counter()
    bend = Bend(random.Random(SEED))
    folder = tmp_path / "watched"
    with caplog.at_level(logging.ERROR):
        given = ways(bend, chief, person, clinic, folder)
        for number in range(MUTATIONS):
            became, where = next(given)
            counts[became] += 1
            fault = became.rpartition(" ")[2].startswith("5")
            assert not fault, f"input {number} of seed {SEED}: {became} {where} {caplog.text[-3000:]}"
    assert "Traceback" not in caplog.text, caplog.text[-3000:]
    assert person.get("/").status_code == 200
    assert chief.get("/api/cases").status_code == 200
    print("\n".join(f"{count:6} {became}" for became, count in sorted(counts.items())))
    assert len(counts) > 8


SIGNING_IN = (
    ("GET", "/sign-in"), ("POST", "/sign-in"), ("GET", "/sign-in/code"), ("POST", "/sign-in/code"),
    ("GET", "/first-visit"), ("POST", "/first-visit"), ("GET", "/sign-in/openid"),
    ("GET", "/sign-in/openid/answer"), ("GET", "/sign-out/openid"), ("POST", "/sign-out"),
    ("POST", "/account/first-password"), ("POST", "/account/second-factor"), ("GET", "/"),
    ("GET", "/cases/1"),
)  # fmt: skip
DOOR = ("name", "password", "again", "full_name", "token", "code", "next", "setup", "state", "error", "iss")
COOKIES = ("dermsentry", "dermsentry-visitor", "dermsentry-device", "dermsentry-steps")
HEADERS = (
    "accept-language", "accept", "origin", "sec-fetch-site", "hx-request", "hx-current-url",
    "x-forwarded-for", "authorization", "content-type", "if-none-match", "user-agent",
)  # fmt: skip


def test_no_input_at_the_door_brings_the_service_down(
    nobody: TestClient,
    browser: Callable[..., TestClient],
    add_case: Callable[..., int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    add_case("alert", 0.7, patient="P-1")
    person = browser("dermatologist", "anna")
    counts: Counter[str] = Counter()
    bend = Bend(random.Random(SEED))
    with caplog.at_level(logging.ERROR):
        for number in range(MUTATIONS):
            method, path = bend.chance.choice(SIGNING_IN)
            own = {name: visible(bend) for name in HEADERS if bend.chance.random() < 0.15}
            if bend.chance.random() < 0.3:
                own["cookie"] = "; ".join(f"{name}={visible(bend)}" for name in COOKIES)
            given = bend.fields(DOOR)
            if method == "POST" and bend.chance.random() < 0.7:  # else few would pass the form's number
                page = nobody.get("/sign-in")
                own.pop("cookie", None)
                given["csrf"] = re.findall(r'name="csrf" value="([^"]+)"', page.text)[0]
            if bend.chance.random() < 0.2:
                given["name"] = "anna"
            told = {"params": given} if method == "GET" else {"data": given}
            answer = nobody.request(method, path, headers=own, **told)
            counts[f"{method} {path} {answer.status_code}"] += 1
            assert answer.status_code < 500, (
                f"input {number} of seed {SEED}: {method} {path} {own} {caplog.text[-3000:]}"
            )
    assert "Traceback" not in caplog.text, caplog.text[-3000:]
    assert not any(own.endswith("GET /cases/1 200") for own in counts)  # nobody has come in
    assert person.get("/").status_code == 200
    print("\n".join(f"{count:6} {became}" for became, count in sorted(counts.items())))


def visible(bend: Bend) -> str:
    """A header's value, as a client may send it."""
    text = bend.text() if bend.chance.random() < 0.5 else bend.data(b"de-AT,en;q=0.5").decode("latin-1")
    return "".join(own for own in text if own.isprintable() and own.isascii())[:300].strip()
