"""Whether a photograph is good enough to say anything about, in words for who holds the camera.

The limits stand outside what dermoscopy gives: of 1,750 photographs from ISIC's archives none is beyond them,
while a Gaussian blur of 2 % of the width (standard deviation) puts each of these beyond.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermsentry.images import Pixels

MIN_SIDE = 96  # pixels of the shorter side
MIN_SHARPNESS = 0.34
DARK, BRIGHT = 45.0, 240.0
MIN_CONTRAST = 4.0

TOO_SMALL = "too small: at least {minimum} pixels on the shorter side are needed, this has {side}"
BLURRED = "blurred: clean the lens, hold still and take it again"
TOO_DARK = "too dark: take it again with more light"
TOO_BRIGHT = "too bright: take it again with less light or without flash"
NO_LESION = "no lesion in view: all of the picture looks alike"


@dataclass(frozen=True)
class Quality:
    """What was measured on a photograph, and what is wrong with it.

    `side`: the shorter side in pixels. `sharpness`: from about 0.23 (no detail) to above 0.4 (sharp).
    `brightness`: of the middle one of 64 places, 0 to 255. `contrast`: spread of their colours, 0 to 255.
    """

    side: int
    sharpness: float
    brightness: float
    contrast: float
    problems: tuple[str, ...]

    @property
    def acceptable(self) -> bool:
        """Whether the photograph can be judged."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """The fields as they stand in `findings.jsonl`."""
        return {
            "acceptable": self.acceptable,
            "side": self.side,
            "sharpness": round(self.sharpness, 3),
            "brightness": round(self.brightness, 1),
            "contrast": round(self.contrast, 1),
            "problems": list(self.problems),
        }


def assess(pixels: Pixels, width: int, height: int) -> Quality:
    """Assess a photograph.

    Parameters
    ----------
    pixels
        (size, size, 3) uint8 with a size of at least 32: the photograph as the network sees it.
    width, height
        Of its file, in pixels.
    """
    places = np.asarray(
        Image.fromarray(pixels).resize((8, 8), Image.Resampling.BOX), dtype=np.float32
    ).reshape(64, 3)
    light = np.sort(places.mean(axis=1))
    side, sharpness = min(width, height), _sharpness(_reduced(pixels[:, :, 1]))
    contrast = float(np.sqrt(places.var(axis=0).sum()))
    problems = []
    if side < MIN_SIDE:
        problems.append(TOO_SMALL.format(minimum=MIN_SIDE, side=side))
    # A black lesion, or the dark corners of a round lens, leave some places light; paper leaves some dark.
    if light[57] < DARK:
        problems.append(TOO_DARK)
    elif light[6] > BRIGHT:
        problems.append(TOO_BRIGHT)
    elif contrast < MIN_CONTRAST:
        problems.append(NO_LESION)
    elif sharpness < MIN_SHARPNESS:
        problems.append(BLURRED)
    return Quality(side, sharpness, float(light[32]), contrast, tuple(problems))


def _reduced(channel: NDArray[np.uint8]) -> NDArray[np.float32]:
    """About 96 pixels on the side and at most half of what it was, each the mean of a square.

    So a sharpness means the same at every network's size, and what resizing did to single pixels is gone.
    """
    step = max(2, len(channel) // 96)
    side = len(channel) // step
    total = np.zeros((side, side), np.float32)
    for down in range(step):
        for across in range(step):
            total += channel[down : side * step : step, across : side * step : step]
    return total / np.float32(step * step)


def _sharpness(reduced: NDArray[np.float32]) -> float:
    """Curvature over one pixel against that over two.

    On a smooth surface curvature grows with the square of the step, so the ratio is a quarter; detail as fine
    as a pixel brings it up to one. Contrast and light cancel out; a grey level in the divisor keeps the
    rounding of a smooth picture from looking like detail.
    """
    return _curvature(reduced, 1) / (_curvature(reduced, 2) + 1.0)


def _curvature(values: NDArray[np.float32], step: int) -> float:
    down = values[2 * step :] - 2 * values[step:-step] + values[: -2 * step]
    across = values[:, 2 * step :] - 2 * values[:, step:-step] + values[:, : -2 * step]
    return float(np.sqrt(np.vdot(down, down) / down.size + np.vdot(across, across) / across.size))
