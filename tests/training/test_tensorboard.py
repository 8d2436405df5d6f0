"""An epoch's figures for TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dermsentry.errors import InputError
from dermsentry.training import tensorboard


def test_an_epoch_is_logged_in_two_parts_under_the_names_of_keras(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, int, str, float]] = []

    class Writer:
        def __init__(self, folder: str) -> None:
            self.part = Path(folder).name

        @contextmanager
        def as_default(self, step: int) -> Iterator[None]:
            monkeypatch.setattr(
                tensorboard.tf.summary,
                "scalar",
                lambda name, value: written.append((self.part, step, name, value)),
            )
            yield

    monkeypatch.setattr(tensorboard.tf.summary, "create_file_writer", Writer)
    tensorboard.log_epoch(tmp_path, {"epoch": 3, "loss": 0.5, "val_loss": 0.7})
    assert written == [("train", 3, "epoch_loss", 0.5), ("validation", 3, "epoch_loss", 0.7)]


def test_tensorboard_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorboard.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="pip install tensorboard"):
        tensorboard.require_tensorboard()
