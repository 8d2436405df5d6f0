"""Photographs uploaded in one request, by a page or a program."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import Request
from starlette.datastructures import UploadFile

from dermsentry.clinic import lengths
from dermsentry.clinic.intake.admission import LONGEST, MAX_BYTES, About, Held, receive
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.tables import Source
from dermsentry.clinic.web.guard import read_form
from dermsentry.clinic.web.security import MOST_FILES, clinic_of
from dermsentry.errors import InputError

FIELD = "photographs"
AT_ONCE = 6
"""Photographs that are kept at the same time. Many more would wait for the database, which takes one by one,
and take their turns from the pages; with two, uploads wait for seconds where 20 come in each."""


@dataclass(frozen=True)
class Sent:
    """The result for one file: its case, or why there is none.

    `held`: the photograph is a case already, of somebody or something else; `problem` says so in words.
    """

    file_name: str
    case_id: int | None = None
    new: bool = False
    problem: str = ""
    held: Held | None = None


async def receive_all(request: Request, person: Person, source: Source) -> list[Sent]:
    """Store every photograph of a form; an unusable one does not affect the others.

    Raises
    ------
    InputError
        There is no photograph, or a field cannot be used for any of them.
    OutputError, DatabaseError
        They cannot be kept; those before are, and sending them again does no harm.
    """
    form = await read_form(request, MOST_FILES)
    files = [one for one in form.getlist(FIELD) if isinstance(one, UploadFile) and (one.filename or one.size)]
    if not files:
        raise InputError(f"Received no photograph; expected one or more files in the field {FIELD}.")
    told: dict[str, Any] = {}
    for name, longest in {**LONGEST, "technique": lengths.CODE}.items():
        given = form.getlist(name) or [""]
        value = given[0]
        if len(given) > 1 or not isinstance(value, str):
            raise InputError(f"Received a file or several values as {name}; expected one text.")
        if len(value) > longest:
            raise InputError(f"Received a {name} of {len(value)} characters; expected up to {longest}.")
        told[name] = value
    clinic, sent = clinic_of(request), []
    for file in files:
        about = About(**told, file_name=file.filename or "")
        data = await file.read(MAX_BYTES + 1)
        try:
            keep = partial(receive, source=source, actor=person.name, account_id=person.account_id)
            queue: CapacityLimiter = request.app.state.senders
            received = await to_thread.run_sync(keep, clinic, data, about, limiter=queue)
        except InputError as error:
            sent.append(Sent(about.checked().file_name, problem=str(error)))
        else:
            held = received.held
            words = held.words(received.case_id) if held else ""
            sent.append(Sent(about.checked().file_name, received.case_id, received.new, words, held))
    return sent
