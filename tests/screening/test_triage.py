from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundles import tiny_card
from dermsentry.diagnoses import CODES
from dermsentry.model import Threshold
from dermsentry.screening.quality import BLURRED, DRAWN, GLARE, HAIR, Quality
from dermsentry.screening.triage import MEANING, NOT_A_LESION, TIERS, UNLIKE, triage

GOOD = Quality(450, 0.5, 150.0, 40.0, 0.0, 0.0, ())
BAD = Quality(450, 0.2, 150.0, 40.0, 0.0, 0.0, (BLURRED,))
CHART = Quality(450, 0.6, 250.0, 60.0, 0.0, 0.0, (DRAWN,))
CARD = tiny_card()  # alert from 0.5, refer from 0.2


def shares(**given: float) -> dict[str, float]:
    rest = (1 - sum(given.values())) / (len(CODES) - len(given))
    return {code: given.get(code, rest) for code in CODES}


@pytest.mark.parametrize(
    ("probabilities", "tier", "reason"),
    [
        (
            shares(MEL=0.62),
            "alert",
            "melanoma 62.0 %, at or above the alert threshold of 50.0 % (chosen for a sensitivity of 80 %)",
        ),
        (shares(MEL=0.5), "alert", "melanoma 50.0 %"),
        (shares(MEL=0.31, NV=0.6), "refer", "melanoma 31.0 %, at or above the referral threshold of 20.0 %"),
        (shares(BCC=0.7, MEL=0.02), "refer", "basal cell carcinoma 70.0 %"),
        (shares(AK=0.2, BCC=0.2, SCC=0.2, NV=0.35, MEL=0.01), "refer", "to be seen soon"),
        (shares(MEL=0.19, NV=0.11), "refer", "melanoma is the most probable diagnosis (19.0 %)"),
        (shares(NV=0.9, MEL=0.004), "routine", "melanoma 0.4 %, below the referral threshold of 20.0 %"),
        (shares(NV=0.7, MEL=0.1999), "routine", "melanoma 19.99 %, below the referral threshold of 20.00 %"),
        (shares(BCC=0.999, MEL=0.0001), "refer", "basal cell carcinoma 99.9 %"),
        (shares(NV=0.9, MEL=0.0001), "routine", "melanoma < 0.1 %, below"),
    ],
)
def test_tiers_and_their_reasons(probabilities: dict[str, float], tier: str, reason: str) -> None:
    found, reasons = triage(probabilities, 0.1, 0.1, GOOD, CARD)
    assert found == tier
    assert any(reason in text for text in reasons), reasons


def test_a_picture_without_a_lesion_is_never_assessed() -> None:
    assert triage(shares(MEL=0.99), 0.51, 0.99, GOOD, CARD) == ("cannot-say", (NOT_A_LESION,))
    assert triage(shares(MEL=0.99), 0.51, None, BAD, CARD) == ("cannot-say", (BLURRED, NOT_A_LESION))


def test_an_unlike_lesion_is_never_routine_and_never_hides_a_melanoma() -> None:
    tier, reasons = triage(shares(MEL=0.67), 0.1, 0.51, GOOD, CARD)
    assert (tier, reasons[-1]) == ("alert", UNLIKE)
    tier, reasons = triage(shares(MEL=0.67), 0.1, 0.51, BAD, CARD)
    assert (tier, reasons[-2:]) == ("alert", (BLURRED, UNLIKE))
    for referred in (shares(MEL=0.3, NV=0.6), shares(BCC=0.7, MEL=0.02)):
        tier, reasons = triage(referred, 0.1, 0.51, GOOD, CARD)
        assert (tier, reasons[-1]) == ("refer", UNLIKE)
    assert triage(shares(NV=0.99), 0.1, 0.51, GOOD, CARD) == ("cannot-say", (UNLIKE,))
    assert triage(shares(NV=0.99), 0.1, 0.5, GOOD, CARD)[0] == "routine"
    assert "retake" not in UNLIKE + NOT_A_LESION


def test_a_chart_is_never_judged() -> None:
    for melanoma in (0.01, 0.99):
        assert triage(shares(MEL=melanoma), 0.1, 0.1, CHART, CARD) == ("cannot-say", (DRAWN,))
        assert triage(shares(MEL=melanoma), None, None, CHART, CARD) == ("cannot-say", (DRAWN,))


def test_poor_quality_alerts_but_never_reassures() -> None:
    tier, reasons = triage(shares(MEL=0.7), 0.1, 0.1, BAD, CARD)
    assert (tier, reasons[-1]) == ("alert", BLURRED)
    assert triage(shares(MEL=0.3), 0.1, 0.1, BAD, CARD) == ("cannot-say", (BLURRED,))
    assert triage(shares(NV=0.99), None, None, BAD, CARD) == ("cannot-say", (BLURRED,))


@pytest.mark.parametrize("words", [(GLARE,), (HAIR,), (GLARE, HAIR)])
def test_what_lies_over_a_lesion_takes_away_no_alert_and_no_referral(words: tuple[str, ...]) -> None:
    hidden = Quality(450, 0.5, 150.0, 40.0, 0.1, 0.1, words)
    for melanoma in (0.01, 0.3, 0.7):
        bare, _ = triage(shares(MEL=melanoma, NV=1 - melanoma), 0.1, 0.1, GOOD, CARD)
        tier, reasons = triage(shares(MEL=melanoma, NV=1 - melanoma), 0.1, 0.1, hidden, CARD)
        assert tier == ("cannot-say" if bare == "routine" else bare)
        assert reasons[-len(words) :] == words
    blurred = Quality(450, 0.2, 150.0, 40.0, 0.1, 0.1, (BLURRED, *words))
    assert triage(shares(MEL=0.3), 0.1, 0.1, blurred, CARD)[0] == "cannot-say"


@given(
    st.lists(st.floats(0.001, 1), min_size=9, max_size=9),
    st.none() | st.floats(0, 1),
    st.none() | st.floats(0, 1),
    st.booleans(),
)
def test_every_photograph_gets_a_tier_with_reasons_and_more_melanoma_never_calms(
    weights: list[float], no_lesion: float | None, out_of_distribution: float | None, good: bool
) -> None:
    total = sum(weights)
    probabilities = {code: weight / total for code, weight in zip(CODES, weights, strict=True)}
    quality = GOOD if good else BAD
    tier, reasons = triage(probabilities, no_lesion, out_of_distribution, quality, CARD)
    assert tier in MEANING
    assert tier != "unreadable"
    assert reasons
    assert all(reasons)
    if out_of_distribution is not None and out_of_distribution > 0.5:
        assert tier != "routine"
    rest = 1 - probabilities["MEL"]
    worse = {c: p * 0.4 / rest if c != "MEL" else 0.6 for c, p in probabilities.items()}
    order = ["routine", "cannot-say", "refer", "alert"]
    if probabilities["MEL"] < 0.6:
        assert order.index(triage(worse, no_lesion, out_of_distribution, quality, CARD)[0]) >= order.index(
            tier
        )


@given(st.floats(0, 1), st.floats(0.0001, 1))
def test_no_probability_reads_as_on_the_wrong_side_of_its_threshold(melanoma: float, limit: float) -> None:
    card = tiny_card(
        thresholds={
            "alert": Threshold(1.0, 0.8, None, "calibration"),
            "refer": Threshold(limit, 0.95, None, "calibration"),
        }
    )
    _, reasons = triage(shares(MEL=round(melanoma, 6)), None, None, GOOD, card)
    found = re.match(
        r"melanoma ([<> ]*[\d.]+) %, (below|at or above) .* threshold of ([<> ]*[\d.]+) %", reasons[0]
    )
    if found and "<" not in found[0] and ">" not in found[0]:
        value, side, shown = float(found[1]), found[2], float(found[3])
        assert value < shown if side == "below" else value >= shown


def test_every_tier_has_its_meaning() -> None:
    assert set(MEANING) == set(TIERS)
