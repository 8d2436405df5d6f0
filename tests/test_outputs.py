"""The same again may be replaced, anything else is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dermsentry.errors import OutputError
from dermsentry.outputs import RECORD, Output, begins_with, numbered


def output(folder: Path, command: str = "evaluate", **made_of: Any) -> Output:
    return Output(folder, command, ("page.html", "figures.json"), made_of or {"part": "test", "seed": 0})


def written(folder: Path, **made_of: Any) -> Output:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "page.html").write_text("a page")
    (folder / "figures.json").write_text("{}")
    one = output(folder, **made_of)
    one.finish()
    return one


def test_a_new_folder_and_the_same_again_are_written(tmp_path: Path) -> None:
    output(tmp_path / "new").check()
    assert not (tmp_path / "new").exists()
    written(tmp_path).check()
    (tmp_path / "page.html").unlink()
    output(tmp_path).check()


def test_another_configuration_is_refused_with_what_differs(tmp_path: Path) -> None:
    written(tmp_path, part="test", seed=0, collection="a" * 64)
    other = output(tmp_path, part="validation", seed=0, collection="b" * 64)
    with pytest.raises(OutputError) as refused:
        other.check()
    told = str(refused.value)
    assert "part test, now validation" in told
    assert "another collection" in told
    assert "seed" not in told
    assert "--force" in told
    other.check(force=True)
    other.finish()
    other.check()


def test_what_only_adds_may_be_turned_on_and_not_off(tmp_path: Path) -> None:
    def audit(content: bool, seed: int = 0) -> Output:
        return replace(output(tmp_path, content=content, seed=seed), adding=("content",))

    written(tmp_path, content=False, seed=0)
    audit(True).check()
    with pytest.raises(OutputError, match=r"\(seed 0, now 1\)"):
        audit(True, seed=1).check()
    audit(True).finish()
    audit(True).check()
    with pytest.raises(OutputError, match="content True, now False"):
        audit(False).check()


def test_an_edited_file_is_refused(tmp_path: Path) -> None:
    one = written(tmp_path)
    (tmp_path / "page.html").write_text("my remarks")
    with pytest.raises(OutputError, match=r"page\.html was changed since evaluate wrote it"):
        one.check()
    one.check(force=True)


def test_what_another_command_or_nobody_wrote_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(OutputError, match=r"page\.html, figures\.json, and nothing says that study"):
        output(tmp_path, "study").check()
    (tmp_path / RECORD).write_text("[broken")
    with pytest.raises(OutputError, match="nothing says that evaluate wrote it"):
        output(tmp_path).check()
    (tmp_path / RECORD).write_text(json.dumps({"evaluate": {"made_of": []}}))
    with pytest.raises(OutputError, match="nothing says that evaluate wrote it"):
        output(tmp_path).check()


def test_what_was_begun_is_resumed_by_the_same_only(tmp_path: Path) -> None:
    output(tmp_path).begin()
    (tmp_path / "page.html").write_text("half of it")
    output(tmp_path).check()
    with pytest.raises(OutputError, match="seed 0, now 1"):
        output(tmp_path, part="test", seed=1).check()


def test_two_commands_share_a_folder(tmp_path: Path) -> None:
    one = written(tmp_path)
    Output(tmp_path, "train", ("run.json",), {"epochs": 2}).begin()
    one.check()


def test_runs_are_numbered_and_found_again(tmp_path: Path) -> None:
    first = Output(tmp_path, "train", ("run.json",), {"epochs": 2})
    assert numbered(tmp_path, first) == tmp_path / "train-1"
    assert numbered(tmp_path, first) == tmp_path / "train-1"  # still empty
    Output(tmp_path / "train-1", "train", ("run.json",), {"epochs": 2}).begin()
    second = Output(tmp_path, "train", ("run.json",), {"epochs": 3})
    assert numbered(tmp_path, second) == tmp_path / "train-2"
    assert numbered(tmp_path, first) == tmp_path / "train-1"


@pytest.mark.parametrize(
    ("there", "same"),
    [("", True), ("a\n", True), ("a\nü\n", True), ("a\nü", False), ("b\n", False), ("a\nü\nc\n", False)],
)
def test_what_grows_is_what_begins_with_what_is_there(tmp_path: Path, there: str, same: bool) -> None:
    path = tmp_path / "log.csv"
    assert begins_with(path, ["a\n"])
    path.write_text(there, encoding="utf-8")
    assert begins_with(path, ["a\n", "ü\n"]) is same
    with pytest.raises(OutputError, match="choose another --out"):
        begins_with(tmp_path, [])
