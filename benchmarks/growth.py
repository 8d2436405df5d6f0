"""How audit and split grow: CPU seconds and memory, on made-up tables and on small photographs.

python benchmarks/growth.py [--sizes 20000,40000,80000] [--tables plain,copies,spelling,odd] [--content]
python benchmarks/growth.py --photographs 2000,12000

Each table has nine diagnoses, lesions, patients, ages, dates, a Train and a Test, and a fifth of the
photographs as near-identical pairs; no photograph is read. `copies`: all files are called alike, in a folder
of their own, with copies beside them; `spelling`: every patient is spelled in two ways; `odd`: no age is one
and no date is a day, each in its own words. With `--content`, what a model saw is made up too, and what
follows from it is measured. Each size is measured in a process of its own. Prints user and system seconds
and bytes of memory per photograph of the table itself, the audit, the split and the content, with the
exponent of the seconds. Memory is without mapped files, which may leave it at any time.

`--photographs` draws so many phantoms of 128×96 pixels and audits them, looks at their content and splits
them by the command: seconds and peak memory of each, and bytes per photograph between the first and the last
size. `benchmarks/audit.py --growth` measures reading and the search.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
from PIL import Image

from dermsentry.audit import Audit, audit_collection
from dermsentry.audit.duplicates import Duplicates
from dermsentry.audit.kept import partition_path, write_partition
from dermsentry.audit.reader import PARTITION
from dermsentry.audit.survey import Survey
from dermsentry.collection import Collection
from dermsentry.collection.groups import DuplicateGroup
from dermsentry.collection.table import ordered
from dermsentry.diagnoses import CODES
from dermsentry.evaluation.content import audit_content
from dermsentry.evaluation.looking import SEEN, Embeddings, Seen
from dermsentry.model import Bundle, open_bundle
from dermsentry.phantoms import draw_phantom
from dermsentry.split import make_split

TABLES = ("plain", "copies", "spelling", "odd")


def made(count: int, kind: str) -> tuple[Collection, Duplicates, Survey]:
    """A collection, its duplicates and its survey."""
    rng = np.random.default_rng(7)
    lesion = rng.integers(0, count * 2 // 3, count)
    patient = lesion // 4
    number = np.arange(count)
    split = np.where(number % 5 == 0, "test", "train")
    table = pd.DataFrame({
        "image_id": [f"ISIC_{i:07d}" for i in number],
        "path": [f"{part}/{i % 97:02d}/ISIC_{i:07d}.jpg" for i, part in zip(number, split, strict=True)],
        "diagnosis": np.array(CODES)[rng.integers(0, len(CODES), count)],
        "split": split,
        "lesion_id": [f"IL_{i}" for i in lesion],
        "patient_id": [f"IP_{i}" for i in patient],
        "source": "made",
        "age": [str(i) for i in rng.integers(1, 90, count)],
        "sex": np.where(patient % 2 == 0, "male", "female"),
        "acquisition_date": [
            f"20{i % 20 + 1:02d}-0{i % 9 + 1}-1{i % 9}" for i in rng.integers(0, 4000, count)
        ],
    })  # fmt: skip
    if kind == "copies":
        name = np.where(number % 2 == 0, "1", np.where(number % 3 == 0, "1_aug2", "1 copy"))
        table["image_id"] = name
        table["path"] = [f"{i // 2}/{own}.jpg" for i, own in zip(number, name, strict=True)]
        table["split"] = table["lesion_id"] = table["patient_id"] = ""
        table["diagnosis"] = np.array(CODES)[number // 2 % len(CODES)]
    elif kind == "spelling":
        table["patient_id"] = [f"IP_{own}" if i % 2 else f"ip {own}" for i, own in enumerate(patient)]
    elif kind == "odd":
        table["age"] = [f"about {i}" for i in number]
        table["acquisition_date"] = [f"day {i}" for i in number]
    table = ordered(table)
    pairs = rng.choice(count, 2 * (count // 10), replace=False).reshape(-1, 2)
    paths = list(table["path"])
    groups = sorted(tuple(sorted((paths[i], paths[j]))) for i, j in pairs.tolist())
    found = Duplicates(tuple(DuplicateGroup("near", group) for group in groups), {})
    around = rng.normal(100, 10, (count, 9)).astype(np.float32)
    digests = np.zeros((count, 16), np.uint8)
    nothing = digests, digests, around, np.zeros((count, 2), np.int32)
    return Collection(Path("made"), table), found, Survey(tuple(paths), *nothing, unreadable={}, doubts={})


def made_up_sight(count: int, bundle: Bundle, folder: Path) -> Seen:
    """What a model might have seen, with embeddings as long as the bundle's."""
    rng = np.random.default_rng(8)
    side = bundle.card.size
    length = bundle.predict(np.zeros((1, side, side, 3), np.uint8)).embedding.shape[1]
    for number, start in enumerate(range(0, count, PARTITION), 1):
        here = range(start, min(start + PARTITION, count))
        contents = [own.tobytes() for own in rng.normal(0, 1, (len(here), length)).astype(np.float32)]
        rows = np.zeros(len(here), SEEN.dtype)
        write_partition(
            partition_path(folder, number), SEEN, [(str(i), 0, 0) for i in here], rows, {}, contents
        )
    located = np.stack([np.arange(count) // PARTITION + 1, np.arange(count) % PARTITION], axis=1)
    scores = np.zeros(count, np.float32)
    probability = rng.dirichlet(np.ones(len(CODES)), count)
    looks = rng.integers(0, 2**63, count).astype(np.uint64)
    embeddings = Embeddings(folder, located.astype(np.int32))
    return Seen(np.arange(count), probability, scores, scores, looks, {}, embeddings)


def memory(pid: int | str = "self") -> int:
    """Bytes of a process that are not of mapped files; 0 once it ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


@contextmanager
def peak() -> Iterator[list[int]]:
    """The most memory that this process has had so far, as the one number of a list."""
    most, ended = [memory()], threading.Event()

    def watch() -> None:
        while not ended.wait(0.01):
            most[0] = max(most[0], memory())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield most
    finally:
        ended.set()
        watching.join()


def measure(count: int, kind: str, content: bool) -> dict[str, float]:
    """Seconds and bytes per photograph of each stage."""
    made(1000, "plain")  # what is imported and made once
    with tempfile.TemporaryDirectory() as folder, peak() as most:
        bundle = open_bundle(threads=1) if content else None
        seen = None if bundle is None else made_up_sight(count, bundle, Path(folder) / "content")
        before = most[0] = memory()
        collection, found, survey = made(count, kind)
        told = {"table, bytes": (most[0] - before) / count}
        module = "dermsentry.audit.audit"
        audits: list[Audit] = []
        stages = {
            "audit": lambda: audits.append(audit_collection(collection)),
            "split": lambda: make_split(collection, duplicates=found),
            "content": lambda: audit_content(audits[0], collection, bundle),
        }
        if not content:
            del stages["content"]
        with (
            mock.patch(f"{module}.survey_collection", return_value=survey),
            mock.patch(f"{module}.duplicates_of", return_value=found),
            mock.patch("dermsentry.evaluation.content.look_over", return_value=seen),
        ):
            for name, work in stages.items():
                start = time.process_time()
                work()
                told[f"{name}, s"] = time.process_time() - start
                told[f"{name}, bytes"] = (most[0] - before) / count
                most[0] = memory()
        return told


def of_photographs(sizes: list[int]) -> None:
    """Audit, look at and split small photographs by the command."""
    with tempfile.TemporaryDirectory() as place:
        drawn = Path(place) / "drawn"
        drawn.mkdir()
        for number in range(max(sizes)):
            pixels = draw_phantom(CODES[number % len(CODES)], number, (128, 96))
            Image.fromarray(pixels).save(drawn / f"p{number:06d}x.jpg")
        told: dict[str, list[int]] = {}
        for size in sizes:
            root, out = Path(place) / f"of{size}", Path(place) / f"audit{size}"
            for path in sorted(drawn.iterdir())[:size]:
                own = root / CODES[int(path.stem[1:7]) % len(CODES)] / path.name
                own.parent.mkdir(parents=True, exist_ok=True)
                os.link(path, own)
            for name, arguments in {
                "audit": ["audit", str(root), "--out", str(out)],
                "audit --content": ["audit", str(root), "--out", str(out), "--content"],
                "split": ["split", str(root), "--audit", str(out), "--out", str(root) + ".csv"],
            }.items():
                seconds, most = watched(arguments)
                told.setdefault(name, []).append(most)
                print(f"{name:16}{size:8,}: {seconds:.1f} s, peak {most / 2**20:,.0f} MiB", flush=True)
        for name, most in told.items():
            each = (most[-1] - most[0]) / (sizes[-1] - sizes[0])
            print(f"{name}: {each:,.0f} bytes a photograph beyond {sizes[0]:,}")


def watched(arguments: list[str]) -> tuple[float, int]:
    """User and system seconds of a command with all that it began, and its own peak memory in bytes."""
    before = os.times()
    command = [sys.executable, "-m", "dermsentry", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        most = 0
        while running.poll() is None:
            most = max(most, memory(running.pid))
            time.sleep(0.01)
    if running.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(arguments)} ended with {running.returncode}")
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return used, most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--sizes", default="20000,40000,80000")
    parser.add_argument("--tables", default=",".join(TABLES))
    parser.add_argument("--content", action="store_true")
    parser.add_argument("--photographs", type=lambda text: [int(part) for part in text.split(",")])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.photographs:
        of_photographs(given.photographs)
        return
    if given.one:
        count, kind = given.one.split(",")
        print(json.dumps(measure(int(count), kind, given.content)))
        return
    sizes = [int(size) for size in given.sizes.split(",")]
    for kind in given.tables.split(","):
        rows = []
        for size in sizes:
            command = [sys.executable, __file__, "--one", f"{size},{kind}", *["--content"] * given.content]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rows.append(json.loads(done.stdout))
            print(
                f"{kind:9}{size:9,}  " + "  ".join(f"{k} {v:,.2f}" for k, v in rows[-1].items()), flush=True
            )
        for name in (name for name in rows[0] if name.endswith(", s")):
            seconds = np.log([row[name] for row in rows])
            print(f"{kind:9}{name}: exponent {np.polyfit(np.log(sizes), seconds, 1)[0]:.2f}", flush=True)


if __name__ == "__main__":
    main()
