"""How long `import dermsentry` and `dermsentry --help` take, beside an empty Python and importing Keras.

    python benchmarks/startup.py

Prints the median of several runs on a warm machine. Target: both under half a second.
"""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
import time

RUNS = 9


def seconds(code: str, runs: int = RUNS) -> float:
    """Median wall time of a fresh interpreter that runs `code`, after one run to warm the disk's cache."""
    taken = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])


def main() -> None:
    bare = seconds("pass")
    show_help = "import sys; sys.argv = ['dermsentry', '--help']; from dermsentry.cli import main; main()"
    rows = {
        "an empty Python": bare,
        "import dermsentry": seconds("import dermsentry"),
        "dermsentry --help": seconds(show_help),
    }
    if importlib.util.find_spec("keras"):
        rows["import keras, for comparison"] = seconds("import keras", runs=2)
    for name, taken in rows.items():
        print(f"{name:<30} {taken:6.3f} s")
    slowest = max(rows["import dermsentry"], rows["dermsentry --help"])
    print(f"share of the half second used: {slowest / 0.5:.2f}")
    sys.exit(slowest >= 0.5)


if __name__ == "__main__":
    main()
