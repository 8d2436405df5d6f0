"""Lesion masks: found by image id, and brought to a network's square as their photographs are."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermsentry.errors import InputError
from dermsentry.images import ASPECTS, Aspect, read_photograph

Masks = NDArray[np.bool_]


def find_masks(folder: str | Path, image_ids: Iterable[str]) -> dict[str, Path]:
    """The mask of each photograph that has one in `folder`: `<id>.png` or `<id>_segmentation.png`.

    Raises InputError if the folder is none, or holds no mask of any.
    """
    root, wanted = Path(folder), list(dict.fromkeys(image_ids))
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; expected one with masks, `<image id>_segmentation.png`.")
    found = {}
    for image_id in wanted:
        for name in (f"{image_id}_segmentation.png", f"{image_id}.png"):
            if (root / name).is_file():
                found[image_id] = root / name
                break
    if not found:
        such = f", such as {wanted[0]}_segmentation.png" if wanted else ""
        raise InputError(f"{root} holds no mask of these {len(wanted)} photographs; expected files{such}.")
    return found


def read_mask(path: Path, size: int, aspect: Aspect) -> Masks:
    """Read a mask, (size, size), as `fit_mask` brings it there: true above half of its largest value.

    Raises Unreadable.
    """
    values = read_photograph(path).pixels[:, :, 0]
    return fit_mask(values > values.max() / 2, size, aspect)


def fit_mask(mask: Masks, size: int, aspect: Aspect) -> Masks:
    """Bring a mask (H, W) to (size, size) as `images.fit` brings its photograph, by nearest neighbours.

    The mask must have its photograph's proportions, or `aspect` be `squash`.
    """
    if aspect not in ASPECTS:
        raise ValueError(f"Received aspect={aspect!r}; expected one of {', '.join(ASPECTS)}")
    height, width = mask.shape
    image = Image.fromarray(mask.astype(np.uint8))
    if aspect == "pad":
        scale = size / max(height, width)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        canvas = Image.new("L", (size, size))
        corner = ((size - inner[0]) // 2, (size - inner[1]) // 2)
        canvas.paste(image.resize(inner, Image.Resampling.NEAREST), corner)
        return np.asarray(canvas) > 0
    box = None
    if aspect == "crop":
        side = min(height, width)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.NEAREST, box=box)) > 0
