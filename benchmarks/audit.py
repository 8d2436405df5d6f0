"""How well copies are found beside what a user would pick instead, and how the search grows.

python benchmarks/audit.py DATA [--planted 100] [--peer cleanvision=PYTHON] [--peer imagededup=PYTHON]
                           [--peer fastdup=PYTHON]
python benchmarks/audit.py DATA --strangers [letterbox | white | round]
python benchmarks/audit.py DATA --growth 1000,2000,4000,8000

DATA is a collection with lesion ids (HAM10000); one photograph of each lesion is taken, so that every pair
that is found and was not planted is false.

By default each edit of benchmarks/edits.py is done to `--planted` photographs; originals and copies are one
collection. Prints how many copies each tool finds, pairs of different photographs that it reports, user and
system seconds and peak memory, each tool in a process of its own. PYTHON is the interpreter of an environment
in which the peer is installed. `--strangers` counts false pairs among all photographs, padded or not, and
`--growth` the seconds of the search at several sizes, with the exponent; beyond the photographs of DATA, the
quarters of photographs make up the number.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from math import comb
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.edits import EDITS, Edit, crop, letterbox, round_frame
from dermsentry.audit.duplicates import find_duplicates
from dermsentry.audit.search import near_pairs
from dermsentry.audit.survey import survey_collection
from dermsentry.audit.workplace import workplace
from dermsentry.collection import Collection, read_collection

PADDED: dict[str, Edit] = {
    "as they are": lambda image: image,
    "letterbox": letterbox,
    "white": lambda image: letterbox(image, (255, 255, 255)),
    "round": round_frame,
}
VARIANTS: tuple[Edit, ...] = (
    lambda image: image,
    lambda image: crop(image, 0, 0, 0.5, 0.5),
    lambda image: crop(image, 0.5, 0, 0, 0.5),
    lambda image: crop(image, 0, 0.5, 0.5, 0),
    lambda image: crop(image, 0.5, 0.5, 0, 0),
)

# Each prints pairs of file names that it takes for one photograph; FOLDER is replaced.
PEERS = {
    "dermsentry": """
from dermsentry.audit.duplicates import find_duplicates
from dermsentry.collection import read_collection
groups = [group.photographs for group in find_duplicates(read_collection(FOLDER), workers=1).groups]
""",
    "cleanvision": """
from cleanvision import Imagelab
lab = Imagelab(data_path=FOLDER, verbose=False)
lab.find_issues({"exact_duplicates": {}, "near_duplicates": {}}, n_jobs=1, verbose=False)
groups = [s for kind in ("exact_duplicates", "near_duplicates") for s in lab.info[kind]["sets"]]
""",
    "imagededup": """
from imagededup.methods import PHash
near = PHash(verbose=False).find_duplicates(image_dir=FOLDER + "/nevus", max_distance_threshold=10,
    num_enc_workers=0, num_dist_workers=0)
groups = [(one, other) for one, others in near.items() for other in others]
""",
    "fastdup": """
import tempfile, fastdup
work = fastdup.create(work_dir=tempfile.mkdtemp(), input_dir=FOLDER)
work.run(num_threads=1, ccthreshold=0.9, threshold=0.9, verbose=False, overwrite=True)
near = work.similarity()
groups = list(zip(near["filename_from"], near["filename_to"]))
""",
}
REPORT = """
from itertools import combinations
import json, sys
names = [[str(path).split("/")[-1] for path in group] for group in groups]
pairs = {tuple(sorted(pair)) for group in names for pair in combinations(group, 2)}
print("\\nPAIRS " + json.dumps(sorted(pairs)))
"""


def one_per_lesion(data: Path, seed: int) -> Collection:
    collection = read_collection(data)
    table = collection.table[collection.table["lesion_id"] != ""].drop_duplicates("lesion_id")
    return Collection(collection.root, table.sample(frac=1, random_state=seed).reset_index(drop=True))


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def plant(collection: Collection, folder: Path, each: int) -> dict[str, list[tuple[str, str]]]:
    """Write `each` photographs and a copy of each for every edit; returns the pairs of file names."""
    (folder / "nevus").mkdir()
    planted: dict[str, list[tuple[str, str]]] = {name: [] for name in EDITS}
    paths = iter(collection.paths)
    for number, (name, edit) in enumerate(EDITS.items()):
        for k, path in zip(range(each), paths, strict=False):
            names = (f"a{number:02d}x{k:04d}.png", f"b{number:02d}x{k:04d}.png")
            image = opened(path)
            image.save(folder / "nevus" / names[0], compress_level=1)
            edit(image).save(folder / "nevus" / names[1], compress_level=1)
            planted[name].append(names)
    return planted


def asked(tool: str, python: str, folder: Path) -> tuple[set[tuple[str, str]], float, float]:
    """The pairs that a tool finds in a folder, user and system seconds, and peak memory in MiB."""
    code = PEERS[tool].replace("FOLDER", repr(str(folder))) + REPORT
    timer = (
        "import resource, subprocess, sys; out = subprocess.run([sys.executable, '-c', sys.argv[1]], "
        "stdout=subprocess.PIPE, text=True); used = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(out.stdout, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, sep='\\n')"
    )
    done = subprocess.run([python, "-c", timer, code], stdout=subprocess.PIPE, text=True, check=True)
    lines = done.stdout.strip().split("\n")
    found = next(line for line in lines if line.startswith("PAIRS "))
    return set(map(tuple, json.loads(found[6:]))), float(lines[-2]), float(lines[-1])


def compare(collection: Collection, each: int, pythons: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        planted = plant(collection, Path(folder), each)
        every = {pair for pairs in planted.values() for pair in pairs}
        results = {tool: asked(tool, python, Path(folder)) for tool, python in pythons.items()}
    print(f"{2 * len(every):,} photographs: {len(every):,} of different lesions, and a copy of each")
    print(f"{'':40}" + "".join(f"{tool:>13}" for tool in results))
    for name, pairs in planted.items():
        shares = [len(found & set(pairs)) / len(pairs) for found, _, _ in results.values()]
        print(f"{name:40}" + "".join(f"{share:13.1%}" for share in shares))
    print(f"{'all':40}" + "".join(f"{len(f & every) / len(every):13.1%}" for f, _, _ in results.values()))
    print(
        f"{'pairs of different photographs':40}"
        + "".join(f"{len(f - every):13,}" for f, _, _ in results.values())
    )
    print(f"{'user + system seconds':40}" + "".join(f"{cpu:13.1f}" for _, cpu, _ in results.values()))
    print(f"{'peak memory, MiB':40}" + "".join(f"{memory:13.0f}" for _, _, memory in results.values()))


def strangers(collection: Collection, padded: str, most: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "nevus").mkdir()
        for path in collection.paths[:most]:
            PADDED[padded](opened(path)).save(root / "nevus" / f"{path.stem}.png", compress_level=1)
        found = find_duplicates(read_collection(root), workers=1)
    groups = [group.photographs for group in (*found.groups, *found.doubtful)]
    count = min(most, len(collection))
    false = sum(comb(len(group), 2) for group in groups)
    # Rule of three: with none among p pairs, at most 3 / p of them are false at 95 % confidence.
    print(f"{padded}: {false} false among {comb(count, 2):,} pairs of {count:,} lesions")
    for group in groups:
        print("  ", *group)


def growth(collection: Collection, sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "nevus").mkdir()
        for i in range(max(sizes)):
            image = opened(collection.paths[i % len(collection)])
            edit = VARIANTS[i // len(collection)]
            edit(image).save(root / "nevus" / f"p{i:06d}x.jpg", quality=92)
        start = time.process_time()
        with workplace(root / "index", threads=1) as place:
            survey = survey_collection(read_collection(root), place)
            reading = time.process_time() - start
            kept = sum(path.stat().st_size for path in (place.folder / "survey").iterdir())
            print(
                f"reading {1000 * reading / max(sizes):.1f} ms, {kept / max(sizes):,.0f} bytes on disk each"
            )
            searches, candidates = [], []
            for size in sizes:
                rows = np.arange(size)
                start = time.process_time()
                pairs = near_pairs(survey, rows, place)
                searches.append(time.process_time() - start)
                used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                files = [path for path in (place.folder / "search").rglob("*") if path.is_file()]
                disk = sum(path.stat().st_size for path in files)
                shutil.rmtree(place.folder / "search")
                start = time.process_time()
                near_pairs(survey, rows, place)  # by what was judged
                candidates.append(time.process_time() - start)
                for name in ("search", "pairs"):
                    shutil.rmtree(place.folder / name)
                print(
                    f"{size:8,}: search {searches[-1]:.1f} s, of which candidates {candidates[-1]:.1f} s; "
                    f"{len(pairs)} pairs, index {disk / size:,.0f} bytes each, peak {used:.0f} MiB",
                    flush=True,
                )
    for what, values in (("search", searches), ("candidates", candidates)):
        print(f"{what}: exponent {np.polyfit(np.log(sizes), np.log(values), 1)[0]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--planted", type=int, default=100, help="copies of each edit")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--strangers", nargs="?", const="as they are", choices=list(PADDED))
    parser.add_argument("--most", type=int, default=10**9, help="strangers")
    parser.add_argument("--growth", type=lambda text: [int(part) for part in text.split(",")])
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    collection = one_per_lesion(given.data, given.seed)
    if given.strangers:
        strangers(collection, given.strangers, given.most)
    elif given.growth:
        growth(collection, given.growth)
    else:
        compare(
            collection,
            given.planted,
            {"dermsentry": sys.executable, **dict(p.split("=") for p in given.peer)},
        )


if __name__ == "__main__":
    main()
