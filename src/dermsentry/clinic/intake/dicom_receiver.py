"""Photographs that a camera or an archive sends over the network, by DICOM C-STORE.

A sender is told that an image was stored only once its case is kept; otherwise the status says what is wrong
(DICOM PS3.4 table B.2-1, PS3.7 annex C), so that it can send again, or someone can look.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from threading import Lock
from typing import Any, cast
from weakref import WeakKeyDictionary

from pydicom import uid
from pydicom.dataset import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.intake.admission import MAX_BYTES, About, receive
from dermsentry.clinic.intake.dicom import describe
from dermsentry.clinic.intake.dicom_connections import BoundedServer, Sayings, listen
from dermsentry.clinic.store.database import DatabaseError
from dermsentry.dicom.files import PHOTOGRAPHS, NotTaken
from dermsentry.dicom.pixels import transfer_syntaxes
from dermsentry.errors import InputError, OutputError
from dermsentry.images import Unreadable

STORED = 0x0000
HELD = 0xB000
"""A warning, "coercion of data elements": the image is kept, but not as the sender says it is."""
NOT_SUPPORTED = 0x0122
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
FAILED = 0x0110
_OVERHEAD = 1024 * 1024
"""Bytes of an association beside an image's: negotiation, commands, the headers of its parts."""
MOST_PASSED_OVER = 4 * 1024 * MAX_BYTES // 100
"""Bytes of an image that is too large that are still taken and thrown away, so that its sender is told."""
_REJECTED = {
    2: "too many connections at once",
    3: "callers does not list its AE title",
    7: "another AE title was called",
}
"""Why an association is rejected, by the standard's number (PS3.8, table 9-21)."""
MOST_NAMED = 10

# Its own log of what comes would hold what was sent.
_config.LOG_HANDLER_LEVEL = "none"
logging.getLogger("pynetdicom").setLevel(logging.WARNING)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Receiver:
    """A receiver that listens; `host` and `port` are where."""

    host: str
    port: int
    _entity: AE
    _server: BoundedServer

    def heard_at(self) -> float:
        """When the listener last could have taken a connection (`time.monotonic`)."""
        return self._server.heard_at

    def close(self) -> None:
        """Stop. An image on its way is not kept, and its sender is not told that it was."""
        self._server.end_silent()
        self._entity.shutdown()


def start_receiver(clinic: Clinic) -> Receiver:
    """Listen for photographs, as the clinic's settings say, on threads of their own. Port 0 takes a free one.

    Raises
    ------
    InputError
        No sender is allowed, an AE title cannot be one, or the address cannot be listened on.
    """
    settings = clinic.settings.dicom
    for title in (settings.ae_title, *settings.callers):
        if (
            not 1 <= len(title.strip()) <= 16
            or not title.isascii()
            or not title.isprintable()
            or "\\" in title
        ):
            raise InputError(f"Received the AE title {title!r}; expected 1 to 16 letters and digits.")
    if not settings.callers:
        raise InputError(
            "DICOM is to be received, but from nobody: name the AE titles that may send (callers)."
        )
    entity = AE(ae_title=settings.ae_title)
    entity.require_called_aet = True
    entity.require_calling_aet = [title.strip() for title in settings.callers]
    entity.add_supported_context(Verification)
    for kind in PHOTOGRAPHS:
        entity.add_supported_context(kind, transfer_syntaxes())
    intake = _Intake(clinic, Sayings())
    handlers: list[evt.EventHandlerType] = [
        (evt.EVT_C_STORE, intake.store),
        (evt.EVT_C_ECHO, intake.echo),
        (evt.EVT_DATA_RECV, intake.count),
        (evt.EVT_REJECTED, intake.rejected),
        (evt.EVT_ACCEPTED, intake.accepted),
    ]
    server = listen(entity, settings, handlers)
    return Receiver(settings.host, server.server_address[1], entity, server)


class _Discarded(io.BytesIO):
    """Takes the rest of an image that is too large, and keeps nothing."""

    def write(self, data: Any, /) -> int:
        return len(data)


class _Intake:
    """Answers what senders ask."""

    def __init__(self, clinic: Clinic, sayings: Sayings) -> None:
        self.clinic, self.sayings = clinic, sayings
        self._came: WeakKeyDictionary[Association, int] = WeakKeyDictionary()
        self._lock = Lock()

    def count(self, event: Event) -> None:
        """Keep no more of an image than one may have, as it is held in memory; break off one without end."""
        with self._lock:
            came = self._came.get(event.assoc, 0) + len(event.data)
            self._came[event.assoc] = came
        if came <= MAX_BYTES + _OVERHEAD or not event.assoc.is_established:
            return
        message = event.assoc.dimse.message
        if message is not None and not isinstance(message.data_set, _Discarded):
            message.data_set = _Discarded()
        if came > MOST_PASSED_OVER:
            log.warning("DICOM from %s broken off: %d MiB and no end.", _sender(event), came >> 20)
            event.assoc.abort()

    def rejected(self, event: Event) -> None:
        """Note who was turned away, and why."""
        answer = event.assoc.acceptor.primitive
        why = _REJECTED.get(getattr(answer, "diagnostic", 0) or 0, "rejected")
        called = _printable(getattr(event.assoc.requestor.primitive, "called_ae_title", ""))
        told = f"refused: AE title {_sender(event)}, calling {called}: {why}"
        self.sayings.say(str(event.assoc.requestor.address), told)

    def accepted(self, event: Event) -> None:
        """Note what a sender proposed and may not send: other classes, other transfer syntaxes."""
        told = []
        for context in event.assoc.rejected_contexts:
            kind = uid.UID(context.abstract_syntax or "")
            if str(kind) in (*PHOTOGRAPHS, Verification):
                encodings = ", ".join(uid.UID(own).name for own in context.transfer_syntax)
                told.append(f"{kind.name} encoded as {encodings}")
            else:
                told.append(kind.name)
        if told:
            more = f" and {len(told) - MOST_NAMED} more" if len(told) > MOST_NAMED else ""
            names = _printable("; ".join(sorted(told)[:MOST_NAMED]), 1000)
            what = f"proposed what is not taken, as {_sender(event)}: {names}{more}"
            self.sayings.say(str(event.assoc.requestor.address), what)

    def echo(self, event: Event) -> int:
        """C-ECHO: is anybody there?"""
        self._begin_anew(event)
        return STORED

    def store(self, event: Event) -> Dataset:
        """C-STORE: keep an image, then say so."""
        self._begin_anew(event)
        try:
            status, reason = self._keep(event)
        except (OutputError, DatabaseError, MemoryError) as error:
            status, reason = OUT_OF_RESOURCES, str(error) or "no memory left"
        except InputError as error:
            status, reason = CANNOT_UNDERSTAND, str(error)
        except Exception as error:  # noqa: BLE001 - the sender must be told, whatever it was
            # Its words may hold what was sent, such as a patient.
            status, reason = FAILED, f"not kept ({type(error).__name__})"
        answer = Dataset()
        answer.Status = status
        if status != STORED:
            what = "held" if status == HELD else "refused"
            log.warning("DICOM from %s %s with 0x%04X: %s", _sender(event), what, status, reason)
            answer.ErrorComment = "".join(c if c.isascii() and c != "\\" else "?" for c in reason)[:64]
        return answer

    def _keep(self, event: Event) -> tuple[int, str]:
        if isinstance(cast(C_STORE, event.request).DataSet, _Discarded):
            return OUT_OF_RESOURCES, f"the image has more than {MAX_BYTES >> 20} MiB"
        data = event.encoded_dataset()
        try:
            header = describe(data)
        except NotTaken as error:
            return NOT_SUPPORTED, error.reason
        except Unreadable as error:
            return CANNOT_UNDERSTAND, error.reason
        request = cast(C_STORE, event.request)
        announced = (request.AffectedSOPClassUID, request.AffectedSOPInstanceUID)
        if (header.sop_class, header.sop_instance) != announced:
            return DOES_NOT_MATCH, "the image is not the one that was announced"
        sender = _sender(event)
        about = About(dicom={"sender": sender})
        received = receive(self.clinic, data, about, source="dicom", actor=f"dicom {sender}")
        if received.held is not None:  # without the patients' references, which would be logged
            differs = ", ".join(received.held.differs) or "withdrawn"
            return HELD, f"held: it is case {received.case_id} already ({differs})"
        return STORED, ""

    def _begin_anew(self, event: Event) -> None:
        with self._lock:
            self._came[event.assoc] = 0


def _sender(event: Event) -> str:
    return _printable(event.assoc.requestor.ae_title)


def _printable(text: str, most: int = 16) -> str:
    return "".join(c if c.isprintable() else "?" for c in str(text).strip())[:most]
