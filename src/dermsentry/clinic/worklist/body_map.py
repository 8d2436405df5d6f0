"""Where on the body a lesion is: the views and regions of the body map, and what a person filed there.

Points are in the units of a view's drawing (`web/templates/_body_map.html`), whose regions have these codes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from sqlalchemy import select
from sqlalchemy.orm import Session

from dermsentry.clinic import lengths
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.audit_trail import append, hold
from dermsentry.clinic.store.events import LesionFiledEvent
from dermsentry.clinic.store.tables import BodySite, now
from dermsentry.clinic.store.text import clean, spelling_key
from dermsentry.errors import InputError


@dataclass(frozen=True)
class View:
    """A drawing of the body map: its size, and the middle of each region."""

    name: str
    width: int
    height: int
    regions: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Point:
    """A point of a view, in one of its regions; `told`: by a person, not by the words of a site."""

    view: str
    region: str
    x: float
    y: float
    told: bool = True


def _both(
    width: float, right: dict[str, tuple[float, float]], *, mirrored: bool = False
) -> dict[str, tuple[float, float]]:
    """Regions of both sides, of those in a drawing's left half: the person's right, left if `mirrored`."""
    here, there = ("left", "right") if mirrored else ("right", "left")
    found = {}
    for name, (x, y) in right.items():
        found[f"{name}, {here}"] = (x, y)
        found[f"{name}, {there}"] = (width - x, y)
    return found


VIEWS: dict[str, View] = {
    "front": View(
        "Front",
        200,
        440,
        {
            "face": (100, 40),
            "neck, front": (100, 76),
            **_both(
                200,
                {
                    "chest": (82, 112),
                    "abdomen": (83, 175),
                    "groin": (84, 222),
                    "upper arm, front": (49, 130),
                    "forearm, front": (38, 198),
                    "hand": (26, 246),
                    "thigh, front": (77, 268),
                    "knee": (74, 318),
                    "lower leg, front": (74, 365),
                    "foot": (71, 420),
                },
            ),
        },
    ),
    "back": View(
        "Back",
        200,
        440,
        {
            "back of the head": (100, 40),
            "neck, back": (100, 76),
            **_both(
                200,
                {
                    "upper back": (82, 112),
                    "lower back": (83, 175),
                    "buttock": (80, 222),
                    "upper arm, back": (49, 130),
                    "forearm, back": (38, 198),
                    "back of the hand": (26, 246),
                    "thigh, back": (77, 268),
                    "hollow of the knee": (74, 318),
                    "calf": (74, 365),
                    "heel": (72, 420),
                },
                mirrored=True,
            ),
        },
    ),
    "head": View(
        "Head",
        360,
        150,
        {
            "scalp, front": (180, 20),
            "forehead": (180, 44),
            "nose": (180, 72),
            "mouth and chin": (180, 104),
            **_both(
                360,
                {
                    "eye": (163, 62),
                    "cheek": (158, 84),
                    "scalp": (52, 24),
                    "temple": (84, 44),
                    "ear": (58, 64),
                    "side of the face": (84, 78),
                    "side of the neck": (58, 118),
                },
            ),
        },
    ),
    "hands": View(
        "Hands",
        400,
        152,
        {
            **_both(400, {"palm": (56, 100), "fingers, inside": (52, 45), "thumb, inside": (93, 76)}),
            **_both(
                400,
                {
                    "back of the hand, close": (152, 100),
                    "fingers, outside": (156, 45),
                    "thumb, outside": (115, 76),
                },
            ),
        },
    ),
    "feet": View(
        "Feet",
        400,
        160,
        {
            **_both(400, {"toes, below": (50, 22), "sole": (50, 76), "heel, below": (52, 128)}),
            **_both(400, {"toes, above": (150, 22), "top of the foot": (150, 72), "ankle": (148, 124)}),
        },
    ),
}
"""The drawings, by code."""
REGIONS: dict[str, str] = {region: code for code, view in VIEWS.items() for region in view.regions}
"""Of a region, the view it is in."""
_STEP = 14.0  # between the marks of lesions that are filed at one region without a point

_SIDED = {
    "upper arm": "upper arm, front",
    "forearm": "forearm, front",
    "elbow": "forearm, back",
    "wrist": "hand",
    "palm": "palm",
    "hand": "back of the hand",
    "finger": "fingers, outside",
    "thumb": "thumb, outside",
    "buttock": "buttock",
    "hip": "groin",
    "groin": "groin",
    "thigh": "thigh, front",
    "calf": "calf",
    "shin": "lower leg, front",
    "lower leg": "lower leg, front",
    "below the knee": "lower leg, front",
    "knee": "knee",
    "ankle": "ankle",
    "heel": "heel",
    "sole": "sole",
    "toe": "toes, above",
    "foot": "foot",
    "ear": "ear",
    "cheek": "cheek",
    "temple": "temple",
    "eyelid": "eye",
    "breast": "chest",
    "chest": "chest",
    "abdomen": "abdomen",
    "scapula": "upper back",
    "shoulder blade": "upper back",
    "upper back": "upper back",
    "lower back": "lower back",
}
_BEHIND = {
    "upper arm, front": "upper arm, back",
    "forearm, front": "forearm, back",
    "thigh, front": "thigh, back",
    "knee": "hollow of the knee",
    "lower leg, front": "calf",
}
_MIDLINE = {
    "face": "face",
    "forehead": "forehead",
    "nose": "nose",
    "chin": "mouth and chin",
    "lip": "mouth and chin",
    "scalp": "scalp, front",
    "nape": "neck, back",
}


def name_of_region(region: str) -> str:
    """A region in words: `chest, right` is `right chest`, `forearm, front, left` is `left forearm, front`."""
    parts = [part for part in region.split(", ") if part != "close"]
    if parts[-1] in ("left", "right"):
        parts = [f"{parts[-1]} {parts[0]}", *parts[1:-1]]
    return ", ".join(parts)


def region_of(site: str) -> Point | None:
    """Where a site in words, such as `forearm, left`, is on the map; None where that is not plain.

    A paired part without its side is on neither side; a side without a region is nowhere.
    """
    words = " ".join(re.findall(r"[a-z]+", site.casefold()))
    sides = {side for side in ("left", "right") if re.search(rf"\b{side}\b", words)}
    for named, region in _MIDLINE.items():
        if re.search(rf"\b{named}\b", words):
            return _middle(region)
    if len(sides) != 1:
        return None
    for named, region in _SIDED.items():
        if re.search(rf"\b{named}s?\b", words):
            if re.search(r"\b(back|posterior|dorsal)\b", words):
                region = _BEHIND.get(region, region)
            return _middle(f"{region}, {sides.pop()}")
    return None


def _middle(region: str) -> Point:
    x, y = VIEWS[REGIONS[region]].regions[region]
    return Point(REGIONS[region], region, x, y, told=False)


def filed(session: Session, key: str) -> Sequence[BodySite]:
    """What was filed for patients whose references have this `key`, also what was taken off."""
    return session.scalars(select(BodySite).where(BodySite.key == key).order_by(BodySite.id)).all()


def file_lesion(
    session: Session,
    clinic: Clinic,
    person: Person,
    patient: str,
    lesion: str,
    region: str,
    at: tuple[float, float] | None = None,
) -> BodySite:
    """File a patient's lesion at a region of the body map, or move it there.

    Parameters
    ----------
    region
        One of `REGIONS`; empty takes the lesion off the map.
    at
        The point of the region's view; None for the region's middle, beside what is filed there already.

    Raises
    ------
    InputError
        The person may not, the lesion has no name or too long a one, or there is no such region or point.
    """
    if "correct" not in person.may:
        raise InputError("Only dermatologists and administrators can file lesions.")
    lesion = clean(lesion)
    if not lesion or len(lesion) > lengths.LESION:
        raise InputError(
            f"Received a lesion's name of {len(lesion)} characters; expected 1 to {lengths.LESION}."
        )
    if region and region not in REGIONS:
        raise InputError(f"Received the region {region[:40]!r}; expected one of the body map's.")
    hold(session)
    key = spelling_key(patient)
    own = session.scalar(select(BodySite).where(BodySite.patient == patient, BodySite.lesion == lesion))
    if own is None and not region:
        raise InputError(f"Lesion {lesion} is not on the map.")
    view = REGIONS[region] if region else ""
    x, y = (at or _free(session, key, region)) if region else (0.0, 0.0)
    if region and not (0 <= x <= VIEWS[view].width and 0 <= y <= VIEWS[view].height):
        raise InputError("Received a point beside the body map; click inside a region.")
    if own is None:
        own = BodySite(key=key, patient=patient, lesion=lesion, account_id=person.account_id)
        session.add(own)
    own.view, own.region, own.x, own.y = view, region, round(x, 1), round(y, 1)
    own.at, own.account_id = now(), person.account_id
    session.flush()
    told = LesionFiledEvent(own.id, patient, lesion, own.view, own.region, own.x, own.y)
    append(session, clinic.trail, person.name, told)
    return own


def _free(session: Session, key: str, region: str) -> tuple[float, float]:
    point = _middle(region)
    taken = [Point(own.view, own.region, own.x, own.y) for own in filed(session, key)]
    point = beside(point, taken)
    return point.x, point.y


def beside(point: Point, taken: Iterable[Point]) -> Point:
    """A point, or one near it where others of its view are at it already, so that no mark hides another."""
    others = [(own.x, own.y) for own in taken if own.view == point.view]
    for across, down in _around():
        x, y = point.x + across * _STEP, point.y + down * _STEP
        if all(abs(x - a) + abs(y - b) > _STEP / 2 for a, b in others):
            return replace(point, x=x, y=y)
    return point


@cache
def _around() -> tuple[tuple[int, int], ...]:
    steps = [(across, down) for across in (-1, 0, 1) for down in (-2, -1, 0, 1, 2)]
    return tuple(sorted(steps, key=lambda step: (abs(step[0]) + abs(step[1]), step)))
