"""One phantom: skin, the lesion in it, and what the instrument adds to every lesion."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from dermsentry.diagnoses import CODES, diagnosis
from dermsentry.images import Pixels
from dermsentry.phantoms.canvas import DENSITY, Array, Canvas, Rng, density_of, noise
from dermsentry.phantoms.looks import LOOKS, Look
from dermsentry.phantoms.structures import STRUCTURES, walk

# Skin under a dermatoscope, Fitzpatrick types I to VI, and how often each is drawn.
_SKIN = ((238, 203, 194), (229, 188, 172), (214, 168, 144), (188, 139, 111), (145, 101, 79), (104, 71, 57))
_SKIN_SHARES = (0.18, 0.27, 0.22, 0.14, 0.11, 0.08)


def _outline(rng: Rng, look: Look, width: int, height: int) -> Canvas:
    """The lesion's shape and its even pigment."""
    unit = float(min(width, height))
    radius = unit * rng.uniform(*look.radius)
    stretch = math.sqrt(rng.uniform(*look.stretch))
    room_x, room_y = max(0.0, width / 2 - radius * 1.1), max(0.0, height / 2 - radius * 1.1)
    centre = (width / 2 + 0.45 * room_x * rng.uniform(-1, 1), height / 2 + 0.45 * room_y * rng.uniform(-1, 1))
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    turn = rng.uniform(0, np.pi)
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    along = (dx * math.cos(turn) + dy * math.sin(turn)) / stretch
    across = (dy * math.cos(turn) - dx * math.sin(turn)) * stretch
    angle = np.arctan2(across, along)
    lobes = rng.uniform(*look.lobes)
    # The border as a Fourier series over the angle, looked up in a table rather than computed per pixel.
    grid = np.linspace(-np.pi, np.pi, 721)
    orders = np.arange(2, 11)
    weights = lobes * rng.normal(0, 1, orders.size) / orders**0.8
    phases = rng.uniform(0, 2 * np.pi, (orders.size, 1))
    border = 1 + (weights[:, None] * np.cos(orders[:, None] * grid + phases)).sum(0)
    border = np.clip(border, 0.45, 1.6).astype(np.float32)
    reach = border[((angle + np.float32(np.pi)) * np.float32(720 / (2 * np.pi))).astype(np.int32)]
    depth = np.sqrt(along * along + across * across) / (radius * reach)
    ragged = noise(rng, width, height, max(2.0, radius * 0.12))
    ragged = ragged + noise(rng, width, height, max(1.5, radius * 0.04))
    rough = depth + 0.3 * lobes * ragged
    soft = rng.uniform(*look.softness)
    inside = (1 / (1 + np.exp(np.clip((rough - 1) * (4 / soft), -30, 30)))).astype(np.float32)
    patchy = rng.uniform(*look.patchy)
    grainy = rng.uniform(0.05, 0.22)
    near = np.minimum(depth, 1)
    pigment = {}
    for name in DENSITY:
        amount, towards = rng.uniform(*getattr(look, name)), rng.uniform(0, 2 * np.pi)
        slope = (along * math.cos(towards) + across * math.sin(towards)) * (0.5 / radius)
        uneven = 1 + patchy * (0.35 * noise(rng, width, height, radius * 0.5) + slope)
        if name in ("melanin", "blood"):
            uneven += grainy * noise(rng, width, height, max(1.6, unit * 0.018))
            uneven += grainy * noise(rng, width, height, max(3.0, unit * 0.05))
        rim = 1 + rng.uniform(-0.55, 0.2) * near * near
        pigment[name] = amount * inside * np.clip(uneven, 0.1, 2.2) * rim
    return Canvas(rng, width, height, centre, unit, radius, x, y, angle, depth, inside, pigment)


def _skin(rng: Rng, width: int, height: int, skin_type: int) -> Array:
    """Bare skin as (height, width, 3) shares of light."""
    unit = min(width, height)
    tone = np.asarray(_SKIN[skin_type - 1], dtype=np.float32) * np.float32(rng.uniform(0.93, 1.05) / 255)
    mottled = noise(rng, width, height, unit * 0.16) * np.float32(rng.uniform(0.01, 0.05))
    pores = noise(rng, width, height, max(1.6, unit * 0.014)) * np.float32(rng.uniform(0.01, 0.05))
    red = noise(rng, width, height, unit * 0.3) * rng.uniform(0.02, 0.06) + rng.uniform(-0.02, 0.12)
    return tone * np.exp(-density_of({"melanin": mottled + pores, "blood": red}))


def _lesion(code: str, rng: Rng, width: int, height: int, skin_type: int) -> Array:
    """Skin with the lesion in it, as (height, width, 3) shares of light, before the instrument's marks."""
    look = LOOKS[code]
    canvas = _outline(rng, look, width, height)
    for name, draw in STRUCTURES.items():
        if rng.random() < look.structures.get(name, 0.0):
            draw(canvas)
    density = density_of({name: np.maximum(amount, 0) for name, amount in canvas.pigment.items()})
    light = _skin(rng, width, height, skin_type) * np.exp(-density)
    white = np.clip(canvas.white, 0, 0.9)[..., None]
    bright = np.asarray((0.93, 0.90, 0.90), np.float32) * (0.75 + 0.04 * (6 - skin_type))
    return np.asarray(light * (1 - white) + bright * white, dtype=np.float32)


def _hair(rng: Rng, size: tuple[int, int], light: Array) -> Array:
    width, height = size
    dark = rng.random() < 0.75
    image = Image.new("L", size)
    pen = ImageDraw.Draw(image)
    unit = min(size)
    lean = rng.uniform(0, 2 * np.pi)
    for _ in range(int(rng.integers(3, 22))):
        x, y, theta = rng.uniform(0, width), rng.uniform(0, height), lean + rng.normal(0, 0.6)
        line = walk(rng, x, y, theta, unit * 0.04, 14, 0.08)
        shade, thick = int(rng.integers(120, 256)), max(1, round(unit * rng.uniform(0.004, 0.010)))
        pen.line(line, fill=shade, width=thick, joint="curve")
    share = np.asarray(image.filter(ImageFilter.GaussianBlur(0.5)), np.float32)[..., None] / 255
    colour = np.asarray((0.12, 0.08, 0.07) if dark else (0.62, 0.48, 0.36), np.float32)
    return np.asarray(light * (1 - 0.85 * share) + colour * 0.85 * share, dtype=np.float32)


def _ruler(rng: Rng, size: tuple[int, int], light: Array) -> Array:
    width, height = size
    image = Image.new("L", size)
    pen = ImageDraw.Draw(image)
    step = min(size) * rng.uniform(0.035, 0.07)
    left, upper = rng.random() < 0.5, rng.random() < 0.5
    for at in np.arange(rng.uniform(0, step), max(size), step):
        long = min(size) * (0.06 if int(at / step) % 5 == 0 else 0.035)
        pen.line((0, at, long, at) if left else (width - long, at, width, at), fill=230)
        pen.line((at, 0, at, long) if upper else (at, height - long, at, height), fill=230)
    share = np.asarray(image, np.float32)[..., None] / 255
    return np.asarray(light * (1 - 0.9 * share) + 0.08 * share, dtype=np.float32)


def _bubbles(rng: Rng, size: tuple[int, int], light: Array) -> Array:
    width, height = size
    rim, glint = Image.new("L", size), Image.new("L", size)
    pen, spark = ImageDraw.Draw(rim), ImageDraw.Draw(glint)
    for _ in range(int(rng.integers(2, 14))):
        x, y, r = rng.uniform(0, width), rng.uniform(0, height), min(size) * rng.uniform(0.008, 0.05)
        pen.ellipse((x - r, y - r, x + r, y + r), outline=200)
        spark.ellipse((x - r * 0.5, y - r * 0.6, x - r * 0.1, y - r * 0.25), fill=220)
    soft = ImageFilter.GaussianBlur(0.6)
    dark = np.asarray(rim.filter(soft), np.float32)[..., None] / 255
    bright = np.asarray(glint.filter(soft), np.float32)[..., None] / 255
    return np.asarray(light * (1 - 0.35 * dark) * (1 - bright) + bright, dtype=np.float32)


def _exposed(rng: Rng, light: Array) -> Pixels:
    """What the instrument does to every lesion: marks, uneven light, colour cast, dark corners, grain."""
    height, width = light.shape[:2]
    size = (width, height)
    if rng.random() < 0.45:
        light = _hair(rng, size, light)
    if rng.random() < 0.22:
        light = _bubbles(rng, size, light)
    if rng.random() < 0.18:
        light = _ruler(rng, size, light)
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    slope = rng.uniform(-0.06, 0.06, 2).astype(np.float32)
    shading = 1 + slope[0] * x + slope[1] * y - np.float32(rng.uniform(0, 0.16)) * (x**2 + y**2)
    if rng.random() < 0.25:  # the rim of the lens
        reach = np.sqrt((x * width) ** 2 + (y * height) ** 2) / min(width, height)
        edge, soft = rng.uniform(1.02, 1.6), rng.uniform(0.01, 0.06)
        shading = shading / (1 + np.exp(np.clip((reach - edge) / soft, -30, 30)))
    cast = rng.normal(1, 0.035, 3).astype(np.float32) * np.float32(rng.uniform(0.88, 1.08))
    picture = light * shading[..., None] * cast * np.float32(255)
    picture += rng.standard_normal((height, width, 1), dtype=np.float32) * np.float32(rng.uniform(0.8, 3.0))
    return np.asarray(np.clip(picture, 0, 255), dtype=np.uint8)


_PATCHES = 4  # per axis, each of which another view stretches on its own
_STRETCH = 0.08  # of the shorter side, the most that a patch's corner is pulled


def draw_skin_type(rng: Rng) -> int:
    """A Fitzpatrick type from 1 to 6, lighter ones more often, as in the published collections."""
    return int(rng.choice(len(_SKIN), p=_SKIN_SHARES)) + 1


def draw_phantom(
    code: str, seed: int, size: tuple[int, int] = (240, 180), *, skin_type: int | None = None
) -> Pixels:
    """Draw one phantom.

    Parameters
    ----------
    code
        One of `diagnoses.CODES`.
    seed
        Random seed; the same code, seed, size and skin type give the same pixels.
    size
        Width and height in pixels.
    skin_type
        Fitzpatrick type 1 to 6; drawn at random if not given.

    Returns
    -------
    numpy.ndarray
        (height, width, 3), uint8, RGB.

    Raises
    ------
    InputError
        `code` is none of the nine.
    """
    return draw_view(code, seed, size, skin_type, view=0)


def draw_view(code: str, seed: int, size: tuple[int, int], skin_type: int | None, view: int) -> Pixels:
    """A lesion in one of its photographs: other views turn and enlarge it under other light and marks."""
    number = CODES.index(diagnosis(code).code)
    rng = np.random.default_rng((number, seed))
    drawn = draw_skin_type(rng)
    light = _lesion(code, rng, *size, skin_type or drawn)
    instrument = np.random.default_rng((number, seed, 1 + view))
    if view:
        light = _turned(instrument, light)
    return _exposed(instrument, light)


def _turned(rng: Rng, light: Array) -> Array:
    """The light turned, enlarged and stretched, as soft skin under a dermatoscope is; no copy is."""
    height, width = light.shape[:2]
    theta, zoom = np.pi + rng.uniform(-0.25, 0.25), rng.uniform(1.3, 1.45)
    turn = np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]]) / zoom
    across, down = np.linspace(0, width, _PATCHES + 1), np.linspace(0, height, _PATCHES + 1)
    nodes = np.stack(np.meshgrid(across, down), axis=-1)
    middle = np.array([width / 2, height / 2])
    pulled = rng.uniform(-_STRETCH, _STRETCH, nodes.shape) * min(width, height)
    sources = (nodes - middle) @ turn.T + middle + pulled
    mesh = []
    for i, j in np.ndindex(_PATCHES, _PATCHES):
        box = tuple(round(float(edge)) for edge in (across[j], down[i], across[j + 1], down[i + 1]))
        corners = (sources[i, j], sources[i + 1, j], sources[i + 1, j + 1], sources[i, j + 1])
        mesh.append((box, tuple(np.concatenate(corners))))
    planes = [
        Image.fromarray(np.ascontiguousarray(light[..., c])).transform(
            (width, height), Image.Transform.MESH, mesh, Image.Resampling.BICUBIC
        )
        for c in range(3)
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)
