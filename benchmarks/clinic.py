"""How fast the worklist is at 100,000 cases while photographs come in, on SQLite and PostgreSQL.

    python benchmarks/clinic.py [--cases 100000] [--seconds 60] [--postgres URL]

Starts `dermsentry serve` on a folder of its own and, with `--postgres`, again on that database, which must be
empty and is left filled. Photographs are phantoms, the model is the bundled one. Prints for each database:
seconds from an upload to its finding in the worklist, on an otherwise idle server; then, while 20 photographs
a second come in and are screened, requests per second and the 95th percentile of the worklist's pages as four
people leaf through them, and how many uploads failed. Ends with the share of each target that was used:
page p95 < 150 ms, upload to finding < 2 s, 20 uploads a second without an error. Some minutes for each.
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
from dermsentry.clinic.store.database import migrate, open_database, reading, writing
from dermsentry.clinic.store.folder import database_of, prepare
from dermsentry.clinic.store.tables import PLACES, Case, Model, now
from dermsentry.files import plain, to_json
from dermsentry.model import read_network
from dermsentry.phantoms.drawing import draw_phantom

PAGE_S, ALERT_S, UPLOADS_PER_S = 0.150, 2.0, 20
READERS = 4
TIERS = (("alert", 0.03), ("refer", 0.12), ("routine", 0.75), ("cannot-say", 0.09), ("unreadable", 0.01))
SITES = ("back", "chest", "left arm", "right arm", "left leg", "right leg", "face", "scalp")


@dataclass
class Answers:
    """How long each request took, and how many failed."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0

    def p95(self) -> float:
        return float(np.percentile(self.seconds, 95)) if self.seconds else float("nan")


def photographs(count: int, seed: int) -> Iterator[bytes]:
    """Different files of about 60 KB, drawn once and changed a little: drawing each would take long."""
    rng = np.random.default_rng(seed)
    drawn = [draw_phantom(code, seed, (600, 450)) for code in ("MEL", "NV", "SK", "BCC")]
    for number in range(count):
        pixels = np.clip(drawn[number % len(drawn)] + rng.normal(0, 4, (450, 600, 1)), 0, 255)
        buffer = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG", quality=85)
        yield buffer.getvalue()


def fill(engine: Engine, cases: int) -> None:
    """Cases as some years would leave them: most decided, about one in ten open."""
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
                    "melanoma_order": -(melanoma or 0.0), "finding": finding(tier, melanoma),
                    "stage": "decided" if decided else "unread",
                    "decided_at": received + timedelta(hours=9) if decided else None,
                }
            )  # fmt: skip
        with writing(engine) as session:
            session.execute(insert(Case), rows)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def finding(tier: str, melanoma: float | None) -> dict[str, Any]:
    rest = ("AK", "BCC", "DF", "NV", "PBK", "SCC", "SK", "VASC")
    shares = None if melanoma is None else {"MEL": melanoma} | dict.fromkeys(rest, (1 - melanoma) / len(rest))
    return {
        "tier": tier, "melanoma": melanoma, "probabilities": shares, "no_lesion": 0.1,
        "out_of_distribution": 0.1, "quality": None, "reasons": ["drawn for a benchmark"],
    }  # fmt: skip


@contextmanager
def served(folder: Path, url: str, workers: int) -> Iterator[str]:
    """The address of a running server."""
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
            yield address[1]
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
    fill(engine, options.cases)
    with writing(engine) as session:
        account = add_account(session, "reader", "A Reader", "administrator", "several words to keep")
        cookies = [sign_in(session, account) for _ in range(READERS)]
        _, token = add_token(session, account, "benchmark", ["cases:write"])
    with served(folder, url, options.workers) as address:
        single = list(photographs(21, seed=1))
        seconds_to_finding(address, engine, token, single[0])  # until the model is open
        alone = [seconds_to_finding(address, engine, token, photograph) for photograph in single[1:]]
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
        "pages": len(together.seconds),
        "pages_per_s": len(together.seconds) / options.seconds,
        "page_median_s": statistics.median(together.seconds),
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
    print(to_json(rows))
    page = max(row["page_p95_s"] for row in rows) / PAGE_S
    alert = max(row["upload_to_finding_longest_s"] for row in rows) / ALERT_S
    failed = sum(row["uploads_failed"] + row["pages_failed"] for row in rows)
    print(f"share of the targets used: page {page:.2f}, finding {alert:.2f}; requests that failed: {failed}")
    sys.exit(page >= 1 or alert >= 1 or failed > 0)


if __name__ == "__main__":
    main()
