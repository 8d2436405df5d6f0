"""The commands: each a thin call of the public API. stdout is for results, stderr for people."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from dermsentry import __version__
from dermsentry.errors import DermsentryError

app = typer.Typer(
    name="dermsentry",
    help="Melanoma alerts from skin photographs: audit a collection, split it honestly, train, judge, screen.\n\n"
    "Research software, not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Data = Annotated[list[Path], typer.Argument(metavar="DATA...", help="Folders of photographs or CSV files; several are joined.")]
Metadata = Annotated[Optional[Path], typer.Option(help="CSV by image id with lesion, patient, age, sex, site.")]  # noqa: UP045
Labels = Annotated[Optional[Path], typer.Option(help="Reference label table, such as ISIC's ground truth.")]  # noqa: UP045
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]


def _say(text: str) -> None:
    """A line for the person at the terminal."""
    typer.echo(text, err=True)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dermsentry {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line: an error the user can meet is one line on stderr and its exit code."""
    try:
        app(standalone_mode=True)
    except DermsentryError as error:
        _say(f"dermsentry: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say("dermsentry: interrupted. The same command goes on where it stopped.")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)


if __name__ == "__main__":
    main()
