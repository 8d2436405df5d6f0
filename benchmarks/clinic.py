"""How fast the worklist is at 100,000 cases while photographs come in, on SQLite and PostgreSQL.

    python benchmarks/clinic.py [--cases 100000] [--seconds 60] [--postgres URL]

Starts `dermsentry serve` on a folder of its own and, with `--postgres`, again on that database, which must be
empty and is left filled. Photographs are phantoms, the model is the bundled one. Prints for each database:
seconds from an upload to its finding in the worklist, on an otherwise idle server; median and 95th percentile
of each page and call that a dermatologist uses all day, and the milliseconds of CPU that the web server takes
for one, which other programs on the machine change less; then, while 20 photographs a second come in and are
screened, requests per second and the 95th percentile of the worklist's pages as four people leaf through
them, and how many uploads failed. Ends with the share of each target that was used: page and call p95 below
150 ms, upload to finding < 2 s, 20 uploads a second without an error. Some minutes for each; `--seconds 0`
leaves the load out.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from sqlalchemy import Engine, func, insert, select, text

from dermsentry.clinic.store.accounts import add_account, add_token, sign_in
from dermsentry.clinic.store.audit_trail import append, open_trail
from dermsentry.clinic.store.database import migrate, open_database, reading, writing
from dermsentry.clinic.store.events import CaseViewedEvent
from dermsentry.clinic.store.folder import database_of, prepare
from dermsentry.clinic.store.tables import PLACES, Account, Alert, Case, Event, Model, Read, now
from dermsentry.files import plain, to_json
from dermsentry.model import read_network
from dermsentry.phantoms.drawing import draw_phantom

PAGE_S, ALERT_S, UPLOADS_PER_S = 0.150, 2.0, 20
READERS = 4
EACH = 40
"""How often each page and call of a day is asked for."""
TIERS = (("alert", 0.03), ("refer", 0.12), ("routine", 0.75), ("cannot-say", 0.09), ("unreadable", 0.01))
SITES = ("back", "chest", "left arm", "right arm", "left leg", "right leg", "face", "scalp")


@dataclass
class Answers:
    """How long each request took, and how many failed."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0

    def p95(self) -> float:
        return float(np.percentile(self.seconds, 95)) if self.seconds else 0.0


def photographs(count: int, seed: int) -> Iterator[bytes]:
    """Different files of about 60 KB, drawn once and changed a little: drawing each would take long."""
    rng = np.random.default_rng(seed)
    drawn = [draw_phantom(code, seed, (600, 450)) for code in ("MEL", "NV", "SK", "BCC")]
    for number in range(count):
        pixels = np.clip(drawn[number % len(drawn)] + rng.normal(0, 4, (450, 600, 1)), 0, 255)
        buffer = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG", quality=85)
        yield buffer.getvalue()


def fill(engine: Engine, cases: int, account: int) -> None:
    """Cases as some years would leave them: most decided, about one in ten open; their alerts and events."""
    card, _ = read_network()
    choice = random.Random(1)
    moment = now()
    with writing(engine) as session:
        session.add(Model(digest=card.digest, name=card.name, card=plain(card)))
    for start in range(0, cases, 5000):
        rows: list[dict[str, Any]] = []
        for number in range(start, min(start + 5000, cases)):
            tier = choice.choices([name for name, _ in TIERS], [share for _, share in TIERS])[0]
            melanoma = None if tier == "unreadable" else choice.betavariate(1, 8)
            received = moment - timedelta(minutes=10 * (cases - number))
            decided = choice.random() > 0.1
            rows.append(
                {
                    "sha256": f"{number:064x}", "file_name": f"IMG_{number:06d}.JPG", "format": "JPEG",
                    "width": 600, "height": 450, "patient": f"P{number // 3:06d}", "lesion": f"L{number % 3}",
                    "site": choice.choice(SITES), "note": "", "source": "api", "received_at": received,
                    "state": "screened", "screened_at": received, "model_digest": card.digest, "tier": tier,
                    "lane": PLACES[tier][0], "rank": PLACES[tier][1], "melanoma": melanoma,
                    "malignancy_order": -2 * (melanoma or 0.0), "finding": finding(tier, melanoma),
                    "stage": "decided" if decided else "unread",
                    "decided_at": received + timedelta(hours=9) if decided else None,
                }
            )  # fmt: skip
        with writing(engine) as session:
            numbers = list(
                session.scalars(insert(Case).returning(Case.id, sort_by_parameter_order=True), rows)
            )
            decided_rows = [(case, row) for case, row in zip(numbers, rows, strict=True) if row["decided_at"]]
            alerts = [(case, row) for case, row in zip(numbers, rows, strict=True) if row["tier"] == "alert"]
            session.execute(
                insert(Read),
                [
                    {
                        "case_id": case, "account_id": account, "position": 1, "agrees": True,
                        "diagnosis": "NV", "action": "discharge", "at": row["decided_at"],
                    }
                    for case, row in decided_rows
                ],
            )  # fmt: skip
            session.execute(
                insert(Alert),
                [
                    {
                        "case_id": case, "rule": "melanoma suspected", "raised_at": row["received_at"],
                        "acknowledged_at": row["decided_at"],
                    }
                    for case, row in alerts
                ],
            )  # fmt: skip
            session.execute(insert(Event), events(numbers, rows))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def events(numbers: list[int], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Three events of each case; their chain is none, which only verifying would find."""
    actions = (("received", "token 1"), ("screened", "worker"), ("viewed", "reader"))
    return [
        {
            "id": 3 * case + number, "at": row["received_at"].isoformat(), "actor": actor, "action": action,
            "subject": f"case {case}", "detail": "{}", "previous": "0" * 64, "hash": "0" * 64,
        }
        for case, row in zip(numbers, rows, strict=True)
        for number, (action, actor) in enumerate(actions)
    ]  # fmt: skip


def finding(tier: str, melanoma: float | None) -> dict[str, Any]:
    rest = ("AK", "BCC", "DF", "NV", "PBK", "SCC", "SK", "VASC")
    shares = None if melanoma is None else {"MEL": melanoma} | dict.fromkeys(rest, (1 - melanoma) / len(rest))
    return {
        "tier": tier, "melanoma": melanoma, "probabilities": shares, "no_lesion": 0.1,
        "out_of_distribution": 0.1, "quality": None, "reasons": ["drawn for a benchmark"],
    }  # fmt: skip


@contextmanager
def served(folder: Path, url: str, workers: int) -> Iterator[tuple[str, int]]:
    """The address of a running server, and its process."""
    environment = {**os.environ, "DERMSENTRY_HOME": str(folder), "DERMSENTRY_DB": url}
    command = [sys.executable, "-m", "dermsentry.cli", "serve", "--port", "0", "--workers", str(workers)]
    with (folder / "told").open("w+") as told:
        process = subprocess.Popen(command, env=environment, stderr=told)
        try:
            address = None
            while address is None:
                time.sleep(0.1)
                if process.poll() is not None:
                    sys.exit((folder / "told").read_text())
                address = re.search(r"Serving (\S+);", (folder / "told").read_text())
            yield address[1], process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def seconds_to_finding(address: str, engine: Engine, token: str, photograph: bytes) -> float:
    """From sending one photograph to its place in the worklist."""
    started = time.perf_counter()
    number = send(address, token, photograph)
    while True:
        with reading(engine) as session:
            if session.scalar(select(Case.state).where(Case.id == number)) != "waiting":
                return time.perf_counter() - started
        time.sleep(0.01)


def send(address: str, token: str, photograph: bytes, client: httpx.Client | None = None) -> int:
    post = client.post if client else httpx.post
    answer = post(
        f"{address}/api/cases",
        files={"photographs": ("photograph.jpg", photograph, "image/jpeg")},
        headers={"Authorization": f"Bearer {token}"},
        timeout=30,
    )
    answer.raise_for_status()
    return int(answer.json()["photographs"][0]["case"])


def cpu_ms(process: int) -> float:
    """Milliseconds of CPU that a process has taken, without its children."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def a_day(address: str, process: int, cookie: str, token: str, engine: Engine) -> dict[str, dict[str, float]]:
    """Each page and call of a dermatologist's day: median, 95th percentile and CPU of the server in ms."""
    choice = random.Random(3)
    browser = httpx.Client(cookies={"dermsentry": cookie}, base_url=address, timeout=60)
    program = httpx.Client(headers={"Authorization": f"Bearer {token}"}, base_url=address, timeout=60)
    with reading(engine) as session:
        cases = session.scalar(select(func.max(Case.id))) or 1
        wanted = select(Case.id).where(Case.stage == "unread", Case.tier == "routine")
        undecided = list(session.scalars(wanted.order_by(Case.id).limit(2 * EACH)))

    def any_case() -> int:
        return choice.randrange(1, cases + 1)

    def decide(number: int) -> httpx.Response:
        page = browser.get(f"/cases/{number}?tier=routine")
        csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
        given = {"csrf": csrf[1] if csrf else "", "agrees": "yes", "diagnosis": "NV", "action": "discharge"}
        started = time.perf_counter()
        answer = browser.post(f"/cases/{number}/decision?tier=routine", data=given)
        spent.append(time.perf_counter() - started)
        return answer

    further = {}
    for path in ("/?", "/?lane=decided&"):
        for _ in range(3):
            found = re.search(r'"(/\?[^"]*after=[^"]+)"', browser.get(further.get(path, path)).text)
            further[path] = found[1].replace("&amp;", "&") if found else path
    pages = {
        "by suspicion": lambda: "/",
        "by suspicion, one tier": lambda: "/?tier=routine",
        "by suspicion, fourth page": lambda: further["/?"],
        "longest waiting": lambda: "/?order=longest-waiting",
        "latest": lambda: "/?order=latest",
        "by patient": lambda: "/?order=patient",
        "nobody's": lambda: "/?assigned=nobody",
        "cannot say": lambda: "/?lane=cannot-say",
        "follow-up": lambda: "/?lane=follow-up",
        "decided": lambda: "/?lane=decided",
        "decided, fourth page": lambda: further["/?lane=decided&"],
        "decided, one tier": lambda: "/?lane=decided&tier=alert",
        "one site of one month": lambda: "/?site=scalp&since=2026-01-01&until=2026-01-31",
        "search a patient": lambda: f"/?search=P{choice.randrange(cases // 3):06d}",
        "search two words": lambda: f"/?search=IMG_{choice.randrange(cases // 100):04d}+jpeg",
        "search in vain": lambda: f"/?search=nobody{any_case()}",
        "case": lambda: f"/cases/{any_case()}",
        "patient": lambda: f"/cases/{any_case()}/patient",
        "print": lambda: f"/cases/{any_case()}/print",
        "alerts": lambda: "/alerts",
        "outcomes": lambda: f"/outcomes?search=P{choice.randrange(cases // 3):06d}",
        "whether there is a new alert": lambda: "/alerts/new?since=0",
    }
    calls = {
        "API: list": lambda: "/api/cases",
        "API: list of decided": lambda: "/api/cases?lane=decided",
        "API: search": lambda: f"/api/cases?search=P{choice.randrange(cases // 3):06d}",
        "API: case": lambda: f"/api/cases/{any_case()}",
        "API: FHIR": lambda: f"/api/cases/{any_case()}/fhir",
        "API: alerts": lambda: "/api/alerts",
    }
    given = {"agrees": True, "diagnosis": "NV", "action": "discharge"}
    asked: dict[str, Any] = {
        **{name: lambda path=path: browser.get(path()) for name, path in pages.items()},
        **{name: lambda path=path: program.get(path()) for name, path in calls.items()},
        "decide": lambda: decide(undecided.pop()),
        "API: decide": lambda: program.post(f"/api/cases/{undecided.pop()}/decisions", json=given),
    }
    told = {}
    for name, ask in asked.items():
        spent: list[float] = []
        taken: list[float] = []
        ask().raise_for_status() if "decide" not in name else None  # what is first is also opened
        begun = cpu_ms(process)
        spent.clear()
        for _ in range(EACH if "decide" not in name else EACH - 5):
            started = time.perf_counter()
            answer = ask()
            taken.append(time.perf_counter() - started)
            if answer.status_code >= 400:
                sys.exit(f"{name}: {answer.status_code} {answer.text[:500]}")
        number = len(taken)
        times = 1000 * np.asarray(spent or taken)
        told[name] = {
            "p50_ms": float(np.percentile(times, 50)),
            "p95_ms": float(np.percentile(times, 95)),
            "cpu_ms": (cpu_ms(process) - begun) / number,
        }
    return told


def upload(address: str, token: str, sent: list[bytes], begun: float, answers: Answers) -> None:
    """Every photograph at its time, whether or not those before were answered."""
    waiting = list(enumerate(sent))
    lock = threading.Lock()

    def work() -> None:
        with httpx.Client() as client:
            while True:
                with lock:
                    if not waiting:
                        return
                    number, photograph = waiting.pop(0)
                due = begun + number / UPLOADS_PER_S
                time.sleep(max(0.0, due - time.perf_counter()))
                try:
                    send(address, token, photograph, client)
                except httpx.HTTPError:
                    answers.failed += 1
                else:
                    answers.seconds.append(time.perf_counter() - due)

    threads = [threading.Thread(target=work) for _ in range(UPLOADS_PER_S)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def leaf(address: str, cookie: str, seed: int, until: float, answers: Answers) -> None:
    """A person who opens pages of the worklist one by one: lanes, filters, searches, further pages."""
    choice = random.Random(seed)
    openings = (
        "/",
        "/?lane=suspicion&tier=refer",
        "/?lane=cannot-say",
        "/?lane=decided",
        f"/?site={SITES[seed % len(SITES)].replace(' ', '%20')}",
    )
    with httpx.Client(cookies={"dermsentry": cookie}, timeout=30) as client:
        more: str | None = None
        while time.perf_counter() < until:
            searched = f"/?search=P{choice.randrange(30_000):06d}"
            path = more if more and choice.random() < 0.5 else choice.choice((*openings, searched))
            started = time.perf_counter()
            try:
                answer = client.get(address + path)
                answer.raise_for_status()
            except httpx.HTTPError:
                answers.failed += 1
                continue
            answers.seconds.append(time.perf_counter() - started)
            found = re.search(r'"(/\?[^"]*after=[^"]+)"', answer.text)
            more = found[1].replace("&amp;", "&") if found else None


def measure(folder: Path, url: str, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one database."""
    prepare(folder)
    engine = open_database(url)
    migrate(engine)
    with writing(engine) as session:
        account = add_account(session, "reader", "A Reader", "administrator", "several words to keep")
    fill(engine, options.cases, account.id)
    with writing(engine) as session:
        account = session.get_one(Account, account.id)
        cookies = [sign_in(session, account) for _ in range(READERS)]
        scopes = ["cases:write", "cases:read", "reads:write"]
        _, token = add_token(session, account, "benchmark", scopes)
        append(session, open_trail(folder), "reader", CaseViewedEvent(1))  # the end of the chain is looked at
    with served(folder, url, options.workers) as (address, process):
        single = list(photographs(21, seed=1))
        seconds_to_finding(address, engine, token, single[0])  # until the model is open
        alone = [seconds_to_finding(address, engine, token, photograph) for photograph in single[1:]]
        day = a_day(address, process, cookies[0], token, engine)
        sent = list(photographs(UPLOADS_PER_S * options.seconds, seed=2))
        uploads = Answers()
        pages = [Answers() for _ in range(READERS)]
        begun = time.perf_counter()
        uploader = threading.Thread(target=upload, args=(address, token, sent, begun, uploads))
        readers = [
            threading.Thread(target=leaf, args=(address, cookie, n, begun + options.seconds, pages[n]))
            for n, cookie in enumerate(cookies)
        ]
        for thread in (uploader, *readers):
            thread.start()
        for thread in readers:
            thread.join()
        with reading(engine) as session:
            meanwhile = session.scalar(
                select(func.count())
                .select_from(Case)
                .where(Case.screened_at >= now() - timedelta(seconds=60))
            )
        uploader.join()
    engine.dispose()
    together = Answers([second for own in pages for second in own.seconds], sum(own.failed for own in pages))
    return {
        "database": engine.dialect.name,
        "cases": options.cases,
        "upload_to_finding_median_s": statistics.median(alone),
        "upload_to_finding_longest_s": max(alone),
        "day": day,
        "pages": len(together.seconds),
        "pages_per_s": len(together.seconds) / max(1, options.seconds),
        "page_median_s": statistics.median(together.seconds or [0.0]),
        "page_p95_s": together.p95(),
        "pages_failed": together.failed,
        "uploads": len(uploads.seconds),
        "uploads_failed": uploads.failed,
        "upload_p95_s": uploads.p95(),
        "screened_in_the_last_minute": meanwhile,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="The worklist at 100,000 cases while photographs come in.")
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--postgres", help="an empty database, postgresql+psycopg://USER:PASSWORD@HOST/NAME")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for kind, url in (("sqlite", None), ("postgresql", options.postgres)):
            if kind == "sqlite" or url:
                folder = Path(place) / kind
                rows.append(measure(folder, database_of(folder, url), options))
    for row in rows:
        print(
            f"{row['database']:<11} upload to finding {row['upload_to_finding_median_s']:.2f} s "
            f"(longest {row['upload_to_finding_longest_s']:.2f}), {row['pages_per_s']:.0f} pages/s, p95 "
            f"{row['page_p95_s'] * 1000:.0f} ms, {row['uploads']} uploads, {row['uploads_failed']} failed"
        )
        for name, own in row["day"].items():
            times = f"p50 {own['p50_ms']:5.0f}  p95 {own['p95_ms']:5.0f}  CPU {own['cpu_ms']:5.0f} ms"
            print(f"  {name:<30} {times}")
    print(to_json(rows))
    longest = [own["p95_ms"] / 1000 for row in rows for own in row["day"].values()]
    page = max(*longest, *(row["page_p95_s"] for row in rows if row["pages"])) / PAGE_S
    alert = max(row["upload_to_finding_longest_s"] for row in rows) / ALERT_S
    failed = sum(row["uploads_failed"] + row["pages_failed"] for row in rows)
    print(f"share of the targets used: page {page:.2f}, finding {alert:.2f}; requests that failed: {failed}")
    sys.exit(page >= 1 or alert >= 1 or failed > 0)


if __name__ == "__main__":
    main()
