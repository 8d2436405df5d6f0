"""The ISIC Archive's API (https://api.isic-archive.com/api/docs/swagger/), as far as it is needed here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, TypeVar

import httpx
import msgspec

from dermsentry.errors import ArchiveError, InputError
from dermsentry.fetching.transfer import Connection, GoneProblem, Problem

API = "https://api.isic-archive.com/api/v2"
PAGE = 100
"""The most images that the API gives at a time."""
IDS = 50
"""Ids asked for in one search: more would make a long address."""

Answer = TypeVar("Answer")


class File(msgspec.Struct, frozen=True):
    """Where a file is, for a while, and its bytes."""

    url: str
    size: Annotated[int, msgspec.Meta(gt=0)]


class Files(msgspec.Struct, frozen=True):
    """The files of a photograph."""

    full: File


class Metadata(msgspec.Struct, frozen=True):
    """What is known of a photograph."""

    acquisition: dict[str, Any] = {}
    clinical: dict[str, Any] = {}


class ArchiveImage(msgspec.Struct, frozen=True):
    """A photograph of the archive. Its id names a file here, so it is held to its form."""

    isic_id: Annotated[str, msgspec.Meta(pattern=r"\AISIC_\d{7}\Z")]
    copyright_license: str
    attribution: str
    files: Files
    metadata: Metadata


class ArchiveCollection(msgspec.Struct, frozen=True):
    """A collection of the archive."""

    id: int
    name: str


class Page(msgspec.Struct, frozen=True):
    """A page of a search; `count` is of all pages, on the first."""

    results: list[ArchiveImage]
    count: int | None = None
    next: str | None = None


def find_collection(connection: Connection, number: int) -> ArchiveCollection:
    """A collection by its number. Raises InputError where there is none, ArchiveError."""
    try:
        return _ask(connection, f"collections/{number}/", ArchiveCollection)
    except GoneProblem:
        raise InputError(
            f"The ISIC Archive has no public collection {number}; "
            "expected one of https://api.isic-archive.com/collections/."
        ) from None
    except Problem as problem:
        raise _unreachable(problem) from None


def find_image(connection: Connection, isic_id: str) -> ArchiveImage:
    """One photograph by its id, its address fresh. Raises Problem."""
    return _ask(connection, f"images/{isic_id}/", ArchiveImage)


def images_of(connection: Connection, number: int) -> Iterator[ArchiveImage]:
    """The photographs of a collection. Raises ArchiveError."""
    return _search(connection, {"collections": str(number)})


def images_by_id(connection: Connection, ids: Sequence[str]) -> Iterator[ArchiveImage]:
    """The photographs of these ids that the archive has. Raises ArchiveError."""
    for start in range(0, len(ids), IDS):
        some = " OR ".join(f"isic_id:{isic_id}" for isic_id in ids[start : start + IDS])
        yield from _search(connection, {"query": some})


def _search(connection: Connection, query: dict[str, str]) -> Iterator[ArchiveImage]:
    asked: dict[str, str | int] = {**query, "limit": PAGE}
    seen: set[str] = set()
    listed, count = 0, 0
    while True:
        try:
            page = _ask(connection, "images/search/", Page, asked)
        except Problem as problem:
            raise _unreachable(problem) from None
        yield from page.results
        listed, count = listed + len(page.results), count or page.count or 0
        if page.next is None:
            break
        # Only the cursor is taken from `next`: it never leads to another host.
        cursor = httpx.URL(page.next).params.get("cursor", "")
        if not cursor or cursor in seen:
            raise ArchiveError("The ISIC Archive gives a list of photographs that does not end; try later.")
        seen.add(cursor)
        asked["cursor"] = cursor
    if listed < count:
        connection.say(f"The ISIC Archive counts {count:,} photographs, and lists {listed:,}.")


def _ask(
    connection: Connection, path: str, kind: type[Answer], params: dict[str, str | int] | None = None
) -> Answer:
    content = connection.get(f"{API}/{path}", params)
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as error:
        raise Problem(f"an answer of the API is not understood ({error})") from None


def _unreachable(problem: Problem) -> ArchiveError:
    return ArchiveError(
        f"The ISIC Archive cannot be asked: {problem.reason}. Check the network and the proxy settings; "
        "run it again to resume."
    )
