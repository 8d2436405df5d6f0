"""What MkDocs needs for pages that lie outside `docs/`: they join the site, and links to them are turned."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = {
    "README.md": "index.md",
    "MODEL_CARD.md": "MODEL_CARD.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "src/dermsentry/collection/published_lesions.md": "published_lesions.md",
}


def on_files(files: Files, *, config: Any) -> Files:
    for source, shown in ELSEWHERE.items():
        files.append(File.generated(config, shown, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    def turned(link: re.Match[str]) -> str:
        target, anchor = link[1], link[2] or ""
        plain = target.removeprefix("../")
        return f"]({ELSEWHERE.get(plain, plain.removeprefix('docs/'))}{anchor})"

    return re.sub(r"\]\(((?:\.\./)?[\w./-]+\.(?:md|png))(#[\w-]+)?\)", turned, markdown)
