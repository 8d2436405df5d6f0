"""A collection of phantoms in `Train` and `Test` class folders, with planted defects."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from dermsentry.diagnoses import CODES, diagnosis
from dermsentry.errors import OutputError
from dermsentry.files import csv_line, write_bytes, write_text
from dermsentry.images import Pixels
from dermsentry.phantoms.canvas import Rng
from dermsentry.phantoms.drawing import draw_skin_type, draw_view

MARK = "SYNTHETIC.txt"
_DESCRIPTION = "Synthetic: drawn by Dermsentry, no photograph"
_SITES = ("anterior torso", "posterior torso", "lower extremity", "upper extremity", "head/neck")


@dataclass(frozen=True)
class Phantoms:
    """A collection that was drawn, and the defects planted in it; paths relative to `root`.

    Attributes
    ----------
    root
        The folder.
    photographs
        How many files were drawn, the unreadable ones included.
    identical, near
        Every pair of copies, byte for byte or re-encoded.
    conflicts, leaks
        Those of the pairs that carry two labels, or are in both Train and Test.
    shared_lesions
        Pairs of different photographs of one lesion in Train and Test; only `metadata.csv` says so.
    unreadable
        Broken files.

    Examples
    --------
    >>> import dermsentry
    >>> drawn = dermsentry.draw_phantoms("drawn", per_class=2, test_per_class=1)
    >>> drawn.photographs, len(drawn.unreadable)
    (39, 3)
    >>> drawn.leaks[0]
    ('Train/melanoma/PHANTOM_0000007.jpg', 'Test/melanoma/PHANTOM_0000029.jpg')
    """

    root: Path
    photographs: int
    identical: tuple[tuple[str, str], ...] = ()
    near: tuple[tuple[str, str], ...] = ()
    conflicts: tuple[tuple[str, str], ...] = ()
    leaks: tuple[tuple[str, str], ...] = ()
    shared_lesions: tuple[tuple[str, str], ...] = ()
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Step:
    """A defect to plant: a copy (`identical`, `near` or another `view` of the lesion), where, and as what."""

    copy: str
    split: str
    kinds: tuple[str, ...]
    other_class: bool = False
    same_id: bool = False


# Ordered so that a small collection has one of each before any comes twice.
_PLAN = (
    _Step("identical", "Train", ("identical", "conflicts"), other_class=True),
    _Step("identical", "Test", ("identical", "leaks")),
    _Step("near", "Train", ("near",)),
    _Step("identical", "Train", ("identical",)),
    _Step("view", "Test", ("shared_lesions",)),
    _Step("near", "Test", ("near", "leaks")),
    _Step("identical", "Train", ("identical", "conflicts"), other_class=True, same_id=True),
    _Step("identical", "Test", ("identical", "leaks")),
    _Step("near", "Train", ("near",)),
    _Step("identical", "Train", ("identical",)),
    _Step("view", "Test", ("shared_lesions",)),
)


@dataclass
class _Drawing:
    """A collection while it is drawn: where the next file goes, and the table's rows."""

    root: Path
    size: tuple[int, int]
    rng: Rng
    drawn: int = 0
    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    written: int = 0

    def next_id(self) -> str:
        self.drawn += 1
        return f"PHANTOM_{self.drawn:07d}"

    def describe(self, image_id: str, skin_type: int, *, like: _Drawn | None = None) -> None:
        if like is not None:
            self.rows[image_id] = {**self.rows[like.image_id], "image_id": image_id}
            return
        self.rows[image_id] = {
            "image_id": image_id,
            "lesion_id": f"LESION_{self.drawn:07d}",
            "patient_id": f"PATIENT_{self.drawn:07d}",
            "age": str(5 * int(self.rng.integers(4, 18))),
            "sex": str(self.rng.choice(["female", "male"])),
            "site": str(self.rng.choice(_SITES)),
            "skin_type": str(skin_type),
            "synthetic": "true",
        }

    def put(self, split: str, code: str, image_id: str, data: bytes) -> str:
        path = f"{split}/{diagnosis(code).name}/{image_id}.jpg"
        write_bytes(self.root / path, data)
        self.written += 1
        return path


@dataclass(frozen=True)
class _Drawn:
    """One photograph of the collection that defects may start from."""

    path: str
    image_id: str
    code: str
    seed: int
    skin_type: int


def _encode(pixels: Pixels, quality: int) -> bytes:
    exif = Image.Exif()
    exif[0x010E] = _DESCRIPTION  # ImageDescription
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, exif=exif)
    return buffer.getvalue()


def draw_phantoms(
    folder: str | Path,
    *,
    per_class: int | Mapping[str, int] = 12,
    test_per_class: int = 4,
    seed: int = 0,
    defects: bool = True,
    size: tuple[int, int] = (240, 180),
) -> Phantoms:
    """Draw a labelled collection: `Train` and `Test`, each with nine class folders.

    Beside them are `metadata.csv` (by image id: lesion, patient, age, sex, site, skin type) and
    `SYNTHETIC.txt`. Every file's EXIF says that it is synthetic.

    Parameters
    ----------
    folder
        The folder to draw into: a new or an empty one, or one of earlier phantoms; made if it is missing.
    per_class
        Photographs in each class of Train, or by code; a class that is not named has none.
    test_per_class
        Photographs in each class of Test that has any in Train.
    seed
        Random seed; the same arguments give the same files.
    defects
        Plant copies, conflicts, leaks, a shared lesion and broken files, as far as the photographs reach.
    size
        Width and height in pixels.

    Returns
    -------
    Phantoms
        The folder, and the defects that were planted.

    Raises
    ------
    OutputError
        The folder cannot be written, or holds other files.
    InputError
        `per_class` names an unknown code.

    Examples
    --------
    >>> import dermsentry
    >>> drawn = dermsentry.draw_phantoms("drawn", per_class=2, test_per_class=1)
    >>> drawn.photographs, len(drawn.leaks)
    (39, 3)
    """
    root = Path(folder)
    if root.is_dir() and any(root.iterdir()) and not (root / MARK).is_file():
        raise OutputError(f"{root} holds other files; expected a new folder, or one of earlier phantoms.")
    counts = dict.fromkeys(CODES, per_class) if isinstance(per_class, int) else dict(per_class)
    for code in counts:
        diagnosis(code)
    drawing = _Drawing(Path(folder), size, np.random.default_rng(seed))
    train: list[_Drawn] = []
    test: list[_Drawn] = []
    for split, kept in (("Train", train), ("Test", test)):
        wanted = {code: counts.get(code, 0) for code in CODES}
        if split == "Test":
            wanted = {code: test_per_class for code, count in wanted.items() if count}
        # In no order, so that an image's number says nothing of its class.
        for code in drawing.rng.permutation([code for code, count in wanted.items() for _ in range(count)]):
            kept.append(_draw_new(drawing, split, str(code), kept[-1] if kept else None))
    planted = _plant(drawing, train, bool(test)) if defects else {}
    broken = _plant_broken(drawing, train) if defects else ()
    _write_metadata(drawing)
    write_text(
        drawing.root / MARK,
        f"{_DESCRIPTION}.\nDrawn by `dermsentry.phantoms` with seed {seed}. "
        "Figures measured on them say nothing about patients.\n",
    )
    pairs = {kind: tuple(found) for kind, found in planted.items()}
    return Phantoms(drawing.root, photographs=drawing.written, unreadable=broken, **pairs)


def _draw_new(drawing: _Drawing, split: str, code: str, before: _Drawn | None) -> _Drawn:
    image_id = drawing.next_id()
    # Some patients come with two lesions, both in the same split.
    second = before is not None and drawing.rng.random() < 0.12
    skin_type = before.skin_type if before is not None and second else draw_skin_type(drawing.rng)
    drawing.describe(image_id, skin_type)
    if before is not None and second:
        same = ("patient_id", "age", "sex")
        drawing.rows[image_id] |= {key: drawing.rows[before.image_id][key] for key in same}
    seed = int(drawing.rng.integers(2**31))
    data = _encode(draw_view(code, seed, drawing.size, skin_type, view=0), int(drawing.rng.integers(86, 96)))
    return _Drawn(drawing.put(split, code, image_id, data), image_id, code, seed, skin_type)


def _plant(drawing: _Drawing, train: list[_Drawn], with_test: bool) -> dict[str, list[tuple[str, str]]]:
    """Copy photographs of Train after `_PLAN`, each used for one defect at most; the pairs by kind."""
    # Half of them stay as they are, so that a small collection is not nothing but defects.
    sources = [train[i] for i in drawing.rng.permutation(len(train))[: len(train) // 2]]
    codes = sorted({drawn.code for drawn in train})
    planted: dict[str, list[tuple[str, str]]] = {kind: [] for step in _PLAN for kind in step.kinds}
    for step in _PLAN:
        if not sources or (step.split == "Test" and not with_test) or (step.other_class and len(codes) < 2):
            continue
        source = sources.pop()
        code = source.code
        if step.other_class:
            code = str(drawing.rng.choice([c for c in codes if c != source.code]))
        image_id = source.image_id if step.same_id else drawing.next_id()
        if not step.same_id:
            drawing.describe(image_id, source.skin_type, like=source if step.copy == "view" else None)
        path = drawing.put(step.split, code, image_id, _copy(drawing, source, step.copy))
        for kind in step.kinds:
            planted[kind].append((source.path, path))
    return planted


def _copy(drawing: _Drawing, source: _Drawn, how: str) -> bytes:
    if how == "view":
        return _encode(draw_view(source.code, source.seed, drawing.size, source.skin_type, view=1), 92)
    data = (drawing.root / source.path).read_bytes()
    if how == "identical":
        return data
    shrink = drawing.rng.uniform(0.6, 0.85)
    with Image.open(io.BytesIO(data)) as image:
        smaller = image.resize([round(side * shrink) for side in drawing.size], Image.Resampling.LANCZOS)
    return _encode(np.asarray(smaller), int(drawing.rng.integers(60, 80)))


def _plant_broken(drawing: _Drawing, train: list[_Drawn]) -> tuple[str, ...]:
    if not train:
        return ()
    whole = (drawing.root / train[0].path).read_bytes()
    paths = []
    for data in (whole[: len(whole) // 3], b"", b"This is a note, not a photograph.\n"):
        image_id = drawing.next_id()
        drawing.describe(image_id, train[0].skin_type)
        paths.append(drawing.put("Train", str(drawing.rng.choice([d.code for d in train])), image_id, data))
    return tuple(paths)


def _write_metadata(drawing: _Drawing) -> None:
    columns = ["image_id", "lesion_id", "patient_id", "age", "sex", "site", "skin_type", "synthetic"]
    rows = [columns, *([row[column] for column in columns] for row in drawing.rows.values())]
    write_text(drawing.root / "metadata.csv", "".join(csv_line(row) for row in rows))


def is_synthetic(root: str | Path) -> bool:
    """Whether a collection's folder, or the one above it, is marked as drawn by a program."""
    folder = Path(root)
    return (folder / MARK).is_file() or (folder.resolve().parent / MARK).is_file()
