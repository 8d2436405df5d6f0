"""A photograph that stops, holds or fills its decoder costs itself alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bundles import lesion, rewrite, tiny_bundle
from clinic.dicom_files import dicom_dataset
from dermsentry.errors import BundleError
from dermsentry.images import Unreadable
from dermsentry.model import Bundle
from dermsentry.screening import screen
from dermsentry.screening.guarded import GuardedScreener, GuardedScreeners
from dermsentry.screening.inference import screen_each
from dermsentry.screening.inputs import Source, find_photographs
from screening.poison import decoder, write_photograph


@pytest.fixture
def guarded(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GuardedScreener]:
    path = os.pathsep.join([str(decoder(tmp_path / "site")), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    with GuardedScreener(bundle.folder, bundle.name, time_s=3, memory=1 << 30) as own:
        yield own


def test_what_a_guarded_process_finds_is_what_is_found_here(
    guarded: GuardedScreener, photographs: Path, bundle: Bundle
) -> None:
    found = screen_each(find_photographs(photographs), guarded.screen, guarded.model, threads=4)
    assert [own.finding for own in found] == screen(photographs, bundle)


def test_an_array_is_screened_as_it_is(guarded: GuardedScreener, bundle: Bundle) -> None:
    pixels = np.asarray(lesion(40, 3))
    assert guarded.screen(Source("image"), pixels).finding == screen(pixels, bundle)[0]


def test_a_poisoned_photograph_costs_itself_alone(guarded: GuardedScreener, tmp_path: Path) -> None:
    words = ["", "segfault", "", "abort", "memory", "endless", ""]
    for number, word in enumerate(words):
        write_photograph(tmp_path / "photographs" / f"{number}.jpg", number, word)
    begun = time.monotonic()
    sources = find_photographs(tmp_path / "photographs")
    found = [own.finding for own in screen_each(sources, guarded.screen, guarded.model, threads=3)]
    assert [own.image for own in found] == [str(number) for number in range(len(words))]
    assert [own.tier == "unreadable" for own in found] == [word != "" for word in words]
    reasons = [own.reasons[0] for own in found if own.tier == "unreadable"]
    assert reasons[:2] == ["the file stopped its decoder"] * 2
    assert reasons[2] == "too large to decode"
    assert reasons[3] == "the file took longer than 3 s to read"
    assert all(own.version for own in found)  # they are not tried again as what could not be opened is
    assert time.monotonic() - begun < 300


def test_processes_side_by_side_find_what_is_found_here(
    bundle: Bundle, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dermsentry.screening.guarded.ALONE", 1)
    here = screen(photographs, bundle, findings=tmp_path / "here.jsonl", saliency=tmp_path / "here")
    with GuardedScreeners(bundle.folder, threads=2) as guarded:
        found = screen(photographs, guarded, findings=tmp_path / "f.jsonl", saliency=tmp_path / "there")
        for own in (lesion(40, 3), np.asarray(lesion(40, 3)), dicom_dataset()):
            assert screen(own, guarded) == screen(own, bundle) == screen(own, bundle, guarded=True)
    assert screen(photographs, bundle, guarded=True) == here
    assert found == here
    assert (tmp_path / "f.jsonl").read_text() == (tmp_path / "here.jsonl").read_text()
    drawn = {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()}
    assert drawn == {path.name: path.read_bytes() for path in (tmp_path / "there").iterdir()}
    assert len(drawn) > 1


def test_the_command_goes_on_after_a_photograph_that_crashes(tmp_path: Path, bundle: Bundle) -> None:
    for number, word in enumerate(["", "segfault", ""]):
        write_photograph(tmp_path / "photographs" / f"{number}.jpg", number, word)
    path = os.pathsep.join([str(decoder(tmp_path / "site")), os.environ.get("PYTHONPATH", "")])
    command = [
        sys.executable,
        "-m",
        "dermsentry",
        "screen",
        str(tmp_path / "photographs"),
        "--format",
        "json",
    ]
    run = subprocess.run(
        [*command, "--model", str(bundle.folder)], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert run.returncode == 3
    found = [json.loads(line) for line in run.stdout.splitlines()]
    assert [own["tier"] == "unreadable" for own in found] == [False, True, False]
    assert found[1]["reasons"] == ["the file stopped its decoder"]


def test_the_command_leaves_the_network_to_its_processes(bundle: Bundle, photographs: Path) -> None:
    code = (
        "import sys; from dermsentry.cli import app; "
        "app(sys.argv[1:], standalone_mode=False); sys.exit('onnxruntime' in sys.modules)"
    )
    command = [sys.executable, "-c", code, "screen", str(photographs), "--model", str(bundle.folder)]
    run = subprocess.run(command, capture_output=True, check=False, text=True)
    assert run.returncode == 0, run.stderr
    assert "photographs in" in run.stderr


def test_a_model_that_is_refused_is_told_before_anything_is_written(
    photographs: Path, tmp_path: Path
) -> None:
    refused = tiny_bundle(tmp_path / "bundle")
    rewrite(refused.folder, lambda record: record["self_test"].update(no_lesion=0.9))
    with (
        GuardedScreeners(refused.folder, threads=1) as guarded,
        pytest.raises(BundleError, match="self-test does not give"),
    ):
        screen(photographs, guarded, findings=tmp_path / "f.jsonl")
    assert not (tmp_path / "f.jsonl").exists()


def test_an_answer_about_another_photograph_is_no_finding(
    guarded: GuardedScreener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_photograph(tmp_path / "photograph.jpg", 1)
    data = (tmp_path / "photograph.jpg").read_bytes()
    guarded.model = "another model"
    with pytest.raises(Unreadable, match="stopped its decoder"):
        guarded.screen(Source("photograph.jpg"), data)
