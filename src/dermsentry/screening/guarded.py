"""A guarded process that holds a model, and screens a photograph whose decoder it may crash or hold."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from queue import LifoQueue
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from dermsentry import guarded
from dermsentry.errors import BundleError
from dermsentry.guarded import MEMORY, TIME_S, Answer, GuardedProcess, Stopped

# What takes its time to load is imported where it is used: a command begins its processes before that.
if TYPE_CHECKING:
    from dermsentry.model import Bundle, Card, Device
    from dermsentry.screening.finding import Finding
    from dermsentry.screening.inference import Screened
    from dermsentry.screening.inputs import Loaded, Source

ALONE = 16
"""Photographs that the first of several processes screens before the others begin, which takes as long."""
PNG = b"\x89PNG\r\n\x1a\n"


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
    from dermsentry.model import open_bundle

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

    def screen(self, source: Source, content: Loaded, *, saliency: bool = False) -> Screened:
        """Screen a photograph, its bytes or an array.

        Raises
        ------
        Unreadable
            It cannot be decoded, or stopped the process, or took too much time or memory.
        BundleError
            The model was refused, or the network failed.
        """
        import numpy as np

        from dermsentry.images import Unopened, Unreadable
        from dermsentry.screening.finding import finding_of
        from dermsentry.screening.inference import Screened
        from dermsentry.screening.triage import TIERS

        shape = list(content.shape) if isinstance(content, np.ndarray) else None
        data = content if isinstance(content, bytes) else np.asarray(content, np.uint8).tobytes()
        asked = {
            "do": "screen",
            "name": source.name,
            "path": source.path,
            "shape": shape,
            "saliency": saliency,
        }

        def checked(answer: dict[str, Any], drawn: dict[str, bytes]) -> Screened | Unreadable:
            if "reason" in answer:
                return (Unopened if answer["unopened"] else Unreadable)(str(answer["reason"]))
            finding: Finding = finding_of(answer["finding"])
            if (finding.image, finding.path, finding.model) != (source.name, source.path, self.model):
                raise ValueError("the finding of something else")
            if finding.tier not in TIERS:
                raise ValueError("no tier")
            picture = drawn.get("saliency")
            if (picture is not None) != saliency or not (picture or PNG).startswith(PNG):
                raise ValueError("no picture")
            return Screened(finding, picture)

        try:
            with self._one_at_a_time:
                found = self.ask(asked, checked, {"content": data})
        except Stopped as error:
            raise Unreadable(error.reason) from None
        if isinstance(found, Unreadable):
            raise found
        return found


class GuardedScreeners:
    """Several such processes, which screen files side by side; what is in memory is screened here.

    The first begins at once, the others once there are photographs enough to make up for it.

    Parameters
    ----------
    bundle
        The bundle's folder; `dermoscopy`, where no folder is called so, is the bundled model.
    threads
        How many there are at most.
    device
        Where the network computes, `cpu` or `cuda`.
    opened
        The bundle, where it is open here; else it is opened for the first photograph in memory.
    """

    def __init__(
        self, bundle: str | Path, *, threads: int, device: Device = "cpu", opened: Bundle | None = None
    ) -> None:
        self.folder, self.threads, self.device = Path(bundle), threads, device
        self._opened = opened
        self._each = [GuardedScreener(self.folder, "", device=device) for _ in range(threads)]
        self._waiting, self._screened = self._each[1:], 0
        self._idle: LifoQueue[GuardedScreener] = LifoQueue()
        self._idle.put(self._each[0])
        self._each[0].begin()

    @cached_property
    def card(self) -> Card:
        """The bundle's card, verified by digest and hash; the processes verify the rest."""
        from dermsentry.model import read_network

        return read_network(self.folder)[0]

    @cached_property
    def name(self) -> str:
        """What findings call the model."""
        from dermsentry.model.bundle import name_of

        return name_of(self.card)

    @cached_property
    def _bundle(self) -> Bundle:
        from dermsentry.model import open_bundle

        return self._opened or open_bundle(self.folder, threads=self.threads, device=self.device)

    def start(self) -> None:
        """Wait until a process is ready.

        Raises
        ------
        BundleError
            The model was refused.
        InputError
            The device is not here.
        """
        one = self._idle.get()
        try:
            one.start()
        finally:
            self._idle.put(one)

    def screen(self, source: Source, content: Loaded, *, saliency: bool = False) -> Screened:
        """As `GuardedScreener.screen`, in the process that is free; or here, where it is no file's bytes."""
        if not isinstance(content, bytes):
            from dermsentry.screening.inference import decode, screen_photograph

            photograph = decode(content, name=source.path, fitted=self.card.fitted)
            return screen_photograph(photograph, self._bundle, source.name, source.path, saliency=saliency)
        one = self._idle.get()
        one.model = self.name
        try:
            return one.screen(source, content, saliency=saliency)
        finally:
            self._screened += 1
            while self._waiting and self._screened >= ALONE:
                self._idle.put(self._waiting.pop())
            self._idle.put(one)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._each:
            one.close()


def _screen(asked: Mapping[str, Any], bundle: Bundle) -> Answer:
    import numpy as np

    from dermsentry.files import plain
    from dermsentry.images import Unopened, Unreadable
    from dermsentry.screening.inference import decode, screen_photograph

    content: Loaded = asked["content"]
    if asked["shape"] is not None:
        content = np.frombuffer(asked["content"], np.uint8).reshape(asked["shape"])
    try:
        photograph = decode(content, name=asked["path"], fitted=bundle.card.fitted)
        found = screen_photograph(
            photograph, bundle, asked["name"], asked["path"], saliency=asked["saliency"]
        )
    except (Unreadable, MemoryError) as error:
        reason = error.reason if isinstance(error, Unreadable) else "too large to decode"
        return {"reason": reason, "unopened": isinstance(error, Unopened)}, {}
    return {"finding": plain(found.finding)}, {} if found.saliency is None else {"saliency": found.saliency}


if __name__ == "__main__":
    serve({"screen": _screen}, int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])  # type: ignore[arg-type]
