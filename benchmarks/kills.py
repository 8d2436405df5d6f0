"""Kill screening again and again, and count what is lost or doubled: `python benchmarks/kills.py`.

It draws synthetic photographs, screens them with the bundled model, ends the process with SIGKILL at moments
spread over the run, resumes it each time, and compares the findings with those of a run without kills.

With `--engine ray` it does so three times on a Ray cluster of two machines or more (--machines), which are
processes of this one: workers that hold the network are killed, or what they screen in; whole machines, each
replaced by another; and the driver, which is resumed. `--count 20000 --kills 20` takes an hour or two of two
cores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from ray_processes import guarded, workers

from dermsentry.diagnoses import CODES
from dermsentry.phantoms import draw_phantom
from dermsentry.screening import screen
from dermsentry.screening.partitions import PARTITION


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--count", type=int, default=5000, help="photographs")
    given.add_argument("--kills", type=int, default=10)
    given.add_argument("--seed", type=int, default=0)
    given.add_argument("--engine", choices=["local", "ray"], default="local")
    given.add_argument("--machines", type=int, default=2, help="of one core each, in the cluster")
    given.add_argument("--partition", type=int, default=PARTITION, help="photographs in a partition of Ray's")
    options = given.parse_args()
    generator = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        folder, out = Path(place) / "phantoms", Path(place) / "findings" / "findings.jsonl"
        folder.mkdir()
        for number in range(options.count):
            drawn = draw_phantom(CODES[number % len(CODES)], number, (128, 96))
            Image.fromarray(drawn).save(folder / f"{number:06d}.jpg")
        if options.engine == "ray":
            on_ray(folder, Path(place), options, generator)
            return
        command = [sys.executable, "-m", "dermsentry.cli", "screen", str(folder), "--out", str(out.parent)]
        torn = 0
        for kill in range(options.kills):
            wanted = (kill + generator.uniform(0.3, 1.0)) * options.count / (options.kills + 1)
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
                while running.poll() is None and written(out) < wanted:
                    time.sleep(generator.uniform(0.0005, 0.003))
                if running.poll() is not None:
                    raise SystemExit("the run ended before it was killed; take more photographs")
                os.kill(running.pid, signal.SIGKILL)
            torn += not out.read_bytes().endswith(b"\n")
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr.decode())
        found = [json.loads(line) for line in out.read_text().splitlines()]
        counts = Counter(one["path"] for one in found)
        straight = {one.path: one.melanoma for one in screen(folder)}
        differ = sum(straight[one["path"]] != one["melanoma"] for one in found)
        lost, doubled = len(straight.keys() - counts.keys()), sum(times > 1 for times in counts.values())
        print(f"{options.count} photographs, {options.kills} kills, {torn} lines cut off by them")
        print(f"lost {lost}, doubled {doubled}, different from a run without kills {differ}")


def written(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def on_ray(folder: Path, place: Path, options: argparse.Namespace, generator: random.Random) -> None:
    from ray.cluster_utils import Cluster

    straight = {one.path: one.melanoma for one in screen(folder)}
    store = {"object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **store})
    nodes = [cluster.add_node(num_cpus=1, **store) for _ in range(options.machines)]

    def kill_worker(_: int) -> bool:
        raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
        pids = [pid for raylet in raylets for pid in (*workers(raylet), *guarded(raylet))]
        with contextlib.suppress(ProcessLookupError, IndexError):  # none is there just now
            os.kill(generator.choice(pids), signal.SIGKILL)
            return True
        return False

    def kill_node(_: int) -> bool:
        gone = nodes.pop(generator.randrange(len(nodes)))
        cluster.remove_node(gone, allow_graceful=False)
        nodes.append(cluster.add_node(num_cpus=1, **store))
        return True

    def kill_driver(driver: int) -> bool:
        os.kill(driver, signal.SIGKILL)
        return True

    try:
        for kind, kill in {"workers": kill_worker, "machines": kill_node, "drivers": kill_driver}.items():
            out = place / kind
            killed = kill_again_and_again(folder, out, cluster.address, kill, options, generator)
            report(out, killed, kind, straight)
    finally:
        cluster.shutdown()


def kill_again_and_again(
    folder: Path,
    out: Path,
    address: str,
    kill: Callable[[int], bool],
    options: argparse.Namespace,
    generator: random.Random,
) -> int:
    code = (
        "from dermsentry.screening import screen_on_cluster; "
        f"screen_on_cluster({str(folder)!r}, {str(out)!r}, address={address!r}, "
        f"partition={options.partition})"
    )
    partitions = -(-options.count // options.partition)
    driver = subprocess.Popen([sys.executable, "-c", code])
    killed = 0
    while killed < options.kills:
        wanted = (killed + generator.uniform(0.3, 1.0)) * partitions / (options.kills + 1)
        while len(list(out.glob("findings/*.parquet"))) < wanted:
            if driver.poll() is not None:
                raise SystemExit(f"the run ended ({driver.returncode}) after {killed} kills; take more")
            time.sleep(generator.uniform(0.001, 0.02))
        killed += kill(driver.pid)
        time.sleep(0.1)
        if driver.poll() is not None:  # it was the driver
            driver = subprocess.Popen([sys.executable, "-c", code])
    if driver.wait():
        raise SystemExit(f"the run ended with {driver.returncode}")
    return killed


def report(out: Path, killed: int, kind: str, straight: dict[str, float | None]) -> None:
    import pandas as pd

    found = pd.read_parquet(out / "findings", columns=["path", "melanoma"])
    doubled = int(found["path"].duplicated().sum())
    lost = len(straight.keys() - set(found["path"]))
    differ = sum(straight[path] != melanoma for path, melanoma in found.itertuples(index=False))
    print(f"{len(straight)} photographs by Ray, {killed} {kind} killed", flush=True)
    print(f"lost {lost}, doubled {doubled}, different from a run without kills {differ}", flush=True)


if __name__ == "__main__":
    main()
