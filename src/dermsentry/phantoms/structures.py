"""The structures that dermoscopy names, each painted into the canvas's pigments and white."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from PIL import Image, ImageDraw

from dermsentry.phantoms.canvas import Array, Canvas, Rng, cells, noise, stencil
from dermsentry.phantoms.looks import Range

Point = tuple[float, float]


def _net(
    canvas: Canvas, pigment: str, cell: Range, width: Range, strength: Range, jitter: float, uneven: float
) -> None:
    size = max(3.2, canvas.unit * canvas.chance(*cell))
    box, seam, _ = cells(canvas, size, jitter)
    line = np.exp(-((seam / canvas.chance(*width)) ** 2))
    where = canvas.inside[box]
    if uneven:
        field_ = noise(canvas.rng, canvas.width, canvas.height, canvas.radius * 0.7)[box]
        where = where * np.clip(0.55 + uneven * field_, 0.0, 1.4)
    amount = canvas.chance(*strength)
    canvas.pigment[pigment][box] += amount * where * (line - 0.35)


def _discs(
    canvas: Canvas,
    count: tuple[int, int],
    size: Range,
    where: Range = (0.0, 0.85),
    blur: float = 0.6,
    oval: float = 0.3,
) -> Array:
    places = [canvas.place(*where) for _ in range(int(canvas.rng.integers(count[0], count[1] + 1)))]
    scale = canvas.unit * canvas.rng.uniform(*size, len(places))
    flat = 1 + canvas.rng.uniform(-oval, oval, len(places))

    def draw(pen: ImageDraw.ImageDraw) -> None:
        for (x, y), r, f in zip(places, scale, flat, strict=True):
            pen.ellipse((x - r * f, y - r / f, x + r * f, y + r / f), fill=255)

    return stencil(canvas, draw, blur)


def _patch(canvas: Canvas, share: Range, sharp: float = 4.0) -> Array:
    """An irregular area inside the lesion that covers about that share."""
    field_ = noise(canvas.rng, canvas.width, canvas.height, canvas.radius * 0.8)
    level = np.quantile(field_[canvas.depth < 1], 1 - canvas.chance(*share))
    return np.asarray(canvas.inside / (1 + np.exp(np.clip(-sharp * (field_ - level), -30, 30))))


def _septa(canvas: Canvas) -> None:
    box, seam, _ = cells(canvas, canvas.unit * canvas.chance(0.05, 0.1), 0.9)
    amount = canvas.chance(0.15, 0.4)
    canvas.white[box] += amount * canvas.inside[box] * np.exp(-((seam / canvas.chance(0.12, 0.3)) ** 2))


def _lacunae(canvas: Canvas) -> None:
    box, seam, tone = cells(canvas, canvas.unit * canvas.chance(0.045, 0.11), 0.9)
    body = np.clip(seam * 4, 0, 1) * canvas.inside[box]
    canvas.pigment["blood"][box] += body * (0.2 + 0.8 * tone) * canvas.chance(0.5, 1.1)
    canvas.pigment["blue"][box] += body * tone * canvas.chance(0.0, 0.5)


def _globules(canvas: Canvas) -> None:
    size = canvas.chance(0.008, 0.016)
    _spots(canvas, "melanin", (0.4, 1.0), (14, 60), (0.7 * size, 1.3 * size), where=(0.05, 0.95))


def _spots(
    canvas: Canvas,
    pigment: str,
    amount: Range,
    count: tuple[int, int],
    size: Range,
    where: Range,
    blur: float = 0.6,
    oval: float = 0.3,
) -> None:
    canvas.pigment[pigment] += canvas.chance(*amount) * _discs(canvas, count, size, where, blur, oval)


def _blotch(canvas: Canvas) -> None:
    canvas.pigment["melanin"] += canvas.chance(0.5, 1.3) * _patch(canvas, (0.08, 0.35))


def _veil(canvas: Canvas) -> None:
    where = _patch(canvas, (0.12, 0.45), 3.0)
    canvas.pigment["blue"] += canvas.chance(0.4, 0.95) * where
    canvas.white += canvas.chance(0.08, 0.28) * where


def _regression(canvas: Canvas) -> None:
    where = _patch(canvas, (0.06, 0.3), 3.5)
    canvas.pigment["melanin"] *= 1 - 0.75 * where
    canvas.white += canvas.chance(0.12, 0.35) * where


def _white_centre(canvas: Canvas) -> None:
    edge = canvas.chance(0.35, 0.65)
    ragged = 0.12 * noise(canvas.rng, canvas.width, canvas.height, canvas.radius * 0.3)
    where = canvas.inside / (1 + np.exp(np.clip(9 * (canvas.depth + ragged - edge), -30, 30)))
    canvas.pigment["melanin"] *= 1 - 0.7 * where
    canvas.white += canvas.chance(0.12, 0.42) * where


def _ridges(canvas: Canvas) -> None:
    cell = canvas.unit * canvas.chance(0.022, 0.05)
    # Stretched noise gives the parallel course of a fingerprint; round noise, a brain's surface.
    wide = cell * canvas.chance(1.0, 2.6)
    field_ = noise(canvas.rng, canvas.width, max(2, int(canvas.height * wide / cell)), wide)
    folded = np.asarray(
        Image.fromarray(field_).resize((canvas.width, canvas.height), Image.Resampling.BILINEAR)
    )
    lines = np.exp(-((folded / 0.35) ** 2)) - 0.35
    canvas.pigment["melanin"] += canvas.chance(0.2, 0.6) * canvas.inside * lines


def _bites(canvas: Canvas) -> None:
    where = _discs(canvas, (2, 5), (0.03, 0.07), (0.85, 1.1), 1.5, 0.2)
    keep = 1 - 0.9 * where
    for name in canvas.pigment:
        canvas.pigment[name] *= keep
    canvas.white *= keep


def _cysts(canvas: Canvas) -> None:
    canvas.white += canvas.chance(0.35, 0.75) * _discs(canvas, (5, 28), (0.005, 0.014), (0.0, 0.85), 0.8, 0.1)


def _openings(canvas: Canvas) -> None:
    where = _discs(canvas, (3, 16), (0.008, 0.02), (0.0, 0.85), 0.9, 0.4)
    canvas.pigment["melanin"] += canvas.chance(0.8, 1.6) * where
    canvas.pigment["keratin"] += 0.5 * where


def _follicles(canvas: Canvas) -> None:
    where = _discs(canvas, (10, 40), (0.007, 0.014), (0.0, 1.0), 0.8, 0.1)
    canvas.pigment["keratin"] += 0.5 * where
    canvas.white += canvas.chance(0.2, 0.45) * where


def _scale(canvas: Canvas) -> None:
    fine = noise(canvas.rng, canvas.width, canvas.height, max(2.0, canvas.unit * 0.02))
    coarse = noise(canvas.rng, canvas.width, canvas.height, canvas.radius * 0.5)
    amount = canvas.chance(0.35, 0.75)
    canvas.white += amount * canvas.inside * np.clip(fine + coarse - canvas.chance(1.0, 1.9), 0, 1)


def _keratin_mass(canvas: Canvas) -> None:
    ragged = 0.25 * noise(canvas.rng, canvas.width, canvas.height, canvas.radius * 0.35)
    edge = canvas.chance(0.25, 0.6)
    where = canvas.inside / (1 + np.exp(np.clip(10 * (canvas.depth + ragged - edge), -30, 30)))
    canvas.pigment["keratin"] += canvas.chance(0.4, 1.3) * where
    canvas.pigment["blood"] *= 1 - 0.5 * where
    canvas.white += canvas.chance(0.15, 0.5) * where


def _ulcer(canvas: Canvas) -> None:
    where = _patch(canvas, (0.03, 0.16), 6.0)
    canvas.pigment["blood"] += canvas.chance(0.7, 1.6) * where
    canvas.pigment["melanin"] += canvas.chance(0.2, 0.9) * where


def _clot(canvas: Canvas) -> None:
    where = _patch(canvas, (0.08, 0.4), 5.0)
    canvas.pigment["blood"] += canvas.chance(0.5, 1.2) * where
    canvas.pigment["blue"] += canvas.chance(0.4, 1.2) * where


def _strokes(canvas: Canvas, lines: Sequence[Sequence[Point]], width: float, blur: float) -> Array:
    def draw(pen: ImageDraw.ImageDraw) -> None:
        for line in lines:
            pen.line(line, fill=255, width=max(1, round(canvas.unit * width)))

    return stencil(canvas, draw, blur)


def _streaks(canvas: Canvas) -> None:
    rng = canvas.rng
    start, span = rng.uniform(0, 2 * np.pi), rng.uniform(1.5, 2 * np.pi)
    x, y = canvas.centre
    lines = []
    for theta in start + span * rng.random(int(rng.integers(10, 32))):
        inner, outer = canvas.radius * rng.uniform(0.75, 0.95), canvas.radius * rng.uniform(1.08, 1.35)
        lines.append([(x + r * np.cos(theta), y + r * np.sin(theta)) for r in (inner, outer)])
    canvas.pigment["melanin"] += canvas.chance(0.5, 1.2) * _strokes(canvas, lines, 0.011, 0.8)


def _shiny_streaks(canvas: Canvas) -> None:
    rng = canvas.rng
    lean = rng.uniform(0, np.pi)
    lines = []
    for _ in range(int(rng.integers(5, 18))):
        x, y = canvas.place(0.0, 0.8)
        theta = lean + (np.pi / 2 if rng.random() < 0.3 else 0.0)
        reach = canvas.unit * rng.uniform(0.012, 0.035)
        across, down = reach * np.cos(theta), reach * np.sin(theta)
        lines.append([(x - across, y - down), (x + across, y + down)])
    canvas.white += canvas.chance(0.3, 0.6) * _strokes(canvas, lines, 0.008, 0.6)


def walk(rng: Rng, x: float, y: float, theta: float, step: float, steps: int, bend: float) -> list[Point]:
    """A wandering line: `steps` steps of `step` pixels, turning by about `bend` radians at each."""
    turns = theta + np.cumsum(rng.normal(0, bend, steps))
    across, down = x + np.cumsum(step * np.cos(turns)), y + np.cumsum(step * np.sin(turns))
    return [(x, y), *zip(across, down, strict=True)]


def _tree_vessels(canvas: Canvas) -> None:
    rng = canvas.rng
    branches: list[tuple[list[Point], int]] = []
    step = canvas.unit * 0.018
    for _ in range(int(rng.integers(2, 6))):
        x, y = canvas.place(0.5, 1.05)
        inward = np.arctan2(canvas.centre[1] - y, canvas.centre[0] - x) + rng.normal(0, 0.5)
        trunk = walk(rng, x, y, inward, step, int(rng.integers(8, 18)), 0.28)
        branches.append((trunk, 2 if rng.random() < 0.6 else 1))
        for at in rng.choice(len(trunk), min(4, len(trunk)), replace=False):
            aside = inward + rng.choice([-1, 1]) * rng.uniform(0.5, 1.2)
            branches.append(
                (walk(rng, trunk[at][0], trunk[at][1], aside, step, int(rng.integers(4, 9)), 0.35), 1)
            )
    thick = max(1.0, canvas.unit / 180)

    def draw(pen: ImageDraw.ImageDraw) -> None:
        for line, width in branches:
            pen.line(line, fill=255, width=max(1, round(width * thick)), joint="curve")

    canvas.pigment["blood"] += canvas.chance(0.6, 1.3) * stencil(canvas, draw, 0.7)


def _coiled_vessels(canvas: Canvas) -> None:
    rng = canvas.rng
    coils = []
    for _ in range(int(rng.integers(10, 34))):
        x, y = canvas.place(0.4, 1.0)
        coils.append((x, y, canvas.unit * rng.uniform(0.008, 0.018), rng.uniform(0, 360)))

    def draw(pen: ImageDraw.ImageDraw) -> None:
        for x, y, r, turn in coils:
            box, width = (x - r, y - r, x + r, y + r), max(1, round(canvas.unit * 0.007))
            pen.arc(box, turn, turn + 270, fill=255, width=width)

    canvas.pigment["blood"] += canvas.chance(0.6, 1.3) * stencil(canvas, draw, 0.6)


# fmt: off
STRUCTURES: dict[str, Callable[[Canvas], None]] = {
    "blotch": _blotch,
    "veil": _veil,
    "network": partial(_net, pigment="melanin", cell=(0.028, 0.045), width=(0.16, 0.28),
                       strength=(0.25, 0.7), jitter=0.55, uneven=0.15),
    "fine network": partial(_net, pigment="melanin", cell=(0.026, 0.038), width=(0.12, 0.22),
                            strength=(0.15, 0.40), jitter=0.6, uneven=0.1),
    "coarse network": partial(_net, pigment="melanin", cell=(0.036, 0.075), width=(0.18, 0.42),
                              strength=(0.4, 1.1), jitter=0.95, uneven=0.5),
    "red network": partial(_net, pigment="blood", cell=(0.030, 0.052), width=(0.25, 0.45),
                           strength=(0.2, 0.5), jitter=0.7, uneven=0.25),
    "ridges": _ridges,
    "lacunae": _lacunae,
    "clot": _clot,
    "globules": _globules,
    "dots": partial(_spots, pigment="melanin", amount=(0.4, 0.9), count=(15, 60), size=(0.003, 0.006),
                    where=(0.0, 1.0), blur=0.5),
    "granules": partial(_spots, pigment="blue", amount=(0.35, 0.8), count=(30, 120), size=(0.004, 0.009),
                        where=(0.1, 0.95), blur=0.7),
    "nests": partial(_spots, pigment="blue", amount=(0.5, 1.2), count=(2, 9), size=(0.016, 0.05),
                     where=(0.1, 0.9), blur=1.6, oval=0.4),
    "streaks": _streaks,
    "white centre": _white_centre,
    "regression": _regression,
    "keratin mass": _keratin_mass,
    "ulcer": _ulcer,
    "tree vessels": _tree_vessels,
    "coiled vessels": _coiled_vessels,
    "openings": _openings,
    "bites": _bites,
    "septa": _septa,
    "follicles": _follicles,
    "cysts": _cysts,
    "shiny streaks": _shiny_streaks,
    "scale": _scale,
}
# fmt: on
