"""A mask of the lesion for every image: HAM10000's own, and for the others those of a small network.

The network is a U-Net (Ronneberger et al., MICCAI 2015) on EfficientNet-Lite0, trained on HAM10000's masks of
the split's training part. It serves training alone and is no part of the bundle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from dermsentry.evaluation.saliency.masks import read_mask
from dermsentry.files import fingerprint, whole_file
from dermsentry.images import Aspect
from dermsentry.progress import track
from dermsentry.training.augmentation import StrongAugmentation, change_light, draw_transforms, warp
from dermsentry.training.networks import efficientnet_lite
from dermsentry.training.pretrained import load_imagenet

SIDE = 96
"""The network's input; its masks are half as large."""
STEPS = 800
BATCH = 32
LEARNING_RATE = 1e-3
AUGMENTATION = StrongAugmentation(
    zoom=(0.7, 1.8),
    light=0.25,
    gain=0.2,
    saturation=0.3,
    gamma=0.3,
    colours_share=0.5,
    coarse_share=0.4,
)
SKIPS = {"block2b_add": 64, "block1b_add": 48, "stem_relu": 32}
"""The layers that the decoder joins, with its filters there."""
DEEPEST = "block4c_add"

Pixels = NDArray[np.uint8]


def lesion_masks(
    pixels: Pixels,
    published: Mapping[int, tuple[Path, Aspect]],
    learned: NDArray[np.int64],
    cache: Path,
    *,
    steps: int = STEPS,
    quiet: bool = True,
) -> Pixels:
    """A mask of every image, (M, S, S) uint8, mapped from disk: 255 in the lesion.

    Parameters
    ----------
    pixels
        (M, S, S, 3) uint8.
    published
        By row, the mask's file and how its image was brought to a square.
    learned
        The rows among `published` that the network learns from.
    cache
        The folder that keeps them.
    steps
        Batches that the network learns from.
    quiet
        Show no progress on stderr.
    """
    names = [f"{row}:{path.name}:{aspect}" for row, (path, aspect) in sorted(published.items())]
    kept = cache / f"masks-{fingerprint([str(pixels.shape), str(steps), *names])[:16]}.npy"
    if not kept.is_file():
        made = np.zeros(pixels.shape[:3], dtype=np.uint8)
        for row, (path, aspect) in track(published.items(), "Masks", total=len(published), quiet=quiet):
            made[row] = 255 * read_mask(path, pixels.shape[1], aspect)
        network = fit_segmentation(pixels, made, learned, steps)
        rest = np.setdiff1d(np.arange(len(pixels)), list(published))
        for row, mask in track(find_lesions(network, pixels, rest), "Lesions", total=len(rest), quiet=quiet):
            made[row] = mask
        with whole_file(kept) as temporary, temporary.open("wb") as handle:
            np.save(handle, made)
    return np.asarray(np.load(kept, mmap_mode="r"))


def fit_segmentation(
    pixels: Pixels, masks: Pixels, rows: NDArray[np.int64], steps: int, seed: int = 0
) -> keras.Model:
    """A network that gives each place's log-odds of lying in a lesion, trained on these rows.

    Loss: cross-entropy and Dice (Milletari et al., 3DV 2016).
    """
    keras.utils.set_random_seed(seed)
    network = _unet()
    optimizer = keras.optimizers.Adam(LEARNING_RATE)
    optimizer.build(network.trainable_variables)
    rng = np.random.default_rng(seed)

    @tf.function  # type: ignore[untyped-decorator]
    def step(images: Any, wanted: Any) -> None:
        with tf.GradientTape() as tape:
            logits = network(images, training=False)
            found = tf.sigmoid(logits)
            both = tf.reduce_sum(found * wanted, axis=(1, 2, 3))
            dice = (2 * both + 1) / (tf.reduce_sum(found + wanted, axis=(1, 2, 3)) + 1)
            entropy = tf.nn.sigmoid_cross_entropy_with_logits(wanted, logits)
            loss = tf.reduce_mean(entropy) + 1 - tf.reduce_mean(dice)
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, network.trainable_variables), 5.0)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))

    for done in range(steps):
        chosen = rng.choice(rows, BATCH)
        transforms = draw_transforms(BATCH, pixels.shape[1], SIDE, rng, AUGMENTATION)
        images = change_light(warp(pixels[chosen], transforms, SIDE), rng, AUGMENTATION)
        wanted = warp(masks[chosen][..., None].astype(np.float32) / 255, transforms, SIDE)
        rate = LEARNING_RATE * min(1.0, (done + 1) / 50) * (0.5 + 0.5 * np.cos(np.pi * done / steps))
        optimizer.learning_rate.assign(rate)
        step(images, tf.nn.avg_pool2d(wanted, 2, 2, "SAME"))
    return network


def find_lesions(
    network: keras.Model, pixels: Pixels, rows: NDArray[np.int64], batch_size: int = 64
) -> Iterator[tuple[int, Pixels]]:
    """Each of these rows with the mask that `network` gives for it, (S, S) uint8."""
    for start in range(0, len(rows), batch_size):
        chosen = rows[start : start + batch_size]
        small = tf.image.resize(tf.cast(pixels[chosen], tf.float32), (SIDE, SIDE), antialias=True)
        logits = network.predict_on_batch(tf.cast(tf.round(small), tf.uint8))
        masks = 255 * tf.sigmoid(tf.image.resize(logits, pixels.shape[1:3])).numpy()[..., 0]
        yield from zip(chosen.tolist(), np.rint(masks).astype(np.uint8), strict=True)


def _unet() -> keras.Model:
    encoder = efficientnet_lite("lite0", SIDE)
    load_imagenet(encoder)
    x = encoder.get_layer(DEEPEST).output
    for name, filters in SKIPS.items():
        x = layers.UpSampling2D(interpolation="bilinear")(x)
        x = layers.Concatenate()([x, encoder.get_layer(name).output])
        for _ in range(2):
            x = layers.SeparableConv2D(filters, 3, padding="same", activation="relu")(x)
    return keras.Model(encoder.input, layers.Conv2D(1, 1)(x), name="lesions")
