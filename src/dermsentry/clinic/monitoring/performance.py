"""How the clinic performs: what the model found and missed, agreement, the alerts' load.

Truth is a case's latest outcome. Those with an outcome are not those that came in: what looks harmless is
seldom cut out, so that sensitivity looks better and specificity worse than they are (verification bias: Begg
and Greenes, Biometrics 39 (1983)). Every figure is a `Measure`, with its interval and a word where it rests
on little.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import JSON, Select, func, select, type_coerce
from sqlalchemy.orm import Session

from dermsentry.clinic.monitoring.drift import MEASURES, Compared, Shift, compare_with_card, shifts
from dermsentry.clinic.monitoring.estimates import Flags, Measure, inverse, kappa, share
from dermsentry.clinic.store.tables import COUNTED, SILENT, Alert, Case, Model, Outcome, Read, now
from dermsentry.diagnoses import CODES, MELANOMA, is_melanoma

Floats = NDArray[np.float64]
Rows = Select[*tuple[Any, ...]]


@dataclass(frozen=True)
class RulePerformance:
    """What one rule for melanoma finds among the cases that the model assessed and that have an outcome."""

    name: str
    sensitivity: Measure
    specificity: Measure
    ppv: Measure
    npv: Measure


@dataclass(frozen=True)
class Agreement:
    """How reads agree, on the diagnosis, by Cohen's kappa; reads without a diagnosis are left out.

    `model`: the final reader and the model's likeliest diagnosis. `melanoma`: the same, melanoma or not.
    `agreed`: the share of final reads that agree with the model in their own word. `readers`: the first two
    readers of a case.
    """

    model: Measure
    melanoma: Measure
    agreed: Measure
    readers: Measure


@dataclass(frozen=True)
class Day:
    """How much came in on a day (UTC), and how many alerts it raised."""

    day: str
    received: int
    alerts: int


@dataclass(frozen=True)
class Load:
    """What the alerts cost.

    `alerts` in `days` days of 24 hours. `per_melanoma`: cases with an alert for each of them that turned out
    to be a melanoma. `dismissed`: of the decided cases with an alert, the share that was discharged.
    `hours`: the median time until someone acknowledged an alert. `by_day`: for a plot.
    """

    alerts: int
    cases: int
    days: float
    per_day: float
    per_melanoma: Measure
    dismissed: Measure
    escalated: int
    open: int
    hours: float | None
    by_day: tuple[Day, ...]


@dataclass(frozen=True)
class Drift:
    """How today's photographs differ from those that the latest model was evaluated on; see `drift.py`."""

    model: str
    photographs: int
    card: tuple[Compared, ...]
    shifts: tuple[Shift, ...]


@dataclass(frozen=True)
class Performance:
    """A clinic's figures, of the cases received from `since` on and before `until`.

    `melanomas` and `others` have an outcome; `untold` have one that leaves open which. `unjudged` are the
    cases that the model could not assess, `unjudged_melanomas` those of them that were melanomas: they are in
    no rule's figures, since a person sees them anyway. `silent` were screened in silent mode. With
    `silent_alerts`, how many of them would have had the tier `alert`, their findings count in every figure as
    if they had been shown; where it is None they count in none.
    """

    since: datetime | None
    until: datetime | None
    received: int
    screened: int
    decided: int
    melanomas: int
    others: int
    untold: int
    unjudged: int
    unjudged_melanomas: int
    silent: int
    silent_alerts: int | None
    rules: tuple[RulePerformance, ...]
    needed_to_biopsy: Measure
    agreement: Agreement
    load: Load
    drift: Drift | None
    remarks: tuple[str, ...]


def measure_performance(
    session: Session,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    with_silent: bool = False,
) -> Performance:
    """Measure the cases received from `since` on and before `until`; all of them where neither is given.

    `with_silent`: also by the findings that were recorded in silent mode.
    """
    cases = _cases(session, since, until, with_silent)
    reads = _reads(session, since, until)
    patients = [
        patient or f"case {case_id}" for case_id, patient in zip(cases.ids, cases.patients, strict=True)
    ]
    truth = _outcomes(session, since, until)
    labels = [truth.get(case_id, ("", ""))[0] for case_id in cases.ids]
    answers = [is_melanoma(label) for label in labels]
    melanoma = np.array([answer is True for answer in answers], dtype=np.bool_)
    other = np.array([answer is False for answer in answers], dtype=np.bool_)
    histology = np.array([truth.get(i, ("", ""))[1] == "histology" for i in cases.ids], dtype=np.bool_)
    assessed = cases.tier_is("alert", "refer", "routine")
    rules = (
        _rule("alert", cases.tier_is("alert"), assessed, melanoma, other, patients),
        _rule("alert or referral", cases.tier_is("alert", "refer"), assessed, melanoma, other, patients),
    )
    biopsied = share(melanoma, histology & (melanoma | other), patients, "no histology is recorded")
    told = int(melanoma.sum() + other.sum())
    screened = len(cases.ids) - int(cases.tier_is("").sum())
    remarks = []
    if told < screened:
        remarks.append(
            f"{told} of {screened} screened cases have an outcome; benign-looking lesions are rarely "
            "biopsied, so sensitivity is overestimated and specificity underestimated"
        )
    return Performance(
        since=since,
        until=until,
        received=len(cases.ids),
        screened=screened,
        decided=int(cases.decided.sum()),
        melanomas=int(melanoma.sum()),
        others=int(other.sum()),
        untold=sum(bool(label) for label in labels) - told,
        unjudged=int(cases.tier_is("cannot-say", "unreadable").sum()),
        unjudged_melanomas=int((melanoma & cases.tier_is("cannot-say", "unreadable")).sum()),
        silent=int(cases.silent.sum()),
        silent_alerts=int((cases.silent & cases.tier_is("alert")).sum()) if with_silent else None,
        rules=rules,
        needed_to_biopsy=inverse(biopsied, "no melanoma among the biopsies"),
        agreement=_agreement(cases, reads, patients),
        load=_load(session, cases, reads, melanoma, patients, since, until),
        drift=_drift(session, cases, patients),
        remarks=tuple(remarks),
    )


@dataclass(frozen=True, eq=False)
class _Cases:
    """Columns of n cases, in the order they were received in."""

    ids: list[int]
    patients: list[str]
    received: list[datetime]
    tiers: NDArray[np.str_]
    decided: Flags
    silent: Flags
    models: NDArray[np.str_]
    measures: Mapping[str, Floats]
    likeliest: Mapping[int, str]

    def tier_is(self, *tiers: str) -> Flags:
        return np.isin(self.tiers, tiers)


def _within(query: Rows, since: datetime | None, until: datetime | None) -> Rows:
    query = query.where(COUNTED)
    if since is not None:
        query = query.where(Case.received_at >= since)
    if until is not None:
        query = query.where(Case.received_at < until)
    return query


def _cases(session: Session, since: datetime | None, until: datetime | None, with_silent: bool) -> _Cases:
    either = type_coerce(func.coalesce(Case.finding, Case.silent), JSON) if with_silent else Case.finding
    melanoma = either["melanoma"].as_float() if with_silent else Case.melanoma
    quality = either["quality"]
    columns = (
        Case.id,
        Case.patient,
        Case.received_at,
        func.coalesce(either["tier"].as_string(), "") if with_silent else Case.tier,
        Case.tier == SILENT,
        Case.stage,
        Case.model_digest,
        melanoma,
        *(either[name].as_float() for name in MEASURES[1:3]),
        *(quality[name].as_float() for name in MEASURES[3:]),
    )
    rows = session.execute(_within(select(*columns), since, until).order_by(Case.received_at, Case.id)).all()
    shares = select(Case.id, either["probabilities"]).join(Read).where(melanoma.is_not(None))
    found = session.execute(_within(shares, since, until))
    return _Cases(
        ids=[row[0] for row in rows],
        patients=[row[1] for row in rows],
        received=[row[2] for row in rows],
        tiers=np.array([row[3] for row in rows], dtype=np.str_),
        decided=np.array([row[5] == "decided" for row in rows], dtype=np.bool_),
        silent=np.array([row[4] for row in rows], dtype=np.bool_),
        models=np.array([row[6] or "" for row in rows], dtype=np.str_),
        measures={
            name: np.array([row[7 + i] for row in rows], dtype=np.float64) for i, name in enumerate(MEASURES)
        },
        likeliest={case_id: max(given, key=given.__getitem__) for case_id, given in found if given},
    )


def _reads(session: Session, since: datetime | None, until: datetime | None) -> Mapping[int, list[Read]]:
    """The reads of each case that were not undone, in their order."""
    query = select(Read).join(Case, Case.id == Read.case_id).where(Read.undone_at.is_(None))
    found: dict[int, list[Read]] = {}
    for read in session.scalars(_within(query, since, until).order_by(Read.position, Read.id)):
        found.setdefault(read.case_id, []).append(read)
    return found


def _outcomes(
    session: Session, since: datetime | None, until: datetime | None
) -> Mapping[int, tuple[str, str]]:
    """The latest outcome of each case: its label and method."""
    latest = select(func.max(Outcome.id)).group_by(Outcome.case_id)
    query = (
        select(Outcome.case_id, Outcome.diagnosis, Outcome.method).join(Case).where(Outcome.id.in_(latest))
    )
    return {row[0]: (row[1], row[2]) for row in session.execute(_within(query, since, until))}


def _rule(
    name: str, positive: Flags, assessed: Flags, melanoma: Flags, other: Flags, patients: Sequence[str]
) -> RulePerformance:
    told = assessed & (melanoma | other)
    return RulePerformance(
        name,
        share(positive, assessed & melanoma, patients, "no melanoma with an outcome"),
        share(~positive, assessed & other, patients, "no other diagnosis with an outcome"),
        share(melanoma, told & positive, patients, "none of these has an outcome"),
        share(other, told & ~positive, patients, "none of the others has an outcome"),
    )


def _agreement(cases: _Cases, reads: Mapping[int, list[Read]], patients: Sequence[str]) -> Agreement:
    final: list[tuple[str, str, str]] = []
    pairs: list[tuple[str, str, str]] = []
    agreed, asked = (np.zeros(len(cases.ids), dtype=np.bool_) for _ in range(2))
    for i, case_id in enumerate(cases.ids):
        own = reads.get(case_id, [])
        if cases.decided[i] and own:
            last = own[-1]
            asked[i], agreed[i] = last.agrees is not None, bool(last.agrees)
            if last.diagnosis and case_id in cases.likeliest:
                final.append((last.diagnosis, cases.likeliest[case_id], patients[i]))
        said = {read.position: read.diagnosis for read in own}
        if said.get(1) and said.get(2):
            pairs.append((said[1], said[2], patients[i]))
    readers, model, of = _columns(final)
    first, second, theirs = _columns(pairs)
    none = "no decided case has a diagnosis from both reader and model"
    return Agreement(
        model=kappa(readers, model, CODES, of, none),
        melanoma=kappa(_melanoma_or_not(readers), _melanoma_or_not(model), ("yes", "no"), of, none),
        agreed=share(agreed, asked, patients, "no decided case that the model assessed"),
        readers=kappa(first, second, CODES, theirs, "no case has two reads with a diagnosis"),
    )


def _columns(rows: Sequence[tuple[str, str, str]]) -> tuple[list[str], list[str], list[str]]:
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def _melanoma_or_not(labels: Iterable[str]) -> list[str]:
    return ["yes" if label == MELANOMA else "no" for label in labels]


def _load(
    session: Session,
    cases: _Cases,
    reads: Mapping[int, list[Read]],
    melanoma: Flags,
    patients: Sequence[str],
    since: datetime | None,
    until: datetime | None,
) -> Load:
    columns = (Alert.case_id, Alert.raised_at, Alert.acknowledged_at, Alert.escalated_at)
    alerts = session.execute(_within(select(*columns).join(Case), since, until)).all()
    alerted = {alert.case_id for alert in alerts}
    here = np.array([case_id in alerted for case_id in cases.ids], dtype=np.bool_)
    discharged = np.array(
        [bool(reads.get(i)) and reads[i][-1].action == "discharge" for i in cases.ids], dtype=np.bool_
    )
    waits = [(a.acknowledged_at - a.raised_at).total_seconds() / 3600 for a in alerts if a.acknowledged_at]
    begin = since or (cases.received[0] if cases.received else now())
    days = max(1.0, ((min(until, now()) if until else now()) - begin).total_seconds() / 86400)
    found = share(melanoma, here, patients, "no alert was raised")
    received = Counter(moment.date().isoformat() for moment in cases.received)
    raised = Counter(alert.raised_at.date().isoformat() for alert in alerts)
    return Load(
        alerts=len(alerts),
        cases=len(alerted),
        days=days,
        per_day=len(alerts) / days,
        per_melanoma=inverse(found, "no melanoma is confirmed among the cases with an alert"),
        dismissed=share(discharged, here & cases.decided, patients, "no case with an alert is decided"),
        escalated=sum(alert.escalated_at is not None for alert in alerts),
        open=sum(alert.acknowledged_at is None for alert in alerts),
        hours=float(np.median(waits)) if waits else None,
        by_day=tuple(Day(day, received[day], raised[day]) for day in sorted({*received, *raised})),
    )


def _drift(session: Session, cases: _Cases, patients: Sequence[str]) -> Drift | None:
    """Of the model that the latest case was screened by; None where none was."""
    used = np.flatnonzero(cases.models != "")
    if not len(used):
        return None
    model = session.get_one(Model, str(cases.models[used[-1]]))
    here = np.flatnonzero(cases.models == model.digest).tolist()
    measures = {name: values[here] for name, values in cases.measures.items()}
    own = [patients[i] for i in here]
    compared = compare_with_card(model.card, measures, own)
    return Drift(model.name, len(here), compared, shifts(measures))
