"""The manifests of `deploy/` and the script of the docs: their commands, and what is a failure to them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"


def documents(name: str) -> dict[str, Any]:
    """The objects of a manifest, by kind."""
    return {one["kind"]: one for one in yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8"))}


def of_ray() -> list[str]:
    found = documents("rayjob.yaml")
    assert list(found) == ["ConfigMap", "RayJob"]
    job, scripts = found["RayJob"]["spec"], found["ConfigMap"]["data"]
    head = job["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    # Whatever shells it passes, the entrypoint is these words, and names a script that the head has.
    assert re.fullmatch(r"[\w /.-]+", job["entrypoint"])
    shell, script = job["entrypoint"].split()
    folder, name = script.rsplit("/", 1)
    [mounted] = [one["name"] for one in head["containers"][0]["volumeMounts"] if one["mountPath"] == folder]
    volumes = {one["name"]: one["configMap"]["name"] for one in head["volumes"]}
    assert volumes[mounted] == found["ConfigMap"]["metadata"]["name"]
    return [shell, "-c", scripts[name]]


def of_a_job() -> list[str]:
    container = documents("job.yaml")["Job"]["spec"]["template"]["spec"]["containers"][0]
    return [*container["command"], *container["args"]]


def of_slurm() -> list[str]:
    page = (ROOT / "docs" / "how-to-screen-on-many-machines.md").read_text(encoding="utf-8")
    [script] = re.findall(r"```sh\n(#!/bin/sh\n.*?)```", page, re.DOTALL)
    return ["sh", "-c", script]


@pytest.mark.parametrize("command", [of_ray, of_a_job, of_slurm])
@pytest.mark.parametrize(("code", "fails"), [(0, False), (3, False), (2, True), (4, True), (143, True)])
def test_an_image_that_cannot_be_read_is_no_failure(
    command: Any, code: int, fails: bool, tmp_path: Path
) -> None:
    stub = tmp_path / "dermsentry"
    stub.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/asked"\nexit {code}\n', encoding="utf-8")
    stub.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin", "JOB_COMPLETION_INDEX": "2", "SLURM_ARRAY_TASK_ID": "3",
        "SLURM_ARRAY_TASK_COUNT": "40",
    }  # fmt: skip
    done = subprocess.run(command(), env=environment, check=False)
    assert (done.returncode != 0) is fails
    [asked] = (tmp_path / "asked").read_text(encoding="utf-8").splitlines()
    assert asked.startswith("screen ")
    assert "--shard 3/40" in asked or "--engine ray --address auto" in asked


def test_a_job_of_kubernetes_has_as_many_shards_as_pods() -> None:
    spec = documents("job.yaml")["Job"]["spec"]
    assert f"/{spec['completions']} " in of_a_job()[-1]


def test_containers_ask_for_what_they_may_have() -> None:
    groups = documents("rayjob.yaml")["RayJob"]["spec"]["rayClusterSpec"]
    pods = [groups["headGroupSpec"]["template"], *(one["template"] for one in groups["workerGroupSpecs"])]
    pods.append(documents("job.yaml")["Job"]["spec"]["template"])
    for pod in pods:
        [container] = pod["spec"]["containers"]
        assert container["image"] == "IMAGE"
        assert container["resources"]["limits"].keys() == container["resources"]["requests"].keys()
