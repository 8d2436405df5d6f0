"""What works for a clinic needs: its database, audit trail, pictures and settings, in one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine

from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.audit_trail import KEY, Trail, open_trail
from dermsentry.clinic.store.database import open_database
from dermsentry.clinic.store.folder import sqlite_file, tables_of
from dermsentry.clinic.store.pictures import Pictures
from dermsentry.errors import InputError
from dermsentry.model.card import Card


@dataclass(frozen=True)
class Clinic:
    """A clinic: where it keeps things, and how it is set up."""

    engine: Engine
    trail: Trail
    pictures: Pictures
    settings: Settings

    def close(self) -> None:
        """Close the connections to its database."""
        self.engine.dispose()


@dataclass(frozen=True)
class Pulse:
    """How a process of the server is: seconds since it was last heard of, None before it ever was.

    `problem`: why it does not run, in words; empty where it does. `starting`: it was begun not long ago.
    """

    name: str
    age_s: float | None
    problem: str
    starting: bool = False


@dataclass(frozen=True)
class ServedClinic(Clinic):
    """A clinic that is being served, and which model screens for it.

    `bundle`: the folder of the model that is in force. `first_token`: what the terminal shows for making the
    first account; it counts only while there is no account, and where it is empty no account can be made from
    a page. `base`: the model that the clinic is served with, where a site bundle made from it is in force.
    `root_path`: where another web server has the service, such as /derm; empty where it has it alone.
    `pulses`: of each process beside the web server, once they were begun.
    """

    bundle: Path
    card: Card
    first_token: str = ""
    base: tuple[Path, Card] | None = None
    root_path: str = ""
    pulses: list[Callable[[], Pulse]] = field(default_factory=list, compare=False)

    @property
    def served_with(self) -> tuple[Path, Card]:
        """The folder and the card of the model as it came."""
        return self.base or (self.bundle, self.card)


def open_clinic(url: str, folder: Path, settings: Settings | None = None) -> Clinic:
    """Open a clinic's database and data folder; each process opens its own. Nothing is migrated here.

    Parameters
    ----------
    url
        The database's address.
    folder
        The data folder; the audit trail's key is made in it the first time.
    settings
        What the server read from `clinic.toml`; the defaults where they do not matter, as for a backup.

    Raises
    ------
    InputError
        The address or the audit trail's key cannot be used.
    OutputError
        The audit trail's key cannot be written.
    """
    return Clinic(open_database(url), open_trail(folder), Pictures(folder), settings or Settings())


def open_existing(url: str, folder: Path) -> Clinic:
    """Open a clinic that exists already; neither its database nor its key is made where there is none.

    Raises
    ------
    InputError
        There is no clinic.
    DatabaseError
        The database cannot be reached.
    """
    file = sqlite_file(url)
    if not (folder / KEY).is_file():
        raise InputError(f"{folder} is not a clinic's data folder: {KEY} is missing. Set DERMSENTRY_HOME.")
    if file is not None and not file.is_file():
        raise InputError(f"There is no database {file}; name the clinic's own with --db.")
    clinic = open_clinic(url, folder)
    if "events" not in tables_of(clinic.engine):
        clinic.close()
        raise InputError("The database is not a clinic's; name the clinic's own with --db.")
    return clinic
