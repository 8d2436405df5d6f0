"""What a person sees while a network trains: one bar with the time left, on stderr."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


class RichProgress(keras.callbacks.Callback):  # type: ignore[misc]
    """A bar over all epochs while a person watches; a line per epoch where stderr is a file."""

    def __init__(self, name: str, epochs: int, steps: int, quiet: bool = False) -> None:
        super().__init__()
        self.name, self.epochs, self.steps, self.quiet = name, epochs, steps, quiet
        self.console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        watched = self.console.is_terminal and not quiet
        self.bar = Progress(*columns, console=self.console, transient=True, disable=not watched)

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Show the bar."""
        self.bar.start()
        self.task = self.bar.add_task(self.name, total=self.epochs * self.steps)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Name the epoch; one gone on from an interruption starts where it stopped."""
        self.bar.update(
            self.task,
            completed=epoch * self.steps,
            description=f"{self.name}: epoch {epoch + 1}/{self.epochs}",
        )

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Move the bar."""
        self.bar.advance(self.task)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
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
    """End training at the first epoch or batch whose loss is not a number; `at` says which epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.at: int | None = None
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Remember the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Look at the running loss."""
        if self.at is None and not np.isfinite((logs or {}).get("loss", 0.0)):
            self.at = self._epoch
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Nothing is left to do; the caller raises with the folder's name."""
