"""Photographs at addresses: a local HTTP server, moto's S3 server, and chains through an archive."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from dermsentry.errors import DataWarning, InputError
from dermsentry.model import Bundle
from dermsentry.screening import Finding, screen
from dermsentry.screening.remote import is_address, shown
from screening.test_archives import PICTURES, made, write_zip

# Sessions and sockets of the libraries' own, which they leave to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*datetime.utcnow:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Handler(http.server.SimpleHTTPRequestHandler):
    """A server that says when a file was changed, and sends one without end."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path != "/endless.jpg":
            super().do_GET()
            return
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(1 << 20))
        except OSError:
            return


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    root = tmp_path / "served"
    (root / "visits" / "more").mkdir(parents=True)
    for number, (name, data) in enumerate(PICTURES.items()):
        (root / "visits" / ("more" if number > 2 else "") / f"{name}.jpg").write_bytes(data)
    (root / "visits" / "notes.txt").write_text("no photograph")
    handler = functools.partial(Handler, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", root
        server.shutdown()


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    patched = pytest.MonkeyPatch()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    patched.setenv("AWS_ACCESS_KEY_ID", "testing")
    patched.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    patched.setenv("AWS_DEFAULT_REGION", "us-east-1")
    patched.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    client = boto3.client("s3")
    client.create_bucket(Bucket="visits")
    for number, (name, data) in enumerate(PICTURES.items()):
        client.put_object(Bucket="visits", Key=f"2026/{number % 2}/{name}.jpg", Body=data)
    client.put_object(Bucket="visits", Key="2026/report.csv", Body=b"a,b")
    yield client
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()
    patched.undo()


def same(found: list[Finding], bundle: Bundle) -> None:
    """These are the findings of the pictures, by name."""
    alone = dict(zip(PICTURES, screen(list(PICTURES.values()), bundle), strict=True))
    assert sorted(one.image for one in found) == list(PICTURES)
    assert all(one.probabilities == alone[one.image].probabilities for one in found)


def test_http(served: tuple[str, Path], bundle: Bundle, tmp_path: Path) -> None:
    address, root = served
    found = screen(f"{address}/visits/", bundle, findings=tmp_path / "f.jsonl")
    same(found, bundle)
    assert {one.path for one in found} >= {f"{address}/visits/more/lesion3.jpg"}
    with pytest.warns(DataWarning, match="4 findings of an earlier run kept"):
        assert screen(f"{address}/visits/", bundle, findings=tmp_path / "f.jsonl") == found
    assert screen(f"{address}/visits/lesion0.jpg?X-Amz-Signature=secret", bundle)[0].path == found[0].path
    made(root, "a.tar.gz")
    same(screen(f"{address}/a.tar.gz", bundle), bundle)
    with pytest.raises(InputError, match=f"There is nothing, or nothing to be read, at {address}/no"):
        screen(f"{address}/no.jpg", bundle)
    with pytest.raises(InputError, match=r"nothing to be read, at http://127\.0\.0\.1:1/a\.jpg"):
        screen("http://127.0.0.1:1/a.jpg", bundle)
    [lost] = screen([f"{address}/no.jpg"], bundle, strict=False)
    assert (lost.tier, lost.reasons) == ("unreadable", ("the file is missing",))


def test_a_server_that_sends_without_end(
    served: tuple[str, Path], bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dermsentry.screening.remote.MAX_BYTES", 8 << 20)
    [only] = screen(f"{served[0]}/endless.jpg", bundle, strict=False)
    assert only.reasons == ("the file is too large (at most 8 MiB)",)


def test_s3(bucket: Any, bundle: Bundle, tmp_path: Path) -> None:
    found = screen("s3://visits/2026", bundle, findings=tmp_path / "f.jsonl")
    same(found, bundle)
    assert found[0].path == "s3://visits/2026/0/lesion0.jpg"
    bucket.put_object(Bucket="visits", Key="2026/0/lesion0.jpg", Body=PICTURES["lesion3"])
    with pytest.warns(DataWarning, match="3 findings of an earlier run kept, .*; 1 finding replaced"):
        again = screen("s3://visits/2026", bundle, findings=tmp_path / "f.jsonl")
    bucket.put_object(Bucket="visits", Key="2026/0/lesion0.jpg", Body=PICTURES["lesion0"])
    assert (again[0].melanoma, again[1:]) == (found[-1].melanoma, found[1:])
    same(screen("s3://visits/2026/*/*.jpg", bundle), bundle)
    with pytest.raises(InputError, match="Nothing matches s3://visits/2027/"):
        screen("s3://visits/2027/*.jpg", bundle)
    with pytest.raises(InputError, match=r"There is nothing.* at s3://visits/nothing"):
        screen("s3://visits/nothing", bundle)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.parquet", "a.hdf5"])
def test_archives_at_an_address(name: str, bucket: Any, bundle: Bundle, tmp_path: Path) -> None:
    bucket.put_object(Bucket="visits", Key=f"shards/{name}", Body=made(tmp_path, name).read_bytes())
    found = screen(f"s3://visits/shards/{name}", bundle)
    same(found, bundle)
    assert found[0].path.startswith(f"s3://visits/shards/{name}/lesion0")
    with pytest.raises(
        InputError, match=r"holds no photographs but archives, such as s3://visits/shards/a\."
    ):
        screen("s3://visits/shards/", bundle)


def test_chains(bucket: Any, bundle: Bundle, tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", {f"in/{name}.jpg": data for name, data in PICTURES.items()})
    bucket.put_object(Bucket="visits", Key="zipped.zip", Body=(tmp_path / "a.zip").read_bytes())
    found = screen("zip://in/*.jpg::s3://visits/zipped.zip", bundle)
    same(found, bundle)
    assert found[0].path == "zip://in/lesion0.jpg::s3://visits/zipped.zip"
    same(screen(f"zip://in::{(tmp_path / 'a.zip').as_uri()}", bundle), bundle)


def test_addresses() -> None:
    assert is_address("s3://bucket/a.jpg")
    assert is_address("zip://*.jpg::https://host/a.zip")
    assert not is_address("photos/a.jpg")
    assert not is_address("C:\\photos\\a.jpg")
    assert shown("https://user:word@host/a.jpg?id=5") == "https://host/a.jpg?id=5"
    assert shown("https://host/a.jpg?X-Amz-Signature=1&X-Amz-Expires=60") == "https://host/a.jpg"
    assert shown("s3://bucket/odd?name.jpg") == "s3://bucket/odd?name.jpg"


@pytest.mark.parametrize(
    ("address", "said"),
    [("nothing://a.jpg", "Protocol not known: nothing"), ("gcs://a/b.jpg", "gcsfs")],
)
def test_what_fsspec_does_not_know_is_one_line(
    address: str, said: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gcsfs", None)
    with pytest.raises(InputError, match=said) as caught:
        screen(address, bundle)
    assert "\n" not in str(caught.value)
