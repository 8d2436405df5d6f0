"""Photographs at addresses: local servers of HTTP, S3, Google Cloud and Azure, chains through an archive."""

from __future__ import annotations

import functools
import http.server
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import adlfs
import boto3
import gcsfs
import pytest
import s3fs
from gcp_storage_emulator.server import create_server
from moto.server import ThreadedMotoServer

from dermsentry.errors import DataWarning, InputError, MissingExtraError
from dermsentry.model import Bundle
from dermsentry.screening import Finding, screen
from dermsentry.screening.place import Place
from dermsentry.screening.remote import is_address, shown
from screening.azure import azure
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


class Store(NamedTuple):
    """A bucket `visits` of a store: how its addresses begin, and what puts an object into it."""

    address: str
    put: Callable[[str, bytes], object]


@pytest.fixture(scope="module")
def google() -> Iterator[Callable[[str, bytes], object]]:
    """An emulator of Google Cloud Storage with an empty bucket."""
    server = create_server("localhost", 0, in_memory=True, default_bucket="visits")
    server.start()
    host = f"http://localhost:{server._api._httpd.server_port}"

    def put(name: str, data: bytes) -> object:
        query = f"uploadType=media&name={quote(name, safe='')}"
        return urllib.request.urlopen(f"{host}/upload/storage/v1/b/visits/o?{query}", data).read()

    async def plain(*_: object) -> gcsfs.extended_gcsfs.BucketType:
        return gcsfs.extended_gcsfs.BucketType.NON_HIERARCHICAL

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", host)
        # What kind of bucket it is gcsfs asks by gRPC, which the emulator does not speak.
        patch.setattr(gcsfs.extended_gcsfs.ExtendedGcsFileSystem, "_get_bucket_type", plain)
        yield put
        gcsfs.GCSFileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture(scope="module")
def microsoft() -> Iterator[Callable[[str, bytes], object]]:
    """A server of Azure blobs with an empty container."""
    with azure() as (connection, blobs), pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection)
        yield blobs.__setitem__
        adlfs.AzureBlobFileSystem.clear_instance_cache()


@pytest.fixture(params=["s3", "gs", "gcs", "az", "abfs"])
def store(request: pytest.FixtureRequest) -> Store:
    """A store that holds the pictures below `2026`, and a table."""
    address = f"{request.param}://visits"
    if request.param == "s3":
        client = request.getfixturevalue("bucket")
        return Store(address, lambda name, data: client.put_object(Bucket="visits", Key=name, Body=data))
    put = request.getfixturevalue("google" if request.param.startswith("g") else "microsoft")
    for number, (name, data) in enumerate(PICTURES.items()):
        put(f"2026/{number % 2}/{name}.jpg", data)
    put("2026/report.csv", b"a,b")
    return Store(address, put)


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


def test_stores(store: Store, bundle: Bundle, tmp_path: Path) -> None:
    found = screen(f"{store.address}/2026", bundle, findings=tmp_path / "f.jsonl")
    same(found, bundle)
    assert found[0].path == f"{store.address}/2026/0/lesion0.jpg"
    assert screen(found[0].path, bundle)[0] == found[0]
    store.put("2026/0/lesion0.jpg", PICTURES["lesion3"])
    with pytest.warns(DataWarning, match="3 findings of an earlier run kept, .*; 1 finding replaced"):
        again = screen(f"{store.address}/2026", bundle, findings=tmp_path / "f.jsonl")
    store.put("2026/0/lesion0.jpg", PICTURES["lesion0"])
    assert (again[0].melanoma, again[1:]) == (found[-1].melanoma, found[1:])
    same(screen(f"{store.address}/2026/*/*.jpg", bundle), bundle)
    store.put("shards/a.zip", made(tmp_path, "a.zip").read_bytes())
    same(screen(f"{store.address}/shards/a.zip", bundle), bundle)
    with pytest.raises(InputError, match=f"Nothing matches {store.address}/2027/"):
        screen(f"{store.address}/2027/*.jpg", bundle)
    with pytest.raises(InputError, match=rf"There is nothing.* at {store.address}/nothing"):
        screen(f"{store.address}/nothing", bundle)


def test_partitions_are_kept_in_a_store(store: Store) -> None:
    place = Place(f"{store.address}/results")
    assert place.read("manifest.json") is None
    assert place.numbers("findings") == []
    for number in (2, 1):
        place.write(f"findings/part-{number:06}.parquet", b"whole" * number)
    assert place.numbers("findings") == [1, 2]
    assert place.read("findings/part-000002.parquet") == b"wholewhole"
    for number in (1, 2):
        place.remove(f"findings/part-{number:06}.parquet")
    assert place.numbers("findings") == []


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


def test_what_fsspec_does_not_know_is_one_line(bundle: Bundle) -> None:
    with pytest.raises(InputError, match="Protocol not known: nothing") as caught:
        screen("nothing://a.jpg", bundle)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("scheme", "module"),
    [("s3", "s3fs"), ("gs", "gcsfs"), ("gcs", "gcsfs"), ("az", "adlfs"), ("https", "aiohttp")],
)
def test_the_library_of_a_store_comes_with_the_extra(
    scheme: str, module: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, scheme, raising=False)  # type: ignore[attr-defined]
    address = f"{scheme}://visits/a.jpg"
    told = rf"^Received {address}: {module} is not installed; it comes with the extra remote: pip .*\.$"
    with pytest.raises(MissingExtraError, match=told):
        screen(address, bundle)
    with pytest.raises(MissingExtraError, match=told):
        Place(address).read("manifest.json")


def test_what_the_library_of_a_store_logs_is_not_on_stderr() -> None:
    """In a process of its own: pytest sets up logging."""
    for imported, said in (("dermsentry.screening.remote", ""), ("json", "retries exhausted\n")):
        program = f"import logging, {imported}; logging.getLogger('gcsfs.retry').error('retries exhausted')"
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert ran.stderr == said


def test_a_store_without_an_account_is_one_line(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCOUNT_NAME"):
        monkeypatch.delenv(name, raising=False)
    adlfs.AzureBlobFileSystem.clear_instance_cache()
    with pytest.raises(InputError, match=r"^Received az://visits/a\.jpg: .*account_name.*\.$"):
        screen("az://visits/a.jpg", bundle)
