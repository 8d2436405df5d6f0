"""Cases of a clinic, as the worker leaves them, and photographs as they are sent."""

from __future__ import annotations

import io
import uuid
from datetime import datetime
from typing import Any

import numpy as np
from PIL import Image
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from dermsentry.clinic.store.tables import PLACES, Case, Outcome, now
from dermsentry.diagnoses import CODES, MELANOMA
from dermsentry.phantoms.drawing import draw_phantom


def screened(
    tier: str = "alert",
    melanoma: float | None = 0.7,
    *,
    received_at: datetime | None = None,
    no_lesion: float | None = 0.1,
    out_of_distribution: float | None = 0.1,
    **fields: Any,
) -> Case:
    """A case as the worker leaves it; with an empty tier as it came in."""
    common = {
        "sha256": uuid.uuid4().hex * 2,
        "source": "page",
        "format": "PNG",
        "received_at": received_at or now(),
    }
    if not tier:
        return Case(**(common | fields))
    melanoma = None if tier == "unreadable" else melanoma
    shares = None
    if melanoma is not None:
        shares = dict.fromkeys(CODES, (1 - melanoma) / (2 * (len(CODES) - 2))) | {MELANOMA: melanoma}
        shares["NV"] = 1 - sum(share for code, share in shares.items() if code != "NV")
    quality = {
        "acceptable": True,
        "side": 450,
        "sharpness": 0.6,
        "brightness": 150.0,
        "contrast": 20.0,
        "problems": [],
    }
    finding = {
        "tier": tier,
        "melanoma": melanoma,
        "probabilities": shares,
        "no_lesion": None if melanoma is None else no_lesion,
        "out_of_distribution": None if melanoma is None else out_of_distribution,
        "quality": None if melanoma is None else quality,
        "reasons": ["drawn for a test"],
    }
    kept = {
        "state": "screened",
        "screened_at": now(),
        "tier": tier,
        "lane": PLACES[tier][0],
        "rank": PLACES[tier][1],
        "melanoma": melanoma,
        "melanoma_order": -(melanoma or 0.0),
        "finding": finding,
        "model_digest": "a" * 64,
        "width": None if melanoma is None else 600,
        "height": None if melanoma is None else 450,
    }
    return Case(**(common | kept | fields))


def with_outcomes(engine: Engine, digest: str, melanomas: int = 20, others: int = 60, **fields: Any) -> None:
    """Cases of a model with an outcome: melanomas from 0.3 to 0.95, others up to 0.6."""
    shares = np.r_[np.linspace(0.3, 0.95, melanomas), np.linspace(0.01, 0.6, others)]
    with Session(engine) as session:
        for number, share in enumerate(shares.tolist()):
            tier = "alert" if share >= 0.5 else "refer" if share >= 0.2 else "routine"
            case = screened(tier, round(share, 6), model_digest=digest, **fields)
            session.add(case)
            session.flush()
            diagnosis = "MEL" if number < melanomas else "NV"
            session.add(Outcome(case_id=case.id, diagnosis=diagnosis, method="histology"))
        session.commit()


def reread(engine: Engine, case_id: int) -> Case:
    """A case as the database has it now."""
    with Session(engine) as session:
        case = session.get_one(Case, case_id)
        session.expunge(case)
        return case


def photograph(
    number: int = 0, code: str = "MEL", kind: str = "JPEG", size: tuple[int, int] = (160, 120)
) -> bytes:
    """A phantom as a file."""
    buffer = io.BytesIO()
    Image.fromarray(draw_phantom(code, number, size)).save(buffer, kind)
    return buffer.getvalue()
