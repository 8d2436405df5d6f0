"""Train the networks of the recipe from a pack, on a GPU or without one.

    python -m recipes.dermoscopy.train RUN

RUN holds `photographs.tar` and `imagenet.npz`, and gets a folder per network: `network.npz`, its weights in
Keras's order, `history.csv`, `options.json` and, while it trains, `state.npz`; run it again to resume. Needs
PyTorch and no TensorFlow.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dermsentry.diagnoses import CODES, MELANOMA
from dermsentry.errors import DermsentryError, InputError, TrainingError
from dermsentry.files import plain, read_json, write_bytes, write_json, write_text
from dermsentry.progress import Work, say
from dermsentry.stats.metrics import candidate_hits, mean_hit_rate, roc_auc_score, targets
from recipes.dermoscopy.data import drawing_weights
from recipes.dermoscopy.network import Lite, rounded_to_integers
from recipes.dermoscopy.pack import Packed, read_pack
from recipes.dermoscopy.views import Augmentation, changed_view, lesion_boxes

CLIP = 5.0
"""The global norm that gradients are clipped to (Pascanu et al., ICML 2013)."""
WARM_UP = 200
AVERAGED = 4
"""Steps between two updates of the averaged weights."""
BATCH = 256
PACK = "photographs.tar"
IMAGENET = "imagenet.npz"
WEIGHTS = "network.npz"
OPTIONS = "options.json"

Arrays = list[NDArray[Any]]
Change = Callable[[Tensor, Tensor], Tensor]
"""What is done to images (B, 3, S, S), values from 0 to 255, given the masks (B, s, s) of their lesions."""


@dataclass(frozen=True)
class Options:
    """How a network is trained. AdamW; the loss is cross-entropy over the candidate classes.

    Parameters
    ----------
    network
        An EfficientNet-Lite, from ImageNet's weights.
    size, images, batch_size
        The side of its views in pixels; how many it sees, repeats counted; how many at a time.
    learning_rate
        The highest: it rises linearly over `WARM_UP` steps and follows half a cosine (Loshchilov and Hutter,
        ICLR 2017).
    weight_decay
        Decoupled, of kernels (Loshchilov and Hutter, ICLR 2019).
    frozen_stages
        How many of its seven stages keep their first weights, the stem with them; 0: none, not even the stem.
    label_smoothing, dropout
        Szegedy et al., CVPR 2016; of the embedding.
    mixup, mixed_share
        A `mixed_share` of the batches blends each photograph with another by a share drawn from
        Beta(`mixup`, `mixup`) (Zhang et al., ICLR 2018).
    ema
        Decay per step of the exponential moving average of the weights, which is what is kept.
    distilled
        With teachers, the share of the loss that is the divergence from their mean probabilities for the same
        view (Beyer et al., CVPR 2022).
    rounded_share
        In this last share of the steps the kernels are rounded as the quantised bundle will have them, and
        gradients go straight through (Jacob et al., CVPR 2018).
    augmentation
        How views are changed.
    seed
        Random seed.
    """

    network: str = "lite2"
    size: int = 224
    images: int = 800_000
    batch_size: int = 128
    learning_rate: float = 8e-4
    weight_decay: float = 0.05
    frozen_stages: int = 3
    label_smoothing: float = 0.05
    dropout: float = 0.2
    mixup: float = 0.3
    mixed_share: float = 0.5
    ema: float = 0.997
    distilled: float = 0.7
    rounded_share: float = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0

    @property
    def steps(self) -> int:
        """How many batches it learns from."""
        return max(1, self.images // self.batch_size)


TEACHERS = {"teacher-1": Options(frozen_stages=0, seed=1), "teacher-2": Options(seed=2)}
STUDENT = Options(images=2_124_416, learning_rate=5e-4, rounded_share=0.3, seed=5)
"""It begins with the last teacher's weights and learns from both."""


@dataclass(frozen=True, eq=False)
class Photographs:
    """Photographs on the device that trains, and how often each is drawn."""

    table: pd.DataFrame
    pixels: Tensor
    masks: Tensor
    boxes: NDArray[np.float64]

    def part(self, chosen: Any) -> Photographs:
        """Those rows of the table: a mask, or their numbers."""
        return Photographs(self.table.loc[chosen].reset_index(drop=True), self.pixels, self.masks, self.boxes)

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """See `data.drawing_weights`."""
        return drawing_weights(list(self.table["diagnosis"]), list(self.table["hospital"]))

    @cached_property
    def targets(self) -> NDArray[np.float32]:
        """Multi-hot candidates, (N, 9)."""
        return targets(list(self.table["diagnosis"]))


def on_device(packed: Packed) -> Photographs:
    """A pack's photographs on the GPU, or in memory where there is none."""
    place = device()
    pixels = torch.as_tensor(packed.pixels).to(place)
    return Photographs(
        packed.table, pixels, torch.as_tensor(packed.masks).to(place), lesion_boxes(packed.masks)
    )


def device() -> torch.device:
    """The GPU, or the processor where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train_network(
    photographs: Photographs,
    folder: Path,
    options: Options,
    first: Arrays,
    *,
    teachers: Sequence[Arrays] = (),
    validation: Photographs | None = None,
    checks: int = 7,
    quiet: bool = True,
) -> Arrays:
    """Train a network, or resume, and give the weights that are kept, in Keras's order.

    Parameters
    ----------
    photographs, validation
        What it learns from, and what its figures in `history.csv` are of.
    folder
        See the module.
    options
        How it is trained.
    first
        The weights that it begins with; a head of other than nine classes is drawn anew.
    teachers
        The weights of finished networks of the same kind, to learn from as well.
    checks
        How often it is saved and measured.
    quiet
        Show no progress on stderr.

    Raises
    ------
    TrainingError
        A loss is not a number.
    OutputError
        The folder cannot be written.
    """
    done = folder / WEIGHTS
    if finished(folder, options):
        return load_arrays(done)
    run = _Run(options, first, teachers)
    state, table = folder / "state.npz", folder / "history.csv"
    history: list[dict[Any, Any]] = []
    begun = 0
    if state.is_file() and read_json(folder / OPTIONS) == plain(options):
        begun = run.resume(load_arrays(state))
        history = [row for row in pd.read_csv(table).to_dict("records") if row["step"] <= begun]
    if done.is_file():
        done.unlink()  # it is of other options, and must never be taken for one of these
    write_json(folder / OPTIONS, options)
    every = max(1, options.steps // checks)
    started, losses = time.perf_counter(), []
    with Work(folder.name, options.steps, quiet=quiet, done=begun) as shown:
        for step in range(begun, options.steps):
            losses.append(run.learn(photographs, step))
            shown.advance()
            if (step + 1) % every and step + 1 != options.steps:
                continue
            loss = float(torch.stack(losses).mean())
            if not np.isfinite(loss):
                raise TrainingError(f"{folder.name}: the loss is not a number after {step + 1} steps.")
            figures = {} if validation is None else run.figures(validation)
            seconds = time.perf_counter() - started + (history[-1]["seconds"] if history else 0.0)
            history.append({"step": step + 1, "loss": loss, **figures, "seconds": seconds})
            started, losses = time.perf_counter(), []
            write_text(table, pd.DataFrame(history).to_csv(index=False, lineterminator="\n"))
            save_arrays(state, run.state(step + 1))
            told = ", ".join(f"{name} {value:.3f}" for name, value in history[-1].items() if name != "step")
            say(f"{folder.name}: {step + 1} of {options.steps} steps, {told}", quiet=quiet)
    save_arrays(done, run.kept())
    state.unlink(missing_ok=True)
    return load_arrays(done)


class _Run:
    """A network while it trains, its optimizer, and the average of its weights, which is kept."""

    def __init__(self, options: Options, first: Arrays, teachers: Sequence[Arrays]) -> None:
        self.options, place = options, device()
        torch.manual_seed(options.seed)
        self.network = Lite(options.network)
        _load(self.network, first, options.seed)
        self.network.freeze(options.frozen_stages)
        self.network.to(place, memory_format=torch.channels_last)
        self.teachers = [Lite(options.network) for _ in teachers]
        for teacher, weights in zip(self.teachers, teachers, strict=True):
            teacher.set_weights(weights)
            teacher.requires_grad_(False).to(place, memory_format=torch.channels_last)
        trained = {name: p for name, p in self.network.named_parameters() if p.requires_grad}
        self.parameters = list(trained.values())
        kernels = [p for name, p in trained.items() if name.endswith(("kernel", "logits.weight"))]
        self.kernels = [p for p in kernels if p.ndim == 4]
        others = [p for p in self.parameters if not any(p is kernel for kernel in kernels)]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": kernels, "weight_decay": options.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=options.learning_rate,
        )
        self.every = list(self.network.parameters())
        self.average = [p.detach().clone() for p in self.every]
        self.batch = _Inputs(options, place)
        self.backward = self._captured() if place.type == "cuda" else self._backward

    def learn(self, photographs: Photographs, step: int) -> Tensor:
        """Take a step; its loss. What is drawn depends on the seed and the step alone."""
        options, rng = self.options, np.random.default_rng((self.options.seed, step))
        torch.manual_seed(int(rng.integers(2**63)))
        self.batch.fill(photographs, rng, options)
        if step >= options.steps * (1 - options.rounded_share):
            with torch.no_grad():
                own = [kernel.detach().clone() for kernel in self.kernels]
                for kernel in self.kernels:
                    kernel.copy_(rounded_to_integers(kernel))
            loss = self.backward()
            with torch.no_grad():
                for kernel, value in zip(self.kernels, own, strict=True):
                    kernel.copy_(value)
        else:
            loss = self.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, CLIP)
        warm, cosine = min(1.0, (step + 1) / WARM_UP), 0.5 + 0.5 * np.cos(np.pi * step / options.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = options.learning_rate * warm * cosine
        self.optimizer.step()
        if step % AVERAGED == 0:
            keep = min(options.ema**AVERAGED, (step + 1) / (step + 1 + 10 * AVERAGED))
            with torch.no_grad():
                torch._foreach_lerp_(self.average, [p.detach() for p in self.every], 1 - keep)
        return loss.detach().clone()

    def figures(self, photographs: Photographs) -> dict[str, float]:
        """Melanoma AUROC within each hospital and their mean, and balanced accuracy, of the average."""
        network = Lite(self.options.network)
        network.set_weights(self.kept())
        logits = predict_logits(network, photographs, self.options.size)
        return hospital_figures(photographs.table, logits)

    def kept(self) -> Arrays:
        """The averaged weights."""
        own = [p.detach().clone() for p in self.every]
        self._set(self.average)
        kept: Arrays = list(self.network.get_weights())
        self._set(own)
        return kept

    def state(self, step: int) -> Arrays:
        """What `resume` takes: steps, weights, average, and the optimizer's moments."""
        moments = [
            self.optimizer.state[p][name] for p in self.parameters for name in ("exp_avg", "exp_avg_sq")
        ]
        return [np.array(step), *(t.detach().cpu().numpy() for t in [*self.every, *self.average, *moments])]

    def resume(self, state: Arrays) -> int:
        """Continue from `state`; how many steps were taken."""
        step, *rest = state
        values = [torch.as_tensor(value).to(self.every[0].device) for value in rest]
        count = len(self.every)
        self._set(values[:count])
        for average, value in zip(self.average, values[count : 2 * count], strict=True):
            average.copy_(value)
        moments = iter(values[2 * count :])
        for p in self.parameters:
            self.optimizer.state[p] = {
                "step": torch.tensor(float(step)),
                "exp_avg": next(moments).to(memory_format=torch.preserve_format),
                "exp_avg_sq": next(moments),
            }
        return int(step)

    def _set(self, values: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for p, value in zip(self.every, values, strict=True):
                p.copy_(value)

    def _backward(self) -> Tensor:
        for p in self.parameters:
            p.grad = None
        loss = self._loss()
        loss.backward()
        return loss

    def _captured(self) -> Callable[[], Tensor]:
        """The same, recorded once as a CUDA graph: launching kernels one by one takes as long as they do."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._backward()
        torch.cuda.current_stream().wait_stream(side)
        for p in self.parameters:
            p.grad = None
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = self._loss()
            loss.backward()

        def replay() -> Tensor:
            graph.replay()
            return loss

        return replay

    def _loss(self) -> Tensor:
        batch, options = self.batch, self.options
        place = batch.pixels.device.type
        with torch.autocast(place, torch.bfloat16, enabled=place == "cuda", cache_enabled=False):
            logits = self.network(batch.pixels, options.dropout).float()
            with torch.no_grad():
                taught = [F.softmax(teacher(batch.pixels).float(), 1) for teacher in self.teachers]
        losses = batch.share * candidate_crossentropy(batch.targets, logits)
        losses = losses + (1 - batch.share) * candidate_crossentropy(batch.others, logits)
        log_probability = F.log_softmax(logits, 1)
        losses = (1 - batch.smoothing) * losses - batch.smoothing * log_probability.mean(1)
        if taught:
            wanted = torch.stack(taught).mean(0)
            divergence = (wanted * (wanted.clamp_min(1e-6).log() - log_probability)).sum(1)
            # A photograph without its lesion is to be told nothing of, whatever the teachers say.
            share = options.distilled * (batch.smoothing < 1)
            losses = (1 - share) * losses + share * divergence
        return losses.mean()


class _Inputs:
    """A batch's tensors, at the same place in memory for every step, as a CUDA graph wants them."""

    def __init__(self, options: Options, place: torch.device) -> None:
        count, size = options.batch_size, options.size
        self.pixels = torch.zeros((count, 3, size, size), device=place).contiguous(
            memory_format=torch.channels_last
        )
        self.targets, self.others = (torch.ones((count, len(CODES)), device=place) for _ in range(2))
        self.smoothing = torch.zeros(count, device=place)
        self.share = torch.ones((), device=place)

    def fill(self, photographs: Photographs, rng: np.random.Generator, options: Options) -> None:
        """Draw photographs by their weights and a file of each, and change them."""
        count, table = options.batch_size, photographs.table
        drawn = rng.choice(len(table), count, p=photographs.weights)
        own = table["rows"].to_numpy()[drawn]
        rows = np.array([files[rng.integers(len(files))] for files in own])
        where = torch.as_tensor(rows).to(photographs.pixels.device)
        pixels = photographs.pixels[where].permute(0, 3, 1, 2).float()
        masks = photographs.masks[where].float()
        boxes = photographs.boxes[rows]
        pixels, empty = changed_view(pixels, masks, boxes, options.size, rng, options.augmentation)
        partners, share = np.arange(count), 1.0
        if rng.random() < options.mixed_share:
            # A photograph without its lesion stays unblended: it is the one that tells nothing.
            whole = np.flatnonzero(~empty)
            partners[whole] = rng.permutation(whole)
            share = float(rng.beta(options.mixup, options.mixup))
            pixels = share * pixels + (1 - share) * pixels[torch.as_tensor(partners).to(pixels.device)]
        targets = photographs.targets[drawn]
        self.pixels.copy_(pixels)
        self.targets.copy_(torch.as_tensor(targets))
        self.others.copy_(torch.as_tensor(targets[partners]))
        self.smoothing.copy_(torch.as_tensor(np.where(empty, 1.0, options.label_smoothing)))
        self.share.fill_(share)


def candidate_crossentropy(targets: Tensor, logits: Tensor) -> Tensor:
    """-log of the probability of the candidate classes together, (B,)."""
    candidates = torch.where(targets > 0, logits, torch.full_like(logits, -1e9))
    return torch.logsumexp(logits, 1) - torch.logsumexp(candidates, 1)


def predict_logits(
    network: Lite, photographs: Photographs, size: int, change: Change | None = None
) -> NDArray[np.float32]:
    """Logits (N, 9) of the whole frame of each photograph at `size` pixels; `change` comes first."""
    place = photographs.pixels.device
    network.to(place, memory_format=torch.channels_last)
    rows = np.array([own[0] for own in photographs.table["rows"]])
    found = []
    for start in range(0, len(rows), BATCH):
        chosen = torch.as_tensor(rows[start : start + BATCH]).to(place)
        pixels = photographs.pixels[chosen].permute(0, 3, 1, 2).float()
        if change:
            pixels = change(pixels, photographs.masks[chosen])
        if pixels.shape[-1] != size:
            pixels = resized(pixels, size)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), torch.autocast(place.type, torch.bfloat16, enabled=place.type == "cuda"):
            found.append(network(pixels).float().cpu().numpy())
    return np.concatenate(found)


def resized(pixels: Tensor, size: int) -> Tensor:
    """Images (N, 3, S, S) at another size, in whole values."""
    smaller = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)
    return smaller.round().clamp(0, 255)


def hospital_figures(table: pd.DataFrame, logits: NDArray[np.float32]) -> dict[str, float]:
    """Melanoma AUROC within each hospital and their mean; balanced accuracy over all."""
    score = F.softmax(torch.as_tensor(logits), 1)[:, CODES.index(MELANOMA)].numpy()
    melanoma = (table["diagnosis"] == MELANOMA).to_numpy()
    figures = {}
    for name in sorted(table["hospital"].unique()):
        here = (table["hospital"] == name).to_numpy()
        if 0 < melanoma[here].sum() < here.sum():
            auroc = float(roc_auc_score(melanoma[here], score[here]))
            figures[f"melanoma_roc_auc_{name.split()[0]}"] = auroc
    truth = list(table["diagnosis"])
    hits = candidate_hits(truth, [CODES[i] for i in logits.argmax(axis=1)])
    mean = {"melanoma_roc_auc": float(np.mean(list(figures.values())))} if figures else {}
    return {**mean, **figures, "balanced_accuracy": mean_hit_rate(truth, hits)}


def save_arrays(path: Path, arrays: Sequence[NDArray[Any]]) -> None:
    """Write arrays in their order. Raises OutputError."""
    buffer = io.BytesIO()
    np.savez(buffer, *arrays)
    write_bytes(path, buffer.getvalue())


def load_arrays(path: Path) -> Arrays:
    """What `save_arrays` wrote. Raises InputError if the file is none."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as saved:
            return [saved[f"arr_{i}"] for i in range(len(saved.files))]
    except (OSError, EOFError, ValueError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} holds no weights ({error}); remove it and train again.") from error


def _load(network: Lite, weights: Arrays, seed: int) -> None:
    *rest, kernel, bias = weights
    if kernel.shape[1:] != (len(CODES),) or not kernel.any():
        kernel = np.random.default_rng(seed).normal(0, 0.01, (kernel.shape[0], len(CODES)))
        bias = np.zeros(len(CODES))
    network.set_weights([*rest, kernel, bias])


def finished(folder: Path, options: Options) -> bool:
    """Whether a folder holds a network that was trained with these options to the end."""
    return (folder / WEIGHTS).is_file() and read_json(folder / OPTIONS) == plain(options)


def train_student(
    pack: Path,
    run: Path,
    first: Arrays,
    *,
    student: Options = STUDENT,
    teachers: Mapping[str, Options] = TEACHERS,
    quiet: bool = True,
) -> Arrays:
    """Train the teachers and the student from ImageNet's weights `first`, or resume; the student's weights.

    Raises InputError, TrainingError and OutputError; see `read_pack` and `train_network`.
    """
    folder = run / "student"
    if finished(folder, student):
        return load_arrays(folder / WEIGHTS)
    packed = read_pack(pack, student.size, quiet=quiet)
    photographs = on_device(packed)
    parts = packed.table["part"]
    train, validation = photographs.part(parts == "train"), photographs.part(parts == "validation")
    taught = [
        train_network(train, run / name, options, first, validation=validation, quiet=quiet)
        for name, options in teachers.items()
    ]
    begun = taught[-1] if taught else first
    return train_network(train, folder, student, begun, teachers=taught, validation=validation, quiet=quiet)


def main() -> None:
    """Train, and print the student's weights; an error is one line and its exit code."""
    parser = argparse.ArgumentParser(prog="python -m recipes.dermoscopy.train", description=__doc__)
    parser.add_argument("run", type=Path, help=f"folder with {PACK} and {IMAGENET}")
    given = parser.parse_args()
    try:
        train_student(given.run / PACK, given.run, load_arrays(given.run / IMAGENET), quiet=False)
        print(given.run / "student" / WEIGHTS)
    except DermsentryError as error:
        print(f"recipes.dermoscopy.train: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
