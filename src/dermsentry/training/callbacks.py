"""What happens around a network while it trains: a bar for people, an end at NaN, a state to go on from."""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from dermsentry.errors import TrainingError
from dermsentry.files import read_json, write_json

Logs = dict[str, Any]


class RichProgress(keras.callbacks.Callback):  # type: ignore[misc]
    """A bar over all epochs while a person watches; a line per epoch where stderr is a file."""

    def __init__(self, name: str, epochs: int, steps: int, quiet: bool = False) -> None:
        super().__init__()
        self.name, self.epochs, self.steps, self.quiet = name, epochs, steps, quiet
        self.console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        watched = self.console.is_terminal and not quiet
        self.bar = Progress(*columns, console=self.console, transient=True, disable=not watched)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Show the bar."""
        self.bar.start()
        self.task = self.bar.add_task(self.name, total=self.epochs * self.steps)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Name the epoch; one gone on from an interruption starts where it stopped."""
        self.bar.update(
            self.task,
            completed=epoch * self.steps,
            description=f"{self.name}: epoch {epoch + 1}/{self.epochs}",
        )

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Move the bar."""
        self.bar.advance(self.task)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the epoch's figures where nobody watches a bar."""
        if not self.quiet and not self.console.is_terminal:
            figures = ", ".join(f"{name} {value:.3f}" for name, value in (logs or {}).items())
            self.console.print(
                f"{self.name}: epoch {epoch + 1}/{self.epochs}, {figures}", highlight=False, soft_wrap=True
            )

    def close(self) -> None:
        """Take the bar away, also after an interruption."""
        self.bar.stop()


class StopOnNaN(keras.callbacks.Callback):  # type: ignore[misc]
    """Raise TrainingError at the first batch, or validation, whose loss is not a number."""

    def __init__(self, name: str, learning_rate: float) -> None:
        super().__init__()
        self.name, self.learning_rate = name, learning_rate
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Remember the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Look at the running loss."""
        self._refuse((logs or {}).get("loss", 0.0), "loss")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Look at the validation loss."""
        self._refuse((logs or {}).get("val_loss", 0.0), "validation loss")

    def _refuse(self, value: float, what: str) -> None:
        if not np.isfinite(value):
            raise TrainingError(
                f"{self.name}: the {what} is not a number in epoch {self._epoch + 1}; "
                f"lower the learning rate (it was {self.learning_rate:g})."
            )


class KeepState(keras.callbacks.Callback):  # type: ignore[misc]
    """Keep what an interrupted training goes on from, and the best weights; neither is ever half there.

    Keras writes in place: BackupAndRestore into `writing`, ModelCheckpoint into `candidate`. After each epoch
    both are renamed, the backup to one that says how many epochs it holds. Comes after both in the list.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.backups, self.best = folder / "backups", folder / "best.weights.h5"
        self.writing, self.candidate = self.backups / "writing", folder / "candidate.weights.h5"
        self.seconds = 0.0
        self._start = 0.0

    def restore(self) -> int:
        """Put the last whole backup where BackupAndRestore looks for it; how many epochs it holds."""
        self.discard()
        found = {int(path.name.removeprefix("after-")): path for path in self.backups.glob("after-*")}
        if not found:
            return 0
        epochs = max(found)
        shutil.copytree(found[epochs], self.writing)
        self.seconds = float(read_json(self.writing / "seconds.json")["seconds"])
        return epochs

    def discard(self) -> None:
        """Remove what was being written; it may be half there."""
        self.candidate.unlink(missing_ok=True)
        shutil.rmtree(self.writing, ignore_errors=True)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Start the clock of training, unless the disk has no room for what follows (OSError)."""
        # HDF5 leaves a page of its own complaints on stderr where a disk runs full under it.
        needed = 2 * (3 * 4 * self.model.count_params() + 2**17)  # Adam keeps two numbers beside each weight
        if shutil.disk_usage(self.candidate.parent).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._start = time.perf_counter()

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Stop the clock: validation does not count."""
        self.seconds += time.perf_counter() - self._start

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Rename what was written; the backup last, since it says that the epoch is over."""
        if self.candidate.is_file():
            self.candidate.replace(self.best)
        write_json(self.writing / "seconds.json", {"seconds": self.seconds})
        earlier = list(self.backups.glob("after-*"))
        self.writing.rename(self.backups / f"after-{epoch + 1}")
        for path in earlier:
            shutil.rmtree(path, ignore_errors=True)
