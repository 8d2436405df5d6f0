"""What is done to many cases or alerts at once, by one person: how many, and until when it is taken back."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from dermsentry.clinic.store.tables import now

MOST_AT_ONCE = 200
"""As many as a page shows."""
UNDO_FOR = timedelta(minutes=15)


def undo_minutes() -> int:
    """For how many minutes it can be taken back."""
    return int(UNDO_FOR.total_seconds() // 60)


def undoable_until(done: Iterable[datetime]) -> datetime | None:
    """Until when what was done can be taken back; None where that is over, or there is nothing."""
    end = min(done, default=now() - UNDO_FOR) + UNDO_FOR
    return end if end > now() else None
