"""Whether two photographs are one: registered, their detail has to agree over the content that they share.

Keypoints give the registration, enhanced correlation refines it (Evangelidis and Psarakis, 2008). What is
compared is hair, network, dots and pores, evened out so that a strong mark counts no more than a faint one;
an edge agrees along its length wherever it is, so a place counts only if it agrees there and not beside.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dermsentry.audit.likeness.content import Content
from dermsentry.audit.likeness.keypoints import Keypoints, mirrored

Floats = NDArray[np.float32]

_MATCH = 0.6  # cosine of two descriptors from which they may be one keypoint
_LEAST_MATCHES = 3
_NEAR = (0.08, 0.05, 0.04)  # of a side, how far a keypoint may be from where the others say
_FINE, _COARSE = 0.8, 2.5  # pixels between which detail is
_FAINT = 0.7  # grey levels of detail that are noise
_SMOOTH = 1.5  # pixels that detail is smoothed by to be registered
_WINDOW = 9  # pixels across which detail is compared
_BESIDE = ((4, 0), (-4, 0), (0, 4), (0, -4), (3, 3), (3, -3), (-3, 3), (-3, -3))
_SAME, _ONLY_HERE = 0.5, 0.15  # correlation at a place, and by how much it exceeds that beside it
AGREES, AGREES_IN_PLACE = 0.3, 0.25
"""Share of agreement from which two photographs show the same skin; less is enough where they coincide in the
frame, as copies that were drawn on do."""

_MOVED = 0.04  # of a side, the most that a corner moves where two photographs coincide
_PROMISING = 0.05  # share of agreement before refinement from which it is worth that
_LEAST_OVERLAP = 0.15  # of the content of either
_ROUNDS = cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 25, 1e-4


@dataclass(frozen=True)
class Registration:
    """Where one photograph's content is in another's.

    `matrix` (2, 3) takes x and y of the first, mirrored if `mirror`, to the second; `matches` keypoints say
    so.
    """

    matrix: Floats
    mirror: bool
    matches: int


def register(first: Keypoints, second: Keypoints, width: int) -> Registration | None:
    """The registration that most keypoints agree on, mirrored or not; None if fewer than three do.

    `width` is that of the first photograph's content.
    """
    if min(len(first.places), len(second.places)) < _LEAST_MATCHES:
        return None
    best: Registration | None = None
    target = second.descriptors.astype(np.float32)
    for mirror in (False, True):
        source = (mirrored(first.descriptors) if mirror else first.descriptors).astype(np.float32)
        cosines = source @ target.T / 512**2
        partner = cosines.argmax(axis=1)
        own = np.arange(len(source))
        kept = np.flatnonzero((cosines[own, partner] > _MATCH) & (cosines.argmax(axis=0)[partner] == own))
        if len(kept) < max(_LEAST_MATCHES, best.matches + 1 if best else 0):
            continue
        places = first.places[kept].copy()
        if mirror:
            places[:, 0] = width - 1 - places[:, 0]
            places[:, 3] = 180 - places[:, 3]
        found = _consistent(places, second.places[partner[kept]])
        if found is not None and (best is None or found[1] > best.matches):
            best = Registration(found[0], mirror, found[1])
    return best


def _consistent(source: Floats, target: Floats) -> tuple[Floats, int] | None:
    """The map (2, 3) that most matches (m, 4) agree on, and how many do."""
    scale, turn = target[:, 2] / source[:, 2], np.deg2rad(target[:, 3] - source[:, 3])
    cosine, sine = scale * np.cos(turn), scale * np.sin(turn)
    linear = np.stack([np.stack([cosine, -sine], axis=1), np.stack([sine, cosine], axis=1)], axis=1)
    start, end = source[:, :2], target[:, :2]
    offset = end - np.einsum("nij,nj->ni", linear, start)
    side = float(end.max())
    away = np.linalg.norm(np.einsum("nij,mj->nmi", linear, start) + offset[:, None] - end, axis=2)
    turned = np.abs((turn[:, None] - turn + np.pi) % (2 * np.pi) - np.pi)
    agree = (away < _NEAR[0] * side) & (np.abs(np.log(scale[:, None] / scale)) < 0.5) & (turned < 0.5)
    leader = int(agree.sum(axis=1).argmax())
    matrix = np.concatenate([linear[leader], offset[leader, :, None]], axis=1)
    inliers = agree[leader]
    ones = np.ones((len(start), 1), np.float32)
    # Few matches must not bend the map far from the leader's.
    rigid = np.diag(np.array([30, 30, 0.05], np.float32))
    for share in _NEAR:
        if inliers.sum() < _LEAST_MATCHES:
            return None
        known = np.concatenate([start, ones], axis=1)[inliers]
        matrix = np.linalg.solve(known.T @ known + rigid, known.T @ end[inliers] + rigid @ matrix.T).T
        away = np.linalg.norm(np.concatenate([start, ones], axis=1) @ matrix.T - end, axis=1)
        inliers = away < share * side
    count = int(inliers.sum())
    return (matrix.astype(np.float32), count) if count >= _LEAST_MATCHES else None


def in_place(first: Content, second: Content) -> Registration:
    """The registration of a copy that was not cut or rotated."""
    (height, width), (high, wide) = first.grey.shape, second.grey.shape
    return Registration(np.array([[wide / width, 0, 0], [0, high / height, 0]], np.float32), False, 0)


def same_skin(
    first: Content, second: Content, keypoints: tuple[Keypoints, Keypoints] | None
) -> tuple[float, bool] | None:
    """The `agreement` of two photographs if they are one, None if not.

    They are registered by their `keypoints`; as they are if these are None.
    """
    if keypoints is None:
        registration: Registration | None = in_place(first, second)
    else:
        registration = register(*keypoints, first.grey.shape[1])
    if registration is None:
        return None
    share, placed = agreement(first, second, registration)
    return (share, placed) if is_copy(share, placed) else None


def is_copy(share: float, placed: bool) -> bool:
    """Whether an `agreement` is that of one photograph."""
    return share >= (AGREES_IN_PLACE if placed else AGREES)


def agreement(first: Content, second: Content, registration: Registration) -> tuple[float, bool]:
    """The share, 0 to 1, of the content that both show in which their detail is the same; if it is in place.

    It is in place where no corner of the content moves by more than 4 % of a side.
    """
    share, matrix = align(first, second, registration)
    return share, not registration.mirror and _coincide(matrix, first, second)


def align(first: Content, second: Content, registration: Registration) -> tuple[float, Floats]:
    """The share of `agreement`, and the registration's matrix (2, 3), refined where that agrees better."""
    grey, inside = first.grey, first.inside
    if registration.mirror:
        grey, inside = np.ascontiguousarray(grey[:, ::-1]), np.ascontiguousarray(inside[:, ::-1])
    fixed = _detail(grey)
    matrix = registration.matrix
    share = _agreeing(fixed, inside, second, matrix)
    if share >= _PROMISING:
        refined = _refined(fixed[0], _detail(second.grey)[0], matrix)
        better = _agreeing(fixed, inside, second, refined)
        if better > share:
            share, matrix = better, refined
    return share, matrix


def _refined(fixed: Floats, moved: Floats, matrix: Floats) -> Floats:
    smooth = [cv2.GaussianBlur(detail, (0, 0), _SMOOTH) for detail in (fixed, moved)]
    try:
        found = cv2.findTransformECC(*smooth, matrix.copy(), cv2.MOTION_AFFINE, _ROUNDS, None, 1)[1]
    except cv2.error:  # it did not converge
        return matrix
    return np.asarray(found, np.float32)


def _coincide(matrix: Floats, first: Content, second: Content) -> bool:
    height, width = first.grey.shape
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], np.float32)
    moves = corners @ (matrix - in_place(first, second).matrix).T
    return bool(np.abs(moves).max() <= _MOVED * max(second.grey.shape))


def _detail(grey: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Detail (h, w), evened out and clipped, and how strong it is in grey levels."""
    fine = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), _FINE)
    detail = fine - cv2.GaussianBlur(fine, (0, 0), _COARSE)
    strength = np.sqrt(np.maximum(cv2.boxFilter(detail * detail, -1, (_WINDOW, _WINDOW)), 0))
    return np.clip(detail / (strength + _FAINT), -2, 2), strength


def _agreeing(
    fixed: tuple[Floats, Floats], inside: NDArray[np.bool_], second: Content, matrix: Floats
) -> float:
    detail, strength = fixed
    height, width = detail.shape
    size, back = (width, height), cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(
        second.grey, matrix, size, flags=cv2.INTER_LINEAR | back, borderMode=cv2.BORDER_REPLICATE
    )
    covered = cv2.warpAffine(second.inside.astype(np.uint8), matrix, size, flags=cv2.INTER_NEAREST | back)
    both = cv2.erode(covered & inside, np.ones((5, 5), np.uint8), borderValue=0) > 0
    if both.sum() < _LEAST_OVERLAP * inside.sum():
        return 0.0
    other, faint = _detail(seen)
    window = (_WINDOW, _WINDOW)
    power = cv2.boxFilter(detail * detail, -1, window)
    others = cv2.boxFilter(other * other, -1, window)

    def correlation(across: int, down: int) -> Floats:
        moved, moved_power = (np.roll(each, (down, across), (0, 1)) for each in (other, others))
        product = cv2.boxFilter(detail * moved, -1, window)
        return np.asarray(product / np.sqrt(np.maximum(power * moved_power, 1e-3)), np.float32)

    here = correlation(0, 0)
    counts = both & (np.minimum(strength, faint) > _FAINT)
    good = counts & (here > _SAME)
    if good.sum() > _PROMISING * counts.sum():
        beside = np.maximum.reduce([correlation(across, down) for across, down in _BESIDE])
        good &= here - beside > _ONLY_HERE
    return float(good.sum() / max(1, counts.sum()))
