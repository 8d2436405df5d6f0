"""Reads photographs in a guarded process: a file that stops, holds or fills its decoder costs itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import LifoQueue
from typing import Any

import numpy as np

from dermsentry.audit.kept import DIGEST, SURROUND, Look
from dermsentry.audit.likeness.keypoints import MOST, Keypoints
from dermsentry.audit.pictures import small_picture
from dermsentry.audit.reader import worth_guarding
from dermsentry.audit.survey import look_at
from dermsentry.guarded import Answer, GuardedProcess, Stopped, serve
from dermsentry.images import Aspect, Photograph, Pixels, Unreadable, read_photograph


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

    def fitted(self, path: Path, root: Path, size: int, aspect: Aspect) -> Photograph:
        """A photograph of `size`×`size` pixels, with what its width and height were. Raises Unreadable."""
        asked = {"do": "fitted", "path": str(path), "root": str(root), "size": size, "aspect": aspect}
        try:
            found = self.ask(asked, _fitted_of)
        except Stopped as stopped:
            raise Unreadable(stopped.reason) from None
        if isinstance(found, str):
            raise Unreadable(found)
        return found

    def small_picture(self, root: Path, path: str, side: int) -> Pixels | None:
        """As `pictures.small_picture`."""
        asked = {"do": "small", "path": path, "root": str(root), "side": side}
        try:
            return self.ask(asked, _pixels_of)
        except Stopped:
            return None


class GuardedReaders:
    """Several such processes, for as many threads."""

    def __init__(self, processes: int) -> None:
        self._each = [GuardedReader() for _ in range(processes)]
        self._idle: LifoQueue[GuardedReader] = LifoQueue()
        for one in self._each:
            self._idle.put(one)

    def look_at(self, path: Path, root: Path) -> Look:
        """As `GuardedReader.look_at`, in a process that is free."""
        with self._free() as one:
            return one.look_at(path, root)

    def fitted(self, path: Path, root: Path, size: int, aspect: Aspect) -> Photograph:
        """As `GuardedReader.fitted`, in a process that is free."""
        with self._free() as one:
            return one.fitted(path, root, size, aspect)

    def small_picture(self, root: Path, path: str, side: int) -> Pixels | None:
        """As `pictures.small_picture`, in a process that is free."""
        with self._free() as one:
            return one.small_picture(root, path, side)

    @contextmanager
    def _free(self) -> Iterator[GuardedReader]:
        one = self._idle.get()
        try:
            yield one
        finally:
            self._idle.put(one)

    def close(self) -> None:
        """End the processes."""
        for one in self._each:
            one.close()


@contextmanager
def begun_readers(count: int, processes: int) -> Iterator[GuardedReaders | None]:
    """Processes that read so many photographs, each begun when it is needed; None where they are too few."""
    if not worth_guarding(count):
        yield None
        return
    readers = GuardedReaders(processes)
    try:
        yield readers
    finally:
        readers.close()


def _checked(answer: dict[str, Any], parts: dict[str, bytes]) -> Look | str:
    """What a process answered: a look, or why there is none. Raises ValueError, KeyError."""
    if "reason" in answer:
        return str(answer["reason"])
    surround = np.frombuffer(parts["surround"], np.float32)
    places = np.frombuffer(parts["places"], np.float32).reshape(-1, 4)
    descriptors = np.frombuffer(parts["descriptors"], np.uint8).reshape(-1, 128)
    right = (
        len(parts["pixels"]) == len(parts["file"]) == DIGEST
        and surround.shape == (len(SURROUND),)
        and len(places) == len(descriptors) <= MOST
    )
    if not right:
        raise ValueError("no look")
    return Look(
        parts["pixels"],
        parts["file"],
        surround,
        Keypoints(places, descriptors),
        parts["content"],
        str(answer["doubt"]),
    )


def _pixels_of(answer: dict[str, Any], parts: dict[str, bytes]) -> Pixels | None:
    """The pixels that a process answered with. Raises ValueError, KeyError."""
    if answer["shape"] is None:
        return None
    height, width = answer["shape"]
    return np.frombuffer(parts["pixels"], np.uint8).reshape(height, width, 3)


def _fitted_of(answer: dict[str, Any], parts: dict[str, bytes]) -> Photograph | str:
    """The photograph that a process answered with, or why there is none. Raises ValueError, KeyError."""
    if "reason" in answer:
        return str(answer["reason"])
    pixels = _pixels_of(answer, parts)
    if pixels is None:
        raise ValueError("no pixels")
    return Photograph(pixels, int(answer["width"]), int(answer["height"]), "", 0)


def _reason(error: Unreadable | MemoryError) -> Answer:
    return {"reason": error.reason if isinstance(error, Unreadable) else "too large to decode"}, {}


def _fitted(asked: Mapping[str, Any], _: None) -> Answer:
    fitted = (int(asked["size"]), asked["aspect"])
    try:
        found = read_photograph(Path(asked["path"]), root=Path(asked["root"]), fitted=fitted)
    except (Unreadable, MemoryError) as error:
        return _reason(error)
    pixels = np.ascontiguousarray(found.pixels)
    told = {"shape": pixels.shape[:2], "width": found.width, "height": found.height}
    return told, {"pixels": pixels.tobytes()}


def _small(asked: Mapping[str, Any], _: None) -> Answer:
    try:
        pixels = small_picture(Path(asked["root"]), asked["path"], int(asked["side"]))
    except MemoryError:
        pixels = None
    if pixels is None:
        return {"shape": None}, {}
    return {"shape": pixels.shape[:2]}, {"pixels": np.ascontiguousarray(pixels).tobytes()}


def _look(asked: Mapping[str, Any], _: None) -> Answer:
    try:
        found = look_at(Path(asked["path"]), Path(asked["root"]))
    except (Unreadable, MemoryError) as error:
        return _reason(error)
    return {"doubt": found.doubt}, {
        "pixels": found.pixels,
        "file": found.file,
        "surround": found.surround.tobytes(),
        "places": found.keypoints.places.tobytes(),
        "descriptors": found.keypoints.descriptors.tobytes(),
        "content": found.content,
    }


if __name__ == "__main__":
    serve(
        {"look": _look, "fitted": _fitted, "small": _small}, lambda: None, int(sys.argv[1]), int(sys.argv[2])
    )
