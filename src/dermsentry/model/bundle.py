"""The model bundle: a folder with `model.onnx` and `card.json`, written whole, verified whenever opened.

It may also have `learned_from.npz`, hashes of what it learned from, whose SHA-256 the card then has.

The network takes `image` (N, size, size, 3) uint8, scaling inside, and gives `probability` (N, 9) calibrated,
`embedding` (N, d), `class_activation` (N, h, w, 9), each class's share of its logit per place,
`no_lesion` (N,) and `out_of_distribution` (N,). A site bundle has the network of the bundle it came from,
byte for byte, and two numbers in its card by which melanoma's probability is recalibrated
(`card.Adopted`).

The hash and the digest detect accidental changes. They are no signature: whoever can write the folder can
replace both.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np

from dermsentry.diagnoses import CODES, MELANOMA
from dermsentry.errors import BundleError, InputError, OutputError
from dermsentry.images import Pixels
from dermsentry.model.card import Card as Card
from dermsentry.model.card import Floats, card_digest, card_text, describe, parse_card
from dermsentry.model.card import NoLesion as NoLesion
from dermsentry.model.card import OutOfDistribution as OutOfDistribution
from dermsentry.model.card import SelfTest as SelfTest
from dermsentry.model.card import Threshold as Threshold
from dermsentry.model.learned_from import LearnedFrom, read_learned_from
from dermsentry.outputs import RECORD
from dermsentry.parallel import cores, map_ordered
from dermsentry.stats.calibration import platt_scaled_class

MODEL_FILE, CARD_FILE, LEARNED_FILE = "model.onnx", "card.json", "learned_from.npz"
OUTPUTS = ("probability", "embedding", "class_activation", "no_lesion", "out_of_distribution")
OUTPUTS_OF_SCHEMA_1 = ("probability", "embedding", "heat", "familiarity")
OUTPUTS_OF_SCHEMA_2 = ("probability", "embedding", "class_activation", "out_of_distribution")
PAGES = ("adoption.html", "adoption.json")
"""What a site bundle may have beside them."""
_MELANOMA = CODES.index(MELANOMA)
MAX_CARD_BYTES = 32 * 1024 * 1024
BUNDLED = "dermoscopy"
"""The name of the bundled model."""
Device = Literal["cpu", "cuda"]
"""Where a network computes."""
_PROVIDERS: dict[Device, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass(frozen=True, eq=False)
class Outputs:
    """What the network gives for N photographs, float32.

    `probability` (N, 9), calibrated, in the card's order of classes; `embedding` (N, d); `class_activation`
    (N, h, w, 9). Two scores (N,), from 0 to 1: above 0.5 of `no_lesion` it is no image of a lesion, above 0.5
    of `out_of_distribution` the lesion is unlike those that the network learned from. A score is 0 throughout
    where the card's field of its name is None.
    """

    probability: Floats
    embedding: Floats
    class_activation: Floats
    no_lesion: Floats
    out_of_distribution: Floats


@dataclass(frozen=True, eq=False, repr=False)
class Bundle:
    """A verified model bundle, ready to predict; safe to use from several threads.

    Pickled, it is the place of its folder: whoever unpickles it opens and verifies it again.

    Parameters
    ----------
    folder
        The folder that holds it.
    card
        What it says about itself: classes, input size, thresholds, figures, training data.
    threads
        How many images are predicted at the same time.
    session
        The network's ONNX Runtime session.
    output_names
        The network's names of `OUTPUTS`, which differ in schemas 1 and 2; these have one score.
    learned_from
        Hashes of the images, lesions and patients that it learned from; None where it was not recorded.
    device
        Where it computes, `cpu` or `cuda`.

    Examples
    --------
    >>> import numpy, dermsentry
    >>> bundle = dermsentry.open_bundle()
    >>> side = bundle.card.size
    >>> bundle.predict(numpy.zeros((2, side, side, 3), numpy.uint8)).probability.shape
    (2, 9)
    """

    folder: Path
    card: Card
    threads: int
    session: Any
    output_names: tuple[str, ...] = OUTPUTS
    learned_from: LearnedFrom | None = None
    device: Device = "cpu"

    def __reduce__(self) -> tuple[Any, ...]:
        """A session cannot be pickled; each process opens its own, of the same digest."""
        folder = BUNDLED if self.folder == bundled() else str(self.folder.absolute())
        return _open_again, (folder, self.threads, self.device, self.card.digest)

    def __repr__(self) -> str:
        return f"Bundle({self.name!r}, {str(self.folder)!r})"

    def _repr_html_(self) -> str:
        """What the card says, for notebooks."""
        return f"<pre>{escape(describe(self.card))}</pre>"

    @property
    def name(self) -> str:
        """Name, the start of the digest (two may share a name), and whether synthetic images trained it."""
        return name_of(self.card)

    def predict(self, pixels: Pixels) -> Outputs:
        """Predict for any number of images, on `threads` threads.

        Parameters
        ----------
        pixels
            (N, size, size, 3), uint8, RGB, as `images.fit` gives with the card's size and aspect.

        Returns
        -------
        Outputs
            `probability` (N, 9), `embedding` (N, d), `class_activation` (N, h, w, 9), `no_lesion` (N,) and
            `out_of_distribution` (N,), all float32.

        Raises
        ------
        ValueError
            Another shape or another type of number.
        BundleError
            The network gave something that is no probability.
        """
        size, pixels = self.card.size, np.asarray(pixels)
        if pixels.ndim != 4 or pixels.shape[1:] != (size, size, 3) or pixels.dtype != np.uint8:
            expected = f"(N, {size}, {size}, 3) uint8"
            raise ValueError(f"Received pixels {pixels.shape} {pixels.dtype}; expected {expected}")
        if len(pixels) <= 1 or self.threads == 1:
            return self.predict_here(pixels)
        ones = (pixels[i : i + 1] for i in range(len(pixels)))
        each = list(map_ordered(self.predict_here, ones, threads=self.threads, ahead=2 * self.threads))
        return Outputs(*(np.concatenate([getattr(one, name) for one in each]) for name in OUTPUTS))

    def predict_here(self, pixels: Pixels) -> Outputs:
        """Predict on the calling thread alone; one image at a time is fastest.

        Parameters
        ----------
        pixels
            (N, size, size, 3), uint8, RGB; see `predict`.
        """
        try:
            found = self.session.run(list(self.output_names), {"image": pixels})
        except Exception as error:
            problem = f"the network failed on {len(pixels)} photographs: {_first_line(error)}"
            raise BundleError(f"{self.folder}: {problem}.") from error
        if self.output_names == OUTPUTS_OF_SCHEMA_1:
            found[-1] = 1 - found[-1]
        if len(found) < len(OUTPUTS):
            found.append(np.zeros_like(found[-1]))
        outputs = Outputs(*found)
        for values in (outputs.probability, outputs.no_lesion, outputs.out_of_distribution):
            if not ((values >= 0).all() and (values <= 1.0001).all()):  # so that NaN fails
                raise BundleError(
                    f"{self.folder}: the network gave a value that is not a probability; export it again."
                )
        adopted = self.card.adoption
        if adopted is not None:
            scaled = platt_scaled_class(outputs.probability, _MELANOMA, adopted.slope, adopted.intercept)
            outputs = replace(outputs, probability=scaled.astype(np.float32))
        return outputs


def name_of(card: Card) -> str:
    """What a bundle is called in findings; see `Bundle.name`."""
    return f"{card.name} {card.digest[:12]}" + (" (synthetic)" if card.synthetic else "")


def bundled() -> Path:
    """The folder of the bundled model."""
    return Path(__file__).parent / "bundled" / BUNDLED


def open_bundle(
    folder: str | Path = BUNDLED, *, threads: int | None = None, device: Device = "cpu"
) -> Bundle:
    """Open a bundle after verifying schema, fields, digest, hash, outputs and the self-test.

    Parameters
    ----------
    folder
        The bundle's folder; `dermoscopy`, where no folder is called so, is the bundled model.
    threads
        How many images are predicted at the same time; by default one per core.
    device
        Where it computes, `cpu` or `cuda`; the latter needs a GPU and `onnxruntime-gpu` in place of
        `onnxruntime`.

    Returns
    -------
    Bundle
        Verified and ready to predict.

    Raises
    ------
    BundleError
        What fails verification, in one line.
    InputError
        ONNX Runtime has no such device here.

    Examples
    --------
    >>> import dermsentry
    >>> dermsentry.open_bundle(threads=1).card.size
    224
    """
    path, card, onnx = _verified(folder)
    learned_from = read_hashes(path, card)
    session = _session(onnx, card, path / MODEL_FILE, device)
    names = _output_names(session)
    bundle = Bundle(path, card, threads or cores(), session, names, learned_from, device)
    _verify_self_test(bundle)
    return bundle


def _open_again(folder: str, threads: int, device: Device, digest: str) -> Bundle:
    """Open a bundle in another process. Raises BundleError where it is not the one that was pickled."""
    bundle = open_bundle(folder, threads=threads, device=device)
    if bundle.card.digest != digest:
        raise BundleError(f"{folder} is not the bundle that was sent here; it was replaced meanwhile.")
    return bundle


def read_network(folder: str | Path = BUNDLED) -> tuple[Card, bytes]:
    """The card and the ONNX bytes of a bundle, verified by digest and hash, not run. Raises BundleError."""
    return _verified(folder)[1:]


def write_bundle(
    folder: str | Path, onnx: bytes, card: Card, learned_from: LearnedFrom | None = None
) -> Bundle:
    """Write a bundle, whole or not at all, and give it back opened and verified.

    Runs the network for the self-test. The card's `training` gets the SHA-256 of `learned_from`. An older
    bundle in `folder` is replaced, anything else there is not.

    Raises
    ------
    BundleError
        The card's fields or the network's inputs or outputs are not what a bundle has.
    OutputError
        The folder cannot be written, or holds something that is no bundle.
    """
    training = {key: value for key, value in card.training.items() if key != "learned_from"}
    if learned_from is not None:
        training["learned_from"] = {"sha256": hashlib.sha256(learned_from.to_bytes()).hexdigest()}
    filled = _filled(Path(folder), onnx, replace(card, training=training))
    return write_again(folder, onnx, filled, learned_from)


def write_again(
    folder: str | Path, onnx: bytes, card: Card, learned_from: LearnedFrom | None = None
) -> Bundle:
    """Write a bundle that was written before, from its network and its whole card, and open it.

    Raises
    ------
    BundleError
        The network is another, or the card was changed.
    OutputError
        The folder cannot be written, or holds something that is no bundle.
    """
    path = Path(folder)
    with _new_folder(path) as made:
        (made / MODEL_FILE).write_bytes(onnx)
        (made / CARD_FILE).write_text(card_text(card, path / CARD_FILE), encoding="utf-8")
        if learned_from is not None:
            (made / LEARNED_FILE).write_bytes(learned_from.to_bytes())
        opened = open_bundle(made)
    return replace(opened, folder=path)


def require_place(path: Path) -> None:
    """Raise OutputError where there is something that is no bundle, which is never replaced."""
    try:
        older = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    except OSError as error:
        raise OutputError(f"Cannot read {path}: {error.strerror or error}; choose another folder.") from error
    if os.path.lexists(path) and (
        not path.is_dir() or older - {MODEL_FILE, CARD_FILE, LEARNED_FILE, RECORD, *PAGES}
    ):
        raise OutputError(f"{path} exists and is not a model bundle; choose another folder.")


def self_test_picture(seed: int, size: int) -> Pixels:
    """The picture of the self-test, (1, size, size, 3) uint8: a dark disc on skin, under noise.

    Drawn from the raw bits of PCG64, whose stream NumPy keeps from version to version.
    """
    bits = np.random.PCG64(seed).random_raw(-(-size * size * 3 // 8))
    noise = bits.astype("<u8").view(np.uint8)[: size * size * 3].reshape(1, size, size, 3)
    places = np.arange(size) - (size - 1) / 2
    inside = (places[:, None] ** 2 + places[None, :] ** 2) < (size / 4) ** 2
    skin, lesion = np.array([170, 120, 100], np.uint8), np.array([70, 30, 20], np.uint8)
    return np.where(inside[None, :, :, None], lesion, skin) + noise // 4


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; it takes `path`'s place only if the block ends well."""
    workplace = None
    require_place(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        workplace = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        made = workplace / path.name
        made.mkdir()
        yield made
        if path.exists():
            path.rename(workplace / "older")
        made.rename(path)
    except OSError as error:
        problem = error.strerror or error
        raise OutputError(f"Cannot write {path}: {problem}. Choose another folder or free space.") from error
    finally:
        if workplace is not None:
            shutil.rmtree(workplace, ignore_errors=True)


def _filled(path: Path, onnx: bytes, card: Card) -> Card:
    """The card with what only the network and the clock can tell."""
    where = path / CARD_FILE
    test = card.self_test or SelfTest(0, (0.0,) * len(card.classes), 0.0, 0.0, 0.0, 1e-3)
    draft = replace(
        card,
        created=card.created or datetime.now(UTC).isoformat(timespec="seconds"),
        self_test=test,
        sha256=hashlib.sha256(onnx).hexdigest(),
        digest="0" * 64,
    )
    parse_card(card_text(draft, where), where)
    session = _session(onnx, draft, path / MODEL_FILE)
    bundle = Bundle(path, draft, 1, session, _output_names(session))
    outputs = bundle.predict(self_test_picture(test.seed, draft.size))
    _verify_outputs(outputs, draft, path)
    probability = tuple(float(p) for p in outputs.probability[0])
    test = replace(
        test,
        probability=probability,
        class_activation_mean=float(outputs.class_activation.mean()),
        no_lesion=min(float(outputs.no_lesion[0]), 1.0),
        out_of_distribution=min(float(outputs.out_of_distribution[0]), 1.0),
    )
    filled = replace(draft, self_test=test)
    return replace(filled, digest=card_digest(card_text(filled, where)))


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300].rstrip(".")


def _verified(folder: str | Path) -> tuple[Path, Card, bytes]:
    path = Path(folder)
    if str(folder) == BUNDLED and not path.exists():
        path = bundled()
    where = path / CARD_FILE
    try:
        text = _read_file(path, CARD_FILE).decode("utf-8")
    except ValueError as error:
        raise BundleError(f"{where} is not UTF-8 text: {error}.") from error
    card = parse_card(text, where)
    if card.digest != card_digest(text):
        raise BundleError(
            f"{where} was changed after it was written (its digest does not hold); get the bundle again."
        )
    onnx = _read_file(path, MODEL_FILE)
    found = hashlib.sha256(onnx).hexdigest()
    if found != card.sha256:
        hashes = f"SHA-256 {found[:12]}…, expected {card.sha256[:12]}…"
        raise BundleError(
            f"{path / MODEL_FILE} is not the file its card names ({hashes}); get the bundle again."
        )
    return path, card, onnx


def read_hashes(path: Path, card: Card) -> LearnedFrom | None:
    """The hashes that a card names, verified; None where it names none. Raises BundleError."""
    named = card.training.get("learned_from")
    if named is None:
        return None
    data, where = _read_file(path, LEARNED_FILE), path / LEARNED_FILE
    if not isinstance(named, dict) or named.get("sha256") != hashlib.sha256(data).hexdigest():
        raise BundleError(f"{where} is not the file that the card names; get the bundle again.")
    return read_learned_from(data, str(where))


def _read_file(folder: Path, name: str) -> bytes:
    try:
        if not folder.is_dir():
            expected = f"expected a folder with {MODEL_FILE} and {CARD_FILE}"
            raise BundleError(f"{folder} is not a model bundle: {expected}.")
        if not (folder / name).is_file():
            raise BundleError(f"{folder} is not a complete model bundle: {name} is missing.")
        if name == CARD_FILE and (folder / name).stat().st_size > MAX_CARD_BYTES:
            raise BundleError(f"{folder / name} is larger than {MAX_CARD_BYTES >> 20} MiB; no card is.")
        return (folder / name).read_bytes()
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or error
        raise BundleError(f"Cannot read {folder / name}: {problem}.") from error


def _session(onnx: bytes, card: Card, where: Path, device: Device = "cpu") -> Any:
    import onnxruntime

    if device not in get_args(Device):
        raise InputError(f"Received device={device!r}; expected one of {', '.join(get_args(Device))}.")
    wanted, there = _PROVIDERS[device], onnxruntime.get_available_providers()
    if wanted not in there:
        raise InputError(
            f"Received device={device!r}, but this ONNX Runtime computes on {_devices(there)} alone; "
            "install onnxruntime-gpu in place of onnxruntime."
        )

    options = onnxruntime.SessionOptions()
    # Photographs go side by side, one on each thread: threads inside the network would wait for each other,
    # and the activations of several photographs at once do not fit a core's cache.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            onnx, options, providers=list(dict.fromkeys([wanted, _PROVIDERS["cpu"]]))
        )
    except Exception as error:
        raise BundleError(
            f"{where} is not a network that ONNX Runtime can open: {_first_line(error)}."
        ) from error
    if device != "cpu" and wanted not in session.get_providers():  # it falls back without an error
        raise InputError(
            f"Received device={device!r}, but ONNX Runtime cannot use one: no GPU, or CUDA and cuDNN are "
            "not those that it needs. --device cpu (device='cpu') screens without."
        )
    _verify_signature(session, card.size, where)
    return session


def _devices(providers: list[str]) -> str:
    return " and ".join(device for device, name in _PROVIDERS.items() if name in providers) or "nothing"


def _output_names(session: Any) -> tuple[str, ...]:
    """The names of `OUTPUTS` in this network, which may be those of schema 1 or 2."""
    names = {output.name for output in session.get_outputs()}
    older = (OUTPUTS_OF_SCHEMA_1, OUTPUTS_OF_SCHEMA_2)
    return next((old for old in older if names == set(old)), OUTPUTS)


def _verify_signature(session: Any, size: int, where: Path) -> None:
    inputs = [(i.name, i.type, list(i.shape)) for i in session.get_inputs()]
    if len(inputs) != 1 or inputs[0][:2] != ("image", "tensor(uint8)") or inputs[0][2][1:] != [size, size, 3]:
        expected = f"one input `image`, tensor(uint8), [N, {size}, {size}, 3]"
        raise BundleError(f"{where}: the network takes {inputs}, expected {expected}.")
    if isinstance(inputs[0][2][0], int):
        raise BundleError(
            f"{where}: the network takes exactly {inputs[0][2][0]} photographs, expected any number."
        )
    outputs = {o.name: (o.type, len(o.shape)) for o in session.get_outputs()}
    names = _output_names(session)
    ranks = (2, 2, 4, 1, 1)[: len(names)]
    expected_ranks = {name: ("tensor(float)", rank) for name, rank in zip(names, ranks, strict=True)}
    if outputs != expected_ranks:
        raise BundleError(f"{where}: the network gives (type, rank) {outputs}, expected {expected_ranks}.")


def _verify_outputs(outputs: Outputs, card: Card, where: Path) -> None:
    """Raise BundleError unless these are what a bundle gives for one photograph."""
    probability, embedding = outputs.probability, outputs.embedding
    activation, scores = outputs.class_activation, (outputs.no_lesion, outputs.out_of_distribution)
    width = len(card.classes)
    one_each = (len(embedding), activation.shape[0], activation.shape[3]) == (1, 1, width)
    if probability.shape != (1, width) or not one_each or any(score.shape != (1,) for score in scores):
        shapes = ", ".join(str(each.shape) for each in (probability, embedding, activation, *scores))
        expected = f"(N, {width}), (N, d), (N, h, w, {width}), (N,) and (N,)"
        raise BundleError(f"{where}: for one photograph the network gives {shapes}, expected {expected}.")
    total = float(probability.sum())
    if not abs(total - 1) <= 1e-3:
        raise BundleError(f"{where}: one photograph's probabilities add up to {total:.3f}, expected 1.")


def _verify_self_test(bundle: Bundle) -> None:
    card, where = bundle.card, bundle.folder
    test = cast(SelfTest, card.self_test)
    outputs = bundle.predict(self_test_picture(test.seed, card.size))
    _verify_outputs(outputs, card, where)
    change = float(np.abs(outputs.probability[0] - np.asarray(test.probability)).max())
    mean = test.class_activation_mean
    activation_change = abs(float(outputs.class_activation.mean()) - mean) / max(1.0, abs(mean))
    no_lesion_change = abs(float(outputs.no_lesion[0]) - test.no_lesion)
    score_change = abs(float(outputs.out_of_distribution[0]) - test.out_of_distribution)
    changes = (change, activation_change, no_lesion_change, score_change)
    if not all(one <= test.tolerance for one in changes):  # so that NaN fails
        found = (
            f"probability off by {change:.2g}, class activation by {activation_change:.2g}, "
            f"no-lesion score by {no_lesion_change:.2g}, out-of-distribution score by {score_change:.2g}, "
            f"allowed {test.tolerance:.2g}"
        )
        raise BundleError(
            f"{where}: the self-test does not give what it gave when written ({found}); get it again."
        )
