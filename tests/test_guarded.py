"""What passes between who asks and a process that a file may have taken over."""

from __future__ import annotations

import fcntl
import os
import resource
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermsentry import guarded
from dermsentry.audit.guarded_reading import GuardedReader
from dermsentry.guarded import receive, send
from pictures import save, skin


def answered(data: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What is received where a process writes these bytes."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as own:
        with os.fdopen(writing, "wb") as other:
            other.write(data)
        return receive(own, 5)


def test_what_is_sent_is_received(tmp_path: Path) -> None:
    with (tmp_path / "sent").open("wb") as sent:
        send(sent, {"do": "look"}, {"content": b"line\nline", "empty": b""})
    found = answered((tmp_path / "sent").read_bytes())
    assert found == ({"do": "look"}, {"content": b"line\nline", "empty": b""})


@pytest.mark.parametrize(
    "line",
    [
        b'"words"', b"[]", b"1", b"null", b"no JSON", b"{}", b'{"parts": null}', b'{"parts": [1]}',
        b'{"parts": {"content": -1}}', b'{"parts": {"content": 1e9}}', b'{"parts": {"content": true}}',
        b'{"parts": {}, "melanoma": NaN}',
        b'{"parts": {}, "melanoma": 1e999}',
    ],
)  # fmt: skip
def test_an_answer_that_makes_no_sense_is_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (of JSON, or of ours)
        answered(line + b"\n")


@given(data=st.binary(max_size=300) | st.text(max_size=80).map(lambda text: (text + "\n").encode()))
def test_whatever_bytes_come_nothing_else_is_raised(data: bytes) -> None:
    with pytest.raises((EOFError, ValueError)):
        answered(data)


def test_json_that_would_fill_the_memory_is_not_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded, "MOST_TOLD", 1000)
    with pytest.raises(ValueError, match="more than 1000 bytes of JSON"):
        answered(b'{"parts": {}, "told": "' + b"x" * 2000 + b'"}\n')
    assert answered(b'{"parts": {"content": 2000}}\n' + b"x" * 2000)[1]["content"] == b"x" * 2000


def test_a_process_is_heard_where_many_files_are_open() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    if most <= 2000:
        pytest.skip("so many files cannot be opened here")
    reading, writing = os.pipe()
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    try:
        os.dup2(reading, 2000)
        os.write(writing, b'{"parts": {}, "done": true}\n')
        with os.fdopen(2000, "rb") as own:
            assert receive(own, 5) == ({"done": True}, {})
            with pytest.raises(TimeoutError):
                receive(own, 0.05)
            os.close(writing)
            with pytest.raises(EOFError):
                receive(own, 5)
    finally:
        os.close(reading)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_pipes_that_may_not_be_widened_are_used_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a user who has as many bytes in pipes as the system allows: with over 32 processes."""
    asked = []

    def refuse(_: object, command: int, size: int) -> int:
        asked.append((command, size))
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    save(skin(1), tmp_path / "one.jpg")
    with GuardedReader() as reader:
        assert reader.look_at(tmp_path / "one.jpg", tmp_path).content
    assert asked == [(fcntl.F_SETPIPE_SZ, 1 << 20)] * 2
