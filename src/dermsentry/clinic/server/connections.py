"""Connections to the web server within limits: how many, and how long each may take to say what it wants.

Behind a web server of the clinic's own most of this never happens; without one, a peer that says nothing must
not keep others out, and a machine without file descriptors must not fill its disk with complaints.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 1000
"""At the same time; fewer where the machine grants few file descriptors."""
HEAD_S = 20.0
"""How long a request's head may take to come."""
STILL_S = 30.0
"""How long a body may stand still, or an answer be left untaken."""
SLOWEST, MEASURED_S = 1000, 60.0
"""Bytes in a second that a body must come with, measured from so many seconds on."""
LOOK_S = 1.0
SAY_EVERY_S = 10.0
_ACCEPT = "socket.accept() out of system resource"
_EMPTY = b"Content-Length: 0\r\nConnection: close\r\n\r\n"
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n" + _EMPTY
_LATE = b"HTTP/1.1 408 Request Timeout\r\n" + _EMPTY

log = logging.getLogger(__name__)


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, with limits on time and number."""

    most = MOST_CONNECTIONS
    _watch: asyncio.TimerHandle | None = None
    _phase: tuple[str, int] = ("", 0)
    _since = _moved = _taken = 0.0
    _came = _unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or turn it away where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            transport.write(_BUSY)
            transport.close()
            return
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no longer."""
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Note that something came."""
        self._came += len(data)
        self._moved = self.loop.time()
        super().data_received(data)

    def _look(self) -> None:
        moment = self.loop.time()
        phase = self._where()
        if phase != self._phase:
            self._phase, self._since, self._moved, self._came = phase, moment, moment, 0
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent:
            self._taken = moment
        self._unsent = unsent
        if moment - self._taken > STILL_S or (phase[0] == "body" and self._stalls(moment)):
            self.transport.abort()
            return
        if unsent:  # the answer before is still being taken
            self._since = moment
        if phase[0] == "head" and moment - self._since > HEAD_S:
            self.transport.write(_LATE)
            self.transport.close()
            return
        self._watch = self.loop.call_later(LOOK_S, self._look)

    def _where(self) -> tuple[str, int]:
        """Whether a head, a body or an answer is awaited, and of which request."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return "head", id(cycle)
        return ("body" if cycle.more_body else "answer"), id(cycle)

    def _stalls(self, moment: float) -> bool:
        if self.flow.read_paused:  # it is the server that does not read
            self._since, self._moved, self._came = moment, moment, 0
            return False
        took = moment - self._since
        return moment - self._moved > STILL_S or (took > MEASURED_S and self._came < SLOWEST * took)


def bounded(most: int) -> type[BoundedProtocol]:
    """The protocol with so many connections at the same time."""
    return type("BoundedProtocol", (BoundedProtocol,), {"most": most})


def enough_descriptors() -> int:
    """Ask for as many file descriptors as are granted; how many connections that lets be taken."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * MOST_CONNECTIONS
    granted = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < granted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
        soft = granted
    return MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, soft // 2)


def log_faults() -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """An event loop's handler of what goes wrong: no connection can be taken, said once in a while."""
    last = -SAY_EVERY_S

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal last
        if context.get("message") != _ACCEPT:
            loop.default_exception_handler(context)
        elif time.monotonic() - last >= SAY_EVERY_S:
            last = time.monotonic()
            log.error("No connection can be taken: %s.", context.get("exception"))

    return handle
