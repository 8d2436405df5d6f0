"""How a photograph becomes a case, whichever way it comes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, or_, select

from dermsentry.clinic import lengths
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.store.audit_trail import append, hold
from dermsentry.clinic.store.database import writing
from dermsentry.clinic.store.events import ReceivedAgainEvent, ReceivedEvent
from dermsentry.clinic.store.tables import Case, Job, Source
from dermsentry.clinic.store.text import clean
from dermsentry.errors import InputError
from dermsentry.image_formats import DICOM, FORMATS, HEAD, READ, format_of
from dermsentry.images import Unreadable

MAX_BYTES = 100 * 1024 * 1024
LONGEST = {
    "patient": lengths.PATIENT,
    "lesion": lengths.LESION,
    "site": lengths.SITE,
    "note": lengths.NOTE,
}
"""What may be told with a photograph, and how long each may be."""
_DOUBT = "Check the patient: the text of the DICOM header is uncertain"


@dataclass(frozen=True)
class About:
    """What is told with a photograph; all of it may be empty."""

    patient: str = ""
    lesion: str = ""
    site: str = ""
    note: str = ""
    file_name: str = ""
    dicom: Mapping[str, Any] | None = None

    def checked(self) -> About:
        """The same, without spaces around and control characters within.

        Raises
        ------
        InputError
            A field is too long.
        """
        cleaned = {name: clean(getattr(self, name), keep_lines=name == "note") for name in LONGEST}
        for name, longest in LONGEST.items():
            if len(cleaned[name]) > longest:
                raise InputError(
                    f"Received a {name} of {len(cleaned[name])} characters; expected up to {longest}."
                )
        return About(**cleaned, file_name=clean(self.file_name)[-lengths.FILE_NAME :], dicom=self.dicom)


@dataclass(frozen=True)
class Received:
    """The case of a photograph, and whether it is new; the same photograph sent twice is one case."""

    case_id: int
    new: bool


def sniff(data: bytes) -> str:
    """What a file is, by its first bytes; its name and its sender's word count for nothing.

    Raises
    ------
    InputError
        It is empty, too large, or neither a photograph nor DICOM.
    """
    if not data:
        raise InputError("The file is empty.")
    if len(data) > MAX_BYTES:
        raise InputError(f"The file has {len(data) / 2**20:.1f} MiB; expected up to {MAX_BYTES >> 20}.")
    kind = format_of(data[:HEAD])
    if kind == DICOM or kind in FORMATS:
        return kind
    what = f"a {kind} file, which is not read" if kind else "not a photograph"
    raise InputError(f"{what[0].upper()}{what[1:]}; expected {READ}, or DICOM.")


def receive(
    clinic: Clinic, data: bytes, about: About, *, source: Source, actor: str, account_id: int | None = None
) -> Received:
    """Keep a photograph and queue it for the model; nothing of it is decoded here.

    What the header of a DICOM file tells is kept too, and is believed where nothing else was told.

    Raises
    ------
    InputError
        The file or a field cannot be used.
    OutputError, DatabaseError
        It cannot be kept; then there is no case of it either.
    """
    kind = sniff(data)
    told, instance = _with_header(about, data) if kind == DICOM else (about, None)
    told = told.checked()
    # The file first: a case without its photograph would be worse than a photograph without its case.
    sha256 = clinic.pictures.keep(data)
    with writing(clinic.engine) as session:
        hold(session)  # two senders of one photograph come one after the other
        existing = session.scalar(select(Case.id).where(_same(sha256, instance)))
        if existing is not None:
            append(session, clinic.trail, actor, ReceivedAgainEvent(existing, source))
            return Received(existing, False)
        case = Case(
            sha256=sha256,
            format=kind,
            source=source,
            received_by=account_id,
            patient=told.patient,
            lesion=told.lesion,
            site=told.site,
            note=told.note,
            file_name=told.file_name,
            dicom=dict(told.dicom) if told.dicom is not None else None,
            instance=instance,
        )
        session.add(case)
        session.flush()
        session.add(Job(case_id=case.id))
        append(session, clinic.trail, actor, ReceivedEvent(case.id, sha256, source))
        return Received(case.id, True)


def _same(sha256: str, instance: str | None) -> ColumnElement[bool]:
    """Whether a case has this photograph, as the same file or as the same DICOM image in another one."""
    return or_(Case.sha256 == sha256, Case.instance == instance) if instance else Case.sha256 == sha256


def _with_header(about: About, data: bytes) -> tuple[About, str | None]:
    """What is told with a DICOM file and by it, and what the image is known by. Raises InputError."""
    from dermsentry.clinic.intake.dicom import describe

    try:
        header = describe(data)
    except Unreadable as error:
        raise InputError(f"The DICOM file cannot be taken: {error.reason}.") from error
    told = {name: getattr(about, name) or getattr(header, name) for name in ("patient", "lesion", "site")}
    if header.characters:  # where whoever reviews the case sees it
        told["note"] = f"{about.note}\n{_DOUBT}: {header.characters}.".strip()[: lengths.NOTE]
    return replace(about, **told, dicom={**(about.dicom or {}), **header.as_dict()}), header.identity or None
