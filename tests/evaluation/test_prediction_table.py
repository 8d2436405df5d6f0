"""Predictions of anyone's model: read from a table, evaluated, and compared with others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from typer.testing import CliRunner

from bundles import tiny_bundle
from dermsentry import evaluate_table, read_collection
from dermsentry.cli import app
from dermsentry.diagnoses import CODES
from dermsentry.errors import InputError
from dermsentry.evaluation.prediction_table import coarsened, read_prediction_table
from dermsentry.phantoms import draw_phantoms

SEVEN = {"MEL": "MEL", "NV": "NV", "BCC": "BCC", "DF": "DF", "VASC": "VASC"}
SEVEN |= {"AKIEC": "AK|SCC", "BKL": "PBK|SK"}


def table(path: Path, header: str, *rows: str) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory):
    """Phantoms and, of each, nine probabilities that know the truth a little."""
    folder = tmp_path_factory.mktemp("drawn")
    draw_phantoms(folder, per_class=10, test_per_class=1, seed=3, defects=False, size=(80, 60))
    collection = read_collection(folder / "Train")
    rng = np.random.default_rng(5)
    logits = rng.normal(size=(len(collection.table), 9))
    logits[np.arange(len(logits)), [CODES.index(code) for code in collection.table["diagnosis"]]] += 1.5
    raised = np.exp(logits)
    return folder, collection, raised / raised.sum(axis=1, keepdims=True)


def write(path: Path, collection, columns: dict[str, np.ndarray]) -> Path:
    lines = zip(collection.table["image_id"], *columns.values(), strict=True)
    return table(path, ",".join(["image", *columns]), *(",".join(map(str, line)) for line in lines))


def test_nine_classes_give_the_figures_of_the_probabilities(drawn, tmp_path):
    _, collection, probability = drawn
    given = write(tmp_path / "nine.csv", collection, dict(zip(CODES, probability.T, strict=True)))
    found = evaluate_table(given, collection, threshold=0.2, resamples=20)
    truth = collection.table["diagnosis"]
    mel = probability[:, CODES.index("MEL")]
    assert found.melanoma.roc_auc.value == pytest.approx(roc_auc_score(truth == "MEL", mel))
    assert found.sensitivity.value == pytest.approx((mel >= 0.2)[truth == "MEL"].mean())
    predicted = np.array(CODES)[probability.argmax(axis=1)]
    assert found.balanced_accuracy.value == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert "not known here whether their model has seen" in found.warnings[0]
    assert found.about["model"]["name"] == "nine.csv"


def test_seven_classes_are_evaluated_as_seven(drawn, tmp_path):
    _, collection, probability = drawn
    columns = {
        name: sum(probability[:, CODES.index(code)] for code in label.split("|"))
        for name, label in SEVEN.items()
    }
    given = write(tmp_path / "seven.csv", collection, columns)
    found = evaluate_table(given, collection, resamples=20)
    names = dict.fromkeys(CODES, "") | {c: name for name, label in SEVEN.items() for c in label.split("|")}
    truth = [names[code] for code in collection.table["diagnosis"]]
    predicted = np.array(list(columns))[np.argmax(list(columns.values()), axis=0)]
    assert found.balanced_accuracy.value == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert [own.label for own in found.classes] == ["AK|SCC", "BCC", "DF", "MEL", "NV", "PBK|SK", "VASC"]


@pytest.mark.parametrize("column", ["melanoma", "MEL", "target", "probability", "p_melanoma", "mel_prob"])
def test_melanoma_alone(drawn, tmp_path, column):
    _, collection, probability = drawn
    mel = probability[:, CODES.index("MEL")]
    found = evaluate_table(
        write(tmp_path / "mel.csv", collection, {column: mel}), collection, threshold=0.1, resamples=20
    )
    assert found.melanoma.roc_auc.value == pytest.approx(roc_auc_score(found.is_melanoma, mel))
    assert found.specificity.value == pytest.approx((mel < 0.1)[~found.is_melanoma].mean())
    assert len(found.classes) == 2


def test_photographs_without_a_row_and_rows_of_none_are_told(drawn, tmp_path):
    _, collection, probability = drawn
    given = write(tmp_path / "nine.csv", collection, dict(zip(CODES, probability.T, strict=True)))
    lines = given.read_text().splitlines()
    lines[1] = lines[1].split(",")[0] + "," * 9
    table(given, lines[0], *lines[1:-2], lines[-1].replace(lines[-1].split(",")[0], "elsewhere"))
    found = evaluate_table(given, collection, resamples=20)
    assert found.photographs == len(collection.table) - 3
    assert len(found.about["without_prediction"]) == 3
    told = " ".join(found.warnings)
    assert "3 photographs have no row in the table of predictions" in told
    assert "1 row of the table of predictions is of no photograph" in told
    assert "1 rows without probabilities" in told


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["image,nv", "a,1"], "expected one for melanoma"),
        (["name,MEL", "a,1"], "expected one that names the image"),
        (["image,malignant,benign", "a,0.5,0.5"], "expected one for melanoma"),
        (["image,MEL,NV", "a,0.5,"], "no number for every diagnosis of a"),
        (["image,MEL,NV", "a,,"], "no probabilities in its 1 rows"),
        (["image,MEL,NV", "a,2.5,-1.5"], "not logits or per cent"),
        (["image,MEL,NV", "a,nan,0.5"], "no number for every diagnosis"),
        (["image,MEL,NV", "a,inf,0.5"], "expected probabilities from 0 to 1"),
        (["image,MEL,NV", "a,0.9,0.9"], "add up to 1.8 for a"),
        (["image,MEL,melanoma", "a,0.5,0.5"], "several columns for MEL"),
        (["image,MEL,BKL,SK", "a,0.5,0.3,0.2"], "several columns for SK"),
        (["image,MEL", "ISIC_1,0.1"], "has no row of any of the"),
    ],
)
def test_a_table_that_cannot_be_one_is_refused_with_what_came(drawn, tmp_path, lines, message):
    given = table(tmp_path / "given.csv", *lines)
    with pytest.raises(InputError, match=message):
        evaluate_table(given, drawn[1])


def test_a_photograph_with_two_answers_is_refused_and_one_said_twice_is_not(drawn, tmp_path):
    _, collection, probability = drawn
    given = write(tmp_path / "mel.csv", collection, {"MEL": probability[:, 3]})
    lines = given.read_text().splitlines()
    found = evaluate_table(table(given, *lines, lines[1]), collection, resamples=20)
    assert found.photographs == len(collection.table)
    with pytest.raises(InputError, match=r"has 2 rows of .* with different probabilities"):
        evaluate_table(table(given, *lines, lines[1].split(",")[0] + ",0.123"), collection)


def test_a_spreadsheet_with_semicolons_and_commas(tmp_path):
    given = table(tmp_path / "given.csv", "Image;Melanom;Nävus;remark;p_bcc", "a.jpg;0,25;0,5;none;0,25")
    given.write_text(given.read_text().replace("Melanom", "Melanoma").replace("Nävus", "Nevus"))
    found = read_prediction_table(given)
    assert found.images == ("a",)
    assert found.classes == ("MEL", "NV", "BCC")
    assert found.probability[0, [3, 4, 1]].tolist() == [0.25, 0.5, 0.25]
    assert found.left_alone == ("the column remark, which is not a diagnosis",)


@given(st.lists(st.sampled_from([*CODES, "", "PBK|SK", "AK|SCC", "MEL|NV"]), max_size=8))
def test_coarsening_never_loses_what_a_label_said(labels):
    found = coarsened(labels, list(SEVEN.values()))
    for one, whole in zip(labels, found, strict=True):
        assert set(one.split("|")) <= set(whole.split("|"))
        assert bool(one) == bool(whole)
    assert coarsened(found, list(SEVEN.values())) == found


def test_the_command_evaluates_tables_and_compares_them_with_a_bundle(drawn, tmp_path):
    folder, collection, probability = drawn
    run = CliRunner()
    good = write(tmp_path / "good.csv", collection, dict(zip(CODES, probability.T, strict=True)))
    alone = write(tmp_path / "alone.csv", collection, {"MEL": np.full(len(probability), 0.3)})
    tiny_bundle(tmp_path / "bundle")
    for name, options in {
        "good": ["--predictions", good, folder / "Train", "--threshold", 0.25],
        "alone": ["--predictions", alone, folder / "Train"],
        "bundle": [tmp_path / "bundle", folder / "Train"],
    }.items():
        given = ["evaluate", *options, "--out", tmp_path / name, "--resamples", 40]
        result = run.invoke(app, [str(one) for one in given])
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith("melanoma sensitivity")
    page = (tmp_path / "good" / "evaluation.html").read_text()
    assert "0.25, as given" in page
    folders = [str(tmp_path / name) for name in ("good", "alone", "bundle")]
    result = run.invoke(app, ["compare", *folders, "--out", str(tmp_path / "compared")])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "differences from good, paired" in lines[0]
    alone_line = next(line for line in lines if line.startswith("  alone"))
    assert "0.500" in alone_line
    assert "−" in alone_line
    found = json.loads((tmp_path / "compared" / "comparison.json").read_text())
    area = found["differences"][0]
    assert (area["model"], area["figure"]) == ("alone", "roc_auc")
    mel = roc_auc_score(collection.table["diagnosis"] == "MEL", probability[:, 3])
    assert area["difference"]["value"] == pytest.approx(0.5 - mel, abs=1e-6)
    assert area["p_adjusted"] >= area["p_value"]
    assert "alone" in (tmp_path / "compared" / "comparison.html").read_text()
    assert len((tmp_path / "compared" / "comparison.csv").read_text().splitlines()) == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--predictions", "t.csv", "set", "--robustness"], "--robustness with --predictions"),
        (["set"], "expected a bundle and the images"),
        (["b", "set", "--threshold", "0.2"], "--threshold without --predictions"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    result = CliRunner().invoke(app, ["evaluate", *options])
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)


def test_evaluations_that_share_nothing_are_not_compared(drawn, tmp_path):
    folder, collection, _ = drawn
    draw_phantoms(tmp_path / "other", per_class=3, test_per_class=1, seed=9, defects=False, size=(80, 60))
    other = read_collection(tmp_path / "other")
    for name, where in {"a": collection, "b": other}.items():
        given = write(tmp_path / f"{name}.csv", where, {"MEL": np.linspace(0, 1, len(where.table))})
        evaluate_table(given, where, out=tmp_path / name, resamples=9)
    run = CliRunner()
    result = run.invoke(app, ["compare", str(tmp_path / "a"), str(tmp_path / "b")])
    assert "no photograph in common" in str(result.exception)
    result = run.invoke(app, ["compare", str(tmp_path / "a"), str(folder)])
    assert "holds no evaluation" in str(result.exception)
    assert "at least two" in str(run.invoke(app, ["compare", str(tmp_path / "a")]).exception)
