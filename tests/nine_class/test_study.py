"""The study end to end on phantoms: both protocols, its files and sentences; a second run repeats nothing."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

from dermsentry.collection import Collection, read_collection
from dermsentry.errors import DermsentryError, InputError, OutputError, TrainingError
from dermsentry.nine_class import experiments, report
from dermsentry.nine_class import study as nine_class_study
from dermsentry.nine_class.conclusions import assess_fit, sentence
from dermsentry.nine_class.experiments import EXPERIMENTS, Material, run_experiment
from dermsentry.nine_class.notebook import execute, find_folders, write_notebook
from dermsentry.nine_class.pipeline import study
from dermsentry.nine_class.results import Study
from dermsentry.phantoms import draw_phantoms
from dermsentry.split import Split, make_split, random_split
from dermsentry.training import loop, pipeline
from dermsentry.training.fitted import Fitted
from dermsentry.training.pixels import decode

OPTIONS = {"epochs": (2, 1, 1), "per_class": 20, "size": 48}


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    drawn = draw_phantoms(tmp_path_factory.mktemp("drawn"), per_class=9, test_per_class=3, size=(120, 90))
    return read_collection(drawn.root)


@pytest.fixture(scope="module")
def finished(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Study:
    return study(collection, tmp_path_factory.mktemp("study"), **OPTIONS)


@pytest.fixture(scope="module")
def material(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Material:
    decoded = decode(collection, tmp_path_factory.mktemp("cache"), size=48)
    split = make_split(collection)
    splits = {"honest": split, "as-assigned": random_split(collection, split)}
    return Material(collection, decoded, splits, np.zeros((len(collection), 4), np.float32))


def test_every_experiment_ran_under_both_protocols(finished: Study) -> None:
    ran = {(r.experiment.name, r.protocol) for r in finished.results}
    assert ran == {(e.name, protocol) for e in EXPERIMENTS for protocol in ("as-assigned", "honest")}
    for result in finished.results:
        assert set(result.evaluations) == {"test-as-given", "test"}
        assert 0 <= result.val_accuracy <= 1


def test_files_say_what_the_call_returned(finished: Study) -> None:
    written = json.loads((finished.folder / "study.json").read_text())
    assert written["synthetic"] is True
    assert [c["sentence"] for c in written["findings"]] == [c.sentence for c in finished.conclusions]
    assert len(written["experiments"]) == len(finished.results)
    assert [own["devices"] for own in written["experiments"]] == [1] * len(finished.results)
    known = finished.audit.lesions
    assert written["lesions"]["sentence"] == known.sentence
    assert known.sentence in [c.sentence for c in finished.conclusions if c.about == "collection"]
    left = finished.split.counts()["test"]
    assert any(c.sentence.startswith(f"Without known leaks, {left} of ") for c in finished.conclusions)
    first = written["experiments"][0]
    assert first["configuration"]["batch_size"] == 32
    assert first["history"]["val_accuracy"] == pytest.approx(
        list(finished.results[0].history["val_accuracy"])
    )
    assert written["versions"]["keras"]
    for name in ("audit.json", "audit.html", "split.csv", "study.html", "bundle/card.json"):
        assert (finished.folder / name).is_file(), name
    assert sorted(p.stem for p in (finished.folder / "figures").glob("*.png")) >= [
        "augmentation",
        "balancing",
    ]


def test_the_page_stands_alone_and_says_it_is_synthetic(finished: Study) -> None:
    page = (finished.folder / "study.html").read_text()
    assert "Synthetic photographs" in page
    assert finished.audit.lesions.sentence in page
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")
    for conclusion in finished.conclusions:
        assert conclusion.sentence[:40].replace(" %", "\u00a0%") in page


def test_what_is_said_of_one_network_names_it(finished: Study) -> None:
    first, *others = finished.results
    test = first.evaluations["test"]
    own = replace(test, warnings=(*test.warnings, "It orders nothing."))
    results = [replace(first, evaluations={**first.evaluations, "test": own}), *others]
    limits = report.limits_of_test(results)
    assert ("test", (f"{first.experiment.title} (as assigned)",), "It orders nothing.") in limits
    shared = set.intersection(*(set(r.evaluations["test-as-given"].warnings) for r in results))
    assert shared
    assert shared == {text for part, names, text in limits if part == "test-as-given" and not names}


def test_the_kept_network_is_the_best_by_validation(finished: Study) -> None:
    honest = [r for r in finished.results if r.protocol == "honest"]
    assert finished.kept.val_balanced_accuracy == max(r.val_balanced_accuracy for r in honest)


def refuse(*arguments: object, **options: object) -> None:
    raise AssertionError("done again")


def test_a_finished_study_trains_predicts_and_exports_nothing_again(
    finished: Study, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = json.loads((finished.folder / "study.json").read_text())
    for module, name in ((pipeline, "fit"), (pipeline, "fit_head"), (experiments, "with_copies")):
        monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(Fitted, "logits", refuse)
    monkeypatch.setattr(nine_class_study, "make_bundle", refuse)
    monkeypatch.setattr(loop.keras.Model, "__call__", refuse)
    again = study(collection, finished.folder, **OPTIONS)
    assert again.kept.experiment is finished.kept.experiment
    after = json.loads((finished.folder / "study.json").read_text())
    assert after.pop("seconds") < before.pop("seconds")
    assert after == before


@pytest.mark.parametrize("change", [{"epochs": 2}, {"seed": 1}, {"precision": "mixed_bfloat16"}])
def test_what_is_kept_belongs_to_its_configuration(
    finished: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    monkeypatch.setattr(pipeline, "fit", refuse)
    made = finished.results[-3].training
    assert not made.experiment.linear
    folder = shutil.copytree(made.folder, tmp_path / "run")
    run_experiment(replace(made, folder=folder))
    with pytest.raises(AssertionError, match="done again"):
        run_experiment(replace(made, folder=folder, **change))


def test_figures_are_kept_only_while_the_photographs_relatives_are_the_same(
    finished: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reference labels settle a conflict: the same photographs are trained on, other ones contradicted."""
    monkeypatch.setattr(pipeline, "fit", refuse)
    made = next(r.training for r in finished.results if r.protocol == "as-assigned")
    material = made.material
    assert material.contradicted
    settled = Split(material.splits["honest"].table.assign(reason=""))
    other = replace(material, splits={**material.splits, "honest": settled})
    folder = shutil.copytree(made.folder, tmp_path / "run")
    run_experiment(replace(made, folder=folder))
    with pytest.raises(AssertionError, match="done again"):
        run_experiment(replace(made, folder=folder, material=other))


def test_a_network_that_was_fitted_again_gets_a_bundle_of_its_own(
    finished: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nine_class_study, "make_bundle", refuse)
    folder, options = finished.bundle.folder, finished.configuration
    assert nine_class_study._bundle(replace(finished.kept, fitted=None), folder, options).card
    assert finished.kept.fitted
    with pytest.raises(AssertionError, match="done again"):
        nine_class_study._bundle(finished.kept, folder, options)


def test_a_bundle_that_was_changed_is_made_again(
    finished: Study, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = finished.folder / "bundle" / "model.onnx"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    monkeypatch.setattr(nine_class_study, "make_bundle", refuse)
    try:
        with pytest.raises(AssertionError, match="done again"):
            study(collection, finished.folder, **OPTIONS)
    finally:
        weights.write_bytes(whole)


def test_a_study_is_one_line_and_a_table(finished: Study) -> None:
    assert "\n" not in repr(finished)
    frame = finished.to_frame()
    assert frame.index.names == ["experiment", "protocol"]
    assert frame.loc[("baseline", "honest"), "validation"] == next(
        r.val_accuracy for r in finished.results if (r.experiment.name, r.protocol) == ("baseline", "honest")
    )
    assert finished.conclusions[0].sentence[:20] in finished._repr_html_()


@pytest.mark.parametrize("first_loss", [1.0, 9.0, 400.0])
def test_curves_stay_in_their_frame(
    finished: Study, monkeypatch: pytest.MonkeyPatch, first_loss: float
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(report.figures, "as_png", drawn.append)
    assigned, honest = (r for r in finished.results if r.experiment.name == "baseline")
    history = assigned.history.assign(loss=[first_loss, 0.9])
    report._curves([replace(assigned, history=history), honest])
    for axes in drawn[0].axes:
        low, high = axes.get_ylim()
        for line in axes.lines:
            assert low <= min(line.get_ydata())
            assert max(line.get_ydata()) <= high


def test_honest_copies_stay_in_training_and_assigned_ones_do_not(finished: Study, material: Material) -> None:
    balanced = next(e for e in EXPERIMENTS if e.copies)
    honest, assigned = (
        next(r for r in finished.results if r.experiment is balanced and r.protocol == protocol)
        for protocol in ("honest", "as-assigned")
    )
    own = material.splits["honest"].table
    assert honest.validation_photographs == int((own["part"] == "validation").sum())
    assert honest.relatives["related"] == 0
    assert assigned.relatives["related"] > assigned.validation_photographs / 2
    assert max(honest.after.values()) == min(honest.after.values()) == 20


def test_test_as_given_keeps_the_folders_labels_and_test_drops_what_leaks(material: Material) -> None:
    table = material.collection.table
    given, _ = material.test(as_given=True)
    clean, _ = material.test(as_given=False)
    readable = [i for i in np.flatnonzero(table["split"] == "test") if i not in material.decoded.unreadable]
    assert sorted(given.rows) == readable
    assert list(given.labels) == [table["diagnosis"].iloc[i] for i in given.rows]
    assert set(clean.rows) < set(given.rows)
    parts = material.splits["honest"].table.set_index("path")["part"]
    assert all(parts[table["path"].iloc[row]] == "test" for row in clean.rows)


def test_both_protocols_are_judged_on_the_same_photographs(material: Material) -> None:
    honest, assigned = (material.splits[p].table for p in ("honest", "as-assigned"))
    assert list(honest["group"]) == list(assigned["group"])
    trained = set(assigned.loc[assigned["part"].isin(["train", "validation"]), "path"])
    tested = set(material.collection.table.loc[material.collection.table["split"] == "test", "path"])
    assert not trained & tested


@pytest.mark.parametrize("epochs", [(1, 1), (0, 1, 1), ()])
def test_epochs_must_be_three(collection: Collection, tmp_path: Path, epochs: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="three numbers"):
        study(collection, tmp_path, epochs=epochs)


def test_one_class_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    drawn = draw_phantoms(
        tmp_path / "data", per_class={"MEL": 8}, test_per_class=0, defects=False, size=(60, 45)
    )
    with pytest.raises(DermsentryError) as caught:
        study(read_collection(drawn.root), tmp_path / "out", fast=True, size=48)
    assert isinstance(caught.value, TrainingError)
    assert "two classes" in str(caught.value)


@pytest.fixture(scope="module")
def notebook(finished: Study, tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    """The study's notebook, as it is written."""
    path = tmp_path_factory.mktemp("handed in") / "hand-in.ipynb"
    write_notebook(finished, path)
    return nbformat.read(path, as_version=4)


def outputs_of(notebook: nbformat.NotebookNode) -> Iterator[Any]:
    for cell in notebook.cells:
        yield from cell.get("outputs", ())


def printed_by(notebook: nbformat.NotebookNode) -> str:
    return "".join(output.get("text", "") for output in outputs_of(notebook))


@pytest.mark.slow
def test_the_notebook_shows_the_run(finished: Study, notebook: nbformat.NotebookNode) -> None:
    """Its own cells, on photographs that Keras loads, find the accuracies that the study found."""
    assert not [output for output in outputs_of(notebook) if output.output_type == "error"]
    printed, text = printed_by(notebook), "\n".join(cell.source for cell in notebook.cells)
    trained = [r for r in finished.results if r.protocol == "as-assigned" and not r.experiment.linear]
    found = [float(share) / 100 for share in re.findall(r"accuracy on Test ([\d.]+)%", printed)]
    one = 1 / trained[0].evaluations["test-as-given"].photographs
    assert found == pytest.approx([r.figure("test-as-given", "accuracy") for r in trained], abs=1.01 * one)
    for result in trained:
        assert (
            f"{result.experiment.name}: trained by dermsentry study, {len(result.history)} epochs" in printed
        )
        fit = assess_fit(result.accuracy, result.history)
        assert sentence("fit", title=result.experiment.title, fit=fit) in text
    for word in ("Least: ", "Dominating", "files that cannot be read"):
        assert word in printed
    assert sum("image/png" in output.get("data", ()) for output in outputs_of(notebook)) >= 12


@pytest.mark.slow
def test_the_notebook_leaves_room_marks_what_is_beyond_and_tells_no_path(
    finished: Study, notebook: nbformat.NotebookNode
) -> None:
    sources = [cell.source for cell in notebook.cells]
    asked = [i for i, source in enumerate(sources) if source.startswith("### My ")]
    assert len(asked) == 5
    assert all(sources[i + 1] == "" for i in asked)
    beyond = re.findall(r"^### Beyond the assignment: (.*)$", "\n".join(sources), re.MULTILINE)
    for subject, heading in zip(("leakage", "class weights", "pretrained"), beyond, strict=True):
        assert subject in heading
    whole = nbformat.writes(notebook)
    assert "import dermsentry" not in whole
    assert str(finished.collection.root.resolve()) not in whole
    assert str(finished.folder.resolve()) not in whole


@pytest.mark.slow
def test_the_notebook_trains_anew_without_the_study(
    finished: Study, notebook: nbformat.NotebookNode, tmp_path: Path
) -> None:
    """Elsewhere: no trainings beside it, no Dermsentry, a zip instead of a folder; what is off turned on."""
    shutil.make_archive(str(tmp_path / "nine"), "zip", finished.collection.root)
    elsewhere = copy.deepcopy(notebook)
    for cell in elsewhere.cells:
        for old, new in (
            (r"DATA = Path\(\"[^\"]*\"\)", 'DATA = Path("nine.zip")'),
            (r"RUN = Path\(\"[^\"]*\"\)", "RUN = None"),
            ("PRETRAINED = False", "PRETRAINED = True"),
            ('weights="imagenet"', "weights=None"),  # nothing is downloaded in a test
        ):
            cell.source = re.sub(old, new, cell.source)
    elsewhere.cells.append(nbformat.v4.new_code_cell('assert "dermsentry" not in sys.modules'))
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(elsewhere, timeout=600, startup_timeout=600, resources=place).execute()
    printed = printed_by(elsewhere)
    assert "trained by dermsentry" not in printed
    assert printed.count("val_accuracy") == 2 + 1 + 1 + 1 + 2
    assert len(re.findall("accuracy on Test", printed)) == 5


def test_a_notebook_is_interrupted_as_everything_else_is(tmp_path: Path) -> None:
    cell = "import os, signal, time; os.kill(os.getppid(), signal.SIGINT); time.sleep(600)"
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    with pytest.raises(KeyboardInterrupt):
        execute(made, tmp_path / "hand-in.ipynb")
    failing = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    with pytest.raises(OutputError, match="a cell failed with ZeroDivisionError: division by zero"):
        execute(failing, tmp_path / "hand-in.ipynb")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("kept.ipynb", {}, "may hold words of your own"),
        ("hand-in.html", {}, "ends in .ipynb"),
        ("hand-in.ipynb", {"fast": True}, "--fast"),
        ("hand-in.ipynb", {"aspect": "pad"}, "squash"),
    ],
)
def test_a_notebook_is_refused_before_anything_is_trained(
    collection: Collection, tmp_path: Path, name: str, options: dict[str, Any], words: str
) -> None:
    (tmp_path / "kept.ipynb").write_text("{}")
    with pytest.raises(DermsentryError, match=words):
        study(collection, tmp_path / "out", **OPTIONS, **options, notebook=tmp_path / name)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "kept.ipynb").read_text() == "{}"


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (("Train/melanoma", "Train/nevus"), "received Train"),
        (("melanoma", "nevus"), "is not in such a folder"),
        (("Train/malignant", "Train/nevus", "Test/nevus"), "malignant is not one of the nine"),
        (("Train/nevus", "Train/nevi", "Test/nevus"), "are one diagnosis"),
        (("Train/nevus", "Train/melanoma", "Test/nevus", "Test/AK"), "AK is in Test only"),
    ],
)
def test_a_collection_that_keras_does_not_read_is_refused(
    tmp_path: Path, folders: tuple[str, ...], words: str
) -> None:
    for number, folder in enumerate(folders):
        (tmp_path / folder).mkdir(parents=True)
        Image.new("RGB", (40, 40), (9 * number, 90, 90)).save(tmp_path / folder / f"{number}.png")
    with pytest.raises(InputError, match=words):
        find_folders(read_collection(tmp_path))


def test_the_classes_are_in_the_order_of_keras(collection: Collection) -> None:
    found = find_folders(collection)
    assert list(found.classes) == sorted(p.name for p in (collection.root / "Train").iterdir())
    assert found.classes["melanoma"] == "MEL"
    assert found.train == collection.root / "Train"
