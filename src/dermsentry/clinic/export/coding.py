"""The codes that leave the clinic: its own, and SNOMED CT's where one means the same.

SNOMED CT only where the code is certain: what has none, such as `PBK`, leaves under the clinic's own alone.
"""

from __future__ import annotations

import hmac
from uuid import UUID, uuid5

from dermsentry.clinic.store.audit_trail import Trail
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
}

SCORES = {
    "no_lesion": "No-lesion score, 0 to 1: above 0.5 not recognised as an image of a lesion",
    "out_of_distribution": "Out-of-distribution score, 0 to 1: above 0.5 unlike the model's training images",
}
"""The scores of a finding, and what a receiver reads beside them."""


def suspicion(diagnosis: str, *, known: bool) -> str:
    """A diagnosis by eye in words, which is a suspicion; `known`: it is known by now what the lesion was."""
    told = f"{'suspicion of' if diagnosis in MALIGNANT else 'clinically'} {name_of(diagnosis)}"
    return told if known else f"{told}, no histology"


def own_system(trail: Trail, kind: str) -> str:
    """The URI of numbers of a kind that this clinic gives, and no other: made from its key, which stays."""
    clinic = hmac.digest(trail.key, b"the clinic that gives these numbers", "sha256")
    return uuid5(UUID(bytes=clinic[:16], version=4), kind).urn


def oid(text: str) -> str:
    """A DICOM UID, or an OID, that is always the same for a text: one made of a UUID (X.667)."""
    return f"2.25.{uuid5(NAMESPACE, text).int}"
