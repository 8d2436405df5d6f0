"""A site's photographs to a site bundle: read, joined, screened, adopted, written, and used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bundles import tiny_bundle, tiny_card
from dermsentry import adopt
from dermsentry.adoption.photographs import read_photographs
from dermsentry.cli import app
from dermsentry.errors import BundleError, InputError, OutputError
from dermsentry.model import Bundle, open_bundle
from dermsentry.model.model_card import model_card
from dermsentry.phantoms import draw_phantom
from dermsentry.screening import screen

MELANOMAS, OTHERS = 12, 14
SHARES = ("--sensitivity", 0.8, "--confidence", 0.8)
EASY = {"sensitivity": 0.8, "confidence": 0.8}  # 8 melanomas


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """26 phantoms, all different, and what they are."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "photographs" / "2026").mkdir(parents=True)
    rows = ["image,diagnosis,lesion_id"]
    for number in range(MELANOMAS + OTHERS):
        code = "MEL" if number < MELANOMAS else "NV"
        name = f"visit-{number:03d}"
        picture = Image.fromarray(draw_phantom(code, number, (200, 150)))
        picture.save(folder / "photographs" / "2026" / f"{name}.png")
        rows.append(f"{name}.png,{'melanoma' if code == 'MEL' else 'Nevus'},L{number}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    training = {**tiny_card().training, "configuration": {"network": "tiny", "prior": {"MEL": 0.3}}}
    return tiny_bundle(tmp_path_factory.mktemp("parent") / "bundle", training=training)


def test_a_table_in_other_words_is_understood_by_a_mapping(site, tmp_path):
    """At the command line, which writes the mapping to be filled in."""
    table = (site / "labels.csv").read_text().replace("melanoma", "Melanom").replace("Nevus", "Nävus")
    german = tmp_path / "histo.csv"
    german.write_text(table.replace("image,diagnosis", "Bild-Nr.,Befund (Histo)"), encoding="utf-8")
    mapping = tmp_path / "diagnosen.csv"
    columns = ["--column", "image_id=Bild-Nr.", "--column", "diagnosis=Befund (Histo)"]
    given = ["adopt", "dermoscopy", str(site / "photographs"), "--labels", str(german), *columns]
    done = CliRunner().invoke(app, [*given, "--diagnoses", str(mapping), "--out", str(tmp_path / "own")])
    assert f"{mapping} did not exist: it was written with the 2 diagnoses" in str(done.exception)
    assert not (tmp_path / "own").exists()
    mapping.write_text("given,diagnosis\nMelanom,MEL\nNävus,NV\n", encoding="utf-8")
    headings = {"image_id": "Bild-Nr.", "diagnosis": "Befund (Histo)"}
    found = read_photographs(site / "photographs", german, diagnoses=mapping, columns=headings)
    assert sorted(found.table["diagnosis"]) == ["MEL"] * MELANOMAS + ["NV"] * OTHERS
    with pytest.raises(InputError, match="say what they are by --diagnoses"):
        adopt("dermoscopy", site / "photographs", labels=german, columns=headings)


def melanoma_of(findings):
    return np.array([finding.melanoma for finding in findings])


def test_a_site_bundle_keeps_its_promise_and_where_it_came_from(site, bundle, tmp_path):
    found = adopt(bundle, site / "photographs", labels=site / "labels.csv", out=tmp_path / "own", **EASY)
    assert found.promised
    assert (found.counts.given, found.counts.melanomas, found.counts.others) == (26, MELANOMAS, OTHERS)
    own = open_bundle(tmp_path / "own")
    assert own.card.sha256 == bundle.card.sha256
    assert own.card.adoption.parent == bundle.card.digest
    assert own.card.adoption.record["parent"]["thresholds"]["alert"]["value"] == 0.5
    assert own.card.adoption.promise.sensitivity == 0.8
    assert own.card.digest != bundle.card.digest
    melanomas = screen([site / "photographs" / "2026" / f"visit-{i:03d}.png" for i in range(MELANOMAS)], own)
    reached = melanoma_of(melanomas) >= own.card.thresholds["alert"].value
    assert reached.sum() == found.alert.found
    assert own.card.thresholds["alert"].sensitivity.value == pytest.approx(reached.mean())
    assert all("chosen for a sensitivity of 80 %" in f.reasons[0] for f in melanomas if f.tier == "alert")
    assert "Adopted for a site" in model_card(own)
    assert bundle.card.digest in model_card(own)


def test_a_site_bundle_orders_photographs_as_its_parent(site, bundle, tmp_path):
    found = adopt(bundle, site / "photographs", labels=site / "labels.csv", out=tmp_path / "own", **EASY)
    own = open_bundle(found.bundle)
    before, after = (melanoma_of(screen(site / "photographs", b)) for b in (bundle, own))
    order = np.argsort(before, kind="stable")
    assert (np.diff(after[order]) >= -1e-6).all()
    shares = [sum(finding.probabilities.values()) for finding in screen(site / "photographs", own)]
    assert shares == pytest.approx([1.0] * 26, abs=1e-4)


def test_an_adopted_bundle_is_adopted_again(site, bundle, tmp_path):
    given = {"labels": site / "labels.csv", **EASY}
    first = adopt(bundle, site / "photographs", out=tmp_path / "first", prevalence=0.05, **given)
    again = adopt(first.bundle, site / "photographs", out=tmp_path / "again", **given)
    own = open_bundle(again.bundle)
    assert own.card.sha256 == bundle.card.sha256
    assert own.card.adoption.parent == open_bundle(first.bundle).card.digest
    assert own.card.name == "tiny (site)"
    once = adopt(bundle, site / "photographs", out=tmp_path / "once", **given)
    tiers = [[f.tier for f in screen(site / "photographs", b.bundle)] for b in (once, again)]
    assert tiers[0] == tiers[1]


def test_too_few_melanomas_write_the_page_and_no_bundle(site, bundle, tmp_path):
    found = adopt(bundle, site / "photographs", labels=site / "labels.csv", out=tmp_path / "own")
    assert "47 more needed" in found.refusal
    assert found.bundle is None
    assert sorted(p.name for p in (tmp_path / "own").iterdir()) == ["adoption.html", "adoption.json"]
    with pytest.raises(BundleError, match="not a complete model bundle"):
        open_bundle(tmp_path / "own")
    given = {"labels": site / "labels.csv", "out": tmp_path / "own"}
    assert adopt(bundle, site / "photographs", **given, **EASY).bundle
    kept = (tmp_path / "own" / "adoption.json").read_bytes()
    adopt(bundle, site / "photographs", **given)
    assert open_bundle(tmp_path / "own").card.adoption
    assert (tmp_path / "own" / "adoption.json").read_bytes() == kept


def test_copies_count_once_and_contradictions_are_left_out(site, bundle, tmp_path):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    rows = (site / "labels.csv").read_text().splitlines()
    for path in (site / "photographs" / "2026").iterdir():
        (photographs / path.name).write_bytes(path.read_bytes())
    for number, label in ((0, "melanoma"), (1, "nevus")):
        picture = Image.open(photographs / f"visit-{number:03d}.png")
        picture.resize((100, 75)).resize((190, 142)).save(photographs / f"again-{number}.jpg", quality=92)
        rows.append(f"again-{number},{label},")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    found = adopt(bundle, photographs, labels=tmp_path / "labels.csv", **EASY)
    assert (found.counts.given, found.counts.copies, found.counts.contradicted) == (28, 2, 1)
    assert found.demand.melanomas == MELANOMAS - 1
    assert any("1 photograph has copies with different" in sentence for sentence in found.warnings)


def test_without_labels_the_alerts_stay(site, bundle, tmp_path):
    found = adopt(bundle, site / "photographs", out=tmp_path / "own")
    assert found.estimated.stated_for == 0.3
    own = open_bundle(found.bundle)
    assert own.card.adoption.promise is None
    alerts = [{f.image for f in screen(site / "photographs", b) if f.tier == "alert"} for b in (bundle, own)]
    assert alerts[0] <= alerts[1]
    assert "nothing is promised" in model_card(own)


@pytest.mark.parametrize(
    ("table", "melanomas"),
    [
        ("image,MEL,NV,BCC\nvisit-000,1,0,0\nvisit-001,0,1,0\n", 1),
        ("isic_id,melanoma\nvisit-000,1\nvisit-001,0\nvisit-002,1\n", 2),
        ("file;dx;patient_id\nsomewhere\\visit-000.png;mel;P1\nelsewhere/visit-001.png;nv;P1\n", 1),
    ],
)
def test_tables_as_clinics_have_them_are_read(site, tmp_path, table, melanomas):
    (tmp_path / "labels.csv").write_text(table)
    found = read_photographs(site / "photographs", tmp_path / "labels.csv").table
    assert (found["diagnosis"] == "MEL").sum() == melanomas
    assert (found["diagnosis"] != "").all()
    assert len(found) == table.count("visit")


def test_what_the_table_does_not_say_is_told(site, bundle, tmp_path):
    rows = (site / "labels.csv").read_text().splitlines()
    (tmp_path / "labels.csv").write_text("\n".join([*rows[:-2], "visit-024,wart,L24", "visit-999,nevus,L9"]))
    found = adopt(bundle, site / "photographs", labels=tmp_path / "labels.csv", **EASY)
    said = "\n".join(found.warnings)
    assert "'wart'" in said
    assert "labels.csv: 25 of 26 rows have a photograph here." in said  # the name as it is
    assert "no row of the label table is about it" in said
    assert found.counts.unknown == 1


def test_class_folders_are_labels(site, tmp_path, bundle):
    for number in range(MELANOMAS + OTHERS):
        folder = tmp_path / "set" / ("melanoma" if number < MELANOMAS else "nevus")
        folder.mkdir(parents=True, exist_ok=True)
        name = f"visit-{number:03d}.png"
        (folder / name).write_bytes((site / "photographs" / "2026" / name).read_bytes())
    found = adopt(bundle, tmp_path / "set", labels=tmp_path / "set", **EASY)
    assert (found.counts.melanomas, found.counts.others) == (MELANOMAS, OTHERS)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("image,note\nvisit-000,x\n", "expected image_id and diagnosis"),
        ("image,dx\nother,nv\n", "No row of labels.csv has a photograph"),
    ],
)
def test_a_table_that_tells_nothing_is_refused(site, bundle, tmp_path, table, says):
    (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(InputError, match=says):
        adopt(bundle, site / "photographs", labels=tmp_path / "labels.csv")


def test_another_folder_is_never_replaced(site, bundle, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="not a model bundle"):
        adopt(bundle, site / "photographs", labels=site / "labels.csv", out=tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        adopt(bundle, tmp_path / "notes.txt")


def run(*arguments: object):
    return CliRunner().invoke(app, ["adopt", *map(str, arguments)])


def test_the_command_promises_and_says_where(site, bundle, tmp_path):
    options = (
        "--labels",
        site / "labels.csv",
        "--out",
        tmp_path / "own",
        "--sensitivity",
        0.8,
        "--confidence",
        0.8,
    )
    done = run(bundle.folder, site / "photographs", *options)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("With 80 % confidence, at least 80 %")
    assert "melanoma sensitivity" in done.stdout
    assert "before" in done.stdout
    assert "Written:" in done.stderr
    record = json.loads((tmp_path / "own" / "adoption.json").read_text())
    assert record["promised"] is True
    assert record["demand"]["missing"] == 0
    assert "Before and after" in (tmp_path / "own" / "adoption.html").read_text()


def test_the_command_refuses_in_a_line(site, bundle, tmp_path):
    done = run(
        bundle.folder, site / "photographs", "--labels", site / "labels.csv", "--out", tmp_path / "own"
    )
    assert done.exit_code == 8
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("dermsentry: ")]
    assert "expected 59 or more" in line
    assert "47 more needed" in line
    assert "--sensitivity 0.77" in line


def test_the_command_tells_an_unreadable_photograph_by_its_exit_code(site, bundle, tmp_path):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for path in (site / "photographs" / "2026").iterdir():
        (photographs / path.name).write_bytes(path.read_bytes())
    (photographs / "visit-025.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    options = (
        "--labels",
        site / "labels.csv",
        "--out",
        tmp_path / "own",
        "--sensitivity",
        0.8,
        "--confidence",
        0.8,
    )
    done = run(bundle.folder, photographs, *options)
    assert done.exit_code == 3, done.output
    assert "1 photograph could not be read" in done.stderr
