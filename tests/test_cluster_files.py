"""`cluster.yaml` and `Dockerfile`: what Ray's launcher makes of them, and that they speak of the versions in use."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return loaded


def test_the_launcher_takes_it(written: dict[str, Any]) -> None:
    config = prepare_config(written)
    validate_config(config)
    kinds = config["available_node_types"]
    assert kinds["head"]["resources"]["CPU"] == 0, "work on the head"
    assert kinds["decode"]["resources"].get("GPU", 0) == 0
    assert kinds["predict"]["resources"]["GPU"] == 1
    assert sum(kind["max_workers"] for name, kind in kinds.items() if name != "head") <= config["max_workers"]


def test_a_token_and_loopback(written: dict[str, Any]) -> None:
    assert "--env RAY_AUTH_MODE=token" in written["docker"]["run_options"]
    assert written["file_mounts"] == {"/home/ray/.ray/auth_token": "~/.ray/auth_token"}
    starts = [line for line in written["head_start_ray_commands"] if line.startswith("ray start")]
    assert [re.findall(r"--dashboard-host=(\S+)", line) for line in starts] == [["127.0.0.1"]]
    assert "--ray-client-server-port" not in starts[0]


def test_one_version_of_ray(written: dict[str, Any]) -> None:
    (pinned,) = re.findall(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    for file in ("Dockerfile", "cluster.yaml"):
        said = re.findall(r"[Rr]ay[: ](\d+\.\d+\.\d+)", (ROOT / file).read_text())
        assert set(said) == {pinned}, file
