"""Tables of predictions: all nine probabilities, or what the scorer of an ISIC challenge takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from dermsentry.diagnoses import CODES, MELANOMA
from dermsentry.errors import InputError
from dermsentry.files import csv_line

Challenge = Literal["isic2018", "isic2019", "isic2020"]
CHALLENGES: tuple[Challenge, ...] = get_args(Challenge)

# Each challenge's name of an image, and its columns: the diagnoses of the nine that one stands for. `UNK` is
# what is none of the others, and so how unlike the images are to what the model learned from.
_COLUMNS: dict[Challenge | None, tuple[str, dict[str, tuple[str, ...]]]] = {
    None: ("image", {code: (code,) for code in CODES}),
    "isic2018": (
        "image",
        {
            "MEL": ("MEL",),
            "NV": ("NV",),
            "BCC": ("BCC",),
            "AKIEC": ("AK", "SCC"),
            "BKL": ("PBK", "SK"),
            "DF": ("DF",),
            "VASC": ("VASC",),
        },
    ),
    "isic2019": (
        "image",
        {
            "MEL": ("MEL",),
            "NV": ("NV",),
            "BCC": ("BCC",),
            "AK": ("AK",),
            "BKL": ("PBK", "SK"),
            "DF": ("DF",),
            "VASC": ("VASC",),
            "SCC": ("SCC",),
            "UNK": (),
        },
    ),
    "isic2020": ("image_name", {"target": (MELANOMA,)}),
}


def check_challenge(challenge: str | None) -> None:
    """Raise InputError if there is no such challenge."""
    if challenge not in _COLUMNS:
        known = ", ".join(CHALLENGES)
        raise InputError(f"Received predictions_for {challenge!r}; expected one of {known}, or nothing.")


def header(challenge: Challenge | None) -> str:
    """The first line of the table."""
    image, columns = _COLUMNS[challenge]
    return csv_line([image, *columns])


def row(
    image: str, probabilities: Mapping[str, float], unlike: float | None, challenge: Challenge | None
) -> str:
    """An image's line: `probabilities` by code, `unlike` its out-of-distribution score from 0 to 1."""
    shares = [
        min(sum(probabilities[code] for code in codes), 1.0) if codes else unlike or 0.0
        for codes in _COLUMNS[challenge][1].values()
    ]
    # Always with decimals: a column of `0` and `1` would be read as whole numbers, which the scorer refuses.
    return csv_line([image, *(f"{share:.9f}" for share in shares)])
