"""A person's age and sex as tables write them, in English, German and French."""

from __future__ import annotations

import re

OLDEST = 120
"""Years."""

_SEX = {
    **dict.fromkeys(
        ("f", "female", "w", "weiblich", "frau", "woman", "femme", "feminin", "féminin"), "female"
    ),
    **dict.fromkeys(("m", "male", "männlich", "maennlich", "mann", "man", "homme", "masculin"), "male"),
}
_AGE = re.compile(r"0*(\d+(?:[.,]\d+)?)\s*(?:y|yr|yrs|years?|j|jahre?|a|ans?)?\.?", re.IGNORECASE)


def sex_of(text: str) -> str:
    """`female` or `male`; `""` for any other text."""
    return _SEX.get(text.strip().casefold(), "")


def age_of(text: str) -> float | None:
    """An age in years, such as `45`, `45,5`, `45 J.` or DICOM's `045Y`; None for any other text."""
    found = _AGE.fullmatch(text.strip())
    age = float(found[1].replace(",", ".")) if found else None
    return age if age is not None and age <= OLDEST else None
