"""Write docs/layouts.md from what each layout says of itself: `make api`."""

from __future__ import annotations

from pathlib import Path

from dermsentry.collection.layouts import LAYOUTS
from dermsentry.collection.layouts.contents import About

PAGE = Path(__file__).parent / "layouts.md"
INTRODUCTION = """\
# Collections that are read as they come

Made from the layouts by `make api`; do not edit. `DATA` on the command line, and in `read_collection`, is
the folder that a download unpacks into: nothing has to be renamed or moved. The first layout that
recognises what is there reads it.

A diagnosis is read by its name in any of these sets, by the ISIC Archive's five levels, or by a code of
SNOMED CT. What a set does not distinguish is a set of candidates: `PBK|SK`, any benign
(`AK|DF|NV|PBK|SK|VASC`), any malignant (`BCC|MEL|SCC`) or any diagnosis but melanoma. What is none of the
nine is listed, with counts, and kept as unknown; `--diagnoses` says what it is
([files](files.md#diagnosescsv)).

A new layout is one file in `src/dermsentry/collection/layouts/`, with `ABOUT`, `recognises` and `read`.
"""


def entry(about: About) -> str:
    """What the page says of one layout."""
    gives = ", ".join(f"`{column}`" for column in about.gives) or "labels alone"
    place = f"<{about.published}>" if about.published.startswith("https://") else about.published
    lines = [
        f"## {about.name}",
        "",
        "| | |",
        "|---|---|",
        f"| recognised by | {_cell(about.recognised)} |",
        f"| gives | {gives} |",
        f"| published | {place} |",
        f"| licence | {_cell(about.licence)} |",
        *([f"| to know | {_cell(about.remark)} |"] if about.remark else []),
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def page() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *(entry(layout.ABOUT) for layout in LAYOUTS)])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
