"""A site model from a clinic's outcomes: proposed, accepted, in force for every process, withdrawn."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from bundles import tiny_bundle, tiny_card
from clinic.cases import screened, with_outcomes
from dermsentry.clinic.clinic import Clinic, ServedClinic
from dermsentry.clinic.monitoring.site_model import (
    ProposalChanged,
    accept_site_model,
    chosen_card,
    model_folder,
    propose_site_model,
    with_model_in_force,
    withdraw_site_model,
)
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.audit_trail import verify
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import SILENT, SILENT_PLACE, Event, Model, Outcome
from dermsentry.clinic.worker.worker import register
from dermsentry.errors import BundleError, InputError
from dermsentry.model import Bundle, open_bundle
from dermsentry.stats.calibration import platt_scaled

EASY = {"sensitivity": 0.8, "confidence": 0.8}  # 8 melanomas
Who = Callable[..., Person]


@pytest.fixture
def database_kind() -> str:
    """SQLite: what differs between databases is tested with the store."""
    return "sqlite"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def served(clinic: Clinic, bundle: Bundle) -> ServedClinic:
    with writing(clinic.engine) as session:
        register(session, bundle.card)
    return ServedClinic(**vars(clinic), bundle=bundle.folder, card=bundle.card)


def proposal(served: ServedClinic, **options: float) -> Any:
    with reading(served.engine) as session:
        return propose_site_model(session, served, **(EASY | options))


def accepted(served: ServedClinic, person: Person, **options: Any) -> ServedClinic:
    given = {"may_be_rarer": True} | options
    return accept_site_model(served, person, proposal(served).number, **EASY, **given)


def test_outcomes_make_a_proposal(served: ServedClinic) -> None:
    with_outcomes(served.engine, served.card.digest)
    found = proposal(served)
    assert found.adoption.promised
    assert (found.adoption.counts.melanomas, found.adoption.counts.others) == (20, 60)
    assert {own.tier: own.with_outcome for own in found.coverage} == {"alert": 25, "refer": 36, "routine": 19}
    strict = proposal(served, sensitivity=0.95, confidence=0.95)
    assert "39 more needed" in strict.adoption.refusal
    assert strict.number != found.number


def test_without_outcomes_there_is_nothing_to_propose(served: ServedClinic) -> None:
    with pytest.raises(InputError, match="expected both"):
        proposal(served)


def test_the_last_outcome_of_a_case_counts(served: ServedClinic) -> None:
    with_outcomes(served.engine, served.card.digest)
    before = proposal(served)
    with writing(served.engine) as session:
        session.add(Outcome(case_id=1, diagnosis="NV", method="follow-up"))
    after = proposal(served)
    assert after.adoption.counts.melanomas == before.adoption.counts.melanomas - 1
    assert after.number != before.number


def test_patients_count_once(served: ServedClinic) -> None:
    with_outcomes(served.engine, served.card.digest, patient="P1")
    assert proposal(served, sensitivity=0.5).adoption.demand.melanomas == 1


def test_findings_of_silent_mode_count(served: ServedClinic) -> None:
    hidden = screened("routine", 0.1).finding
    assert hidden is not None
    place = dict(zip(("lane", "rank"), SILENT_PLACE, strict=True))
    with_outcomes(served.engine, served.card.digest)
    before = proposal(served).adoption.counts
    with writing(served.engine) as session:
        case = screened("routine", 0.1, model_digest=served.card.digest)
        case.tier, case.silent, case.finding, case.melanoma = SILENT, hidden, None, None
        case.lane, case.rank = place["lane"], place["rank"]
        session.add(case)
        session.flush()
        session.add(Outcome(case_id=case.id, diagnosis="MEL", method="histology"))
    found = proposal(served)
    assert found.adoption.counts.melanomas == before.melanomas + 1
    assert found.silent == 1


def test_cases_of_another_network_are_left_out_and_counted(served: ServedClinic) -> None:
    with_outcomes(served.engine, served.card.digest)
    card = json.loads(json.dumps({**_card_of(served), "sha256": "f" * 64}))
    with writing(served.engine) as session:
        session.add(Model(digest="e" * 64, name="other", card=card))
    with_outcomes(served.engine, "e" * 64, 5, 5)
    found = proposal(served)
    assert found.other_models == 10
    assert found.adoption.counts.melanomas == 20


def _card_of(served: ServedClinic) -> dict[str, Any]:
    with reading(served.engine) as session:
        return session.get_one(Model, served.card.digest).card


def test_an_administrator_puts_it_in_force(served: ServedClinic, person: Who) -> None:
    with_outcomes(served.engine, served.card.digest)
    found = proposal(served).adoption
    made = accepted(served, person("ada", "administrator"))
    assert made.card.adoption is not None
    assert made.card.adoption.parent == served.card.digest
    assert made.served_with == (served.bundle, served.card)
    own = open_bundle(made.bundle)
    assert own.card.digest == made.card.digest
    assert own.card.sha256 == served.card.sha256
    assert own.card.thresholds["alert"].value == pytest.approx(found.alert.now)
    with reading(served.engine) as session:
        assert chosen_card(session, served.card) == made.card
        event = session.scalars(select(Event).where(Event.action == "model adopted")).one()
        assert event.actor == "ada"
        told = json.loads(event.detail)
        assert (told["model"], told["instead_of"]) == (made.card.digest, served.card.digest)
        assert (told["sensitivity"], told["melanomas"]) == (0.8, 20)
        assert verify(session, served.trail).problems == ()


def test_it_is_in_force_after_a_start_and_written_again_where_it_is_missing(
    served: ServedClinic, person: Who
) -> None:
    with_outcomes(served.engine, served.card.digest)
    made = accepted(served, person("ada", "administrator"))
    shutil.rmtree(made.bundle)
    with reading(served.engine) as session:
        again = with_model_in_force(session, served)
        assert with_model_in_force(session, again) is again
    assert again.card == made.card
    assert open_bundle(again.bundle).card.digest == made.card.digest


def test_another_model_to_be_served_with_is_not_replaced(
    served: ServedClinic, person: Who, tmp_path: Path
) -> None:
    with_outcomes(served.engine, served.card.digest)
    accepted(served, person("ada", "administrator"))
    newer = tiny_bundle(tmp_path / "newer", name="newer")
    with reading(served.engine) as session:
        own = replace(served, bundle=newer.folder, card=newer.card)
        assert with_model_in_force(session, own) is own
    other = replace(tiny_card(), digest="d" * 64, sha256="c" * 64)
    with pytest.raises(BundleError):
        model_folder(tmp_path, newer.folder, newer.card, other)


def test_it_is_withdrawn(served: ServedClinic, person: Who) -> None:
    with_outcomes(served.engine, served.card.digest)
    ada = person("ada", "administrator")
    with pytest.raises(InputError, match="nothing to withdraw"):
        withdraw_site_model(served, ada)
    back = withdraw_site_model(accepted(served, ada), ada)
    assert (back.bundle, back.card, back.base) == (served.bundle, served.card, None)
    with reading(served.engine) as session:
        assert chosen_card(session, served.card) == served.card
        last = session.scalars(select(Event.action).order_by(Event.id.desc())).first()
    assert last == "site model withdrawn"


def test_its_cases_and_its_parents_count_together(served: ServedClinic, person: Who) -> None:
    """The network is the same, so the probabilities of both are brought to one scale."""
    with_outcomes(served.engine, served.card.digest)
    made = accepted(served, person("ada", "administrator"))
    before = proposal(made).adoption
    adopted = made.card.adoption
    assert adopted is not None
    moved = round(float(platt_scaled(0.42, adopted.slope, adopted.intercept)), 6)
    with writing(served.engine) as session:
        case = screened("refer", moved, model_digest=made.card.digest)
        session.add(case)
        session.flush()
        session.add(Outcome(case_id=case.id, diagnosis="NV", method="histology"))
    found = proposal(made).adoption
    assert found.counts.others == before.counts.others + 1
    assert found.alert.found == found.alert.melanomas - found.demand.may_be_missed
    assert found.before.sensitivity == before.before.sensitivity


def test_only_administrators_may_and_only_what_they_saw(served: ServedClinic, person: Who) -> None:
    with_outcomes(served.engine, served.card.digest)
    ada = person("ada", "administrator")
    with pytest.raises(InputError, match="Only administrators"):
        accepted(served, person("rita"))
    number = proposal(served).number
    with writing(served.engine) as session:
        session.add(Outcome(case_id=30, diagnosis="MEL", method="histology"))
    with pytest.raises(ProposalChanged, match="look again"):
        accept_site_model(served, ada, number, **EASY, may_be_rarer=True)
    strict = {"sensitivity": 0.95, "confidence": 0.95}
    number = proposal(served, **strict).number
    with pytest.raises(InputError, match="more needed"):
        accept_site_model(served, ada, number, **strict, may_be_rarer=True)
    with reading(served.engine) as session:
        assert session.scalars(select(Event).where(Event.action == "model adopted")).all() == []


def test_rarer_alerts_are_confirmed(clinic: Clinic, person: Who, tmp_path: Path) -> None:
    cuts = {name: replace(cut, value=0.05) for name, cut in tiny_card().thresholds.items()}
    strict = tiny_bundle(tmp_path / "strict", thresholds=cuts)
    with writing(clinic.engine) as session:
        register(session, strict.card)
    served = ServedClinic(**vars(clinic), bundle=strict.folder, card=strict.card)
    with_outcomes(served.engine, strict.card.digest)
    ada = person("ada", "administrator")
    with pytest.raises(InputError, match="become rarer"):
        accepted(served, ada, may_be_rarer=False)
    assert accepted(served, ada).card.adoption is not None
