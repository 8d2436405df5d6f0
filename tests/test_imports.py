"""Importing the package, asking for help and screening pull in nothing heavy."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

import dermsentry
from dermsentry.collection import Collection
from dermsentry.errors import how_to_install
from dermsentry.split import make_split, write_split

ROOT = Path(__file__).resolve().parents[1]

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


@pytest.mark.parametrize("module", ["clinic.web.app", "clinic.server.serving"])
def test_serving_pages_does_not_load_what_only_measuring_needs(module: str) -> None:
    assert not modules_after(f"import dermsentry.{module}") & {"cv2", "onnxruntime", "fhir", "highdicom"}


@pytest.mark.parametrize(
    "module",
    [
        "screening", "model", "evaluation", "adoption", "audit", "images", "collection", "fetching",
        "phantoms",
        "clinic.server.serving", "clinic.server.ways_in", "clinic.worker.worker", "clinic.backup",
        "clinic.web.app",
    ],
)  # fmt: skip
def test_a_stage_without_training_needs_no_training_framework(module: str) -> None:
    assert not modules_after(f"import dermsentry.{module}") & TRAINING


def test_loading_the_training_framework_says_nothing() -> None:
    code = "from dermsentry.training import require_framework; require_framework(); import tensorflow, keras"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("command", [["train", "set", "--split", "s.csv"], ["study", "set"], ["demo"]])
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_training_on_another_backend_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], backend: str
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", backend)
    code = f"import sys; sys.argv = {['dermsentry', *command]!r}; from dermsentry.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == (
        f"dermsentry: Received the Keras backend {backend} (KERAS_BACKEND); expected tensorflow, by which "
        "Dermsentry trains and writes bundles. Unset KERAS_BACKEND."
    )
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*/*"))


@pytest.mark.parametrize("name", dermsentry.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert name in dir(dermsentry)
    assert getattr(dermsentry, name) is not None


LIGHT = f"""
import sys
for name in {TRAINING!r} | {{'sqlalchemy', 'fastapi', 'pydicom', 'ray'}}:
    sys.modules[name] = None  # as where the extras are not installed
"""


def run(code: str, returns: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LIGHT + code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == returns, done.stderr
    return done


def test_a_light_install_shows_the_whole_public_api() -> None:
    run(
        "import dermsentry, inspect, pydoc\n"
        "for name in dir(dermsentry): assert hasattr(dermsentry, name), name\n"
        "assert 'network' in inspect.signature(dermsentry.train).parameters\n"
        "assert 'fast' in inspect.signature(dermsentry.study).parameters\n"
        "shown = pydoc.plain(pydoc.render_doc(dermsentry))\n"
        "assert all(f'{name}(' in shown for name in ('train', 'study', 'screen', 'evaluate'))\n"
    )


@pytest.mark.parametrize(
    "call", ["dermsentry.train(None, None, 'out')", "dermsentry.study(None, 'out')", "demo(out='out')"]
)
def test_a_light_install_says_what_to_install(call: str) -> None:
    done = run(
        "import dermsentry\n"
        "from dermsentry.demo import demo\n"
        f"try: {call}\n"
        "except dermsentry.InputError as error: print(error)\n"
    )
    assert done.stdout.startswith(
        "tensorflow is not installed; it comes with the extra train-cpu, or train-gpu on an NVIDIA card: "
        "pip install '"
    )


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["train", "DATA", "--split", "SPLIT", "--out", "OUT"], "train-cpu"),
        (["study", "DATA", "--out", "OUT"], "train-cpu"),
        (["demo", "--out", "OUT"], "train-cpu"),
        (["serve"], "clinic"),
        (["audit-log", "verify"], "clinic"),
        (["screen", "DATA", "--engine", "ray", "--out", "OUT"], "cluster"),
    ],
)
def test_a_command_of_an_extra_says_which_in_one_line(
    arguments: list[str], extra: str, phantom_collection: Collection, tmp_path: Path
) -> None:
    places = {"DATA": phantom_collection.root, "SPLIT": tmp_path / "split.csv", "OUT": tmp_path / "out"}
    if "SPLIT" in arguments:
        write_split(make_split(phantom_collection), tmp_path / "split.csv")
    given = [str(places.get(argument, argument)) for argument in arguments]
    done = run(f"sys.argv = ['dermsentry', *{given!r}]\nfrom dermsentry.cli import main\nmain()", returns=2)
    assert done.stderr.endswith(f"[{extra}]'.\n")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("names", [("dermsentry", "screen"), ("dermsentry.screening", "screen")])
def test_a_submodule_is_imported_after_the_function_was_used(names: tuple[str, str]) -> None:
    package, function = names
    run(
        f"import {package}\n"
        f"assert callable({package}.{function})\n"
        "import dermsentry.screening.triage, dermsentry.screening.pipeline\n"
        f"assert callable({package}.{function})\n"
        "assert dermsentry.screening.triage.TIERS\n"
    )


def test_eager_import_imports_every_name_and_no_framework() -> None:
    run(
        "import os\n"
        "os.environ['EAGER_IMPORT'] = '1'\n"
        "import dermsentry\n"
        "assert set(dir(dermsentry)) <= set(vars(dermsentry))\n"
    )


def test_what_the_framework_runs_takes_what_its_public_function_says() -> None:
    from dermsentry.nine_class.study import study
    from dermsentry.training.pipeline import train

    for own, public in ((train, dermsentry.train), (study, dermsentry.study)):
        told = inspect.signature(public)
        without = [each.replace(default=inspect.Parameter.empty) for each in told.parameters.values()]
        assert inspect.signature(own) == told.replace(parameters=without)


def test_type_checkers_know_every_public_name(tmp_path: Path) -> None:
    """As one who installed Dermsentry sees it: the stub, not `Any`."""
    types = {
        "screen('a.jpg')": "list[dermsentry.Finding]",
        "iter_screen(b'a')": "Iterator[dermsentry.Finding]",
        "screen([Path('a'), b'a', array, image, dataset], shard='1/2')": "list[dermsentry.Finding]",
        "screen(array for _ in range(3))": "list[dermsentry.Finding]",
        "screen('a').pop().melanoma": "float | None",
        "screen('a').pop().reasons": "tuple[str, ...]",
        "open_bundle(device='cuda').device": "Literal['cpu', 'cuda']",
        "read_collection('a')": "dermsentry.Collection",
        "audit_collection(c)": "dermsentry.Audit",
        "make_split(c)": "dermsentry.Split",
        "train(c, s, 'run')": "dermsentry.Run",
        "evaluate('bundle', c)": "dermsentry.Evaluation",
        "open_bundle()": "dermsentry.Bundle",
        "adopt('bundle', 'photographs')": "dermsentry.Adoption",
        "draw_phantoms('a')": "dermsentry.Phantoms",
    }
    lines = [
        "from collections.abc import Iterator",
        "from pathlib import Path",
        "from typing import Literal, assert_type",
        "import dermsentry",
        "import numpy",
        "from numpy.typing import NDArray",
        "from PIL.Image import Image",
        "from pydicom import Dataset",
        "array: NDArray[numpy.uint8]",
        "image: Image",
        "dataset: Dataset",
        "def check(c: dermsentry.Collection, s: dermsentry.Split) -> None:",
        *(f"    assert_type(dermsentry.{call}, {kind})" for call, kind in types.items()),
        *(f"    reveal_type(dermsentry.{name})" for name in dermsentry.__all__),
    ]
    (tmp_path / "uses.py").write_text("\n".join(lines))
    command = [sys.executable, "-m", "mypy", tmp_path / "uses.py"]
    # In the checkout, where `make types` has left its cache.
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("Revealed type is") == len(dermsentry.__all__)
    assert '"Any"' not in done.stdout


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="attribute nothing"):
        _ = dermsentry.nothing


BASE = """
import sys
for name in ('pandas', 'scipy', 'matplotlib', 'openpyxl', 'cv2', 'faiss', 'httpx', 'tenacity'):
    sys.modules[name] = None  # as where screening alone is installed
"""


@pytest.mark.parametrize(
    "arguments",
    [["audit", "set"], ["split", "set"], ["evaluate", "dermoscopy", "set"], ["adopt", "dermoscopy", "set"],
     ["fetch", "isic9", "--out", "set"]],
)  # fmt: skip
def test_an_install_that_screens_says_what_else_a_command_needs(arguments: list[str]) -> None:
    given = ["dermsentry", *arguments, *(["--out", "x"] if arguments[0] == "adopt" else [])]
    done = run(f"{BASE}\nsys.argv = {given!r}\nfrom dermsentry.cli import main\nmain()", returns=2)
    assert "is not installed; it comes with the extra audit: pip install '" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_install_that_screens_screens_and_says_what_other_names_need(tmp_path: Path) -> None:
    done = run(
        f"{BASE}\nimport dermsentry\n"
        "(found,) = dermsentry.screen(__import__('numpy').full((300, 300, 3), 128, 'uint8'))\n"
        "print(found.tier)\n"
        "try: dermsentry.read_collection\n"
        "except ImportError as error: print(error)\n"
    )
    assert done.stdout.splitlines()[0] == "cannot-say"
    assert done.stdout.splitlines()[1].endswith("[audit]'.")


def test_advice_is_for_where_the_package_came_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = json.dumps({"url": ROOT.as_uri(), "dir_info": {}})
    kind = type(distribution("dermsentry"))  # that of `importlib_metadata`, where that was imported
    monkeypatch.setattr(kind, "read_text", lambda self, name: told)
    monkeypatch.chdir(ROOT)
    assert how_to_install("pandas", "audit").endswith("pip install '.[audit]'.")
    monkeypatch.chdir(tmp_path)
    assert how_to_install("pandas", "audit").endswith(f"pip install '{ROOT}[audit]'.")
    monkeypatch.setattr(kind, "read_text", lambda self, name: None)  # as from an index
    assert how_to_install("pandas", "audit").endswith("pip install 'dermsentry[audit]'.")
