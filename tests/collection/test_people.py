"""Ages and sexes as tables write them, and that what is checked of them is also evaluated by."""

from __future__ import annotations

import pandas as pd
import pytest

from dermsentry.collection.people import age_of, sex_of
from dermsentry.evaluation.subgroups.attributes import read_attributes


@pytest.mark.parametrize(
    ("text", "age"), [("45", 45), ("045Y", 45), ("45,5", 45.5), ("60 J.", 60), ("7 years", 7), ("old", None)]
)
def test_ages_are_read_as_tables_write_them(text: str, age: float | None) -> None:
    assert age_of(text) == age


@pytest.mark.parametrize(
    ("text", "sex"), [("w", "female"), (" Männlich ", "male"), ("F", "female"), ("d", ""), ("", "")]
)
def test_a_sex_is_read_in_three_languages(text: str, sex: str) -> None:
    assert sex_of(text) == sex


def test_a_german_table_gives_the_same_subgroups() -> None:
    english = pd.DataFrame(
        {"sex": ["female", "male", "diverse"], "age": ["61", "29", ""], "site": ["back", "face", "foot"]}
    )
    german = pd.DataFrame(
        {
            "sex": ["w", "männlich", "divers"],
            "age": ["61 J.", "29,0", "?"],
            "site": ["Rücken", "Gesicht", "Fuß"],
        }
    )
    first, second = (
        {name: values for name, values, _ in read_attributes(t, None)} for t in (english, german)
    )
    assert first["sex"] == ["female", "male", "diverse"]
    assert second["sex"] == ["female", "male", "divers"]
    assert first["age"] == second["age"] == ["60–74", "under 30", ""]
    assert first["site"] == second["site"] == ["torso", "head and neck", "lower extremity"]
