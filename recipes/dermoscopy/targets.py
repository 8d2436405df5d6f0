"""What the bundled model is to reach on held-out images, and whether it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

HAM10000 = "HAM10000, held-out lesions"
NINE = "the nine-class set's Test, without known leaks"
ISIC2017 = "ISIC 2017 test"
REFUSAL = "pictures without a lesion, against validation photographs"


@dataclass(frozen=True)
class Target:
    """A `figure` of `part` that is to be at least or at most `limit`."""

    part: str
    figure: str
    bound: Literal["at least", "at most"]
    limit: float

    def row(self, measured: Mapping[str, Any]) -> dict[str, Any]:
        """The target as a row of the model card; `reached` is of the value, whatever its interval.

        `measured`: by part, figures by name, each with `value`, `low` and `high`.
        """
        found = measured.get(self.part, {}).get(self.figure)
        value = found and found["value"]
        reached = None
        if value is not None:
            reached = value >= self.limit if self.bound == "at least" else value <= self.limit
        return {
            "photographs": self.part,
            "figure": self.figure,
            "target": f"{self.bound} {self.limit:.2f}",
            # Named for its figure, a table would read all of them as decimals or all as shares.
            "measured": f"{value:.3f} ({found['low']:.3f}–{found['high']:.3f})" if found else None,
            "reached": reached,
        }


TARGETS = (
    Target(ISIC2017, "melanoma_roc_auc", "at least", 0.90),
    Target(ISIC2017, "roc_auc_SK", "at least", 0.95),
    Target(ISIC2017, "specificity_at_95_sensitivity", "at least", 0.55),
    Target(ISIC2017, "melanoma_calibration_error", "at most", 0.06),
    Target(NINE, "accuracy", "at least", 0.75),
    Target(HAM10000, "balanced_accuracy", "at least", 0.80),
    Target(HAM10000, "melanoma_roc_auc", "at least", 0.93),
    Target(HAM10000, "calibration_error", "at most", 0.03),
    Target(HAM10000, "melanoma_calibration_error", "at most", 0.03),
    Target(HAM10000, "decisions_flipped_by_a_turn", "at most", 0.05),
    Target(REFUSAL, "without_a_lesion_refused", "at least", 0.99),
    Target(REFUSAL, "photographs_refused", "at most", 0.02),
)
