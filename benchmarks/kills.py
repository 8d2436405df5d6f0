"""Kill screening again and again, and count what is lost or doubled: `python benchmarks/kills.py`.

It draws synthetic photographs, screens them with the bundled model, ends the process with SIGKILL at moments
spread over the run, resumes it each time, and compares the findings with those of a run without kills.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from PIL import Image

from dermsentry.diagnoses import CODES
from dermsentry.phantoms import draw_phantom
from dermsentry.screening import screen


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--count", type=int, default=5000, help="photographs")
    given.add_argument("--kills", type=int, default=10)
    given.add_argument("--seed", type=int, default=0)
    options = given.parse_args()
    generator = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        folder, out = Path(place) / "phantoms", Path(place) / "findings" / "findings.jsonl"
        folder.mkdir()
        for number in range(options.count):
            drawn = draw_phantom(CODES[number % len(CODES)], number, (128, 96))
            Image.fromarray(drawn).save(folder / f"{number:06d}.jpg")
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


if __name__ == "__main__":
    main()
