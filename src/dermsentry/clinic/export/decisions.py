"""The decision on a case that its reads lead to, as exports report it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from dermsentry.clinic.store.tables import ADJUDICATOR, AMENDMENT, WITHDRAWN, Case, Correction, Outcome, Read

Status = Literal["preliminary", "final", "amended", "corrected", "entered-in-error"]


@dataclass(frozen=True)
class SettledDecision:
    """`read` is the current decision, None where nobody has decided or readers still differ.

    `status`, in FHIR's words: preliminary until a case is decided, then final; amended where it had been
    decided otherwise before, whether that was undone or amended, or an outcome came later; corrected where
    whose photograph it is was put right since, or the case was `restored`, as a report may have said that it
    was entered in error; entered-in-error where the case is withdrawn. `outcome`: what the case turned out to
    be, as entered last; until then a decision is a suspicion. `at`: when the last of all this was said.
    """

    status: Status
    read: Read | None
    outcome: Outcome | None = None
    at: datetime | None = field(default=None, compare=False)
    restored: bool = False


def decision_of(session: Session, case: Case) -> SettledDecision:
    """The decision on a case. What a reader said before the case is decided is not told."""
    reads = session.scalars(select(Read).where(Read.case_id == case.id).order_by(Read.id)).all()
    corrections = session.scalars(select(Correction).where(Correction.case_id == case.id)).all()
    outcomes = select(Outcome).where(Outcome.case_id == case.id).order_by(Outcome.id.desc()).limit(1)
    return settle(case, reads, corrections, session.scalar(outcomes))


def settle(
    case: Case,
    reads: Sequence[Read],
    corrections: Sequence[Correction] = (),
    outcome: Outcome | None = None,
) -> SettledDecision:
    """`decision_of`, from all of the case's reads, the undone ones too, and what was put right about it."""
    changes = [own.at for own in corrections] + ([outcome.at] if outcome else [])
    if case.lane == WITHDRAWN:
        return SettledDecision("entered-in-error", None, at=max(changes, default=None))
    standing = [read for read in reads if read.undone_at is None]
    if case.stage != "decided" or not standing:
        return SettledDecision("preliminary", None, outcome, max(changes, default=None))
    alone = all(read.position in (1, AMENDMENT) for read in standing)
    restored = any(own.kind == "restored" for own in corrections)
    corrected = any(own.kind == "corrected" and own.at >= reads[0].at for own in corrections)
    amended = outcome is not None or any(read.position == AMENDMENT for read in reads)
    amended = amended or any(
        _had_decided(undone, reads, alone) for undone in reads if undone.undone_at is not None
    )
    last = max(standing, key=lambda read: (read.position, read.id))
    status: Status = "corrected" if corrected or restored else "amended" if amended else "final"
    return SettledDecision(status, last, outcome, max((*changes, last.at)), restored)


def _had_decided(undone: Read, reads: Sequence[Read], alone: bool) -> bool:
    """Whether a read that was undone had, until then, decided the case."""
    end = undone.undone_at
    assert end is not None
    then = [read for read in reads if read.at <= end and (read.undone_at is None or read.undone_at >= end)]
    if alone or any(read.position == ADJUDICATOR for read in then):
        return True
    said = {read.position: (read.diagnosis, read.action) for read in then}
    return {1, 2} <= set(said) and said[1] == said[2]
