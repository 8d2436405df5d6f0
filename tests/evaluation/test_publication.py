"""What a paper needs of a result: every number from the result, nothing made up, nothing overwritten."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bundles import lesion, tiny_bundle, tiny_card
from dermsentry import publish
from dermsentry.cli import app
from dermsentry.errors import InputError
from dermsentry.evaluation.publication.tables import Table
from pictures import save


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an evaluation."""
    root = tmp_path_factory.mktemp("published")
    for i in range(14):
        for name, darkness in (("melanoma", 90 + 4 * i), ("nevus", 30 + 5 * i)):
            save(Image.fromarray(lesion(darkness, i)), root / "set" / name / f"{name[0]}{i}x.jpg")
    tiny_bundle(root / "bundle")
    out = root / "evaluation"
    done = CliRunner().invoke(
        app, ["evaluate", str(root / "bundle"), str(root / "set"), "--out", str(out), "--resamples", "50"]
    )
    assert done.exit_code == 0, done.output
    return out


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_figure_is_that_of_the_evaluation(result: Path, tmp_path: Path) -> None:
    written = publish(result, tmp_path)
    assert all(path.stat().st_size for path in written)
    known = json.loads((result / "evaluation.json").read_text(encoding="utf-8"))
    figures = {row["figure"]: row for row in rows(tmp_path / "tables" / "figures.csv")}
    area = known["melanoma"]["roc_auc"]
    assert float(figures["melanoma AUROC"]["estimate"]) == area["value"]
    assert float(figures["melanoma AUROC"]["estimate_low"]) == area["low"]
    matrix = rows(tmp_path / "tables" / "confusion_matrix.csv")
    assert [[int(row[name]) for name in list(row)[1:]] for row in matrix] == known["confusion_matrix"][
        "counts"
    ]
    tex = (tmp_path / "tables" / "classes.tex").read_text(encoding="utf-8")
    assert tex.count(r"\\") == 1 + len(known["classes"])
    assert re.search(r"melanoma & 14 & 14 &", tex)


def test_figures_are_vectors_and_the_same_each_time(result: Path, tmp_path: Path) -> None:
    publish(result, tmp_path / "one")
    publish(result, tmp_path / "two")
    names = sorted(path.name for path in (tmp_path / "one" / "figures").iterdir())
    assert {name.rpartition(".")[0] for name in names} >= {"calibration", "confusion_matrix", "ranking"}
    for name in names:
        first, second = ((tmp_path / one / "figures" / name).read_bytes() for one in ("one", "two"))
        assert first == second
        assert first.startswith(b"%PDF" if name.endswith(".pdf") else b"<?xml")


def test_the_run_says_command_commit_and_hardware(result: Path, tmp_path: Path) -> None:
    publish(result, tmp_path)
    run = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert run["hardware"]["cores"] >= 1
    assert run["hardware"]["processor"]
    assert {"command", "commit", "time", "versions", "dermsentry"} <= run.keys()
    (result / ".dermsentry.json").rename(result / "aside")
    try:
        publish(result, tmp_path / "older")  # a result of before it was recorded
        assert json.loads((tmp_path / "older" / "run.json").read_text(encoding="utf-8"))["command"] is None
    finally:
        (result / "aside").rename(result / ".dermsentry.json")


def test_checklists_answer_from_the_result_and_leave_the_rest_empty(result: Path, tmp_path: Path) -> None:
    publish(result, tmp_path)
    for name, highest, items in (("tripod-ai", 27, 52), ("claim", 44, 44), ("stard-ai", 40, 48)):
        text = (tmp_path / "checklists" / f"{name}.md").read_text(encoding="utf-8")
        listed = [line.split(" | ") for line in text.splitlines() if re.match(r"\| \d", line)]
        numbers = [cells[0].removeprefix("| ") for cells in listed]
        assert len(numbers) == len(set(numbers)) == items
        assert sorted({int(number.rstrip("abcdefg")) for number in numbers}) == list(range(1, highest + 1))
        assert "from transcriptions of the published form" in " ".join(text.split())
        said = re.search(r"it says something: (\d+) of (\d+) items", " ".join(text.split()))
        assert said
        assert int(said[2]) == items
        assert int(said[1]) == sum(bool(cells[2].strip()) for cells in listed) > 10
    claim = (tmp_path / "checklists" / "claim.md").read_text(encoding="utf-8")
    assert "14 melanoma photographs" in claim
    assert re.search(r"\| 44 \| Funding and the funders' role \|\s+\| \|", claim)
    assert "28 photographs" in (tmp_path / "datasheet.md").read_text(encoding="utf-8")


TRAINED = {
    "recipe": "lite1", "network": "lite1", "epochs": 40, "batch_size": 16, "learning_rate": 0.0005,
    "schedule": "plateau", "patience": 6, "size": 240, "aspect": "pad", "augmented": True,
    "class_weights": False, "balance": "augmentor", "weights": "dermoscopy", "precision": "float32",
    "seed": 3,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "initialisation", "training", "selection"),
    [
        (
            {},
            "Weights of the bundled dermoscopy model; the last layer new.",
            "lite1 at 240 pixels (pad), all of it trained: cross-entropy; Adam, learning rate 0.0005 "
            "(plateau); batches of 16; 40 epochs at most, stopped after 6 epochs without a higher validation "
            "accuracy; "
            "changed at random in each epoch; classes balanced by augmented copies; float32; random seed 3.",
            "The epoch with the highest accuracy on the validation part;",
        ),
        (
            {"recipe": "cnn", "network": "cnn", "patience": None, "balance": "none", "augmented": False},
            "Random, by the seed 3.",
            "batches of 16; 40 epochs; no augmentation; float32; random seed 3.",
            "The epoch with the highest accuracy",
        ),
        (
            {"recipe": "linear", "weights": "imagenet"},
            "Weights of ImageNet, frozen, below a new linear head.",
            "A linear head on the frozen lite1: logistic regression with an L2 penalty, every class weighing "
            "the same; 240 pixels (pad).",
            "The penalty with the highest balanced accuracy on the validation part;",
        ),
    ],
    ids=["network", "cnn", "linear"],
)
def test_how_a_network_of_ours_was_trained_is_known(
    result: Path,
    tmp_path: Path,
    changed: dict[str, object],
    initialisation: str,
    training: str,
    selection: str,
) -> None:
    copy = shutil.copytree(result, tmp_path / "evaluation")
    known = json.loads((copy / "evaluation.json").read_text(encoding="utf-8"))
    assert known["model"]["training"] == tiny_card().training["configuration"]
    known["model"]["training"] = {**TRAINED, **changed}
    (copy / "evaluation.json").write_text(json.dumps(known), encoding="utf-8")
    publish(copy, tmp_path / "paper")
    claim = (tmp_path / "paper" / "checklists" / "claim.md").read_text(encoding="utf-8")
    answers = dict(re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]*?) \|", claim, re.MULTILINE))
    assert answers["24"] == initialisation
    assert training in answers["25"]
    assert answers["26"].startswith(selection)


def test_the_command_refuses_what_was_edited(result: Path, tmp_path: Path) -> None:
    arguments = ["publish", str(result), "--out", str(tmp_path)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert CliRunner().invoke(app, arguments).exit_code == 0
    claim = tmp_path / "checklists" / "claim.md"
    claim.write_text(claim.read_text(encoding="utf-8") + "page 3\n", encoding="utf-8")
    done = CliRunner().invoke(app, arguments)
    assert "was changed since publish wrote it" in str(done.exception)
    assert claim.read_text(encoding="utf-8").endswith("page 3\n")


@pytest.mark.parametrize("name", ["tables/figures.csv", "figures/calibration.svg", "run.json"])
def test_the_command_replaces_no_file_of_another(result: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("of a colleague", encoding="utf-8")
    arguments = ["publish", str(result), "--out", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert f"has {name}, and nothing says that publish wrote it so" in str(done.exception)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [Path(name).name]
    assert CliRunner().invoke(app, [*arguments, "--force"]).exit_code == 0
    assert (tmp_path / name).read_bytes() != b"of a colleague"


def test_only_a_result_is_published(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither evaluation\.json nor study\.json"):
        publish(tmp_path, tmp_path / "out")


def test_text_is_escaped_for_latex() -> None:
    table = Table("A table", ({"by": "50_%&#", "share": 0.25, "none": None},))
    assert r"50\_\%\&\#" in table.tex()
    drop = {"value": -0.01, "low": -0.02, "high": 0.03}
    text = Table("A drop", ({"threshold": 0.01043, "drop": drop},)).tex()
    assert "0.0104 & $-$0.010 ($-$0.020 to 0.030)" in text
    assert text.isascii()  # pdfLaTeX has no minus sign of its own
    assert table.csv() == "by,share,none\n50_%&#,0.25,\n"
    assert np.isclose(0.25, float(table.csv().splitlines()[1].split(",")[1]))
