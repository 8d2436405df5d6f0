"""A patient's lesions, their photographs by the day taken, where they are, and how they compare."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.records import verify_records
from dermsentry.clinic.store.tables import WITHDRAWN, BodySite, Case, Embedding
from dermsentry.clinic.worklist.body_map import REGIONS, VIEWS, file_lesion, name_of_region, region_of
from dermsentry.clinic.worklist.patients import Patient, patient_of, same_lesion, set_technique, when_taken
from dermsentry.clinic.worklist.ugly_duckling import compare_lesions
from dermsentry.errors import InputError

People = Callable[..., Person]
AddCase = Callable[..., int]
RECEIVED = datetime(2025, 6, 1, 12, tzinfo=UTC)


def patient(clinic: Clinic, case_id: int) -> Patient:
    with reading(clinic.engine) as session:
        found = patient_of(session, session.get_one(Case, case_id))
    assert found is not None
    return found


def test_photographs_are_in_the_order_they_were_taken_earlier_and_later_ones(
    clinic: Clinic, add_case: AddCase
) -> None:
    told: dict[str, Any] = {"patient": "P", "lesion": "A"}
    late = add_case(**told, taken="2024-05-01T08:00:00", received_at=RECEIVED)
    early = add_case(**told, taken="2021-05-01", received_at=RECEIVED)
    unknown = add_case(**told, received_at=datetime(2023, 1, 1, tzinfo=UTC))
    again = add_case(**told, taken="2024-05-01T08:05:00", received_at=RECEIVED)
    gone = add_case(**told, lane=WITHDRAWN)
    add_case(patient="P", lesion="B")
    lesion = patient(clinic, late).lesions[0]
    assert [case.id for case in lesion.cases] == [early, unknown, late, again]
    assert [[case.id for case in cases] for _, cases in lesion.days()] == [[early], [unknown], [late, again]]
    assert [taken.received for taken, _ in lesion.days()] == [False, True, False]
    with reading(clinic.engine) as session:
        for case_id in (early, late):
            assert [own.id for own in same_lesion(session, session.get_one(Case, case_id))] == [
                early,
                unknown,
                late,
                again,
            ]
        assert [own.id for own in same_lesion(session, session.get_one(Case, gone))][-1] == gone


@pytest.mark.parametrize(
    ("told", "moment", "received", "odd"),
    [
        ("2024-05-01T08:00:00", "2024-05-01T08:00:00", False, ""),
        ("2025-06-02T11:00:00", "2025-06-02T11:00:00", False, ""),  # a zone ahead of the server's
        ("2027-01-01", "2025-06-01T12:00:00", True, "2027-01-01"),
        ("", "2025-06-01T12:00:00", True, ""),
        ("soon", "2025-06-01T12:00:00", True, ""),
    ],
)
def test_the_day_received_is_used_and_said_where_no_other_is_known(
    told: str, moment: str, received: bool, odd: str
) -> None:
    taken = when_taken(Case(taken=told, received_at=RECEIVED))
    assert (taken.moment, taken.received, taken.odd) == (moment, received, odd)


def test_a_patient_without_reference_has_no_page_and_issuers_are_told(
    clinic: Clinic, add_case: AddCase
) -> None:
    alone = add_case(lesion="A")
    one = add_case(patient="7", lesion="A", dicom={"issuer": "North"})
    add_case(patient="7", dicom={"issuer": "South"})
    with reading(clinic.engine) as session:
        case = session.get_one(Case, alone)
        assert patient_of(session, case) is None
        assert same_lesion(session, case) == (case,)
    found = patient(clinic, one)
    assert found.issuers == ("North", "South")
    assert len(found.unnamed) == 1
    assert found.next_name() == "L1"


def test_regions_are_of_one_view_each_and_inside_it() -> None:
    assert len(REGIONS) == sum(len(view.regions) for view in VIEWS.values())
    for view in VIEWS.values():
        for x, y in view.regions.values():
            assert 0 < x < view.width
            assert 0 < y < view.height
    assert name_of_region("forearm, front, left") == "left forearm, front"
    assert name_of_region("neck, back") == "neck, back"


@pytest.mark.parametrize(
    ("site", "region"),
    [
        ("forearm, left", "forearm, front, left"),
        ("Skin of posterior right thigh", "thigh, back, right"),
        ("left leg below the knee", "lower leg, front, left"),
        ("dorsal left lower leg", "calf, left"),
        ("scalp", "scalp, front"),
        ("face, left", "face"),
        ("forearm", None),
        ("back", None),
        ("left and right forearm", None),
        ("", None),
    ],
)
def test_the_words_of_a_site_are_a_place_where_they_are_plain(site: str, region: str | None) -> None:
    found = region_of(site)
    assert (found.region if found else None) == region
    assert found is None or not found.told


def test_a_lesion_is_filed_moved_and_taken_off_again(
    clinic: Clinic, person: People, add_case: AddCase
) -> None:
    anna = person()
    case_id = add_case(patient="P", lesion="A", site="forearm, left")
    add_case(patient="P", lesion="B", site="forearm, left")
    presumed = [lesion.place for lesion in patient(clinic, case_id).lesions]
    assert all(place is not None and not place.told for place in presumed)
    assert presumed[0] != presumed[1]  # no mark hides another

    def file(region: str, at: tuple[float, float] | None = None, lesion: str = "A") -> None:
        with writing(clinic.engine) as session:
            file_lesion(session, clinic, anna, "P", lesion, region, at)

    file("chest, right", (80.04, 110.0))
    place = patient(clinic, case_id).lesions[0].place
    assert place is not None
    assert (place.told, place.view, place.region, place.x, place.y) == (
        True,
        "front",
        "chest, right",
        80.0,
        110.0,
    )
    file("sole, left")
    file("sole, left", lesion="new")
    places = {lesion.name: lesion.place for lesion in patient(clinic, case_id).lesions}
    assert places["A"] is not None
    assert places["new"] is not None
    assert places["A"].view == places["new"].view == "feet"
    assert (places["A"].x, places["A"].y) != (places["new"].x, places["new"].y)
    file("")
    file("", lesion="new")
    found = patient(clinic, case_id)
    assert [(lesion.name, lesion.place is None) for lesion in found.lesions] == [("A", True), ("B", False)]
    with reading(clinic.engine) as session:
        assert [own for own in verify_records(session, None) if "body site" in own] == []
    with writing(clinic.engine) as session:
        session.get_one(BodySite, 1).region = "ear, left"
    with reading(clinic.engine) as session:
        assert "body site 1 is not as the events tell: region" in list(verify_records(session, None))


@pytest.mark.parametrize(
    ("lesion", "region", "at", "words"),
    [
        ("", "face", None, "name"),
        ("A" * 121, "face", None, "name"),
        ("A", "tail", None, "tail"),
        ("A", "face", (300.0, 10.0), "beside"),
        ("A", "face", (float("nan"), 10.0), "beside"),
        ("A", "", None, "not on the map"),
    ],
)
def test_what_is_no_place_is_refused(
    clinic: Clinic, person: People, lesion: str, region: str, at: Any, words: str
) -> None:
    with pytest.raises(InputError, match=words), writing(clinic.engine) as session:
        file_lesion(session, clinic, person(), "P", lesion, region, at)


def test_an_uploader_files_nothing_and_sets_no_technique(
    clinic: Clinic, person: People, add_case: AddCase
) -> None:
    uli, case_id = person("uli", "uploader"), add_case()
    with pytest.raises(InputError, match="Only"), writing(clinic.engine) as session:
        file_lesion(session, clinic, uli, "P", "A", "face")
    with pytest.raises(InputError, match="Only"), writing(clinic.engine) as session:
        set_technique(session, clinic, case_id, uli, "polarised")


def test_how_a_photograph_was_taken_is_kept_and_compared_with_the_trail(
    clinic: Clinic, person: People, add_case: AddCase
) -> None:
    anna, case_id = person(), add_case()
    with pytest.raises(InputError, match="overview"), writing(clinic.engine) as session:
        set_technique(session, clinic, case_id, anna, "x-ray")
    with writing(clinic.engine) as session:
        assert set_technique(session, clinic, case_id, anna, "polarised").technique == "polarised"


def test_the_lesion_unlike_the_others_comes_first() -> None:
    rng = np.random.default_rng(0)
    usual = rng.normal(size=32)
    vectors = {name: (usual + 0.2 * rng.normal(size=32)).astype(np.float32) for name in "ABCDEF"}
    vectors["F"] = rng.normal(size=32).astype(np.float32)
    melanoma = dict(zip("ABCDEF", (0.1, 0.2, 0.05, 0.2, 0.3, 0.6), strict=True))
    found = compare_lesions(melanoma, vectors)
    assert found["F"].stands_out
    assert found["F"].ratio is not None
    assert found["F"].ratio > 2
    assert (found["B"].probability_place, found["D"].probability_place, found["C"].probability_place) == (
        3,
        3,
        6,
    )
    assert sum(own.stands_out for own in found.values()) == 1
    assert sorted(own.distance_place or 0 for own in found.values()) == [1, 2, 3, 4, 5, 6]


def test_too_few_lesions_or_an_embedding_missing_are_not_compared() -> None:
    three = dict.fromkeys("ABC", 0.5)
    assert compare_lesions(three, {}) == {}
    four = dict.fromkeys("ABCD", 0.5)
    found = compare_lesions(four, {"A": np.ones(3, np.float32)})
    assert all(
        own.distance is None and own.distance_place is None and not own.stands_out for own in found.values()
    )


def test_lesions_are_compared_by_what_one_model_made_of_their_latest_photograph(
    clinic: Clinic, add_case: AddCase
) -> None:
    cases = {
        name: add_case(patient="P", lesion=name, melanoma=share)
        for name, share in zip("ABCD", (0.6, 0.7, 0.8, 0.9), strict=True)
    }
    earlier = add_case(patient="P", lesion="A", melanoma=0.99, taken="2020-01-01")
    refused = add_case("cannot-say", 0.99, patient="P", lesion="E")
    with writing(clinic.engine) as session:
        for name, number in cases.items():
            vector = np.array([1, 0, 0, 1] if name != "B" else [0, 1, 1, 0], np.float16)
            digest = session.get_one(Case, number).model_digest
            session.add(Embedding(case_id=number, model_digest=digest, vector=vector.tobytes()))
    found = {lesion.name: lesion.standing for lesion in patient(clinic, earlier).lesions}
    assert found["E"] is None
    assert found["A"] is not None
    assert (found["A"].of, found["A"].probability_place) == (4, 4)
    assert found["B"] is not None
    assert found["B"].distance_place == 1
    assert refused
