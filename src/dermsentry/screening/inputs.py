"""Which images to screen: files, folders, patterns, images in memory, or another command's list."""

from __future__ import annotations

import glob
import io
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from dermsentry.errors import InputError
from dermsentry.image_files import walk
from dermsentry.image_formats import READ
from dermsentry.images import Pixels

ImageInput = str | os.PathLike[str] | bytes | Image.Image | Pixels
"""One image, or where images are; see `dermsentry.screen`."""


_EXPECTED = "a path, bytes, a PIL image or an array (height, width, 3) of uint8, RGB"


@dataclass(frozen=True, slots=True)
class Source:
    """An image to be screened.

    `path` is its file, or the name of an image in memory, whose `content` is set. `root` is the folder that a
    link may not lead out of, if any. `refused` says why it is not to be opened, `""` where it is.
    """

    path: str
    root: str | None = None
    content: bytes | Image.Image | Pixels | None = field(default=None, compare=False)
    refused: str = ""

    @property
    def name(self) -> str:
        """The file's stem, which is the image's name in every result."""
        return Path(self.path).stem


def find_photographs(
    given: ImageInput | Iterable[ImageInput], *, leave_out: Path | None = None, strict: bool = True
) -> list[Source]:
    """List the images that `given` names or holds, files once each, in order; folders in order of name.

    Parameters
    ----------
    given
        One or many of: a file (any name: one that is no image gets its line as unreadable), a folder
        (searched to the bottom for what is an image by content or by name; what is not opened, such as a
        hidden image or a link to a folder elsewhere, gets its line as unreadable), a pattern such as
        `visits/**/*.jpg`, and images in memory, which are called `image`, `image_2`, … after no file here.
    leave_out
        A folder that is not searched: where this run writes its own pictures.
    strict
        Whether a path that does not exist is refused; if not, it is listed, to be found unreadable.

    Raises
    ------
    InputError
        A path that does not exist, a folder without images, a pattern that nothing matches, an array that is
        no image.
    """
    found: dict[str, Source] = {}
    for one in _each(given):
        if isinstance(one, str | os.PathLike):
            for source in _sources(os.fspath(one), leave_out, strict):
                found.setdefault(str(Path(source.path).absolute()), source)
        else:
            found[f"\0{len(found)}"] = Source("", content=_checked(one))
    if not found:
        raise InputError("Received no photographs; expected files, folders or patterns.")
    taken = {source.name for source in found.values()}
    return [source if source.content is None else _named(source, taken) for source in found.values()]


def _each(given: ImageInput | Iterable[ImageInput]) -> Iterable[ImageInput]:
    if isinstance(given, str | os.PathLike | bytes | Image.Image):
        return (given,)
    if isinstance(given, np.ndarray):
        return given if given.ndim == 4 else (given,)
    # An open file would be gone through line by line.
    if isinstance(given, io.IOBase | bytearray) or not isinstance(given, Iterable):
        raise InputError(f"Received {type(given).__name__}; expected {_EXPECTED}, or several of these.")
    return given


def _checked(image: object) -> bytes | Image.Image | Pixels:
    if isinstance(image, bytes | Image.Image):
        return image
    if not isinstance(image, np.ndarray):
        raise InputError(f"Received {type(image).__name__}; expected {_EXPECTED}.")
    if image.ndim != 3 or image.shape[2] != 3 or not image.size or image.dtype != np.uint8:
        raise InputError(f"Received an array {image.shape} of {image.dtype}; expected {_EXPECTED}.")
    return image


def _named(source: Source, taken: set[str]) -> Source:
    """An image in memory under the first of `image`, `image_2`, … that is free, which is then taken."""
    name = next(name for name in _names() if name not in taken)
    taken.add(name)
    return Source(name, content=source.content)


def _names() -> Iterator[str]:
    yield "image"
    yield from (f"image_{number}" for number in itertools.count(2))


def read_list(lines: str) -> list[str]:
    """The paths of a list, one a line, or separated by NUL as `find -print0` writes them."""
    separated = lines.split("\0") if "\0" in lines else lines.splitlines()
    return [line for line in separated if line.strip()]


def require_own_names(sources: Sequence[Source], what: str) -> None:
    """Raise InputError if two photographs have the same name: `what` could not tell them apart."""
    first: dict[str, str] = {}
    for source in sources:
        other = first.setdefault(source.name, source.path)
        if other != source.path:
            raise InputError(
                f"{other} and {source.path} are both named {source.name}, and {what} knows a photograph by "
                "its name alone; rename one, or screen their folders one at a time."
            )


def _sources(text: str, leave_out: Path | None, strict: bool) -> Iterator[Source]:
    path = Path(text)
    if path.is_dir():
        files = list(_walk(text, leave_out))
        if not files:
            raise InputError(f"{text} holds no photographs; expected {READ}.")
        yield from files
    elif not strict or path.exists() or path.is_symlink():
        yield Source(text)
    elif glob.has_magic(text):
        matches = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        if not matches:
            raise InputError(f"Nothing matches {text}.")
        for match in matches:
            if not Path(match).is_dir():
                yield Source(match)
            elif "**" not in text:  # with `**` the files below match by themselves
                yield from _walk(match, leave_out)
    else:
        raise InputError(f"{text} does not exist; expected a photograph, a folder or a pattern.")


def _walk(root: str, leave_out: Path | None) -> Iterator[Source]:
    for folder in walk(Path(root), leave_out=leave_out):
        for name in sorted([*folder.photographs, *folder.unsupported]):
            path = folder.path / name
            # Only a link can lead out of the folder; to resolve every path would cost more than to ask.
            yield Source(str(path), root if path.is_symlink() else None)
        for one in folder.not_read:
            yield Source(str(Path(root) / one.path), refused=one.reason)
