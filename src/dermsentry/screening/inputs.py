"""Which images to screen: files, folders, patterns, archives, addresses, images in memory, or a list.

All of them become `Source`s, taken one after another: memory does not grow with their number.
"""

from __future__ import annotations

import glob
import hashlib
import heapq
import io
import itertools
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union, cast

import numpy as np
from PIL import Image

from dermsentry.errors import InputError
from dermsentry.image_files import walk
from dermsentry.image_formats import HEAD, READ, format_of
from dermsentry.images import MAX_BYTES, Pixels
from dermsentry.screening.archives import Archive, archive_kind, members, require_reader, tell_unopened
from dermsentry.screening.remote import Remote, find_remote, is_address, require_address, shown

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

ImageInput: TypeAlias = Union[str, os.PathLike[str], bytes, Image.Image, Pixels, "Dataset"]
"""One image, or where images are; see `dermsentry.screen`."""

Loaded: TypeAlias = Union[bytes, Image.Image, Pixels, "Dataset"]
"""A photograph before it is decoded."""
Content: TypeAlias = Loaded | Callable[[], bytes]

_EXPECTED = "a path, bytes, a PIL image, a DICOM data set or an array (height, width, 3) of uint8, RGB"


@dataclass(frozen=True, slots=True)
class Source:
    """An image to be screened.

    `path` is its file or address, or the name of an image in memory. `root` is the folder that a link may not
    lead out of, if any. `content` is the image, or what reads its bytes (raises Unreadable); None: the file
    at `path`. `refused` says why it is not to be opened, `""` where it is. `version` differs where the
    content does, or is what finds that out; None: a file's size and time. `passing`: its content can be read
    only until the next source is taken. `archive`: it is no image but an archive that was not opened.
    """

    path: str
    root: str | None = None
    content: Content | None = field(default=None, compare=False)
    refused: str = ""
    version: str | Callable[[], str | None] | None = field(default=None, compare=False)
    passing: bool = field(default=False, compare=False)
    archive: Archive | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """The file's stem, which is the image's name in every result."""
        return Path(self.path.partition("::")[0] if is_address(self.path) else self.path).stem

    def known_version(self) -> str | None:
        """What tells this content from an earlier one of the same path; None where nothing does."""
        if self.version is not None:
            return self.version() if callable(self.version) else self.version
        return file_version(Path(self.path)) if self.content is None and not self.refused else None


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of all photographs, numbered from 1, by a hash of the path."""

    number: int
    count: int

    def has(self, path: str) -> bool:
        """Whether a photograph is in this part."""
        return path_hash(path) % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def read_shard(text: str) -> Shard:
    """Read `3/40`. Raises InputError."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise InputError(f"Received the shard {text!r}; expected one such as 3/40, from 1/40 to 40/40.")
    return Shard(int(found[1]), int(found[2]))


def path_hash(path: str) -> int:
    """64 bits of a path, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(path.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def file_version(path: Path) -> str | None:
    """A file's size and when it was last written; None where it cannot be asked."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return f"{found.st_size}-{found.st_mtime_ns}"


def find_photographs(
    given: ImageInput | Iterable[ImageInput],
    *,
    leave_out: Path | None = None,
    strict: bool = True,
    shard: Shard | None = None,
    open_archives: bool = True,
) -> Iterator[Source]:
    """Find the images that `given` names or holds, files once each, in order; folders in order of name.

    Parameters
    ----------
    given
        One or many of: a file (any name: one that is no image gets its line as unreadable), a folder
        (searched to the bottom for what is an image by content or by name; what is not opened, such as a
        hidden image or a link to a folder elsewhere, gets its line as unreadable), a pattern such as
        `visits/**/*.jpg`, an archive, an address that `fsspec` knows, and images in memory, which are called
        `image`, `image_2`, … after no file here.
    leave_out
        A folder that is not searched: where this run writes its own pictures.
    strict
        Whether a path that does not exist is refused; if not, it is listed, to be found unreadable.
    shard
        The part of them that is wanted; all if None.
    open_archives
        Whether an archive's images are found; if not, the archive is, which costs no time.

    Raises
    ------
    InputError
        A path that does not exist, a folder without images, a pattern that nothing matches, an array that is
        no image. Of an iterator when it comes to that, else at once.
    """
    each = _each(given)
    taken: set[str] = set()
    if isinstance(each, Sequence | np.ndarray):
        for one in each:
            _require(one, leave_out, strict)
        if not len(each):
            raise InputError(_NONE)
        places = [one for one in each if is_place(one)]
        if 0 < len(places) < len(each):
            taken = {
                own.name for own in _found(places, leave_out, strict, set(), open_archives) if not own.passing
            }
    found = _found(each, leave_out, strict, taken, open_archives)
    return found if shard is None else (source for source in found if shard.has(source.path))


_NONE = "Received no photographs; expected files, folders or patterns."


def is_place(one: object) -> bool:
    """Whether it says where images are, and is none itself."""
    return isinstance(one, str | os.PathLike)


def only_local(given: ImageInput | Iterable[ImageInput]) -> bool:
    """Whether images can be listed twice at little cost: no archive, address or iterator is among them."""
    each = _each(given)
    return isinstance(each, Sequence | np.ndarray) and not any(
        is_place(one) and (is_address(text := os.fspath(one)) or archive_kind(text) or _archive(Path(text)))
        for one in each
    )


def places(given: ImageInput | Iterable[ImageInput]) -> tuple[str, ...] | None:
    """The paths and addresses that are given; None where there are images in memory or an iterator."""
    each = _each(given)
    if not isinstance(each, Sequence) or not all(map(is_place, each)):
        return None
    return tuple(shown(os.fspath(one)) for one in each)


def _found(
    each: Iterable[ImageInput], leave_out: Path | None, strict: bool, taken: set[str], open_archives: bool
) -> Iterator[Source]:
    several = not isinstance(each, Sequence) or len(each) > 1
    seen: set[int] = set()
    names = (name for name in _names() if name not in taken)
    empty = True
    for one in each:
        if not is_place(one):
            empty = False
            yield Source(next(names), content=_checked(one))
            continue
        text = _text(one)
        for source in _sources(text, leave_out, strict, open_archives):
            empty = False
            # A member's path is its archive's and its own name, which an archive may hold twice.
            if several and not source.passing:
                place = path_hash(source.path if is_address(text) else str(Path(source.path).absolute()))
                if place in seen:
                    continue
                seen.add(place)
            yield source
    if empty:
        raise InputError(_NONE)


def _each(given: ImageInput | Iterable[ImageInput]) -> Iterable[ImageInput]:
    if is_place(given) or isinstance(given, bytes | Image.Image) or _is_dataset(given):
        return (given,)  # type: ignore[return-value]
    if isinstance(given, np.ndarray):
        return given if given.ndim == 4 else (given,)
    # An open file would be gone through line by line, what holds bytes byte by byte.
    if isinstance(given, io.IOBase | bytearray | memoryview) or not isinstance(given, Iterable):
        read = ", of an open file what read() returns" if hasattr(given, "read") else ""
        raise InputError(f"Received {type(given).__name__}; expected {_EXPECTED}, or several of these{read}.")
    return cast(Iterable[ImageInput], given if isinstance(given, Iterator | Sequence) else list(given))


def _text(place: object) -> str:
    """A path or address as text. Raises InputError where it is empty, which would be this folder."""
    text: str = os.fspath(place)  # type: ignore[call-overload]
    if not text:
        raise InputError("Received an empty path; expected a photograph, a folder or a pattern.")
    return text


def _is_dataset(one: object) -> bool:
    """Whether it is a DICOM data set, which nobody has who has not imported pydicom."""
    pydicom = sys.modules.get("pydicom.dataset")
    return pydicom is not None and isinstance(one, pydicom.Dataset)


def _checked(image: object) -> Any:
    if isinstance(image, bytes | Image.Image) or _is_dataset(image):
        return image
    if not isinstance(image, np.ndarray):
        raise InputError(f"Received {type(image).__name__}; expected {_EXPECTED}.")
    if image.ndim != 3 or image.shape[2] != 3 or not image.size or image.dtype != np.uint8:
        raise InputError(f"Received an array {image.shape} of {image.dtype}; expected {_EXPECTED}.")
    return image


def _names() -> Iterator[str]:
    yield "image"
    yield from (f"image_{number}" for number in itertools.count(2))


def read_standard_input(data: bytes) -> list[str] | bytes:
    """What came on stdin: the bytes of a photograph, or the paths of a list.

    A list has one path a line, or separates them by NUL as `find -print0` writes them.
    """
    if len(data) > MAX_BYTES:
        raise InputError(
            f"Received more than {MAX_BYTES >> 20} MiB on stdin; expected a photograph or a list."
        )
    kind = archive_kind("", data[:512])
    if kind is not None:
        raise InputError(
            f"Received a {kind} archive on stdin; expected a photograph or a list. Give its path."
        )
    # No path has control characters, and no photograph is without.
    if format_of(data[:HEAD]) is not None or re.search(rb"[\x01-\x08\x0e-\x1f]", data[:HEAD]):
        return data
    return read_list(os.fsdecode(data))


def read_list(lines: str) -> list[str]:
    """The paths of a list, one a line, or separated by NUL as `find -print0` writes them."""
    separated = lines.split("\0") if "\0" in lines else lines.splitlines()
    return [line for line in separated if line.strip()]


def require_own_names(sources: Iterable[Source], what: str) -> None:
    """Raise InputError if two photographs have the same name: `what` could not tell them apart."""
    first: dict[str, str] = {}
    for source in sources:
        other = first.setdefault(source.name, source.path)
        if other != source.path:
            raise InputError(
                f"{other} and {source.path} are both named {source.name}, and {what} knows a photograph by "
                "its name alone; rename one, or screen their folders one at a time."
            )


def _require(one: object, leave_out: Path | None, strict: bool) -> None:
    """Raise InputError where it is known at once that there is nothing to screen."""
    if not is_place(one):
        _checked(one)
        return
    text = _text(one)
    path = Path(text)
    if is_address(text):
        require_address(text, strict)
    elif path.is_dir():
        next(_walk(text, leave_out))
    elif path.exists() or path.is_symlink():
        kind = _archive(path)
        if kind is not None:
            require_reader(kind)
    elif strict and not glob.has_magic(text):
        raise InputError(f"{text} does not exist; expected a photograph, a folder or a pattern.")
    elif strict and next(glob.iglob(text, recursive=True), None) is None:  # noqa: PTH207
        raise InputError(f"Nothing matches {text}.")


def _sources(text: str, leave_out: Path | None, strict: bool, open_archives: bool) -> Iterator[Source]:
    path = Path(text)
    if is_address(text):
        yield from map(remote_source, find_remote(text, open_archives=open_archives))
    elif path.is_dir():
        yield from _walk(text, leave_out)
    elif path.exists() or path.is_symlink():
        yield from _file(text, open_archives)
    elif glob.has_magic(text) and (matches := sorted(glob.glob(text, recursive=True))):  # noqa: PTH207
        for match in matches:
            if not Path(match).is_dir():
                yield from _file(match, open_archives)
            elif "**" not in text:  # with `**` the files below match by themselves
                yield from _walk(match, leave_out)
    elif not strict:
        yield Source(text)
    else:
        raise InputError(f"{text} does not exist; expected a photograph, a folder or a pattern.")


def _archive(path: Path) -> Any:
    """Which kind of archive a local file is; None if it is none, or cannot be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with path.open("rb", buffering=0) as file:
            return archive_kind(path.name, file.read(512))
    except (OSError, ValueError):
        return None


def remote_source(found: Remote) -> Source:
    """What was found at an address, as a source."""
    return Source(
        found.path, content=found.read, version=found.version, refused=found.refused, passing=found.passing,
        archive=found.archive,
    )  # fmt: skip


def _file(text: str, open_archives: bool) -> Iterator[Source]:
    path = Path(text)
    kind = _archive(path)
    if kind is None:
        yield Source(text)
        return
    if not open_archives:
        yield Source(text, version=file_version(path), archive=Archive(kind, path.stat().st_size))
        return
    with path.open("rb") as file:
        for own in members(file, kind, text, file_version(path), path.stat().st_size):
            whole = f"{text}/{own.name}" if own.name else text
            yield Source(whole, content=own.read, refused=own.refused, version=own.version, passing=True)


def _walk(root: str, leave_out: Path | None) -> Iterator[Source]:
    archives: list[str] = []
    empty = True
    for folder in walk(Path(root), leave_out=leave_out):
        for name in heapq.merge(folder.photographs, folder.unsupported):
            path, empty = folder.path / name, False
            # Only a link can lead out of the folder; to resolve every path would cost more than to ask.
            yield Source(str(path), root if path.is_symlink() else None)
        for one in folder.not_read:
            empty = False
            yield Source(str(Path(root) / one.path), refused=one.reason)
        archives += [str(folder.path / name) for name in folder.others if archive_kind(name) is not None]
    if empty and archives:
        raise InputError(f"{root} holds no photographs but archives, such as {archives[0]}; name them.")
    if empty:
        raise InputError(f"{root} holds no photographs; expected {READ}.")
    tell_unopened(archives, root)
