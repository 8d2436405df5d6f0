from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bundles import tiny_bundle
from clinic.cases import photograph
from dermsentry.clinic.worker import screener as screener_module
from dermsentry.clinic.worker.screener import (
    THUMBNAIL,
    VIEW,
    Screener,
    _checked,
    _screen,
    unread,
)
from dermsentry.diagnoses import CODES
from dermsentry.errors import BundleError
from dermsentry.guarded import receive, send
from dermsentry.model import open_bundle


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    tiny_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def screener(bundle_folder: Path) -> Iterator[Screener]:
    with Screener(bundle_folder) as own:
        yield own


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "photograph").write_bytes(photograph(kind="PNG", size=(320, 240)))
    return tmp_path / "photograph"


def pid(screener: Screener) -> int:
    assert screener._process is not None
    return screener._process.pid


def test_a_photograph_is_screened_and_drawn(screener: Screener, file: Path) -> None:
    found = screener.screen(file, "PNG")
    assert (found.width, found.height) == (320, 240)
    assert found.finding["tier"] in ("alert", "refer", "routine", "cannot-say")
    assert set(found.finding["probabilities"]) == set(CODES)
    assert sum(found.finding["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert set(found.pictures) == {"view", "thumbnail", "saliency"}
    for kind, side in (("view", VIEW), ("thumbnail", THUMBNAIL)):
        with Image.open(io.BytesIO(found.pictures[kind])) as image:
            assert image.format == "JPEG"
            assert max(image.size) == min(side, 320)
            assert not image.getexif()


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff" + b"x" * 500, b"BM" + bytes(60)])
def test_what_cannot_be_read_has_its_finding_and_the_process_goes_on(
    screener: Screener, tmp_path: Path, file: Path, data: bytes
) -> None:
    screener.screen(file, "PNG")
    before = pid(screener)
    (tmp_path / "broken").write_bytes(data)
    found = screener.screen(tmp_path / "broken", "PNG")
    assert found.finding["tier"] == "unreadable"
    assert found.finding["reasons"][0]
    assert (found.width, found.pictures) == (None, {})
    assert screener.screen(tmp_path / "gone", "PNG").finding["tier"] == "unreadable"
    assert pid(screener) == before


def test_a_process_that_was_ended_is_begun_again_and_the_photograph_screened(
    screener: Screener, file: Path
) -> None:
    screener.start()
    os.kill(pid(screener), signal.SIGSTOP)  # so that it ends with the photograph in hand
    victim = pid(screener)

    def end(*_: object) -> None:
        os.kill(victim, signal.SIGKILL)

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        found = screener.screen(file, "PNG")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert found.finding["probabilities"] is not None
    assert pid(screener) != victim


def test_a_photograph_that_takes_too_long_is_unreadable(bundle_folder: Path, file: Path) -> None:
    with Screener(bundle_folder, time_s=1.0) as own:
        own.start()
        victim = pid(own)
        os.kill(victim, signal.SIGSTOP)
        begun = time.monotonic()
        found = own.screen(file, "PNG")
        assert time.monotonic() - begun < 10
        assert "longer than 1 s" in found.finding["reasons"][0]
        with pytest.raises(ProcessLookupError):
            os.kill(victim, 0)


def test_a_photograph_that_takes_too_much_memory_is_unreadable(bundle_folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (6000, 6000)).save(tmp_path / "large.png")
    with Screener(bundle_folder, memory=64 * 2**20) as own:
        found = own.screen(tmp_path / "large.png", "PNG")
        assert found.finding["tier"] == "unreadable"
        (tmp_path / "small").write_bytes(photograph(kind="PNG"))
        assert own.screen(tmp_path / "small", "PNG").finding["tier"] != "unreadable"


def test_a_process_whose_worker_is_gone_ends_by_itself(bundle_folder: Path) -> None:
    code = (
        "import time; from dermsentry.screening.guarded import serve;"
        "held = {'screen': lambda *_: time.sleep(99)};"  # by a file that holds its decoder
        f"serve(held, 2**31, 1, {str(bundle_folder)!r})"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert receive(process.stdout, 60) == ({}, {})
        send(process.stdin, {"do": "screen", "path": "x", "kind": "PNG", "dermoscopic": True})
        assert process.wait(30) == -signal.SIGALRM


def test_a_model_that_is_refused_is_told(tmp_path: Path) -> None:
    with Screener(tmp_path / "none") as own, pytest.raises(BundleError):
        own.start()


def test_closing_ends_whatever_the_process_began(bundle_folder: Path) -> None:
    own = Screener(bundle_folder)
    own.start()
    group = os.getpgid(pid(own))
    assert group == pid(own)
    own.close()
    own.close()
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


def finding(**changed: Any) -> dict[str, Any]:
    shares = {**dict.fromkeys(CODES, 0.1), "NV": 0.2}
    return {
        "tier": "alert",
        "melanoma": 0.1,
        "probabilities": shares,
        "no_lesion": 0.1,
        "out_of_distribution": 0.9,
        "quality": {"side": 200},
        "reasons": ["melanoma"],
        **changed,
    }


def answer(found: Any, **changed: Any) -> dict[str, Any]:
    return {"finding": found, "width": 10, "height": 10, "taken": "", **changed}


def test_an_answer_that_makes_sense_is_taken() -> None:
    jpeg = b"\xff\xd8\xff rest"
    assert _checked(answer(finding()), {"view": jpeg}).pictures == {"view": jpeg}
    assert _checked(answer(finding(out_of_distribution=None)), {}).finding["out_of_distribution"] is None
    told = _checked(answer(finding(), taken="2024-03-04T10:20:30"), {"embedding": b"\0<"})
    assert (told.taken, told.embedding, told.pictures) == ("2024-03-04T10:20:30", b"\0<", {})
    assert _checked(answer(unread("why"), width=None, height=None), {}).width is None


@pytest.mark.parametrize(
    ("told", "drawn"),
    [
        (answer(finding(tier="all clear")), {}),
        (answer(finding(melanoma=7.0)), {}),
        (answer(finding(melanoma=None)), {}),
        (answer(finding(melanoma="0.1")), {}),
        (answer(finding(probabilities={"MEL": 1.0})), {}),
        (answer(finding(reasons=[1])), {}),
        (answer(finding(more="")), {}),
        (answer([]), {}),
        ({}, {}),
        (answer(finding(), width=-1), {}),
        (answer(finding(), width="10"), {}),
        (answer(finding()), {"view": b"<script>"}),
        (answer(finding(), taken="yesterday"), {}),
        (answer(finding(), taken=7), {}),
        (answer(finding()), {"embedding": bytes(16 * 1024 + 1)}),
        (answer(finding()), {"../../audit.key": b"\xff\xd8\xff"}),
        (answer({**unread("x"), "tier": "routine"}), {}),
    ],
)
def test_an_answer_that_makes_none_is_not(told: Any, drawn: dict[str, bytes]) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        _checked(told, drawn)


def test_what_cannot_be_recognised_has_its_finding(
    bundle_folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Any) -> bytes:
        raise MemoryError

    monkeypatch.setattr(screener_module, "take_fingerprint", full)
    told, drawn = _screen({"path": str(file), "kind": "PNG", "dermoscopic": True}, open_bundle(bundle_folder))
    found = _checked(told, drawn)
    assert found.width == 320
    assert found.fingerprint == b""
