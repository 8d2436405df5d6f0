"""Pictures that show no lesion, for a network to know them by: public sample pictures, and drawn ones.

The sample pictures are this package's (`non_lesion_images/`, public domain or CC0), scikit-learn's and
Matplotlib's, read where those are installed. Pages, charts, noise and gradients are drawn. Skin beside a
lesion is not among them: fitted against it, the score refused every tenth photograph of a source that was
left out, those of small and faint lesions (docs/why.md). Even skin is what `screening/quality.py` refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dermsentry.images import Pixels, fit, read_photograph
from dermsentry.training.disturbances import disturbed

CROPS = 5
"""Square parts of each picture, from 40 to 90 % of its shorter side."""
DISTURBED = 2
"""Disturbed copies of the whole picture and of each crop, beside itself."""
_SIDE = 256


def non_lesion_views(
    size: int, seed: int = 0, pictures: Sequence[Pixels] = ()
) -> tuple[Pixels, NDArray[np.int64]]:
    """Views of pictures that show no lesion, and which picture each is of.

    Parameters
    ----------
    size
        The views' side in pixels.
    seed
        Random seed of drawing, cropping and disturbing.
    pictures
        More pictures that show no lesion, (height, width, 3) uint8.

    Returns
    -------
    tuple
        (M, size, size, 3) uint8, of each picture the whole and `CROPS` crops, plain and `DISTURBED` times
        disturbed; and (M,) the picture's number.
    """
    rng = np.random.default_rng(seed)
    all_pictures = [*_samples(), *_drawn(rng), *pictures]
    plain = np.stack([view for picture in all_pictures for view in _views(picture, size, rng)])
    views = np.concatenate([plain, *(disturbed(plain, rng) for _ in range(DISTURBED))])
    return views, np.tile(np.repeat(np.arange(len(all_pictures)), 1 + CROPS), 1 + DISTURBED)


def _samples() -> Iterator[Pixels]:
    import sklearn.datasets
    from matplotlib import cbook

    for path in sorted((Path(__file__).parent / "non_lesion_images").glob("*.jpg")):
        yield read_photograph(path).pixels
    yield from sklearn.datasets.load_sample_images().images
    portrait = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    yield read_photograph(Path(str(portrait))).pixels


def _views(picture: Pixels, size: int, rng: np.random.Generator) -> Iterator[Pixels]:
    yield fit(picture, size, "squash")
    height, width = picture.shape[:2]
    for _ in range(CROPS):
        side = int(min(height, width) * rng.uniform(0.4, 0.9))
        top, left = int(rng.integers(height - side)), int(rng.integers(width - side))
        yield fit(np.ascontiguousarray(picture[top : top + side, left : left + side]), size, "squash")


def _drawn(rng: np.random.Generator) -> Iterator[Pixels]:
    """A bar chart, a curve, a page of words, a table, noise, coarse noise, two gradients and stripes."""
    canvas, pen = _paper()
    for i, height in enumerate(rng.integers(30, 200, 8).tolist()):
        red, green, blue = rng.integers(30, 220, 3).tolist()
        pen.rectangle((28 + 27 * i, 230 - height, 46 + 27 * i, 230), fill=(red, green, blue))
    pen.line(((20, 15), (20, 230), (250, 230)), fill="black")
    yield np.asarray(canvas)
    canvas, pen = _paper()
    for colour in ("navy", "firebrick"):
        heights = 120 + np.cumsum(rng.normal(0, 6, 23))
        pen.line([(22 + 10 * i, float(y)) for i, y in enumerate(heights)], fill=colour, width=2)
    pen.line(((20, 15), (20, 240), (250, 240)), fill="black")
    yield np.asarray(canvas)
    canvas, pen = _paper()
    for row in range(14):
        words = ("".join(map(chr, rng.integers(97, 123, rng.integers(2, 9)))) for _ in range(7))
        pen.text((14, 12 + 17 * row), " ".join(words)[:38], fill="black")
    yield np.asarray(canvas)
    canvas, pen = _paper()
    for row in range(10):
        pen.line(((10, 10 + 24 * row), (246, 10 + 24 * row)), fill="grey")
        for column in range(4):
            pen.text((16 + 58 * column, 14 + 24 * row), f"{rng.integers(10**5)}", fill="black")
    yield np.asarray(canvas)
    yield rng.integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8)
    yield rng.integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(32, 0).repeat(32, 1)
    steps = np.linspace(0, 1, _SIDE)[:, None, None]
    for top, bottom in (((70, 120, 200), (220, 230, 245)), ((15, 15, 20), (240, 240, 240))):
        gradient = np.array(top) * (1 - steps) + np.array(bottom) * steps
        yield np.broadcast_to(gradient, (_SIDE, _SIDE, 3)).astype(np.uint8)
    stripes = np.where(np.arange(_SIDE) // 16 % 2, 235, 30).astype(np.uint8)
    yield np.broadcast_to(stripes[:, None, None], (_SIDE, _SIDE, 3)).copy()


def _paper() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    canvas = Image.new("RGB", (_SIDE, _SIDE), "white")
    return canvas, ImageDraw.Draw(canvas)
