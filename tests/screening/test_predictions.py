"""What is written for a challenge is what its scorer takes, by the rules of `isic-challenge-scoring`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from bundles import FLAGGING, tiny_bundle
from dermsentry.cli import app
from dermsentry.diagnoses import CODES
from dermsentry.errors import InputError
from dermsentry.screening import screen
from dermsentry.screening.predictions import CHALLENGES, header, row
from published import LAYOUTS, isic2018, photograph

# The categories are the columns of the challenge's own ground truth.
CATEGORIES = {
    "isic2018": "MEL,NV,BCC,AKIEC,BKL,DF,VASC",
    "isic2019": "MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK",
    "isic2020": "target",
}


def assert_the_scorer_takes(path: Path, image: str, categories: list[str], images: set[str]) -> None:
    """`parse_csv` and `validate_rows` of isic-challenge-scoring 5.6; Kaggle's of 2020 is no other."""
    assert path.read_text()[:2000].count("\n") >= 2
    table = pd.read_csv(path, header=0, index_col=False)
    assert image in table.columns
    assert table[image].is_unique
    table = table.set_index(image)
    assert set(table.columns) == set(categories)
    assert not table.isnull().any(axis=None)
    assert (table.dtypes == np.float64).all()
    assert ((table >= 0) & (table <= 1)).all(axis=None)
    assert set(table.index) == images


@pytest.mark.parametrize("challenge", CHALLENGES)
def test_the_scorer_takes_it(challenge: str, tmp_path: Path) -> None:
    for i in range(4):
        photograph(tmp_path / "set" / f"ISIC_000000{i}.jpg", i)
    tiny_bundle(tmp_path / "bundle", out_of_distribution=FLAGGING)
    done = CliRunner().invoke(
        app,
        ["screen", str(tmp_path / "set"), "--model", str(tmp_path / "bundle"), "--predictions",
         str(tmp_path / "p.csv"), "--predictions-for", challenge, "--format", "csv"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert done.stdout == (tmp_path / "p.csv").read_text()
    image = "image_name" if challenge == "isic2020" else "image"
    names = {f"ISIC_000000{i}" for i in range(4)}
    assert_the_scorer_takes(tmp_path / "p.csv", image, CATEGORIES[challenge].split(","), names)


def test_classes_that_a_challenge_joins_are_added() -> None:
    shares = dict(zip(CODES, (0.05, 0.1, 0.15, 0.2, 0.25, 0.03, 0.07, 0.09, 0.06), strict=True))
    assert row("a", shares, 0.4, None).split(",")[:2] == ["a", "0.050000000"]
    written = dict(
        zip(
            header("isic2018").strip().split(","),
            row("a", shares, 0.4, "isic2018").strip().split(","),
            strict=True,
        )
    )
    assert (written["AKIEC"], written["BKL"]) == ("0.120000000", "0.120000000")
    assert row("a", shares, 0.4, "isic2019").strip().endswith(",0.400000000")
    assert row("a", shares, None, "isic2019").strip().endswith(",0.000000000")
    assert row("a", shares, None, "isic2020") == "a,0.200000000\n"


def test_an_evaluation_writes_it_too(tmp_path: Path) -> None:
    isic2018(tmp_path / "set")
    tiny_bundle(tmp_path / "bundle")
    done = CliRunner().invoke(
        app,
        ["evaluate", str(tmp_path / "bundle"), str(tmp_path / "set"), "--out", str(tmp_path / "out"),
         "--resamples", "2", "--predictions-for", "isic2018"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    name = "ISIC2018_Task3_Test_GroundTruth"
    truth = pd.read_csv(tmp_path / "set" / name / f"{name}.csv")
    categories = [column for column in truth.columns if column != "image"]
    assert_the_scorer_takes(tmp_path / "out" / "predictions.csv", "image", categories, set(truth["image"]))


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    LAYOUTS["melanoma_10000"](tmp_path / "set")
    tiny_bundle(tmp_path / "bundle")
    with pytest.raises(InputError, match="Received predictions_for 'isic2017'; expected one of isic2018"):
        screen(tmp_path / "set", tmp_path / "bundle", predictions_for="isic2017")  # type: ignore[arg-type]
    arguments = ["screen", str(tmp_path / "set"), "--model", str(tmp_path / "bundle")]
    done = CliRunner().invoke(app, [*arguments, "--predictions-for", "isic2018"])
    assert isinstance(done.exception, InputError)
