"""Requests as a polite guest makes them: few at a time, tried again with growing pauses, checked when done.

The address of a photograph is signed, so it is a secret for a while: no message and no log shows one.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_attempt,
    stop_when_event_set,
    wait_exponential,
    wait_random,
)

from dermsentry._version import __version__
from dermsentry.errors import InputError
from dermsentry.files import whole_file

THREADS = 4
"""Photographs fetched at the same time."""
GAP_S = 0.1
"""Between the starts of two requests: ten a second. We know of no limit that the archive publishes."""
TRIES = 6
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
LONGEST_WAIT_S = 300.0
"""The longest wait that a server may ask for; who is asked to stay away longer stops."""
CONNECT_S, STEP_S, LIMIT_S = 10.0, 30.0, 600.0
"""How long a server may take to be reached, may be silent, and how long one photograph may take."""
TOLD_PAUSE_S = 5.0
_PIECE = 1 << 16
_GONE = {401, 403, 404, 410}
_QUERY = re.compile(r"(?<=[^\s?])\?[^\s?'\"]+")


class Problem(Exception):
    """A request that came to nothing; `reason` says why, in words, with no address but a host."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TemporaryProblem(Problem):
    """A problem that may be over in a while; `wait` is how long the server asks to stay away, in seconds."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class GoneProblem(Problem):
    """There is nothing at this address, or not for us, or no longer."""


class StoppedProblem(Problem):
    """The fetch was stopped meanwhile."""


@dataclass
class Pace:
    """When the next request may start, for all threads together."""

    stopping: threading.Event
    _next: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self) -> None:
        """Wait for one's turn. Raises StoppedProblem."""
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + GAP_S
        if self.stopping.wait(start - now) or self.stopping.is_set():
            raise StoppedProblem("stopped")

    def hold(self, seconds: float) -> None:
        """Start no request for a while."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


@dataclass(frozen=True)
class Connection:
    """What requests are made with. `encrypted`: an answer that came unencrypted is refused.

    `say` is told of long pauses.
    """

    client: httpx.Client
    encrypted: bool
    stopping: threading.Event
    pace: Pace
    say: Callable[[str], object]

    def get(self, url: str, params: Mapping[str, str | int] | None = None) -> bytes:
        """The content at an address. Raises Problem."""

        def once() -> bytes:
            with self._answer(url, params) as answer:
                return answer.read()

        return self._retrying()(once)

    def save(self, url: str, size: int, path: Path) -> str:
        """Write the file at an address to `path`, whole or not at all, and give its SHA-256.

        Raises
        ------
        Problem
            It cannot be had, or is not `size` bytes, or not those that the server's checksum is of.
        OutputError
            It cannot be written.
        """

        def once() -> str:
            with self._answer(url) as answer, whole_file(path) as temporary:
                return self._receive(answer, size, temporary)

        return self._retrying()(once)

    def _receive(self, answer: httpx.Response, size: int, path: Path) -> str:
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        got, end = 0, time.monotonic() + LIMIT_S
        with path.open("wb") as file:
            for piece in answer.iter_bytes(_PIECE):
                got += len(piece)
                if self.stopping.is_set():
                    raise StoppedProblem("stopped")
                if got > size:
                    raise TemporaryProblem(f"it is longer than the {size:,} bytes that the archive says")
                if time.monotonic() > end:
                    raise TemporaryProblem(f"it took longer than {LIMIT_S:.0f} s")
                file.write(piece)
                sha256.update(piece)
                md5.update(piece)
        if got != size:
            raise TemporaryProblem(f"it has {got:,} bytes, and the archive says {size:,}")
        for header, digest in (("content-md5", md5), ("x-amz-checksum-sha256", sha256)):
            told = answer.headers.get(header, "")
            # A checksum of a file's parts, `…-N`, is none of its bytes.
            if told and "-" not in told and told != base64.b64encode(digest.digest()).decode():
                raise TemporaryProblem(f"its checksum is not the server's ({header})")
        return sha256.hexdigest()

    @contextmanager
    def _answer(self, url: str, params: Mapping[str, str | int] | None = None) -> Iterator[httpx.Response]:
        self.pace.wait()
        try:
            with self.client.stream("GET", url, params=params) as answer:
                self._check(answer)
                yield answer
        except httpx.TimeoutException:
            raise TemporaryProblem(f"no answer in {STEP_S:.0f} s") from None
        except (httpx.RequestError, httpx.InvalidURL) as error:
            # What httpx says of an address that is none quotes it.
            quotes = isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol)
            told = "" if quotes else str(error).split("\n")[0]
            raise TemporaryProblem(told or f"the request failed ({type(error).__name__})") from None

    def _check(self, answer: httpx.Response) -> None:
        host = answer.url.host
        if self.encrypted and any(step.url.scheme != "https" for step in (*answer.history, answer)):
            raise Problem(f"{host} was to answer unencrypted")
        if answer.is_success:
            return
        reason = f"{host} answered {answer.status_code} {answer.reason_phrase}".rstrip()
        if answer.status_code in _GONE:
            raise GoneProblem(reason)
        if answer.status_code not in (408, 429) and answer.status_code < 500:
            raise Problem(reason)
        wait = _seconds(answer.headers.get("retry-after", ""))
        if wait > LONGEST_WAIT_S:
            raise Problem(f"{reason} and asks to wait {wait / 60:.0f} minutes")
        self.pace.hold(wait)
        raise TemporaryProblem(reason, wait)

    def _retrying(self) -> Retrying:
        return Retrying(
            retry=retry_if_exception_type(TemporaryProblem),
            stop=stop_after_attempt(TRIES) | stop_when_event_set(self.stopping),
            wait=_pause,
            sleep=sleep_using_event(self.stopping),
            before_sleep=self._tell,
            reraise=True,
        )

    def _tell(self, state: RetryCallState) -> None:
        if state.upcoming_sleep >= TOLD_PAUSE_S and not self.stopping.is_set():
            self.say(f"Waiting {state.upcoming_sleep:.0f} s: {_problem(state).reason}.")


@contextmanager
def connect(encrypted: bool, stopping: threading.Event, say: Callable[[str], object]) -> Iterator[Connection]:
    """Open what requests are made with; proxies and certificates are those of the environment.

    Raises InputError where the environment's proxies cannot be used.
    """
    try:
        client = httpx.Client(
            headers={"User-Agent": f"dermsentry/{__version__}", "Accept-Encoding": "identity"},
            timeout=httpx.Timeout(STEP_S, connect=CONNECT_S),
            follow_redirects=True,
            limits=httpx.Limits(max_connections=THREADS),
        )
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        hint = " (SOCKS needs: pip install httpx[socks])" if isinstance(error, ImportError) else ""
        raise InputError(
            f"The proxy settings of the environment (HTTPS_PROXY, ALL_PROXY) cannot be used{hint}; "
            "expected an address such as http://proxy.example:3128."
        ) from None
    logs = [logging.getLogger(name) for name in ("httpx", "httpcore.http11")]
    for log in logs:
        log.addFilter(_without_query)
    try:
        with client:
            yield Connection(client, encrypted, stopping, Pace(stopping), say)
    finally:
        for log in logs:
            log.removeFilter(_without_query)


def _without_query(record: logging.LogRecord) -> bool:
    """Let a log's record through without the signatures in its addresses."""
    record.msg, record.args = _QUERY.sub("", record.getMessage()), ()
    return True


def _problem(state: RetryCallState) -> TemporaryProblem:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, TemporaryProblem)  # nothing else is tried again
    return error


def _pause(state: RetryCallState) -> float:
    """Doubled each time, with some at random, and never shorter than the server asks."""
    growing = wait_exponential(FIRST_PAUSE_S, max=LONGEST_PAUSE_S) + wait_random(0, FIRST_PAUSE_S)
    return max(growing(state), _problem(state).wait)


def _seconds(retry_after: str) -> float:
    """What a `Retry-After` asks for, in seconds or as a date; 0 where it is neither."""
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return max((moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0.0)
