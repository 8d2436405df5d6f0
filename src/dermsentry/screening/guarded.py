"""A guarded process that holds a model, and screens a photograph whose decoder it may crash or hold."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from dermsentry import guarded
from dermsentry.errors import BundleError
from dermsentry.files import plain
from dermsentry.guarded import MEMORY, TIME_S, Answer, GuardedProcess, Stopped
from dermsentry.images import Unopened, Unreadable
from dermsentry.model import Bundle, Device, open_bundle
from dermsentry.screening.finding import Finding, finding_of
from dermsentry.screening.inference import Screened, decode, screen_photograph
from dermsentry.screening.inputs import Loaded, Source
from dermsentry.screening.triage import TIERS


class Guarded(GuardedProcess):
    """A process that holds a model; it is begun when first needed, and again after it had to be ended.

    `module`: what the process runs, which calls `serve`. BundleError is raised where the model was refused,
    or the network failed.
    """

    error = BundleError

    def __init__(
        self,
        bundle: Path,
        *,
        device: Device = "cpu",
        time_s: float = TIME_S,
        memory: int = MEMORY,
        module: str = __name__,
    ) -> None:
        super().__init__(module, time_s=time_s, memory=memory)
        self.bundle, self.device = bundle, device

    def arguments(self) -> list[str]:
        """The bundle's folder, and where the network computes."""
        return [str(self.bundle), self.device]

    def ended(self) -> str:
        """What is said where the model could not be opened for another reason than the model."""
        return f"{self.bundle}: the process that opens the model ended."


def serve(
    do: Mapping[str, Callable[[Mapping[str, Any], Bundle], Answer]],
    memory: int,
    time_s: int,
    folder: str,
    device: Device = "cpu",
) -> None:
    """Be the process: open the model, then answer until nobody asks; see `dermsentry.guarded.serve`."""
    guarded.serve(do, lambda: open_bundle(folder, threads=1, device=device), memory, time_s)


class GuardedScreener(Guarded):
    """Screens one photograph after another in such a process; safe to call from several threads.

    `model`: what its findings are to call the model.
    """

    def __init__(
        self,
        bundle: Path,
        model: str,
        *,
        device: Device = "cpu",
        time_s: float = TIME_S,
        memory: int = MEMORY,
    ) -> None:
        super().__init__(bundle, device=device, time_s=time_s, memory=memory)
        self.model = model
        self._one_at_a_time = Lock()

    def screen(self, source: Source, content: Loaded) -> Screened:
        """Screen a photograph, its bytes or an array.

        Raises
        ------
        Unreadable
            It cannot be decoded, or stopped the process, or took too much time or memory.
        BundleError
            The model was refused, or the network failed.
        """
        shape = list(content.shape) if isinstance(content, np.ndarray) else None
        data = content if isinstance(content, bytes) else np.asarray(content, np.uint8).tobytes()
        asked = {"do": "screen", "name": source.name, "path": source.path, "shape": shape}

        def checked(answer: dict[str, Any], _: dict[str, bytes]) -> Finding | Unreadable:
            if "reason" in answer:
                return (Unopened if answer["unopened"] else Unreadable)(str(answer["reason"]))
            finding = finding_of(answer["finding"])
            if (finding.image, finding.path, finding.model) != (source.name, source.path, self.model):
                raise ValueError("the finding of something else")
            if finding.tier not in TIERS:
                raise ValueError("no tier")
            return finding

        try:
            with self._one_at_a_time:
                found = self.ask(asked, checked, {"content": data})
        except Stopped as error:
            raise Unreadable(error.reason) from None
        if isinstance(found, Unreadable):
            raise found
        return Screened(found)


def _screen(asked: Mapping[str, Any], bundle: Bundle) -> Answer:
    content: Loaded = asked["content"]
    if asked["shape"] is not None:
        content = np.frombuffer(asked["content"], np.uint8).reshape(asked["shape"])
    try:
        photograph = decode(content, name=asked["path"], enough_for=2 * bundle.card.size)
        found = screen_photograph(photograph, bundle, asked["name"], asked["path"])
    except (Unreadable, MemoryError) as error:
        reason = error.reason if isinstance(error, Unreadable) else "too large to decode"
        return {"reason": reason, "unopened": isinstance(error, Unopened)}, {}
    return {"finding": plain(found.finding)}, {}


if __name__ == "__main__":
    serve({"screen": _screen}, int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])  # type: ignore[arg-type]
