"""What the bundled model is to reach on held-out images, and whether it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

HAM10000 = "HAM10000, held-out lesions"
NINE = "the nine-class set's Test, without known leaks"
ISIC2017 = "ISIC 2017 test"
LEFT_OUT = "hospitals left out, on a short schedule"
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
            "measured": _measured(found) if found else None,
            "reached": reached,
        }


def _measured(figure: Mapping[str, float]) -> str:
    """Mean and worst of several hospitals have no interval."""
    text = f"{figure['value']:.3f}"
    return f"{text} ({figure['low']:.3f}–{figure['high']:.3f})" if "low" in figure else text


TARGETS = (
    Target(ISIC2017, "melanoma_roc_auc", "at least", 0.90),
    Target(ISIC2017, "specificity_at_95_sensitivity", "at least", 0.55),
    Target(ISIC2017, "sensitivity", "at least", 0.92),
    Target(LEFT_OUT, "mean_melanoma_roc_auc", "at least", 0.88),
    Target(LEFT_OUT, "worst_melanoma_roc_auc", "at least", 0.82),
    Target(LEFT_OUT, "worst_melanoma_roc_auc_lesion_painted_out", "at most", 0.60),
    Target(HAM10000, "balanced_accuracy", "at least", 0.80),
    Target(HAM10000, "melanoma_roc_auc", "at least", 0.94),
    Target(HAM10000, "melanoma_roc_auc_lesion_painted_out", "at most", 0.60),
    Target(HAM10000, "decisions_flipped_by_a_turn", "at most", 0.05),
    Target(NINE, "accuracy", "at least", 0.75),
    Target(REFUSAL, "without_a_lesion_refused", "at least", 0.99),
    Target(REFUSAL, "photographs_refused_as_no_lesion", "at most", 0.02),
    Target(REFUSAL, "worst_source_left_out_refused_as_no_lesion", "at most", 0.02),
)
