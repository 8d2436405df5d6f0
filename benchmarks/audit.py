"""How fast the audit is, and how well its near rule finds copies, beside perceptual hashing.

python benchmarks/audit.py DATA [--photographs 10015] [--planted 300]

DATA is a collection; where it has lesion ids (HAM10000), pairs that are called near are checked by them.
Prints seconds and memory of the whole audit; on the same photographs, seconds of the near rule against what
a user would write instead (a perceptual hash of each photograph by Pillow, and a loop over all pairs); and,
of both, the share of planted copies that are found and of found pairs that are right. Takes some minutes.
"""

from __future__ import annotations

import argparse
import io
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from dermsentry.audit import audit_collection
from dermsentry.audit.duplicates import near_pairs
from dermsentry.audit.survey import survey_collection
from dermsentry.collection import Collection, read_collection

Pair = tuple[int, int]
HASH_BITS = 10  # of 64 that may differ, the usual advice for a 64-bit perceptual hash


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def crop(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    w, h = image.size
    return image.crop((round(w * left), round(h * top), round(w * (1 - right)), round(h * (1 - bottom))))


def turn(image: Image.Image, degrees: float, cut: float) -> Image.Image:
    return crop(image.rotate(degrees, Image.Resampling.BICUBIC), cut, cut, cut, cut)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG 50": lambda i: jpeg(i, 50),
    "JPEG 20": lambda i: jpeg(i, 20),
    "half the size": lambda i: i.resize((i.width // 2, i.height // 2)),
    "a third, JPEG 75": lambda i: jpeg(i.resize((i.width // 3, i.height // 3)), 75),
    "squashed to a square": lambda i: i.resize((180, 180)),
    "brightness +20 %": lambda i: ImageEnhance.Brightness(i).enhance(1.2),
    "contrast +20 %": lambda i: ImageEnhance.Contrast(i).enhance(1.2),
    "colour -40 %": lambda i: ImageEnhance.Color(i).enhance(0.6),
    "crop 2 % a side": lambda i: crop(i, 0.02, 0.02, 0.02, 0.02),
    "crop 5 % a side": lambda i: crop(i, 0.05, 0.05, 0.05, 0.05),
    "crop 10 % a side": lambda i: crop(i, 0.1, 0.1, 0.1, 0.1),
    "crop 5 % left and bottom": lambda i: crop(i, 0.05, 0, 0, 0.05),
    "crop 3 %, +10 %, 150×150, JPEG 60": lambda i: jpeg(
        ImageEnhance.Brightness(crop(i, 0.03, 0.03, 0.03, 0.03)).enhance(1.1).resize((150, 150)), 60
    ),
    "turned by 3°": lambda i: turn(i, 3, 0.04),
    "turned by 7°": lambda i: turn(i, 7, 0.08),
    "mirrored": lambda i: i.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned by 90°": lambda i: i.transpose(Image.Transpose.ROTATE_90),
    "turned by 180°, JPEG 50": lambda i: jpeg(i.transpose(Image.Transpose.ROTATE_180), 50),
}


def by_dermsentry(collection: Collection) -> set[Pair]:
    """Pairs of rows that are the same photograph, near or identical."""
    survey = survey_collection(collection)
    row = {path: i for i, path in enumerate(collection.table["path"])}
    names = list(survey.paths)
    return {
        (min(pair), max(pair))
        for i, j, _ in near_pairs(survey.thumbs, names, collection.root)
        for pair in [(row[names[i]], row[names[j]])]
    }


def by_hash(collection: Collection) -> set[Pair]:
    """The same by 64-bit perceptual hashes: the signs of 8×8 low cosines against their median."""
    places, order = np.arange(32), np.arange(8)
    rows = np.cos(np.pi * (2 * places + 1) * order[:, None] / 64)
    hashes = []
    for path in collection.paths:
        with Image.open(path) as image:
            grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS), float)
        low = rows @ grey @ rows.T
        hashes.append(sum(1 << k for k, bit in enumerate((low > np.median(low)).ravel()) if bit))
    return {
        (i, j)
        for i, first in enumerate(hashes)
        for j in range(i + 1, len(hashes))
        if (first ^ hashes[j]).bit_count() <= HASH_BITS
    }


def timed(work: Callable[[Collection], set[Pair]], collection: Collection) -> tuple[set[Pair], float]:
    start = time.perf_counter()
    return work(collection), time.perf_counter() - start


def some(collection: Collection, count: int, seed: int) -> Collection:
    rows = np.sort(np.random.default_rng(seed).permutation(len(collection))[:count])
    return Collection(collection.root, collection.table.iloc[rows].reset_index(drop=True))


def planted(collection: Collection, change: Callable[[Image.Image], Image.Image], folder: Path) -> Collection:
    """The photographs of a collection as PNG, and a changed copy of each; the copy of row i is row n + i."""
    for i, path in enumerate(collection.paths):
        with Image.open(path) as image:
            image = image.convert("RGB")
        image.save(folder / f"a{i:05d}.png", compress_level=1)
        change(image).save(folder / f"b{i:05d}.png", compress_level=1)
    lines = [f"{ab}{i:05d}.png," for ab in "ab" for i in range(len(collection))]
    (folder / "table.csv").write_text("path,diagnosis\n" + "\n".join(lines) + "\n")
    return read_collection(folder / "table.csv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--photographs", type=int, default=10_015, help="of the whole audit")
    parser.add_argument("--compared", type=int, default=2_000, help="of the comparison with hashing")
    parser.add_argument("--planted", type=int, default=300, help="copies of each kind")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    collection = read_collection(given.data)

    whole = some(collection, given.photographs, given.seed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu = time.perf_counter(), time.process_time()
    audit = audit_collection(whole)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    summary = audit.summary
    print(
        f"Audit of {len(whole):,} photographs: {seconds:.1f} s ({cpu:.1f} s of computing), "
        f"peak memory +{grown:.0f} MiB"
    )
    print(f"  {summary['identical_groups']} identical and {summary['near_groups']} near groups")

    part = some(collection, given.compared, given.seed)
    (ours, fast), (theirs, slow) = timed(by_dermsentry, part), timed(by_hash, part)
    print(
        f"Copies among {len(part):,}: {fast:.1f} s; hashing and a loop {slow:.1f} s: ratio {slow / fast:.2f}"
    )
    lesions = whole.table["lesion_id"].to_numpy()
    if (lesions != "").any():
        every = by_dermsentry(whole)
        same = sum(lesions[i] == lesions[j] for i, j in every)
        print(
            f"Near pairs among {len(whole):,}: {len(every)}, "
            f"of which of one lesion {same} ({same / len(every):.1%})"
        )
        of_part = part.table["lesion_id"].to_numpy()
        for name, pairs in (("near rule", ours), ("hashing", theirs)):
            right = sum(of_part[i] == of_part[j] for i, j in pairs)
            print(f"  among {len(part):,}, {name}: {len(pairs)} pairs, of one lesion {right}")

    sample = some(collection, given.planted, given.seed + 1)
    print(f"Planted copies found, of {len(sample)} each (near rule, hashing), and pairs of strangers:")
    for name, change in CHANGES.items():
        with tempfile.TemporaryDirectory() as folder:
            both = planted(sample, change, Path(folder))
            count = len(sample)
            copies = {(i, count + i) for i in range(count)}
            found = [by_dermsentry(both), by_hash(both)]
            shares = [len(pairs & copies) / count for pairs in found]
            strangers = [sum((j - i) % count != 0 for i, j in pairs) for pairs in found]
        print(
            f"  {name:36} {shares[0]:7.1%} {shares[1]:7.1%}   {strangers[0]:5d} {strangers[1]:7d}", flush=True
        )


if __name__ == "__main__":
    main()
