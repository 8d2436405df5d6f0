"""Screening by Ray: what is found is what is found here, once each, whatever is ended meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.ray_processes import guarded, workers
from bundles import lesion, tiny_bundle
from dermsentry.errors import BundleError, InputError
from dermsentry.model import Bundle
from dermsentry.screening import Finding, screen, screen_dataset, screen_on_cluster
from screening.poison import decoder, write_photograph

# Ray's own: what it will change, and what it leaves to the garbage collector.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two machines of one core each, as far as Ray is concerned, and a third that only leads them."""
    with pytest.MonkeyPatch.context() as patch:
        site = decoder(tmp_path_factory.mktemp("site"))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(site), *sys.path]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_DATA_LOG_LEVEL", "ERROR")
        import ray
        from ray.cluster_utils import Cluster

        store = {"object_store_memory": 100 * 2**20}
        own = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **store})
        own.add_node(num_cpus=1, **store)
        own.add_node(num_cpus=1, **store)
        ray.init(own.address, log_to_driver=False, logging_level="error")
        yield own
        ray.shutdown()
        own.shutdown()


def rows(out: Path) -> dict[str, Any]:
    found = pd.read_parquet(out / "findings").to_dict("records")
    counts = Counter(row["path"] for row in found)
    assert set(counts.values()) <= {1}
    return {row["path"]: row for row in found}


def same(found: dict[str, Any], expected: list[Finding]) -> bool:
    assert found.keys() == {own.path for own in expected}
    return all(
        (found[own.path]["tier"], found[own.path]["version"]) == (own.tier, own.version)
        and (own.melanoma is None or found[own.path]["melanoma"] == own.melanoma)
        for own in expected
    )


def many(folder: Path, count: int) -> Path:
    for number in range(9):
        write_photograph(folder / f"{number:04}.jpg", number)
    for number in range(9, count):
        os.link(folder / f"{number % 9:04}.jpg", folder / f"{number:04}.jpg")
    return folder


def test_a_cluster_finds_what_is_found_here_and_one_poisoned_photograph_costs_itself(
    cluster: Any, photographs: Path, bundle: Bundle, tmp_path: Path
) -> None:
    expected = screen(photographs, bundle)
    write_photograph(photographs / "first" / "poison.jpg", 7, "segfault")
    done = screen_on_cluster(photographs, tmp_path / "out", bundle, partition=4)
    found = rows(tmp_path / "out")
    poisoned = found.pop(str(photographs / "first" / "poison.jpg"))
    assert (poisoned["tier"], poisoned["reasons"]) == ("unreadable", "the file stopped its decoder")
    assert same(found, expected)
    assert done.counts["findings"] == len(expected) + 1
    assert done.counts["unreadable"] == 4
    assert {"ray", "pyarrow", "onnxruntime"} <= done.versions.keys()
    again = screen_on_cluster(photographs, tmp_path / "out", bundle, partition=4)
    assert again.counts["kept"] == done.counts["findings"]


@pytest.mark.parametrize("column", ["bytes", "image", "path"])
def test_a_data_set_of_rays_is_screened(cluster: Any, bundle: Bundle, tmp_path: Path, column: str) -> None:
    import ray

    given: list[dict[str, Any]] = []
    for number in range(5):
        path = tmp_path / f"{number}.png"
        write_photograph(path, number)
        more = {"bytes": path.read_bytes(), "image": np.asarray(lesion(20 * number, number)), "path": None}
        given.append({"path": str(path), **({column: more[column]} if column != "path" else {})})
    found = {row["path"]: row for row in screen_dataset(ray.data.from_items(given), bundle).take_all()}
    expected = [screen(own.get("image", own["path"]), bundle)[0] for own in given]
    assert [found[own["path"]]["melanoma"] for own in given] == [own.melanoma for own in expected]
    assert [found[own["path"]]["tier"] for own in given] == [own.tier for own in expected]


def test_what_no_cluster_can_take_is_refused(
    cluster: Any, photographs: Path, bundle: Bundle, tmp_path: Path
) -> None:
    import ray

    with pytest.raises(InputError, match="credentials by its environment"):
        screen_on_cluster("https://name:word@host/a.jpg", tmp_path / "out", bundle)
    with pytest.raises(InputError, match="paths and addresses"):
        screen_on_cluster([b"bytes"], tmp_path / "out", bundle)  # type: ignore[list-item]
    with pytest.raises(InputError, match="expected path"):
        screen_dataset(ray.data.from_items([{"name": "a"}]), bundle)
    with pytest.raises(InputError, match="nobody answers"):
        screen_on_cluster(photographs, tmp_path / "out", bundle, address="127.0.0.1:1")
    assert not (tmp_path / "out").exists()


def test_what_goes_wrong_in_an_actor_is_raised_here(cluster: Any, photographs: Path, tmp_path: Path) -> None:
    opened = tiny_bundle(tmp_path / "bundle")
    (opened.folder / "model.onnx").write_bytes(b"changed since it was opened")
    with pytest.raises(BundleError, match="is not the file its card names"):
        screen_on_cluster(photographs, tmp_path / "out", opened)


def ending(out: Path, at: list[int], end: Any) -> threading.Thread:
    """A thread that calls `end` as soon as so many partitions are there, for each number."""

    def watch() -> None:
        for number in at:
            while len(list((out / "findings").glob("*.parquet"))) < number:
                time.sleep(0.01)
            end()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_workers_that_are_killed_lose_and_double_nothing(
    cluster: Any, bundle: Bundle, tmp_path: Path
) -> None:
    folder, out = many(tmp_path / "photographs", 300), tmp_path / "out"
    killed: list[int] = []

    def kill() -> None:
        raylets = [node.all_processes["raylet"][0].process.pid for node in cluster.worker_nodes]
        victims = [pid for raylet in raylets for pid in (*workers(raylet)[:1], *guarded(raylet)[:1])]
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    watching = ending(out, [3, 20, 40], kill)
    done = screen_on_cluster(folder, out, bundle, partition=5)
    watching.join(10)
    assert len(killed) >= 3
    assert done.counts["findings"] == 300
    assert same(rows(out), screen(folder, bundle))


def test_a_node_that_is_killed_loses_and_doubles_nothing(
    cluster: Any, bundle: Bundle, tmp_path: Path
) -> None:
    folder, out = many(tmp_path / "photographs", 300), tmp_path / "out"

    def kill() -> None:
        cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)

    watching = ending(out, [10], kill)
    done = screen_on_cluster(folder, out, bundle, partition=5)
    watching.join(10)
    assert not watching.is_alive()
    assert len(cluster.worker_nodes) == 1
    assert done.counts["findings"] == 300
    assert same(rows(out), screen(folder, bundle))


def test_a_driver_that_is_killed_is_resumed_by_another(bundle: Bundle, tmp_path: Path) -> None:
    folder, out = many(tmp_path / "photographs", 400), tmp_path / "out"
    smaller = (
        "import sys; from dermsentry.screening import partitions; partitions.PARTITION = 50; "
        "from dermsentry.cli import app; app(sys.argv[1:])"
    )
    command = [
        *(sys.executable, "-c", smaller, "screen", str(folder), "--engine", "ray"),
        *("--model", str(bundle.folder), "--out", str(out), "--threads", "2"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as driver:
        while len(list(out.glob("findings/*.parquet"))) < 2:
            assert driver.poll() is None
            time.sleep(0.01)
        left = [*workers(driver.pid), *guarded(driver.pid)]
        driver.kill()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "findings of an earlier run were kept" in done.stderr
    assert "400 photographs in" in done.stderr
    assert same(rows(out), screen(folder, bundle))
    assert not [pid for pid in left if Path(f"/proc/{pid}").exists()]
