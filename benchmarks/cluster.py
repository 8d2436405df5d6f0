"""What does Ray cost against the local way, what do two workers bring, and what would hundreds take?

    python benchmarks/cluster.py [--photographs FOLDER] [--count 4000] [--latency-ms 30] [--rounds 3]
        [--workers 1 2] [--partition 500]
    python benchmarks/cluster.py --memory [--photographs FOLDER]

In turns in one run: the local way on one thread, Ray with one worker and with more, on the same photographs
(phantoms without --photographs). Each is timed at two sizes, so that what is spent once (the model, the
actors) is told apart from what each photograph takes. Then the parts of a photograph are measured on one
core: read, decode and assess, network, the pipe to its guarded process, and its share of a written partition.

The model: a worker is a core. It takes as long for a photograph as the parts add up to, or as long as eight
photographs that are fetched side by side take to arrive (--latency-ms: of one from a store). The driver takes
so long for a partition, whoever screens it. So

    photographs/s = min(workers / max(parts, latency / 8), partition / driver)

It is checked at the numbers of workers that were measured, and told for 8, 64 and 512. Wants a machine of two
cores or more that does nothing else. Expected on two: Ray over local at most 1.15, two workers over one at
least 1.8. Measured so: 1.04 and 2.01, and a prediction 15 % below what was measured.

Memory: the largest peak of the driver, of the actors and of their guarded processes, with 1,000 photographs
and with 8,000 (phantoms of 128×96 without --photographs), each in a run of its own with two actors; then the
driver's in listing and planning alone, with 20,000 and with 200,000, first and again. `--memory` measures
nothing else, and needs no idle machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ray

from benchmarks import ray_processes
from dermsentry.images import read_bytes
from dermsentry.model import Bundle, open_bundle
from dermsentry.phantoms import draw_phantoms
from dermsentry.screening import iter_screen, screen_on_cluster
from dermsentry.screening.cluster import FETCHED
from dermsentry.screening.guarded import GuardedScreener
from dermsentry.screening.inference import decode, screen_each
from dermsentry.screening.inputs import find_photographs
from dermsentry.screening.partitions import PARTITION, finished, make_plan, screen_partition
from dermsentry.screening.place import Place
from dermsentry.screening.quality import assess

LARGER = 4  # times as many photographs in the larger of the two sizes


@dataclass
class Parts:
    """Seconds of a core that a photograph takes, and `driver`: seconds that a partition takes."""

    read: float
    decode: float
    network: float
    pipe: float
    write: float
    driver: float = 0.0
    partition: int = PARTITION

    @property
    def worker(self) -> float:
        return self.read + self.decode + self.network + self.pipe + self.write

    def rate(self, workers: int, latency: float) -> float:
        """Photographs per second of so many workers."""
        return min(workers / max(self.worker, latency / FETCHED), self.partition / self.driver)


def main() -> None:
    parser = argparse.ArgumentParser(description="Screening by Ray against the local way.")
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency-ms", type=float, default=30.0, help="of a photograph from a store")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="the first should be 1")
    parser.add_argument("--memory", action="store_true", help="only the memory of each process")
    parser.add_argument("--partition", type=int, default=PARTITION, help="photographs in one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        tell_memory(options.photographs or phantoms(work / "small", 900, (128, 96)), work)
        if options.memory:
            return
        folder = options.photographs or phantoms(work / "phantoms", 900, (600, 450))
        sizes = [options.count // LARGER, options.count]
        folders = [linked(folder, work / f"many{size}", size) for size in sizes]
        parts = measure_parts(folders[0], work)
        print(
            f"{options.count} photographs, {open_bundle(threads=1).name}; partitions of {options.partition}"
        )
        print("a photograph, in ms of a core:")
        for name in ("read", "decode", "network", "pipe", "write"):
            print(f"  {name:<8} {1000 * getattr(parts, name):7.2f}")
        print(f"  together {1000 * parts.worker:7.2f}", flush=True)
        rates = compare(folders, sizes, work, parts, options)
        predict(parts, rates, options.workers, options.latency_ms / 1000)


def phantoms(folder: Path, count: int, size: tuple[int, int]) -> Path:
    draw_phantoms(folder, per_class=-(-count // 9), test_per_class=1, defects=False, size=size)
    return folder


def linked(folder: Path, into: Path, count: int) -> Path:
    """A folder of so many photographs, each a link to one of these."""
    paths = [Path(source.path) for source in find_photographs(folder)]
    into.mkdir()
    for number in range(count):
        path = paths[number % len(paths)]
        copy = into / f"{number:07}{path.suffix}"
        try:
            os.link(path, copy)
        except OSError:  # another file system
            copy.write_bytes(path.read_bytes())
    return into


SCREEN = """
import sys
from dermsentry.screening import screen_on_cluster
screen_on_cluster(sys.argv[1], sys.argv[2], threads=2)
"""
PLAN = """
import sys
from dermsentry.screening.inputs import find_photographs
from dermsentry.screening.partitions import PARTITION, make_plan
from dermsentry.screening.place import Place
make_plan(Place(sys.argv[2]), find_photographs(sys.argv[1]), PARTITION)
"""


def tell_memory(folder: Path, work: Path) -> None:
    few, many = (linked(folder, work / f"memory{size}", size) for size in (1000, 8000))
    before, after = (peaks(SCREEN, own, work / f"{own.name}-out") for own in (few, many))
    print("peak memory, in MB: with 1,000 photographs, with 8,000")
    for name in before:
        print(f"  {name:<22} {before[name] / 1e6:6.0f} {after[name] / 1e6:6.0f}")
    few, many = (linked(folder, work / f"listed{size}", size) for size in (20_000, 200_000))
    for told in ("first", "again"):
        less, more = (peaks(PLAN, own, work / f"{own.name}-plan")["driver"] for own in (few, many))
        each = (more - less) / 180_000
        found = f"{less / 1e6:.0f} MB with 20,000, {more / 1e6:.0f} with 200,000"
        print(f"listing and planning, {told}: {found}: {each:.0f} bytes a photograph", flush=True)


def peaks(program: str, folder: Path, out: Path) -> dict[str, int]:
    """The largest peak of resident memory of each kind of process, in bytes; shared memory counts in each."""
    found = {"driver": 0, "actors": 0, "guarded processes": 0}
    with subprocess.Popen([sys.executable, "-c", program, str(folder), str(out)]) as run:
        while run.poll() is None:
            own = {
                "driver": [run.pid],
                "actors": ray_processes.workers(run.pid),
                "guarded processes": ray_processes.guarded(run.pid),
            }
            for kind, pids in own.items():
                found[kind] = max(found[kind], *map(peak, pids), 0)
            time.sleep(0.2)
    if run.returncode:
        raise SystemExit(f"the run on {folder.name} ended with {run.returncode}")
    return found


def peak(pid: int) -> int:
    """The peak of a process's resident memory so far, in bytes; 0 where it ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def measure_parts(folder: Path, work: Path) -> Parts:
    bundle = open_bundle(threads=1)
    paths = [Path(source.path) for source in find_photographs(folder)][:300]

    def each(do: Callable[[Path], object]) -> float:
        start = time.process_time()
        for path in paths:
            do(path)
        return (time.process_time() - start) / len(paths)

    data = {path: read_bytes(path) for path in paths}
    pixels = {path: decoded(data[path], bundle) for path in paths}
    read = each(read_bytes)
    decoding = each(lambda path: decoded(data[path], bundle))
    network = each(lambda path: bundle.predict_here(pixels[path][None]))
    with GuardedScreener(bundle.folder, bundle.name) as guarded:
        guarded.start()
        assert guarded._process is not None
        before, own = cpu(guarded._process.pid), time.process_time()
        found = list(screen_each(find_photographs(paths), guarded.screen, bundle.name, threads=FETCHED))
        whole = (cpu(guarded._process.pid) - before + time.process_time() - own) / len(found)
        # What a partition takes beside: of findings that are there already.
        place = Place(str(work / "parts"))
        make_plan(place, find_photographs(folder), PARTITION)
        size = min(PARTITION, len(list(folder.iterdir())))
        known = [found[number % len(found)] for number in range(size)]
        begun = time.process_time()
        screen_partition(place, 1, lambda sources: iter([*sources] and known), bundle.card.digest)
        write = (time.process_time() - begun) / size
    begun = time.process_time()
    finished(place, bundle.card.digest)
    return Parts(read, decoding, network, max(0.0, whole - read - decoding - network), write)


def decoded(data: bytes, bundle: Bundle) -> object:
    photograph = decode(data, name="", fitted=bundle.card.fitted)
    assess(photograph.pixels, photograph.width, photograph.height)
    return photograph.pixels


def cpu(pid: int) -> float:
    """Seconds of a core that a process took so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def compare(
    folders: list[Path], sizes: list[int], work: Path, parts: Parts, options: argparse.Namespace
) -> dict[str, float]:
    """Photographs per second of each way, in turns; and how long the driver takes for a partition."""
    bundle = open_bundle(threads=1)
    drivers: list[float] = []

    def here(folder: Path, out: Path) -> None:
        for _ in iter_screen(folder, bundle, table=out.with_suffix(".parquet")):
            pass

    def by_ray(workers: int) -> Callable[[Path, Path], None]:
        def run(folder: Path, out: Path) -> None:
            begun = time.process_time()
            screen_on_cluster(folder, out, threads=workers, partition=options.partition)
            drivers.append(time.process_time() - begun)

        return run

    ways = {"local": here, **{named(number): by_ray(number) for number in options.workers}}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    quietly = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    ray.init("local", num_cpus=max(options.workers), **quietly)
    try:
        for turn in range(options.rounds):
            for name, way in ways.items():
                seconds = []
                for folder, size in zip(folders, sizes, strict=True):
                    begun = time.perf_counter()
                    way(folder, work / f"{name}-{turn}-{size}")
                    seconds.append(time.perf_counter() - begun)
                if seconds[1] <= seconds[0]:
                    raise SystemExit(f"{name}: {seconds} s; the machine is too busy, or --count too small")
                rates[name].append((sizes[1] - sizes[0]) / (seconds[1] - seconds[0]))
                print(f"round {turn + 1}, {name}: {rates[name][-1]:.1f} photographs/s", flush=True)
    finally:
        ray.shutdown()
    small, large = drivers[0::2], drivers[1::2]
    partitions = -(-sizes[1] // options.partition) - -(-sizes[0] // options.partition)
    spent = [(more - less) / max(1, partitions) for less, more in zip(small, large, strict=True)]
    parts.partition = options.partition
    parts.driver = max(1e-4, statistics.median(spent))
    one = named(options.workers[0])
    for first, second, told in (
        ("local", one, f"Ray's overhead: the local way on one thread over Ray with {one}"),
        *((named(more), one, f"{named(more)} over {one}") for more in options.workers[1:]),
    ):
        ratios = [more / less for more, less in zip(rates[first], rates[second], strict=True)]
        listed = ", ".join(f"{own:.2f}" for own in ratios)
        print(f"ratio, {told}: {statistics.median(ratios):.2f} ({listed})")
    return {name: statistics.median(own) for name, own in rates.items()}


def named(workers: int) -> str:
    return f"{workers} worker{'s' if workers > 1 else ''}"


def predict(parts: Parts, rates: dict[str, float], measured: list[int], latency: float) -> None:
    print(f"driver: {1000 * parts.driver:.1f} ms of a core a partition")
    for workers in measured:
        name = named(workers)
        predicted = parts.rate(workers, 0.0)
        off = predicted / rates[name] - 1
        print(f"{name}: predicted {predicted:.1f}, measured {rates[name]:.1f} photographs/s ({off:+.0%})")
    for workers in (8, 64, 512):
        rate = parts.rate(workers, latency)
        limit = "the driver" if rate == parts.partition / parts.driver else "the workers"
        print(
            f"{workers} workers, {1000 * latency:g} ms to fetch: {rate:,.0f} photographs/s, "
            f"a million in {1e6 / rate / 3600:.2f} h, limited by {limit}"
        )
    print(f"a million photographs: {1e6 * parts.worker / 3600:.2f} core hours")


if __name__ == "__main__":
    main()
