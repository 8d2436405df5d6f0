"""Findings that grow line by line: resumed, cut off, of another model or collection, and in shards."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from bundles import lesion, tiny_bundle
from dermsentry.errors import DataWarning, InputError, OutputError
from dermsentry.model import Bundle
from dermsentry.phantoms import draw_phantom
from dermsentry.screening import Finding, iter_screen, screen
from dermsentry.screening.inputs import read_shard


class Counting:
    """A bundle's session that counts what it predicts."""

    def __init__(self, session: object) -> None:
        self.session, self.runs = session, 0

    def run(self, names: object, feeds: object) -> object:
        self.runs += 1
        return self.session.run(names, feeds)  # type: ignore[attr-defined]


def counting(bundle: Bundle) -> tuple[Bundle, Counting]:
    session = Counting(bundle.session)
    return Bundle(bundle.folder, bundle.card, 2, session, bundle.output_names), session


def told(*arguments: object, **options: object) -> tuple[list[Finding], str]:
    with pytest.warns(DataWarning) as caught:
        found = screen(*arguments, **options)  # type: ignore[arg-type]
    return found, " ".join(str(one.message) for one in caught)


def test_what_is_there_is_not_screened_again_and_all_are_given_back(
    photographs: Path, bundle: Bundle, tmp_path: Path
) -> None:
    counted, session = counting(bundle)
    path = tmp_path / "f.jsonl"
    first = screen(photographs, counted, findings=path)
    before, runs = path.read_bytes(), session.runs
    again, said = told(photographs, counted, findings=path, predictions=tmp_path / "p.csv")
    assert again == first
    assert (path.read_bytes(), session.runs) == (before, runs)
    assert "9 findings of an earlier run kept" in said
    assert (tmp_path / "p.csv").read_text().count("\n") == 7
    Image.fromarray(lesion(90, 9)).save(photographs / "first" / "later.jpg")
    more, _ = told(photographs, counted, findings=path)
    assert len(more) == 10
    assert session.runs == runs + 1


def test_a_photograph_that_changed_is_screened_again_and_its_finding_replaced(
    photographs: Path, bundle: Bundle, tmp_path: Path
) -> None:
    path = tmp_path / "f.jsonl"
    screen(photographs, bundle, findings=path)
    changed = photographs / "first" / "lesion0.jpg"
    Image.fromarray(lesion(150, 5)).save(changed)
    found, said = told(photographs, bundle, findings=path)
    assert "8 findings of an earlier run kept" in said
    assert "1 finding replaced" in said
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(line["path"] for line in lines) == sorted(one.path for one in found)
    assert {line["path"]: line["tier"] for line in lines}[str(changed)] == "alert"


def test_what_was_missing_is_tried_again(photographs: Path, bundle: Bundle, tmp_path: Path) -> None:
    path, lost = tmp_path / "f.jsonl", photographs / "lost.jpg"
    given = [photographs / "first" / "lesion0.jpg", lost]
    assert screen(given, bundle, findings=path, strict=False)[1].tier == "unreadable"
    told(given, bundle, findings=path, strict=False)
    assert path.read_text().count("\n") == 2
    Image.fromarray(lesion()).save(lost)
    found, _ = told(given, bundle, findings=path, strict=False)
    assert found[1].tier != "unreadable"
    assert path.read_text().count("\n") == 2


def test_a_line_that_was_cut_off_is_removed_and_told(
    photographs: Path, bundle: Bundle, tmp_path: Path
) -> None:
    path = tmp_path / "f.jsonl"
    screen(photographs, bundle, findings=path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    _, said = told(photographs, bundle, findings=path)
    assert "the last line was cut off" in said
    assert path.read_bytes() == whole
    path.write_bytes(whole.replace(b'"tier"', b'"teer"', 1).replace(b'{"schema"', b"{schema", 1))
    with pytest.raises(OutputError, match=r"f\.jsonl, line 1: no finding .*force=True"):
        screen(photographs, bundle, findings=path)


def test_findings_of_something_else_are_refused_and_replaced_by_force(
    photographs: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, first = tmp_path / "f.jsonl", photographs / "first"
    screen(first, bundle, findings=path)
    with pytest.raises(
        OutputError, match=r"holds findings of .*first; received .*second; choose another folder"
    ):
        iter_screen(photographs / "second", bundle, findings=path)
    other = tiny_bundle(tmp_path / "other", temperature=2.0)
    with pytest.raises(OutputError, match=r"by the model tiny .*; received tiny .*force=True"):
        iter_screen(first, other, findings=path)
    with pytest.raises(OutputError, match="images in memory cannot be resumed"):
        screen(lesion(), bundle, findings=path)
    with pytest.raises(OutputError, match="of the shards all of them; received 1/2"):
        iter_screen(first, bundle, findings=path, shard="1/2")
    monkeypatch.chdir(photographs)
    screen("first", bundle, findings=tmp_path / "relative.jsonl")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "first").symlink_to(first)
    with pytest.raises(OutputError, match="received paths in"):
        screen("first", bundle, findings=tmp_path / "relative.jsonl")
    assert path.read_text().count("\n") == 4
    assert len(screen(photographs / "second", other, findings=path, force=True)) == 5
    assert path.read_text().count("\n") == 5
    (tmp_path / "f.run.json").unlink()
    with pytest.raises(OutputError, match=r"is there, and not f\.run\.json"):
        screen(first, bundle, findings=path)


def test_two_processes_do_not_write_one_file(photographs: Path, bundle: Bundle, tmp_path: Path) -> None:
    running = iter_screen(photographs, bundle, findings=tmp_path / "f.jsonl")
    next(running)
    with pytest.raises(OutputError, match="is being written by another process"):
        screen(photographs, bundle, findings=tmp_path / "f.jsonl")
    assert len(list(running)) == 8


@pytest.mark.skipif(os.name == "nt", reason="needs a shell's limit")
def test_a_full_disk_is_one_line_and_resumed(photographs: Path, bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "f.jsonl"
    asked = command(photographs, "--model", bundle.folder, "--findings", out)
    limited = ["bash", "-c", 'ulimit -f 2; exec "$@"', "bash", *asked]
    done = subprocess.run(limited, capture_output=True, timeout=60, check=False)
    assert done.returncode == 4
    assert b"f.jsonl: File too large. Run it again to resume." in done.stderr
    assert b"Traceback" not in done.stderr
    assert not out.read_bytes().endswith(b"\n")
    again = subprocess.run(asked, capture_output=True, timeout=60, check=False)
    assert b"was cut off" in again.stderr
    assert len({json.loads(line)["path"] for line in out.read_text().splitlines()}) == 9


def test_saliency_maps_that_are_missing_are_drawn(photographs: Path, bundle: Bundle, tmp_path: Path) -> None:
    path, maps = tmp_path / "f.jsonl", tmp_path / "maps"
    screen(photographs, bundle, findings=path, saliency=maps)
    (maps / "lesion3.png").unlink()
    before = path.read_bytes()
    counted, session = counting(bundle)
    told(photographs, counted, findings=path, saliency=maps)
    assert session.runs == 1
    assert len(list(maps.iterdir())) == 6
    assert sorted(path.read_bytes().splitlines()) == sorted(before.splitlines())


def test_shards_are_all_of_them_once_and_the_same_everywhere(
    photographs: Path, bundle: Bundle, tmp_path: Path
) -> None:
    whole = {one.path for one in screen(photographs, bundle)}
    parts = [[one.path for one in screen(photographs, bundle, shard=f"{n}/3")] for n in (1, 2, 3)]
    assert sorted(path for part in parts for path in part) == sorted(whole)
    [place] = [n for n in range(1, 41) if read_shard(f"{n}/40").has("s3://bucket/visits/0001.jpg")]
    assert place == 6
    for wrong in ("0/3", "4/3", "1", "1/0", "a/b", "-1/2"):
        with pytest.raises(InputError, match="expected one such as 3/40"):
            iter_screen(photographs, bundle, shard=wrong)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "dermsentry.cli", "screen", *map(str, arguments)]


def run(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command(*arguments), capture_output=True, timeout=60, check=False)


def test_shards_share_a_folder_and_never_a_file(photographs: Path, bundle: Bundle, tmp_path: Path) -> None:
    out, model = tmp_path / "out", ("--model", bundle.folder)
    for number in (1, 2):
        done = run(photographs, *model, "--out", out, "--shard", f"{number}/2")
        assert done.returncode in (0, 3), done.stderr.decode()
    lines = [
        line for number in (1, 2) for line in (out / f"findings-{number}-of-2.jsonl").read_text().splitlines()
    ]
    assert len({json.loads(line)["path"] for line in lines}) == len(lines) == 9
    for wrong, said in (
        ((), b"received all of them in one file"),
        (("--shard", "1/3"), b"received the shard 1/3"),
    ):
        refused = run(photographs, *model, "--out", out, *wrong)
        assert refused.returncode == 4
        assert said in refused.stderr
    other = tiny_bundle(tmp_path / "other", temperature=2.0)
    refused = run(photographs, "--model", other.folder, "--out", out, "--shard", "1/2")
    assert refused.returncode == 4
    assert b"--force" in refused.stderr


def test_nothing_is_lost_or_doubled_by_kills(bundle: Bundle, tmp_path: Path) -> None:
    """A few hundred phantoms; `benchmarks/kills.py` does the same with thousands."""
    count, kills = 240, 5
    folder = tmp_path / "phantoms"
    folder.mkdir()
    for number in range(count):
        Image.fromarray(draw_phantom("MEL" if number % 3 else "NV", number, (96, 96))).save(
            folder / f"{number}.jpg"
        )
    out = tmp_path / "out" / "findings.jsonl"
    arguments = command(folder, "--model", bundle.folder, "--out", out.parent, "--threads", 2)
    for kill in range(kills):
        wanted = (kill + 1) * count // (kills + 2)
        with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
            while running.poll() is None and lines(out) < wanted:
                time.sleep(0.002)
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.pid, signal.SIGKILL)
        assert running.returncode == -signal.SIGKILL
        assert lines(out) < count
        if kill == 2:  # what a kill can leave at worst
            with out.open("ab") as file:
                file.write(b'{"schema": 3, "image": "cut o')
    done = subprocess.run(arguments, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(one["path"] for one in found) == sorted(map(str, folder.iterdir()))
    straight = screen(folder, bundle)
    assert [one["path"] for one in found] == [one.path for one in straight]
    assert [one["melanoma"] for one in found] == [one.melanoma for one in straight]
    assert (out.parent / "predictions.csv").read_text().count("\n") == count + 1
    assert b"findings of an earlier run kept" in done.stderr


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
