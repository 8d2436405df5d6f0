"""Whether an image is good enough to assess, in words for the person who holds the camera.

The limits are outside the range of dermoscopy: 7 of 15,210 photographs (HAM10000, ISIC 2017's training
part, the nine-class set's, a sample of the ISIC archive) are beyond any of them at 192 pixels, and of 600 of
each, squashed, cropped or padded to 180 to 256 pixels, never more than 2. What they stop: a Gaussian blur of
1 % of the width (standard deviation), most shakes over 4 %, a quarter of the light, light that burns
half of the picture out, most skin without a lesion, charts and screenshots. A sharp picture of something
else, such as a pet, is left to the network (`training/refusal.py`). Glare and hair over the lesion are seen
by limits of their own (docs/why.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermsentry.images import Pixels
from dermsentry.screening.artefacts import lesion_artefacts
from dermsentry.screening.false_colours import log_odds
from dermsentry.screening.field_of_view import field_of_view

PLACES = 16  # on a side: where light and colour are measured

MIN_SIDE = 96  # pixels of the shorter side
MIN_SHARPNESS = 0.34
MIN_CONTRAST = 9.0
DARK, BRIGHT = 65.0, 235.0
BURNT = 0.45  # share of pixels with two colours at their end
PALE = 200.0
FLAT, JUMPS = 0.5, 0.13  # both: drawn, as text and panels are
LESS_FLAT, MORE_JUMPS = 0.01, 0.4  # both: drawn on black, or in fine colours
MAX_GLARE, MAX_HAIR = 0.003, 0.04  # shares of the lesion

TOO_SMALL = (
    "too small: send the original photograph (at least {minimum} pixels on the shorter side, this has {side})"
)
BLURRED = "out of focus: retake with the lens held still"
TOO_DARK = "too dark: retake with more light"
TOO_BRIGHT = "too bright: retake with less light, or without flash"
WASHED_OUT = "washed out: wipe the lens and retake without light from the side"
NO_LESION = "no lesion in view: retake with the lesion in the middle"
FALSE_COLOURS_FROM, ODD_COLOURS_FROM = 2.0, 0.5  # log-odds

FALSE_COLOURS = "false colours (swapped, missing or negative): send the camera's own photograph"
ODD_COLOURS = "unusual colours, perhaps false ones: compare with the camera's own photograph"
DRAWN = "a chart, a drawing or a screenshot: send the camera's own photograph"
GLARE = "glare covers part of the lesion: retake with polarised light or at another angle"
HAIR = "hair covers the lesion: retake after moving or clipping the hair"

NEVER_ASSESSED = frozenset({DRAWN, FALSE_COLOURS})
"""Problems with which a probability means nothing."""
NEVER_ROUTINE = frozenset({GLARE, HAIR})
"""Problems that hide part of a lesion: what is suspicious all the same is alerted or referred."""


@dataclass(frozen=True)
class Quality:
    """What was measured on an image, and what is wrong with it.

    `side`: the shorter side in pixels. `sharpness`: from about 0.23 (no detail) to above 0.4 (sharp), in the
    direction that has less. `brightness`: of the middle one of 256 places, 0 to 255. `contrast`: spread of
    their colours, 0 to 255, once an even fall of the light is taken off. `glare`, `hair`: shares of the
    lesion, 0 to 1, under glare and under hair.
    """

    derived: ClassVar[tuple[str, ...]] = ("acceptable",)

    side: int
    sharpness: float
    brightness: float
    contrast: float
    glare: float
    hair: float
    problems: tuple[str, ...]

    @property
    def acceptable(self) -> bool:
        """Whether the image is good enough to be assessed."""
        return not self.problems


def assess(pixels: Pixels, width: int, height: int) -> Quality:
    """Assess a photograph.

    Parameters
    ----------
    pixels
        (size, size, 3) uint8 with a size of at least 32: the photograph as the network sees it, with the
        black bars of padding if there are any.
    width, height
        Of its file, in pixels.
    """
    step = max(2, len(pixels) // 96)
    inner = _without_bars(pixels)
    image = Image.fromarray(inner)
    field = field_of_view(image)
    small = Image.fromarray(field.small).resize((PLACES, PLACES), Image.Resampling.BOX)
    places = np.asarray(small, dtype=np.float32).reshape(PLACES * PLACES, 3)
    light = np.sort(places.mean(axis=1))
    planes = np.ascontiguousarray(inner.transpose(2, 0, 1))
    side, sharpness = min(width, height), _sharpness(_reduced(planes[1], step))
    even = _even_light()
    uneven = (places - even @ (even.T @ places)).ravel()
    contrast = math.sqrt(uneven @ uneven / len(places))
    problems = []
    if side < MIN_SIDE:
        problems.append(TOO_SMALL.format(minimum=MIN_SIDE, side=side))
    # A black lesion, or the dark corners of a round lens, leave a tenth light; paper leaves a tenth dark.
    tenth = len(light) // 10
    drawn = _drawn(planes)
    # What is all of one colour has none to compare it with.
    colours = -np.inf if drawn or contrast < MIN_CONTRAST else log_odds(field)
    if colours >= FALSE_COLOURS_FROM:
        problems.append(FALSE_COLOURS)  # which light and contrast depend on
    elif drawn:
        problems.append(DRAWN)
    elif light[-1 - tenth] < DARK:
        problems.append(TOO_DARK)
    elif light[tenth] > BRIGHT or _burnt(planes) > BURNT:
        problems.append(TOO_BRIGHT)
    elif contrast < MIN_CONTRAST:
        problems.append(WASHED_OUT if light[len(light) // 2] > PALE else NO_LESION)
    elif sharpness < MIN_SHARPNESS:
        problems.append(BLURRED)
    glare, hair = (round(share, 4) for share in lesion_artefacts(planes, field))
    if not problems:
        found = (
            (colours >= ODD_COLOURS_FROM, ODD_COLOURS),
            (glare > MAX_GLARE, GLARE),
            (hair > MAX_HAIR, HAIR),
        )
        problems.extend(words for present, words in found if present)
    brightness = round(float(light[len(light) // 2]), 1)
    return Quality(side, round(sharpness, 3), brightness, round(contrast, 1), glare, hair, tuple(problems))


def _without_bars(pixels: Pixels) -> Pixels:
    """The picture between the black bars of padding, if it has such and more than a strip is left."""
    if np.any(pixels[0]) and np.any(pixels[:, 0]):
        return pixels
    lit = pixels.max(axis=2)
    rows, columns = np.flatnonzero(lit.max(axis=1)), np.flatnonzero(lit.max(axis=0))
    if not len(rows) or min(np.ptp(rows), np.ptp(columns)) < 31:
        return pixels
    return np.ascontiguousarray(pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


@lru_cache(maxsize=1)
def _even_light() -> NDArray[np.float32]:
    """(256, 3), orthonormal: what all planes over the places of one colour are sums of."""
    across, down = np.meshgrid(np.linspace(-1, 1, PLACES), np.linspace(-1, 1, PLACES))
    plane = np.stack([np.ones(PLACES * PLACES), across.ravel(), down.ravel()], axis=1)
    return np.linalg.qr(plane)[0].astype(np.float32)


def _burnt(planes: Pixels) -> float:
    """The share of pixels that have two colours or more at their upper end; of each colour, (3, h, w)."""
    red, green, blue = planes[:, ::2, ::2] >= 252
    return float(((red & green) | (green & blue) | (red & blue)).mean())


def _drawn(planes: Pixels) -> bool:
    """Whether a program drew the picture: neighbours are alike or far apart, where skin goes by small steps.

    Black does not count: a lens's dark corners are flat too. Of each colour, (3, h, w).
    """
    left, right = planes[:, ::2, :-1], planes[:, ::2, 1:]
    change = (np.maximum(left, right) - np.minimum(left, right)).max(axis=0)
    lit = right.max(axis=0) > 12
    flat = np.count_nonzero(lit & (change == 0)) / lit.size
    jumps = np.count_nonzero(lit & (change >= 32))
    steps = np.count_nonzero(lit & (change >= 3)) - jumps
    limits = ((FLAT, JUMPS), (LESS_FLAT, MORE_JUMPS))
    return any(flat > least and jumps > share * steps for least, share in limits)


def _reduced(channel: NDArray[np.uint8], step: int) -> NDArray[np.float32]:
    """Means of `step`×`step` squares, so that a size of 192 or more becomes about 96 on the longer side.

    So a sharpness means the same at every network's size, and what resizing did to single pixels is gone.
    """
    height, width = len(channel) // step, channel.shape[1] // step
    total = np.zeros((height, width), np.float32)
    for down in range(step):
        for across in range(step):
            total += channel[down : height * step : step, across : width * step : step]
    return np.asarray(total / np.float32(step * step), dtype=np.float32)


def _sharpness(reduced: NDArray[np.float32]) -> float:
    """Curvature over one pixel against that over two, in the direction where that is less.

    On a smooth surface curvature grows with the square of the step, so the ratio is a quarter; detail as fine
    as a pixel brings it up to one. Contrast and light cancel out; part of a grey level in the divisor keeps
    the rounding of a smooth picture from looking like detail. A shake smooths one direction alone.
    """
    return min(_curvature(rows, 1) / (_curvature(rows, 2) + 0.7) for rows in (reduced, reduced.T))


def _curvature(values: NDArray[np.float32], step: int) -> float:
    bent = values[2 * step :] - 2 * values[step:-step] + values[: -2 * step]
    return float(np.sqrt(np.square(bent).mean()))
