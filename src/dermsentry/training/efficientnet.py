"""The dimensions of the EfficientNet-Lites, for any framework that builds them."""

from __future__ import annotations

LITE = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}
"""Width and depth of each EfficientNet-Lite relative to the first."""
# Kernel, stride, expansion, filters and repeats of EfficientNet-B0's stages (Tan and Le, ICML 2019, table 1).
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


def multiple_of_8(filters: float) -> int:
    """The nearest multiple of 8 that is not less than 90 % of it."""
    nearest = max(8, int(filters + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * filters else nearest + 8
