"""A bundle evaluated on drawn photographs: what is chosen, what is written, what is said."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import dermsentry
from bundles import tiny_bundle
from dermsentry.collection import Collection, read_collection
from dermsentry.diagnoses import CODES
from dermsentry.errors import BundleError, InputError, OutputError
from dermsentry.evaluation import Evaluation, evaluate
from dermsentry.evaluation.calibration_methods import compare_calibrations
from dermsentry.evaluation.pipeline import image_names
from dermsentry.files import plain, to_json
from dermsentry.model import Bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def draw(root: Path) -> Collection:
    """Dark squares are melanomas, pale ones nevi, as the tiny bundle sees it; one of each is otherwise."""
    shades = {"melanoma": [5, 15, 25, 240], "nevus": [250, 240, 245, 235, 10]}
    for split in ("Train", "Test"):
        for name, greys in shades.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for i, grey in enumerate(greys):
                rng = np.random.default_rng([len(split), grey, i])
                blotches = rng.integers(max(0, grey - 5), min(255, grey + 10), (5, 6, 3), dtype=np.uint8)
                picture = Image.fromarray(blotches).resize((60, 50))
                picture.save(folder / f"{split}_{name}_{i}.png")
    return read_collection(root)


@pytest.fixture
def photographs(tmp_path: Path) -> Collection:
    return draw(tmp_path / "set")


@pytest.fixture(scope="module")
def evaluated(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Path]:
    """The test part evaluated, and the folder it was written to."""
    folder = tmp_path_factory.mktemp("evaluated")
    collection = draw(folder / "set")
    out = folder / "out"
    return evaluate(bundle, collection, split_of(collection), out=out, resamples=50), out


def split_of(collection: Collection, **parts: str) -> pd.DataFrame:
    """Every photograph its own group; Test is the test, with other parts for the stems given."""
    table = collection.table[["path", "image_id", "diagnosis"]].assign(group=collection.table["image_id"])
    table["part"] = ["test" if split == "test" else "train" for split in collection.table["split"]]
    for stem, part in parts.items():
        table.loc[table["image_id"] == stem, "part"] = part
    return table.assign(reason="")


def test_evaluates_the_part_that_was_asked_for(bundle, evaluated):
    evaluation, _ = evaluated
    assert evaluation.photographs == 9
    decision = evaluation.melanoma.decisions[-1]
    assert decision.threshold == bundle.card.thresholds["alert"].value
    assert (decision.detected, decision.alerts) == (3, 4)
    assert evaluation.about["model"]["digest"] == bundle.card.digest
    assert not any("optimistic" in line for line in evaluation.warnings)


def test_opens_a_folder_and_takes_anything_with_a_table(bundle, photographs):
    class Split:
        table = split_of(photographs)

    one = evaluate(bundle.folder, photographs, Split(), resamples=20)
    assert one.overall == evaluate(bundle, photographs, Split.table, resamples=20).overall
    assert dermsentry.evaluate is evaluate


def test_test_as_given_is_everything_in_test_under_its_own_label(bundle, photographs):
    split = split_of(photographs, Test_nevus_0="test-leaking", Test_nevus_4="quarantined")
    split.loc[split["image_id"] == "Test_nevus_0", "group"] = "Train_nevus_0"
    split.loc[split["image_id"] == "Test_nevus_1", "diagnosis"] = "MEL"  # settled by a label table
    honest = evaluate(bundle, photographs, split, resamples=20)
    given = evaluate(bundle, photographs, split, part="test-as-given", resamples=20)
    assert (honest.photographs, given.photographs) == (7, 9)
    assert (honest.melanoma.photographs, given.melanoma.photographs) == (5, 4)
    assert not any("optimistic" in line for line in honest.warnings)
    assert any(line.startswith("1 of the 9 photographs") and "optimistic" in line for line in given.warnings)
    assert any("two labels" in line for line in given.warnings)


def test_reference_labels_come_first_and_are_counted(bundle, photographs):
    split = split_of(photographs)
    labels = {"Test_nevus_0": "MEL", "Test_melanoma_0": "MEL", "Train_nevus_0": "MEL"}
    own = evaluate(bundle, photographs, split, resamples=20)
    for given, part in ((split, "test"), (split, "test-as-given"), (None, "test")):
        found = evaluate(bundle, photographs, given, part=part, labels=labels, resamples=20)
        assert found.melanoma.photographs == own.melanoma.photographs + 1
        assert any(line.startswith("1 of the 9 photographs are evaluated under") for line in found.warnings)
    assert not any("evaluated under" in line for line in own.warnings)
    with pytest.raises(InputError, match="has the diagnoses gargoyle, none of the nine"):
        evaluate(bundle, photographs, split, labels={"Test_nevus_0": "gargoyle"}, resamples=20)


def test_a_lesion_that_the_split_does_not_know_leaks_and_what_is_known_is_said(bundle, photographs):
    split = split_of(photographs)
    name = photographs.table["image_id"]
    lesion = ["L1" if own in ("Test_nevus_0", "Train_nevus_2") else "" for own in name]
    known = replace(photographs, table=photographs.table.assign(lesion_id=lesion))
    found = evaluate(bundle, known, split, resamples=20)
    assert any(
        line.startswith("1 of the 9 photographs, or others of the same lesion") for line in found.warnings
    )
    assert found.about["data"]["lesions"].sentence in found.warnings
    assert "The lesion is known of 2 of 18 photographs, the patient of none." in found.warnings[1]
    whole = known.table.assign(lesion_id=name, patient_id=name)
    told = evaluate(bundle, replace(known, table=whole), split, resamples=20)
    assert not any("lesion" in line and "known" in line for line in told.warnings)


def test_a_threshold_that_breaks_its_promise_is_named(bundle, photographs):
    for path in photographs.paths:
        if "Test_melanoma" in path.name:
            Image.new("RGB", (40, 40), (250, 250, 250)).save(path)
    evaluation = evaluate(bundle, photographs, split_of(photographs), resamples=20)
    assert any("chosen to find 80 %" in line and "found 0 %" in line for line in evaluation.warnings)
    kept = evaluate(bundle, photographs, split_of(photographs), part="train", resamples=20)
    assert not any("chosen to find" in line for line in kept.warnings)


def test_evaluating_on_the_training_part_says_so(bundle, photographs):
    evaluation = evaluate(bundle, photographs, split_of(photographs), part="train", resamples=20)
    assert any("made with the part train" in line for line in evaluation.warnings)


def test_without_a_split_the_given_test_is_used(bundle, photographs):
    evaluation = evaluate(bundle, photographs, resamples=20)
    assert evaluation.photographs == 9
    assert any("No split was given" in line for line in evaluation.warnings)
    seen = replace(
        bundle,
        card=replace(
            bundle.card, training={**bundle.card.training, "fingerprint": photographs.fingerprint()}
        ),
    )
    assert any("this very collection" in line for line in evaluate(seen, photographs, resamples=20).warnings)


def test_writes_every_file_whole(evaluated):
    evaluation, out = evaluated
    names = ["evaluation.html", "evaluation.json", "predictions.csv", "truth.csv"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert json.loads((out / "evaluation.json").read_text()) == json.loads(to_json(evaluation.as_dict()))
    with (out / "predictions.csv").open(newline="") as handle:
        rows = list(csv.reader(handle))
    assert rows[0] == ["image", *CODES]
    assert len(rows) == 10
    values = np.array([row[1:] for row in rows[1:]], dtype=float)
    np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(values, evaluation.probability, atol=1e-7)
    truth = pd.read_csv(out / "truth.csv")
    assert list(truth["image"]) == [row[0] for row in rows[1:]]
    assert list(truth["diagnosis"]) == list(evaluation.truth)


def test_page_stands_alone_and_shows_what_was_missed(evaluated):
    page = (evaluated[1] / "evaluation.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert "<script" not in page
    assert "3 of 4 melanoma photographs" in page
    assert "finding all 4 would prove 40\u00a0%" in page
    assert "the same threshold, here" in page
    assert "Test_melanoma_3" in page  # the pale one
    assert "Test_nevus_4" in page  # the dark one
    assert "Only 4 distinct melanoma photographs" in page
    assert "Synthetic photographs" in page  # the tiny bundle's card says so


def test_names_from_outside_are_escaped(bundle, photographs, tmp_path):
    here = photographs.root / "Test" / "melanoma" / "Test_melanoma_3.png"
    here.rename(here.with_name("<b>&x.png"))
    broken = here.with_name("<i>broken.png")
    broken.write_bytes(b"no picture")
    collection = read_collection(photographs.root)
    evaluate(bundle, collection, split_of(collection), out=tmp_path / "out", resamples=20)
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "&lt;b&gt;&amp;x" in page
    assert "&lt;i&gt;broken" in page
    assert "<b>&x" not in page


def test_the_threshold_is_shown_beside_what_its_card_promises(bundle, evaluated):
    evaluation, out = evaluated
    point, alert = evaluation.operating_point, bundle.card.thresholds["alert"]
    assert (point.threshold, point.sensitivity_target, point.chosen_on) == (0.5, 0.8, "calibration")
    assert point.sensitivity_there.value == alert.sensitivity.value
    assert (point.detected, point.melanomas, point.false_alarms, point.others) == (3, 4, 1, 5)
    found = json.loads((out / "evaluation.json").read_text())["operating_point"]
    assert found["sensitivity_there"] == {"value": 0.94, "low": 0.85, "high": 0.98}


def test_a_prevalence_adds_its_row_and_restates(bundle, photographs, tmp_path):
    evaluation = evaluate(
        bundle, photographs, split_of(photographs), out=tmp_path, prevalence=0.03, resamples=50
    )
    assert evaluation.prior_shift.prevalence == 0.03
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert [row["prevalence"] for row in found["clinical_value"]] == [0.01, 0.02, 0.03, 0.05]
    assert found["at_prevalence"]["decision_curve"]["prevalence"] == 0.03
    assert "where 3\u00a0% are melanomas" in (tmp_path / "evaluation.html").read_text()
    with pytest.raises(InputError, match="prevalence of 5"):
        evaluate(bundle, photographs, split_of(photographs), prevalence=5)


def test_patients_are_compared_where_they_are_known(bundle, photographs, tmp_path):
    evaluation = evaluate(bundle, photographs, split_of(photographs), out=tmp_path, resamples=50)
    assert evaluation.subgroups == ()
    page = (tmp_path / "evaluation.html").read_text()
    for option in ("--metadata TABLE", "--robustness", "--masks FOLDER", "--not-lesions FOLDER"):
        assert option in page
    sexes = ["female" if i % 2 else "male" for i in range(len(photographs))]
    known = replace(photographs, table=photographs.table.assign(sex=sexes))
    told = evaluate(bundle, known, split_of(known), out=tmp_path, resamples=50)
    assert [attribute.name for attribute in told.subgroups] == ["sex"]
    counts = [group.photographs for group in told.subgroups[0].groups]
    assert sum(counts) == 9
    page = (tmp_path / "evaluation.html").read_text()
    assert "By sex" in page
    assert "--metadata" not in page


def test_alerts_are_tried_on_worse_photographs(bundle, photographs, tmp_path):
    evaluation = evaluate(
        bundle, photographs, split_of(photographs), out=tmp_path, robustness=True, resamples=20
    )
    assert evaluation.robustness.photographs == 9
    assert evaluation.robustness.melanomas == 4
    assert json.loads((tmp_path / "evaluation.json").read_text())["robustness"]["photographs"] == 9
    page = (tmp_path / "evaluation.html").read_text()
    assert "<h3>Repeat captures</h3>" in page
    assert "--robustness" not in page


def test_saliency_is_compared_with_masks(bundle, photographs, tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    for i, name in enumerate(["Test_melanoma_0", "Test_melanoma_1", "Test_nevus_2", "Test_nevus_4"]):
        mask = np.zeros((50, 60), np.uint8)
        mask[10 : 30 + i, 15:40] = 255
        Image.fromarray(mask).save(masks / f"{name}_segmentation.png")
    (photographs.root / "Test" / "nevus" / "Test_nevus_2.png").write_bytes(b"broken")
    evaluation = evaluate(
        bundle, photographs, split_of(photographs), out=tmp_path / "out", masks=masks, resamples=20
    )
    assert evaluation.saliency.all.photographs == 3  # the fourth is unreadable
    assert evaluation.saliency.melanomas.photographs == 2
    assert evaluation.saliency.all.randomised is not None
    covered = np.mean([20 * 25 / 3000, 21 * 25 / 3000, 23 * 25 / 3000])
    assert evaluation.saliency.all.area.value == pytest.approx(covered, abs=0.01)
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["explanation"]["all"]
    assert "the same network, weights shuffled" in (tmp_path / "out" / "evaluation.html").read_text()
    (masks / "Test_melanoma_0_segmentation.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"Test_melanoma_0_segmentation\.png cannot be read"):
        evaluate(bundle, photographs, split_of(photographs), masks=masks, resamples=20)
    with pytest.raises(InputError, match="not a folder"):
        evaluate(bundle, photographs, split_of(photographs), masks=tmp_path / "nowhere")


def test_what_is_no_lesion_is_screened_beside_what_is(bundle, photographs, tmp_path):
    strange = tmp_path / "strange"
    strange.mkdir()
    for i in range(3):
        Image.new("RGB", (80, 80), (60 * i, 250, 60)).save(strange / f"{i}.png")
    evaluation = evaluate(
        bundle, photographs, split_of(photographs), out=tmp_path / "out", not_lesions=strange, resamples=20
    )
    assert (evaluation.refusal.lesions, evaluation.refusal.non_lesions) == (9, 3)
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["refusal"]["non_lesions"] == 3
    assert "<td>by quality</td>" in (tmp_path / "out" / "evaluation.html").read_text()
    with pytest.raises(InputError, match="does not exist"):
        evaluate(bundle, photographs, split_of(photographs), not_lesions=tmp_path / "nowhere")


def test_the_cards_comparison_of_calibrations_is_shown(photographs, tmp_path):
    rng = np.random.default_rng(0)
    labels = [CODES[i] for i in rng.integers(0, 9, 60)]
    compared = compare_calibrations(rng.normal(size=(60, 9)), labels, list(map(str, range(60))), resamples=20)
    told = {"calibration": plain(compared)}
    one = tiny_bundle(tmp_path / "told", evaluation=told)
    evaluate(one, photographs, split_of(photographs), out=tmp_path / "out", resamples=20)
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "bias-corrected temperature" in page
    assert "(chosen)" in page
    assert len(json.loads((tmp_path / "out" / "evaluation.json").read_text())["model"]["calibration"]) == 3
    two = tiny_bundle(tmp_path / "odd", evaluation={"calibration": [{"method": "<script>"}]})
    evaluate(two, photographs, split_of(photographs), out=tmp_path / "out", resamples=20)
    assert "How the model was calibrated" not in (tmp_path / "out" / "evaluation.html").read_text()


def test_unreadable_photographs_are_listed_and_left_out(bundle, photographs):
    (photographs.root / "Test" / "nevus" / "Test_nevus_0.png").write_bytes(b"")
    evaluation = evaluate(bundle, photographs, split_of(photographs), resamples=20)
    assert evaluation.photographs == 8
    expected = [{"path": "Test/nevus/Test_nevus_0.png", "reason": "the file is empty"}]
    assert evaluation.about["unreadable"] == expected
    assert any("1 photograph was unreadable" in line for line in evaluation.warnings)


def test_nothing_readable_is_an_error(bundle, photographs):
    for path in photographs.paths:
        path.write_bytes(b"")
    with pytest.raises(InputError, match="None of the 9 photographs could be read: the file is empty"):
        evaluate(bundle, photographs, split_of(photographs))


def test_unknown_or_empty_parts_list_what_there_is(bundle, photographs):
    with pytest.raises(
        InputError, match=r"'calibration'; it has .*train \(9\).*test \(9\)|test \(9\).*train \(9\)"
    ):
        evaluate(bundle, photographs, split_of(photographs), part="calibration")
    with pytest.raises(InputError, match="without a split"):
        evaluate(bundle, photographs, part="validation")


def test_a_split_of_another_collection_is_refused(bundle, photographs):
    split = split_of(photographs)
    split.loc[0, "path"] = "elsewhere.png"
    with pytest.raises(InputError, match=r"1 of the split's 18 photographs .* elsewhere\.png"):
        evaluate(bundle, photographs, split)


def test_unknown_diagnoses_are_predicted_and_left_out(bundle, photographs, tmp_path):
    split = split_of(photographs)
    split.loc[split["image_id"] == "Test_nevus_2", "diagnosis"] = ""
    evaluation = evaluate(bundle, photographs, split, out=tmp_path, resamples=20)
    assert (evaluation.photographs, evaluation.unknown) == (8, 1)
    assert len(pd.read_csv(tmp_path / "predictions.csv")) == 9


def test_a_damaged_bundle_is_refused(bundle, photographs, tmp_path):
    copy = tmp_path / "bundle"
    shutil.copytree(bundle.folder, copy)
    with (copy / "model.onnx").open("ab") as handle:
        handle.write(b"x")
    with pytest.raises(BundleError, match=r"model\.onnx"):
        evaluate(copy, photographs, split_of(photographs))


def test_an_output_that_cannot_be_written_leaves_nothing(bundle, photographs, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="Cannot write"):
        evaluate(bundle, photographs, split_of(photographs), out=tmp_path / "file" / "out", resamples=20)


def test_the_same_stem_twice_is_named_by_its_path():
    paths = ["a/x.jpg", "b/x.jpg", "b/y.z.png"]
    assert image_names(paths) == ["a/x", "b/x", "y.z"]


def test_phantoms_are_evaluated_and_marked(bundle, phantom_collection, tmp_path):
    evaluation = evaluate(bundle, phantom_collection, out=tmp_path, resamples=50)
    assert evaluation.about["data"]["synthetic"] is True
    assert "Synthetic photographs" in (tmp_path / "evaluation.html").read_text()


@pytest.mark.real
def test_real_test_folder(bundle, real_data, tmp_path):
    collection = read_collection(real_data / "isic9")
    evaluation = evaluate(bundle, collection, split_of(collection), out=tmp_path, resamples=100)
    assert evaluation.photographs == 118
    assert evaluation.melanoma.photographs == 16
    assert any("79 %" in line for line in evaluation.warnings)
    assert evaluation.about["data"]["synthetic"] is False
