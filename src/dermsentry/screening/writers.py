"""Findings as people and programs want them: table, JSON lines, predictions, saliency maps.

Tables are written during screening and take their place when it ends: whole, or not at all.
"""

from __future__ import annotations

import json
import textwrap
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dermsentry.diagnoses import CODES, name_of
from dermsentry.errors import DataWarning, InputError, require_extra
from dermsentry.files import csv_line, plain, whole_file
from dermsentry.screening.finding import Finding
from dermsentry.screening.inputs import path_hash
from dermsentry.screening.predictions import Challenge, header, row
from dermsentry.stats.numbers import percent

# How a terminal shows a tier: bold white on red, yellow, as it is, cyan, magenta.
_COLOURS = {"alert": "1;97;41", "refer": "33", "routine": "0", "cannot-say": "36", "unreadable": "35"}

_INDENT = " " * 22  # to where the table has what is likeliest
_ROUTINE_REASONS = 2  # the threshold and the likeliest diagnosis, which the line shows; anything else is told

Write = Callable[[Finding], object]


@contextmanager
def predictions_file(path: Path, challenge: Challenge | None) -> Iterator[Write]:
    """Yield what writes a photograph's row of a table of predictions. Raises OutputError.

    Where two photographs have the same name, which in archives is known only then, there is no table at the
    end, nor an older one, and a warning says so.
    """
    names: dict[int, str] = {}
    twice: list[str] = []

    def write(finding: Finding) -> None:
        other = names.setdefault(path_hash(finding.image), finding.path)
        if other != finding.path:
            twice.append(other)
            twice.append(finding.path)
            del twice[2:]
        file.write(predictions_row(finding, challenge))

    with (
        whole_file(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="", errors="backslashreplace") as file,
    ):
        file.write(header(challenge))
        yield write
    if twice:
        path.unlink(missing_ok=True)
        told = f"no {path.name}: {twice[0]} and {twice[1]} have the same name, by which alone it knows them."
        warnings.warn(told, DataWarning, stacklevel=2)


def check_table(path: Path) -> None:
    """Raise InputError where a table's name does not say which kind it is, or that cannot be written."""
    if path.suffix.lower() == ".parquet":
        require_extra("parquet")
    elif path.suffix.lower() != ".csv":
        raise InputError(f"Received the table {path}; expected a name that ends in .csv or .parquet.")


@contextmanager
def table_file(path: Path) -> Iterator[Write]:
    """Yield what writes a finding's row of a table, a column for each number: CSV or Parquet by its name.

    Raises OutputError.
    """
    with whole_file(path) as temporary:
        if path.suffix.lower() == ".csv":
            with temporary.open("w", encoding="utf-8", newline="", errors="backslashreplace") as file:
                file.write(csv_line(list(_COLUMNS)))
                yield lambda finding: file.write(csv_line(list(_flat(finding).values())))
            return
        import pyarrow
        from pyarrow import parquet

        schema = parquet_schema()
        rows: list[dict[str, Any]] = []

        def write(finding: Finding) -> None:
            rows.append(parquet_row(finding))
            if len(rows) >= _ROWS:
                flush()

        def flush() -> None:
            if rows:
                out.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
                rows.clear()

        with parquet.ParquetWriter(temporary, schema) as out:
            yield write
            flush()


_ROWS = 4096
_MEASURED = ("side", "sharpness", "brightness", "contrast", "glare", "hair")
_COLUMNS = {
    **dict.fromkeys(("image", "path", "tier"), "text"),
    **dict.fromkeys(("melanoma", *CODES, "no_lesion", "out_of_distribution", *_MEASURED), "number"),
    **dict.fromkeys(("problems", "reasons", "model", "version"), "text"),
}


def parquet_schema() -> Any:
    """The columns of a table of findings, as pyarrow has them."""
    import pyarrow

    kinds = {"text": pyarrow.string(), "number": pyarrow.float64()}
    return pyarrow.schema([(name, kinds[kind]) for name, kind in _COLUMNS.items()])


def parquet_row(finding: Finding) -> dict[str, Any]:
    """A finding's row of a table that is written as Parquet."""
    return {name: utf8(own) if isinstance(own, str) else own for name, own in _flat(finding).items()}


def _flat(finding: Finding) -> dict[str, Any]:
    """A finding's row; several problems or reasons in one text."""
    quality, shares = finding.quality, finding.probabilities or {}
    row = {
        **{name: getattr(finding, name) for name in _COLUMNS if hasattr(finding, name)},
        **{code: shares.get(code) for code in CODES},
        **{name: getattr(quality, name, None) for name in _MEASURED},
        "problems": "; ".join(quality.problems) if quality else None,
        "reasons": "; ".join(finding.reasons),
    }
    return {name: row[name] for name in _COLUMNS}


def utf8(text: str) -> str:
    """`text` as files have it: bytes of a file name that are no UTF-8 become `\\udcXX`."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def json_line(finding: Finding) -> str:
    """A finding's line of `findings.jsonl`. Bytes of a file name that are no UTF-8 become `\\udcXX`."""
    return utf8(json.dumps(plain(finding), ensure_ascii=False, allow_nan=False) + "\n")


def predictions_row(finding: Finding, challenge: Challenge | None) -> str:
    """A photograph's row of a table of predictions; nothing for one that could not be read."""
    if finding.probabilities is None:
        return ""
    return row(finding.image, finding.probabilities, finding.out_of_distribution, challenge)


def table_header() -> str:
    """The first line of the table."""
    return f"{'tier':<11} {'melanoma':>8}  {'likeliest':<27} photograph"


def table_rows(finding: Finding, *, colour: bool = False, width: int | None = None) -> str:
    """A finding's line of the table, and the reasons under it where someone must act.

    `width`: columns of the terminal, in which lines are broken between words.
    """
    tier, path = f"{finding.tier:<11}", printable(finding.path)
    melanoma = "" if finding.melanoma is None else percent(finding.melanoma)
    likeliest = "" if finding.likeliest is None else name_of(finding.likeliest)
    lines = [f" {melanoma:>8}  {likeliest:<27} {path}"]
    if width is not None and len(tier) + len(lines[0]) > width:
        lines = [f" {melanoma:>8}  {likeliest}".rstrip(), _INDENT + path]
    if finding.tier != "routine" or len(finding.reasons) > _ROUTINE_REASONS:
        lines.append(_INDENT + "; ".join(printable(reason) for reason in finding.reasons))
        if width is not None:
            lines[-1:] = textwrap.wrap(
                lines[-1], width, subsequent_indent=_INDENT, break_long_words=False, break_on_hyphens=False
            )
    lines[0] = (f"\x1b[{_COLOURS[finding.tier]}m{tier}\x1b[0m" if colour else tier) + lines[0]
    return "\n".join(lines)


def printable(text: str) -> str:
    """`text` without what could move a terminal's cursor or change its colours."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
