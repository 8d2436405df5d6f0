"""The worklist's filter as the query of an address."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, cast, get_args
from urllib.parse import urlencode

from dermsentry.clinic import lengths
from dermsentry.clinic.language import zone_of
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.tables import PLACES, WITHDRAWN, Case, Lane
from dermsentry.clinic.worklist.worklist import ORDERS, Filter, Listed, Order
from dermsentry.errors import InputError
from dermsentry.screening.triage import TIERS, Tier

Shown = Literal["suspicion", "cannot-say", "waiting", "follow-up", "decided", "withdrawn"]
LANES: tuple[Shown, ...] = get_args(Shown)
"""Of the worklist's page: what is to be seen again, or decided, has one of its own, of every lane."""
FIELDS = ("lane", "tier", "search", "site", "since", "until", "tag", "assigned", "order", "view")
LONGEST = {"search": lengths.SEARCH, "site": lengths.SITE, "tag": lengths.TAG}
CHOICES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("lane", LANES),
    ("tier", ("", *TIERS)),
    ("assigned", ("", "me", "nobody")),
    ("order", ("", *ORDERS)),
    ("view", ("", "gallery")),
)
NARROWING = ("tier", "search", "site", "since", "until", "tag", "assigned")
"""The fields that leave cases out."""


def read_filter(
    given: Mapping[str, str],
    reader: int | None = None,
    *,
    me: int = 0,
    zone: str = "UTC",
    blind: Person | None = None,
) -> tuple[dict[str, str], Filter]:
    """The filter in an address: its fields as text, and for the database.

    `since` and `until` are days, both within what is wanted; they begin in the time `zone`. Among the decided
    cases those that the model could not assess are found by tier. `reader`: an account whose read cases are
    left out of an open lane. `me`: the account that `assigned=me` means. `blind`: as in a
    `Filter`.

    Raises
    ------
    InputError
        A field cannot be used.
    """
    text = {name: given.get(name, "").replace("\0", " ").strip() for name in FIELDS}
    text["lane"] = text["lane"] or "suspicion"
    for name, expected in CHOICES:
        if text[name] not in expected:
            raise InputError(
                f"Received {name}={text[name][:40]}; expected one of {', '.join(filter(None, expected))}."
            )
    for name, longest in LONGEST.items():
        if len(text[name]) > longest:
            raise InputError(f"Received a {name} of {len(text[name])} characters; expected up to {longest}.")
    _, (since, until) = read_days(text, zone)
    decided = text["lane"] == "decided"
    tier = cast(Literal[Tier, ""], text["tier"])
    lane = (PLACES[tier][0] if tier else "suspicion") if decided else cast(Lane, text["lane"])
    stage: Literal["open", "decided", "all", "follow-up"] = "decided" if decided else "open"
    if text["lane"] == "follow-up":
        lane, stage = "suspicion", "follow-up"
    wanted = Filter(
        lane=lane,
        stage="all" if lane == WITHDRAWN else stage,
        tier=tier,
        search=text["search"],
        site=text["site"],
        since=since,
        until=until,
        not_read_by=reader if stage == "open" and lane != WITHDRAWN else None,
        tag=text["tag"],
        assigned_to={"": None, "me": me, "nobody": 0}[text["assigned"]],
        order=cast(Order, text["order"] or "suspicion"),
        blind=blind,
    )
    return text, wanted


def read_days(
    given: Mapping[str, str], zone: str = "UTC"
) -> tuple[dict[str, str], tuple[datetime | None, datetime | None]]:
    """`since` and `until` of an address as text, and as the moments from which and before which.

    Days begin in the time `zone`.

    Raises
    ------
    InputError
        One is no day.
    """
    text = {name: given.get(name, "").strip() for name in ("since", "until")}
    since, until = (_day(text, name) for name in text)
    after = until + timedelta(days=1) if until else None  # the next midnight, also where clocks change
    return text, (_begins(since, zone), _begins(after, zone))


def lane_of(case: Case | Listed) -> Shown | Lane:
    """The lane of the worklist's page that a case is in, or that it is part of another."""
    return "decided" if case.stage == "decided" and case.lane != WITHDRAWN else cast(Lane, case.lane)


def as_query(text: Mapping[str, str], **more: str | int | None) -> str:
    """The filter and further parameters as a query string; empty fields are left out."""
    pairs = {**text, **{name: str(value) for name, value in more.items() if value is not None}}
    return urlencode({name: value for name, value in pairs.items() if value})


def _begins(day: date | None, zone: str) -> datetime | None:
    """When a day begins in a time zone, in UTC."""
    return datetime.combine(day, time(), zone_of(zone)).astimezone(UTC) if day else None


def _day(text: Mapping[str, str], name: str) -> date | None:
    if not text[name]:
        return None
    try:
        if not "0002" <= text[name] <= "9998":  # its midnight is another day in UTC
            raise ValueError
        return datetime.strptime(text[name], "%Y-%m-%d").date()
    except ValueError as error:
        raise InputError(f"Received {name}={text[name][:40]}; expected a day such as 2026-01-31.") from error
