"""Dermoscopic checklists that a reader may fill in: the ABCD rule and the 7-point checklist.

Both are for melanocytic lesions seen through a dermatoscope; the criteria are a person's, the score follows.

ABCD rule: W. Stolz, A. Riemann, A. B. Cognetta et al., ABCD rule of dermatoscopy: a new practical method for
early recognition of malignant melanoma, European Journal of Dermatology 4 (1994) 521-527; F. Nachbar,
W. Stolz, T. Merkle et al., The ABCD rule of dermatoscopy: high prospective value in the diagnosis of doubtful
melanocytic skin lesions, Journal of the American Academy of Dermatology 30 (1994) 551-559.

7-point checklist: G. Argenziano, G. Fabbrocini, P. Carli et al., Epiluminescence microscopy for the diagnosis
of doubtful melanocytic skin lesions: comparison of the ABCD rule of dermatoscopy and a new 7-point checklist
based on pattern analysis, Archives of Dermatology 134 (1998) 1563-1570.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from dermsentry.errors import InputError

Colour = Literal["white", "red", "light-brown", "dark-brown", "blue-grey", "black"]
Structure = Literal["network", "structureless", "branched-streaks", "dots", "globules"]
Major = Literal["atypical-network", "blue-whitish-veil", "atypical-vessels"]
Minor = Literal["irregular-streaks", "irregular-pigmentation", "irregular-dots", "regression"]
Criterion = Literal[Major, Minor]
Verdict = Literal["benign", "not-suspicious", "suspicious", "highly-suspicious"]


def _named(codes: Any, **names: str) -> Mapping[str, str]:
    """Codes and their names: as they are, without hyphens, where no other is given."""
    return {code: names.get(code.replace("-", "_"), code.replace("-", " ")) for code in get_args(codes)}


COLOURS = _named(Colour, blue_grey="blue-grey")
STRUCTURES = _named(Structure, network="pigment network", structureless="structureless areas")
MAJOR = _named(
    Major,
    atypical_network="atypical pigment network",
    blue_whitish_veil="blue-whitish veil",
    atypical_vessels="atypical vascular pattern",
)
MINOR = _named(Minor, irregular_dots="irregular dots or globules", regression="regression structures")
CRITERIA = {**MAJOR, **MINOR}
VERDICTS: Mapping[Verdict, str] = {
    "benign": "benign",
    "not-suspicious": "not suspicious of melanoma",
    "suspicious": "suspicious of melanoma",
    "highly-suspicious": "highly suspicious of melanoma",
}
MOST_AXES, MOST_SEGMENTS = 2, 8
NONE = "none"
"""Of the form: the 7-point checklist was gone through, and none of the seven found."""
FIELDS = ("asymmetry", "border", "colours", "structures", "seven_point")
"""Of the form, as text; several colours, structures or criteria are parted by spaces."""
_A, _B, _C, _D = 1.3, 0.1, 0.5, 0.5
_SUSPICIOUS, _HIGHLY = 4.75, 5.45
_MAJOR, _MINOR, _MELANOMA = 2, 1, 3


@dataclass(frozen=True)
class Abcd:
    """The ABCD rule of dermatoscopy (Stolz 1994, Nachbar 1994).

    Parameters
    ----------
    asymmetry
        In how many of two perpendicular axes contour, colours or structures are asymmetric: 0 to 2.
    border
        In how many of eight segments the pigment ends abruptly: 0 to 8.
    colours
        Those of `COLOURS` that are there: 1 to 6.
    structures
        Those of `STRUCTURES` that are there: 1 to 5.
    """

    derived: ClassVar[tuple[str, ...]] = ("score", "verdict")
    asymmetry: int
    border: int
    colours: tuple[str, ...]
    structures: tuple[str, ...]

    @property
    def score(self) -> float:
        """The total dermoscopy score: 1.3 A + 0.1 B + 0.5 C + 0.5 D, 1.0 to 8.9."""
        weighted = _A * self.asymmetry + _B * self.border
        return round(weighted + _C * len(self.colours) + _D * len(self.structures), 1)

    @property
    def verdict(self) -> Verdict:
        """Below 4.75 benign, up to 5.45 suspicious, above highly suspicious of melanoma (Nachbar 1994)."""
        if self.score < _SUSPICIOUS:
            return "benign"
        return "highly-suspicious" if self.score > _HIGHLY else "suspicious"

    def checked(self) -> Abcd:
        """The same, with colours and structures once each and in their order.

        Raises
        ------
        InputError
            A number is out of its range, or a colour or structure is unknown or none is given.
        """
        for name, value, most in (
            ("asymmetry", self.asymmetry, MOST_AXES),
            ("border", self.border, MOST_SEGMENTS),
        ):
            if type(value) is not int or not 0 <= value <= most:
                raise InputError(f"ABCD rule: received the {name} {value!r}; expected 0 to {most}.")
        colours = _known("ABCD rule: received the colour", self.colours, COLOURS)
        structures = _known("ABCD rule: received the structure", self.structures, STRUCTURES)
        for what, given in (("colour", colours), ("structure", structures)):
            if not given:
                raise InputError(f"ABCD rule: received no {what}; expected at least one.")
        return Abcd(self.asymmetry, self.border, colours, structures)


@dataclass(frozen=True)
class SevenPoint:
    """The 7-point checklist (Argenziano 1998): those of `CRITERIA` that are there, 0 to 7 of them."""

    derived: ClassVar[tuple[str, ...]] = ("score", "verdict")
    criteria: tuple[str, ...]

    @property
    def score(self) -> int:
        """Two points for each major criterion, one for each minor: 0 to 10."""
        return sum(_MAJOR if own in MAJOR else _MINOR for own in self.criteria)

    @property
    def verdict(self) -> Verdict:
        """From 3 points suspicious of melanoma (Argenziano 1998)."""
        return "suspicious" if self.score >= _MELANOMA else "not-suspicious"

    def checked(self) -> SevenPoint:
        """The same, each criterion once and in their order. Raises InputError where one is unknown."""
        return SevenPoint(_known("7-point checklist: received the criterion", self.criteria, CRITERIA))


def briefly(filled: Abcd | SevenPoint) -> str:
    """The score of a checklist and its verdict."""
    return f"{filled.score}: {VERDICTS[filled.verdict]}"


def parts(filled: Abcd | SevenPoint, word: Callable[[str], str] = str) -> str:
    """What was filled in, in words; `word` puts each name as its reader says it."""
    if isinstance(filled, SevenPoint):
        return ", ".join(word(CRITERIA[own]) for own in filled.criteria) or "none of the seven"
    colours = ", ".join(word(COLOURS[own]) for own in filled.colours)
    structures = ", ".join(word(STRUCTURES[own]) for own in filled.structures)
    return (
        f"asymmetry {filled.asymmetry} of {MOST_AXES}, border {filled.border} of {MOST_SEGMENTS}, "
        f"colours {colours}, structures {structures}"
    )


def read_form(given: Mapping[str, str]) -> tuple[Abcd | None, SevenPoint | None]:
    """The checklists of a form's `FIELDS`; None of one in which nothing is filled in.

    Raises
    ------
    InputError
        One is half filled in, or a value cannot be used.
    """
    return read_abcd(given), read_seven_point(given)


def as_form(abcd: Abcd | None, seven_point: SevenPoint | None) -> dict[str, str]:
    """What `read_form` makes these of."""
    given = dict.fromkeys(FIELDS, "")
    if abcd is not None:
        given |= {"asymmetry": str(abcd.asymmetry), "border": str(abcd.border)}
        given |= {"colours": " ".join(abcd.colours), "structures": " ".join(abcd.structures)}
    if seven_point is not None:
        given["seven_point"] = " ".join(seven_point.criteria) or NONE
    return given


def in_words(filled: Abcd | SevenPoint) -> str:
    """The score of a checklist, and what its authors take it for."""
    if isinstance(filled, SevenPoint):
        cut = f"{_MELANOMA} or more" if filled.verdict == "suspicious" else f"below {_MELANOMA}"
        return f"{filled.score} ({cut}: {VERDICTS[filled.verdict]})"
    cut = {
        "benign": f"below {_SUSPICIOUS}",
        "suspicious": f"{_SUSPICIOUS} to {_HIGHLY}",
        "highly-suspicious": f"above {_HIGHLY}",
    }[filled.verdict]
    return f"{filled.score:.1f} ({cut}: {VERDICTS[filled.verdict]})"


def read_abcd(given: Mapping[str, str]) -> Abcd | None:
    """The ABCD rule of a form; None where nothing is filled in. Raises InputError."""
    told = {name: given.get(name, "").strip() for name in ("asymmetry", "border", "colours", "structures")}
    if not any(told.values()):
        return None
    missing = [name for name, value in told.items() if not value]
    if missing:
        raise InputError(f"ABCD rule: {', '.join(missing)} still to be filled in, or clear the others.")
    for name in ("asymmetry", "border"):
        if not (told[name].isascii() and told[name].isdigit() and len(told[name]) == 1):
            raise InputError(f"ABCD rule: received the {name} {told[name][:20]!r}; expected a digit.")
    colours, structures = tuple(told["colours"].split()), tuple(told["structures"].split())
    return Abcd(int(told["asymmetry"]), int(told["border"]), colours, structures).checked()


def read_seven_point(given: Mapping[str, str]) -> SevenPoint | None:
    """The 7-point checklist of a form; None where nothing is filled in. Raises InputError."""
    told = given.get("seven_point", "").split()
    if not told:
        return None
    if NONE in told and len(told) > 1:
        raise InputError("7-point checklist: received none of the seven beside one of them; clear either.")
    return SevenPoint(tuple(own for own in told if own != NONE)).checked()


def _known(received: str, given: Collection[str], known: Mapping[str, str]) -> tuple[str, ...]:
    for own in given:
        if own not in known:
            raise InputError(f"{received} {own[:40]!r}; expected some of {', '.join(known)}.")
    return tuple(own for own in known if own in given)
