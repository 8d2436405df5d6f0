"""DICOM connections within limits: how many of a peer, and how long one may say nothing; encrypted if wanted.

A connection that has not asked for anything yet costs a thread. Of those only so many are kept, the oldest is
closed for the next, so that they never keep out who has something to send. Those that are established are
limited for each peer and in all; one too many is refused, with the standard's own words for that.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from weakref import WeakSet

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.transport import ThreadedAssociationServer

from dermsentry.clinic.settings import Dicom
from dermsentry.errors import InputError

MOST_SENDERS, MOST_OF_PEER = 32, 8
"""Established at the same time: in all, and from one address."""
MOST_SILENT, MOST_SILENT_OF_PEER = 100, 20
"""The same of connections that have asked for nothing yet."""
SILENT_S = 10.0
"""How long a connection may take to ask for an association, or to encrypt itself."""
STILL_S = 30.0
"""How long what was begun may stand still."""
SAY_EVERY_S, MOST_SAID = 60.0, 1000
PAUSE_S = 1.0
"""Where no connection can be taken for want of descriptors or memory; it waits in the system's queue."""
_WANT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sayings:
    """The log's lines about peers: the same one of the same peer once in a minute, with how often it was."""

    _last: dict[tuple[str, str], tuple[float, int]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def say(self, peer: str, text: str) -> None:
        """Write a line, or count it."""
        moment = time.monotonic()
        with self._lock:
            last, times = self._last.get((peer, text), (-SAY_EVERY_S, 0))
            if moment - last < SAY_EVERY_S:
                self._last[peer, text] = last, times + 1
                return
            if len(self._last) >= MOST_SAID:
                self._last.clear()
            self._last[peer, text] = moment, 0
        more = f" ({times} times more since the last line)" if times else ""
        log.warning("DICOM from %s %s%s", peer, text, more)


class BoundedServer(ThreadedAssociationServer):
    """The receiver's listening socket, with limits."""

    sayings: Sayings
    _beginning: dict[socket.socket, str]
    """Connections whose association has no thread of its own yet, with their address."""
    _begun: dict[Association, socket.socket]
    """Those that have one; the library leaves some that were broken off open."""
    _ended: WeakSet[socket.socket]
    """Those that were closed to make room, and whose thread takes a moment to notice."""
    heard_at: float
    """When it last waited for connections, and could take the one that came."""

    def __init__(self, *given: Any, **named: Any) -> None:
        self.sayings, self._beginning, self._begun, self._ended = Sayings(), {}, {}, WeakSet()
        self.heard_at, self._wanting, self._said_at = time.monotonic(), False, -SAY_EVERY_S
        super().__init__(*given, **named)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Take a connection; it is encrypted on its own thread, so that it keeps no other waiting."""
        assert self.socket is not None
        try:
            client, address = self.socket.accept()
        except OSError as error:
            if error.errno in _WANT:
                self._cannot(error)
            raise
        client.settimeout(STILL_S)
        if self.ssl_context is not None:
            client.settimeout(SILENT_S)
            client = self.ssl_context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        return client, address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Make room for a connection, then begin its thread."""
        host = str(client_address[0])
        self._close_ended()
        self._make_room(host)
        self._beginning[request] = host
        try:
            Thread(target=self._begin, args=(request, client_address), daemon=True).start()
        except RuntimeError as error:  # no more threads
            self._beginning.pop(request, None)
            self.shutdown_request(request)
            self._cannot(error)

    def _cannot(self, error: Exception) -> None:
        """Say once in a while that no connection can be taken, and wait: it would be tried again at once."""
        self._wanting = True
        if time.monotonic() - self._said_at >= SAY_EVERY_S:
            self._said_at = time.monotonic()
            log.error("No DICOM connection can be taken: %s.", getattr(error, "strerror", None) or error)
        time.sleep(PAUSE_S)

    def service_actions(self) -> None:
        """Between connections, twice a second at least."""
        super().service_actions()
        if not self._wanting:
            self.heard_at = time.monotonic()
        self._wanting = False

    def _begin(self, request: socket.socket, client_address: Any) -> None:
        host = str(client_address[0])
        try:
            if isinstance(request, ssl.SSLSocket):
                request.do_handshake()
                request.settimeout(STILL_S)
            self.finish_request(request, client_address)
        except OSError as error:
            words = getattr(error, "reason", None) or error.strerror or type(error).__name__
            self.sayings.say(host, f"not encrypted as it must be: {words}")
            self.shutdown_request(request)
        finally:
            self._beginning.pop(request, None)

    def opened(self, event: evt.Event) -> None:
        """Remember a connection until its association has ended."""
        own = _socket_of(event.assoc)
        if own is not None:
            self._begun[event.assoc] = own

    def server_close(self) -> None:
        """Stop listening, and close what was left open."""
        super().server_close()
        self._close_ended()

    def _close_ended(self) -> None:
        for association, own in list(self._begun.items()):
            if association.ident is not None and not association.is_alive():
                del self._begun[association]
                own.close()

    def _make_room(self, host: str) -> None:
        """Close the connection that has been silent for longest where there are too many."""
        silent = [one for one in self._silent() if one[1] not in self._ended]
        of_peer = [own for address, own in silent if address == host]
        if len(of_peer) >= MOST_SILENT_OF_PEER:
            oldest, address = of_peer[0], host
        elif len(silent) >= MOST_SILENT:
            address, oldest = silent[0]
        else:
            return
        self.sayings.say(address, "closed: too many connections that ask for nothing")
        self._end(oldest)

    def end_silent(self) -> None:
        """Close every connection that has asked for nothing: the library would wait for each."""
        for _, own in self._silent():
            self._end(own)

    def _silent(self) -> list[tuple[str, socket.socket]]:
        """The connections that have asked for nothing yet, each with its address, the oldest first."""
        silent = []
        for association in self.active_associations:
            own = _socket_of(association)
            if not association.is_established and own is not None:
                silent.append((_address(association), own))
        return silent + [(address, own) for own, address in list(self._beginning.items())]

    def _end(self, own: socket.socket) -> None:
        self._ended.add(own)
        with contextlib.suppress(OSError):
            own.shutdown(socket.SHUT_RDWR)

    def requested(self, event: evt.Event) -> None:
        """Refuse an association too many, of its peer or in all (local limit exceeded, PS3.8 table 9-21)."""
        host = _address(event.assoc)
        others = [own for own in self.active_associations if own.is_established and own is not event.assoc]
        of_peer = sum(_address(own) == host for own in others)
        if of_peer >= MOST_OF_PEER or len(others) >= MOST_SENDERS:
            event.assoc.acse.send_reject(0x02, 0x03, 0x02)
            evt.trigger(event.assoc, evt.EVT_REJECTED, {})
            event.assoc.kill()


def listen(entity: AE, settings: Dicom, handlers: Sequence[evt.EventHandlerType]) -> BoundedServer:
    """Listen as the settings say, on threads of its own.

    Raises
    ------
    InputError
        The address cannot be listened on, or a file of TLS cannot be used.
    """
    entity.acse_timeout = SILENT_S
    entity.dimse_timeout = entity.network_timeout = STILL_S
    entity.maximum_associations = 2 * (MOST_SENDERS + MOST_SILENT)  # the limits are this module's
    context = tls_context(settings)
    try:
        server = entity.make_server(
            (settings.host, settings.port),
            ssl_context=context,
            evt_handlers=list(handlers),
            server_class=BoundedServer,
        )
    except (OSError, UnicodeError) as error:
        problem = getattr(error, "strerror", None) or error
        raise InputError(f"Cannot listen for DICOM on {settings.host}:{settings.port}: {problem}.") from error
    assert isinstance(server, BoundedServer)
    server.bind(evt.EVT_CONN_OPEN, server.opened)
    server.bind(evt.EVT_REQUESTED, server.requested)
    entity._servers.append(server)  # as its `start_server` does, which takes no class
    Thread(target=server.serve_forever, name="DICOM receiver", daemon=True).start()
    return server


def tls_context(settings: Dicom) -> ssl.SSLContext | None:
    """How connections are encrypted, None where they are not. Raises InputError for a file of no use."""
    if not settings.tls_certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    certificate, key = (Path(name).expanduser() for name in (settings.tls_certificate, settings.tls_key))
    named = f"tls_certificate {certificate} and tls_key {key}"
    try:
        context.load_cert_chain(certificate, key)
        if settings.tls_clients:
            named = f"tls_clients {settings.tls_clients}"
            context.load_verify_locations(Path(settings.tls_clients).expanduser())
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, RuntimeError) as error:  # of ssl, or where `~` leads nowhere
        words = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise InputError(f"The {named} cannot be used for DICOM: {words}; expected files in PEM.") from error
    return context


def _address(association: Association) -> str:
    return str(association.requestor.address or "")


def _socket_of(association: Association) -> socket.socket | None:
    own = association.dul.socket
    return own.socket if own is not None else None
