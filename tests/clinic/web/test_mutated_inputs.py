"""Inputs bent at random, to every way in: each is answered, none with a fault, and the service goes on.

`DERMSENTRY_MUTATIONS=10000` for a campaign; a few hundred otherwise. The same seed gives the same inputs.
"""

from __future__ import annotations

import json
import logging
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from clinic.cases import photograph
from clinic.dicom_files import dicom_bytes
from clinic.web_app import all_routes
from dermsentry.clinic.clinic import ServedClinic
from dermsentry.clinic.intake.watched_folder import open_folder, take

MUTATIONS = int(os.environ.get("DERMSENTRY_MUTATIONS", "300"))
SEED = int(os.environ.get("DERMSENTRY_SEED", "1"))
TEXTS = (
    "", " ", "\0", "\x1b[2J", "é" * 40, "\U0001f9ec", "\ud800", "'; DROP TABLE cases; --", "<script>",
    "{{7*7}}", "../../etc/passwd", "=1+1", "-1", "0", "1e309", "NaN", "null", "true", "9" * 40, "2147483648",
    "A" * 5000, "2026-02-30", "2026-01-01", "\u202e", "%00", "%ff", "a\nb", "MEL", "biopsy", "P-1",
)  # fmt: skip
CSV = b"case,diagnosis,method,patient\n1,MEL,histology,P-1\n2,NV,follow-up,P-2\n"


@dataclass(frozen=True)
class Bend:
    """Bends what it is given, by a seed of its own."""

    chance: random.Random

    def data(self, data: bytes) -> bytes:
        """Bytes with some changed, repeated, left out, or cut off."""
        bent = bytearray(data)
        for _ in range(self.chance.choice((1, 1, 2, 5, 20))):
            place = self.chance.randrange(len(bent)) if bent else 0
            kind = self.chance.randrange(6)
            if kind == 0 and bent:
                bent[place] ^= 1 << self.chance.randrange(8)
            elif kind == 1:
                bent[place : place + self.chance.randrange(40)] = b""
            elif kind == 2:
                bent[place:place] = self.chance.randbytes(self.chance.randrange(1, 40))
            elif kind == 3:
                bent[place : place + 4] = self.chance.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"))
            elif kind == 4:
                bent[place:place] = bent[: self.chance.randrange(200)]
            else:
                del bent[max(1, place) :]
        return bytes(bent)

    def text(self) -> str:
        """A text of the kind that programs trip over."""
        return self.chance.choice(TEXTS)

    def value(self, deep: int = 0) -> Any:
        """A JSON value."""
        kind = self.chance.randrange(8 if deep < 3 else 6)
        if kind < 3:
            return self.text().encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if kind < 6:
            return self.chance.choice((None, True, False, 0, -1, 2**63, 1.5, 1e308))
        if kind == 6:
            return [self.value(deep + 1) for _ in range(self.chance.randrange(4))]
        size = self.chance.randrange(4)
        return {self.chance.choice(TEXTS[:6]): self.value(deep + 1) for _ in range(size)}

    def fields(self, names: tuple[str, ...]) -> dict[str, str]:
        """A form's fields, some missing, some unknown."""
        made = {name: self.text() for name in names if self.chance.random() < 0.8}
        if self.chance.random() < 0.2:
            made[self.text()[:50] or "x"] = self.text()
        return {_sendable(name): _sendable(text) for name, text in made.items()}


FIELDS = (
    "agrees", "diagnosis", "action", "note", "reason", "confirmed", "patient", "lesion", "site", "accession",
    "resolution", "method", "case", "name", "full_name", "role", "password", "label", "scopes", "days",
    "sensitivity", "confidence", "tier", "search", "since", "until", "lane", "after", "limit", "before",
    "sort",
)  # fmt: skip
FILES: tuple[Callable[[int], bytes], ...] = (
    lambda seed: photograph(seed % 5),
    lambda seed: photograph(seed % 5, kind="PNG"),
    lambda seed: dicom_bytes(seed % 5),
    lambda seed: CSV,
)


KEPT_OUT = ("sign-out", "password", "accounts", "revoke", "second-factor", "sign-in", "first-visit")
"""Of paths: what would end the session or the account that the inputs are sent with."""


def _sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


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
