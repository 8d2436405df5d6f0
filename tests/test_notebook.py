"""The notebook that is kept: executed, of drawn photographs, and what `study --notebook` writes today."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from dermsentry.nine_class.notebook import TEMPLATE, cells_of

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks" / "melanoma_detection.ipynb"


@pytest.fixture(scope="module")
def kept() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_was_executed_to_its_end_without_an_error(kept: nbformat.NotebookNode) -> None:
    code = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    kinds = {(output.output_type, output.get("name")) for cell in code for output in cell.outputs}
    assert kinds <= {("stream", "stdout"), ("display_data", None), ("execute_result", None)}


def test_it_is_of_drawn_photographs_and_small(kept: nbformat.NotebookNode) -> None:
    """A notebook of a real run has photographs of patients in it."""
    assert "**Synthetic photographs.**" in kept.cells[0].source
    assert any('DATA = Path("../runs/notebook/photographs")' in cell.source for cell in kept.cells)
    assert NOTEBOOK.stat().st_size < 1_000_000


def test_its_code_is_what_the_study_writes(kept: nbformat.NotebookNode) -> None:
    """`make notebook` writes it again where this fails."""
    template = (ROOT / "src/dermsentry/reporting/templates" / TEMPLATE).read_text(encoding="utf-8")
    written = [source for kind, source in cells_of(template) if kind == "code"]
    code = [cell.source for cell in kept.cells if cell.cell_type == "code"]
    assert len(code) == len(written)
    for source, made in zip(code, written, strict=True):
        pattern = ".+?".join(map(re.escape, re.split(r"\{\{.*?\}\}", made)))
        assert re.fullmatch(pattern, source, re.DOTALL), source
