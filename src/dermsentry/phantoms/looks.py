"""What each diagnosis tends to look like: data for the drawing, no logic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True)
class Look:
    """What a diagnosis tends to look like: ranges to draw from, and the chance of each structure.

    `radius` is a share of the picture's shorter side, `stretch` the ratio of the axes, `lobes` and
    `softness` the border's irregularity and width as shares of the radius, pigments in units of
    `canvas.DENSITY`, `patchy` how unevenly they are spread.
    """

    radius: Range
    stretch: Range
    lobes: Range
    softness: Range
    melanin: Range
    blood: Range
    blue: Range
    keratin: Range
    patchy: Range
    structures: Mapping[str, float]


# fmt: off
LOOKS: dict[str, Look] = {
    "AK": Look(
        (0.24, 0.46), (1.0, 1.5), (0.08, 0.20), (0.14, 0.34),
        (0.05, 0.40), (0.18, 0.50), (0.0, 0.05), (0.0, 0.35), (0.3, 0.8),
        {"red network": 0.75, "scale": 0.6, "follicles": 0.5,
         "granules": 0.3, "dots": 0.2, "network": 0.1},
    ),
    "BCC": Look(
        (0.17, 0.36), (1.0, 1.5), (0.05, 0.15), (0.08, 0.26),
        (0.02, 0.26), (0.12, 0.48), (0.0, 0.14), (0.0, 0.12), (0.2, 0.7),
        {"tree vessels": 0.75, "nests": 0.65, "shiny streaks": 0.4,
         "ulcer": 0.3, "scale": 0.12, "cysts": 0.1},
    ),
    "DF": Look(
        (0.18, 0.34), (1.0, 1.25), (0.03, 0.09), (0.20, 0.42),
        (0.20, 0.60), (0.08, 0.34), (0.0, 0.05), (0.0, 0.08), (0.1, 0.4),
        {"white centre": 0.8, "fine network": 0.65, "dots": 0.15, "shiny streaks": 0.15},
    ),
    "MEL": Look(
        (0.20, 0.44), (1.0, 1.7), (0.10, 0.26), (0.03, 0.16),
        (0.55, 1.65), (0.02, 0.34), (0.0, 0.22), (0.0, 0.10), (0.5, 1.1),
        {"coarse network": 0.6, "streaks": 0.5, "veil": 0.55, "globules": 0.45,
         "regression": 0.35, "blotch": 0.5, "dots": 0.25},
    ),
    "NV": Look(
        (0.16, 0.36), (1.0, 1.5), (0.02, 0.12), (0.05, 0.24),
        (0.35, 1.15), (0.02, 0.22), (0.0, 0.07), (0.0, 0.06), (0.1, 0.55),
        {"network": 0.6, "globules": 0.4, "blotch": 0.15,
         "dots": 0.1, "streaks": 0.06, "coarse network": 0.07},
    ),
    "PBK": Look(
        (0.20, 0.42), (1.0, 1.7), (0.08, 0.22), (0.03, 0.14),
        (0.22, 0.75), (0.02, 0.26), (0.0, 0.14), (0.0, 0.26), (0.3, 0.8),
        {"ridges": 0.5, "granules": 0.65, "bites": 0.55, "scale": 0.15,
         "fine network": 0.2, "cysts": 0.12, "follicles": 0.15},
    ),
    "SCC": Look(
        (0.20, 0.42), (1.0, 1.5), (0.06, 0.20), (0.10, 0.30),
        (0.02, 0.34), (0.30, 0.85), (0.0, 0.07), (0.05, 0.55), (0.3, 0.9),
        {"keratin mass": 0.7, "coiled vessels": 0.65, "scale": 0.55,
         "ulcer": 0.4, "follicles": 0.2, "red network": 0.12},
    ),
    "SK": Look(
        (0.18, 0.40), (1.0, 1.6), (0.04, 0.15), (0.02, 0.08),
        (0.35, 1.25), (0.02, 0.20), (0.0, 0.10), (0.10, 0.60), (0.2, 0.7),
        {"cysts": 0.75, "openings": 0.65, "ridges": 0.35,
         "bites": 0.25, "scale": 0.2, "coiled vessels": 0.1},
    ),
    "VASC": Look(
        (0.12, 0.32), (1.0, 1.4), (0.02, 0.12), (0.03, 0.14),
        (0.0, 0.26), (0.70, 1.70), (0.0, 0.55), (0.0, 0.05), (0.1, 0.5),
        {"lacunae": 0.75, "septa": 0.35, "clot": 0.35, "nests": 0.06, "scale": 0.06},
    ),
}
# fmt: on
