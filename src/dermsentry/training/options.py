"""What a training can be asked for, and what it gives back; no framework is needed to look at either."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, get_args

if TYPE_CHECKING:
    import pandas as pd

    from dermsentry.images import Aspect

Recipe = Literal["linear", "cnn", "lite0", "lite1", "lite2"]
RECIPES: tuple[Recipe, ...] = get_args(Recipe)
Balance = Literal["none", "augmentor", "class-weights"]
BALANCES: tuple[Balance, ...] = get_args(Balance)
Weights = Literal["imagenet", "dermoscopy"]
WEIGHTS: tuple[Weights, ...] = get_args(Weights)
Schedule = Literal["constant", "cosine", "plateau"]
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)
Precision = Literal["float32", "mixed_bfloat16"]


LOGS = ("tensorboard", "mlflow")
"""The options of `train` that change nothing of what is trained."""


class TrainingOptions(TypedDict, total=False):
    """The options of `train` that say how a network is trained."""

    network: Recipe
    epochs: int
    augmented: bool
    balance: Balance
    size: int
    aspect: Aspect
    batch_size: int
    learning_rate: float
    schedule: Schedule
    patience: int | None
    weights: Weights
    precision: Precision | None
    keep_learned: bool
    quantised: bool
    tensorboard: bool
    mlflow: bool


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A finished training run.

    Parameters
    ----------
    folder
        The folder that holds the run.
    bundle
        The folder of its model bundle, for `open_bundle`, `evaluate` and `screen`.
    history
        One row per epoch: `epoch` from 1, `loss`, `accuracy`, `val_loss`, `val_accuracy`, and the
        `learning_rate` where a schedule changes it.
    best_epoch
        The epoch whose weights were kept, counted from 1.
    seconds
        Training time over all sittings, in seconds.
    devices
        How many GPUs shared each batch, at the last sitting; 1 without, or with a single one.

    Examples
    --------
    >>> import dermsentry
    >>> collection = dermsentry.read_collection("photographs")
    >>> split = dermsentry.make_split(collection)
    >>> run = dermsentry.train(collection, split, "run")  # doctest: +SKIP
    >>> run.history.iloc[run.best_epoch - 1]["val_accuracy"]  # doctest: +SKIP
    >>> dermsentry.evaluate(run.bundle, collection, split).sensitivity  # doctest: +SKIP
    """

    folder: Path
    bundle: Path
    history: pd.DataFrame
    best_epoch: int
    seconds: float
    devices: int = 1

    def __repr__(self) -> str:
        best, count = self.best_epoch, len(self.history)
        return f"<Run in {self.folder}: epoch {best} of {count} kept, {self.seconds:.0f} s>"

    def _repr_html_(self) -> str:
        """The history, for a notebook."""
        return f"<p>{escape(repr(self))}</p>{self.history.to_html(index=False)}"

    def to_frame(self) -> pd.DataFrame:
        """A copy of `history`."""
        return self.history.copy()
