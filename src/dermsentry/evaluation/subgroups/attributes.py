"""What a collection knows of its photographs' patients, as the values that subgroups are made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pandas as pd

from dermsentry.collection.people import age_of, sex_of
from dermsentry.evaluation.subgroups.skin_tone import TONES, tone_of

ATTRIBUTES = ("age", "sex", "site", "source", "skin_type")
"""The columns of a collection's table that its photographs are compared by in any case."""

HISTOLOGY = "histopathology"

_AGES = (("under 30", 30.0), ("30–44", 45.0), ("45–59", 60.0), ("60–74", 75.0), ("75 and over", 130.0))
_UNKNOWN = {"", "unknown", "unk", "nan", "none", "null", "n/a", "na", "-", "not specified", "unspecified"}
_TYPES = ("I", "II", "III", "IV", "V", "VI")
_PAIRS = {"12": "I and II", "34": "III and IV", "56": "V and VI"}  # as DDI has them

# HAM10000's, ISIC's and German words, joined as the ISIC Archive itself did when it took HAM10000 in.
_SITES = {
    "head and neck": (
        "head/neck, head, neck, face, scalp, ear, nose, lip, eyelid, forehead, cheek, temple, chin, lips, "
        "kopf, hals, gesicht, kopfhaut, ohr, nase, lippe, augenlid, stirn, wange, schläfe, kinn"
    ),
    "torso": (
        "torso, trunk, back, chest, abdomen, anterior torso, posterior torso, lateral torso, upper back, "
        "lower back, shoulder, flank, buttock, buttocks, "
        "rumpf, stamm, rücken, brust, bauch, schulter, flanke, gesäß"
    ),
    "upper extremity": (
        "upper extremity, upper extremities, arm, upper arm, forearm, hand, wrist, elbow, "
        "obere extremität, oberarm, unterarm, handgelenk, ellenbogen"
    ),
    "lower extremity": (
        "lower extremity, lower extremities, leg, thigh, lower leg, foot, knee, ankle, "
        "untere extremität, bein, oberschenkel, unterschenkel, fuß, knie, knöchel"
    ),
    "palms and soles": "palms/soles, acral, palm, sole, palms, soles, handfläche, fußsohle",
    "oral and genital": "oral/genital, genital, oral, anogenital, genitals, mucosa, mouth",
}
_SITE_OF = {word: site for site, words in _SITES.items() for word in (site, *words.split(", "))}


def read_attributes(
    table: pd.DataFrame, angles: Sequence[float | None] | None, by: str | None = None
) -> list[tuple[str, list[str], list[str]]]:
    """Each attribute's name, the value of each photograph (`""` unknown), and the order of its values.

    `table` has the collection's columns, those that it knows; `angles` are those of `skin_tone.skin_tone`;
    `by` is a column that is taken as it is, beside `ATTRIBUTES`.
    """

    def read(column: str, words: Callable[[str], str]) -> list[str]:
        if column not in table.columns:
            return [""] * len(table)
        texts = table[column].fillna("").astype(str).str.strip()
        known = {text: "" if text.lower() in _UNKNOWN else words(text) for text in texts.unique()}
        return [known[text] for text in texts]

    sexes, sources = read("sex", lambda text: sex_of(text) or text.lower()), read("source", str)
    sites = read("site", _site)
    ways, kinds = read("diagnosis_confirm_type", _way), read("image_type", str)
    tones = ["" if angle is None else tone_of(angle) for angle in angles or [None] * len(table)]
    others = [] if by is None or by in ATTRIBUTES else [(by, read(by, str))]
    return [
        ("age", read("age", _age_band), [name for name, _ in _AGES]),
        ("sex", sexes, sorted(set(sexes))),
        ("site", sites, [*_SITES, *sorted(set(sites) - set(_SITES))]),
        ("source", sources, sorted(set(sources))),
        ("skin tone", tones, [name for name, _ in TONES]),
        ("skin type", read("skin_type", _skin_type), [*_TYPES, *_PAIRS.values()]),
        ("basis of diagnosis", ways, sorted(set(ways))),
        ("image type", kinds, sorted(set(kinds))),
        *((name, values, sorted(set(values))) for name, values in others),
    ]


def proven(table: pd.DataFrame) -> list[bool]:
    """Whether histology proved each photograph's diagnosis, as far as the table knows."""
    if "diagnosis_confirm_type" not in table.columns:
        return [False] * len(table)
    return [_way(text) == HISTOLOGY for text in table["diagnosis_confirm_type"].fillna("").astype(str)]


def _way(text: str) -> str:
    """How a diagnosis was made; HAM10000's `histo` as the ISIC Archive names it."""
    return HISTOLOGY if text.strip().lower().startswith("histo") else text


def _age_band(text: str) -> str:
    age = age_of(text)
    return "" if age is None else next(name for name, below in _AGES if age < below)


def _site(text: str) -> str:
    words = re.sub(r"\s+", " ", text.lower().replace("_", " "))
    return _SITE_OF.get(words, words)


def _skin_type(text: str) -> str:
    """`2`, `2.0`, `II`, `type II`, `FST 2` and the like; `12` is a pair of types."""
    if text.strip() in _PAIRS:
        return _PAIRS[text.strip()]
    found = re.fullmatch(r"(?:.*\W)?([1-6]|I{1,3}|IV|VI?)(?:\.0)?", text.strip(), re.IGNORECASE)
    if found is None:
        return ""
    number = found[1].upper()
    return _TYPES[int(number) - 1] if number.isdigit() else number
