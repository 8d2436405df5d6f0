"""A server with what Azure's Blob service answers to a listing, and to reading, writing and removing blobs.

As its REST API is documented (learn.microsoft.com/rest/api/storageservices), for one container `visits`.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

ACCOUNT, CONTAINER = "clinic", "visits"
Blobs = dict[str, bytes]


class Handler(http.server.BaseHTTPRequestHandler):
    """Path-style addresses, as of a server of one's own: `/account/container/blob`."""

    protocol_version = "HTTP/1.1"
    blobs: Blobs
    blocks: dict[str, bytes]

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        name, query = self.asked()
        if name == "" and query.get("comp") == "list":
            self.list(query)
        elif name == "":
            self.answer(200, **properties(b""))
        elif name is None or name not in self.blobs:
            self.missing()
        else:
            whole = self.blobs[name]
            wanted = self.headers.get("x-ms-range") or self.headers.get("Range")
            if wanted is None or self.command == "HEAD":
                self.answer(200, whole, **properties(whole))
                return
            first, last = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted).groups()  # type: ignore[union-attr]
            start, end = int(first), min(int(last or len(whole)) + 1, len(whole))
            if start >= len(whole):
                self.answer(416, **{"x-ms-error-code": "InvalidRange"})
                return
            told = {"Content-Range": f"bytes {start}-{end - 1}/{len(whole)}"}
            self.answer(206, whole[start:end], **properties(whole), **told)

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        name, query = self.asked()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if name is None:
            self.missing()
            return
        if query.get("comp") == "block":
            self.blocks[query["blockid"]] = body
        elif query.get("comp") == "blocklist":
            listed = [block.text or "" for block in ElementTree.fromstring(body)]
            self.blobs[name] = b"".join(self.blocks[block] for block in listed)
        else:
            self.blobs[name] = body
        self.answer(201, **properties(self.blobs.get(name, b"")))

    def do_DELETE(self) -> None:
        name, _ = self.asked()
        if name is None or self.blobs.pop(name, None) is None:
            self.missing()
        else:
            self.answer(202)

    def asked(self) -> tuple[str | None, dict[str, str]]:
        """The blob, "" for the container itself, None for another one; and the query."""
        parts = urlsplit(self.path)
        query = {key: value[0] for key, value in parse_qs(parts.query).items()}
        if not self.headers.get("Authorization", "").startswith(f"SharedKey {ACCOUNT}:"):
            return None, query
        start = f"/{ACCOUNT}/{CONTAINER}"
        path = unquote(parts.path)
        return (path[len(start) + 1 :] if (path + "/").startswith(f"{start}/") else None), query

    def list(self, query: dict[str, str]) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        root = ElementTree.Element("EnumerationResults", ContainerName=CONTAINER)
        entries = ElementTree.SubElement(root, "Blobs")
        folders: set[str] = set()
        for name in sorted(own for own in self.blobs if own.startswith(prefix)):
            below = name[len(prefix) :]
            if delimiter and delimiter in below:
                folder = prefix + below.partition(delimiter)[0] + delimiter
                if folder not in folders:
                    folders.add(folder)
                    ElementTree.SubElement(
                        ElementTree.SubElement(entries, "BlobPrefix"), "Name"
                    ).text = folder
                continue
            entry = ElementTree.SubElement(entries, "Blob")
            ElementTree.SubElement(entry, "Name").text = name
            told = ElementTree.SubElement(entry, "Properties")
            for key, value in {**properties(self.blobs[name]), "BlobType": "BlockBlob"}.items():
                ElementTree.SubElement(told, "Etag" if key == "ETag" else key).text = value
            ElementTree.SubElement(told, "Content-Length").text = str(len(self.blobs[name]))
        ElementTree.SubElement(root, "NextMarker")
        whole = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
        self.answer(200, whole, **{"Content-Type": "application/xml"})

    def missing(self) -> None:
        self.answer(404, **{"x-ms-error-code": "BlobNotFound"})

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for key, value in {"x-ms-version": "2021-08-06", **headers}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def properties(blob: bytes) -> dict[str, Any]:
    digest = hashlib.md5(blob, usedforsecurity=False).digest()
    return {
        "ETag": f'"0x{digest.hex().upper()}"',
        "Last-Modified": formatdate(1, usegmt=True),
        "Content-Type": "application/octet-stream",
        "Content-MD5": base64.b64encode(digest).decode(),
        "x-ms-blob-type": "BlockBlob",
    }


@contextmanager
def azure() -> Iterator[tuple[str, Blobs]]:
    """The connection string of such a server, and its blobs by name."""
    blobs: Blobs = {}
    handler = type("Own", (Handler,), {"blobs": blobs, "blocks": {}})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"http://127.0.0.1:{server.server_port}"
        key = base64.b64encode(b"a key of this test").decode()
        yield (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={key};BlobEndpoint={host}/{ACCOUNT};",
            blobs,
        )
        server.shutdown()
