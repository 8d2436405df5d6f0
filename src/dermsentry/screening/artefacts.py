"""Glare and hair over the lesion, which hide what a network would see: how much of the lesion they cover.

Glare is what is nearly white and brighter than the skin. A hair is a line that is darker in red, or
lighter in blue, than what is on both sides of it, and continues both ways: pigment is darker than skin too,
but least in red, and a network's lines soon end. The black-hat filter of DullRazor (Lee et al., Comput Biol
Med 27 (1997)) separates thin from wide, not lines from dots. Figures: docs/why.md.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dermsentry.images import Pixels
from dermsentry.screening.field_of_view import SIDE, Field, to_small
from dermsentry.screening.lesion import find_lesion

Mask = NDArray[np.bool_]

_NEAR_WHITE, _ABOVE_SKIN = 205, 8  # of the least channel, 0 to 255; above nine tenths of the picture
_CONTRAST = 24  # grey levels beyond which a line counts no more
_SEEN = 12  # of these, on average over each half of a line
_HALF = 9  # pixels
# (down, across) from one sample of a half to the next, and factors of their number.
_DIRECTIONS = (
    *(((0, 1), (2, 2, 2)), ((1, 0), (2, 2, 2)), ((1, 1), (2, 3)), ((1, -1), (2, 3))),
    *(((1, 2), (2, 2)), ((2, 1), (2, 2)), ((2, -1), (2, 2)), ((1, -2), (2, 2))),
)


def lesion_artefacts(planes: Pixels, field: Field) -> tuple[float, float]:
    """Shares of the lesion, from 0 to 1, under glare and under hairs, dark or light.

    Parameters
    ----------
    planes
        A photograph's colours, (3, height, width) uint8, at least 32 on each side, as a network sees it:
        hairs are taken to be up to 1.5 % of its longer side wide.
    field
        Its `field_of_view`.
    """
    apart = max(3, round(max(planes.shape[1:]) / 75))  # more than half a hair
    rows, columns = (
        slice(part.start * length // SIDE, part.stop * length // SIDE)
        for part, length in zip((field.rows, field.columns), planes.shape[1:], strict=True)
    )
    seen = planes[:, rows, columns]
    whole = seen.shape == planes.shape
    square = field.small if whole else to_small(np.ascontiguousarray(seen.transpose(1, 2, 0)))
    place = find_lesion(square)
    down, down_lesion = _around(place.row, place.radius, seen.shape[1], apart)
    across, across_lesion = _around(place.column, place.radius, seen.shape[2], apart)
    red, green, blue = seen[:, down, across]
    lesion = down_lesion[:, None] + across_lesion <= 1
    area = max(int(lesion.sum()), 1)
    tenth = SIDE * SIDE * 9 // 10
    skin = int(np.partition(_least(*square.transpose(2, 0, 1)), tenth, axis=None)[tenth])
    glare = lesion & (_least(red, green, blue) >= max(_NEAR_WHITE, skin + _ABOVE_SKIN))
    hair = lesion & _dark_lines(np.stack([red, 255 - blue]), apart).any(axis=0)
    return int(glare.sum()) / area, int(hair.sum()) / area


def _least(red: Pixels, green: Pixels, blue: Pixels) -> Pixels:
    return np.minimum(np.minimum(red, green), blue)


def _around(middle: float, radius: float, length: int, apart: int) -> tuple[slice, NDArray[np.floating]]:
    """The pixels of one axis by which a lesion's lines are seen whole, and for each its square distance.

    `middle` and `radius` are on `SIDE` places, `length` is the axis's; the distance is in radii.
    """
    scale = length / SIDE
    at, reach, rim = (middle + 0.5) * scale - 0.5, radius * scale, _HALF + apart + 1
    part = slice(max(0, int(at - reach) - rim), min(length, int(at + reach) + rim + 2))
    return part, ((np.arange(part.start, part.stop) - at) / reach) ** 2


def _dark_lines(planes: Pixels, apart: int) -> Mask:
    """Where a line is darker than what is `apart` pixels to each side, and continues so both ways.

    Of each plane, (n, height, width), on its own; all at once, since what is around a lesion is small.
    """
    width, flat = planes.shape[2], planes.reshape(len(planes), -1)
    found = np.zeros(flat.shape, dtype=np.bool_)
    for (down, across), factors in _DIRECTIONS:
        beside = apart / math.hypot(down, across)
        side = abs(round(down * beside) - round(across * beside) * width)
        centre = flat[:, side:-side]
        run = np.minimum(flat[:, : -2 * side], flat[:, 2 * side :])
        np.maximum(run, centre, out=run)
        run -= centre
        np.minimum(run, _CONTRAST, out=run)
        step, samples = down * width + across, 1
        for factor in factors:  # sums of twice or thrice as many samples, in uint8
            shift = samples * step
            end = run.shape[1] - (factor - 1) * shift
            total = run[:, :end] + run[:, shift:][:, :end]
            for further in range(2, factor):
                total += run[:, further * shift :][:, :end]
            run, samples = total, samples * factor
        both = np.minimum(run[:, : -(samples + 1) * step], run[:, (samples + 1) * step :]) > _SEEN * samples
        found[:, side + samples * step :][:, : both.shape[1]] |= both
    # Next to the left and right edge these were neighbours in other rows.
    lines, rim = found.reshape(planes.shape), _HALF + apart
    lines[:, :, :rim] = lines[:, :, -rim:] = False
    return lines
