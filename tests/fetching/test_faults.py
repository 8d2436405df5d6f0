"""What goes wrong on the way is tried again, or told, and never leaves half a file or a secret."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

import dermsentry
from dermsentry.cli import app
from dermsentry.errors import ArchiveError, InputError, OutputError
from dermsentry.fetching import archive, pipeline, transfer
from dermsentry.fetching.transfer import Connection, Pace, Problem
from fetching.archive_server import SIGNATURE, Server, names

BESIDE = {"metadata.csv", "attribution.txt", "fetch.json", "SHA256SUMS"}
IN_PASSING = [
    "429", "429 after 0", "500", "503", "408", "cut", "short", "longer", "wrong md5", "wrong sha256"
]  # fmt: skip


@pytest.mark.parametrize("fault", IN_PASSING)
def test_what_fails_in_passing_is_tried_again(server: Server, tmp_path: Path, fault: str) -> None:
    server.faults["ISIC_0000003"] = [fault, fault]
    fetched = dermsentry.fetch(7, tmp_path)
    assert (fetched.fetched, fetched.complete) == (5, True)
    assert (tmp_path / "ISIC_0000003.jpg").read_bytes() == server.content["ISIC_0000003"]
    assert server.files_asked()["ISIC_0000003"] == 2 * 3  # each time through the redirection


@pytest.mark.parametrize("fault", [*IN_PASSING, "404", "400"])
def test_one_that_fails_for_good_stops_no_other(server: Server, tmp_path: Path, fault: str) -> None:
    server.faults["ISIC_0000003"] = [f"always {fault}"]
    told: list[str] = []
    fetched = dermsentry.fetch(7, tmp_path, say=told.append)
    assert (fetched.fetched, list(fetched.failed), fetched.complete) == (4, ["ISIC_0000003"], False)
    assert told[0].startswith("To be written: 5 files, 0.0 MB")
    assert [line for line in told if line.startswith("ISIC_0000003: ")] == told[1:]
    assert names(tmp_path) == BESIDE | {f"ISIC_000000{n}.jpg" for n in (1, 2, 4, 5)}
    assert json.loads((tmp_path / "fetch.json").read_text())["failed"] == fetched.failed
    server.faults.clear()
    again = dermsentry.fetch(7, tmp_path)
    assert (again.fetched, again.kept, again.complete) == (1, 4, True)


def test_a_failed_photograph_is_exit_code_3(server: Server, tmp_path: Path) -> None:
    server.faults["ISIC_0000003"] = ["always 404"]
    done = CliRunner().invoke(app, ["fetch", "collection", "7", "--out", str(tmp_path)])
    assert done.exit_code == 3
    assert "1 could not be fetched" in done.stdout
    assert "ISIC_0000003: localhost answered 404 Not Found." in done.stderr


def test_a_right_checksum_is_accepted(server: Server, tmp_path: Path) -> None:
    server.faults["ISIC_0000003"] = ["always right sha256"]
    assert dermsentry.fetch(7, tmp_path).complete


def test_an_address_that_ran_out_is_asked_for_again(server: Server, tmp_path: Path) -> None:
    server.faults["ISIC_0000003"] = ["403"]
    assert dermsentry.fetch(7, tmp_path).complete
    assert "/api/v2/images/ISIC_0000003/" in server.asked


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_the_wait_that_the_server_asks_for_is_kept(server: Server, tmp_path: Path, form: str) -> None:
    in_two = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
    server.faults["collections/7/"] = ["429 after 1" if form == "seconds" else f"429 after {in_two}"]
    dermsentry.fetch(7, tmp_path)
    assert server.moments[1] - server.moments[0] >= 0.99


def test_all_threads_wait_together(server: Server, tmp_path: Path) -> None:
    stopping = threading.Event()
    pace = Pace(stopping)
    pace.hold(0.3)
    start = time.monotonic()
    pace.wait()
    assert time.monotonic() - start >= 0.29


def test_a_server_that_wants_to_be_left_alone_is(server: Server, tmp_path: Path) -> None:
    server.faults["collections/7/"] = ["429 after 7200"]
    with pytest.raises(ArchiveError, match="asks to wait 120 minutes"):
        dermsentry.fetch(7, tmp_path)
    assert len(server.asked) == 1


@pytest.mark.parametrize("told", ["soon", "", "²", "-5", "Mon, 99 Foo"])
def test_a_wait_that_is_none_is_not_kept(told: str) -> None:
    assert transfer._seconds(told) == 0


def test_no_more_requests_than_are_polite(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "GAP_S", 0.05)
    server.seconds = 0.4
    for number in range(10, 22):
        server.add(f"ISIC_{number:07}", "nevus")
    dermsentry.fetch(7, tmp_path)
    # An answer is whole for the client a moment before the server counts it as given.
    assert 2 <= server.most_together <= transfer.THREADS + 1
    api = [moment for moment, path in zip(server.moments, server.asked, strict=True) if "Sig" not in path]
    assert all(later - earlier > 0.04 for earlier, later in pairwise(api))
    assert {told["user-agent"] for told in server.headers} == {f"dermsentry/{dermsentry.__version__}"}


def test_a_slow_server_is_given_up(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "STEP_S", 0.2)
    server.seconds = 0.6
    monkeypatch.setattr(transfer, "TRIES", 2)
    fetched = dermsentry.fetch(7, tmp_path)
    assert set(fetched.failed.values()) == {"no answer in 0 s"}
    assert names(tmp_path) == BESIDE


def test_one_that_takes_too_long_is_given_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "LIMIT_S", 0.1)
    monkeypatch.setattr(transfer, "TRIES", 2)
    server.seconds = 0.3
    assert len(dermsentry.fetch(7, tmp_path).failed) == 5


def test_what_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    dermsentry.fetch(7, tmp_path)
    server.asked.clear()
    again = dermsentry.fetch(7, tmp_path)
    assert (again.fetched, again.kept) == (0, 5)
    assert not server.files_asked()


def test_a_file_that_was_changed_is_fetched_again(server: Server, tmp_path: Path) -> None:
    dermsentry.fetch(7, tmp_path)
    first, second = tmp_path / "ISIC_0000001.jpg", tmp_path / "ISIC_0000002.jpg"
    first.write_bytes(first.read_bytes()[:-1] + b"x")  # of the same size
    second.write_bytes(b"shorter")
    (tmp_path / ".ISIC_0000004.jpg.abc.jpg").write_bytes(b"left by a process that was killed")
    again = dermsentry.fetch(7, tmp_path)
    assert (again.fetched, again.replaced, again.kept) == (2, 2, 3)
    assert first.read_bytes() == server.content["ISIC_0000001"]
    assert names(tmp_path) == BESIDE | {f"{isic_id}.jpg" for isic_id in server.content}


def test_another_folder_is_refused(server: Server, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "ISIC_0000001.jpg").write_bytes(b"mine")
    with pytest.raises(OutputError, match="fetch did not make it"):
        dermsentry.fetch(7, own)
    assert names(own) == {"ISIC_0000001.jpg"}
    dermsentry.fetch(7, tmp_path / "seven")
    server.collections[8] = ["ISIC_0000001"]
    with pytest.raises(OutputError, match="holds collection 7, not collection 8"):
        dermsentry.fetch(8, tmp_path / "seven")
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(OutputError, match="fetch did not make it"):
        dermsentry.fetch(7, file)


def test_too_little_space_is_told_before(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr(pipeline.shutil, "disk_usage", lambda path: Usage)
    with pytest.raises(OutputError, match="free space"):
        dermsentry.fetch(7, tmp_path)
    assert not server.files_asked()


def test_an_archive_that_is_away_is_exit_code_9(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "API", "http://127.0.0.1:9/api/v2")
    with pytest.raises(ArchiveError, match=r"cannot be asked: .*refused"):
        dermsentry.fetch(7, tmp_path / "new")
    assert ArchiveError.exit_code == 9
    assert not (tmp_path / "new").exists()


def test_a_network_that_is_gone_stops_the_fetch(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10, 40):
        server.add(f"ISIC_{number:07}", "nevus")
        server.faults[f"ISIC_{number:07}"] = ["always 503"]
    monkeypatch.setattr(transfer, "TRIES", 2)
    with pytest.raises(ArchiveError, match="12 photographs in a row"):
        dermsentry.fetch(7, tmp_path)
    assert names(tmp_path) == BESIDE | {f"ISIC_000000{n}.jpg" for n in range(1, 6)}
    kept = json.loads((tmp_path / "fetch.json").read_text())
    assert (kept["fetched"], len(kept["failed"]), kept["finished"]) == (5, 12, None)


@pytest.mark.parametrize("fault", ["garbage", "400"])
def test_an_answer_that_is_not_understood_is_told(server: Server, tmp_path: Path, fault: str) -> None:
    server.faults["images/search/"] = [f"always {fault}"]
    with pytest.raises(ArchiveError, match="cannot be asked"):
        dermsentry.fetch(7, tmp_path)


@pytest.mark.parametrize("name", ["../ISIC_0000001", "/etc/passwd", "ISIC_0000001/..", "ISIC_0000001\n"])
def test_an_id_that_is_none_names_no_file(server: Server, tmp_path: Path, name: str) -> None:
    server.images["ISIC_0000001"]["isic_id"] = name
    with pytest.raises(ArchiveError, match="not understood"):
        dermsentry.fetch(7, tmp_path / "new")
    assert names(tmp_path) == {"new/fetch.json"}


def test_a_list_that_does_not_end_is_told(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = {"results": [], "next": "http://127.0.0.1/?cursor=again"}
    monkeypatch.setattr(server, "page", lambda *asked: (200, same))
    with pytest.raises(ArchiveError, match="does not end"):
        dermsentry.fetch(7, tmp_path)


def test_fewer_than_the_archive_counts_is_told(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, told = server.page, []
    monkeypatch.setattr(server, "page", lambda *given: (200, {**page(*given)[1], "count": 6}))
    dermsentry.fetch(7, tmp_path, say=told.append)
    assert told[0] == "The ISIC Archive counts 6 photographs, and lists 5."


def test_no_message_and_no_log_shows_a_signature(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for isic_id, fault in zip(server.content, ("404", "503", "cut", "short", "wrong md5"), strict=True):
        server.faults[isic_id] = [f"always {fault}"]
    told: list[str] = []
    with caplog.at_level(logging.DEBUG):
        fetched = dermsentry.fetch(7, tmp_path, say=told.append)
    assert len(fetched.failed) == 5
    assert "HTTP Request" in caplog.text
    written = [path.read_text() for path in tmp_path.iterdir()]
    assert SIGNATURE not in "".join([caplog.text, *told, *written])


def test_the_proxy_of_the_environment_is_used(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "API", "http://archive.invalid/api/v2")
    monkeypatch.setenv("HTTP_PROXY", server.api)  # it answers for every host, as a proxy does
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    assert dermsentry.fetch(7, tmp_path).complete
    assert server.asked[0] == "http://archive.invalid/api/v2/collections/7/"


@pytest.mark.parametrize("proxy", ["socks5://someone:a-password@127.0.0.1:1", "gopher://a-password@x"])
def test_a_proxy_that_cannot_be_used_is_one_line(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(InputError, match="proxy settings") as told:
        dermsentry.fetch(7, tmp_path / "new")
    assert "a-password" not in str(told.value)


def test_an_unencrypted_answer_is_refused(tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.scheme == "https":
            return httpx.Response(302, headers={"Location": "http://files.invalid/a.jpg"})
        return httpx.Response(200, content=b"12345")

    stopping = threading.Event()
    with httpx.Client(transport=httpx.MockTransport(answer), follow_redirects=True) as client:
        connection = Connection(client, True, stopping, Pace(stopping), print)
        with pytest.raises(Problem, match="unencrypted"):
            connection.save("https://api.invalid/a.jpg", 5, tmp_path / "a.jpg")
    assert not names(tmp_path)


FETCH = """
import sys
from dermsentry.fetching import archive, transfer
archive.API, transfer.GAP_S = sys.argv[1], 0.0
if len(sys.argv) > 3:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
from dermsentry.cli import main
sys.argv = ["dermsentry", "fetch", "collection", "7", "--out", sys.argv[2]]
main()
"""


def test_interrupted_it_leaves_whole_files_and_resumes(server: Server, tmp_path: Path) -> None:
    server.seconds = 1.0
    for number in range(10, 40):
        server.add(f"ISIC_{number:07}", "nevus")
    server.faults["ISIC_0000002"] = ["always 503"]  # its thread is in a pause when all is to end
    command = [sys.executable, "-c", FETCH, archive.API, str(tmp_path / "set")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        end = time.monotonic() + 60
        while not (tmp_path / "set" / "ISIC_0000001.jpg").exists():
            assert time.monotonic() < end, running.poll()
            time.sleep(0.02)
        time.sleep(0.3)
        running.send_signal(signal.SIGINT)
        asked = time.monotonic()
        _, told = running.communicate(timeout=60)
    assert time.monotonic() - asked < 20  # the pauses of ISIC_0000002 alone would take longer
    assert running.returncode == 130
    assert "Traceback" not in told
    assert "interrupted" in told
    whole = names(tmp_path / "set") - BESIDE
    assert 0 < len(whole) < 35
    for name in whole:
        assert (tmp_path / "set" / name).read_bytes() == server.content[name[:12]]
    server.seconds = 0.0
    server.faults.clear()
    server.asked.clear()
    again = dermsentry.fetch(7, tmp_path / "set")
    assert (again.kept, again.fetched, again.complete) == (len(whole), 35 - len(whole), True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of a process are POSIX's")
def test_a_disk_that_is_full_is_exit_code_4(server: Server, tmp_path: Path) -> None:
    limit = str(len(server.content["ISIC_0000003"]) - 10)
    command = [sys.executable, "-c", FETCH, archive.API, str(tmp_path / "set"), limit]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 4, done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert "Cannot write" in done.stderr
    for name in names(tmp_path / "set") - BESIDE:
        assert (tmp_path / "set" / name).read_bytes() == server.content[name[:12]]
