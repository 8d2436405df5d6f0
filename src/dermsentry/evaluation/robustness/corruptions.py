"""What may be in the way between a lesion and its photograph, drawn onto photographs at five severities.

Severity 1 is barely visible, 5 is a photograph that a clinic would still receive. The kinds are those that
dermoscopy is known for (hair, ruler, ink, gel, dark corners: Bissoto et al., CVPR Workshops 2020; Maron et
al., Eur J Cancer 145 (2021)) and the camera's (Hendrycks & Dietterich, ICLR 2019), whose severities made for
photographs of cats would be no photograph of a lesion.

Every function takes (size, size, 3) uint8, a severity from 1 to 5 and a generator, and gives a new picture of
the same shape. It draws the same numbers whatever the severity, so that the same seed gives the same hairs,
more of them the higher the severity.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dermsentry.images import Pixels
from dermsentry.phantoms.structures import walk
from dermsentry.screening.lesion import find_lesion

Floats = NDArray[np.float32]
Rng = np.random.Generator
Value = TypeVar("Value")
Corruption = Callable[[Pixels, int, Rng], Pixels]

SEVERITIES = (1, 2, 3, 4, 5)

_FINER = 4  # strokes are drawn this much larger, then averaged down: a hair is thinner than a pixel


def noise_of_equal_energy(pixels: Pixels, corrupted: Pixels, rng: Rng) -> Pixels:
    """Gaussian noise on `pixels` with the root-mean-square difference that `corrupted` has from them.

    A control: what is moved more by a corruption than by as much noise is moved by its content. Both
    (size, size, 3) uint8. Where clipping at black and white makes that much noise impossible, there is less.
    """
    wanted = rms_difference(pixels, corrupted)
    if not wanted:
        return pixels.copy()
    unit = rng.standard_normal(pixels.shape, dtype=np.float32)
    deviation, noisy = wanted, pixels
    low, high = 0.0, math.inf
    for _ in range(12):  # clipping takes energy away, and rounding does or adds some
        noisy = _as_pixels(pixels + np.float32(deviation) * unit)
        reached = rms_difference(pixels, noisy)
        if abs(reached - wanted) <= 0.01 * wanted:
            break
        low, high = (deviation, high) if reached < wanted else (low, deviation)
        deviation *= wanted / max(reached, 0.1 * wanted)
        if not low < deviation < high:
            deviation = (low + high) / 2
    return noisy


def rms_difference(one: Pixels, other: Pixels) -> float:
    """Root mean square of the difference of two pictures, in grey levels."""
    return float(np.sqrt(np.mean((one.astype(np.float32) - other) ** 2)))


def turned(pixels: Pixels, degrees: float) -> Pixels:
    """A square picture turned about its centre, counter-clockwise, its edges mirrored outwards."""
    theta = math.radians(degrees)
    turn = np.array([[math.cos(theta), math.sin(theta)], [-math.sin(theta), math.cos(theta)]])
    return _moved(pixels, turn, np.zeros(2))


def shifted(pixels: Pixels, right: float, down: float) -> Pixels:
    """A square picture moved by shares of its side, its edges mirrored outwards."""
    return _moved(pixels, np.eye(2), -len(pixels) * np.array([down, right]))


def zoomed(pixels: Pixels, factor: float) -> Pixels:
    """A square picture enlarged about its centre, its edges mirrored outwards where `factor` is below 1."""
    return _moved(pixels, np.eye(2) / factor, np.zeros(2))


def _moved(pixels: Pixels, matrix: NDArray[np.float64], offset: NDArray[np.float64]) -> Pixels:
    """Where each pixel (row, column) comes from: `matrix` about the centre, then `offset`."""
    from scipy.ndimage import affine_transform

    middle = (np.array(pixels.shape[:2]) - 1) / 2
    start = middle - matrix @ middle + offset
    planes = [
        affine_transform(pixels[..., c].astype(np.float32), matrix, start, order=1, mode="mirror")
        for c in range(3)
    ]
    return _as_pixels(np.stack(planes, axis=-1))


def _as_pixels(values: NDArray[np.floating]) -> Pixels:
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)


def _at(severity: int, values: Sequence[Value]) -> Value:
    """The value for a severity. Raises ValueError outside 1 to 5."""
    if severity not in SEVERITIES:
        raise ValueError(f"Received the severity {severity}; expected 1 to 5")
    return values[severity - 1]


def _stencil(size: int, draw: Callable[[ImageDraw.ImageDraw], None]) -> Floats:
    """What `draw` paints in grey on a canvas `_FINER` times as large, as shares (size, size, 1)."""
    image = Image.new("L", (size * _FINER, size * _FINER))
    draw(ImageDraw.Draw(image))
    small = image.resize((size, size), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32)[..., None] / np.float32(255)


def _over(pixels: Pixels, share: Floats, colour: Sequence[float]) -> Pixels:
    """`colour` (0 to 255) laid over a picture."""
    return _as_pixels(pixels * (1 - share) + np.asarray(colour, np.float32) * share)


def _stroke(
    pen: ImageDraw.ImageDraw, line: Sequence[tuple[float, float]], width: float, grey: int = 255
) -> None:
    pen.line(list(line), fill=grey, width=max(1, round(width)), joint="curve")


def _hair(pixels: Pixels, severity: int, rng: Rng) -> Pixels:
    """Curved dark hairs across the picture, growing about the same way."""
    shown = _at(severity, (2, 5, 10, 18, 30))
    side = len(pixels) * _FINER
    lean = rng.uniform(0, 2 * np.pi)
    hairs = []
    for _ in range(30):
        start, theta = rng.uniform(0, side, 2), lean + rng.normal(0, 0.6)
        line = walk(rng, start[0], start[1], theta, side * 0.04, int(rng.integers(8, 20)), 0.07)
        hairs.append((line, side * rng.uniform(0.003, 0.008), int(rng.integers(150, 236))))

    def draw(pen: ImageDraw.ImageDraw) -> None:
        for hair in hairs[:shown]:
            _stroke(pen, *hair)

    return _over(pixels, _stencil(len(pixels), draw), (42, 28, 22))


def _ruler(pixels: Pixels, severity: int, rng: Rng) -> Pixels:
    """The millimetre marks of a dermatoscope's scale along one side, then along two."""
    length, edges = _at(severity, ((0.02, 1), (0.03, 1), (0.045, 1), (0.045, 2), (0.06, 2)))
    side = len(pixels) * _FINER
    step, start = side * rng.uniform(0.04, 0.06), rng.uniform(0, 0.04) * side
    first, flip = int(rng.integers(4)), bool(rng.integers(2))

    def draw(pen: ImageDraw.ImageDraw) -> None:
        for edge in (first, (first + (1 if flip else 3)) % 4)[:edges]:
            for number, at in enumerate(np.arange(start, side, step)):
                reach = side * length * (1.8 if number % 5 == 0 else 1.0)
                ends = ((at, 0.0), (at, reach)) if edge % 2 else ((0.0, at), (reach, at))
                line = [(side - x, side - y) if edge > 1 else (x, y) for x, y in ends]
                _stroke(pen, line, side * 0.005, 215)

    return _over(pixels, _stencil(len(pixels), draw), (28, 26, 30))


def _ink(pixels: Pixels, severity: int, rng: Rng) -> Pixels:
    """Strokes of a violet surgical marker around the middle; skin shows through, as ink takes light away."""
    shown, strength = _at(severity, ((1, 0.3), (2, 0.45), (3, 0.6), (5, 0.7), (7, 0.8)))
    side = len(pixels) * _FINER
    strokes = []
    for _ in range(7):
        around, distance = rng.uniform(0, 2 * np.pi), side * rng.uniform(0.36, 0.48)
        start = side / 2 + distance * np.array([math.cos(around), math.sin(around)])
        along = around + np.pi / 2 + rng.normal(0, 0.3)
        line = walk(rng, start[0], start[1], along, side * 0.02, int(rng.integers(5, 12)), 0.12)
        strokes.append((line, side * rng.uniform(0.014, 0.030), int(rng.integers(190, 256))))
    hue = np.array([0.42, 0.30, 0.68]) * rng.uniform(0.85, 1.15)

    def draw(pen: ImageDraw.ImageDraw) -> None:
        for stroke in strokes[:shown]:
            _stroke(pen, *stroke)

    share = _stencil(len(pixels), draw) * np.float32(strength)
    return _as_pixels(pixels * (1 - share * (1 - hue)))


def _bubbles(pixels: Pixels, severity: int, rng: Rng) -> Pixels:
    """Bubbles in the gel: a dark rim, a little light inside, a glint."""
    shown = _at(severity, (2, 5, 10, 18, 30))
    side = len(pixels) * _FINER
    places, radii = rng.uniform(0, side, (30, 2)), side * (0.008 + 0.042 * rng.random(30) ** 2)
    bubbles = list(zip(places.tolist(), radii.tolist(), strict=True))[:shown]

    def rim(pen: ImageDraw.ImageDraw) -> None:
        for (x, y), r in bubbles:
            pen.ellipse((x - r, y - r, x + r, y + r), outline=255, width=max(2, round(0.22 * r)))

    def inside(pen: ImageDraw.ImageDraw) -> None:
        for (x, y), r in bubbles:
            pen.ellipse((x - 0.8 * r, y - 0.8 * r, x + 0.8 * r, y + 0.8 * r), fill=255)

    def glint(pen: ImageDraw.ImageDraw) -> None:
        for (x, y), r in bubbles:
            pen.ellipse((x - 0.5 * r, y - 0.55 * r, x - 0.1 * r, y - 0.2 * r), fill=255)

    size = len(pixels)
    light = pixels * (1 - 0.35 * _stencil(size, rim)) * (1 + 0.06 * _stencil(size, inside))
    return _over(_as_pixels(light), 0.85 * _stencil(size, glint), (255, 255, 255))


def _dark_corners(pixels: Pixels, severity: int, rng: Rng) -> Pixels:
    """The rim of a round lens, black beyond it, closing in to the picture's sides."""
    reach = _at(severity, (0.66, 0.62, 0.58, 0.54, 0.50))
    size = len(pixels)
    x, y = np.meshgrid(*[(np.arange(size, dtype=np.float32) + 0.5) / size - 0.5] * 2)
    off = rng.uniform(-0.02, 0.02, 2)
    soft = rng.uniform(0.006, 0.02)
    beyond = (np.hypot(x - off[0], y - off[1]) - reach) / soft
    share = (1 / (1 + np.exp(np.clip(-beyond, -30, 30)))).astype(np.float32)[..., None]
    return _over(pixels, share, (6, 5, 6))


def _blur(pixels: Pixels, severity: int, rng: Rng) -> Pixels:
    """Out of focus: a Gaussian of 0.25 to 1.4 % of the side (standard deviation)."""
    from scipy.ndimage import gaussian_filter

    sigma = len(pixels) * _at(severity, (0.0025, 0.005, 0.0075, 0.0105, 0.014))
    return _as_pixels(gaussian_filter(pixels.astype(np.float32), (sigma, sigma, 0), mode="mirror"))


def _noise(pixels: Pixels, severity: int, rng: Rng) -> Pixels:
    """A sensor's noise in little light: Gaussian, 3 to 20 grey levels."""
    deviation = np.float32(_at(severity, (3, 6, 10, 15, 20)))
    return _as_pixels(pixels + deviation * rng.standard_normal(pixels.shape, dtype=np.float32))


def _jpeg(pixels: Pixels, severity: int, rng: Rng) -> Pixels:
    """Sent through a messenger: JPEG of quality 75 to 18, colour at half the resolution."""
    quality = _at(severity, (75, 55, 38, 26, 18))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    with Image.open(buffer) as image:
        return np.array(image.convert("RGB"))


def _overexposed(pixels: Pixels, severity: int, rng: Rng) -> Pixels:
    """Too much light, by a fifth of a stop to one and a fifth; white where the sensor is full."""
    return _exposed(pixels, _at(severity, (0.2, 0.4, 0.65, 0.9, 1.2)))


def _underexposed(pixels: Pixels, severity: int, rng: Rng) -> Pixels:
    """Too little light, by a quarter of a stop to almost two."""
    return _exposed(pixels, -_at(severity, (0.25, 0.5, 0.9, 1.35, 1.8)))


def _exposed(pixels: Pixels, stops: float) -> Pixels:
    return _scaled_light(pixels, np.full(3, 2.0**stops))


def _scaled_light(pixels: Pixels, gains: NDArray[np.float64]) -> Pixels:
    """Each channel's light scaled, in the linear light that a display's gamma of 2.2 hides."""
    table = _as_pixels(255 * (np.arange(256)[:, None] / 255) * gains ** (1 / 2.2))
    return np.stack([table[:, c][pixels[..., c]] for c in range(3)], axis=-1)


def _colour_cast(pixels: Pixels, severity: int, rng: Rng) -> Pixels:
    """A wrong white balance: red against blue and green against both, the brightness as it was."""
    strength = _at(severity, (0.06, 0.12, 0.2, 0.3, 0.42))
    theta = rng.uniform(0, 2 * np.pi)
    warm, green = strength * math.cos(theta), 0.5 * strength * math.sin(theta)
    gains = np.exp(np.array([warm - green / 2, green, -warm - green / 2]))
    return _scaled_light(pixels, gains / (gains @ (0.2126, 0.7152, 0.0722)))


def _rotation(pixels: Pixels, severity: int, rng: Rng) -> Pixels:
    """Held at another angle: 5 to 120 degrees either way; a dermatoscope has no upright."""
    degrees = _at(severity, (5, 15, 30, 60, 120)) * rng.uniform(0.9, 1.1)
    return turned(pixels, degrees if rng.random() < 0.5 else -degrees)


def _shift(pixels: Pixels, severity: int, rng: Rng) -> Pixels:
    """The lesion off the middle, by 2 to 16 % of the side in any direction."""
    reach, theta = _at(severity, (0.02, 0.04, 0.07, 0.11, 0.16)), rng.uniform(0, 2 * np.pi)
    return shifted(pixels, reach * math.cos(theta), reach * math.sin(theta))


def _rescale(pixels: Pixels, severity: int, rng: Rng) -> Pixels:
    """From nearer or farther, each as likely: by 4 to 45 %."""
    factor = _at(severity, (1.04, 1.09, 1.17, 1.3, 1.45))
    return zoomed(pixels, factor if rng.random() < 0.5 else 1 / factor)


def glare_spot(pixels: Pixels, rng: Rng) -> Pixels:
    """One white reflection on the lesion, a fifth of its width across."""
    place = find_lesion(pixels)
    theta, away = rng.uniform(0, 2 * np.pi), 0.4 * place.radius * math.sqrt(rng.random())
    row, column = place.row + away * math.sin(theta), place.column + away * math.cos(theta)
    down, across = np.mgrid[: len(pixels), : len(pixels)].astype(np.float32)
    beyond = (np.hypot(down - row, across - column) - 0.2 * place.radius) / max(1.0, 0.05 * place.radius)
    share = (1 / (1 + np.exp(np.clip(beyond, -30, 30)))).astype(np.float32)[..., None]
    return _over(pixels, share, (255, 255, 255))


def twelve_hairs(pixels: Pixels, rng: Rng) -> Pixels:
    """Twelve dark hairs across the lesion."""
    place = find_lesion(pixels)
    lean, hairs = rng.uniform(0, np.pi), []
    for _ in range(12):
        theta, length = lean + rng.normal(0, 0.4), rng.uniform(2.2, 3.2) * place.radius
        aside = rng.uniform(-0.9, 0.9) * place.radius
        x = place.column - aside * math.sin(theta) - length / 2 * math.cos(theta)
        y = place.row + aside * math.cos(theta) - length / 2 * math.sin(theta)
        line = walk(rng, x * _FINER, y * _FINER, theta, length * _FINER / 14, 15, 0.05)
        width = len(pixels) * _FINER * rng.uniform(0.004, 0.008)
        hairs.append((line, width, int(rng.integers(170, 236))))

    def draw(pen: ImageDraw.ImageDraw) -> None:
        for hair in hairs:
            _stroke(pen, *hair)

    return _over(pixels, _stencil(len(pixels), draw), (42, 28, 22))


def ink_ring(pixels: Pixels, rng: Rng) -> Pixels:
    """A ring of violet surgical marker around the lesion."""
    place = find_lesion(pixels)
    row, column = (_FINER * at for at in (place.row, place.column))
    reach = _FINER * place.radius * rng.uniform(1.25, 1.45)
    width = round(len(pixels) * _FINER * rng.uniform(0.014, 0.024))

    def draw(pen: ImageDraw.ImageDraw) -> None:
        pen.ellipse((column - reach, row - reach, column + reach, row + reach), outline=255, width=width)

    share = _stencil(len(pixels), draw) * np.float32(0.7)
    return _as_pixels(pixels * (1 - share * (1 - np.array([0.42, 0.30, 0.68]))))


def warmer_light(pixels: Pixels, rng: Rng) -> Pixels:
    """The light of an incandescent lamp: a fifth more red, a fifth less blue, as bright as before."""
    gains = np.array([1.2, 1.0, 0.8])
    return _scaled_light(pixels, gains / (gains @ (0.2126, 0.7152, 0.0722)))


ARTEFACTS: Mapping[str, Callable[[Pixels, Rng], Pixels]] = {
    "one glare spot on the lesion": glare_spot,
    "twelve hairs across the lesion": twelve_hairs,
    "an ink ring around the lesion": ink_ring,
    "warmer light": warmer_light,
}
"""Single things that happen at the lesion itself, as they are likely to in a clinic."""

CORRUPTIONS: Mapping[str, Corruption] = {
    "hair": _hair,
    "ruler": _ruler,
    "ink": _ink,
    "gel bubbles": _bubbles,
    "dark corners": _dark_corners,
    "blur": _blur,
    "noise": _noise,
    "JPEG": _jpeg,
    "overexposure": _overexposed,
    "underexposure": _underexposed,
    "colour cast": _colour_cast,
    "rotation": _rotation,
    "shift": _shift,
    "rescale": _rescale,
}
