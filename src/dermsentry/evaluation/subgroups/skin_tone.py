"""How light the skin around a lesion is in its photograph: the individual typology angle (ITA).

ITA orders photographs by the lightness of their skin. It is not a measured skin type: light, exposure,
polarisation and white balance move it by whole groups, the gel and the pressure of the dermatoscope blanch
the skin, and where pigment or redness surrounds the lesion, that is what is measured. It is read from
photographs for want of a recorded skin type, as in Kinyanjui et al., MICCAI 2020; Groh et al., CVPR Workshops
2021; Bevan & Atapour-Abarghouei, MICCAI Workshops 2022.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dermsentry.images import Pixels

Floats = NDArray[np.float64]

TONES: tuple[tuple[str, float], ...] = (
    ("very light", 55.0),
    ("light", 41.0),
    ("intermediate", 28.0),
    ("tan", 10.0),
    ("brown", -30.0),
    ("dark", -math.inf),
)
"""Each group and the angle in degrees that it is above: Del Bino & Bernerd, Br J Dermatol 169 (2013)."""

RIM = 0.10  # width of the rim, as a share of the shorter side
ENOUGH = 0.2  # of the rim's pixels that must be plausible skin

_BLACK, _GLARE = 15.0, 96.0  # L* of what is beyond the lens, and of reflections
_CHROMA = 3.0  # least C*: grey is paper, a ruler or a hair
_REDDEST, _YELLOWEST = -25.0, 95.0  # hue in degrees, from bluish pink to yellow: no ink, no gloves
_DARKER = 12.0  # L* below the picture's well-lit skin: further down are hair, shadow, pigment

# IEC 61966-2-1: linear sRGB to CIE XYZ under D65, and D65 itself.
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])
_SHARES = np.arange(256) / 255
_LINEAR = np.where(_SHARES <= 0.04045, _SHARES / 12.92, ((_SHARES + 0.055) / 1.055) ** 2.4)


def srgb_to_lab(pixels: Pixels) -> Floats:
    """CIELAB under D65 of sRGB pixels (..., 3) uint8: L* 0 to 100, a*, b*. CIE 15:2004, section 8.2.1."""
    ratio = _LINEAR[pixels] @ _TO_XYZ.T / _WHITE
    x, y, z = np.moveaxis(
        np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29), -1, 0
    )
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def skin_tone(pixels: Pixels) -> float | None:
    """The individual typology angle of the skin along a photograph's rim.

    ITA = atan2(L* − 50, b*) · 180/π (Chardon et al., Int J Cosmet Sci 13 (1991)); the median over the pixels
    of the outer 10 % that are plausibly skin. Left out are the black beyond the lens, glare, grey, hues from
    green over blue to violet (ink, gloves), and what is far darker than the picture's well-lit skin (hair,
    shadow of the lens, pigment). Skin of every type is yellower than grey, so a rim that is bluish all over
    has a colour cast, and no angle: about two in five photographs of HAM10000. See the module for what moves
    the angle: it is not a measured skin type.

    Parameters
    ----------
    pixels
        (height, width, 3) uint8, sRGB; the size matters little.

    Returns
    -------
    float or None
        Degrees in −90 to 90, larger for lighter skin. None where less than a fifth of the rim is plausibly
        skin, or its colour cast leaves nothing to tell.
    """
    lab = srgb_to_lab(pixels)
    lightness, a, b = np.moveaxis(lab, -1, 0)
    hue = np.degrees(np.arctan2(b, a))
    plausible = (lightness > _BLACK) & (lightness < _GLARE) & (np.hypot(a, b) > _CHROMA)
    plausible &= (hue > _REDDEST) & (hue < _YELLOWEST)
    if not plausible.any():
        return None
    # Against the whole picture's light: under a round lens all of the rim may lie in shadow.
    lit = lightness > np.percentile(lightness[plausible], 75) - _DARKER
    rim = _rim(lightness.shape)
    skin = plausible & lit & rim
    if skin.sum() < ENOUGH * rim.sum() or np.median(b[skin]) <= 0:
        return None
    return float(np.median(np.degrees(np.arctan2(lightness[skin] - 50, b[skin]))))


def tone_of(degrees: float) -> str:
    """The group of `TONES` that an angle falls in."""
    return next(name for name, above in TONES if degrees > above)


def _rim(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels of a picture's outer rim, (height, width)."""
    height, width = shape
    wide = max(1, round(RIM * min(shape)))
    rim = np.ones((height, width), dtype=np.bool_)
    rim[wide : height - wide, wide : width - wide] = False
    return rim
