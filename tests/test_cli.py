"""What goes wrong is one clear line on stderr and a documented exit code; stdout stays clean."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import dermsentry
from dermsentry import cli, errors
from dermsentry.errors import (
    EXIT_CODES,
    ArchiveError,
    BundleError,
    DermsentryError,
    InputError,
    OutputError,
    TrainingError,
)
from dermsentry.phantoms import Phantoms


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["dermsentry", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return 0


def test_the_version_is_on_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"dermsentry {dermsentry.__version__}\n"


def test_without_a_command_the_help_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch) == 2
    shown = "".join(capsys.readouterr())
    for command in ("audit", "split", "train", "study", "evaluate", "screen", "model", "demo"):
        assert f"  {command} " in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ("audit", "none"),
        ("split", "none", "--out", "split.csv"),
        ("study", "none", "--out", "runs"),
        ("screen", "none.jpg", "--model", "none"),
        ("evaluate", "none", "none"),
        ("demo", "--data", "none"),
    ],
)
def test_a_missing_input_is_one_line_and_exit_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    code = call(monkeypatch, *arguments)
    shown = capsys.readouterr()
    assert code in (2, 6)
    assert shown.out == ""
    assert shown.err.startswith("dermsentry: ")
    assert shown.err.count("\n") == 1
    assert "Traceback" not in shown.err
    assert list(tmp_path.iterdir()) == []


def test_what_was_read_otherwise_than_meant_is_a_note(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    table = tmp_path / "table.csv"
    table.write_bytes("path;Größe\na.jpg;1\n".encode("cp1252"))
    assert call(monkeypatch, "audit", table) == 2
    note, problem = capsys.readouterr().err.splitlines()
    assert note.startswith(
        f"Note: {table} is not UTF-8 and was read as Windows-1252, such as 'Größe'; save it"
    )
    assert "has the columns path, Größe; expected path, diagnosis" in problem


@pytest.mark.parametrize(
    "arguments",
    [
        ("--nope",),
        ("nope",),
        ("audit",),
        ("audit", "x", "--seed", "many"),
        ("train", "x", "--out", "y", "--network", "vgg"),
        ("screen", "x", "--format", "xml"),
    ],
)
def test_a_usage_error_is_exit_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert call(monkeypatch, *arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("dermsentry: ")
    assert shown.err.count("\n") == 1


def test_a_file_in_the_way_of_the_output_is_exit_4(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, phantoms: Phantoms
) -> None:
    (tmp_path / "taken").write_text("a file")
    assert call(monkeypatch, "split", phantoms.root, "--out", tmp_path / "taken" / "split.csv") == 4
    assert "Cannot write" in capsys.readouterr().err


def test_a_folder_that_is_no_bundle_is_exit_6(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, phantoms: Phantoms
) -> None:
    assert call(monkeypatch, "screen", phantoms.root / "Test", "--model", tmp_path) == 6
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (InputError("a"), 2),
        (OutputError("a"), 4),
        (TrainingError("a"), 5),
        (BundleError("a"), 6),
        (ArchiveError("a"), 9),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_error_has_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], raised: BaseException, code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr("dermsentry.collection.layouts.read_collections", fail)
    assert call(monkeypatch, "audit", "x") == code
    assert code in EXIT_CODES
    assert capsys.readouterr().err.startswith("dermsentry: ")


def test_every_error_class_is_documented() -> None:
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, DermsentryError)]
    assert {c.exit_code for c in classes} <= set(EXIT_CODES)


def test_the_clinic_is_refused_where_it_cannot_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("DERMSENTRY_HOME", str(tmp_path / "clinic"))
    monkeypatch.setattr("dermsentry.clinic.cli.sys", SimpleNamespace(platform="win32"))
    assert call(monkeypatch, "audit-log", "verify") == 2
    said = capsys.readouterr().err
    assert said.startswith("dermsentry: The clinic runs on Linux only")
    assert said.count("\n") == 1


def test_a_closed_pipe_is_no_error() -> None:
    program = (
        "from dermsentry import cli\n"
        "@cli.app.command('flood')\n"
        "def flood():\n"
        "    for _ in range(200_000): print('x' * 40)\n"
        "import sys; sys.argv = ['dermsentry', 'flood']\n"
        "cli.main()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        noise = running.stderr.read()
    assert (running.returncode, noise) == (0, b"")


WAITS = (
    "from dermsentry import cli\nfrom dermsentry.collection import layouts\n"
    "import sys, time\n"
    "def wait(*_, **__):\n"
    "    print('ready', flush=True)\n"
    "    time.sleep(60)\n"
    "layouts.read_collections = wait\n"
    "cli.main()\n"
)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_sigterm_ends_a_command_as_ctrl_c_does(tmp_path: Path, number: int, code: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITS, "audit", "x"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline() == b"ready\n"
        running.send_signal(number)
        told = running.stderr.read().decode()
    assert running.returncode == code
    assert code in EXIT_CODES
    assert told == "dermsentry: interrupted; no file is half written. Run it again.\n"


def test_what_resumes_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dermsentry.fetching.fetch", interrupt)
    monkeypatch.setattr("dermsentry.cli.Reading.collection", interrupt)
    monkeypatch.setattr("dermsentry.cli._guarded_screeners", interrupt)
    for given, resumes in (
        (("fetch", "isic9", "--out", tmp_path), True),
        (("audit", tmp_path), False),
        (("audit", tmp_path, f"--out={tmp_path}"), True),
        (("screen", tmp_path), False),
        (("--log-json", "screen", tmp_path, "--findings", tmp_path / "findings.jsonl"), True),
    ):
        assert call(monkeypatch, *given) == 130
        told = capsys.readouterr().err
        assert ("Run it again to resume." in told, "Run it again." in told) == (resumes, not resumes)


def test_the_module_runs_as_the_command_does() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "dermsentry", "split", "-h"], capture_output=True, text=True, check=True,
        env={**os.environ, "COLUMNS": "60"},
    )  # fmt: skip
    assert shown.stdout.startswith("Usage: dermsentry split [OPTIONS] {DATA...}")
    assert max(map(len, shown.stdout.splitlines())) <= 60
    assert shown.stderr == ""


@pytest.mark.parametrize("arguments", [("audit", ""), ("screen", ""), ("split", "photographs", "--out", "")])
def test_an_empty_argument_is_not_this_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert call(monkeypatch, *arguments) == 2
    assert capsys.readouterr().err.startswith("dermsentry: Received an empty argument")


def test_what_commands_do_is_told_in_full_on_a_narrow_terminal() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "dermsentry", "-h"], capture_output=True, text=True, check=True,
        env={**os.environ, "COLUMNS": "60"},
    )  # fmt: skip
    assert max(map(len, shown.stdout.splitlines())) <= 60
    told = shown.stdout.partition("Commands:\n")[2].splitlines()
    assert len(told) > 15
    assert not [line for line in told if line.endswith("...")]


@pytest.mark.parametrize("arguments", [("--log-json", "audit", "none"), ("audit", "none", "--log-json")])
def test_messages_are_json_wherever_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert call(monkeypatch, *arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    told = json.loads(shown.err)
    assert (told["level"], told["command"]) == ("error", "audit")
    assert told["message"].startswith("none does not exist")
    assert call(monkeypatch, "audit", "none") == 2
    assert capsys.readouterr().err.startswith("dermsentry: ")


def test_choices_are_completed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("_DERMSENTRY_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "dermsentry train --network l")
    monkeypatch.setenv("COMP_CWORD", "3")
    assert call(monkeypatch) == 0
    assert capsys.readouterr().out.split() == ["linear", "lite0", "lite1", "lite2"]


def test_an_edited_split_is_not_overwritten(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, phantoms: Phantoms
) -> None:
    out = tmp_path / "split.csv"
    assert call(monkeypatch, "split", phantoms.root, "--out", out) == 0
    made = out.read_text()
    assert call(monkeypatch, "split", phantoms.root, "--out", out) == 0
    edited = made.replace(",train,", ",quarantined,", 2)
    out.write_text(edited)
    capsys.readouterr()
    assert call(monkeypatch, "split", phantoms.root, "--out", out) == 4
    told = capsys.readouterr().err.splitlines()[-1]
    assert "or was edited: 2 photographs in another part, group or diagnosis. Nothing was replaced" in told
    assert out.read_text() == edited
    assert call(monkeypatch, "split", phantoms.root, "--out", out, "--force") == 0
    assert out.read_text() == made


def test_an_audit_is_replaced_by_the_same_audit_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, phantoms: Phantoms
) -> None:
    out = tmp_path / "audit"
    for _ in range(2):
        assert call(monkeypatch, "audit", phantoms.root, "--out", out) == 1
    kept = (out / "audit.json").read_text()
    capsys.readouterr()
    assert call(monkeypatch, "audit", phantoms.root, "--out", out, "--seed", "1") == 4
    assert "(seed 0, now 1). Nothing was replaced" in capsys.readouterr().err
    assert (out / "audit.json").read_text() == kept
    (out / "audit.html").write_text("my remarks")
    assert call(monkeypatch, "audit", phantoms.root, "--out", out) == 4
    assert "audit.html was changed since audit wrote it" in capsys.readouterr().err
    assert call(monkeypatch, "audit", phantoms.root, "--out", out, "--force") == 1
