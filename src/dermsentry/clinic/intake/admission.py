"""How a photograph becomes a case, whichever way it comes in.

The same photograph is one case however often it comes. Where it comes for another patient, lesion, site or
accession than before, nothing here can know which is right: it is held for a person as a `Conflict`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from dermsentry.clinic import lengths
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.store.audit_trail import append, hold
from dermsentry.clinic.store.database import writing
from dermsentry.clinic.store.events import HeldEvent, ReceivedAgainEvent, ReceivedEvent, TechniqueSetEvent
from dermsentry.clinic.store.tables import (
    IDENTIFYING,
    NOT_DERMOSCOPIC,
    TECHNIQUES,
    WITHDRAWN,
    Case,
    Conflict,
    Job,
    Source,
)
from dermsentry.clinic.store.text import clean, digest_of, folded, joined_notes
from dermsentry.errors import InputError
from dermsentry.image_formats import DICOM, FORMATS, HEAD, READ, format_of
from dermsentry.images import Unreadable

MAX_BYTES = 100 * 1024 * 1024
TOO_LARGE = f"The file is larger than {MAX_BYTES >> 20} MiB, which is the most that is taken."
LONGEST = {
    "patient": lengths.PATIENT,
    "lesion": lengths.LESION,
    "site": lengths.SITE,
    "accession": lengths.ACCESSION,
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
    accession: str = ""
    note: str = ""
    technique: str = ""
    file_name: str = ""
    dicom: Mapping[str, Any] | None = None

    def checked(self) -> About:
        """The same, without spaces around and control characters within.

        Raises
        ------
        InputError
            A field is too long, or the technique is none.
        """
        cleaned = {name: clean(getattr(self, name), keep_lines=name == "note") for name in LONGEST}
        for name, longest in LONGEST.items():
            if len(cleaned[name]) > longest:
                raise InputError(
                    f"Received a {name} of {len(cleaned[name])} characters; expected up to {longest}."
                )
        if self.technique and self.technique not in TECHNIQUES:
            raise InputError(
                f"Received the technique {clean(self.technique)[:40]!r}; expected one of "
                f"{', '.join(TECHNIQUES)}, or none."
            )
        cleaned["technique"] = self.technique
        return About(**cleaned, file_name=clean(self.file_name)[-lengths.FILE_NAME :], dicom=self.dicom)


@dataclass(frozen=True)
class Held:
    """A photograph that came for somebody or something else: what its case says, and what was told."""

    conflict_id: int
    kept: Mapping[str, str]
    told: Mapping[str, str]
    differs: tuple[str, ...]
    withdrawn: bool

    def words(self, case_id: int) -> str:
        """What became of it, for whoever sent it."""
        kept, told = (
            ", ".join(f"{name} {side[name]}" if side[name] else f"no {name}" for name in self.differs)
            for side in (self.kept, self.told)
        )
        if self.withdrawn:
            return (
                f"This photograph is case {case_id}, which was withdrawn; it is held until a person decides."
            )
        return (
            f"This photograph is case {case_id} already, with {kept}; it came now with {told}. "
            "It is held until a person decides."
        )


@dataclass(frozen=True)
class Received:
    """The case of a photograph, and whether it is new; the same photograph sent twice is one case.

    `held`: it came for somebody or something else than the case says, and a person must decide.
    """

    case_id: int
    new: bool
    held: Held | None = None


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
        raise InputError(TOO_LARGE)
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
    told, instance, pixels = _with_header(about, data) if kind == DICOM else (about, None, None)
    told = told.checked()
    # The file first: a case without its photograph would be worse than a photograph without its case.
    sha256 = clinic.pictures.keep(data)
    with writing(clinic.engine) as session:
        hold(session)  # two senders of one photograph come one after the other
        earlier = _earlier(session, told, sha256, instance, pixels)
        if earlier is not None:
            return _again(session, clinic, earlier, told, sha256, source, actor)
        case = Case(
            sha256=sha256,
            format=kind,
            source=source,
            received_by=account_id,
            patient=told.patient,
            lesion=told.lesion,
            site=told.site,
            accession=told.accession,
            note=told.note,
            file_name=told.file_name,
            dicom=dict(told.dicom) if told.dicom is not None else None,
            instance=instance,
            pixels=pixels,
            taken=str((told.dicom or {}).get("acquired", "")),
            technique=told.technique,
        )
        session.add(case)
        session.flush()
        session.add(Job(case_id=case.id))
        event = ReceivedEvent(
            case.id,
            sha256,
            source,
            **_identity(told),
            technique=told.technique,
            note_sha256=digest_of(told.note),
        )
        append(session, clinic.trail, actor, event)
        return Received(case.id, True)


def tell_technique(session: Session, clinic: Clinic, case: Case, actor: str, technique: str) -> None:
    """Keep how a case's photograph was taken; it is screened again where that decides whether it is assessed.

    Not once somebody has read it or the case that it is part of: a finding does not change under a decision.
    """
    append(session, clinic.trail, actor, TechniqueSetEvent(case.id, case.technique, technique))
    changes = (case.technique in NOT_DERMOSCOPIC) != (technique in NOT_DERMOSCOPIC)
    case.technique = technique
    waits = session.scalar(select(Job.id).where(Job.case_id == case.id))
    whole = case
    if case.part_of is not None:
        whole = session.get_one(Case, case.part_of)
        whole.revision += 1  # its report tells how its other photographs were taken
    if changes and whole.stage == "unread" and waits is None:
        session.add(Job(case_id=case.id))


def differing(case: Case, told: Mapping[str, str]) -> tuple[str, ...]:
    """The fields in which what was told differs from the case; what was not told differs from nothing."""
    return tuple(
        name for name in IDENTIFYING if told[name] and folded(told[name]) != folded(getattr(case, name))
    )


def _identity(of: About | Case) -> dict[str, str]:
    return {name: getattr(of, name) for name in IDENTIFYING}


def _earlier(
    session: Session, told: About, sha256: str, instance: str | None, pixels: str | None
) -> Case | None:
    """The case that this photograph is already: the same file, or the same DICOM image in another file.

    An image with the same pixels under another number is a case of its own for the same lesion, and one of
    an earlier case for any other.
    """
    same = Case.sha256 == sha256
    found = session.scalar(select(Case).where(or_(same, Case.instance == instance) if instance else same))
    if found is not None or pixels is None:
        return found
    alike = session.scalars(
        select(Case).where(Case.pixels == pixels, Case.lane != WITHDRAWN).order_by(Case.id)
    ).all()
    return alike[0] if alike and all(differing(case, _identity(told)) for case in alike) else None


def _again(
    session: Session, clinic: Clinic, case: Case, told: About, sha256: str, source: Source, actor: str
) -> Received:
    """A photograph came another time: nothing changes but a new note, or the technique where nobody had said
    it, or a person must decide.
    """
    differs, withdrawn = differing(case, _identity(told)), case.lane == WITHDRAWN
    if not differs and not withdrawn:
        if told.note and told.note not in case.note:
            case.note = joined_notes(case.note, told.note)
        event = ReceivedAgainEvent(
            case.id,
            source,
            **_identity(told),
            note=told.note,
            technique=told.technique,
            note_sha256=digest_of(case.note),
        )
        append(session, clinic.trail, actor, event)
        if told.technique and not case.technique:
            tell_technique(session, clinic, case, actor, told.technique)
        return Received(case.id, False)
    given = {
        **_identity(told),
        "note": told.note,
        "file_name": told.file_name,
        "technique": told.technique,
    }
    still_open = select(Conflict).where(Conflict.case_id == case.id, Conflict.resolved_at.is_(None))
    # An earlier version did not keep the technique.
    before = (own for own in session.scalars(still_open) if {"technique": "", **own.told} == given)
    conflict = next(before, None)
    if conflict is None:
        conflict = Conflict(case_id=case.id, sha256=sha256, source=source, sender=actor, told=given)
        session.add(conflict)
        session.flush()
    event = HeldEvent(
        case.id,
        source,
        **_identity(told),
        note=told.note,
        technique=told.technique,
        note_sha256=digest_of(case.note),
        conflict=conflict.id,
        differs=differs,
    )
    append(session, clinic.trail, actor, event)
    return Received(case.id, False, Held(conflict.id, _identity(case), _identity(told), differs, withdrawn))


def _with_header(about: About, data: bytes) -> tuple[About, str | None, str]:
    """What is told with a DICOM file and by it; what its image and its pixels are known by."""
    from dermsentry.clinic.intake.dicom import describe

    try:
        header = describe(data)
    except Unreadable as error:
        raise InputError(f"The DICOM file cannot be taken: {error.reason}.") from error
    told = {name: getattr(about, name) or getattr(header, name) for name in IDENTIFYING}
    if header.characters:  # where whoever reviews the case sees it
        told["note"] = joined_notes(about.note, f"{_DOUBT}: {header.characters}.")
    dicom = {**(about.dicom or {}), **header.as_dict()}
    return replace(about, **told, dicom=dicom), header.identity or None, header.pixels
