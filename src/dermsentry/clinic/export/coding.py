"""The codes that leave the clinic: its own, and SNOMED CT's where one means the same.

SNOMED CT only where the code is certain: what has none, such as `PBK`, leaves under the clinic's own alone.
"""

from __future__ import annotations

import hmac
from uuid import UUID, uuid5

from dermsentry.clinic.store.audit_trail import Trail
from dermsentry.clinic.store.tables import Read
from dermsentry.clinic.worklist.terms import is_malignant, name_of_term
from dermsentry.diagnoses import name_of

NAMESPACE = UUID("6f1de0a4-52f6-4d0e-9a83-3a5c0f1b7c21")
SUSPECTED = ("162572001", "Suspected malignancy")
MALIGNANT = ("MEL", "BCC", "SCC")
SNOMED_CODES = {
    "AK": ("201101007", "Actinic keratosis"),
    "BCC": ("254701007", "Basal cell carcinoma of skin"),
    "MEL": ("93655004", "Malignant melanoma of skin"),
    "SCC": ("254651007", "Squamous cell carcinoma of skin"),
    "biopsy": ("240977001", "Biopsy of skin"),
    "breslow": ("106243009", "Breslow depth staging for melanoma of skin"),
}
UNDECIDED = "none of the nine diagnoses, or it cannot be told"

SCORES = {
    "no_lesion": "No-lesion score, 0 to 1: above 0.5 not recognised as an image of a lesion",
    "out_of_distribution": "Out-of-distribution score, 0 to 1: above 0.5 unlike the model's training images",
}
"""The scores of a finding, and what a receiver reads beside them."""


def is_suspected(read: Read) -> bool:
    """Whether a reader suspects a malignant lesion, as far as the diagnosis or its code says."""
    return read.diagnosis in MALIGNANT or is_malignant(read.other_code)


def suspicion(read: Read, *, known: bool) -> str:
    """A diagnosis by eye in words, the finest there is; `known`: it is known by now what the lesion was."""
    if read.other:
        name = f"{read.other} ({read.other_code})" if read.other_code else read.other
    elif read.finer:
        name = name_of_term(read.finer)
    elif read.diagnosis:
        name = name_of(read.diagnosis)
    else:
        return UNDECIDED
    told = f"{'suspicion of' if is_suspected(read) else 'clinically'} {name}"
    return told if known else f"{told}, no histology"


def suspicion_codes(read: Read) -> tuple[str, ...]:
    """The clinic's own codes of a diagnosis by eye, the finest first; none where there is no diagnosis."""
    return tuple(own for own in (read.finer, read.diagnosis, "other" if read.other else "") if own)


def own_system(trail: Trail, kind: str) -> str:
    """The URI of numbers of a kind that this clinic gives, and no other: made from its key, which stays."""
    clinic = hmac.digest(trail.key, b"the clinic that gives these numbers", "sha256")
    return uuid5(UUID(bytes=clinic[:16], version=4), kind).urn


def oid(text: str) -> str:
    """A DICOM UID, or an OID, that is always the same for a text: one made of a UUID (X.667)."""
    return f"2.25.{uuid5(NAMESPACE, text).int}"
