"""What screening says about one photograph: a line of `findings.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dermsentry.diagnoses import MELANOMA
from dermsentry.screening.quality import Quality
from dermsentry.screening.triage import Tier

SCHEMA = 2
"""Of a line of `findings.jsonl`; in schema 1 `out_of_distribution` was `familiarity`, 1 less the score."""


@dataclass(frozen=True)
class Finding:
    """One photograph's finding.

    `image` is the file's stem; `probabilities` has all nine codes; `out_of_distribution` is None where the
    model cannot say. Of an unreadable photograph `probabilities`, `out_of_distribution` and `quality` are
    None, and `reasons` says why it could not be read. `model` names the model and the start of its digest.
    """

    image: str
    path: str
    tier: Tier
    probabilities: Mapping[str, float] | None
    out_of_distribution: float | None
    quality: Quality | None
    reasons: tuple[str, ...]
    model: str

    @property
    def melanoma(self) -> float | None:
        """The probability of melanoma."""
        return self.probabilities[MELANOMA] if self.probabilities is not None else None

    @property
    def likeliest(self) -> str | None:
        """The code of the likeliest diagnosis."""
        if self.probabilities is None:
            return None
        return max(self.probabilities, key=self.probabilities.__getitem__)

    def as_dict(self) -> dict[str, Any]:
        """The fields as they stand in `findings.jsonl`."""
        return {
            "schema": SCHEMA,
            "image": self.image,
            "path": self.path,
            "tier": self.tier,
            "melanoma": self.melanoma,
            "probabilities": self.probabilities,
            "out_of_distribution": self.out_of_distribution,
            "quality": self.quality.as_dict() if self.quality is not None else None,
            "reasons": self.reasons,
            "model": self.model,
        }

    def as_json(self) -> str:
        """One line of JSON. A file name's bytes that are no UTF-8 stand as `\\udcXX`."""
        line = json.dumps(self.as_dict(), ensure_ascii=False, allow_nan=False)
        return line if line.isascii() else line.encode("utf-8", "backslashreplace").decode("utf-8")
