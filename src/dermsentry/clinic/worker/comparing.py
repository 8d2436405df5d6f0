"""Two photographs of one lesion: where one is in the other, and what changed, with its uncertainty.

They are registered as the audit registers photographs: keypoints, refined by enhanced correlation; what does
not agree after that is not registered, and nothing is said of its area. Each figure is measured again on
small disturbances of the same photograph (turned, moved, enlarged, lit a little otherwise). A change counts
only where it is beyond these, and beyond what second photographs of unchanged lesions differ by (`REPEATED`).
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from dermsentry.audit.likeness.content import cut_content
from dermsentry.audit.likeness.judge import AGREES, align, register
from dermsentry.audit.likeness.keypoints import find_keypoints
from dermsentry.clinic.worker.comparison import DISTURBED, REPEATED, SIDE, Change, Comparison
from dermsentry.diagnoses import MELANOMA
from dermsentry.images import Photograph, Pixels, fit
from dermsentry.model import Bundle
from dermsentry.stats.intervals import Estimate

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_FINE = 512  # the longer side at which a registration is refined and disturbances are made
_MEASURED = 256  # the longer side at which a lesion is measured
_TURN, _SHIFT, _SCALE = 8.0, 0.03, 0.06  # degrees; shares of a side
_LIGHT, _TINT = 0.08, 0.03  # of the whole, of a channel
_LEAST = 64  # pixels
_CORNER = 40  # grey levels below which it is the dark corner of a round lens
_DARKER = 5.0  # grey levels, the least by which a lesion is darker than the skin
_ROUNDS = cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-5


def reduced(pixels: Pixels, side: int) -> Pixels:
    """The photograph with its longer side `side` pixels, or as it is where that is less."""
    height, width = pixels.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def compare_photographs(
    first: Photograph, second: Photograph, bundle: Bundle
) -> tuple[Comparison, Pixels | None]:
    """Compare two photographs; and the second as seen where the first was taken, if it is registered.

    Raises
    ------
    BundleError
        The network failed.
    """
    here, there = reduced(first.pixels, SIDE), reduced(second.pixels, SIDE)
    agreement, matrix = registered(here, there)
    seen = None
    near, far = here, there
    place = None
    if matrix is not None:
        height, width = here.shape[:2]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        seen = np.asarray(cv2.warpAffine(there, matrix, (width, height), flags=flags), np.uint8)
        inside = cv2.warpAffine(np.ones(there.shape[:2], np.uint8), matrix, (width, height), flags=flags)
        place = _shared(inside > 0)
        if place is not None:  # both are measured in the same frame, on the same skin
            near, far = here[place], seen[place]
    mine, theirs = _measured(near, measure_lesion), _measured(far, measure_lesion)
    shares = [_measured(own, lambda pixels, _: (_melanoma(pixels, bundle),)) for own in (here, there)]
    melanoma = _difference(shares[0][0], shares[1][0], REPEATED["melanoma"])
    assert melanoma is not None
    left, top = (place[1].start, place[0].start) if place is not None else (0, 0)
    outlines = [_outline(own, left, top) for own in ((near, far) if place is not None else (near,))]
    found = Comparison(
        None if matrix is None else [[float(value) for value in row] for row in matrix],
        agreement,
        None if place is None else _ratio(mine[0], theirs[0]),
        _difference(mine[1], theirs[1], REPEATED["colour"]),
        _difference(mine[2], theirs[2], REPEATED["lightness"]),
        melanoma,
        outlines,
    )
    return found, seen


def _shared(inside: Mask) -> tuple[slice, slice] | None:
    """A rectangle, as rows and columns, that is all inside; None where there is no large enough one."""
    top, left, (bottom, right) = 0, 0, inside.shape
    while min(bottom - top, right - left) >= _LEAST:
        part = inside[top:bottom, left:right]
        if part.all():
            return slice(top, bottom), slice(left, right)
        edges = (part[0].mean(), part[-1].mean(), part[:, 0].mean(), part[:, -1].mean())
        worst = int(np.argmin(edges))
        if edges[worst] == 1:  # a hole, which no registration leaves
            return None
        top, bottom = top + (worst == 0), bottom - (worst == 1)
        left, right = left + (worst == 2), right - (worst == 3)
    return None


def registered(here: Pixels, there: Pixels) -> tuple[float, Floats | None]:
    """The agreement, and where (2, 3) one photograph is in the other; None where they do not agree."""
    first, cut = cut_content(here)
    second, other = cut_content(there)
    found = register(find_keypoints(first), find_keypoints(second), first.grey.shape[1])
    if found is None or found.mirror:  # nobody photographs a lesion mirrored
        return 0.0, None
    share, matrix = align(first, second, found)
    if share < AGREES:
        return share, None
    (height, width), (high, wide) = first.grey.shape, second.grey.shape
    into = np.array(
        [
            [width / cut.width, 0, -cut.left * width / cut.width],
            [0, height / cut.height, -cut.top * height / cut.height],
            [0, 0, 1],
        ]
    )
    out = np.array([[other.width / wide, 0, other.left], [0, other.height / high, other.top], [0, 0, 1]])
    whole = out @ np.vstack([matrix, [0, 0, 1]]) @ into
    return share, _refined(here, there, whole[:2].astype(np.float32))


def _refined(here: Pixels, there: Pixels, matrix: Floats) -> Floats:
    """The same, refined by enhanced correlation at a larger size; as it is where that does not converge."""
    near = [
        cv2.GaussianBlur(cv2.cvtColor(reduced(own, _FINE), cv2.COLOR_RGB2GRAY), (0, 0), 1.5)
        for own in (here, there)
    ]
    first, second = near[0].shape[1] / here.shape[1], near[1].shape[1] / there.shape[1]
    start = matrix.copy()
    start[:, :2] *= second / first
    start[:, 2] *= second
    try:
        found = cv2.findTransformECC(near[0], near[1], start, cv2.MOTION_AFFINE, _ROUNDS, None, 1)[1]
    except cv2.error:  # it did not converge
        return matrix
    refined = np.asarray(found, np.float32).copy()
    refined[:, :2] *= first / second
    refined[:, 2] /= second
    return refined


def lesion_mask(pixels: Pixels) -> Mask | None:
    """Where the lesion is: what is darker than the skin, connected, near the middle; None for nothing."""
    grey = cv2.GaussianBlur(pixels, (0, 0), max(pixels.shape) / 100).astype(np.float32).mean(axis=2)
    height, width = grey.shape
    down, across = np.mgrid[:height, :width].astype(np.float32)
    off = np.hypot((down - (height - 1) / 2) / height, (across - (width - 1) / 2) / width)
    skin = float(np.median(grey[(off > 0.35) & (off < 0.5)]))
    darker = np.clip(skin - grey, 0, 255) * (off < 0.5)
    if darker.max() < _DARKER:
        return None
    levels = np.clip(darker * 255 / darker.max(), 0, 255).astype(np.uint8)
    cut, _ = cv2.threshold(levels[off < 0.5].reshape(-1, 1), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    dark = cv2.morphologyEx((levels > cut).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, boxes, middles = cv2.connectedComponentsWithStats(dark)
    if count < 2:
        return None
    away = np.hypot((middles[1:, 1] - height / 2) / height, (middles[1:, 0] - width / 2) / width)
    best = 1 + int(np.argmax(boxes[1:, cv2.CC_STAT_AREA] * np.exp(-8 * away**2)))
    outline, _ = cv2.findContours((labels == best).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros((height, width), np.uint8)
    cv2.drawContours(filled, outline, -1, 1, cv2.FILLED)
    return filled > 0


def _outline(pixels: Pixels, left: int, top: int) -> list[list[float]]:
    """The outline of the lesion, as x, y of its corners, moved by `left` and `top`; empty for none."""
    small = reduced(pixels, _MEASURED)
    inside = lesion_mask(small)
    if inside is None:
        return []
    scale = pixels.shape[0] / small.shape[0]
    lines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    line = cv2.approxPolyDP(max(lines, key=len), 0.8, True).reshape(-1, 2)
    return [[float((x + 0.5) * scale + left), float((y + 0.5) * scale + top)] for x, y in line]


def _measured(pixels: Pixels, measure: Callable[[Pixels, float], tuple[float, ...]]) -> NDArray[np.float64]:
    """Figures of the photograph, first, and of its disturbances: (figures, 1 + `DISTURBED`).

    `measure` takes a picture and by how much it is enlarged.
    """
    small = reduced(pixels, _FINE)
    scale = small.shape[0] / pixels.shape[0]
    rng = np.random.default_rng(0)
    rows = [measure(small, scale)]
    for _ in range(DISTURBED):
        other, enlarged = _disturbed(small, rng)
        rows.append(measure(other, scale * enlarged))
    return np.array(rows).T


def _melanoma(pixels: Pixels, bundle: Bundle) -> float:
    outputs = bundle.predict_here(fit(pixels, bundle.card.size, bundle.card.aspect)[None])
    return float(outputs.probability[0][bundle.card.classes.index(MELANOMA)])


def measure_lesion(pixels: Pixels, scale: float) -> tuple[float, float, float]:
    """Area in pixels before it was enlarged by `scale`, distance of colour and of lightness; or NaN."""
    nothing = (float("nan"),) * 3
    small = reduced(pixels, _MEASURED)
    inside = lesion_mask(small)
    if inside is None:
        return nothing
    around = cv2.dilate(inside.astype(np.uint8), np.ones((31, 31), np.uint8)) > 0
    near = cv2.dilate(inside.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    skin = around & ~near & (small.max(axis=2) > _CORNER)
    if not skin.any():
        return nothing
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    apart = lab[inside].mean(axis=0) - np.median(lab[skin], axis=0)
    area = float(inside.sum()) * (pixels.shape[0] / small.shape[0]) ** 2 / scale**2
    if inside[[0, -1]].any() or inside[:, [0, -1]].any():  # the picture cuts it off
        area = float("nan")
    return area, float(np.linalg.norm(apart)), float(apart[0])


def _disturbed(pixels: Pixels, rng: np.random.Generator) -> tuple[Pixels, float]:
    """The photograph as it might have been taken a moment later, and by how much it is enlarged."""
    height, width = pixels.shape[:2]
    scale = 1 + rng.uniform(-_SCALE, _SCALE)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-_TURN, _TURN), scale)
    matrix[:, 2] += rng.uniform(-_SHIFT, _SHIFT, 2) * (width, height)
    moved = cv2.warpAffine(
        pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    light = (1 + rng.uniform(-_LIGHT, _LIGHT)) * (1 + rng.uniform(-_TINT, _TINT, 3))
    return np.clip(np.rint(moved * light), 0, 255).astype(np.uint8), scale


def _ratio(mine: NDArray[np.float64], theirs: NDArray[np.float64]) -> Change | None:
    """The second's share of the first, from positive figures."""
    found = _difference(np.log(mine), np.log(theirs), float(np.log(REPEATED["area"])))
    if found is None:
        return None
    first, second, change = (
        Estimate(*(float(np.exp(value)) for value in (own.value, own.low, own.high)))
        for own in (found.first, found.second, found.change)
    )
    return Change(first, second, change, found.beyond)


def _difference(mine: NDArray[np.float64], theirs: NDArray[np.float64], repeated: float) -> Change | None:
    """By how much the second is above the first; the spread is of every pair of their disturbances."""
    if not (np.isfinite(mine[0]) and np.isfinite(theirs[0])):
        return None
    one, other = (own[np.isfinite(own)] for own in (mine, theirs))
    apart = (other[:, None] - one).ravel()
    change = _around(float(theirs[0] - mine[0]), apart)
    beyond = (change.low > 0 or change.high < 0) and abs(change.value) > repeated
    return Change(_around(float(mine[0]), one), _around(float(theirs[0]), other), change, beyond)


def _around(value: float, drawn: NDArray[np.float64]) -> Estimate:
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Estimate(value, min(value, float(low)), max(value, float(high)))
