"""How much of bare ONNX Runtime's speed is left once a photograph is read, screened and written?

    python benchmarks/screen.py [--model BUNDLE] [--photographs FOLDER] [--count 600] [--memory]

Prints images/s end to end (read, decode, resize, quality, network with its two scores, triage,
findings.jsonl and predictions.csv; then with saliency maps too) and of ONNX Runtime alone on tensors that are
ready, in turns in one run, on the same cores: with the network in float32, as it comes (batches of 32, its
threads inside the network), which the targets' ratios are against, and one image on each core; and with the
bundle's own, in 8-bit integers, one image on each core, which shows what reading and screening cost. Then the
seconds from the command to its first finding, and with --memory the peak memory of screening 2,000 and 20,000
photographs.

Without --model the bundled one; without --photographs phantoms.
Wants a machine that does nothing else. Targets on 2 cores: 1.6 times float32 as it comes, 1.3 with saliency
maps, first finding after 0.3 s, the two memories within 30 MiB.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from float32 import float32_onnx

from dermsentry.images import Pixels, read_many
from dermsentry.model import MODEL_FILE, Bundle, bundled, open_bundle
from dermsentry.screening import iter_screen
from dermsentry.screening.guarded import GuardedScreeners
from dermsentry.screening.inference import decode, screen_photograph
from dermsentry.screening.inputs import find_photographs
from dermsentry.screening.quality import assess
from dermsentry.screening.saliency import draw_saliency
from dermsentry.screening.writers import json_line

ROUNDS = 5
AS_IT_COMES, SIDE_BY_SIDE = "bare float32, as it comes", "bare float32, side by side"
OWN = "bare, side by side"


def main() -> None:
    parser = argparse.ArgumentParser(description="Screening against bare ONNX Runtime.")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        bundle = open_bundle(options.model or bundled())
        folder = options.photographs or phantoms(work / "phantoms", options.count)
        paths = [Path(source.path) for source in find_photographs([folder])][: options.count]
        size, threads = bundle.card.size, bundle.threads
        print(f"{len(paths)} photographs, {bundle.card.name} at {size} px, {threads} threads")
        screened = work / "photographs"
        screened.mkdir()
        for number, path in enumerate(paths):
            shutil.copy(path, screened / f"{number:05}{path.suffix}")
        with GuardedScreeners(bundle.folder, threads=threads) as guarded:
            compare(bundle, screened, work, guarded)
        where_it_goes(bundle, screened)
        first_finding(bundle, {"of one photograph": paths[0], "of a folder": screened})
        if options.memory:
            memory(bundle, paths, work)


def compare(bundle: Bundle, folder: Path, work: Path, guarded: GuardedScreeners) -> None:
    size, paths = bundle.card.size, sorted(folder.iterdir())
    ready = [p for p in read_many(paths, size, bundle.card.aspect) if isinstance(p, np.ndarray)]
    pixels = np.stack(ready)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = bundle.threads
    onnx = (bundle.folder / MODEL_FILE).read_bytes()
    float32 = float32_onnx(onnx)
    inside = onnxruntime.InferenceSession(float32, options, ["CPUExecutionProvider"])
    options.intra_op_num_threads = 1
    beside = onnxruntime.InferenceSession(float32, options, ["CPUExecutionProvider"])

    def end_to_end(saliency: bool, processes: bool = True) -> None:
        out = Path(tempfile.mkdtemp(dir=work))  # what is there already is not screened again
        kept = out / "saliency" if saliency else None
        files = {"findings": out / "f.jsonl", "predictions": out / "p.csv", "saliency": kept}
        for _ in iter_screen(folder, guarded if processes else bundle, **files):
            pass

    ways = {
        AS_IT_COMES: lambda: batches(inside, pixels, 32, 1),
        SIDE_BY_SIDE: lambda: batches(beside, pixels, 1, bundle.threads),
        OWN: lambda: batches(bundle.session, pixels, 1, bundle.threads),
        "end to end": lambda: end_to_end(False),
        "end to end, saliency maps": lambda: end_to_end(True),
        "end to end, threads": lambda: end_to_end(False, processes=False),
    }
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            speeds[name].append(len(paths) / (time.perf_counter() - start))
    for name, found in speeds.items():
        middle = statistics.median(found)
        cores = f"{1000 * bundle.threads / middle:5.2f} ms of a core each"
        print(f"{name:<26} {middle:6.1f} images/s ({min(found):.1f}–{max(found):.1f}), {cores}")
    for name in list(ways)[3:]:
        for bare in (AS_IT_COMES, SIDE_BY_SIDE, OWN):
            # Turn by turn, so that what slows the machine for a while slows both.
            ratios = [mine / other for mine, other in zip(speeds[name], speeds[bare], strict=True)]
            print(f"ratio, {name} / {bare}: {statistics.median(ratios):.2f}")


def where_it_goes(bundle: Bundle, folder: Path) -> None:
    """Milliseconds of a core in each step, one photograph after another, as a process screens them."""
    spent: dict[str, float] = {}

    def timed(step: str, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
        start = time.thread_time()
        result = function(*given, **named)
        spent[step] = spent.get(step, 0.0) + time.thread_time() - start
        return result

    paths = sorted(folder.iterdir())
    for path in paths:
        data = timed("read", path.read_bytes)
        photograph = timed("decode and resize", decode, data, name="", fitted=bundle.card.fitted)
        pixels = photograph.pixels
        timed("quality", assess, pixels, photograph.width, photograph.height)
        outputs = timed("network", bundle.predict_here, pixels[None])
        timed("saliency map", draw_saliency, pixels, outputs.class_activation[0, :, :, 0])
        screened = screen_photograph(photograph, bundle)
        timed("finding as JSON", json_line, screened.finding)
    for step, seconds in spent.items():
        print(f"{step:<26} {1000 * seconds / len(paths):6.2f} ms")


def batches(session: onnxruntime.InferenceSession, pixels: Pixels, size: int, threads: int) -> None:
    parts = [pixels[i : i + size] for i in range(0, len(pixels), size)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda part: session.run(None, {"image": part}), parts))


def first_finding(bundle: Bundle, what: dict[str, Path]) -> None:
    for name, path in what.items():
        command = [sys.executable, "-m", "dermsentry.cli", "screen", str(path), "--model", str(bundle.folder)]
        seconds = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            with subprocess.Popen(
                [*command, "--format", "json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            ) as run:
                assert run.stdout is not None
                run.stdout.readline()
                seconds.append(time.perf_counter() - start)
                run.terminate()
        print(f"first finding {name} after {statistics.median(seconds):.2f} s (target 0.3 s)")


def memory(bundle: Bundle, paths: list[Path], work: Path) -> None:
    peaks = {}
    for count in (2_000, 20_000):
        folder = work / f"many{count}"
        folder.mkdir()
        for number in range(count):
            path = paths[number % len(paths)]
            copy = folder / f"{number:05}{path.suffix}"
            if number < len(paths):
                copy.write_bytes(path.read_bytes())
            else:
                os.link(folder / f"{number % len(paths):05}{path.suffix}", copy)
        results = {"findings": str(work / "f.jsonl"), "predictions": str(work / "p.csv")}
        code = (
            "import resource; from dermsentry.screening import iter_screen; "
            f"n = sum(1 for _ in iter_screen([{str(folder)!r}], {str(bundle.folder)!r}, **{results!r})); "
            "print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
        screened, peak = done.stdout.split()
        peaks[count] = float(peak)
        print(f"{int(screened):,} photographs: peak memory {float(peak):.0f} MiB")
    print(f"memory grows by {peaks[20_000] - peaks[2_000]:.0f} MiB from 2,000 to 20,000 photographs")


def phantoms(folder: Path, count: int) -> Path:
    from dermsentry.phantoms import draw_phantoms

    draw_phantoms(folder, per_class=-(-count // 9), test_per_class=1, defects=False, size=(400, 300))
    return folder


if __name__ == "__main__":
    main()
