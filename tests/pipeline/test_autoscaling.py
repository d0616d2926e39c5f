"""On Ray's autoscaler with made-up nodes: the job alone brings up the nodes that its stages need."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chaos.clusters import free_ports
from tests.pipeline.compare import assert_same_labels

pytestmark = [pytest.mark.ray, pytest.mark.cluster]

RAY = Path(sys.executable).parent / "ray"
KINDS = {
    "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
    "decode": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    "predict": {"resources": {"CPU": 1, "GPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 1},
}
AUTOSCALER: dict[str, Any] = {
    "cluster_name": "made-up",
    "max_workers": 3,
    "upscaling_speed": 100,
    "idle_timeout_minutes": 0.1,
    "provider": {
        "type": "fake_multinode",
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
        "use_node_id_as_ip": True,
    },
    "auth": {},
    "docker": {},
    "head_node_type": "ray.head.default",
    "available_node_types": KINDS,
    **{f"{which}setup_commands": [] for which in ("", "head_", "worker_")},
    "initialization_commands": [],
    "head_start_ray_commands": [],
    "worker_start_ray_commands": [],
    "file_mounts": {},
    "cluster_synced_files": [],
    "file_mounts_sync_continuously": False,
    "rsync_exclude": [],
    "rsync_filter": [],
}


@pytest.fixture
def head(tmp_path: Path) -> Iterator[str]:
    """The address of a head without work whose autoscaler can start nodes on this machine."""
    gcs, dashboard = free_ports(2)
    # Else the nodes look for their head where Ray's own port is.
    provider = AUTOSCALER["provider"] | {"gcs_address": f"127.0.0.1:{gcs}"}
    (tmp_path / "autoscaler.json").write_text(json.dumps(AUTOSCALER | {"provider": provider}))
    command = [str(RAY), "start", "--head", "--block", f"--port={gcs}", "--num-cpus=0", "--node-ip-address=127.0.0.1"]
    command += [f"--dashboard-port={dashboard}", f"--autoscaling-config={tmp_path / 'autoscaler.json'}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    with (tmp_path / "head.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        yield f"127.0.0.1:{gcs}"
    finally:
        process.terminate()
        process.wait(timeout=60)


def test_stages_bring_up_their_nodes_and_leave_them(
    head: str, folder: Path, quick: str, done: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.pipeline.autoscaled_job", head, str(folder), str(tmp_path / "out"), quick]
    record_file = tmp_path / "record.json"
    job = subprocess.run([*command, str(record_file)], capture_output=True, text=True, timeout=540)
    assert job.returncode == 0, job.stdout + job.stderr
    assert_same_labels(done, tmp_path / "out")
    record = json.loads(record_file.read_text())
    for moment in record:
        print(moment)
    assert record[0]["nodes"] == ["head"]
    assert record[-1]["nodes"] == ["head"], "nodes that nobody needs stayed"
    assert any({"decode", "predict"} <= set(moment["nodes"]) for moment in record)
    placed = {(stage, node) for moment in record for stage, node in moment["stages"] if node != "gone"}
    assert {node for stage, node in placed if stage == "PredictStage"} == {"predict"}
    assert ("DecodeStage", "decode") in placed
    assert "head" not in {node for _, node in placed}
