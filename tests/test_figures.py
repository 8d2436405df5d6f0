"""No quoted figure goes stale unseen: README, model card and pages say what docs/figures.json holds."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dermsentry.model import open_bundle
from docs import make_figures
from docs.make_figures import LISTED, PAGE, README, measurements

ROOT = Path(__file__).resolve().parents[1]
NUMBER = re.compile(
    r"(?<![\w.,])(?:\d+(?:\.\d+)? %(?: \([\d.]+–[\d.]+\))?|\d+(?:,\d{3})* of (?:the )?\d+(?:,\d{3})*"
    r"|0\.\d{2,3}\b(?: \([\d.]+–[\d.]+\))?|\d+(?:\.\d+)? (?:seconds|minutes|hours|MB|million)\b)"
)
"""What counts as a quoted figure: a share, a count of a count, a score, with its interval; a time, a size."""
DEFINED = {"95 %"}
"""Of the intervals, and the sensitivity that a threshold is chosen for: neither is measured."""
PAGES = [
    path.name for path in sorted((ROOT / "docs").glob("*.md")) if re.match(r"how-to|why|start", path.name)
]


@pytest.fixture
def listed() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(LISTED.read_text(encoding="utf-8"))
    return loaded


@pytest.fixture
def further(listed: dict[str, Any]) -> dict[str, Any]:
    """The list with one more set that the bundled model was evaluated on."""
    another = {
        "name": "another",
        "label": "Another hospital",
        "set": "another",
        "part": "all",
        "command": "dermsentry evaluate dermoscopy DATA/another --out runs/figures/another",
        "result": "runs/figures/another/evaluation.json",
        "model": "old",
        "texts": ["1 of 2", "–", "–", "–", "–"],
    }
    listed["tables"][0]["rows"].insert(0, another)
    return listed


def plain(text: str) -> str:
    return " ".join(re.sub(r"```.*?```", "", text, flags=re.DOTALL).split())


def texts_in(listed: dict[str, Any], page: str) -> str:
    """Every text that a page quotes, one after another."""
    rows = [
        text for table in listed["tables"] for row in table["rows"] for text in [row["label"], *row["texts"]]
    ]
    heads = [column["name"] for table in listed["tables"] for column in table["columns"]]
    return " | ".join([*heads, *rows, *(own["text"] for own in listed["others"] if page in own["quoted"])])


def test_the_page_and_the_tables_of_readme_are_those_of_the_list(listed: dict[str, Any]) -> None:
    assert PAGE.read_text(encoding="utf-8") == make_figures.page(listed), "make figures"
    text = README.read_text(encoding="utf-8")
    assert text == make_figures.readme(text, listed), "make figures"


def test_figures_of_the_bundled_model_are_of_this_one(listed: dict[str, Any]) -> None:
    """After another bundle is put in its place, every one of them has to be measured again."""
    digest = open_bundle().card.digest
    stale = [own["name"] for own in measurements(listed) if own.get("model", digest) != digest]
    assert stale == [], "make figures DATA=FOLDER"


def test_what_the_package_holds_the_result_of_is_as_listed(listed: dict[str, Any]) -> None:
    again = copy.deepcopy(listed)
    here = {own["name"] for own in measurements(listed) if str(own.get("result")).startswith("src/")}
    assert here.isdisjoint(make_figures.collect(again))
    read = {own["name"]: own for own in measurements(again)}
    for own in measurements(listed):
        if own["name"] in here:
            assert read[own["name"]] == own
    assert len(here) > 4


def test_every_listed_figure_is_quoted_as_listed(listed: dict[str, Any]) -> None:
    for own in listed["others"]:
        for page in own["quoted"]:
            assert own["text"] in plain((ROOT / page).read_text(encoding="utf-8")), own["name"]


def test_every_figure_of_readme_is_listed(listed: dict[str, Any]) -> None:
    known = set(NUMBER.findall(texts_in(listed, "README.md"))) | DEFINED
    quoted = set(NUMBER.findall(plain(README.read_text(encoding="utf-8"))))
    assert len(quoted) > 40
    assert quoted - known == set()


def test_every_figure_of_the_card_is_on_the_page() -> None:
    page, card = (path.read_text(encoding="utf-8") for path in (PAGE, ROOT / "MODEL_CARD.md"))
    section = card.partition("\n## Figures\n")[2].partition("\n## ")[0]
    cells = re.findall(
        r"^\|(?:[^|]|\\\|)*\| ([^|]*\d(?: %)? \([^|]*(?:–| to )[^|]*\)) \|$", section, re.MULTILINE
    )
    assert len(cells) > 50
    assert [cell for cell in cells if cell not in page] == []


def test_every_section_with_a_figure_has_its_command(listed: dict[str, Any]) -> None:
    named = {(one["page"], one["section"]) for one in listed["elsewhere"]}
    found = set()
    for page in PAGES:
        text = re.sub(r"```.*?```", "", (ROOT / "docs" / page).read_text(encoding="utf-8"), flags=re.DOTALL)
        for part in re.split(r"^#+ ", text, flags=re.MULTILINE)[1:]:
            heading, _, body = part.partition("\n")
            if re.search(r"\d %|\b0\.\d{2,3}\b", body):
                found.add((page, heading))
    assert found - named == set()
    headings = {
        (page, own)
        for page in PAGES
        for own in re.findall(r"^#+ (.*)$", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert named <= headings


def test_what_is_measured_again_changes_and_what_is_not_there_stays(
    further: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_figures, "ROOT", tmp_path)
    estimate = {"value": 0.5, "low": 0.25, "high": 0.75}
    alerts = {"value": 40.0, "low": 30.0, "high": 50.0}
    result = {
        "model": {"digest": "new"},
        "photographs": 2000,
        "melanoma": {"photographs": 1000, "roc_auc": estimate},
        "operating_point": {"sensitivity": estimate, "specificity": None},
        "clinical_value": [{"prevalence": 0.02, "number_needed_to_biopsy": alerts}],
    }  # fmt: skip
    (row,) = [own for own in measurements(further) if own["name"] == "another"]
    path = tmp_path / row["result"]
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(result))
    before = copy.deepcopy(further)
    without = make_figures.collect(further)
    assert row["texts"] == ["1,000 of 2,000", "0.500 (0.250–0.750)", "50 % (25–75)", "–", "40 (30–50)"]
    assert row["model"] == "new"
    assert "another" not in without
    for own, old in zip(measurements(further), measurements(before), strict=True):
        assert (own == old) == (own["name"] in without)


def test_each_command_on_the_sets_is_run_once_and_slow_ones_only_by_name(
    further: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        ran.append(command[3:])
        return subprocess.CompletedProcess(command, 1 if "audit" in command else 0)

    monkeypatch.setattr(subprocess, "run", run)
    make_figures.measure(further, "/some where/sets", [])
    assert [words[0] for words in ran] == ["evaluate", "audit"]
    assert ran[0][1:3] == ["dermoscopy", "/some where/sets/another"]
    ran.clear()
    make_figures.measure(further, "sets", ["study"])
    assert ran == [["study", "sets/isic9", "--out", "runs/isic9"]]
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 2))
    with pytest.raises(SystemExit, match="exit code 2"):
        make_figures.measure(further, "sets", [])
