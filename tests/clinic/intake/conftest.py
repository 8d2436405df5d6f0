"""What the tests of the ways in share."""

from __future__ import annotations

import contextlib

import pytest
from pynetdicom.transport import AssociationSocket


@pytest.fixture(autouse=True)
def clients_close_their_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's client leaves a connection open whose other end has gone."""
    own = AssociationSocket._shutdown_socket

    def shut_down(of: AssociationSocket) -> None:
        connection = of.socket
        own(of)
        if connection is not None and of.assoc.is_requestor:
            with contextlib.suppress(OSError):
                connection.close()

    monkeypatch.setattr(AssociationSocket, "_shutdown_socket", shut_down)
