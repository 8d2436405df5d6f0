"""What the public API's docstrings say of every parameter, field, result and error; and the page of them."""

from __future__ import annotations

import doctest
import inspect
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import dermsentry
from dermsentry.diagnoses import CODES
from dermsentry.evaluation import evaluate_predictions
from docs import make_api, make_layouts
from docs.make_api import members, names, sections


def is_error(name: str) -> bool:
    """Whether a public name is an exception, of which there is nothing to show."""
    thing = getattr(dermsentry, name)
    return inspect.isclass(thing) and issubclass(thing, Exception)


def missing(name: str) -> list[str]:
    """What the docstring of a public name does not say."""
    thing = getattr(dermsentry, name)
    if inspect.isfunction(thing):
        return list(_function(name, thing))
    if is_error(name):
        return [] if inspect.getdoc(thing) else [f"{name}: no docstring"]
    assert is_dataclass(thing)
    described = _told(thing)
    found = [f"{name}.{field.name}" for field in fields(thing) if field.name not in described]
    found += [
        f"{name}.{field.name}: shape"
        for field in fields(thing)
        if not _shaped(field.type, described, field.name)
    ]
    for inner, value in members(thing).items():
        found += [] if isinstance(value, property) else _function(f"{name}.{inner}", value, results=False)
        found += [] if inspect.getdoc(value) else [f"{name}.{inner}: no docstring"]
    return found


def _function(name: str, function: object, *, results: bool = True) -> Iterator[str]:
    described = _told(function)
    for parameter in inspect.signature(function).parameters.values():  # type: ignore[arg-type]
        if parameter.name == "self":
            continue
        if parameter.name not in described:
            yield f"{name}({parameter.name})"
        elif not _shaped(parameter.annotation, described, parameter.name):
            yield f"{name}({parameter.name}): shape"
    if results:
        yield from (f"{name}: {section}" for section in {"Returns", "Raises"} - set(sections(function)))


def _told(thing: object) -> dict[str, str]:
    """What the docstring says of each parameter or attribute; several may share a line."""
    found = sections(thing)
    told = {**found.get("Parameters", {}), **found.get("Attributes", {})}
    return {name: text for listed, text in told.items() for name in listed.split(" :")[0].split(", ") if text}


def _shaped(annotation: object, described: dict[str, str], name: str) -> bool:
    """Whether it is no array, or its shape is told."""
    array = re.search(r"NDArray|Pixels|Floats|ImageInput", str(annotation))
    return not array or "(" in described.get(name, "(")


def test_every_public_docstring_says_all_of_it() -> None:
    assert {name: problems for name in names() if (problems := missing(name))} == {}


@pytest.mark.parametrize("name", [own for own in names() if not is_error(own)])
def test_every_public_function_and_class_has_an_example_that_runs(
    name: str, phantoms: dermsentry.Phantoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder with `photographs`; what trains, or needs a network or a cluster, is not run here."""
    shutil.copytree(phantoms.root, tmp_path / "photographs")
    monkeypatch.chdir(tmp_path)
    thing = getattr(dermsentry, name)
    [example] = doctest.DocTestFinder(recurse=False).find(thing, name, globs={})
    runner = doctest.DocTestRunner(optionflags=doctest.FAIL_FAST)
    assert example.examples
    assert "Examples" in sections(thing)
    assert not runner.run(example).failed


@pytest.mark.parametrize(
    "name",
    ["Finding", "Evaluation", "Split", "Run", "Study", "Audit", "Collection", "Bundle", "Estimate"],
)
def test_what_a_user_gets_back_is_public(name: str) -> None:
    assert name in dermsentry.__all__


def test_what_a_user_gets_back_shows_itself(phantom_collection: dermsentry.Collection) -> None:
    probability = np.full((18, 9), 1 / 9)
    groups = [str(number) for number in range(18)]
    history = pd.DataFrame({"epoch": [1], "val_accuracy": [0.5]})
    for thing in (
        phantom_collection,
        dermsentry.audit_collection(phantom_collection),
        dermsentry.make_split(phantom_collection),
        dermsentry.Run(Path("run"), Path("run/bundle"), history, 1, 2.0),
        evaluate_predictions(list(CODES) * 2, probability, groups, resamples=2),
        dermsentry.open_bundle(),
        dermsentry.screen(phantom_collection.paths[0])[0],
    ):
        assert "\n" not in repr(thing)
        assert len(repr(thing)) < 300
        assert "<" in thing._repr_html_()  # type: ignore[attr-defined]


def test_the_page_is_up_to_date() -> None:
    assert make_api.PAGE.read_text(encoding="utf-8") == make_api.page(), "run `make api`"


def test_the_page_of_layouts_is_up_to_date() -> None:
    assert make_layouts.PAGE.read_text(encoding="utf-8") == make_layouts.page(), "run `make api`"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: dermsentry.audit_collection("photographs"),
            "collection='photographs'; expected a Collection",
        ),
        (
            lambda: dermsentry.make_split(Path("x")),
            "PosixPath as collection; expected a Collection, as read_",
        ),
        (lambda: dermsentry.join_collections("ab"), "one of the collections='a'; expected a Collection"),
        (lambda: dermsentry.train("x", "y", "z"), "collection='x'; expected a Collection"),
        (lambda: dermsentry.evaluate("dermoscopy", None), "NoneType as collection; expected a Collection"),
    ],
)
def test_another_type_is_one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(dermsentry.InputError, match=re.escape(message)) as refused:
        call()
    assert "\n" not in str(refused.value)


def test_a_split_of_another_type_is_one_line(phantom_collection: dermsentry.Collection) -> None:
    expected = "split='split.csv'; expected a (Split|DataFrame), as make_split or read_split gives"
    with pytest.raises(dermsentry.InputError, match=expected):
        dermsentry.make_folds("split.csv", phantom_collection, folds=2)  # type: ignore[arg-type]
    with pytest.raises(dermsentry.InputError, match=expected):
        dermsentry.train(phantom_collection, "split.csv", "out")  # type: ignore[arg-type]
    with pytest.raises(dermsentry.InputError, match=expected):
        dermsentry.evaluate("dermoscopy", phantom_collection, "split.csv")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Received pixels \(1, 1\)"):
        dermsentry.open_bundle().predict([[1]])  # type: ignore[arg-type]
