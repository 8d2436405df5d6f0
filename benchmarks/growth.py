"""How audit and split grow beside reading and searching: CPU seconds and memory on made-up tables.

python benchmarks/growth.py [--sizes 20000,40000,80000] [--tables plain,copies,spelling,odd]

Each table has nine diagnoses, lesions, patients, ages, dates, a Train and a Test, and a fifth of the
photographs as near-identical pairs; no photograph is read. `copies`: all files are called alike, in a folder
of their own, with copies beside them; `spelling`: every patient is spelled in two ways; `odd`: no age is one
and no date is a day, each in its own words. Each size is measured in a process of its own. Prints user and
system seconds and bytes of memory per photograph of the table itself, the audit and the split, with the
exponent of the seconds. `benchmarks/audit.py --growth` measures reading and the search.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd

from dermsentry.audit import audit_collection
from dermsentry.audit.duplicates import Duplicates
from dermsentry.audit.survey import Survey
from dermsentry.collection import Collection
from dermsentry.collection.groups import DuplicateGroup
from dermsentry.collection.table import ordered
from dermsentry.diagnoses import CODES
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
    nothing = np.zeros((count, 16), np.uint8), around, np.zeros((count, 2), np.int32)
    return Collection(Path("made"), table), found, Survey(tuple(paths), *nothing, unreadable={}, doubts={})


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(count: int, kind: str) -> dict[str, float]:
    """Seconds and bytes per photograph of each stage."""
    made(1000, "plain")  # what is imported and made once
    before = peak()
    collection, found, survey = made(count, kind)
    told = {"table, bytes": (peak() - before) / count}
    module = "dermsentry.audit.audit"
    with (
        mock.patch(f"{module}.survey_collection", return_value=survey),
        mock.patch(f"{module}.duplicates_of", return_value=found),
    ):
        for name, work in (
            ("audit", lambda: audit_collection(collection)),
            ("split", lambda: make_split(collection, duplicates=found)),
        ):
            start = time.process_time()
            work()
            told[f"{name}, s"] = time.process_time() - start
            told[f"{name}, bytes"] = (peak() - before) / count
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--sizes", default="20000,40000,80000")
    parser.add_argument("--tables", default=",".join(TABLES))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        count, kind = given.one.split(",")
        print(json.dumps(measure(int(count), kind)))
        return
    sizes = [int(size) for size in given.sizes.split(",")]
    for kind in given.tables.split(","):
        rows = []
        for size in sizes:
            command = [sys.executable, __file__, "--one", f"{size},{kind}"]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rows.append(json.loads(done.stdout))
            print(
                f"{kind:9}{size:9,}  " + "  ".join(f"{k} {v:,.2f}" for k, v in rows[-1].items()), flush=True
            )
        for name in ("audit, s", "split, s"):
            seconds = np.log([row[name] for row in rows])
            print(f"{kind:9}{name}: exponent {np.polyfit(np.log(sizes), seconds, 1)[0]:.2f}", flush=True)


if __name__ == "__main__":
    main()
