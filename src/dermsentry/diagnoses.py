"""The nine diagnoses: folder name, code, names in other sets, urgency. Data, and how to look it up.

A set that does not distinguish two diagnoses names both: HAM10000's `bkl` is `PBK|SK`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
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


def _words(text: str) -> tuple[str, ...]:
    return tuple(" ".join(word.split()) for word in text.split(";"))


# The aliases are the names of the ISIC Archive (today's, as in `isic-metadata`, and older ones), Derm7pt,
# PAD-UFES-20, PH2, Fitzpatrick17k and DDI, and SNOMED CT's codes where they are certain; each is written as
# `_key` compares it.
DIAGNOSES: tuple[Diagnosis, ...] = (
    Diagnosis(
        "AK",
        "actinic keratosis",
        "soon",
        _words(
            """actinic keratoses; solar keratosis; solar keratoses; solar or actinic keratosis; ack; solar
            or actinic cheilitis; actinic cheilitis; actinic keratosis acantholytic; actinic keratosis
            atrophic; actinic keratosis bowenoid; actinic keratosis hypertrophic; actinic keratosis
            lichenoid; 201101007"""
        ),
    ),
    Diagnosis(
        "BCC",
        "basal cell carcinoma",
        "soon",
        _words(
            """basal cell; basalioma; basal cell carcinomas; basal cell carcinoma nodular; nodular basal
            cell carcinoma; basal cell carcinoma superficial; superficial basal cell carcinoma; basal
            cell carcinoma infiltrating; basal cell carcinoma micronodular; basal cell carcinoma
            sclerosing or morpheaform; basal cell carcinoma morpheiform; basal cell carcinoma
            fibroeipthelial; basal cell carcinoma fibroepithelial; basal cell carcinoma combined
            subtypes; basal cell carcinoma with adnexal differentiation; basal cell carcinoma with
            sarcomatoid differentiation; pigmented basal cell carcinoma; solid cystic basal cell
            carcinoma; 254701007"""
        ),
    ),
    Diagnosis(
        "DF",
        "dermatofibroma",
        "routine",
        _words(
            """dermatofibromas; dermatofibroma aneurysmal; dermatofibroma atypical; dermatofibroma
            cellular; dermatofibroma epithelioid; dermatofibroma hemosiderotic"""
        ),
    ),
    Diagnosis(
        "MEL",
        "melanoma",
        "urgent",
        _words(
            """malignant melanoma; melanomas; melanoma nos; melanoma in situ; invasive melanoma; melanoma
            invasive; melanoma metastasis; metastatic melanoma; malignant melanocytic proliferations
            melanoma; lentigo maligna; lentigo maligna melanoma; nodular melanoma; nodular melanoma nm;
            superficial spreading melanoma; superficial spreading melanoma ssm; acral lentiginous
            melanoma; melanoma acral lentiginous; melanoma less than 0 76 mm; melanoma 0 76 to 1 5 mm;
            melanoma more than 1 5 mm; recurrent persistent melanoma in situ; recurrent persistent
            melanoma invasive; melanoma in situ acral or acral lentiginous; melanoma in situ lentigo
            maligna type; melanoma in situ mucosal; melanoma in situ recurrent or persistent; melanoma
            in situ superficial spreading; melanoma in situ associated with a nevus; melanoma invasive
            acral or acral lentiginous; melanoma invasive arising in a congenital nevus; melanoma
            invasive associated with a nevus; melanoma invasive blue nevus like; melanoma invasive
            originating from blue nevus; melanoma invasive resembling blue nevus; melanoma invasive
            desmoplastic; melanoma invasive heavily pigmented; melanoma invasive heavily pigmented
            resembling epithelioid blue nevus or melanoma developing in animals; melanoma invasive
            mucosal; melanoma invasive neurotropic; melanoma invasive nevoid; melanoma invasive
            nodular; melanoma invasive on chronically sun exposed skin or lentigo maligna melanoma;
            melanoma invasive pigmented spindle cell nevus like; melanoma invasive recurrent or
            persistent; melanoma invasive spitzoid; melanoma invasive superficial spreading; 93655004;
            372244006"""
        ),
    ),
    Diagnosis(
        "NV",
        "nevus",
        "routine",
        _words(
            """nevi; naevus; naevi; nev; melanocytic nevus; melanocytic nevi; melanocytic naevus;
            melanocytic naevi; nevocytic nevus; mole; moles; common nevus; atypical nevus; blue nevus;
            clark nevus; clarks nevus; combined nevus; congenital nevus; compound nevus; dermal nevus;
            intradermal nevus; junctional nevus; dysplastic nevus; halo nevus; nevus spilus; recurrent
            nevus; reed nevus; spitz nevus; reed or spitz nevus; atypical spindle cell nevus of reed;
            pigmented spindle cell nevus of reed; nevus nos; nevus acral; nevus agminated; nevus
            atypical dysplastic or clark; nevus atypical; nevus clark; nevus dysplastic; nevus bap 1
            deficient; nevus balloon cell; nevus combined; nevus congenital; nevus congenital by
            histopathological pattern; nevus congenital by history; nevus congenital by history and
            histopathological pattern; nevus deep penetrating; nevus halo; nevus lentiginous; nevus
            meyerson; nevus nos compound; nevus nos dermal; nevus nos junctional; nevus of special
            anatomic site; nevus recurrent or persistent; nevus reed; nevus spitz; blue nevus cellular;
            blue nevus common; blue nevus epithelioid; blue nevus plaque type; blue nevus sclerosing"""
        ),
    ),
    Diagnosis(
        "PBK",
        "pigmented benign keratosis",
        "routine",
        _words("benign pigmented keratosis; pigmented benign keratoses"),
    ),
    Diagnosis(
        "SCC",
        "squamous cell carcinoma",
        "soon",
        _words(
            """squamous cell; spinocellular carcinoma; squamous cell carcinomas; sccka; squamous cell
            carcinoma keratoacanthoma; keratoacanthoma; verrucous carcinoma; squamous cell carcinoma
            nos; squamous cell carcinoma invasive; invasive squamous cell carcinoma; squamous cell
            carcinoma invasive acantholytic; squamous cell carcinoma invasive adeno squamous; squamous
            cell carcinoma invasive clear cell; squamous cell carcinoma invasive keratoacanthoma type;
            squamous cell carcinoma invasive nos; squamous cell carcinoma invasive sarcomatoid;
            squamous cell carcinoma invasive spindle cell; squamous cell carcinoma invasive verrucous;
            254651007"""
        ),
    ),
    Diagnosis(
        "SK",
        "seborrheic keratosis",
        "routine",
        _words(
            """seborrhoeic keratosis; seborrheic keratoses; seborrhoeic keratoses; sek; seborrheic
            keratosis clonal; seborrheic keratosis irritated; irritated seborrheic keratosis"""
        ),
    ),
    Diagnosis(
        "VASC",
        "vascular lesion",
        "routine",
        _words(
            """vascular lesions; vascular; hemangioma; haemangioma; hemangiomas; angioma; angiomas; cherry
            angioma; cherry hemangioma; angiokeratoma; angiokeratomas; pyogenic granuloma; venous lake;
            telangiectasia; telangiectases; vascular spider; port wine stain; lymphangioma;
            arteriovenous hemangioma; hemorrhage; hemorrhagic lesions; subungual hemorrhage; mucosal
            hemorrhage; subcorneal and intracorneal hemorrhage; dermal and subcutaneous hemorhage;
            benign soft tissue proliferations vascular; hemangioma cherry; hemangioma hobnail;
            hemangioma infantile; hemangioma tufted; capillary vascular malformation; venous
            malformation; arterio venous malformation"""
        ),
    ),
)

CODES: tuple[str, ...] = tuple(diagnosis.code for diagnosis in DIAGNOSES)
MELANOMA = "MEL"

BENIGN = ("AK", "DF", "NV", "PBK", "SK", "VASC")
"""What a set that only says benign or malignant may mean by benign: actinic keratosis too, as in DDI."""
MALIGNANT = ("BCC", "MEL", "SCC")
NOT_MELANOMA = tuple(code for code in CODES if code != MELANOMA)

# What other sets call several of the nine at once. Benign keratosis is the ISIC challenges' class of
# seborrheic keratosis, solar lentigo and lichen-planus-like keratosis (Tschandl et al., Sci Data 2018).
CANDIDATES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        _words(
            """bkl; benign keratosis; benign keratosis like lesion; benign keratosis like lesions; benign
            keratinocytic lesion; solar lentigo; solar lentigines; lentigo solar; lichenoid keratosis;
            benign lichenoid keratosis; lichen planus like keratosis; lplk"""
        ),
        ("PBK", "SK"),
    ),
    **dict.fromkeys(
        _words(
            """akiec; actinic keratosis or intraepithelial carcinoma; actinic keratosis intraepidermal
            carcinoma; intraepithelial carcinoma; intraepidermal carcinoma; bowen; bowens; bowen
            disease; bowens disease; morbus bowen; bod; squamous cell carcinoma in situ; squamous cell
            carcinoma in situ bowens disease"""
        ),
        ("AK", "SCC"),
    ),
    **dict.fromkeys(_words("baso squamous carcinoma; basosquamous carcinoma"), ("BCC", "SCC")),
    **dict.fromkeys(_words("benign; benign lesion; benign lesions; any benign diagnosis"), BENIGN),
    **dict.fromkeys(
        _words("malignant; malign; malignant lesion; malignant lesions; any malignant diagnosis"), MALIGNANT
    ),
    **dict.fromkeys(
        _words(
            """not melanoma; notmelanoma; non melanoma; nonmelanoma; no melanoma; other than melanoma; any
            diagnosis but melanoma"""
        ),
        NOT_MELANOMA,
    ),
}

UNKNOWN = frozenset(
    _words(
        """unknown; unk; n a; na; nan; none; null; missing; not available; not specified; unspecified;
        undetermined; indeterminate; indeterminable; unlabeled; unlabelled"""
    )
) | {"", "?"}
"""Words that say that a diagnosis is not known, as `_key` compares them."""

_BY_CODE = {diagnosis.code: diagnosis for diagnosis in DIAGNOSES}


# In words, where naming each candidate would say less.
_SETS = {
    "|".join(BENIGN): "any benign diagnosis",
    "|".join(MALIGNANT): "any malignant diagnosis",
    "|".join(NOT_MELANOMA): "any diagnosis but melanoma",
    "|".join(CODES): "any diagnosis",
}


_SYSTEM = re.compile(r"^\s*(?:SNOMED(?:[ -]?CT)?|SCT)\s*[:|]", re.IGNORECASE)


def _key(text: str) -> str:
    """A name as it is compared: without case, punctuation and the system of a code."""
    plain = re.sub(r"['’`´]", "", _SYSTEM.sub("", text))
    return re.sub(r"[\s_\-./,()+&]+", " ", plain).strip().casefold()


_LABELS: dict[str, str] = {
    **{_key(name): "|".join(codes) for name, codes in CANDIDATES.items()},
    **{_key(word): d.code for d in DIAGNOSES for word in (d.code, d.name, *d.aliases)},
}


def find_label(text: str) -> str | None:
    """The label for a folder name, code or alias in any spelling; None where it is none of the nine.

    A label is a code (`MEL`), or several joined by `|` where the set does not distinguish them (`PBK|SK`).
    A name of several levels, as the ISIC Archive writes it (`Benign:…:Nevus:Nevus, Spitz`), is read by
    `find_level`.
    """
    text = _SYSTEM.sub("", text)
    if ":" in text:
        return find_level(text.split(":"))[0]
    parts = text.split("|")
    if len(parts) > 1:
        found = [find_label(part) for part in parts]
        codes = {code for label in found if label for code in label.split("|")}
        return join_codes(codes) if all(found) else None
    return _LABELS.get(_key(text))


def find_level(
    levels: Iterable[str], find: Callable[[str], str | None] = find_label
) -> tuple[str | None, str]:
    """The label of a diagnosis in levels, the most general first; and the finest level where that is lost.

    The finest level that is one of the nine decides: `Nevus, Something new` below `Nevus` is a nevus. What is
    none of the nine but benign is any benign diagnosis. What is none of the nine but malignant is None: a
    Merkel cell carcinoma is none of the malignant diagnoses of the nine. None, too, where no level says
    anything.
    """
    named = [level for level in map(str.strip, levels) if not says_unknown(level)]
    for depth, level in reversed(list(enumerate(named))):
        label = find(level)
        coarse = depth == 0 < len(named) - 1 and label in _SETS
        if label is not None and not (coarse and MELANOMA in codes_of(label)):
            return label, named[-1] if coarse else ""
    return None, named[-1] if named else ""


def says_unknown(text: str) -> bool:
    """Whether a text says that the diagnosis is not known, such as `unknown`, `UNK` or nothing."""
    return _key(text) in UNKNOWN


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
    return _SETS.get(label) or " or ".join(_BY_CODE[code].name for code in codes_of(label)) or "unknown"


def diagnosis(code: str) -> Diagnosis:
    """The diagnosis with this code. Raises InputError for any other text."""
    try:
        return _BY_CODE[code]
    except KeyError:
        raise InputError(f"Received the code {code!r}; expected one of {', '.join(CODES)}.") from None
