"""`jobs/slurm/annotate.sbatch` on two nodes: results, interruptions, neighbours."""

import fcntl
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from tests.pipeline.compare import assert_same_inputs, assert_same_labels, labels_of
from tests.slurm.desk import LONG_S, TWO_NODES, Desk, command_line, processes_of
from tests.slurm.slurm_pair import wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.ray, pytest.mark.slow]

SCRIPT = "annotate.sbatch"


def test_two_nodes(desk: Desk, many: Path, quickest: str, local_run: Path, tmp_path: Path) -> None:
    options = (*TWO_NODES, "--gres=gpu:1", "--mem=1000")
    out = tmp_path / "out"
    left_behind, in_use = (desk.node_disk / name for name in ("emo-1000001-0", "emo-1000002-0"))
    for folder in (left_behind, in_use):
        folder.mkdir()
        (folder / "lock").touch()
    with (in_use / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        job = desk.submit(
            SCRIPT, many, "-o", out, "--model", quickest, "--window", "1", "--device", "cpu", options=options
        )
        desk.await_output(job, "node 0 (n1) is up: 1 CPUs, 1 GPUs")
        assert not left_behind.exists()
        assert in_use.exists()
    desk.await_output(job, "node 1 (n2) is up: 1 CPUs, 1 GPUs")
    assert_doors_are_shut(desk, job)
    wait_for(lambda: all(stage_actors(job, node) for node in (0, 1)), "actors on both nodes", LONG_S)
    raylets = [" ".join(p.cmdline()) for p in processes_of(job) if p.name() == "raylet"]
    assert all("--object_store_memory=314572800" in raylet for raylet in raylets)  # 30 % of what the job asked for
    desk.finish(job)
    assert_same_labels(local_run, out)
    assert_same_inputs(local_run, out)


def test_requeued_half_way(desk: Desk, many: Path, quickest: str, local_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = desk.submit(SCRIPT, many, "-o", out, "--model", quickest, "--window", "1")
    desk.await_work(job, lambda: n_rows(out))
    desk.slurm.command("scontrol", "requeue", job)
    wait_for(lambda: desk.slurm.facts(job)["JobState"] == "PENDING", "the job in the queue", 120)
    before = labels_of(out)
    assert 0 < len(before) < n_rows(local_run)
    assert desk.finish(job)["Restarts"] == "1"
    assert windows_of_last_run(desk.output(job)) == n_rows(local_run) - len(before)
    assert_same_labels(local_run, out)
    assert_same_inputs(local_run, out)


def test_one_of_two_neighbours_is_cancelled(
    desk: Desk, many: Path, quickest: str, local_run: Path, tmp_path: Path
) -> None:
    arguments = (many, "--model", quickest, "--window", "1", "-o")
    cancelled, stays = (desk.submit(SCRIPT, *arguments, tmp_path / name) for name in ("cancelled", "stays"))
    desk.await_work(cancelled, lambda: n_rows(tmp_path / "cancelled"))
    desk.await_work(stays, lambda: n_rows(tmp_path / "stays"))
    desk.slurm.command("scancel", cancelled)
    assert desk.finish(cancelled, "CANCELLED")["Restarts"] == "0"
    desk.finish(stays)
    assert_same_labels(local_run, tmp_path / "stays")
    desk.finish(desk.submit(SCRIPT, *arguments, tmp_path / "cancelled"))
    assert_same_labels(local_run, tmp_path / "cancelled")
    assert_same_inputs(local_run, tmp_path / "cancelled")


def test_time_limit(desk: Desk, many: Path, quickest: str, local_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = (*TWO_NODES, "--signal=B:TERM@45")
    job = desk.submit(SCRIPT, many, "-o", out, "--model", quickest, "--window", "1", "--workers", "1", options=options)
    desk.await_work(job, lambda: n_rows(out))
    # The limit in minutes that leaves the job less than the notice and more than it needs to stop.
    minutes, seconds = map(int, desk.slurm.facts(job)["RunTime"].split(":")[-2:])
    desk.slurm.command("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes + (2 if seconds > 30 else 1)}")
    desk.await_output(job, "stopped before the time limit")
    desk.slurm.command("scontrol", "update", f"JobId={job}", "TimeLimit=UNLIMITED")
    before = labels_of(out)
    assert 0 < len(before) < n_rows(local_run)
    assert desk.finish(job)["Restarts"] == "1"
    assert "finished by earlier runs" in desk.output(job)
    assert_same_labels(local_run, out)
    assert_same_inputs(local_run, out)


def test_one_node_and_an_exit_status(desk: Desk, clips: Path, quickest: str) -> None:
    shutil.copytree(clips, desk.folder / "my clips")
    facts = desk.finish(
        desk.submit(SCRIPT, "my clips", "-o", "my out", "--model", quickest, "--strict", options=()), "FAILED"
    )
    assert facts["ExitCode"] == "3:0"  # one of the clips is broken
    assert len(labels_of(desk.folder / "my out")) > 0


def test_ray_cannot_start(desk: Desk, clips: Path) -> None:
    python = desk.folder / "python"
    python.write_text(f"""#!/bin/sh
case "$*" in *ray.scripts*) echo "no Ray here"; exit 1;; esac
exec {sys.executable} "$@"
""")
    python.chmod(0o755)
    job = desk.submit(SCRIPT, clips, "-o", desk.folder / "out", python=python)
    desk.finish(job, "FAILED")
    assert re.search(r"node \d \(n\d\) failed: Ray did not start\n.*no Ray here", desk.output(job))


def n_rows(out: Path) -> int:
    return sum(pq.read_metadata(path).num_rows for path in (out / "labels").glob("*.parquet"))


def windows_of_last_run(output: str) -> int:
    *_, counts = re.findall(r"^windows: (.*)$", output, re.MULTILINE)
    return sum(map(int, re.findall(r"\d+", counts)))


def stage_actors(job: str, node: int) -> list[str]:
    """The pipeline's actors on one node."""
    raylets = [p for p in processes_of(job) if p.name() == "raylet" and f"/emo-{job}-{node}/" in " ".join(p.cmdline())]
    titles = [" ".join(command_line(child)) for raylet in raylets for child in raylet.children()]
    return [title for title in titles if "Stage" in title]


def assert_doors_are_shut(desk: Desk, job: str) -> None:
    """The token is the user's alone; without it nobody gets in; nothing but Ray itself listens beyond loopback."""
    files = [folder / "token" for folder in desk.folders(job)]
    (token,) = {path.read_text().strip() for path in files}
    assert len(files) == 3
    assert len(token) == 64
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    commands = [" ".join(command_line(process)) for process in psutil.process_iter()]
    assert not any(token in command for command in commands)
    assert token not in desk.output(job) + desk.slurm.command("scontrol", "show", "job", "--details", job)

    port = 20000 + int(job) % 5000 * 2
    assert not any("ray.util.client.server" in command for command in commands if f":{port}" in command)
    listening = [each.laddr for each in psutil.net_connections("tcp4") if each.status == psutil.CONN_LISTEN]
    assert ("127.0.0.1", port + 1) in listening  # the dashboard
    assert ("0.0.0.0", port + 1) not in listening
    assert not can_connect(port, "0" * 64)
    assert can_connect(port, token)


def can_connect(port: int, token: str) -> bool:
    """Whether Ray answers to a driver with this token."""
    program = f"import ray; ray.init(address='127.0.0.1:{port}', log_to_driver=False); print(ray.cluster_resources())"
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    try:
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, timeout=60)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
