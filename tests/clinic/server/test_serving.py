"""`dermsentry serve` as a process, and what it says where it cannot begin."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text

from bundles import tiny_bundle
from clinic.filled_store import Store, open_store
from clinic.postgresql import running_cluster
from clinic.server_process import PASSWORD, Server, add_sender, case_of, photograph, send, server
from clinic.waiting import free_port, wait_until
from dermsentry import cli
from dermsentry.clinic.server import serving
from dermsentry.clinic.server.processes import CannotGoOn
from dermsentry.clinic.store import folder as data_folder
from dermsentry.clinic.store.audit_trail import open_trail, verify
from dermsentry.clinic.store.database import open_database, reading, writing
from dermsentry.clinic.store.folder import database_of
from dermsentry.clinic.store.tables import Alert, Case, Event
from dermsentry.clinic.web import app
from dermsentry.clinic.worker import queue

Call = Callable[..., int]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path / "bundle").folder


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """The command line in this process, with `home` as the data folder; its exit code."""
    monkeypatch.setattr(app, "create_app", lambda clinic: pytest.fail("it was to be refused"))
    monkeypatch.setenv("DERMSENTRY_HOME", str(tmp_path / "home"))
    for name in ("DERMSENTRY_DB", "DERMSENTRY_SMTP_PASSWORD", "DERMSENTRY_WEBHOOK_SECRET"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str | Path) -> int:
        monkeypatch.setattr(sys, "argv", ["dermsentry", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as leaving:
            return int(leaving.code or 0)
        return 0

    return run


def refused(capsys: pytest.CaptureFixture[str], words: str) -> None:
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("dermsentry: ")
    assert shown.err.count("\n") == 1
    assert words in shown.err


def make_the_first_account(running: Server) -> None:
    """As a person does who was shown the token."""
    with httpx.Client(base_url=running.address, timeout=60) as browser:
        page = browser.get("/first-visit", params={"token": running.first_token()}).text
        csrf = re.search(r'name="csrf" value="([^"]+)"', page)
        assert csrf is not None
        told = {"name": "anna", "full_name": "Dr Anna Berg", "password": PASSWORD, "again": PASSWORD}
        form = {**told, "token": running.first_token(), "csrf": csrf[1]}
        assert browser.post("/first-visit", data=form).status_code == 303
        assert browser.get("/accounts").status_code == 200


def health(running: Server) -> tuple[int, str]:
    answer = httpx.get(f"{running.address}/health", timeout=60)
    return answer.status_code, answer.json()["status"]


@pytest.mark.slow
def test_from_nothing_to_an_alert_and_on_after_a_stop(tmp_path: Path, model: Path) -> None:
    home = tmp_path / "home"
    with server(home, "--model", str(model)) as running:
        running.start()
        assert len(running.first_token()) >= 24
        make_the_first_account(running)
        engine = open_database(database_of(home, None))
        token = add_sender(engine)
        dark = photograph(17)
        answer = send(running.address, token, dark)
        assert answer.status_code == 201
        case = case_of(answer)

        def alerts() -> list[int]:
            with reading(engine) as session:
                return list(session.scalars(select(Alert.case_id)))

        wait_until(alerts, 240, "an alert")
        assert alerts() == [case]
        assert health(running) == (200, "well")
        assert stat.S_IMODE((home / "clinic.sqlite").stat().st_mode) == 0o600
        assert stat.S_IMODE((home / "photographs").stat().st_mode) == 0o700
        assert running.end(signal.SIGTERM) == 0, running.words()
        assert running.processes() == []
        running.start()
        assert "Make the first" not in running.words().rpartition("Serving ")[2]
        again = send(running.address, token, dark)
        assert (again.status_code, case_of(again)) == (200, case)
        assert running.process is not None
        os.killpg(running.process.pid, signal.SIGINT)  # Ctrl-C reaches every process of the terminal
        assert running.process.wait(120) == 0, running.words()
        assert "Traceback" not in running.words()
        with reading(engine) as session:
            assert verify(session, open_trail(home)).problems == ()
            told = [event.action for event in session.scalars(select(Event).order_by(Event.id))]
            assert told.count("server started") == told.count("server stopped") == 2
        engine.dispose()


@pytest.mark.slow
def test_a_database_that_goes_away_and_comes_back_loses_nothing(tmp_path: Path, model: Path) -> None:
    with running_cluster() as cluster:
        store = open_store(tmp_path, cluster.migrated())
        token = add_sender(store.engine)
        environment = {"DERMSENTRY_DB": store.url}
        with server(tmp_path, "--model", str(model), environment=environment) as running:
            running.start()
            assert send(running.address, token, photograph(1)).status_code == 201
            assert health(running) == (200, "well")
            cluster.stop()
            try:
                answer = send(running.address, token, photograph(2))
                assert answer.status_code == 503
                assert cluster.password not in answer.text
                assert health(running) == (503, "unwell")
            finally:
                cluster.start()
            wait_until(
                lambda: send(running.address, token, photograph(2)).status_code in (200, 201),
                120,
                "an upload",
            )

            def waiting() -> int:
                with reading(store.engine) as session:
                    return queue.length(session)

            wait_until(lambda: waiting() == 0, 240, "screening")
            assert health(running) == (200, "well")
            assert running.end() == 0
            assert cluster.password not in running.words()
        with reading(store.engine) as session:
            assert len(session.scalars(select(Case.id)).all()) == 2
            assert verify(session, store.trail).problems == ()
        store.engine.dispose()


def test_a_port_that_is_taken_is_one_line_and_exit_2(
    call: Call, capsys: pytest.CaptureFixture[str], model: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert call("serve", "--model", model, "--port", str(taken.getsockname()[1])) == 2
    refused(capsys, "Choose another --port")


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "."])
def test_an_address_that_is_not_ours_is_one_line_and_exit_2(
    call: Call, capsys: pytest.CaptureFixture[str], model: Path, host: str
) -> None:
    assert call("serve", "--model", model, "--port", "0", "--host", host) == 2
    refused(capsys, host)


def test_a_folder_that_cannot_be_written_is_one_line_and_exit_4(
    call: Call,
    capsys: pytest.CaptureFixture[str],
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DERMSENTRY_HOME", str(tmp_path / "file" / "home"))
    assert call("serve", "--model", model, "--port", "0") == 4
    refused(capsys, "cannot be written")


def test_a_full_disk_is_one_line_and_exit_4(
    call: Call, capsys: pytest.CaptureFixture[str], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(data_folder.tempfile, "TemporaryFile", full)
    assert call("serve", "--model", model, "--port", "0") == 4
    refused(capsys, "No space left")


def test_a_database_without_space_is_one_line_and_exit_4(
    call: Call, capsys: pytest.CaptureFixture[str], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy import Engine, event

    def cramped(url: str) -> Engine:
        engine = open_database(url)

        @event.listens_for(engine, "connect")
        def limit(connection: Any, _: Any) -> None:
            connection.execute("PRAGMA max_page_count = 10")

        return engine

    monkeypatch.setattr(serving, "open_database", cramped)
    assert call("serve", "--model", model, "--port", "0") == 4
    refused(capsys, "no space left")


def test_a_database_that_is_away_is_one_line_and_exit_7(
    call: Call, capsys: pytest.CaptureFixture[str], model: Path
) -> None:
    url = f"postgresql+psycopg://clinic:hunter2@127.0.0.1:{free_port()}/clinic"
    assert call("serve", "--model", model, "--port", "0", "--db", url) == 7
    assert call("audit-log", "verify", "--db", url) == 2, "no clinic was begun"
    shown = capsys.readouterr().err
    assert shown.count("\n") == 2
    assert "hunter2" not in shown


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "sqlite://", "postgresql+nothing://x/y"])
def test_a_database_of_no_use_is_one_line_and_exit_2(
    call: Call, capsys: pytest.CaptureFixture[str], model: Path, url: str
) -> None:
    assert call("serve", "--model", model, "--port", "0", "--db", url) == 2
    refused(capsys, "database")


def test_a_model_that_is_refused_is_one_line_and_exit_6(
    call: Call, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert call("serve", "--model", tmp_path, "--port", "0") == 6
    refused(capsys, "bundle")


def test_a_watched_folder_of_nobody_is_one_line_and_exit_2(
    call: Call, capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "clinic.toml").write_text('watch = "~nosuchuser/photographs"\n')
    assert call("serve", "--model", model, "--port", "0") == 2
    refused(capsys, "no such user")


def test_webhooks_without_a_secret_are_refused(
    call: Call, capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "clinic.toml").write_text('[[webhooks]]\nurl = "https://hooks.example/x"\n')
    assert call("serve", "--model", model, "--port", "0") == 2
    refused(capsys, "DERMSENTRY_WEBHOOK_SECRET")


def test_a_database_of_another_folder_is_refused_and_nothing_is_made(
    call: Call, capsys: pytest.CaptureFixture[str], model: Path, store: Store, tmp_path: Path
) -> None:
    store.case(b"1")
    assert call("serve", "--model", model, "--port", "0", "--db", store.url) == 2
    refused(capsys, "audit.key")
    assert not (tmp_path / "home" / "audit.key").exists()
    open_trail(tmp_path / "home")
    assert call("serve", "--model", model, "--port", "0", "--db", store.url) == 2
    refused(capsys, "audit.key")


def test_the_umask_of_whoever_calls_is_as_before(call: Call, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        assert call("serve", "--model", tmp_path / "none", "--port", "0") == 6
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


def test_the_audit_log_is_verified_and_exported(
    call: Call,
    capsys: pytest.CaptureFixture[str],
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DERMSENTRY_HOME", str(store.folder))
    monkeypatch.setenv("DERMSENTRY_DB", store.url)
    for number in range(3):
        store.case(bytes([number]), note="één, twee")
    assert call("audit-log", "verify") == 0
    assert capsys.readouterr().out == "3 events, all of them whole; tables and photographs fit them\n"
    assert call("audit-log", "export") == 0
    exported = capsys.readouterr().out
    assert exported.splitlines()[0] == "id,at,actor,action,subject,detail,previous,hash"
    assert len(exported.splitlines()) == 4
    assert call("audit-log", "export", "--out", tmp_path / "log.csv") == 0
    assert (tmp_path / "log.csv").read_text() == exported
    assert stat.S_IMODE((tmp_path / "log.csv").stat().st_mode) & 0o077 == 0
    with writing(store.engine) as session:
        session.execute(text("UPDATE cases SET patient = 'another' WHERE id = 3"))
    capsys.readouterr()
    assert call("audit-log", "verify") == 1
    assert capsys.readouterr().out == (
        "case 3 is not as the events tell: patient, search, patient_key\n"
        "3 events, all of them whole; tables and photographs are not as they tell\n"
    )
    with writing(store.engine) as session:
        session.execute(text("UPDATE cases SET patient = '' WHERE id = 3"))
        session.execute(text("UPDATE events SET actor = 'nobody' WHERE id = 2"))
    assert call("audit-log", "verify") == 1
    shown = capsys.readouterr()
    assert shown.out == (
        "event 2 was changed\n3 events, which do not hold; tables and photographs fit them\n"
    )


def test_an_export_of_the_audit_log_replaces_an_earlier_one_and_nothing_else(
    call: Call,
    capsys: pytest.CaptureFixture[str],
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DERMSENTRY_HOME", str(store.folder))
    monkeypatch.setenv("DERMSENTRY_DB", store.url)
    store.case(b"1")
    out = tmp_path / "log.csv"
    assert call("audit-log", "export", "--out", out) == 0
    store.case(b"2")
    assert call("audit-log", "export", "--out", out) == 0  # the trail has grown
    whole = out.read_text()
    assert len(whole.splitlines()) == 3
    for other in ("my remarks", whole + "my remarks\n", whole.replace("someone", "nobody"), whole[:-9]):
        out.write_text(other)
        capsys.readouterr()
        assert call("audit-log", "export", "--out", out) == 4
        assert "Nothing was replaced" in capsys.readouterr().err
        assert out.read_text() == other
    assert call("audit-log", "export", "--out", out, "--force") == 0
    assert out.read_text() == whole


def test_a_backup_goes_and_comes_by_one_command_each(
    call: Call, capsys: pytest.CaptureFixture[str], store: Store, tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    store.case(b"1")
    monkeypatch.setenv("DERMSENTRY_HOME", str(store.folder))
    assert call("backup", tmp_path / "clinic.tar", "--db", store.url) == 0
    assert capsys.readouterr().out == f"1 cases, 1 photographs, 1 events: {tmp_path / 'clinic.tar'}\n"
    monkeypatch.setenv("DERMSENTRY_HOME", str(tmp_path / "other"))
    sqlite = store.engine.dialect.name == "sqlite"
    to = [] if sqlite else ["--db", request.getfixturevalue("postgresql").database()]
    assert call("restore", tmp_path / "clinic.tar", *to) == 0
    assert call("audit-log", "verify", *to) == 0
    capsys.readouterr()
    assert call("restore", tmp_path / "clinic.tar", *to) == 4
    refused(capsys, "empty")


@pytest.mark.parametrize("command", [("audit-log", "verify"), ("audit-log", "export"), ("backup", "x.tar")])
def test_without_a_clinic_there_is_one_line_and_exit_2(
    call: Call, capsys: pytest.CaptureFixture[str], command: tuple[str, ...], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert call(*command) == 2
    refused(capsys, "audit.key is missing")
    assert list(tmp_path.iterdir()) == []


def test_a_server_whose_processes_cannot_go_on_ends_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def keep(*_: object) -> None:
        raise CannotGoOn("The worker 1 could not be started.")

    monkeypatch.setattr(serving, "keep_running", keep)

    async def app(scope: object, receive: object, send: object) -> None:
        raise AssertionError

    with socket.create_server(("127.0.0.1", 0)) as listening, pytest.raises(CannotGoOn, match="worker 1"):
        serving._run(app, listening, [], [], lambda: None, lambda _: None)
