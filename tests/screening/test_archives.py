"""Photographs in zip, tar, Parquet and HDF5 files, and archives that mean harm."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from bundles import lesion
from dermsentry.errors import DataWarning, InputError
from dermsentry.model import Bundle
from dermsentry.screening import Finding, screen

LINK = "a link in an archive, which is not followed"


def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(lesion(30 * number, number)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


PICTURES = {f"lesion{number}": picture(number) for number in range(4)}


def write_zip(path: Path, given: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in given.items():
            archive.writestr(name, data)


def write_tar(path: Path, given: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in given.items():
            own = tarfile.TarInfo(name)
            own.size = len(data)
            archive.addfile(own, io.BytesIO(data))


def write_parquet(path: Path, given: dict[str, bytes]) -> None:
    images = [{"bytes": data, "path": None} for data in given.values()]
    table = pyarrow.table({"target": [0] * len(given), "image": images, "isic_id": list(given)})
    parquet.write_table(table, path, row_group_size=2)


def write_hdf5(path: Path, given: dict[str, bytes]) -> None:
    with h5py.File(path, "w") as file:
        for number, (name, data) in enumerate(given.items()):
            value = np.void(data) if number % 2 else np.frombuffer(data, np.uint8)
            file.create_dataset(name, data=value)


WRITERS: dict[str, tuple[Any, str]] = {
    "a.zip": (write_zip, ".jpg"),
    "a.tar": (write_tar, ".jpg"),
    "a.tar.gz": (lambda path, given: write_tar(path, given, "w:gz"), ".jpg"),
    "a.parquet": (write_parquet, ""),
    "a.hdf5": (write_hdf5, ""),
}


def made(folder: Path, name: str) -> Path:
    write, ending = WRITERS[name]
    write(folder / name, {f"{own}{ending}": data for own, data in PICTURES.items()})
    return folder / name


@pytest.mark.parametrize("name", WRITERS)
def test_an_archive_gives_what_its_photographs_give_and_is_resumed(
    name: str, bundle: Bundle, tmp_path: Path
) -> None:
    path = made(tmp_path, name)
    found = screen(path, bundle, findings=tmp_path / "f.jsonl")
    assert [one.image for one in found] == list(PICTURES)
    assert found[2].path == f"{path}/lesion2{WRITERS[name][1]}"
    alone = screen(list(PICTURES.values()), bundle)
    assert [one.probabilities for one in found] == [one.probabilities for one in alone]
    before = (tmp_path / "f.jsonl").read_bytes()
    with pytest.warns(DataWarning, match="4 findings of an earlier run kept"):
        assert screen(path, bundle, findings=tmp_path / "f.jsonl") == found
    assert (tmp_path / "f.jsonl").read_bytes() == before
    parts = [screen(path, bundle, shard=f"{number}/2") for number in (1, 2)]
    assert sorted(one.path for part in parts for one in part) == [one.path for one in found]


def test_what_is_no_photograph_is_passed_over_and_what_may_be_one_has_its_line(
    bundle: Bundle, tmp_path: Path
) -> None:
    jpeg = PICTURES["lesion0"]
    members = {
        "0001.jpg": jpeg, "0001.json": b"{}", "0001.cls": b"3", "no ending": jpeg,
        "__MACOSX/._0001.jpg": b"x", ".hidden/b.jpg": jpeg, "broken.png": b"no picture",
        "x.gif": b"GIF89a" + bytes(20), "inner.zip": b"PK",
    }  # fmt: skip
    for name, write in (("a.zip", write_zip), ("a.tar", write_tar)):
        write(tmp_path / name, members)
        with pytest.warns(DataWarning, match=r"not opened, inner\.zip; name an archive"):
            found = screen(tmp_path / name, bundle)
        tiers = {one.path.removeprefix(f"{tmp_path / name}/"): one.tier == "unreadable" for one in found}
        assert tiers == {
            "0001.jpg": False, "no ending": False, ".hidden/b.jpg": True, "broken.png": True, "x.gif": True,
        }  # fmt: skip
    write_zip(tmp_path / "empty.zip", {"notes.txt": b"x"})
    [only] = screen(tmp_path / "empty.zip", bundle)
    assert only.reasons == ("the zip archive holds no photographs",)


def test_archives_in_a_folder_are_named(photographs: Path, bundle: Bundle, tmp_path: Path) -> None:
    made(photographs, "a.tar")
    with pytest.warns(DataWarning, match=r"holds an archive that was not opened, .*a\.tar"):
        assert len(screen(photographs, bundle)) == 9
    (tmp_path / "shards").mkdir()
    made(tmp_path / "shards", "a.tar")
    with pytest.raises(InputError, match=r"holds no photographs but archives, such as .*a\.tar; name them"):
        screen(tmp_path / "shards", bundle)
    assert len(screen(tmp_path / "shards" / "*.tar", bundle)) == 4


def reasons(path: Path, bundle: Bundle) -> dict[str, str]:
    return {one.path.removeprefix(f"{path}/"): said(one) for one in screen(path, bundle)}


def said(finding: Finding) -> str:
    return finding.reasons[0] if finding.tier == "unreadable" else ""


def test_links_devices_and_paths_lead_nowhere(bundle: Bundle, tmp_path: Path) -> None:
    Image.fromarray(lesion()).save(tmp_path / "secret.jpg")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        kinds = {"s": tarfile.SYMTYPE, "h": tarfile.LNKTYPE, "p": tarfile.FIFOTYPE, "c": tarfile.CHRTYPE}
        for name, kind in kinds.items():
            own = tarfile.TarInfo(f"{name}.jpg")
            own.type, own.linkname = kind, str(tmp_path / "secret.jpg")
            archive.addfile(own)
        for name in ("/etc/a.jpg", "../../b.jpg"):
            own = tarfile.TarInfo(name)
            own.size = len(PICTURES["lesion0"])
            archive.addfile(own, io.BytesIO(PICTURES["lesion0"]))
    found = reasons(tmp_path / "a.tar", bundle)
    device = "a device, not a file"
    assert found == {
        "s.jpg": LINK, "h.jpg": LINK, "p.jpg": device, "c.jpg": device, "/etc/a.jpg": "", "../../b.jpg": "",
    }  # fmt: skip
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        link = zipfile.ZipInfo("s.jpg")
        link.external_attr = 0o120777 << 16
        zipped.writestr(link, str(tmp_path / "secret.jpg"))
    assert reasons(tmp_path / "a.zip", bundle) == {"s.jpg": LINK}
    with h5py.File(tmp_path / "other.hdf5", "w") as other:
        other["x"] = np.void(PICTURES["lesion0"])
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["external"] = h5py.ExternalLink(str(tmp_path / "other.hdf5"), "x")
        file["soft"] = h5py.SoftLink("/y")
        file.create_group("round")["again"] = file["/"]
        file["round/y"] = np.void(PICTURES["lesion1"])
        size = (tmp_path / "secret.jpg").stat().st_size
        file.create_dataset("stored", (size,), "u1", external=[(str(tmp_path / "secret.jpg"), 0, size)])
    found = reasons(tmp_path / "a.hdf5", bundle)
    assert found == {"external": LINK, "soft": LINK, "stored": LINK, "round/y": ""}


def test_one_damaged_member_does_not_stop_the_rest(bundle: Bundle, tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", {f"{name}.jpg": data for name, data in PICTURES.items()})
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        place = archive.getinfo("lesion1.jpg").header_offset + 400
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[place : place + 200] = bytes(200)
    (tmp_path / "a.zip").write_bytes(data)
    assert [bool(reason) for reason in reasons(tmp_path / "a.zip", bundle).values()] == [
        False,
        True,
        False,
        False,
    ]
    whole = made(tmp_path, "a.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 2])
    found = reasons(tmp_path / "cut.tar", bundle)
    assert list(found)[:1] == ["lesion0.jpg"]
    assert any("the tar archive cannot be read any further" in reason for reason in found.values())
    (tmp_path / "odd.tar").write_bytes(whole[:512] + PICTURES["lesion0"] + b"x" * 3000)
    assert any(
        "cannot be read any further" in reason for reason in reasons(tmp_path / "odd.tar", bundle).values()
    )
    for name in ("a.parquet", "a.hdf5"):
        whole = made(tmp_path, name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        [only] = screen(tmp_path / name, bundle)
        assert "cannot be read any further" in only.reasons[0]


def endless(size: int) -> bytes:
    """A tar header of a member of so many bytes."""
    own = tarfile.TarInfo("bomb.jpg")
    own.size = size
    return own.tobuf(tarfile.GNU_FORMAT)


def bombs(folder: Path) -> dict[str, str]:
    """Archives that expand without end, by what is said of them."""
    zeros = bytes(1 << 24)
    with zipfile.ZipFile(folder / "zip.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(48):
            archive.writestr(f"{number}.jpg", zeros)
    with gzip.open(folder / "member.tar.gz", "wb", 1) as file:
        file.write(endless(1 << 60))
        file.write(zeros)
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 40
    with bz2.open(folder / "header.tar.bz2", "wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        file.write(zeros * 8)
    with gzip.open(folder / "many.tar.gz", "wb", 6) as file:
        for number in range(50):
            own = tarfile.TarInfo(f"{number}.txt")
            own.size = len(zeros)
            file.write(own.tobuf(tarfile.GNU_FORMAT))
            file.write(zeros)
    (folder / "plain.tar").write_bytes(endless(1 << 60) + bytes(4096))
    return {
        "zip.zip": "holds over 200 times its size",
        "member.tar.gz": "holds over 200 times its size",
        "header.tar.bz2": "a header without end",
        "many.tar.gz": "holds over 200 times its size",
        "plain.tar": "holds over 200 times its size",
    }


def test_bombs_are_held(bundle: Bundle, tmp_path: Path) -> None:
    expected = bombs(tmp_path)
    code = f"""
import json, resource, sys
from dermsentry.model import open_bundle
from dermsentry.screening import screen
bundle = open_bundle({str(bundle.folder)!r}, threads=1)
screen({str(tmp_path / "plain.tar")!r}, bundle)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = screen(sys.argv[1:], bundle)
more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps([more, [[one.path, one.reasons[0]] for one in found]]))
"""
    command = [sys.executable, "-c", code, *(str(tmp_path / name) for name in expected)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    more, found = json.loads(done.stdout)
    assert more < 100 * 1024  # KiB
    told = dict(found)
    assert all(words in told[str(tmp_path / name)] for name, words in expected.items()), told


def test_names_may_occur_twice_and_cost_the_table_alone(bundle: Bundle, tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", {"x/lesion.jpg": PICTURES["lesion0"], "y/lesion.jpg": PICTURES["lesion3"]})
    with pytest.warns(DataWarning, match=r"(no p\.csv|no saliency map)") as caught:
        found = screen(
            tmp_path / "a.zip", bundle, findings=tmp_path / "f.jsonl", predictions=tmp_path / "p.csv",
            saliency=tmp_path / "maps",
        )  # fmt: skip
    assert len(caught) == 2
    assert len(found) == 2
    assert not (tmp_path / "p.csv").exists()
    assert len(list((tmp_path / "maps").iterdir())) == 1


def test_tables_in_csv_and_parquet(photographs: Path, bundle: Bundle, tmp_path: Path) -> None:
    found = screen(photographs, bundle, table=tmp_path / "t.csv")
    screen(photographs, bundle, table=tmp_path / "t.parquet")
    table = parquet.read_table(tmp_path / "t.parquet").to_pylist()
    assert [row["melanoma"] for row in table] == [one.melanoma for one in found]
    assert [row["MEL"] for row in table] == [one.melanoma for one in found]
    assert table[0]["reasons"] == "; ".join(found[0].reasons)
    assert table[1]["side"] == 160
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert lines[0] == ",".join(table[0])
    assert len(lines) == 10
    with pytest.raises(InputError, match=r"ends in \.csv or \.parquet"):
        screen(photographs, bundle, table=tmp_path / "t.xlsx")


def test_parquet_columns(bundle: Bundle, tmp_path: Path) -> None:
    data = list(PICTURES.values())
    parquet.write_table(pyarrow.table({"thumb": data, "jpg": [*data[:3], None]}), tmp_path / "a.parquet")
    with pytest.warns(DataWarning, match="the images in jpg are read, not thumb"):
        found = screen(tmp_path / "a.parquet", bundle)
    assert [one.image for one in found] == ["row_1", "row_2", "row_3", "row_4"]
    assert found[3].reasons == ("the file is empty",)
    parquet.write_table(pyarrow.table({"a": [1], "b": ["x"]}), tmp_path / "b.parquet")
    [only] = screen(tmp_path / "b.parquet", bundle)
    assert only.reasons == ("a Parquet file without a column of image bytes; it has a, b",)
