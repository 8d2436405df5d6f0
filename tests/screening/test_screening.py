from __future__ import annotations

import csv
import json
import os
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bundles import FLAGGING, REFUSING, lesion, tiny_bundle
from dermsentry.diagnoses import CODES
from dermsentry.errors import BundleError, InputError, OutputError
from dermsentry.files import plain
from dermsentry.images import read_fitted
from dermsentry.model import Bundle, open_bundle
from dermsentry.screening import Finding, iter_screen, screen
from dermsentry.screening.triage import NO_LESION_LIMIT, NOT_A_LESION, OUT_OF_DISTRIBUTION_LIMIT, UNLIKE

FIELDS = [
    "schema",
    "image",
    "path",
    "tier",
    "melanoma",
    "probabilities",
    "no_lesion",
    "out_of_distribution",
    "quality",
    "reasons",
    "model",
    "version",
]


def test_every_photograph_has_its_finding_in_order(photographs: Path, bundle: Bundle) -> None:
    found = screen([photographs], bundle)
    assert [f.image for f in found] == [
        *("broken", "lesion0", "lesion1", "lesion2"),
        *("empty", "lesion3", "lesion4", "lesion5", "words"),
    ]
    unreadable = {f.image: f for f in found if f.tier == "unreadable"}
    assert set(unreadable) == {"broken", "empty", "words"}
    assert unreadable["empty"].reasons == ("the file is empty",)
    assert unreadable["broken"].melanoma is None
    darkest, lightest = found[7], found[1]
    assert darkest.melanoma is not None
    assert lightest.melanoma is not None
    assert darkest.melanoma > lightest.melanoma
    assert darkest.tier == "alert"


def test_findings_say_what_the_network_says(photographs: Path, bundle: Bundle) -> None:
    for finding in screen(
        [photographs / "first" / "lesion1.jpg", photographs / "second" / "lesion4.jpg"], bundle
    ):
        pixels = read_fitted(Path(finding.path), bundle.card.size, bundle.card.aspect)
        expected = bundle.predict(pixels[None]).probability[0]
        assert finding.probabilities is not None
        np.testing.assert_allclose(list(finding.probabilities.values()), expected, atol=1e-6)


def test_threads_and_numbers_change_nothing(photographs: Path, bundle: Bundle) -> None:
    paths = sorted(photographs.rglob("lesion*.jpg"))
    one = list(screen(paths, bundle.folder, threads=1))
    assert list(screen(paths, bundle.folder, threads=4)) == one
    assert [next(iter(screen([path], bundle))) for path in paths] == one


def test_files_of_a_run(photographs: Path, bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = list(
        screen(
            [photographs],
            bundle,
            findings=out / "f.jsonl",
            predictions=out / "p.csv",
            saliency=out / "saliency",
        )
    )
    lines = [json.loads(line) for line in (out / "f.jsonl").read_text().splitlines()]
    assert lines == [json.loads(json.dumps(plain(f))) for f in found]
    assert all(list(line) == FIELDS for line in lines)
    assert sorted(p.name for p in (out / "saliency").iterdir()) == [f"lesion{i}.png" for i in range(6)]
    assert_the_challenge_accepts(out / "p.csv", [f"lesion{i}" for i in range(6)])
    assert sorted(p.name for p in out.iterdir()) == ["f.jsonl", "f.run.json", "p.csv", "saliency"]


def assert_the_challenge_accepts(path: Path, images: list[str]) -> None:
    """The rules of `isic-challenge-scoring`'s `load_csv.py`, one by one."""
    assert path.read_text()[:2000].count("\n") >= 2
    table = pd.read_csv(path, header=0, index_col=False)
    assert list(table.columns) == ["image", *CODES]
    assert table["image"].is_unique
    assert list(table["image"].astype(str)) == images
    values = table[list(CODES)]
    assert not values.isnull().any(axis=None)
    assert (values.dtypes == np.float64).all()
    assert ((values >= 0) & (values <= 1)).all(axis=None)


def test_a_certain_network_still_writes_floats(photographs: Path, tmp_path: Path, bundle: Bundle) -> None:
    certain = Finding("a", "a.jpg", "alert", {c: float(c == "MEL") for c in CODES}, *(None,) * 3, ("x",), "m")
    from dermsentry.screening.writers import predictions_file

    with predictions_file(tmp_path / "p.csv", None) as write:
        write(certain)
    assert_the_challenge_accepts(tmp_path / "p.csv", ["a"])


def test_odd_names_survive_the_files(tmp_path: Path, bundle: Bundle) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    names = ['quo"te, and comma', "new\nline", "naïve – 皮膚", os.fsdecode(b"caf\xe9")]
    for name in names:
        Image.fromarray(lesion()).save(folder / "x.jpg")
        (folder / "x.jpg").rename(folder / f"{name}.jpg")
    out = tmp_path / "out"
    list(
        screen(
            [folder], bundle, findings=out / "f.jsonl", predictions=out / "p.csv", saliency=out / "saliency"
        )
    )
    lines = [json.loads(line) for line in (out / "f.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {line["image"] for line in lines} == set(names)
    with (out / "p.csv").open(encoding="utf-8", newline="") as file:
        assert {row["image"] for row in csv.DictReader(file)} == {*names[:3], "caf\\udce9"}


def test_whole_lines_alone_when_a_run_ends_early(photographs: Path, bundle: Bundle, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    out = tmp_path / "out"
    run = iter_screen([photographs], bundle, findings=out / "f.jsonl", predictions=out / "p.csv")
    next(run)
    run.close()  # type: ignore[attr-defined]
    assert sorted(p.name for p in out.iterdir()) == ["f.jsonl", "f.run.json"]
    assert json.loads((out / "f.jsonl").read_text())["image"] == "broken"
    assert set(threading.enumerate()) <= before


def test_nothing_is_read_before_the_first_finding_is_asked_for(photographs: Path, bundle: Bundle) -> None:
    before = set(threading.enumerate())
    iter_screen([photographs], bundle)
    assert set(threading.enumerate()) <= before


def test_what_is_wrong_is_said_at_once(photographs: Path, bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        iter_screen([photographs / "nowhere"], bundle)
    with pytest.raises(BundleError, match="is not a model bundle"):
        iter_screen([photographs], tmp_path / "nowhere")
    Image.fromarray(lesion()).save(photographs / "second" / "lesion0.png")
    with pytest.raises(InputError, match="both named lesion0"):
        iter_screen([photographs], bundle, predictions=tmp_path / "p.csv")
    assert len(list(iter_screen([photographs], bundle))) == 10


def test_an_output_that_cannot_be_written_is_one_clear_error(
    photographs: Path, bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for keyword in ("findings", "predictions", "saliency"):
        with pytest.raises(OutputError, match="Cannot write"):
            list(screen([photographs], bundle, **{keyword: tmp_path / "file" / "below"}))  # type: ignore[arg-type]


def test_a_link_out_of_the_folder_is_unreadable(photographs: Path, bundle: Bundle, tmp_path: Path) -> None:
    Image.fromarray(lesion()).save(tmp_path / "secret.jpg")
    (photographs / "first" / "alink.jpg").symlink_to(tmp_path / "secret.jpg")
    finding = next(iter(screen([photographs], bundle)))
    assert (finding.tier, finding.reasons) == ("unreadable", ("a link that leaves the collection's folder",))


def test_only_unreadable_files(photographs: Path, bundle: Bundle, tmp_path: Path) -> None:
    paths = [photographs / "second" / "empty.png", photographs / "second" / "words.jpg"]
    found = list(screen(paths, bundle, predictions=tmp_path / "p.csv"))
    assert [f.tier for f in found] == ["unreadable"] * 2
    assert (tmp_path / "p.csv").read_text() == "image,AK,BCC,DF,MEL,NV,PBK,SCC,SK,VASC\n"


def test_a_failing_network_ends_the_run_with_its_error(
    photographs: Path, bundle: Bundle, tmp_path: Path
) -> None:
    class Failing:
        def run(self, names: object, feeds: object) -> object:
            raise RuntimeError("out of memory\nand more")

    broken = Bundle(bundle.folder, bundle.card, 2, Failing())
    with pytest.raises(BundleError, match="the network failed on 1 photographs: out of memory"):
        list(screen([photographs], broken, predictions=tmp_path / "p.csv"))
    assert not (tmp_path / "p.csv").exists()


def test_a_picture_without_a_lesion_is_refused(tmp_path: Path) -> None:
    opened = tiny_bundle(tmp_path / "strict", no_lesion=REFUSING)
    Image.fromarray(lesion()[..., ::-1]).save(tmp_path / "blue.png")
    [finding] = screen([tmp_path / "blue.png"], opened)
    assert finding.tier == "cannot-say"
    assert finding.reasons[-1] == NOT_A_LESION
    assert finding.no_lesion is not None
    assert finding.no_lesion > NO_LESION_LIMIT
    assert finding.out_of_distribution is None


def test_a_lesion_unlike_the_training_images_keeps_its_alert_and_is_never_routine(tmp_path: Path) -> None:
    bright = np.clip(lesion(30).astype(int) + 25, 0, 255).astype(np.uint8)
    for name, pixels in (("dark", lesion(150)), ("bright", bright)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    paths = [tmp_path / "dark.png", tmp_path / "bright.png"]
    plain_tiers = [found.tier for found in screen(paths, tiny_bundle(tmp_path / "plain"))]
    assert plain_tiers == ["alert", "routine"]
    always = tiny_bundle(tmp_path / "flagging", out_of_distribution=FLAGGING, temperature=2.0)
    dark, light = screen(paths, always)
    assert light.out_of_distribution is not None
    assert light.out_of_distribution > OUT_OF_DISTRIBUTION_LIMIT
    assert (light.tier, light.reasons) == ("cannot-say", (UNLIKE,))
    assert dark.tier == "alert"


def test_one_or_many_as_path_string_bytes_image_or_array(
    photographs: Path, bundle: Bundle, tmp_path: Path
) -> None:
    path = photographs / "first" / "lesion1.jpg"
    [finding] = screen(path, bundle)
    assert screen(str(path), bundle) == [finding]
    assert len(screen(str(photographs / "first"), bundle, findings=tmp_path / "f.jsonl")) == 4
    assert (tmp_path / "f.jsonl").read_text().count("\n") == 4
    data = path.read_bytes()
    with Image.open(path) as image:
        pixels = np.asarray(image)
        found = screen([data, image, path, pixels], bundle)
        assert screen(image, bundle)[0].image == "image"
    assert [f.image for f in found] == ["image", "image_2", "lesion1", "image_3"]
    assert [f.path for f in found] == ["image", "image_2", str(path), "image_3"]
    assert {f.tier for f in found} == {finding.tier}
    assert all(f.melanoma == pytest.approx(finding.melanoma, abs=0.02) for f in found)
    assert found[0].probabilities == finding.probabilities
    assert [f.image for f in screen(np.stack([pixels, pixels]), bundle)] == ["image", "image_2"]
    assert screen(data[:900], bundle)[0].tier == "unreadable"


def test_a_name_in_memory_is_no_files_name(photographs: Path, bundle: Bundle) -> None:
    Image.fromarray(lesion()).save(photographs / "image.png")
    found = screen([lesion(), photographs / "image.png"], bundle)
    assert [f.image for f in found] == ["image_2", "image"]


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((0, 64, 3), np.uint8),
        np.zeros((64, 64, 3), np.float32),
        7,
    ],
)
def test_what_is_no_image_is_refused(bundle: Bundle, wrong: object) -> None:
    with pytest.raises(
        InputError, match=r"expected a path, bytes, a PIL image, a DICOM data set or an array \(height"
    ):
        iter_screen([wrong], bundle)  # type: ignore[list-item]


def test_the_callers_image_is_left_as_it_is(photographs: Path, bundle: Bundle) -> None:
    big = Image.fromarray(lesion(side=900))
    big.save(photographs / "big.jpg")
    with Image.open(photographs / "big.jpg") as image:
        screen(image, bundle)
        assert image.size == (900, 900)


def test_a_finding_is_one_line_and_a_table(photographs: Path, bundle: Bundle) -> None:
    found = screen(photographs, bundle)
    for finding in found:
        assert "\n" not in repr(finding)
        assert finding.tier in repr(finding)
    odd = Finding("<b>", "<b>.jpg", "unreadable", *(None,) * 4, ("<i>",), "m")
    assert "<b>" not in odd._repr_html_()
    assert "&lt;b&gt;.jpg" in odd._repr_html_()
    table = pd.DataFrame(found)  # as `screen` says
    assert list(table["tier"]) == [f.tier for f in found]
    assert table["melanoma"].notna().sum() == 6


@pytest.mark.real
def test_real_photographs_pass_through(real_data: Path, bundle: Bundle, tmp_path: Path) -> None:
    found = screen([real_data / "isic9" / "Test"], bundle, predictions=tmp_path / "p.csv")
    assert len(found) == 118
    assert_the_challenge_accepts(tmp_path / "p.csv", [f.image for f in found])
    assert sum(f.tier == "unreadable" for f in found) == 0
    assert open_bundle(bundle.folder).name in {f.model for f in found}
