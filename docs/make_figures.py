"""Measure the figures that README and docs quote, and write docs/figures.md: `make figures DATA=FOLDER`.

    python docs/make_figures.py [DATA] [--only NAME ...]

docs/figures.json lists them: what each was measured on, the command, the JSON that the command writes, and
how the figure is read from it. With DATA, the folder of the sets, every command that names it is run, the
slow ones only by `--only`, with results in `runs/`; without, results that are there are read again. A figure
whose result is not there keeps its text, and a row that was never measured is not shown. Then the page, and
the tables of README between their marks, are written from the list and the bundled model's card.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from dermsentry.files import to_json
from dermsentry.model import open_bundle
from dermsentry.model.model_card import model_card
from dermsentry.stats.intervals import Estimate
from dermsentry.stats.numbers import MISSING, decimal, decimal_interval, percent, percent_interval

ROOT = Path(__file__).resolve().parents[1]
LISTED, PAGE, README = ROOT / "docs/figures.json", ROOT / "docs/figures.md", ROOT / "README.md"
RESULTS = Path("runs/figures")
CARD_COMMAND = "python -m recipes.dermoscopy.claims RUN DATA OUT --left-out FILE --locked"


def _environment() -> Environment:
    """What a figure's `show` may use: the formatters of `stats.numbers`, also of estimates in JSON."""
    made = Environment(undefined=StrictUndefined)

    def estimate(value: Mapping[str, float] | None) -> Estimate | None:
        return None if value is None else Estimate(**value)

    made.filters |= {
        "count": lambda value: f"{value:,}",
        "decimals": lambda value, digits=3: decimal_interval(estimate(value), digits),
        "percents": lambda value, digits=0: percent_interval(estimate(value), digits),
        "decimal": decimal,
        "percent": lambda value, digits=0: percent(value, digits),
    }
    return made


ENVIRONMENT = _environment()


def measurements(listed: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every row of a table and every figure by itself: what has a name, a command and a result."""
    for table in listed["tables"]:
        yield from table["rows"]
    yield from listed["others"]


def measure(listed: Mapping[str, Any], data: str, only: list[str]) -> None:
    """Run the command of each measurement that names DATA, the same command once."""
    ran: set[str] = set()
    for own in measurements(listed):
        command = own["command"]
        wanted = own["name"] in only if only or own.get("slow") else True
        if not wanted or "DATA" not in command or not command.startswith("dermsentry ") or command in ran:
            continue
        ran.add(command)
        words = [word.replace("DATA", data) for word in shlex.split(command)]
        print(f"{own['name']}: {command}", file=sys.stderr)
        done = subprocess.run([sys.executable, "-m", "dermsentry.cli", *words[1:]], cwd=ROOT, check=False)
        if done.returncode not in (0, 1, 3):  # an audit that finds something, and a set with unreadable files
            raise SystemExit(f"{command}: exit code {done.returncode}")


def collect(listed: Mapping[str, Any]) -> list[str]:
    """Read every figure again whose result is there; the names of those whose result is not."""
    without = []
    for table in listed["tables"]:
        for row in table["rows"]:
            result = _result(row)
            if result is None:
                without.append(row["name"])
                continue
            row["texts"] = [_shown(column["show"], result, row) for column in table["columns"]]
    for own in listed["others"]:
        result = _result(own)
        if result is None:
            without.append(own["name"])
        else:
            own["text"] = _shown(own["show"], result, own)
    return without


def _result(own: dict[str, Any]) -> Any:
    """The JSON that a measurement is read from; None where it is not there, or none is written."""
    path = ROOT / own["result"] if own.get("result") else None
    if path is None or not path.is_file():
        return None
    result = json.loads(path.read_text(encoding="utf-8"))
    if own.get("model"):
        own["model"] = result.get("digest") or result["model"]["digest"]
    return result


def _shown(show: str, result: Any, own: Mapping[str, Any]) -> str:
    """A figure as text; `it` is what the measurement's `of` picks from the result."""
    picked = ENVIRONMENT.compile_expression(own.get("of", "result"))(result=result)
    return ENVIRONMENT.from_string(show).render(it=picked) or MISSING


def card_figures() -> list[tuple[str, list[tuple[str, str]]]]:
    """The figures of the bundled model's card, under each of its headings, as the card shows them."""
    text = model_card(open_bundle())
    section = text.partition("\n## Figures\n")[2].partition("\n## ")[0]
    found = []
    for part in re.split(r"^### ", section, flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        rows = re.findall(r"^\| (?!figure |---)([^|]*(?:\\\|[^|]*)*) \| ([^|]*) \|$", body, re.MULTILINE)
        if rows:
            found.append((heading, rows))
    return found


def page(listed: Mapping[str, Any]) -> str:
    """docs/figures.md."""
    lines = [
        "# Figures",
        "",
        "Made by `make figures DATA=FOLDER`; do not edit. Every figure that the README, the model card and",
        "these pages quote, and the command that measures it again. `DATA` is the folder of the sets",
        "([layout](how-to-train.md#make-the-bundled-model)). Results that are not in the package are in",
        "`runs/`; what takes hours is read from a run that was kept. Brackets hold 95 % intervals.",
        "",
        f"Bundled model: `{open_bundle().card.digest[:12]}`.",
    ]

    def section(title: str, heads: list[str], rows: Iterable[list[str]]) -> None:
        lines.extend(["", f"## {title}", "", table_text(heads, rows)])

    for table in listed["tables"]:
        rows = ([row["label"], *row["texts"], *_origin(row)] for row in table["rows"] if row["texts"])
        section(table["title"], [*_heads(table), "set and part", "command"], rows)
    heads = ["figure", "value", "set and part", "command", "quoted in"]
    others = ([o["name"], o["text"], *_origin(o), ", ".join(o["quoted"])] for o in listed["others"])
    section("Other figures", heads, others)
    card = ([part, name, value] for part, rows in card_figures() for name, value in rows)
    section("The model card", ["part", "figure", "value"], card)
    lines.append(f"\nAll of them by `{CARD_COMMAND}`; what no command measures, by its `--observed`.")
    pages = ([f"[{o['page']}]({o['page']})", o["section"], o["command"]] for o in listed["elsewhere"])
    section("Sections of the other pages that quote figures", ["page", "section", "command"], pages)
    return "\n".join(lines) + "\n"


def readme(text: str, listed: Mapping[str, Any]) -> str:
    """README with its tables from the list."""
    for table in listed["tables"]:
        start, end = f"<!-- figures: {table['name']} -->\n", f"<!-- end of {table['name']} -->"
        before, found, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise SystemExit(f"README.md has no {start.strip()} … {end}.")
        rows = ([row["label"], *row["texts"]] for row in table["rows"] if row["texts"])
        text = f"{before}{start}\n{table_text(_heads(table), rows)}\n\n{end}{after}"
    return text


def _heads(table: Mapping[str, Any]) -> list[str]:
    return [table["first"], *(column["name"] for column in table["columns"])]


def _origin(own: Mapping[str, Any]) -> list[str]:
    return [f"{own['set']}: {own['part']}", f"`{own['command']}`"]


def table_text(heads: list[str], rows: Iterable[list[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure, collect, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="?", help="folder of the sets; without it nothing is measured")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    given = parser.parse_args()
    listed = json.loads(LISTED.read_text(encoding="utf-8"))
    if given.data:
        measure(listed, given.data, given.only)
    for name in collect(listed):
        print(f"{name}: no result here, kept as it was", file=sys.stderr)
    LISTED.write_text(to_json(listed), encoding="utf-8")
    PAGE.write_text(page(listed), encoding="utf-8")
    README.write_text(readme(README.read_text(encoding="utf-8"), listed), encoding="utf-8")


if __name__ == "__main__":
    main()
