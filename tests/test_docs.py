"""A command, option, exit code, field or link without documentation fails here."""

from __future__ import annotations

import re
import shlex
import time
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from dermsentry.cli import app
from dermsentry.clinic.alerts.delivery import signature
from dermsentry.clinic.export.case_table import COLUMNS as CASE_COLUMNS
from dermsentry.clinic.export.case_table import PERSONAL
from dermsentry.clinic.monitoring.outcomes import COLUMNS as OUTCOME_COLUMNS
from dermsentry.clinic.settings import (
    Dicom,
    Mail,
    OpenId,
    OpenIdRoles,
    Rule,
    Settings,
    Webhook,
    read_settings,
)
from dermsentry.collection import COLUMNS, Collection
from dermsentry.diagnoses import DIAGNOSES
from dermsentry.errors import EXIT_CODES
from dermsentry.model.card import Card
from dermsentry.screening.triage import TIERS
from dermsentry.split import COLUMNS as SPLIT_COLUMNS
from dermsentry.split import PARTS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = {
    " ".join((name, *below)): command
    for name, top in typer.main.get_command(app).commands.items()  # type: ignore[attr-defined]
    for below, command in (
        [((own,), inner) for own, inner in top.commands.items()] if hasattr(top, "commands") else [((), top)]
    )
}
"""By name; a command of a group by both names."""


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section(name: str, heading: str) -> str:
    found = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", text_of(name), re.MULTILINE | re.DOTALL)
    assert found, f"{name} has no section {heading!r}"
    return found[1]


def options_of(command: str) -> set[str]:
    given = [o for p in COMMANDS[command].params for o in (*p.opts, *p.secondary_opts) if o.startswith("--")]
    return set(given) - {"--help"}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_option_is_documented_and_no_other(command: str) -> None:
    described = re.sub(r"```.*?```", "", section("docs/commands.md", command), flags=re.DOTALL)
    rows = [line.split("|")[1] for line in described.splitlines() if line.startswith("| `--")]
    assert {option for row in rows for option in re.findall(r"--[a-z-]+", row)} == options_of(command)
    assert f"| `{command}` |" in text_of("docs/commands.md")


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_and_option_has_help(command: str) -> None:
    assert COMMANDS[command].help
    assert all(getattr(p, "help", None) for p in COMMANDS[command].params if p.name != "help")


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_an_example_that_it_takes(command: str) -> None:
    epilog = COMMANDS[command].epilog or ""
    lines = epilog.removeprefix("\b\nExample:\n").splitlines()
    assert lines, "no example; see command_examples.py"
    assert max(map(len, lines)) < 60
    words = shlex.split("".join(line.removesuffix("\\") for line in lines))
    assert " ".join(words[1 : 1 + len(command.split())]) == command
    COMMANDS[command].make_context(command, words[1 + len(command.split()) :])


@pytest.mark.parametrize("group", [[], ["account"], ["adoption"], ["audit-log"]])
def test_every_group_of_commands_has_an_example(group: list[str]) -> None:
    shown = CliRunner().invoke(app, [*group, "--help"]).output
    example = shown.partition("Example:\n")[2].strip()
    words = example.split()
    assert words[: 1 + len(group)] == ["dermsentry", *group]
    assert " ".join(words[1 : 2 + len(group)]) in COMMANDS


def test_a_role_is_a_choice() -> None:
    shown = CliRunner().invoke(app, ["account", "add", "--help"], terminal_width=120).output
    assert "--role <uploader|dermatologist|administrator>" in shown
    refused = CliRunner().invoke(
        app, ["account", "add", "anna", "--full-name", "Anna Berg", "--role", "doctor"]
    )
    assert refused.exit_code == 2
    assert "'doctor' is not one of 'uploader', 'dermatologist', 'administrator'" in refused.output


def test_every_exit_code_is_documented_and_no_other() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", section("docs/commands.md", "Exit codes"), re.MULTILINE)
    assert {int(code): meaning for code, meaning in rows} == EXIT_CODES


def test_the_fields_of_every_file_are_documented() -> None:
    assert all(f"`{column}`" in section("docs/files.md", "A collection") for column in COLUMNS)
    assert all(
        f"`{d.code}` {d.name}" in " ".join(section("docs/files.md", "A collection").split())
        for d in DIAGNOSES
    )
    assert ",".join(SPLIT_COLUMNS) in section("docs/files.md", "split.csv")
    assert all(f"`{part}`" in section("docs/files.md", "split.csv") for part in PARTS)
    assert all(f"`{field.name}`" in section("docs/files.md", "A bundle") for field in fields(Card))
    for page in ("docs/files.md", "docs/how-to-screen.md"):
        assert all(f"`{tier}`" in text_of(page) for tier in TIERS)


def test_the_fields_of_the_audit_are_documented(phantom_collection: Collection) -> None:
    from dermsentry.audit import audit_collection
    from dermsentry.files import plain

    described = section("docs/files.md", "audit.json")
    assert [key for key in plain(audit_collection(phantom_collection)) if f"`{key}`" not in described] == []


def test_the_fields_of_an_evaluation_are_documented() -> None:
    import numpy as np

    from dermsentry.evaluation import evaluate_predictions

    probability = np.full((18, 9), 1 / 9)
    truth = [d.code for d in DIAGNOSES] * 2
    judged = evaluate_predictions(truth, probability, [str(i) for i in range(18)], resamples=2)
    described = section("docs/files.md", "evaluation.json")
    assert [key for key in judged.as_dict() if f"`{key}`" not in described] == []


def test_every_setting_of_a_clinic_is_documented() -> None:
    described = section("docs/how-to-run-a-clinic.md", "Settings")
    for kind in (Settings, Rule, Mail, Webhook, Dicom, OpenId, OpenIdRoles):
        for name in kind.model_fields:
            assert f"`{name}`" in described, (kind.__name__, name)
    example = re.search(r"```toml\n(.*?)```", described, re.DOTALL)
    assert example
    given = tomllib.loads(example[1])
    assert set(given) == set(Settings.model_fields)


def test_the_columns_of_a_clinics_tables_are_documented() -> None:
    for heading, columns in (
        ("outcomes.csv", OUTCOME_COLUMNS),
        ("cases.csv", (*CASE_COLUMNS, *PERSONAL)),
    ):
        described = section("docs/files.md", heading)
        assert [column for column in columns if f"`{column}`" not in described] == []


def test_the_examples_of_a_clinics_settings_are_read(tmp_path: Path) -> None:
    examples = re.findall(r"```toml\n(.*?)```", text_of("docs/how-to-run-a-clinic.md"), re.DOTALL)
    read = []
    for example in examples:
        (tmp_path / "clinic.toml").write_text(example, encoding="utf-8")
        read.append(read_settings(tmp_path))
    assert [settings.readers for settings in read] == [1, 2]
    assert all(settings.openid.role_of(["dermatology"]) == "dermatologist" for settings in read)


def test_the_signature_is_checked_as_documented() -> None:
    found = re.search(
        r"```python\n(.*?)```", section("docs/how-to-run-a-clinic.md", "Notifications"), re.DOTALL
    )
    assert found
    names: dict[str, Any] = {}
    exec(found[1], names)
    body, moment = b'{"case": 12, "link": "https://clinic.example/cases/12"}', int(time.time())
    header = signature("a secret of some length", moment, body)
    assert names["signed"](header, body, "a secret of some length")
    assert not names["signed"](header, body + b" ", "a secret of some length")
    assert not names["signed"](header, body, "another secret of it")
    assert not names["signed"](
        signature("a secret of some length", moment - 3600, body), body, "a secret of some length"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        assert found.is_file(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}, target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_in_the_documentation_exist(page: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for line in (line for block in blocks for line in block.splitlines()):
        found = re.search(r"(?:^|/|\| )dermsentry (.*?)(?:\s+[|>#].*)?$", line)
        if not found or found[1].startswith("--"):
            continue
        words = shlex.split(re.sub(r"[\[\]]", " ", found[1]), comments=True)
        command = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
        assert command in COMMANDS, line
        assert {w for w in words if w.startswith("--")} <= options_of(command), line


def test_the_order_of_the_layers_is_the_one_that_import_linter_holds() -> None:
    contracts = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    layers = [layer.replace("dermsentry.", "") for layer in contracts[0]["layers"]]
    told = re.search(r"exactly this order:\n\n```\n(.*?)\n```", text_of("CONTRIBUTING.md"), re.DOTALL)
    assert told
    assert told[1].splitlines() == layers
    in_order = [name for layer in layers for name in layer.split(" | ") if not name.startswith("_")]
    readme = section("README.md", "The code").partition(". `recipes/")[0]
    assert re.findall(r"`([a-z_]+)`", readme) == in_order


def test_targets_of_make_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.MULTILINE))
    named = {
        t
        for page in PAGES
        for t in re.findall(r"(?:`|^)make ([a-z]+)", page.read_text("utf-8"), re.MULTILINE)
    }
    assert named <= targets
    assert "make test" in text_of(".ci/run")
    assert "make test" in text_of("README.md")


def test_no_page_names_a_machine_or_an_index() -> None:
    for path in (*PAGES, *sorted((ROOT / "requirements").glob("*.txt"))):
        assert not re.search(
            r"--(?:extra-)?index-url|file://|/home/|/root/|/work/", path.read_text("utf-8")
        ), path.name
