"""Photographs inside archives, one after another: zip, tar (webdataset), Parquet and HDF5.

Nothing is unpacked to disk, so names and links lead nowhere. An archive is taken to be hostile: a photograph
in it may be as large as a file may be, and all that it expands to only so many times larger than it is.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, cast

from dermsentry.errors import DataWarning, require_extra
from dermsentry.hdf_files import LINK, byte_members
from dermsentry.image_files import HIDDEN, SYSTEM_FILES, SYSTEM_FOLDERS
from dermsentry.image_formats import HEAD, format_of, format_of_name
from dermsentry.images import MAX_BYTES, Unreadable

Kind = Literal["zip", "tar", "Parquet", "HDF5"]
SUFFIXES: dict[str, Kind] = {
    ".zip": "zip",
    **dict.fromkeys((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"), "tar"),
    ".parquet": "Parquet",
    **dict.fromkeys((".hdf5", ".h5"), "HDF5"),
}
MOST_EXPANDED = 200
"""Times its size that an archive may hold; of photographs, which are compressed, it is hardly over 1."""
LONGEST_HEADER = 1024 * 1024
"""Of a tar member, where names and attributes of any length may be."""
_ROWS = 16  # of a Parquet file that are read at once
_IMAGES = ("image", "img", "photo", "photograph", "picture", "jpg", "jpeg", "png", "webp", "bytes", "content")
_NAMES = (
    *("isic_id", "image_id", "image_name", "image_path", "file_name", "filename", "path", "name", "id"),
    *("image", "key", "__key__"),
)
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")


@dataclass(frozen=True, slots=True)
class Member:
    """What is in an archive. `read` is called, if at all, before the next member is taken.

    `name` is "" where this is about the archive itself. `version` differs if the content does. `refused` says
    why it is not to be read, "" where it is.
    """

    name: str
    read: Callable[[], bytes] | None = None
    version: str | None = None
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive as a whole: what it is, and its size in bytes, 0 where that is not known."""

    kind: Kind
    size: int


def archive_kind(name: str, head: bytes | None = None) -> Kind | None:
    """Which kind of archive a file is, by its first bytes if given, else by its name; None if none."""
    named = next((kind for suffix, kind in SUFFIXES.items() if name.lower().endswith(suffix)), None)
    if head is None:
        return named
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head[257:262] == b"ustar" or (named == "tar" and head.startswith(_COMPRESSED)):
        return "tar"
    if head.startswith(b"PAR1"):
        return "Parquet"
    return "HDF5" if head.startswith(b"\x89HDF\r\n\x1a\n") else None


def require_reader(kind: Kind) -> None:
    """Raise InputError where what reads this kind of archive is not installed."""
    if kind == "Parquet":
        require_extra("parquet")
    if kind == "HDF5":
        require_extra("hdf5")


def members(
    file: BinaryIO, kind: Kind, where: str, version: str | None, size: int | None
) -> Iterator[Member]:
    """Yield the photographs of an archive, and what may hold some but is not read; memory stays flat.

    Parameters
    ----------
    file
        The archive, which can be sought in; a tar need not be.
    kind
        What it is.
    where
        What it is called.
    version
        What differs if the file does; that of members that have none of their own.
    size
        Its size in bytes, where that is known.

    Raises
    ------
    InputError
        What reads this kind is not installed.
    """
    require_reader(kind)
    read = {"zip": _zip, "tar": _tar, "Parquet": _parquet, "HDF5": _hdf5}[kind]
    nested: list[str] = []
    empty = True
    try:
        for member in read(file, version, size, nested):
            empty = False
            yield member
    except Unreadable as error:
        yield Member("", refused=error.reason)
    except Exception as error:  # noqa: BLE001 - a parser fed hostile bytes may raise anything
        words = str(error).strip().split("\n")[0] or type(error).__name__
        yield Member("", refused=f"the {kind} archive cannot be read any further ({words})")
    else:
        if empty:
            yield Member("", refused=f"the {kind} archive holds no photographs")
    tell_unopened(nested, where)


def tell_unopened(archives: list[str], where: str) -> None:
    """Warn of archives that were found beside photographs and not opened."""
    if archives:
        number = "an archive that was" if len(archives) == 1 else f"{len(archives):,} archives that were"
        such = f", such as {archives[0]}" if len(archives) > 1 else f", {archives[0]}"
        warnings.warn(
            f"{where} holds {number} not opened{such}; name an archive to have its photographs screened.",
            DataWarning,
            stacklevel=2,
        )


def _judge(name: str, head: bytes) -> str | None:
    """ "" for what is taken for a photograph, why one is not read, None for anything else."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    kind, named = format_of(head), format_of_name(name)
    if any(part.startswith(".") or part.lower() in SYSTEM_FOLDERS for part in parts):
        return HIDDEN if kind is not None else None
    if not parts or parts[-1].lower() in SYSTEM_FILES:
        return None
    return "" if named is not None or kind is not None else None


def _member(
    name: str, size: int, head: Callable[[], bytes], read: Callable[[bytes], bytes], version: str | None
) -> Member | None:
    """A member whose first bytes `head` reads, and `read` the rest after these; None for no photograph."""
    if size > MAX_BYTES:
        reason = f"the file is too large ({size >> 20} MiB; at most {MAX_BYTES >> 20})"
        return Member(name, version=version, refused=reason) if format_of_name(name) is not None else None
    try:
        start = head()
    except Exception as error:  # noqa: BLE001 - a decompressor fed hostile bytes may raise anything
        if format_of_name(name) is None:
            return None
        return Member(name, version=version, refused=f"its place in the archive is damaged ({error})")
    judged = _judge(name, start)
    if judged is None:
        return None
    if judged:
        return Member(name, refused=judged)

    def content() -> bytes:
        try:
            return read(start)
        except Exception as error:  # noqa: BLE001 - a decompressor fed hostile bytes may raise anything
            words = str(error).strip().split("\n")[0] or type(error).__name__
            raise Unreadable(f"its place in the archive is damaged ({words})") from None

    return Member(name, content, version)


def _zip(file: BinaryIO, _: str | None, size: int | None, nested: list[str]) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if size is not None and sum(own.file_size for own in entries) > MOST_EXPANDED * size + MAX_BYTES:
            raise Unreadable(f"the zip archive says that it holds over {MOST_EXPANDED} times its size")
        for own in entries:
            if own.is_dir():
                continue
            name, version = own.filename, f"{own.file_size}-{own.CRC:08x}"
            if (own.external_attr >> 16) & 0o170000 == 0o120000:  # a symbolic link, as Unix writes it
                if format_of_name(name) is not None:
                    yield Member(name, refused=LINK)
            elif own.flag_bits & 1:
                if format_of_name(name) is not None:
                    yield Member(name, refused="encrypted")
            elif archive_kind(name) is not None:
                nested.append(name)
            else:

                def first(own: zipfile.ZipInfo = own) -> bytes:
                    with archive.open(own) as opened:
                        return opened.read(HEAD)

                def whole(_: bytes, own: zipfile.ZipInfo = own) -> bytes:
                    with archive.open(own) as opened:
                        return opened.read(own.file_size)

                member = _member(name, own.file_size, first, whole, version)
                if member is not None:
                    yield member


class _Header(tarfile.TarInfo):
    """A header of bounded length; one that is damaged is an error, where `tarfile` takes it for the end."""

    def _proc_member(self, archive: Any) -> Any:
        kinds = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
        named = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
        if self.type in (*kinds, *named) and self.size > LONGEST_HEADER:
            raise tarfile.ReadError("a header without end")
        return super()._proc_member(archive)  # type: ignore[misc]

    def _refuse(self, *_: object) -> Any:
        raise tarfile.ReadError("a sparse file")

    _proc_sparse = _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> _Header:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            if archive.offset == 0:
                raise
            raise tarfile.ReadError(f"{error} at byte {archive.offset}") from None


class _Metered(io.RawIOBase):
    """A file that is read from its beginning, `start`, to its end; `taken` bytes so far."""

    def __init__(self, file: BinaryIO) -> None:
        self.start = self._left = file.read(6)
        self._file, self.taken = file, 0

    def read(self, size: int = -1, /) -> bytes:
        cut = size if size >= 0 else len(self._left)
        data, self._left = self._left[:cut], self._left[cut:]
        data = data or self._file.read(size)
        self.taken += len(data)
        return data

    def expanded(self) -> BinaryIO:
        """What it holds where it is compressed; `tarfile` itself would copy a bomb again and again."""
        openers = dict(zip(_COMPRESSED, (gzip.GzipFile, bz2.BZ2File, lzma.LZMAFile), strict=True))
        opener: Any = next((own for magic, own in openers.items() if self.start.startswith(magic)), None)
        if opener is gzip.GzipFile:
            return cast(BinaryIO, gzip.GzipFile(fileobj=self, mode="rb"))
        return cast(BinaryIO, self if opener is None else opener(self))


def _tar(file: BinaryIO, _: str | None, size: int | None, nested: list[str]) -> Iterator[Member]:
    metered = _Metered(file)
    with tarfile.open(fileobj=metered.expanded(), mode="r|", tarinfo=_Header) as archive:
        while (own := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # it would keep every one
            most = MOST_EXPANDED * (size if size is not None else metered.taken) + MAX_BYTES
            if own.offset_data + own.size > most:
                raise Unreadable(
                    f"the tar archive holds over {MOST_EXPANDED} times its size; the rest is not read"
                )
            name, version = own.name, f"{own.size}-{own.mtime:.0f}-{own.offset_data}"
            if own.isreg() and archive_kind(name) is not None:
                nested.append(name)
            elif own.isreg():
                with archive.extractfile(own) as opened:  # type: ignore[union-attr]
                    member = _member(
                        name,
                        own.size,
                        lambda opened=opened: opened.read(HEAD),  # type: ignore[misc]
                        lambda head, opened=opened: head + opened.read(),  # type: ignore[misc]
                        version,
                    )
                    if member is not None:
                        yield member
            elif not own.isdir() and format_of_name(name) is not None:
                yield Member(name, refused=LINK if own.issym() or own.islnk() else "a device, not a file")


def _parquet(file: BinaryIO, version: str | None, _: int | None, nested: list[str]) -> Iterator[Member]:
    from pyarrow import parquet, types

    opened = parquet.ParquetFile(file, pre_buffer=False)
    fields = {own.name: own.type for own in opened.schema_arrow}

    def is_bytes(kind: Any) -> bool:
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    def holds_bytes(kind: Any) -> bool:  # as Hugging Face's data sets have it: {bytes, path}
        return types.is_struct(kind) and any(own.name == "bytes" and is_bytes(own.type) for own in kind)

    found = [name for name, kind in fields.items() if is_bytes(kind) or holds_bytes(kind)]
    if not found:
        raise Unreadable(f"a Parquet file without a column of image bytes; it has {', '.join(fields)[:200]}")
    column = next((name for name in _IMAGES if name in found), found[0])
    text = {n for n, kind in fields.items() if types.is_string(kind) or types.is_large_string(kind)}
    named = next((name for name in _NAMES if name in text), None)
    if len(found) > 1:
        others = ", ".join(name for name in found if name != column)
        warnings.warn(
            f"of a Parquet file the images in {column} are read, not {others}.", DataWarning, stacklevel=2
        )
    for number in range(opened.metadata.num_row_groups):
        group = opened.metadata.row_group(number)
        for place in range(group.num_columns):
            own = group.column(place)
            if own.total_uncompressed_size > MOST_EXPANDED * own.total_compressed_size + MAX_BYTES:
                raise Unreadable(f"the Parquet file says that it holds over {MOST_EXPANDED} times its size")
    row = 0
    wanted = [column] if named is None or named == column else [column, named]
    for batch in opened.iter_batches(batch_size=_ROWS, columns=wanted):
        names = batch.column(named) if named is not None else None
        for place in range(batch.num_rows):
            row += 1
            name = None if names is None else names[place].as_py()
            value = batch.column(column)[place]
            if holds_bytes(fields[column]):
                value, path = value["bytes"], value.get("path")
                name = name or (path.as_py() if path is not None else None)
            own_version = None if version is None else f"{version}-{row}"
            yield _row(value, str(name or f"row_{row}"), own_version)


def _row(value: Any, name: str, version: str | None) -> Member:
    size = 0 if value.as_buffer() is None else value.as_buffer().size
    if not size:
        return Member(name, version=version, refused="the file is empty")
    if size > MAX_BYTES:
        return Member(name, version=version, refused=f"the file is too large ({size >> 20} MiB)")
    return Member(name, value.as_py, version)


def _hdf5(file: BinaryIO, version: str | None, _: int | None, nested: list[str]) -> Iterator[Member]:
    for name, size, read, refused in byte_members(file):
        if refused:
            yield Member(name, refused=refused)
        else:
            member = _member(name, size, read, lambda data: data, version)
            if member is not None:
                yield member
