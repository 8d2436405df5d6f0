"""Importing the package, asking for help and screening pull in nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

import dermsentry

TRAINING = {"keras", "tensorflow", "sklearn", "tf2onnx", "Augmentor", "torch"}
HEAVY = TRAINING | {"pandas", "matplotlib", "onnxruntime", "jinja2", "scipy"}


def modules_after(code: str) -> set[str]:
    code = f"{code}\nimport sys\nprint('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stderr.split()}


def test_importing_the_package_is_light() -> None:
    assert not modules_after("import dermsentry") & (HEAVY | {"numpy", "PIL", "typer"})


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["screen", "--help"], ["study", "--help"]])
def test_help_is_light(arguments: list[str]) -> None:
    code = f"""
import sys
from dermsentry.cli import main
sys.argv = ['dermsentry', *{arguments!r}]
try:
    main()
except SystemExit as leaving:
    assert leaving.code in (0, None), leaving.code
"""
    assert not modules_after(code) & HEAVY


@pytest.mark.parametrize(
    "module",
    [
        "screening", "model", "evaluation", "audit", "images", "collection", "phantoms",
        "clinic.server.serving", "clinic.server.ways_in", "clinic.worker.worker", "clinic.store.backup",
        "clinic.web.app",
    ],
)  # fmt: skip
def test_a_stage_without_training_needs_no_training_framework(module: str) -> None:
    assert not modules_after(f"import dermsentry.{module}") & TRAINING


@pytest.mark.parametrize("name", dermsentry.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert name in dir(dermsentry)
    assert getattr(dermsentry, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = dermsentry.nothing
