"""Fit what recognises false colours: `python -m recipes.false_colours FOLDER`, ten minutes on two cores.

FOLDER has the sets of the model card, and BCN20000 as `isic2019-84`. Writes the weights into the package
(`screening/false_colours.json`) and prints the table of docs/why.md: how many photographs of each source are
recognised when untouched and in each kind of false colours, by a fit that had not seen the photograph, and by
one that had not seen the source.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermsentry.diagnoses import CODES
from dermsentry.files import write_json
from dermsentry.images import Pixels, Unreadable, read_many
from dermsentry.phantoms.drawing import draw_phantom
from dermsentry.screening.false_colours import WEIGHTS, colour_features, quadratic
from dermsentry.screening.field_of_view import field_of_view
from dermsentry.screening.quality import FALSE_COLOURS_FROM, ODD_COLOURS_FROM
from dermsentry.stats.logistic import logistic_regression

Floats = NDArray[np.float64]
Rng = np.random.Generator
Change = Callable[[Pixels], Pixels]
Record = Mapping[str, Any]

SOURCES = {
    "HAM10000": ("ham10000/images", 1200),
    "ISIC 2017": ("isic2017/train", 1500),
    "ISIC Archive": ("isic-archive/images", 1000),
    "BCN20000": ("isic2019-84/images", 2400),
}
"""Folder of each source, and how many of its photographs, at most. Never ISIC 2017's Test."""
TOGETHER = ({"HAM10000"}, {"ISIC 2017", "ISIC Archive"}, {"BCN20000"})
"""Sources that are left out together: the two of the ISIC share photographs."""
PHANTOMS = 270
"""Drawn lesions on skin of all six types, to fit alone: the sources have few of the dark ones."""
SHOWN = 4
"""Kinds of false colours of each photograph that a fit sees, and other lights."""
LIGHTS = 2
WEIGHT = 2.0
"""Of the true colours together, against the false ones together."""
PENALTY = 0.3
SIZE = 224


def _swapped(*order: int) -> Change:
    return lambda pixels: np.ascontiguousarray(pixels[..., order])


def _without(channel: int) -> Change:
    def change(pixels: Pixels) -> Pixels:
        left = pixels.copy()
        left[..., channel] = 0
        return left

    return change


def _taken_for(given: str, taken: str) -> Change:
    """Values of one colour space that are taken for those of another."""
    return lambda pixels: np.asarray(
        Image.frombytes(taken, pixels.shape[1::-1], Image.fromarray(pixels).convert(given).tobytes()).convert(
            "RGB"
        )
    )


def _grey(pixels: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(pixels).convert("L").convert("RGB"))


KINDS: Mapping[str, Change] = {
    "red and blue swapped": _swapped(2, 1, 0),
    "red and green swapped": _swapped(1, 0, 2),
    "channels turned round": _swapped(1, 2, 0),
    "channels turned back": _swapped(2, 0, 1),
    "YCbCr taken for RGB": _taken_for("YCbCr", "RGB"),
    "RGB taken for YCbCr": _taken_for("RGB", "YCbCr"),
    "negative": lambda pixels: 255 - pixels,
    "no red": _without(0),
    "no green": _without(1),
    "no blue": _without(2),
    "no colour": _grey,
}


def in_other_light(pixels: Pixels, rng: Rng, amount: float = 0.2) -> Pixels:
    """A white balance off by up to `amount` in each channel, and another exposure and gamma."""
    gains = np.exp(rng.uniform(-amount, amount, 3)) * np.exp(rng.uniform(-0.3, 0.15))
    lit = 255 * (pixels / 255.0) ** np.exp(rng.uniform(-0.4, 0.4)) * gains
    return np.asarray(np.clip(lit, 0, 255), dtype=np.uint8)


def fit_false_colours(data: Path) -> None:
    """Fit, print the table, and write the weights."""
    true, false, other, source_of = _measured(data)
    whole = _fit(true, false, other, np.arange(len(true)))
    write_json(WEIGHTS, whole)
    fold = np.random.default_rng(0).permutation(len(true)) % 2
    unseen = [(fold == k, _fit(true, false, other, np.flatnonzero(fold != k))) for k in (0, 1)]
    away = [np.isin(source_of, list(group)) for group in TOGETHER]
    left_out = [(here, _fit(true, false, other, np.flatnonzero(~here))) for here in away]
    for words, fits in (("photograph unseen", unseen), ("source unseen", left_out)):
        print(f"\n{words}: % at or above {ODD_COLOURS_FROM:g}, and {FALSE_COLOURS_FROM:g}")
        rows = {"untouched": true, "other light": other[:, 0]} | {k: false[:, i] for i, k in enumerate(KINDS)}
        for name, features in rows.items():
            print(f"{name:24}", "  ".join(_shares(features, fits, source_of)))


def _shares(
    features: Floats, fits: Sequence[tuple[NDArray[np.bool_], Record]], source_of: NDArray[np.str_]
) -> Iterator[str]:
    for source in SOURCES:
        odds = np.concatenate(
            [_odds(features[here & (source_of == source)], weights) for here, weights in fits]
        )
        limits = (ODD_COLOURS_FROM, FALSE_COLOURS_FROM)
        yield " ".join(f"{100 * (odds >= limit).mean():5.1f}" for limit in limits)


def _measured(data: Path) -> tuple[Floats, Floats, Floats, NDArray[np.str_]]:
    """Features (N, f) of photographs, (N, kinds, f) in false colours, (N, lights, f); the source of each."""
    true, false, other, sources = [], [], [], []
    for source, pixels in _photographs(data):
        rng = np.random.default_rng(zlib.crc32(pixels.tobytes()))
        true.append(colour_features(field_of_view(pixels)))
        false.append([colour_features(field_of_view(change(pixels))) for change in KINDS.values()])
        other.append([colour_features(field_of_view(in_other_light(pixels, rng))) for _ in range(LIGHTS)])
        sources.append(source)
    return np.array(true), np.array(false), np.array(other), np.array(sources)


def _photographs(data: Path) -> Iterator[tuple[str, Pixels]]:
    rng = np.random.default_rng(0)
    for source, (folder, most) in SOURCES.items():
        files = sorted((data / folder).glob("*.jpg"))
        chosen = [files[i] for i in np.sort(rng.permutation(len(files))[:most])]
        for picture in read_many(chosen, SIZE, "squash"):
            if not isinstance(picture, Unreadable):
                yield source, picture
    for i in range(PHANTOMS):
        pixels = draw_phantom(CODES[i % len(CODES)], i, (SIZE, SIZE), skin_type=1 + i % 6)
        yield "phantoms", pixels


def _fit(true: Floats, false: Floats, other: Floats, rows: NDArray[np.int64]) -> Record:
    """Weights as `screening/false_colours.py` reads them, of these photographs."""
    rng = np.random.default_rng(1)
    shown = np.concatenate([false[row, rng.permutation(len(KINDS))[:SHOWN]] for row in rows])
    own = np.concatenate([true[rows], other[rows].reshape(-1, true.shape[1])])
    mean, scale = own.mean(axis=0), own.std(axis=0)
    x = quadratic((np.concatenate([own, shown]) - mean) / scale)
    middle, spread = x.mean(axis=0), x.std(axis=0)
    is_false = np.arange(len(x)) >= len(own)
    model = logistic_regression(
        (x - middle) / spread,
        is_false,
        PENALTY,
        sample_weight=np.where(is_false, 1.0, WEIGHT),
        class_weight="balanced",
        max_iter=400,
    )
    kernel = model.coef_[0] / spread
    bias = float(model.intercept_[0] - kernel @ middle)
    short = {
        name: [float(f"{v:.6g}") for v in values]
        for name, values in (("mean", mean), ("scale", scale), ("kernel", kernel))
    }
    return {**short, "bias": bias}


def _odds(features: Floats, weights: Record) -> Floats:
    scaled = (features - np.array(weights["mean"])) / np.array(weights["scale"])
    return np.asarray(quadratic(scaled) @ np.array(weights["kernel"]) + weights["bias"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m recipes.false_colours", description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the sets")
    fit_false_colours(parser.parse_args().data)
