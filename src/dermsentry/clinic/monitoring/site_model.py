"""A clinic's own model: proposed from its outcomes, accepted by an administrator, in force from then on.

A site bundle has the network of the model that the clinic is served with and another card, so that its card
in the database is all that has to be kept: `model_folder` writes the bundle again wherever it is missing.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from dermsentry.adoption.fitting import Screened, is_refused, known_scores, propose
from dermsentry.adoption.results import Adoption, Counts
from dermsentry.adoption.site_bundle import site_card
from dermsentry.clinic.clinic import ServedClinic
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.audit_trail import append, hold
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.events import ModelAdoptedEvent, ModelWithdrawnEvent
from dermsentry.clinic.store.tables import COUNTED, SILENT, Case, Model, ModelChoice, Outcome
from dermsentry.errors import InputError, OutputError
from dermsentry.files import fingerprint, plain
from dermsentry.model import (
    CARD_FILE,
    Adopted,
    Card,
    LearnedFrom,
    read_hashes,
    read_network,
    write_again,
    write_bundle,
)
from dermsentry.model.card import parse_card
from dermsentry.stats.calibration import platt_scaled

RESAMPLES = 300
_FOLDER = "models"
_SAME = Adopted("", 1.0, 0.0, None, {})


class ProposalChanged(InputError):
    """What was accepted is no longer what the clinic's outcomes give."""


@dataclass(frozen=True)
class Coverage:
    """Of the cases that a tier was given to, how many have an outcome."""

    tier: str
    screened: int
    with_outcome: int


@dataclass(frozen=True, eq=False)
class Proposal:
    """What the model in force becomes on the clinic's outcomes.

    `number` is the same where the outcomes, the model and what is to be promised are. `other_models`: cases
    with an outcome whose network was another, so that their probabilities say nothing here.
    """

    adoption: Adoption
    number: str
    coverage: tuple[Coverage, ...]
    silent: int
    other_models: int


def propose_site_model(
    session: Session, clinic: ServedClinic, *, sensitivity: float, confidence: float
) -> Proposal:
    """Propose a site bundle from every case with an outcome, those screened in silent mode among them.

    Raises
    ------
    InputError
        A share is none, or no case with an outcome is known to be no melanoma.
    """
    cases = _cases(session, clinic)
    found = propose(
        cases.screened,
        clinic.card,
        cases.counts,
        sensitivity=sensitivity,
        confidence=confidence,
        resamples=RESAMPLES,
    )
    return Proposal(
        adoption=replace(found, about={"cases": len(cases.lines), "synthetic": clinic.card.synthetic}),
        number=fingerprint([clinic.card.digest, repr(sensitivity), repr(confidence), *cases.lines]),
        coverage=_coverage(session),
        silent=cases.silent,
        other_models=cases.other_models,
    )


def accept_site_model(
    clinic: ServedClinic,
    person: Person,
    number: str,
    *,
    sensitivity: float,
    confidence: float,
    may_be_rarer: bool,
) -> ServedClinic:
    """Make a proposal's site bundle the model in force; the clinic that is served with it from now on.

    Parameters
    ----------
    number
        Of the proposal that the person saw.
    may_be_rarer
        Whether the person confirmed that alerts may become rarer.

    Raises
    ------
    InputError
        The person may not, nothing can be promised, or alerts would become rarer and nobody confirmed it.
    ProposalChanged
        The proposal is another by now.
    BundleError, OutputError
        The site bundle cannot be made.
    """
    _allowed(person)
    with reading(clinic.engine) as session:
        proposal = propose_site_model(session, clinic, sensitivity=sensitivity, confidence=confidence)
    if proposal.number != number:
        raise ProposalChanged("The outcomes or the model have changed since this was proposed; look again.")
    adoption = proposal.adoption
    if adoption.refusal or adoption.demand is None or adoption.alert is None:
        raise InputError(adoption.refusal)
    if adoption.alert.rarer and not may_be_rarer:
        raise InputError("Alerts would become rarer by this; confirm that they may.")
    _, onnx = read_network(clinic.bundle)
    hashes = read_hashes(clinic.bundle, clinic.card)
    card = _written(clinic.pictures.folder, onnx, site_card(clinic.card, adoption), hashes)
    with writing(clinic.engine) as session:
        told = ModelAdoptedEvent(
            card.digest,
            clinic.card.digest,
            sensitivity,
            confidence,
            adoption.demand.melanomas,
            adoption.alert.now,
        )
        _choose(session, clinic, person, card, told)
    with reading(clinic.engine) as session:
        return with_model_in_force(session, clinic)


def withdraw_site_model(clinic: ServedClinic, person: Person) -> ServedClinic:
    """Return to the model that the clinic is served with. Raises InputError where it is in force already."""
    _allowed(person)
    _, card = clinic.served_with
    if clinic.card.digest == card.digest:
        raise InputError("There is no site model in force; nothing to withdraw.")
    with writing(clinic.engine) as session:
        told = ModelWithdrawnEvent(card.digest, clinic.card.digest)
        _choose(session, clinic, person, card, told)
    with reading(clinic.engine) as session:
        return with_model_in_force(session, clinic)


def choices(session: Session, clinic: ServedClinic) -> list[ModelChoice]:
    """What was chosen for the model that the clinic is served with, the latest first."""
    own = ModelChoice.base == clinic.served_with[1].digest
    return list(session.scalars(select(ModelChoice).where(own).order_by(ModelChoice.id.desc()).limit(20)))


def chosen_card(session: Session, base: Card) -> Card:
    """The card of the model in force, where the clinic is served with `base`."""
    latest = select(ModelChoice.digest).where(ModelChoice.base == base.digest)
    digest = session.scalar(latest.order_by(ModelChoice.id.desc()).limit(1))
    if digest is None or digest == base.digest:
        return base
    kept = session.get_one(Model, digest)
    return parse_card(json.dumps(kept.card), Path(kept.name))


def model_folder(folder: Path, base_folder: Path, base: Card, card: Card) -> Path:
    """The folder of a model in force, written into the clinic's data folder where it is missing.

    Raises
    ------
    BundleError
        The card was changed, or is not of this network.
    OutputError
        It cannot be written.
    """
    if card.digest == base.digest:
        return base_folder
    path = folder / _FOLDER / card.digest
    if not (path / CARD_FILE).is_file():
        write_again(path, read_network(base_folder)[1], card, read_hashes(base_folder, base))
    return path


def with_model_in_force(session: Session, clinic: ServedClinic) -> ServedClinic:
    """The clinic with the model that is in force by now. Raises BundleError, OutputError."""
    folder, base = clinic.served_with
    card = chosen_card(session, base)
    if card.digest == clinic.card.digest:
        return clinic
    if card.digest == base.digest:
        return replace(clinic, bundle=folder, card=base, base=None)
    path = model_folder(clinic.pictures.folder, folder, base, card)
    return replace(clinic, bundle=path, card=card, base=(folder, base))


@dataclass(frozen=True, eq=False)
class _Cases:
    screened: Screened
    counts: Counts
    lines: list[str]
    silent: int
    other_models: int


def _cases(session: Session, clinic: ServedClinic) -> _Cases:
    """Every screened case with an outcome, its probability on the scale of the model in force."""
    latest = select(func.max(Outcome.id)).group_by(Outcome.case_id)
    rows = session.execute(
        select(Case.id, Case.patient, Case.finding, Case.silent, Outcome.diagnosis, Case.model_digest)
        .join(Outcome, Outcome.case_id == Case.id)
        .where(Outcome.id.in_(latest), Case.state == "screened", COUNTED)
        .order_by(Case.id)
    ).all()
    scales = _scales(session, clinic.card)
    used: list[tuple[Any, ...]] = []
    unreadable = others = silent = 0
    for number, patient, shown, hidden, diagnosis, digest in rows:
        finding = shown or hidden
        if finding is None or finding["melanoma"] is None:
            unreadable += 1
            continue
        if digest not in scales:
            others += 1
            continue
        silent += shown is None
        slope, intercept = scales[digest]
        melanoma = float(finding["melanoma"])
        if (slope, intercept) != (1.0, 0.0):
            melanoma = float(platt_scaled(melanoma, slope, intercept))
        used.append((number, patient, finding, diagnosis, round(melanoma, 6)))
    problems = [(finding["quality"] or {}).get("problems", ()) for _, _, finding, _, _ in used]
    scores = [(found["no_lesion"], found["out_of_distribution"]) for _, _, found, _, _ in used]
    screened = Screened(
        melanoma=np.array([row[4] for row in used], dtype=np.float64),
        labels=[row[3] for row in used],
        groups=[row[1] or f"case {row[0]}" for row in used],
        refused=np.array(
            [
                is_refused(row[2]["tier"], *own, told)
                for row, own, told in zip(used, scores, problems, strict=True)
            ],
            dtype=np.bool_,
        ),
        no_lesion=known_scores(own for own, _ in scores),
        out_of_distribution=known_scores(own for _, own in scores),
    )
    counts = Counts(len(rows), unreadable, *[0] * 10)
    lines = [f"{row[0]} {row[1]} {row[3]} {row[4]:.6f}" for row in used]
    return _Cases(screened, counts, lines, silent, others)


def _scales(session: Session, card: Card) -> dict[str, tuple[float, float]]:
    """By digest of each model with this card's network: from its probabilities to this card's."""
    own = card.adoption or _SAME
    found = {}
    for model in session.scalars(select(Model)):
        if model.card.get("sha256") != card.sha256:
            continue
        given: Mapping[str, Any] = model.card.get("adoption") or {"slope": 1.0, "intercept": 0.0}
        slope = own.slope / given["slope"]
        found[model.digest] = (slope, own.intercept - slope * given["intercept"])
    found[card.digest] = (1.0, 0.0)
    assert all(math.isfinite(number) for pair in found.values() for number in pair)
    return found


def _coverage(session: Session) -> tuple[Coverage, ...]:
    has = select(Outcome.id).where(Outcome.case_id == Case.id).exists()
    screened = and_(Case.state == "screened", COUNTED)

    def counted(*conditions: Any) -> dict[str, int]:
        query = select(Case.tier, func.count()).where(screened, *conditions).group_by(Case.tier)
        return {row[0]: row[1] for row in session.execute(query)}

    everything, known = counted(), counted(has)
    order = ("alert", "refer", "routine", "cannot-say", SILENT)
    return tuple(Coverage(tier, everything[tier], known.get(tier, 0)) for tier in order if tier in everything)


def _allowed(person: Person) -> None:
    if "administer" not in person.may:
        raise InputError("Only administrators can choose the model that is used.")


def _written(folder: Path, onnx: bytes, card: Card, hashes: LearnedFrom | None) -> Card:
    """The whole card of a new site bundle, which is in the data folder then, under its digest."""
    models = folder / _FOLDER
    try:
        models.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(dir=models, prefix=".new."))
    except OSError as error:
        raise OutputError(f"Cannot write {models}: {error.strerror or error}. Free space.") from error
    try:
        made = write_bundle(place / "bundle", onnx, card, hashes).card
        write_again(models / made.digest, onnx, made, hashes)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return made


def _choose(session: Session, clinic: ServedClinic, person: Person, card: Card, told: Any) -> None:
    """Put a model in force, in the transaction of the event that tells it."""
    hold(session)
    _, base = clinic.served_with
    if chosen_card(session, base).digest != clinic.card.digest:
        raise ProposalChanged("Another model has been chosen meanwhile; look again.")
    if session.get(Model, card.digest) is None:
        session.add(Model(digest=card.digest, name=card.name, card=plain(card)))
        session.flush()
    session.add(ModelChoice(base=base.digest, digest=card.digest, account_id=person.account_id))
    append(session, clinic.trail, person.name, told)
