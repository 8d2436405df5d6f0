"""The photographs read once: predicted, and what later checks need of them kept."""

from __future__ import annotations

from collections.abc import Collection as Positions
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermsentry.collection import Collection
from dermsentry.diagnoses import CODES, MELANOMA, is_melanoma
from dermsentry.errors import BundleError, InputError
from dermsentry.evaluation.contamination import perceptual_hashes
from dermsentry.evaluation.saliency.masks import Masks
from dermsentry.evaluation.saliency.surround import lesion_painted_out, only_the_lesion
from dermsentry.evaluation.subgroups.skin_tone import skin_tone
from dermsentry.images import Pixels, Unreadable, read_many
from dermsentry.model import Bundle
from dermsentry.model.learned_from import Hashes
from dermsentry.progress import track

Floats = NDArray[np.float64]

BATCH = 64
_MEL = CODES.index(MELANOMA)


@dataclass(frozen=True, eq=False)
class Predicted:
    """The n photographs that could be read, in their order, and those that could not.

    `table` has their rows, `positions` (n,) where these were, `probability` (n, 9) is by `CODES`, `skin_tone`
    in degrees, `unlike` the out-of-distribution score where the model has one, `looks` (n,) their perceptual
    hashes where they were asked for. `sample` are the rows whose `pixels` (k, size, size, 3) were kept;
    `explained` those whose melanoma `activation` (m, h, w) was, and `control` the same from another network,
    None without one; `painted_out` and `alone` (m,) are melanoma's probability of these with their lesion
    painted out, and with nothing else.
    """

    table: pd.DataFrame
    positions: NDArray[np.int64]
    probability: Floats
    skin_tone: tuple[float | None, ...]
    unlike: tuple[float | None, ...]
    sample: NDArray[np.int64]
    pixels: Pixels
    explained: NDArray[np.int64]
    activation: Floats
    control: Floats | None
    painted_out: Floats
    alone: Floats
    unreadable: list[dict[str, str]]
    looks: Hashes

    def among(self, here: NDArray[np.bool_]) -> Predicted:
        """The same of the photographs `here`, (n,)."""
        moved = np.cumsum(here) - 1
        sampled, explained = here[self.sample], here[self.explained]
        return replace(
            self,
            table=self.table[here].reset_index(drop=True),
            positions=self.positions[here],
            probability=self.probability[here],
            skin_tone=tuple(tone for tone, kept in zip(self.skin_tone, here, strict=True) if kept),
            sample=moved[self.sample[sampled]],
            pixels=self.pixels[sampled],
            explained=moved[self.explained[explained]],
            activation=self.activation[explained],
            control=None if self.control is None else self.control[explained],
            painted_out=self.painted_out[explained],
            alone=self.alone[explained],
            looks=self.looks[here[: len(self.looks)]],
            unlike=tuple(score for score, kept in zip(self.unlike, here, strict=True) if kept),
        )


def read_and_predict(
    bundle: Bundle,
    collection: Collection,
    table: pd.DataFrame,
    *,
    sample: Positions[int] = (),
    explained: Mapping[int, Masks] | None = None,
    control: Bundle | None = None,
    look: bool = False,
    quiet: bool = True,
) -> Predicted:
    """Read and predict every photograph of `table`, whose rows `sample` and `explained` name by position.

    `explained` holds masks of the lesions, (size, size). `look`: also give the perceptual hash of each.
    Memory stays flat but for what is kept of these. A control that gives no numbers is left out. Raises
    InputError if none can be read.
    """
    card, marked = bundle.card, explained or {}
    files = [collection.root / path for path in table["path"]]
    pictures = read_many(files, card.size, card.aspect, root=collection.root)
    unreadable: list[dict[str, str]] = []
    kept: list[int] = []
    tones: list[float | None] = []
    looks: list[Hashes] = []
    pixels: list[Pixels] = []
    waiting: list[Pixels] = []
    found: list[Floats] = []
    unlike: list[float | None] = []
    activation: list[Floats] = []
    other: list[Floats] = []
    hidden: dict[Any, list[Floats]] = {lesion_painted_out: [], only_the_lesion: []}
    mel = card.classes.index(MELANOMA)

    def run() -> None:
        nonlocal control
        if not waiting:
            return
        batch = np.stack(waiting)
        outputs = bundle.predict(batch)
        found.append(outputs.probability.astype(np.float64))
        scores = outputs.out_of_distribution.astype(np.float64).clip(0, 1).tolist()
        unlike.extend([None] * len(scores) if card.out_of_distribution is None else scores)
        positions = kept[-len(waiting) :]
        here = [i for i, position in enumerate(positions) if position in marked]
        if here:
            activation.append(outputs.class_activation[here, :, :, _MEL].astype(np.float64))
            try:
                if control is not None:
                    other.append(control.predict(batch[here]).class_activation[..., _MEL].astype(np.float64))
            except BundleError:
                control = None
            for change, scores in hidden.items():
                changed = np.stack([change(batch[i], marked[positions[i]]) for i in here])
                scores.append(bundle.predict(changed).probability[:, mel].astype(np.float64))
        waiting.clear()

    for position, picture in enumerate(track(pictures, "Predicting", total=len(files), quiet=quiet)):
        if isinstance(picture, Unreadable):
            unreadable.append({"path": str(table["path"].iloc[position]), "reason": picture.reason})
            continue
        kept.append(position)
        tones.append(skin_tone(picture))
        if look:
            looks.append(perceptual_hashes([picture]))
        waiting.append(picture)
        if position in sample:
            pixels.append(picture)
        if len(waiting) == BATCH:
            run()
    run()
    if not kept:
        raise InputError(f"None of the {len(files)} photographs could be read: {unreadable[0]['reason']}.")
    order = [card.classes.index(code) for code in CODES]
    return Predicted(
        table=table.iloc[kept].reset_index(drop=True),
        positions=np.array(kept, dtype=np.int64),
        probability=np.concatenate(found)[:, order],
        skin_tone=tuple(tones),
        unlike=tuple(unlike),
        sample=_rows(kept, sample),
        pixels=np.stack(pixels) if pixels else np.zeros((0, card.size, card.size, 3), np.uint8),
        explained=_rows(kept, marked),
        activation=np.concatenate(activation) if activation else np.zeros((0, 1, 1)),
        control=np.concatenate(other) if control is not None and other else None,
        painted_out=np.concatenate([np.zeros(0), *hidden[lesion_painted_out]]),
        alone=np.concatenate([np.zeros(0), *hidden[only_the_lesion]]),
        unreadable=unreadable,
        looks=np.concatenate(looks) if looks else np.zeros(0, np.uint64),
    )


def choose_sample(labels: Sequence[str], most: int, seed: int) -> set[int]:
    """At most so many positions of known diagnosis, at random: melanomas first, up to half, then others."""
    draw = np.random.default_rng(seed)
    known = [i for i in draw.permutation(len(labels)).tolist() if labels[i]]
    melanomas = [i for i in known if is_melanoma(labels[i])][: most // 2]
    others = [i for i in known if not is_melanoma(labels[i])][: most - len(melanomas)]
    return {*melanomas, *others}


def _rows(kept: Sequence[int], wanted: Positions[int]) -> NDArray[np.int64]:
    return np.array([row for row, position in enumerate(kept) if position in wanted], dtype=np.int64)
