"""Train the bundled model: `python -m recipes.dermoscopy FOLDER RUN`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import recipes.dermoscopy
from dermsentry.errors import DermsentryError
from recipes.dermoscopy.recipe import train_dermoscopy


def main() -> None:
    """Train, or resume, and print the bundle's folder; an error is one line and its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m recipes.dermoscopy",
        description=recipes.dermoscopy.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", type=Path, help="folder of the sets")
    parser.add_argument("out", type=Path, help="folder of the run")
    given = parser.parse_args()
    try:
        print(train_dermoscopy(given.data, given.out, quiet=False).bundle)
    except DermsentryError as error:
        print(f"recipes.dermoscopy: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
