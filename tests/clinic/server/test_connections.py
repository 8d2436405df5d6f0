"""A peer that says nothing keeps nobody out; a machine without descriptors does not fill its log."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn

from clinic.waiting import wait_until
from dermsentry.clinic.server import connections
from dermsentry.clinic.server.connections import bounded, enough_descriptors, log_faults

LARGE = 64_000_000  # bytes, more than the system holds for a connection
HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Takes whatever body there is, and answers."""
    more, size = True, 0
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"x" * LARGE if scope["path"] == "/large" else str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def served(most: int = 100) -> Iterator[int]:
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=bounded(most), log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    wait_until(lambda: server.started, 60, "a start")
    try:
        yield listening.getsockname()[1]
    finally:
        server.force_exit = server.should_exit = True
        thread.join(60)
        listening.close()


_peers: list[socket.socket] = []


def peer(port: int) -> socket.socket:
    """A connection, closed at the end of the test."""
    made = socket.create_connection(("127.0.0.1", port))
    made.settimeout(60)
    _peers.append(made)
    return made


def all_of(own: socket.socket) -> bytes:
    """What comes until the other side closes, which may be abrupt."""
    told = b""
    try:
        while data := own.recv(65536):
            told += data
    except ConnectionResetError:
        pass
    return told


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Limits that a test can wait for."""
    for name, value in (("HEAD_S", 0.6), ("STILL_S", 0.6), ("MEASURED_S", 1.0), ("LOOK_S", 0.1)):
        monkeypatch.setattr(connections, name, value)
    yield
    while _peers:
        _peers.pop().close()


def test_a_head_that_does_not_come_is_not_waited_for() -> None:
    with served() as port:
        silent, drips = peer(port), peer(port)
        drips.sendall(HEAD[:10])
        ended = time.monotonic() + 30
        assert all_of(silent).startswith(b"HTTP/1.1 408")
        assert all_of(drips).startswith(b"HTTP/1.1 408")
        assert time.monotonic() < ended
        again = peer(port)  # a second request of a connection that was well
        again.sendall(HEAD)
        assert again.recv(65536).startswith(b"HTTP/1.1 200")
        again.sendall(HEAD[:10])
        assert b"408" in all_of(again)


def test_a_body_that_stands_still_or_drips_is_not_waited_for() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    with served() as port:
        still, drips, well = peer(port), peer(port), peer(port)
        for own in (still, drips, well):
            own.sendall(head)
        well.sendall(b"x" * 100_000)
        assert b"100000" in all_of(well)
        assert all_of(still) == b""
        with pytest.raises((ConnectionResetError, BrokenPipeError)):  # noqa: PT012 - whichever byte is last
            for _ in range(600):
                drips.sendall(b"x")
                time.sleep(0.1)


def test_an_answer_that_nobody_takes_is_not_held() -> None:
    with served() as port:
        own = peer(port)
        own.sendall(HEAD.replace(b" / ", b" /large "))
        time.sleep(3)
        assert len(all_of(own)) < LARGE


def test_more_connections_than_there_may_be_are_told_and_the_others_are_served() -> None:
    with served(3) as port:
        well = [peer(port) for _ in range(3)]
        wait_until(lambda: all_of(peer(port)).startswith(b"HTTP/1.1 503"), 30, "a refusal")
        well[0].sendall(HEAD)
        assert well[0].recv(65536).startswith((b"HTTP/1.1 200", b"HTTP/1.1 408"))
        for own in well:
            own.close()

        def served_again() -> bool:
            own = peer(port)
            own.sendall(HEAD)
            return own.recv(65536).startswith(b"HTTP/1.1 200")

        wait_until(served_again, 30, "a place")


def test_no_descriptors_left_is_said_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    loop, handle = asyncio.new_event_loop(), log_faults()
    with caplog.at_level(logging.ERROR):
        for _ in range(5000):
            handle(loop, {"message": "socket.accept() out of system resource", "exception": OSError(24, "x")})
        assert len(caplog.records) == 1
        handle(loop, {"message": "something else"})
    assert len(caplog.records) == 2
    loop.close()


def test_as_many_connections_as_descriptors_allow() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        assert 1 <= enough_descriptors() <= connections.MOST_CONNECTIONS
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
