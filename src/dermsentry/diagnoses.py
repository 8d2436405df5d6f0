"""The nine diagnoses: folder name, code, names in other sets, urgency. Data, and how to look it up.

A set that does not distinguish two diagnoses names both: HAM10000's `bkl` is `PBK|SK`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from dermsentry.errors import InputError

Urgency = Literal["urgent", "soon", "routine"]


@dataclass(frozen=True)
class Diagnosis:
    """One diagnosis: `code` in every file, `name` for people, `aliases` read from other sets."""

    code: str
    name: str
    urgency: Urgency
    aliases: tuple[str, ...]


DIAGNOSES: tuple[Diagnosis, ...] = (
    Diagnosis("AK", "actinic keratosis", "soon", ("actinic keratoses", "solar keratosis", "bowen disease")),
    Diagnosis("BCC", "basal cell carcinoma", "soon", ("basal cell", "basalioma")),
    Diagnosis("DF", "dermatofibroma", "routine", ("dermatofibromas",)),
    Diagnosis(
        "MEL",
        "melanoma",
        "urgent",
        ("malignant melanoma", "melanoma in situ", "melanoma invasive", "melanoma metastasis", "melanomas"),
    ),
    Diagnosis(
        "NV",
        "nevus",
        "routine",
        ("nevi", "naevus", "naevi", "melanocytic nevus", "melanocytic nevi", "melanocytic naevus", "mole"),
    ),
    Diagnosis(
        "PBK",
        "pigmented benign keratosis",
        "routine",
        ("benign pigmented keratosis", "pigmented benign keratoses"),
    ),
    Diagnosis("SCC", "squamous cell carcinoma", "soon", ("squamous cell", "spinocellular carcinoma")),
    Diagnosis(
        "SK",
        "seborrheic keratosis",
        "routine",
        ("seborrhoeic keratosis", "seborrheic keratoses", "seborrhoeic keratoses"),
    ),
    Diagnosis(
        "VASC",
        "vascular lesion",
        "routine",
        ("vascular lesions", "vascular", "hemangioma", "haemangioma", "angioma"),
    ),
)

CODES: tuple[str, ...] = tuple(diagnosis.code for diagnosis in DIAGNOSES)
MELANOMA = "MEL"

# What other sets call two of the nine at once.
CANDIDATES: dict[str, tuple[str, ...]] = {
    "bkl": ("PBK", "SK"),
    "benign keratosis": ("PBK", "SK"),
    "benign keratosis like lesion": ("PBK", "SK"),
    "benign keratosis like lesions": ("PBK", "SK"),
    "akiec": ("AK", "SCC"),
    "actinic keratosis or intraepithelial carcinoma": ("AK", "SCC"),
}

_BY_CODE = {diagnosis.code: diagnosis for diagnosis in DIAGNOSES}


def _key(text: str) -> str:
    return re.sub(r"[\s_\-./]+", " ", text).strip().casefold()


_LABELS: dict[str, str] = {
    **{_key(name): "|".join(codes) for name, codes in CANDIDATES.items()},
    **{_key(word): d.code for d in DIAGNOSES for word in (d.code, d.name, *d.aliases)},
}


def find_label(text: str) -> str | None:
    """The label for a folder name, code or alias in any spelling; None where it is none of the nine.

    A label is a code (`MEL`), or several joined by `|` where the set does not distinguish them (`PBK|SK`).
    """
    parts = text.split("|")
    if len(parts) > 1:
        found = [find_label(part) for part in parts]
        codes = {code for label in found if label for code in label.split("|")}
        return join_codes(codes) if all(found) else None
    return _LABELS.get(_key(text))


def codes_of(label: str) -> tuple[str, ...]:
    """The codes a label may stand for, in the order of `CODES`; none for an unknown diagnosis (`""`)."""
    return tuple(label.split("|")) if label else ()


def join_codes(codes: Iterable[str]) -> str:
    """The label that stands for any of `codes`, in the order of `CODES`."""
    wanted = set(codes)
    return "|".join(code for code in CODES if code in wanted)


def agree(first: str, second: str) -> bool:
    """Whether two labels can both be true; an unknown diagnosis agrees with everything."""
    return not first or not second or bool(set(codes_of(first)) & set(codes_of(second)))


def is_melanoma(label: str) -> bool | None:
    """Whether a label says melanoma; None where it leaves that open (`MEL|NV`, or an unknown diagnosis)."""
    if label == MELANOMA:
        return True
    return None if not label or MELANOMA in codes_of(label) else False


def narrow(first: str, second: str) -> str:
    """The label that holds when both do: `SK` of `PBK|SK` and `SK`. Raises ValueError if they disagree."""
    if not first or not second:
        return first or second
    common = set(codes_of(first)) & set(codes_of(second))
    if not common:
        raise ValueError(f"{first} and {second} have no diagnosis in common")
    return join_codes(common)


def label_space(labels: Iterable[str]) -> tuple[str, ...]:
    """The finest classes that `labels` can be evaluated in: labels that share a code are merged.

    `["MEL", "PBK|SK", "SK"]` gives `("MEL", "PBK|SK")`: where some are only known to be one of two, the
    two count as one class. Unknown labels are left out.
    """
    classes: list[set[str]] = []
    for label in sorted(set(labels) - {""}):
        merged = set(codes_of(label))
        apart = [codes for codes in classes if not codes & merged]
        for codes in classes:
            if codes & merged:
                merged |= codes
        classes = [*apart, merged]
    return tuple(
        sorted((join_codes(codes) for codes in classes), key=lambda label: CODES.index(codes_of(label)[0]))
    )


def name_of(label: str) -> str:
    """A label in words: `melanoma`, `pigmented benign keratosis or seborrheic keratosis`, `unknown`."""
    return " or ".join(_BY_CODE[code].name for code in codes_of(label)) or "unknown"


def diagnosis(code: str) -> Diagnosis:
    """The diagnosis with this code. Raises InputError for any other text."""
    try:
        return _BY_CODE[code]
    except KeyError:
        raise InputError(f"Received the code {code!r}; expected one of {', '.join(CODES)}.") from None
