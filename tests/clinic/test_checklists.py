"""Checklists score as their authors say, and what is half filled in is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermsentry.clinic.checklists import (
    COLOURS,
    CRITERIA,
    MAJOR,
    STRUCTURES,
    Abcd,
    SevenPoint,
    as_form,
    in_words,
    parts,
    read_form,
)
from dermsentry.errors import InputError

SIX, FIVE = tuple(COLOURS), tuple(STRUCTURES)
some_abcd = st.builds(
    Abcd,
    st.integers(0, 2),
    st.integers(0, 8),
    st.lists(st.sampled_from(SIX), min_size=1).map(tuple),
    st.lists(st.sampled_from(FIVE), min_size=1).map(tuple),
).map(Abcd.checked)
some_seven = st.lists(st.sampled_from(tuple(CRITERIA))).map(lambda own: SevenPoint(tuple(own)).checked())


@pytest.mark.parametrize(
    ("filled", "score", "verdict"),
    [  # the least and the most that the ABCD rule gives, and either side of its cut-offs, 4.75 and 5.45
        (Abcd(0, 0, SIX[:1], FIVE[:1]), 1.0, "benign"),
        (Abcd(2, 8, SIX, FIVE), 8.9, "highly-suspicious"),
        (Abcd(1, 4, SIX[:3], FIVE[:3]), 4.7, "benign"),
        (Abcd(1, 5, SIX[:3], FIVE[:3]), 4.8, "suspicious"),
        (Abcd(2, 3, SIX[:3], FIVE[:2]), 5.4, "suspicious"),
        (Abcd(2, 4, SIX[:3], FIVE[:2]), 5.5, "highly-suspicious"),
        (SevenPoint(()), 0, "not-suspicious"),
        (SevenPoint(("atypical-network",)), 2, "not-suspicious"),
        (SevenPoint(("atypical-network", "regression")), 3, "suspicious"),
        (SevenPoint(("irregular-streaks", "irregular-dots", "regression")), 3, "suspicious"),
        (SevenPoint(tuple(CRITERIA)), 10, "suspicious"),
    ],
)
def test_scores_and_cut_offs_are_those_published(
    filled: Abcd | SevenPoint, score: float, verdict: str
) -> None:
    assert (filled.score, filled.verdict) == (score, verdict)
    assert in_words(filled).startswith(str(score))


def test_words_say_what_was_seen() -> None:
    assert len(MAJOR) == 3
    assert len(CRITERIA) == 7
    assert parts(SevenPoint(())) == "none of the seven"
    assert parts(SevenPoint(("blue-whitish-veil", "irregular-dots"))) == (
        "blue-whitish veil, irregular dots or globules"
    )
    assert parts(Abcd(1, 3, ("blue-grey",), ("network",))) == (
        "asymmetry 1 of 2, border 3 of 8, colours blue-grey, structures pigment network"
    )


@given(st.none() | some_abcd, st.none() | some_seven)
def test_a_form_gives_back_what_it_was_filled_with(abcd: Abcd | None, seven: SevenPoint | None) -> None:
    assert read_form(as_form(abcd, seven)) == (abcd, seven)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"asymmetry": "1", "colours": "red"}, "border, structures still to be filled in"),
        ({"asymmetry": "3", "border": "0", "colours": "red", "structures": "dots"}, "expected 0 to 2"),
        ({"asymmetry": "1", "border": "9", "colours": "red", "structures": "dots"}, "expected 0 to 8"),
        ({"asymmetry": "١", "border": "0", "colours": "red", "structures": "dots"}, "expected a digit"),
        ({"asymmetry": "1", "border": "0", "colours": "green", "structures": "dots"}, "colour 'green'"),
        ({"asymmetry": "1", "border": "0", "colours": "red", "structures": "x"}, "structure 'x'"),
        ({"seven_point": "none regression"}, "clear either"),
        ({"seven_point": "veil"}, "criterion 'veil'"),
    ],
)
def test_what_is_half_filled_in_or_unknown_is_told(given: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_form(given)
    assert read_form({}) == (None, None)


@pytest.mark.parametrize("abcd", [Abcd(True, 0, SIX, FIVE), Abcd(0, -1, SIX, FIVE), Abcd(0, 0, (), FIVE)])
def test_a_program_is_held_to_the_same(abcd: Abcd) -> None:
    with pytest.raises(InputError, match="ABCD rule"):
        abcd.checked()
