"""What is distinctive in a photograph, wherever it is in the frame: keypoints with SIFT descriptors.

Lowe, Distinctive image features from scale-invariant keypoints (2004), as OpenCV computes them; RootSIFT of
Arandjelović and Zisserman (2012).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dermsentry.audit.likeness.content import Content

MOST = 40
"""Keypoints of a photograph."""

_CELLS = 6  # per axis: each cell gives its strongest first, so that a stamp or a ruler does not take all
_CONTRAST, _EDGE = 0.01, 15.0  # far lower than usual: smooth skin has little contrast
_STEPS = 512.0  # levels of a descriptor's values, which rarely exceed a half


@dataclass(frozen=True)
class Keypoints:
    """Keypoints of one photograph, the most useful first.

    `places` is (k, 4) float32: x and y in pixels of the content, diameter, angle in degrees; `descriptors`
    (k, 128) uint8, of length 512.
    """

    places: NDArray[np.float32]
    descriptors: NDArray[np.uint8]


def find_keypoints(content: Content) -> Keypoints:
    """At most `MOST` keypoints, spread over the content."""
    allowed = None
    if not content.inside.all():
        core = cv2.erode(content.inside.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=1)
        allowed = core * np.uint8(255)
    sift = cv2.SIFT_create(nfeatures=0, contrastThreshold=_CONTRAST, edgeThreshold=_EDGE)
    found = sift.detect(content.grey, allowed)
    if not found:
        return Keypoints(np.zeros((0, 4), np.float32), np.zeros((0, 128), np.uint8))
    strength = np.array([point.response * point.size for point in found], np.float32)
    x, y = np.array([point.pt for point in found], np.float32).T
    height, width = content.grey.shape
    cells = np.minimum(y * _CELLS // height, _CELLS - 1) * _CELLS + np.minimum(
        x * _CELLS // width, _CELLS - 1
    )
    strongest = np.lexsort((-strength, cells))
    firsts = np.flatnonzero(np.diff(cells[strongest], prepend=-1))
    rank = np.empty(len(found), np.int64)
    rank[strongest] = np.arange(len(found)) - np.repeat(firsts, np.diff(firsts, append=len(found)))
    kept = [found[i] for i in np.lexsort((-strength, rank))[:MOST]]
    kept, values = sift.compute(content.grey, kept)
    shares = values / np.maximum(values.sum(axis=1, keepdims=True), 1e-6)
    places = np.array([(*point.pt, point.size, point.angle) for point in kept], np.float32)
    return Keypoints(places, np.minimum(np.rint(np.sqrt(shares) * _STEPS), 255).astype(np.uint8))


def mirrored(descriptors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What the descriptors (n, 128) would be if the photograph were mirrored."""
    bins = descriptors.reshape(-1, 4, 4, 8)[:, ::-1]
    return np.ascontiguousarray(bins[..., -np.arange(8) % 8].reshape(-1, 128))
