"""Photographs at addresses that `fsspec` knows: S3, Google Cloud, Azure, HTTP, and chains such as `zip://::`."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from dermsentry.errors import InputError, MissingExtraError, how_to_install, require_extra
from dermsentry.image_formats import READ, format_of_name
from dermsentry.images import MAX_BYTES, Unopened, Unreadable
from dermsentry.screening.archives import Archive, archive_kind, members, require_reader, tell_unopened

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+(://|::)")
_SECRET = re.compile(r"sig=|signature|token|credential|x-amz-|x-goog-|expires", re.IGNORECASE)
_MAGIC = re.compile(r"[*?\[]")
_CHUNK = 4 * 1024 * 1024
_STORES = {"s3fs", "gcsfs", "adlfs", "aiohttp"}  # of the extra `remote`, each imported for its addresses
# Where nobody set up logging, what they log would be tracebacks on stderr; an error is told in one line.
for _library in ("s3fs", "gcsfs", "google", "adlfs", "azure"):
    logging.getLogger(_library).addHandler(logging.NullHandler())
_DEEPEST = 64  # folders: a web server's listing may lead in a circle


@dataclass(frozen=True, slots=True)
class Remote:
    """A photograph at an address; the fields are those of `inputs.Source`."""

    path: str
    read: Callable[[], bytes] | None = None
    version: str | Callable[[], str | None] | None = None
    refused: str = ""
    passing: bool = False
    archive: Archive | None = None


def is_address(text: str) -> bool:
    """Whether this is an address and no path: `s3://bucket/photos`, `zip://*.jpg::https://…`."""
    return _ADDRESS.match(text) is not None


def shown(address: str) -> str:
    """An address as findings have it: without a password, and without the signature that opens it."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    place, slash, path = rest.partition("/")
    address = f"{scheme}://{place.rpartition('@')[2]}{slash}{path}"
    before, question, query = address.partition("?")
    return before if question and scheme.startswith("http") and _SECRET.search(query) else address


def require_address(address: str, strict: bool = True) -> None:
    """Raise InputError where an address is of an unknown kind, cannot be reached, or leads nowhere."""
    system, path = open_address(address)
    kind = archive_kind(_name(path))
    if kind is not None:
        require_reader(kind)
    if not strict:
        return
    try:
        found = bool(system.glob(path)) if _has_magic(path) else system.exists(path)
    except Exception as error:
        raise InputError(f"Cannot read {shown(address)}: {_words(error)}.") from error
    if not found:
        problem = "Nothing matches" if _has_magic(path) else "There is nothing, or nothing to be read, at"
        raise InputError(f"{problem} {shown(address)}.")


def photograph_at(address: str, version: str | None) -> Remote:
    """A photograph that `find_remote` found before; nothing is asked before it is read. Raises InputError."""
    system, path = open_address(address)
    return Remote(address, partial(_read, system, path), version)


def find_remote(address: str, *, open_archives: bool = True) -> Iterator[Remote]:
    """Yield the photographs at an address: one, a folder of them, what matches a pattern, an archive's.

    Without `open_archives` an archive is yielded in place of its photographs. In a folder, names decide:
    those of photographs and those without any ending. Raises InputError where it is of an unknown kind,
    cannot be reached, or leads to a folder without photographs.
    """
    system, path = open_address(address)
    try:
        if _has_magic(path):
            entries = system.glob(path, detail=True)
            for name in sorted(entries):
                if entries[name]["type"] != "directory":
                    yield from _one(system, name, entries[name], address, open_archives)
                elif "**" not in path:
                    yield from _folder(system, name, address)
            return
        folder = path.endswith("/") or address.endswith("/")
        entry = {} if folder else system.info(path)
        if folder or entry.get("type") == "directory":
            yield from _folder(system, path, address)
        else:
            yield from _one(system, path, entry, address, open_archives)
    except FileNotFoundError:
        yield Remote(shown(address), refused="the file is missing")
    except (InputError, Unreadable):
        raise
    except Exception as error:
        raise InputError(f"Cannot read {shown(address)}: {_words(error)}.") from error


def _folder(system: Any, path: str, address: str) -> Iterator[Remote]:
    archives: list[str] = []
    empty = True
    for _, _, files in system.walk(path, maxdepth=_DEEPEST, detail=True, on_error="raise"):
        for entry in sorted(files.values(), key=lambda own: str(own["name"])):
            name = _name(entry["name"])
            if archive_kind(name) is not None:
                archives.append(shown(_address(system, entry["name"], address)))
            elif name and not name.startswith(".") and _may_be_photograph(name):
                empty = False
                yield _photograph(system, entry["name"], entry, address)
    if empty and archives:
        raise InputError(
            f"{shown(address)} holds no photographs but archives, such as {archives[0]}; name them."
        )
    if empty:
        raise InputError(f"{shown(address)} holds no photographs; expected {READ}.")
    tell_unopened(archives, shown(address))


def _may_be_photograph(name: str) -> bool:
    return format_of_name(name) is not None or not PurePosixPath(name).suffix


def _one(
    system: Any, path: str, entry: dict[str, Any], address: str, open_archives: bool
) -> Iterator[Remote]:
    kind = archive_kind(_name(path))
    if kind is None:
        yield _photograph(system, path, entry, address)
        return
    where = shown(_address(system, path, address))
    if not open_archives:
        yield Remote(
            where, version=_version(system, path, entry), archive=Archive(kind, entry.get("size") or 0)
        )
        return
    try:
        opened = system.open(path, "rb")
    except Exception as error:  # noqa: BLE001 - each system raises its own
        yield Remote(where, refused=f"the archive cannot be read ({_words(error)})")
        return
    with opened as file:
        if kind != "tar" and not file.seekable():
            yield Remote(
                where, refused=f"its server gives no parts of files, as a {kind} archive needs; copy it"
            )
            return
        for own in members(file, kind, where, _version(system, path, entry), entry.get("size")):
            before, chained, after = where.partition("::")
            whole = f"{before}/{own.name}{chained}{after}" if own.name else where
            yield Remote(whole, own.read, own.version, own.refused, passing=True)


def _photograph(system: Any, path: str, entry: dict[str, Any], address: str) -> Remote:
    where = shown(_address(system, path, address))
    version = _version(system, path, entry) or partial(_version, system, path)
    return Remote(where, partial(_read, system, path), version)


def _read(system: Any, path: str) -> bytes:
    """The bytes of a photograph. Raises Unreadable; Unopened where it may go well another time."""
    data = bytearray()
    try:
        with system.open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                data += chunk
                if len(data) > MAX_BYTES:
                    raise Unreadable(f"the file is too large (at most {MAX_BYTES >> 20} MiB)")
    except Unreadable:
        raise
    except FileNotFoundError:
        raise Unopened("the file is missing") from None
    except Exception as error:  # noqa: BLE001 - each system raises its own
        raise Unopened(f"the file cannot be read ({_words(error)})") from None
    return bytes(data)


def _version(system: Any, path: str, entry: dict[str, Any] | None = None) -> str | None:
    """A photograph's size and what its store calls its content or its time; None where it says neither."""
    if entry is None:
        try:
            entry = system.info(path)
        except Exception:  # noqa: BLE001 - each system raises its own; reading it will say what is wrong
            return None
    marks = ("ETag", "etag", "CRC", "md5Hash", "content_md5", "LastModified", "Last-Modified", "mtime")
    mark = next((str(entry[name]).strip('"') for name in marks if entry.get(name)), None)
    return None if mark is None else f"{entry.get('size')}-{mark}"


def open_address(address: str) -> tuple[Any, str]:
    """The system that an address is of, and the path in it.

    Raises
    ------
    InputError
        It is of an unknown kind, or cannot be reached; MissingExtraError where the library of its store is
        not installed.
    """
    require_extra("remote")
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(address)
        system.invalidate_cache()
    except (ImportError, ValueError) as error:
        missing = str(getattr(error.__cause__, "name", "")).partition(".")[0]
        if missing in _STORES:
            raise MissingExtraError(
                f"Received {shown(address)}: {how_to_install(missing, 'remote')}"
            ) from error
        raise InputError(f"Received {shown(address)}: {_words(error)}.") from error
    except Exception as error:
        raise InputError(f"Cannot read {shown(address)}: {_words(error)}.") from error
    return system, path


def _address(system: Any, path: str, given: str) -> str:
    """The address of a path below one that was given, by its scheme: `az://` is `abfs://` to its library."""
    first, _, chain = given.partition("::")
    scheme, whole = first.partition("://")[0], str(system.unstrip_protocol(path))
    names = (system.protocol,) if isinstance(system.protocol, str) else system.protocol
    if scheme in names and "://" not in path:
        whole = f"{scheme}://{whole.partition('://')[2]}"
    return f"{whole}::{shown(chain)}" if chain else whole


def _name(path: str) -> str:
    """The last part of a path or address, without a query."""
    return PurePosixPath(urlsplit(path).path if "://" in path else path).name


def _has_magic(path: str) -> bool:
    return _MAGIC.search(path.partition("?")[0] if path.startswith("http") else path) is not None


def _words(error: BaseException) -> str:
    """What went wrong in one line, without an address that may hold a secret."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.sub(r"[a-z0-9+.-]+://[^\s'\"]+", lambda found: shown(found[0]), text)[:300].rstrip(".")
