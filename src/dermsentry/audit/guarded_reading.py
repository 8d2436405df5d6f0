"""Reads photographs in a guarded process: a file that stops, holds or fills its decoder costs itself."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from queue import LifoQueue
from typing import Any

import numpy as np

from dermsentry.audit.kept import DIGEST, SURROUND, Look
from dermsentry.audit.likeness.keypoints import MOST, Keypoints
from dermsentry.audit.survey import look_at
from dermsentry.guarded import Answer, GuardedProcess, Stopped, serve
from dermsentry.images import Unreadable


class GuardedReader(GuardedProcess):
    """Reads one photograph after another in a process of its own."""

    def __init__(self) -> None:
        super().__init__(__name__)

    def ended(self) -> str:
        """What is said where it ended as it began."""
        return "The process that reads photographs ended as it began. Run it again to resume."

    def look_at(self, path: Path, root: Path) -> Look:
        """What one reading of a photograph gives, as `survey.look_at` does. Raises Unreadable."""
        try:
            found = self.ask({"do": "look", "path": str(path), "root": str(root)}, _checked)
        except Stopped as stopped:
            raise Unreadable(stopped.reason) from None
        if isinstance(found, str):
            raise Unreadable(found)
        return found


class GuardedReaders:
    """Several such processes, for as many threads."""

    def __init__(self, processes: int) -> None:
        self._each = [GuardedReader() for _ in range(processes)]
        self._idle: LifoQueue[GuardedReader] = LifoQueue()
        for one in self._each:
            self._idle.put(one)

    def look_at(self, path: Path, root: Path) -> Look:
        """As `GuardedReader.look_at`, in a process that is free."""
        one = self._idle.get()
        try:
            return one.look_at(path, root)
        finally:
            self._idle.put(one)

    def close(self) -> None:
        """End the processes."""
        for one in self._each:
            one.close()


def _checked(answer: dict[str, Any], parts: dict[str, bytes]) -> Look | str:
    """What a process answered: a look, or why there is none. Raises ValueError, KeyError."""
    if "reason" in answer:
        return str(answer["reason"])
    surround = np.frombuffer(parts["surround"], np.float32)
    places = np.frombuffer(parts["places"], np.float32).reshape(-1, 4)
    descriptors = np.frombuffer(parts["descriptors"], np.uint8).reshape(-1, 128)
    right = (
        len(parts["pixels"]) == DIGEST
        and surround.shape == (len(SURROUND),)
        and len(places) == len(descriptors) <= MOST
    )
    if not right:
        raise ValueError("no look")
    return Look(
        parts["pixels"], surround, Keypoints(places, descriptors), parts["content"], str(answer["doubt"])
    )


def _look(asked: Mapping[str, Any], _: None) -> Answer:
    try:
        found = look_at(Path(asked["path"]), Path(asked["root"]))
    except (Unreadable, MemoryError) as error:
        return {"reason": error.reason if isinstance(error, Unreadable) else "too large to decode"}, {}
    return {"doubt": found.doubt}, {
        "pixels": found.pixels,
        "surround": found.surround.tobytes(),
        "places": found.keypoints.places.tobytes(),
        "descriptors": found.keypoints.descriptors.tobytes(),
        "content": found.content,
    }


if __name__ == "__main__":
    serve({"look": _look}, lambda: None, int(sys.argv[1]), int(sys.argv[2]))
