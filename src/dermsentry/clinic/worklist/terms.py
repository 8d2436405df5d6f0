"""What a reader may say beyond the nine diagnoses: a finer one, another in words with its code, how sure;
the day of follow-up, and checklists.

The codes are SNOMED CT's and ICD-O-3's (WHO, 3rd edition) where one means the same.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal, get_args

from dermsentry.clinic import checklists, lengths
from dermsentry.clinic.checklists import Abcd, SevenPoint
from dermsentry.clinic.store.tables import Read
from dermsentry.clinic.store.text import clean
from dermsentry.diagnoses import DIAGNOSES, MALIGNANT, MELANOMA, codes_of, find_label
from dermsentry.errors import InputError

Certainty = Literal["", "low", "moderate", "high"]
CERTAINTIES: tuple[Certainty, ...] = get_args(Certainty)
SERIOUS = frozenset(own.code for own in DIAGNOSES if own.urgency != "routine")
"""Diagnoses that call for more than a routine check."""
_MELANOMA_CODES = r"ICD-O\s87[2-9]\d/[236]|ICD-10\s(C43|D03).*|SNOMED\s109266006"
_MALIGNANT_CODES = rf"ICD-O\s\d{{4}}/[236]|ICD-10\s(C|D0).*|{_MELANOMA_CODES}"
_MELANOMA_WORDS = r"melanom|lentigo\smalign|\b(ssm|alm|lmm)\b"
_MALIGNANT_WORDS = (
    rf"{_MELANOMA_WORDS}|malign|carcinom|karzinom|sarcom|sarkom|lymphom|basaliom|spinaliom|metasta|cancer|krebs|"
    r"mycosis\sfungoides|\b(bowen|paget|merkel|kaposi)\b"
)
"""What words for something malignant have in common in English, German, French and Spanish."""
_CODES = r"SNOMED [0-9]{6,18}|ICD-O [0-9]{4}/[01236]|ICD-10 [A-Z][0-9]{2}(\.[0-9]{1,3})?"


@dataclass(frozen=True)
class Term:
    """A diagnosis within one of the nine: `within` is which it may go with, empty for none of them."""

    code: str
    name: str
    within: tuple[str, ...]


TERMS: tuple[Term, ...] = (
    Term("MIS", "melanoma in situ", ("MEL",)),
    Term("LM", "lentigo maligna", ("MEL",)),
    Term("SPITZ", "Spitz nevus", ("NV",)),
    Term("DYS", "dysplastic nevus", ("NV",)),
    Term("SL", "solar lentigo", ("PBK", "SK", "")),
)


@dataclass(frozen=True)
class Details:
    """What a decision may hold beside diagnosis and action.

    `finer`: a code of `TERMS`. `other`: a diagnosis in words, with `other_code` such as `ICD-O 9140/3`, where
    it is none of the nine. `certainty` of the diagnosis. `follow_up_on`: when the lesion is to be seen again.
    `abcd`, `seven_point`: checklists, None where they were not filled in.
    """

    finer: str = ""
    other: str = ""
    other_code: str = ""
    certainty: str = ""
    follow_up_on: date | None = None
    abcd: Abcd | None = None
    seven_point: SevenPoint | None = None


WRITTEN = ("finer", "other", "other_code", "certainty", "follow_up_on")
FORM = (*WRITTEN, *checklists.FIELDS)
"""The fields of a form in which details are given, as text."""


def name_of_term(code: str) -> str:
    """The name of a finer diagnosis."""
    return next(own.name for own in TERMS if own.code == code)


def is_malignant(code: str) -> bool:
    """Whether a code that a reader gave is of a malignant lesion, in situ or not."""
    return re.fullmatch(_MALIGNANT_CODES, code) is not None or _snomed(code) in MALIGNANT


def is_serious(diagnosis: str, words: str, code: str) -> bool:
    """Whether a diagnosis, in words or not, may call for more than a routine check.

    Of words that are none of the nine those that sound malignant: enough to ask, not to report it.
    """
    label = diagnosis or find_label(words)
    named = SERIOUS.issuperset(codes_of(label)) if label else _has(_MALIGNANT_WORDS, words)
    return named or is_malignant(code)


def is_melanoma(diagnosis: str, words: str, code: str) -> bool:
    """Whether a diagnosis, in words or not, may be a melanoma, in situ or not."""
    label = diagnosis or find_label(words)
    named = label == MELANOMA if label else _has(_MELANOMA_WORDS, words)
    return named or re.fullmatch(_MELANOMA_CODES, code) is not None or _snomed(code) == MELANOMA


def _snomed(code: str) -> str | None:
    system, _, number = code.partition(" ")
    return find_label(number) if system == "SNOMED" else None


def _has(pattern: str, words: str) -> bool:
    plain = "".join(c for c in unicodedata.normalize("NFKD", words) if not unicodedata.combining(c))
    return re.search(pattern, plain.casefold()) is not None


def cleaned(given: Details, diagnosis: str, action: str, today: date) -> Details:
    """Details that make sense with a diagnosis and an action.

    Raises
    ------
    InputError
        A code is unknown or goes with another diagnosis, a text is too long, a day is past, or a checklist
        makes no sense.
    """
    terms = {own.code: own for own in TERMS}
    if given.finer and given.finer not in terms:
        raise InputError(f"Received the finer diagnosis {given.finer[:40]!r}; expected {', '.join(terms)}.")
    if given.finer and diagnosis not in terms[given.finer].within:
        within = " or ".join(code or "none of the nine" for code in terms[given.finer].within)
        raise InputError(f"Received {terms[given.finer].name} with another diagnosis; it goes with {within}.")
    if given.certainty not in CERTAINTIES:
        raise InputError(
            f"Received the certainty {given.certainty[:40]!r}; expected {', '.join(CERTAINTIES[1:])} or none."
        )
    other, code = clean(given.other), " ".join(clean(given.other_code).split())
    if len(other) > lengths.OTHER_DIAGNOSIS:
        raise InputError(
            f"Received a diagnosis of {len(other)} characters; expected up to {lengths.OTHER_DIAGNOSIS}."
        )
    if (other or code) and diagnosis:
        raise InputError("Received a diagnosis in words beside one of the nine; expected one of the two.")
    if code and not re.fullmatch(_CODES, code):
        raise InputError(
            f"Received the code {code[:40]!r}; expected such as SNOMED 109266006, ICD-O 8742/2, ICD-10 C43.5."
        )
    if code and not other:
        raise InputError("Received a code without the diagnosis in words; expected both.")
    if given.follow_up_on is not None and action != "follow-up":
        raise InputError("Received a day of follow-up with another action; choose follow-up, or no day.")
    if given.follow_up_on is not None and not today <= given.follow_up_on < date(today.year + 20, 1, 1):
        raise InputError("Received a day of follow-up that is past or too far; expected one to come.")
    abcd = given.abcd.checked() if given.abcd is not None else None
    seven_point = given.seven_point.checked() if given.seven_point is not None else None
    return Details(given.finer, other, code, given.certainty, given.follow_up_on, abcd, seven_point)


def read_form(given: Mapping[str, str]) -> Details:
    """The details of a form's fields, `FORM`. Raises InputError."""
    day = read_day(given["follow_up_on"])
    finer, other, code, certainty = (given[name] for name in WRITTEN[:4])
    return Details(finer, other, code, certainty, day, *checklists.read_form(given))


def as_form(read: Read) -> dict[str, str]:
    """A read's details as fields of a form."""
    told = {name: str(getattr(read, name) or "") for name in WRITTEN}
    return told | checklists.as_form(read.abcd, read.seven_point)


def read_day(text: str) -> date | None:
    """A day of a form, such as 2026-01-31; None where it is empty. Raises InputError."""
    if not text.strip():
        return None
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise InputError(f"Received the day {text[:40]!r}; expected one such as 2026-01-31.") from None
