"""Photographs bent at random, to the process that decodes and screens: each has a finding, and it goes on."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from bundles import tiny_bundle
from clinic.bending import MUTATIONS, SEED, Bend
from clinic.cases import photograph
from clinic.dicom_files import dicom_bytes
from dermsentry.clinic.worker.screener import Screener

KINDS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")


def test_every_file_has_a_finding(tmp_path: Path) -> None:
    bend = Bend(random.Random(SEED))
    tiny_bundle(tmp_path / "bundle")
    originals = [(kind, photograph(seed, kind=kind, size=(160, 120))) for kind in KINDS for seed in range(2)]
    originals += [("DICOM", dicom_bytes(seed)) for seed in range(2)]
    file = tmp_path / "photograph"
    counts: Counter[str] = Counter()
    with Screener(tmp_path / "bundle", time_s=20) as screener:
        for number in range(MUTATIONS):
            kind, data = bend.chance.choice(originals)
            file.write_bytes(bend.data(data))
            found = screener.screen(file, kind)
            tier = found.finding["tier"]
            assert (tier == "unreadable") is (found.pictures == {}), f"input {number} of seed {SEED}"
            reason = str(found.finding["reasons"])
            assert "stopped its decoder" not in reason, f"input {number} of seed {SEED}: {kind}"
            assert "Traceback" not in reason
            counts[f"{kind} {tier}"] += 1
        file.write_bytes(originals[0][1])
        assert screener.screen(file, "JPEG").finding["tier"] != "unreadable"
    print("\n".join(f"{count:6} {became}" for became, count in sorted(counts.items())))
    assert {became.split()[1] for became in counts} > {"unreadable"}
