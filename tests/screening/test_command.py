"""The commands `screen` and `model`, as a person types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from bundles import lesion
from dermsentry.model import Bundle


def dermsentry(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-W", "error", "-m", "dermsentry.cli", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)


def test_table(photographs: Path, bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = dermsentry("screen", photographs, "--model", bundle.folder, "--out", out, "--saliency")
    assert done.returncode == 3
    lines = done.stdout.decode().splitlines()
    assert lines[0].split() == ["tier", "melanoma", "likeliest", "photograph"]
    assert sum(line.startswith("unreadable") for line in lines) == 3
    assert any(line.startswith("alert") and "melanoma" in line for line in lines)
    said = done.stderr.decode()
    assert "synthetic images" in said
    assert "9 photographs in" in said
    assert sorted(p.name for p in out.iterdir()) == [
        ".predictions.csv.dermsentry.json",
        "findings.jsonl",
        "findings.run.json",
        "predictions.csv",
        "saliency",
    ]


def test_json_and_a_list_on_stdin(photographs: Path, bundle: Bundle) -> None:
    listed = f"{photographs}/first/lesion2.jpg\n{photographs}/lost.jpg\n".encode()
    done = dermsentry("screen", "-", "--model", bundle.folder, "--format", "json", stdin=listed)
    assert done.returncode == 3
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["tier"] for line in lines] == ["routine", "unreadable"]
    assert lines[1]["reasons"] == ["the file is missing"]


def test_one_photograph_on_stdin(photographs: Path, bundle: Bundle) -> None:
    data = (photographs / "first" / "lesion2.jpg").read_bytes()
    done = dermsentry("screen", "-", "--model", bundle.folder, "--format", "json", stdin=data)
    assert done.returncode == 0
    [line] = [json.loads(line) for line in done.stdout.splitlines()]
    assert (line["image"], line["path"], line["tier"]) == ("image", "image", "routine")
    broken = dermsentry("screen", "-", "--model", bundle.folder, stdin=b"\x01\x02no photograph")
    assert broken.returncode == 3
    assert b"not a photograph" in broken.stdout
    archive = dermsentry("screen", "-", "--model", bundle.folder, stdin=b"PK\x03\x04" + bytes(600))
    assert archive.returncode == 2
    assert b"Received a zip archive on stdin" in archive.stderr


def test_what_is_resumed_is_told_and_printed(photographs: Path, bundle: Bundle, tmp_path: Path) -> None:
    asked = ("screen", photographs, "--model", bundle.folder, "--out", tmp_path / "out")
    first, again = dermsentry(*asked), dermsentry(*asked)
    assert (again.returncode, again.stdout) == (3, first.stdout)
    assert b"9 findings of an earlier run kept, and not screened again." in again.stderr
    other = dermsentry("screen", photographs / "first", *asked[2:])
    assert other.returncode == 4
    assert b"choose another folder, or replace them by --force" in other.stderr
    assert dermsentry("screen", photographs / "first", *asked[2:], "--force").returncode == 3
    assert (tmp_path / "out" / "findings.jsonl").read_text().count("\n") == 4


def test_csv(photographs: Path, bundle: Bundle, tmp_path: Path) -> None:
    done = dermsentry(
        *("screen", photographs / "first" / "lesion0.jpg", "--model", bundle.folder, "--format", "csv"),
        *("--predictions", tmp_path / "p.csv", "--findings", tmp_path / "f.jsonl"),
    )
    assert done.returncode == 0
    assert done.stdout.decode() == (tmp_path / "p.csv").read_text()
    assert done.stdout.startswith(b"image,AK,BCC,DF,MEL,NV,PBK,SCC,SK,VASC\nlesion0,0.")
    assert (tmp_path / "f.jsonl").read_text().count("\n") == 1


@pytest.mark.parametrize("option", ["--table", "--predictions"])
@pytest.mark.parametrize("into", ["alone", "findings"])
def test_a_table_replaces_only_itself(
    photographs: Path, bundle: Bundle, tmp_path: Path, option: str, into: str
) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("patient,age\n1,50\n")
    also = () if into == "alone" else ("--findings", tmp_path / "f.jsonl")
    model = ("--model", bundle.folder)
    asked = ("screen", photographs / "first", *model, option, table, *also)
    refused = dermsentry(*asked)
    assert (refused.returncode, refused.stdout) == (4, b"")
    assert f"choose another {option}, or replace it by --force" in refused.stderr.decode()
    assert table.read_text() == "patient,age\n1,50\n"
    assert dermsentry(*asked, "--force").returncode == 3
    first = table.read_text()
    assert first.startswith("image,")
    assert dermsentry(*asked).returncode == 3  # the same again
    assert table.read_text() == first
    table.write_text(first + "a remark\n")
    assert b"was changed since screen wrote it" in dermsentry(*asked).stderr
    table.write_text(first)
    moved = ("--findings", tmp_path / "g.jsonl") if also else ()
    other = dermsentry("screen", photographs / "second", *model, option, table, *moved)
    assert other.returncode == 4
    assert table.read_text() == first


def test_tables_beside_findings_grow_with_them(photographs: Path, bundle: Bundle, tmp_path: Path) -> None:
    asked = ("--model", bundle.folder, "--out", tmp_path / "out", "--table", tmp_path / "out" / "t.parquet")
    assert dermsentry("screen", photographs / "first", *asked).returncode == 3
    assert dermsentry("screen", photographs / "first", photographs / "second", *asked).returncode == 3
    predictions = tmp_path / "out" / "predictions.csv"
    assert predictions.read_text().count("\n") == 7
    (tmp_path / "out").rename(tmp_path / "moved")
    asked = ("--model", bundle.folder, "--out", tmp_path / "moved")
    assert dermsentry("screen", photographs / "first", *asked).returncode == 3
    predictions = tmp_path / "moved" / "predictions.csv"
    predictions.write_text(predictions.read_text().replace("0.", "1."))
    refused = dermsentry("screen", photographs / "first", *asked)
    assert refused.returncode == 4
    assert b"predictions.csv was changed since screen wrote it" in refused.stderr
    (tmp_path / "moved" / ".predictions.csv.dermsentry.json").unlink()
    assert dermsentry("screen", photographs / "first", *asked).returncode == 4
    predictions.unlink()  # as where a kill came before the table
    assert dermsentry("screen", photographs / "first", *asked).returncode == 3


def test_two_of_one_name_cost_the_csv_alone_and_never_leave_an_older_one(
    photographs: Path, bundle: Bundle, tmp_path: Path
) -> None:
    Image.fromarray(lesion()).save(photographs / "second" / "lesion0.png")
    asked = ("screen", photographs, "--model", bundle.folder)
    done = dermsentry(*asked, "--out", tmp_path / "out")
    assert done.returncode == 3
    assert "no predictions.csv" in done.stderr.decode()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["findings.jsonl", "findings.run.json"]
    (tmp_path / "out" / "predictions.csv").write_text("of an older run")
    for more in (("--out", tmp_path / "out"), ("--format", "csv"), ("--predictions", tmp_path / "p.csv")):
        refused = dermsentry(*asked, *more)
        assert refused.returncode == 2
        assert "are both named lesion0" in refused.stderr.decode()
        assert refused.stdout == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device")
def test_a_full_disk_behind_stdout_is_one_line(photographs: Path, bundle: Bundle) -> None:
    command = [sys.executable, "-m", "dermsentry.cli", "screen", photographs, "--model", bundle.folder]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 4
    assert b"Cannot write to stdout: No space left on device." in done.stderr
    assert b"Traceback" not in done.stderr


def test_interrupted_nothing_is_half_written(photographs: Path, bundle: Bundle, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dermsentry.cli", "screen", "-", "--model", bundle.folder]
    command += ["--format", "json", "--out", tmp_path / "out"]
    lesions = sorted(photographs.rglob("lesion*.jpg"))
    for number in range(3000):
        os.link(lesions[number % 6], photographs / f"{number}.jpg")
    listed = "\n".join(str(photographs / f"{number}.jpg") for number in range(3000)).encode()

    def listen() -> None:  # where the tests run in the background, an interrupt is ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, preexec_fn=listen) as run:
        assert run.stdin
        assert run.stdout
        assert run.stderr
        run.stdin.write(listed)
        run.stdin.close()
        run.stdout.readline()
        run.send_signal(signal.SIGINT)
        run.stdout.read()
        said = run.stderr.read()
        assert run.wait(timeout=60) == 130
    assert b"Traceback" not in said
    assert b"Run it again to resume" in said
    record = ".predictions.csv.dermsentry.json"  # of the table to come
    left = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert left == [record, "findings.jsonl", "findings.run.json"]
    assert all(json.loads(line) for line in (tmp_path / "out" / "findings.jsonl").read_text().splitlines())


def test_a_name_cannot_move_the_cursor(tmp_path: Path, bundle: Bundle) -> None:
    Image.fromarray(lesion()).save(tmp_path / "x.jpg")
    (tmp_path / "x.jpg").rename(tmp_path / "\x1b[2Jalert\r.jpg")
    done = dermsentry("screen", tmp_path, "--model", bundle.folder)
    assert b"\x1b" not in done.stdout
    assert b"\r" not in done.stdout
    assert rb"\x1b[2Jalert\r.jpg" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ("nowhere", "--model", "BUNDLE"),
            2,
            "nowhere does not exist; expected a photograph, a folder or a pattern.",
        ),
        (("PHOTOGRAPHS", "--model", "nowhere"), 6, "nowhere is not a model bundle"),
        (("PHOTOGRAPHS", "--model", "BUNDLE", "--saliency"), 2, "--saliency without --out"),
        (("PHOTOGRAPHS", "--model", "BUNDLE", "--format", "xml"), 2, "Invalid value"),
        (("PHOTOGRAPHS", "--model", "BUNDLE", "--threads", "0"), 2, "Invalid value"),
        (("PHOTOGRAPHS", "--model", "BUNDLE", "--shard", "41/40"), 2, "expected one such as 3/40"),
        (("PHOTOGRAPHS", "--model", "BUNDLE", "--force"), 2, "--force without --out, --findings, --table or"),
        (("PHOTOGRAPHS", "--model", "BUNDLE", "--table", "t.xls"), 2, "ends in .csv or .parquet"),
        (
            ("PHOTOGRAPHS", "--model", "BUNDLE", "--device", "cuda"),
            2,
            "this ONNX Runtime computes on cpu alone; install onnxruntime-gpu",
        ),
        (("-", "--model", "BUNDLE"), 2, "Received no photographs"),
        (("PHOTOGRAPHS", "--model", "BUNDLE", "--out", "/dev/null/x"), 4, "Cannot write"),
    ],
)
def test_what_is_wrong_is_one_line_and_its_exit_code(
    arguments: tuple[str, ...], code: int, said: str, photographs: Path, bundle: Bundle
) -> None:
    places = {"PHOTOGRAPHS": photographs, "BUNDLE": bundle.folder}
    done = dermsentry("screen", *(places.get(a, a) for a in arguments))
    assert done.returncode == code
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_model_describes_a_bundle(bundle: Bundle, tmp_path: Path) -> None:
    done = dermsentry("model", bundle.folder)
    assert done.returncode == 0
    assert done.stdout.decode().startswith("tiny, written ")
    refused = dermsentry("model", tmp_path)
    assert refused.returncode == 6
    assert refused.stderr.decode().count("\n") == 1


def test_screening_imports_nothing_heavy(photographs: Path, bundle: Bundle) -> None:
    code = (
        "import sys; from dermsentry.screening import screen; "
        f"screen([{str(photographs)!r}], {str(bundle.folder)!r}); "
        "heavy = {'keras', 'tensorflow', 'sklearn', 'matplotlib', 'pandas', 'jinja2'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
