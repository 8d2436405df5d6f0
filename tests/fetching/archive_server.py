"""A server that answers as the ISIC Archive's API and its file host do, with the faults of real ones."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import numpy as np
from PIL import Image

LEVELS = {
    "nevus": ["Benign", "Benign melanocytic proliferations", "Nevus"],
    "melanoma": ["Malignant", "Malignant melanocytic proliferations (Melanoma)", "Melanoma, NOS"],
    "basal cell carcinoma": [
        "Malignant",
        "Malignant adnexal epithelial proliferations - Follicular",
        "Basal cell carcinoma",
    ],
    "wart": ["Benign", "Benign epidermal proliferations", "Verruca"],
}
SIGNATURE = "Signature=a-secret"


def names(folder: Path) -> set[str]:
    """All files below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def photograph(seed: int) -> bytes:
    """A small JPEG that no other seed has."""
    pixels = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=90)
    return out.getvalue()


@dataclass
class Server:
    """What the archive has, how it misbehaves, and what it was asked.

    `faults` are, for an id or a path of the API, what goes wrong at each request, `"always "` before one that
    never ends. The files are on a second server, which the first redirects to with a signature.
    """

    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    content: dict[str, bytes] = field(default_factory=dict)
    collections: dict[int, list[str]] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    together: int = 0
    most_together: int = 0
    seconds: float = 0.0
    api: str = ""
    files: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, isic_id: str, diagnosis: str, collection: int = 7, **clinical: Any) -> None:
        """A photograph of the archive."""
        self.content[isic_id] = photograph(int(isic_id[-7:]))
        levels = {f"diagnosis_{i}": text for i, text in enumerate(LEVELS.get(diagnosis, [diagnosis]), 1)}
        number = int(isic_id[-7:])
        self.images[isic_id] = {
            "isic_id": isic_id,
            "public": True,
            "copyright_license": "CC-0" if number % 2 else "CC-BY-NC",
            "attribution": "Anonymous" if number % 3 else 'Hospital "A", Barcelona',
            "metadata": {
                "acquisition": {"pixels_x": 64, "pixels_y": 48, "image_type": "dermoscopic"},
                "clinical": {
                    **levels,
                    "lesion_id": f"IL_{number // 2:07}",
                    "melanocytic": diagnosis != "wart",
                    **clinical,
                },
            },
        }
        self.collections.setdefault(collection, []).append(isic_id)

    def files_asked(self) -> Counter[str]:
        """How often each photograph was asked for."""
        with self.lock:
            return Counter(path.split("/")[2][:12] for path in self.asked if path.startswith("/files/"))

    def fault(self, key: str) -> str:
        """What goes wrong this time."""
        with self.lock:
            planned = self.faults.get(key, [])
            if planned and planned[0].startswith("always "):
                return planned[0].removeprefix("always ")
            return planned.pop(0) if planned else ""

    def record(self, isic_id: str) -> dict[str, Any]:
        """A photograph as the API gives it, with an address that is good for a while."""
        path = f"{self.api}/files/{isic_id}.jpg?Expires=1&{SIGNATURE}"
        files = {"full": {"url": path, "size": len(self.content[isic_id])}}
        files["thumbnail_256"] = {"url": f"{path}&thumbnail=1", "size": 10}
        return {**self.images[isic_id], "files": files}

    def page(self, path: str, given: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """A page of a search, strict as the API is."""
        if extra := set(given) - {"query", "collections", "limit", "cursor"}:
            return 422, {"detail": sorted(extra)}
        found = list(self.images)
        if "query" in given:
            terms = given["query"].split(" OR ")
            if not all(re.fullmatch(r"isic_id:ISIC_\d{7}", term) for term in terms):
                return 400, {"message": "Couldn't parse search query."}
            found = [i for i in found if f"isic_id:{i}" in terms]
        if "collections" in given:
            found = [i for i in found if i in self.collections.get(int(given["collections"]), [])]
        limit = min(int(given.get("limit", 100)), 100)
        start = int(base64.b64decode(given["cursor"]).decode().removeprefix("p=")) if "cursor" in given else 0
        end = start + limit
        cursor = base64.b64encode(f"p={end}".encode()).decode()
        query = urlencode({**given, "cursor": cursor})
        return 200, {
            "results": [self.record(i) for i in found[start:end]],
            "count": len(found) if start == 0 else None,
            "next": f"http://elsewhere.invalid{path}?{query}" if end < len(found) else None,
            "previous": None,
        }


def _handler(server: Server, *, serves_files: bool) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            with server.lock:
                server.asked.append(self.path)
                server.moments.append(time.monotonic())
                server.headers.append({name.lower(): value for name, value in self.headers.items()})
                server.together += 1
                server.most_together = max(server.most_together, server.together)
            try:
                self.answer()
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True
            finally:
                with server.lock:
                    server.together -= 1

        def answer(self) -> None:
            parts = urlsplit(self.path)  # a proxy is asked with the whole address
            if serves_files:
                return self.file(parts.path.split("/")[2][:12])
            if parts.path.startswith("/files/"):
                self.reply(302, b"", {"Location": f"{server.files}{parts.path}?{parts.query}"})
                return None
            return self.api(parts.path.removeprefix("/api/v2/"), parts.query)

        def api(self, path: str, query: str) -> None:
            if self.failed(server.fault(path)):
                return
            given = {name: values[0] for name, values in parse_qs(query).items()}
            status, found = 404, {"detail": "Not Found"}
            name = path.strip("/").split("/")[-1]
            if path == "images/search/":
                status, found = server.page(urlsplit(self.path).path, given)
            elif path.startswith("images/") and name in server.images:
                status, found = 200, server.record(name)
            elif path.startswith("collections/") and int(name) in server.collections:
                status, found = 200, {"id": int(name), "name": "A Collection", "public": True, "doi": None}
            self.reply(status, json.dumps(found).encode(), {"Content-Type": "application/json"})

        def failed(self, fault: str) -> bool:
            if fault in ("", "slow", "cut", "short", "longer", "wrong md5", "wrong sha256", "right sha256"):
                return False
            if fault == "garbage":
                self.reply(200, b"<html>down for maintenance</html>", {})
                return True
            status, _, wait = fault.partition(" after ")
            self.reply(int(status), b"no", {"Retry-After": wait} if wait else {})
            return True

        def file(self, isic_id: str) -> None:
            fault = server.fault(isic_id)
            if self.failed(fault):
                return
            content = server.content[isic_id]
            headers = {"Content-Type": "image/jpeg", "ETag": '"an-etag-of-parts-3"'}
            if fault == "cut":
                self.reply(200, content[:100], headers, length=len(content))
                self.close_connection = True
            elif fault == "slow" or server.seconds:
                self.reply(200, b"", headers, length=len(content))
                self.wfile.write(content[:100])
                self.wfile.flush()
                time.sleep(server.seconds)
                self.wfile.write(content[100:])
            else:
                sent = {"short": content[:-5], "longer": content + b"more"}.get(fault, content)
                sha = base64.b64encode(hashlib.sha256(content).digest()).decode()
                wrong = base64.b64encode(bytes(32)).decode()
                headers |= {
                    "wrong md5": {"Content-MD5": base64.b64encode(bytes(16)).decode()},
                    "wrong sha256": {"x-amz-checksum-sha256": wrong},
                    "right sha256": {"x-amz-checksum-sha256": sha},
                }.get(fault, {"x-amz-checksum-sha256": f"{wrong}-3"})
                self.reply(200, sent, headers)

        def reply(self, status: int, body: bytes, headers: dict[str, str], length: int | None = None) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

    return Handler


@contextmanager
def serving() -> Iterator[Server]:
    """The two servers, on free ports of this machine, under two names of it."""
    server = Server()
    kinds = [_handler(server, serves_files=serves) for serves in (False, True)]
    both = [ThreadingHTTPServer(("127.0.0.1", 0), kind) for kind in kinds]
    threads = [threading.Thread(target=one.serve_forever, args=(0.02,)) for one in both]
    for thread in threads:
        thread.start()
    server.api = f"http://127.0.0.1:{both[0].server_port}"
    server.files = f"http://localhost:{both[1].server_port}"
    try:
        yield server
    finally:
        for one in both:
            one.shutdown()
            one.server_close()
        for thread in threads:
            thread.join()
