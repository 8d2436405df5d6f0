"""Whether a photograph is good enough to say anything about, in words for who holds the camera.

The limits stand outside what dermoscopy gives: of 1,350 photographs from ISIC's archives none is beyond them,
while a Gaussian blur of 1 % of the width (standard deviation) puts each of these beyond.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermsentry.images import Pixels

MIN_SIDE = 96  # pixels of the shorter side
MIN_SHARPNESS = 0.34
DARK, BRIGHT = 35.0, 244.0
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
    `brightness`: mean of the middle, 0 to 255. `contrast`: spread of colour over the picture, 0 to 255.
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
    halved = _halved(pixels[:, :, 1])
    side, sharpness, contrast = min(width, height), _sharpness(halved), _contrast(pixels)
    quarter = len(halved) // 4
    brightness = float(halved[quarter:-quarter, quarter:-quarter].mean())
    problems = []
    if side < MIN_SIDE:
        problems.append(TOO_SMALL.format(minimum=MIN_SIDE, side=side))
    if brightness < DARK:
        problems.append(TOO_DARK)
    elif brightness > BRIGHT:
        problems.append(TOO_BRIGHT)
    elif contrast < MIN_CONTRAST:
        problems.append(NO_LESION)
    elif sharpness < MIN_SHARPNESS:
        problems.append(BLURRED)
    return Quality(side, sharpness, brightness, contrast, tuple(problems))


def _halved(channel: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Half the size, each pixel the mean of four: what resizing did to single pixels is gone."""
    even = channel[: len(channel) // 2 * 2, : len(channel) // 2 * 2].astype(np.uint16)
    rows = even[::2] + even[1::2]
    return (rows[:, ::2] + rows[:, 1::2]).astype(np.float32) * np.float32(0.25)


def _sharpness(halved: NDArray[np.float32]) -> float:
    """Curvature over one pixel against that over two.

    On a smooth surface curvature grows with the square of the step, so the ratio is a quarter; detail as fine
    as a pixel brings it up to one. Contrast and light cancel out.
    """
    return _curvature(halved, 1) / (_curvature(halved, 2) + 1e-3)


def _curvature(values: NDArray[np.float32], step: int) -> float:
    down = values[2 * step :] - 2 * values[step:-step] + values[: -2 * step]
    across = values[:, 2 * step :] - 2 * values[:, step:-step] + values[:, : -2 * step]
    return float(np.sqrt(np.vdot(down, down) / down.size + np.vdot(across, across) / across.size))


def _contrast(pixels: Pixels) -> float:
    """Spread of the mean colour of 8×8 places."""
    step = len(pixels) // 8
    places = pixels[: 8 * step, : 8 * step].reshape(8, step, 8, step, 3).mean(axis=(1, 3), dtype=np.float32)
    return float(np.sqrt(places.reshape(64, 3).var(axis=0).sum()))
