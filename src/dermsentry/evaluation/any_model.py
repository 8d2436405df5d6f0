"""Predictions of anyone's model (ONNX, Keras, or any function of a batch of images) as a table to evaluate.

The bundle's promises do not hold here: what the model expects of an image has to be said.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from dermsentry.collection import Collection
from dermsentry.diagnoses import MELANOMA, codes_of, find_label
from dermsentry.errors import DataWarning, InputError, require_type
from dermsentry.files import csv_line, write_text
from dermsentry.image_files import NotRead
from dermsentry.images import Aspect, Pixels, Unreadable, read_many
from dermsentry.progress import track

Floats = NDArray[np.float64]
Network = Callable[[Pixels], Any]
"""Takes (N, size, size, 3) uint8 RGB, gives (N, k) numbers."""
Scaling = Literal["0-255", "0-1", "-1-1", "imagenet"]
Item = TypeVar("Item")

BATCH = 32
_MEAN, _DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
"""Of ImageNet's colours from 0 to 1, as torchvision has them."""
_CODE = "may run any code when it is opened;"
_REFUSED = {
    **dict.fromkeys(
        (".pt", ".pth", ".pt2", ".ckpt", ".bin", ".pkl"),
        f"{_CODE} torch.onnx.export writes the model as ONNX, which holds none",
    ),
    **dict.fromkeys((".h5", ".hdf5"), f"{_CODE} model.save('model.keras') writes what does not"),
}


@dataclass(frozen=True)
class TableOfPredictions:
    """What was predicted: how many images, those that could not be read, and what the numbers were taken for.

    Attributes
    ----------
    images
        How many images have a row.
    unreadable
        The others, with the reason.
    read_as
        `probabilities`, or `logits` that were brought to probabilities.
    """

    images: int
    unreadable: tuple[NotRead, ...]
    read_as: Literal["probabilities", "logits"]


def predict_table(
    model: str | Path | Network,
    collection: Collection,
    out: str | Path,
    *,
    classes: Sequence[str],
    size: int | None = None,
    scaling: Scaling = "0-1",
    aspect: Aspect = "squash",
    quiet: bool = True,
) -> TableOfPredictions:
    """Predict with anyone's model, and write the table that `evaluate_table` takes.

    Parameters
    ----------
    model
        An ONNX file with one input of images, (N, 3, size, size) or (N, size, size, 3); a file that Keras
        saved as `.keras`, with one of (N, size, size, 3), which needs the extra `train`; or any function that
        takes (N, size, size, 3) uint8 RGB, scales as it needs, and gives (N, k) numbers.
    collection
        From `read_collection`.
    out
        The table to write, a row for each image that could be read.
    classes
        The diagnosis of each of the k outputs, in their order, in any spelling; melanoma alone for one.
    size
        The side of the input in pixels; a file of a fixed size says it.
    scaling
        What a file expects of colours: `0-255`, `0-1`, `-1-1`, or `imagenet` (from 0 to 1, less
        ImageNet's mean, divided by its deviation).
    aspect
        How an image is made square: `squash`, `crop` or `pad`.
    quiet
        Show no progress on stderr.

    Returns
    -------
    TableOfPredictions
        What was predicted. Numbers that are not a distribution are taken for logits: a softmax, or a sigmoid
        of one output, makes them probabilities.

    Warns
    -----
    DataWarning
        The numbers were taken for logits.

    Raises
    ------
    InputError
        The file cannot be opened safely, its input or output is not as said, or no image can be
        read.
    OutputError
        `out` cannot be written.

    Examples
    --------
    >>> import dermsentry
    >>> collection = dermsentry.read_collection("photographs")
    >>> def darkness(pixels):  # any function of (n, 64, 64, 3), or a file of ONNX's or Keras's
    ...     return 1 - pixels.mean(axis=(1, 2, 3))[:, None] / 255
    >>> done = dermsentry.predict_table(darkness, collection, "table.csv", classes=["melanoma"], size=64)
    >>> done.read_as
    'probabilities'
    """
    require_type("collection", collection, Collection, "read_collection")
    labels = _labels(classes)
    if scaling not in get_args(Scaling):
        raise InputError(f"Received scaling={scaling!r}; expected one of {', '.join(get_args(Scaling))}.")
    network: Network
    if callable(model):
        network, side = model, size
    elif Path(model).suffix.lower() == ".keras":
        from dermsentry.evaluation.keras_files import open_keras

        network, side = open_keras(Path(model), scaling, size)
    else:
        network, side = _open_onnx(Path(model), scaling, size)
    if side is None or side < 1:
        raise InputError(f"Received no size of the input of {model}; say it in pixels, such as 224.")
    pictures = read_many(collection.paths, side, aspect, root=collection.root)
    paths, unreadable, found = list(collection.table["path"]), list[NotRead](), list[Floats]()
    named: list[str] = []

    def readable() -> Iterator[Pixels]:
        shown = track(pictures, "Predicting", total=len(paths), quiet=quiet)
        for path, picture in zip(paths, shown, strict=True):
            if isinstance(picture, Unreadable):
                unreadable.append(NotRead(path, picture.reason))
            else:
                named.append(path)
                yield picture

    for batch in _batches(readable()):
        numbers = np.asarray(network(np.stack(batch)), dtype=np.float64)
        if numbers.ndim == 1:
            numbers = numbers[:, None]
        if numbers.shape != (len(batch), len(labels)):
            raise InputError(
                f"The model gives numbers of shape {numbers.shape} for {len(batch)} images; expected "
                f"({len(batch)}, {len(labels)}), one for each of the classes {', '.join(labels)}."
            )
        if not np.isfinite(numbers).all():
            raise InputError(f"The model gives no number for one of {named[-len(batch)]} and those after it.")
        found.append(numbers)
    if not found:
        raise InputError(f"None of the {len(paths):,} images can be read; nothing is predicted.")
    values, read_as = _probabilities(np.concatenate(found))
    lines = [["image", *labels], *([path, *row] for path, row in zip(named, values.tolist(), strict=True))]
    write_text(Path(out), "".join(map(csv_line, lines)))
    return TableOfPredictions(len(named), tuple(unreadable), read_as)


def require_safe(path: Path) -> None:
    """Raise InputError where a model's file is missing, or of a kind that may run code when it is opened."""
    if path.suffix.lower() in _REFUSED:
        raise InputError(f"{path} {_REFUSED[path.suffix.lower()]}.")
    if not path.is_file():
        raise InputError(f"{path} is not a file; expected a model as ONNX or .keras.")


def _labels(classes: Sequence[str]) -> list[str]:
    found = {name: find_label(name) for name in classes}
    wrong = [name for name, label in found.items() if not label]
    codes = [code for label in found.values() for code in codes_of(label or "")]
    if wrong or len(found) != len(classes) or len(set(codes)) < len(codes) or MELANOMA not in found.values():
        raise InputError(
            f"Received the classes {', '.join(classes)}; expected a diagnosis for each output, each once, "
            f"melanoma among them{': not understood ' + ', '.join(wrong) if wrong else ''}."
        )
    return [label or "" for label in found.values()]


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def _probabilities(numbers: Floats) -> tuple[Floats, Literal["probabilities", "logits"]]:
    """The same as probabilities, and what they were."""
    single = numbers.shape[1] == 1
    inside = bool(((numbers >= 0) & (numbers <= 1 + 1e-6)).all())
    if inside and (single or bool((np.abs(numbers.sum(axis=1) - 1) < 1e-2).all())):
        return numbers.clip(0, 1), "probabilities"
    if single:
        made, told = 1 / (1 + np.exp(-numbers.clip(-700, 700))), "a sigmoid"
    else:
        shares = np.exp(numbers - numbers.max(axis=1, keepdims=True))
        made, told = shares / shares.sum(axis=1, keepdims=True), "a softmax"
    what = f"The model's numbers (from {numbers.min():.3g} to {numbers.max():.3g}) are not a distribution"
    warnings.warn(f"{what}; taken for logits, {told} made them probabilities.", DataWarning, stacklevel=3)
    return made, "logits"


def _open_onnx(path: Path, scaling: Scaling, size: int | None) -> tuple[Network, int | None]:
    """The network of an ONNX file, and the side of its input where that is fixed or was said."""
    import onnxruntime

    require_safe(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise InputError(
            f"{path} is not an ONNX file that can be opened: {str(error).splitlines()[0][:200]}."
        ) from error
    inputs = session.get_inputs()
    shape = list(inputs[0].shape)
    if len(inputs) != 1 or len(shape) != 4 or 3 not in (shape[1], shape[3]):
        told = "; ".join(f"{one.name} {one.shape}" for one in inputs)
        raise InputError(
            f"{path} takes {told}; expected one input of images, (N, 3, size, size) or (N, size, size, 3)."
        )
    first = shape[1] == 3
    fixed = {side for side in (shape[2:] if first else shape[1:3]) if isinstance(side, int)}
    if len(fixed) > 1 or (fixed and size is not None and fixed != {size}):
        raise InputError(f"{path} takes images of {shape}; expected squares{f' of {size}' if size else ''}.")
    kind = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}.get(
        inputs[0].type
    )
    if kind is None:
        raise InputError(f"{path} takes {inputs[0].type}; expected float, float16 or uint8.")
    output = session.get_outputs()[0].name
    step = shape[0] if isinstance(shape[0], int) else BATCH

    def network(pixels: Pixels) -> Any:
        scaled = pixels if kind is np.uint8 else scaled_colours(pixels, scaling).astype(kind)
        given = scaled.transpose(0, 3, 1, 2) if first else scaled
        parts = []
        for start in range(0, len(given), step):
            part = given[start : start + step]
            padded = np.concatenate([part, np.repeat(part[-1:], step - len(part), axis=0)])
            whole = padded if isinstance(shape[0], int) else part
            found = session.run([output], {inputs[0].name: np.ascontiguousarray(whole)})[0]
            parts.append(np.asarray(found)[: len(part)].reshape(len(part), -1))
        return np.concatenate(parts)

    return network, next(iter(fixed), size)


def scaled_colours(pixels: Pixels, scaling: Scaling) -> NDArray[np.float32]:
    """Colours of (N, size, size, 3) uint8 as a network expects them, float32."""
    values = pixels.astype(np.float64)
    if scaling != "0-255":
        values = values / 255
    if scaling == "-1-1":
        values = 2 * values - 1
    elif scaling == "imagenet":
        values = (values - _MEAN) / _DEVIATION
    return values.astype(np.float32)
