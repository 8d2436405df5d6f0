"""`train`, from photographs and a split to a bundle that screens; what it cannot use it names."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dermsentry.collection import Collection
from dermsentry.collection.groups import original_id
from dermsentry.diagnoses import CODES
from dermsentry.errors import DataWarning, InputError, OutputError, TrainingError
from dermsentry.evaluation import evaluate
from dermsentry.files import read_json
from dermsentry.images import read_fitted
from dermsentry.model import open_bundle
from dermsentry.model.learned_from import LearnedFrom, hashed
from dermsentry.phantoms import Phantoms
from dermsentry.split import Split, make_split
from dermsentry.split.make import relabelled
from dermsentry.training import Run, export, train
from dermsentry.training.batches import Examples
from dermsentry.training.options import TrainingOptions
from dermsentry.training.pipeline import Start, parts_of, with_copies, without_learned
from dermsentry.training.pixels import DecodedPhotographs
from dermsentry.training.pretrained import backbone
from examples import examples
from tables import table_collection


@pytest.fixture(scope="module")
def split(phantom_collection: Collection) -> Split:
    """The honest one, with a single dermatofibroma in train."""
    table = make_split(phantom_collection).table
    rare = table.index[(table["part"] == "train") & (table["diagnosis"] == "DF")]
    assert len(rare) > 1
    table.loc[rare[1:], "part"] = "quarantined"
    return Split(table)


class Ran:
    """A run, and what its validation was judged with."""

    def __init__(self, run: Run, groups: list[str]) -> None:
        self.run, self.groups = run, groups


@pytest.fixture(scope="module")
def ran(phantom_collection: Collection, split: Split, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    groups: list[str] = []
    evaluate = export.evaluate_predictions

    def listen(truth: Any, probability: Any, given: Any, **options: Any) -> Any:
        groups.extend(given)
        return evaluate(truth, probability, given, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "evaluate_predictions", listen)
        folder = tmp_path_factory.mktemp("train") / "run"
        run = train(
            phantom_collection, split, folder, network="cnn", size=48, epochs=2, aspect="pad",
            schedule="cosine", patience=2, batch_size=16, seed=1,
        )  # fmt: skip
    return Ran(run, groups)


def test_a_run_ends_in_a_bundle_that_predicts(ran: Ran, phantoms: Phantoms, split: Split) -> None:
    bundle = open_bundle(ran.run.bundle)
    assert bundle.card.size == 48
    assert bundle.card.aspect == "pad"
    assert bundle.card.synthetic
    assert bundle.card.training["split_fingerprint"] == split.fingerprint()
    assert bundle.card.training["photographs"] == split.counts()
    assert not any("ImageNet" in licence for licence in bundle.card.training["licences"])
    assert 0 <= bundle.card.evaluation["validation"]["accuracy"]["value"] <= 1
    test = split.table[split.table["part"] == "test"]["path"]
    pixels = np.stack([read_fitted(phantoms.root / path, 48, "pad") for path in test])
    outputs = bundle.predict(pixels)
    np.testing.assert_allclose(outputs.probability.sum(axis=1), 1, atol=1e-5)
    assert outputs.class_activation.shape == (len(test), 6, 6, 9)


def test_a_run_is_not_replaced_by_another(ran: Ran, split: Split, phantom_collection: Collection) -> None:
    before = (ran.run.folder / "run.json").read_bytes()
    options: TrainingOptions = {"network": "cnn", "size": 48, "epochs": 2, "aspect": "pad"}
    with pytest.raises(OutputError, match="epochs 2, now 3"):
        train(phantom_collection, split, ran.run.folder, **{**options, "epochs": 3}, seed=1)
    edited = split.table.copy()
    edited.loc[edited.index[edited["part"] == "train"][0], "part"] = "quarantined"
    with pytest.raises(OutputError, match="another split"):
        train(phantom_collection, Split(edited), ran.run.folder, **options, seed=1)
    assert (ran.run.folder / "run.json").read_bytes() == before


def test_runs_without_a_folder_are_numbered(
    split: Split, phantom_collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dermsentry.training.pipeline.fit_network", interrupt)
    for epochs, seen in ((2, 1), (2, 1), (3, 2), (2, 2)):
        with pytest.raises(KeyboardInterrupt):
            train(phantom_collection, split, network="cnn", size=48, epochs=epochs)
        assert len(list(Path("runs").glob("train-*/run.json"))) == seen
    assert len(list(Path("runs/cache").glob("*.npy"))) == 1


def test_a_bundle_knows_what_it_learned_from(ran: Ran, split: Split, phantom_collection: Collection) -> None:
    """On a Test that shares copies and lesions with Train; without a split, so that nothing else tells."""
    honest = evaluate(ran.run.bundle, phantom_collection, split, resamples=20)
    assert honest.about["learned_from"] is None
    assert honest.photographs == split.counts()["test"]
    found = evaluate(ran.run.bundle, phantom_collection, resamples=20)
    leaking = split.counts()["test-leaking"]
    assert leaking > 0
    assert found.about["learned_from"].photographs >= leaking
    assert found.about["learned_from"].left_out
    assert any("among those that the model learned from" in line for line in found.warnings)
    assert not any("No split was given" in line for line in found.warnings)
    kept = evaluate(ran.run.bundle, phantom_collection, keep_learned=True, resamples=20)
    assert kept.photographs == found.photographs + found.about["learned_from"].photographs
    known = open_bundle(ran.run.bundle).learned_from
    assert known is not None
    table = phantom_collection.table
    parts = dict(zip(split.table["path"], split.table["part"], strict=True))
    learned = [parts[path] in ("train", "validation", "calibration") for path in table["path"]]
    np.testing.assert_array_equal(known.images, np.unique(hashed(table["image_id"][learned])))


def test_a_run_keeps_its_record(ran: Ran) -> None:
    assert {path.name for path in ran.run.folder.iterdir()} == {
        ".dermsentry.json", "bundle", "cache", "configuration.json", "history.csv", "run.json", "state.npz",
    }  # fmt: skip
    record = read_json(ran.run.folder / "run.json")
    assert record["configuration"]["recipe"] == "cnn"
    configuration = record["configuration"]
    assert (configuration["seed"], configuration["batch_size"]) == (1, 16)
    assert (configuration["schedule"], configuration["patience"]) == ("cosine", 2)
    assert open_bundle(ran.run.bundle).card.training["configuration"] == configuration
    history = pd.read_csv(ran.run.folder / "history.csv")
    assert list(history["epoch"]) == [1, 2]
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= set(history.columns)
    assert 1 <= ran.run.best_epoch <= 2


def test_intervals_are_over_groups(ran: Ran, split: Split) -> None:
    validation = split.table[split.table["part"] == "validation"]
    assert ran.groups == list(validation["group"])


def test_reference_labels_and_lesions_that_the_split_does_not_know(
    phantom_collection: Collection, split: Split, tmp_path: Path
) -> None:
    parts = split.table.set_index("path")["part"]
    first = {part: parts.index[parts == part][0] for part in ("train", "validation")}
    table = phantom_collection.table
    image_id = dict(zip(table["path"], table["image_id"], strict=True))
    known = replace(
        phantom_collection,
        table=table.assign(
            published_lesion=["HAM_0000001" if p in first.values() else "" for p in table["path"]]
        ),
    )
    own = split.table.set_index("path").loc[first["train"], "diagnosis"]
    labels = {image_id[first["train"]]: "NV" if own != "NV" else "MEL"}
    with pytest.warns(DataWarning, match="2 photographs show a lesion or a patient that another part"):
        run = train(known, split, tmp_path / "run", size=48, labels=labels)
    record = read_json(run.folder / "run.json")
    assert (record["related"], record["relabelled"], record["lesions"]["published"]) == (2, 1, 2)
    bundle = open_bundle(run.bundle)
    assert bundle.card.training["split_fingerprint"] == relabelled(split, labels).fingerprint()
    assert evaluate(bundle, known, split, labels=labels, resamples=20).about["learned_from"] is None


def test_another_recipe_in_the_same_folder_does_not_mix(
    ran: Ran, phantom_collection: Collection, split: Split, tmp_path: Path
) -> None:
    """A linear head where a network was: the network, trained again, must not find the head's history.

    The head weighs classes by itself: copies, which have no embedding, are not asked for.
    """
    folder = shutil.copytree(ran.run.folder, tmp_path / "run")
    with pytest.warns(DataWarning, match=r"without epochs: it takes no notice of batch_size, patience\.$"):
        linear = train(
            phantom_collection, split, folder, network="linear", balance="augmentor",
            size=48, aspect="pad", batch_size=8, patience=3, seed=1, force=True,
        )  # fmt: skip
    bundle = open_bundle(linear.bundle)
    assert bundle.predict(np.zeros((3, 48, 48, 3), np.uint8)).embedding.shape == (3, 1280)
    card = bundle.card
    assert card.training["configuration"]["recipe"] == "linear"
    assert card.training["configuration"]["precision"] == "float32"
    assert any("ImageNet" in licence for licence in card.training["licences"])
    assert "penalty" in pd.read_csv(folder / "history.csv").columns
    assert not (folder / "state.npz").exists()


def changed(split: Split, **parts: Any) -> Split:
    return Split(split.table.assign(**parts))


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (
            lambda t: t["part"].where(t["diagnosis"] == "NV", "quarantined"),
            r"holds \d photographs of 1 class;",
        ),
        (lambda t: t["part"].replace({"train": "quarantined"}), "holds 0 photographs of 0 class;"),
        (lambda t: t["part"].replace({"validation": "train"}), "validation part is empty beside"),
    ],
    ids=["one class", "no training", "no validation"],
)
def test_a_split_with_too_little_is_a_training_error(
    phantom_collection: Collection, split: Split, tmp_path: Path, edit: Any, complaint: str
) -> None:
    with pytest.raises(TrainingError, match=complaint) as refused:
        train(phantom_collection, changed(split, part=edit(split.table)), tmp_path, network="cnn", size=48)
    assert refused.value.exit_code == 5
    assert not (tmp_path / "run.json").exists()


def test_the_bundled_models_weights_are_of_one_network(
    phantom_collection: Collection, split: Split, tmp_path: Path
) -> None:
    own = backbone("dermoscopy")
    other = "lite1" if own != "lite1" else "lite0"
    with pytest.raises(
        InputError, match=f"^The bundled model's weights are of {own}; received network '{other}'"
    ):
        train(phantom_collection, split, tmp_path, network=other, weights="dermoscopy", size=48)
    assert list(tmp_path.iterdir()) == []


def test_a_split_that_shares_a_group_is_refused(
    phantom_collection: Collection, split: Split, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="parts share 1 groups: all in"):
        train(phantom_collection, changed(split, group="all"), tmp_path, network="cnn", size=48)
    assert list(tmp_path.iterdir()) == []


def test_a_split_of_another_collection_is_refused(
    phantom_collection: Collection, split: Split, tmp_path: Path
) -> None:
    paths = split.table["path"].str.replace("Train", "Before")
    with pytest.raises(InputError, match=r"\d+ photographs not in .*, such as Before/"):
        train(phantom_collection, changed(split, path=paths), tmp_path, network="cnn", size=48)


@pytest.mark.parametrize(
    "option",
    [
        {"network": "resnet"}, {"balance": "smote"}, {"aspect": "stretch"}, {"epochs": 0}, {"size": 16},
        {"seed": -1}, {"learning_rate": 0.0}, {"learning_rate": float("nan")},
        {"batch_size": 0}, {"patience": 0}, {"schedule": "triangle"},
    ],
)  # fmt: skip
def test_an_option_that_is_none_is_refused(
    phantom_collection: Collection, split: Split, tmp_path: Path, option: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=f"Received .*{next(iter(option))}.*expected"):
        train(phantom_collection, split, tmp_path, **option)


def test_parts_hold_the_splits_labels_and_only_readable_photographs() -> None:
    collection = table_collection([{"diagnosis": "NV"}] * 4)
    table = pd.DataFrame(
        {
            "path": collection.table["path"],
            "diagnosis": ["MEL", "NV", "", "SK"],
            "part": ["train", "train", "train", "validation"],
        }
    )
    decoded = DecodedPhotographs(np.zeros((4, 32, 32, 3), np.uint8), {1: "empty"}, 32, "squash")
    parts = parts_of(Split(table), collection, decoded)
    assert parts["train"].labels == ("MEL",)
    assert parts["train"].rows.tolist() == [0]
    assert (parts["validation"].rows.tolist(), parts["validation"].labels) == ([3], ("SK",))
    assert len(parts["test"]) == 0


def test_copies_come_after_their_photographs_with_their_label() -> None:
    own = examples(("MEL", "NV", "NV", "SK"))
    some = Examples(own.pixels, np.array([0, 1, 3]), ("MEL", "NV", "SK"))
    filled, _ = with_copies(some, per_class=4)
    assert filled.labels[:3] == some.labels
    assert {label: filled.labels.count(label) for label in filled.labels} == {"MEL": 4, "NV": 4, "SK": 4}
    assert filled.rows[:3].tolist() == [0, 1, 3]
    assert filled.rows[3:].tolist() == list(range(4, 13))
    pixels = filled.gather(np.arange(len(filled)))
    centre = pixels[:, 12:20, 12:20].astype(float).mean(axis=(1, 2))
    for i, label in enumerate(filled.labels):
        nearest = np.linalg.norm(centre[:3] - centre[i], axis=1).argmin()
        assert some.labels[nearest] == label
    assert set(filled.labels) <= set(CODES)


def test_what_the_first_weights_learned_from_does_not_choose(
    split: Split, phantom_collection: Collection
) -> None:
    decoded = DecodedPhotographs(np.zeros((len(phantom_collection), 8, 8, 3), np.uint8), {}, 8, "squash")
    parts = parts_of(split, phantom_collection, decoded)
    names = phantom_collection.table["image_id"].iloc[parts["validation"].rows[:3]]
    nothing = np.array([], np.uint64)
    images = np.unique(hashed(original_id(name) for name in names))
    start = Start("a", LearnedFrom(images, nothing, nothing, nothing))
    with pytest.warns(DataWarning, match=r"learned from them: 3 of 8 of validation\."):
        kept = without_learned(start, parts, phantom_collection, decoded)
    assert kept["validation"].rows.tolist() == parts["validation"].rows[3:].tolist()
    assert kept["validation"].labels == parts["validation"].labels[3:]
    assert kept["calibration"] is parts["calibration"]
    everything = np.unique(hashed(map(original_id, phantom_collection.table["image_id"])))
    all_of_it = Start("a", LearnedFrom(everything, nothing, nothing, nothing))
    with pytest.raises(TrainingError, match="No validation image is left"):
        without_learned(all_of_it, parts, phantom_collection, decoded)
    assert start.learned_from is not None
    assert all_of_it.learned_from is not None
    joined = start.learned_from.joined(all_of_it.learned_from)
    assert joined.images.tolist() == everything.tolist()
    with pytest.warns(DataWarning, match="do not say which images they learned from"):
        assert without_learned(Start("a", None), parts, phantom_collection, decoded) == parts
