"""Which photographs the image ids of a table mean, however they are written."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from dermsentry.collection.columns import IMAGE_SUFFIX
from dermsentry.collection.groups import is_counter


def image_key(name: str) -> str:
    """A file's name or an image id as compared: without folder, suffix, `_downsampled`, case and blanks."""
    return "".join(_parts(name)[-1:]).casefold().removesuffix("_downsampled")


def match_ids(
    ids: Sequence[str], paths: Sequence[str], names: Sequence[str] | None = None
) -> tuple[dict[int, list[int]], list[str]]:
    """The rows that each photograph has in a table, both by position, and the ids that fit several ones.

    Of the photographs whose key an id has, those in the id's own folders are meant, then those whose name is
    equal to the letter; where they are still several, they are copies under one name, unless that only counts
    (`IMG_0012`): such an id means none of them.

    Parameters
    ----------
    ids
        The table's.
    paths
        The photographs', relative to their folder.
    names
        The photographs' image ids where these are not their files' names.
    """
    called = [_parts(name)[-1:] for name in (names or paths)]
    photographs: dict[str, list[int]] = {}
    for place, (path, own) in enumerate(zip(paths, called, strict=True)):
        for key in {image_key(path), image_key("".join(own))}:
            photographs.setdefault(key, []).append(place)
    rows_of: dict[int, list[int]] = {}
    unclear = []
    for row, image_id in enumerate(ids):
        given = _parts(image_id)
        meant = photographs.get(image_key(image_id), []) if given else []
        if len(meant) > 1:
            shared = {place: _common_folders(given, _parts(paths[place])) for place in meant}
            meant = [place for place in meant if shared[place] == max(shared.values())]
            meant = [place for place in meant if called[place] == given[-1:]] or meant
            if len(meant) > 1 and is_counter(given[-1]):
                unclear.append(image_id)
                continue
        for place in meant:
            rows_of.setdefault(place, []).append(row)
    return rows_of, unclear


def _parts(image_id: str) -> list[str]:
    """Folders and name of an id or a path, the name without a photograph's suffix."""
    parts = [part.strip() for part in image_id.replace("\\", "/").split("/") if part.strip()]
    return [*parts[:-1], IMAGE_SUFFIX.sub("", parts[-1]).strip()] if parts else []


def _common_folders(first: Sequence[str], second: Sequence[str]) -> int:
    """How many folders above the name two paths have in common, from the name upwards, in any case."""
    pairs = zip(reversed(first[:-1]), reversed(second[:-1]), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0].casefold() == pair[1].casefold(), pairs))
