"""A conclusion follows from its numbers: each sentence is made to come out both ways."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermsentry.nine_class.conclusions import (
    assess_fit,
    cure_sentence,
    leakage_sentence,
    sentence,
)


def curves(accuracy: float, val_accuracy: float, losses: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"accuracy": accuracy, "val_accuracy": val_accuracy, "val_loss": losses})


FALLING = [2.0, 1.5, 1.2, 1.0, 0.9]
TURNED = [1.5, 1.0, 1.3, 1.6, 1.9]


@pytest.mark.parametrize(
    ("accuracy", "val_accuracy", "losses", "state"),
    [
        (0.95, 0.60, TURNED, "overfit"),
        (0.90, 0.85, TURNED, "overfit"),  # the gap is small, but the loss has turned
        (0.55, 0.52, FALLING, "underfit"),
        (0.65, 0.40, TURNED, "both"),
        (0.85, 0.82, FALLING, "neither"),
        (0.80, 0.85, TURNED, "neither"),  # better on what it has not seen: no overfitting
    ],
)
def test_fit_is_assessed_by_gap_loss_and_level(
    accuracy: float, val_accuracy: float, losses: list[float], state: str
) -> None:
    fit = assess_fit(accuracy, curves(accuracy, val_accuracy, losses))
    assert fit.state == state
    verdict = {"overfit": "overfits", "underfit": "underfits", "both": "at once", "neither": "neither"}[state]
    assert verdict in sentence("fit", title="It", fit=fit)


@given(st.floats(0, 1), st.floats(0, 1), st.lists(st.floats(0.01, 5), min_size=1, max_size=30))
def test_a_wider_gap_never_turns_overfitting_off(accuracy: float, drop: float, losses: list[float]) -> None:
    held = accuracy * (1 - drop)
    narrow = assess_fit(accuracy, curves(accuracy, accuracy, losses))
    wide = assess_fit(accuracy, curves(accuracy, held, losses))
    assert wide.state in ("overfit", "both") or narrow.state not in ("overfit", "both")


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        (TURNED, "lowest in epoch 2 of 5"),
        (FALLING, "still falling at epoch 5, so that more epochs may help"),
        ([2.0, 1.7, 1.5], "still falling at epoch 3"),
        ([1.7, 1.4, 1.5], "stayed near its lowest, of epoch 2"),
        ([1.7, 1.0, 1.5], "lowest in epoch 2 of 3 and has risen by 50.0 % since"),
        ([1.0, 0.9, 0.92, 0.93, 0.94], "stayed near its lowest, of epoch 2"),
    ],
)
def test_the_loss_sentence_names_the_epoch_it_turned_at(losses: list[float], words: str) -> None:
    assert words in sentence("fit", title="It", fit=assess_fit(0.9, curves(0.9, 0.6, losses)))


def test_the_end_of_a_rehearsal_is_its_last_epoch() -> None:
    """Of three epochs, the mean of the last three would be the mean of all."""
    held, losses = [0.2, 0.4, 0.48], [2.0, 1.7, 1.5]
    short = pd.DataFrame({"accuracy": [0.2, 0.3, 0.5], "val_accuracy": held, "val_loss": losses})
    fit = assess_fit(0.5, short)
    assert (fit.state, fit.val_accuracy, fit.turned) == ("underfit", 0.48, False)
    longer = pd.concat([short] * 4, ignore_index=True)
    assert assess_fit(0.5, longer).val_accuracy == pytest.approx((0.2 + 0.4 + 0.48) / 3)


def test_augmentation_does_not_hide_what_was_learned() -> None:
    """Training accuracy on augmented pictures is low; on the photographs as they are it is what counts."""
    assert assess_fit(0.93, curves(0.55, 0.60, FALLING)).state == "overfit"


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ((0.95, 0.6), (0.85, 0.8), "B cured the overfitting of A"),
        ((0.95, 0.6), (0.95, 0.6), "B did not cure the overfitting of A"),
        ((0.95, 0.6), (0.85, 0.65), "B reduced the overfitting of A and did not cure it"),
        ((0.95, 0.6), (0.60, 0.58), "exchanged overfitting for underfitting"),
        ((0.60, 0.58), (0.95, 0.6), "exchanged underfitting for overfitting"),
        ((0.60, 0.40), (0.60, 0.58), "B cured the overfitting of A, not its underfitting"),
        ((0.60, 0.40), (0.95, 0.60), "B cured the underfitting of A, not its overfitting"),
        ((0.60, 0.40), (0.60, 0.45), "reduced the underfitting and overfitting of A and did not cure it"),
        ((0.60, 0.58), (0.65, 0.58), "B reduced the underfitting of A and did not cure it"),
        ((0.60, 0.50), (0.60, 0.58), "B did not cure the underfitting of A:"),
        ((0.60, 0.58), (0.60, 0.40), "B did not cure the underfitting of A: it has both now;"),
        ((0.85, 0.8), (0.86, 0.8), "needed no remedy"),
    ],
)
def test_a_cure_is_claimed_only_where_there_is_one(
    first: tuple[float, float], second: tuple[float, float], words: str
) -> None:
    fits = [assess_fit(own, curves(own, held, FALLING)) for own, held in (first, second)]
    assert words in cure_sentence("A", "B", fits[0], fits[1], None, None)


def test_a_cure_says_which_way_accuracy_went() -> None:
    low, high = (assess_fit(0.9, curves(0.9, held, FALLING)) for held in (0.5, 0.7))
    assert "validation accuracy rose (50.0 % to 70.0 %)" in cure_sentence("A", "B", low, high, None, None)
    assert "validation accuracy fell (70.0 % to 50.0 %)" in cure_sentence("A", "B", high, low, None, None)
    assert "from 30.0 % to 40.0 %" in cure_sentence("A", "B", low, high, 0.3, 0.4)


def relatives(
    related: float | None, contradicted: float | None, unrelated: float | None
) -> dict[str, object]:
    """Ten validation photographs of each kind that has an accuracy."""
    kinds = {"related": related, "contradicted": contradicted, "unrelated": unrelated}
    counts = {kind: 0 if accuracy is None else 10 for kind, accuracy in kinds.items()}
    return {**counts, **{f"accuracy_{kind}": accuracy for kind, accuracy in kinds.items()}}


def test_leakage_is_reported_where_it_is_and_denied_where_it_is_not() -> None:
    inflated = leakage_sentence("It", 0.85, 0.60, 0.45, relatives(0.9, None, 0.5))
    assert "Of its 20 validation images 10 have a copy" in inflated
    assert "(accuracy 90.0 %) and 10 have none (accuracy 50.0 %)." in inflated
    assert "25.0 percentage points of the quoted figure are leakage" in inflated
    assert "accuracy on Test without known leaks is 45.0 %" in inflated
    fair = leakage_sentence("It", 0.61, 0.60, None, relatives(None, None, 0.6))
    assert "None of its validation images" in fair
    assert "has not visibly raised" in fair
    assert "Test" not in fair
    lower = leakage_sentence("It", 0.55, 0.60, None, relatives(0.6, None, 0.5))
    assert "more than quoted: leakage did not raise it" in lower


def test_contradictions_are_blamed_only_where_there_are_some() -> None:
    blamed = leakage_sentence("It", 0.50, 0.60, None, relatives(0.9, 0.1, 0.5))
    assert "10 have one there under another label (accuracy 10.0 %)" in blamed
    assert "contradictory labels cost" in blamed
    assert "contradictory" not in leakage_sentence("It", 0.50, 0.60, None, relatives(0.9, None, 0.5))
    assert "contradictory labels cost" not in leakage_sentence(
        "It", 0.70, 0.60, None, relatives(0.9, 0.1, 0.5)
    )


@pytest.mark.parametrize(
    ("detected", "melanomas", "low", "words"),
    [
        (0, 16, 0.0, "detected none"),
        (3, 16, 0.04, "detected 3 and missed 13"),
        (16, 16, 0.794, "detected every one. That shows a sensitivity of at least 79.4 %, and no more"),
        (0, 0, None, "no melanoma"),
    ],
)
def test_melanomas_are_counted_not_rounded(
    detected: int, melanomas: int, low: float | None, words: str
) -> None:
    told = sentence(
        "melanoma", title="It", detected=detected, melanomas=melanomas, low=low, uniform="", others=58
    )
    assert words in told


@pytest.mark.parametrize(("uniform", "words"), [("all", "a constant prediction"), ("none", "misses all 16")])
def test_what_tells_nothing_apart_is_not_praised(uniform: str, words: str) -> None:
    detected = 16 if uniform == "all" else 0
    told = sentence(
        "melanoma", title="It", detected=detected, melanomas=16, low=0.794, uniform=uniform, others=58
    )
    assert words in told
    assert "every one" not in told
    assert "at least" not in told


@pytest.mark.parametrize(("chosen", "words"), [("A", "chose the same one"), ("B", "chose B")])
def test_the_best_on_test_need_not_be_the_chosen_one(chosen: str, words: str) -> None:
    figures = {"title": "A", "figure": 0.5, "second": "B", "second_figure": 0.4}
    assert words in sentence("best", **figures, by_validation=chosen)
