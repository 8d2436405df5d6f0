"""What one clinic's service works with, in one value that is handed to whatever needs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.audit_trail import Trail
from dermsentry.clinic.store.pictures import Pictures
from dermsentry.model.card import Card


@dataclass(frozen=True)
class Clinic:
    """A clinic: where it keeps things, how it is set up, and which model screens for it.

    `bundle`: the folder of the model. `first_token`: what the terminal shows for making the first account;
    it counts only while there is no account, and where it is empty no account can be made from a page.
    """

    engine: Engine
    trail: Trail
    pictures: Pictures
    settings: Settings
    bundle: Path
    card: Card
    first_token: str = ""
