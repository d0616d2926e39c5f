"""`ray job submit` on a real cluster gives the same rows as a local run."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import emolabel
from tests.pipeline.compare import assert_same_inputs, assert_same_labels

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
RAY = Path(sys.executable).parent / "ray"


def free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


TOKEN = secrets.token_hex(32)


def environment(**more: str) -> dict[str, str]:
    """This process's, less what it set for a Ray of its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | more


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster's job server: `ray start --head`, with a token, its dashboard on loopback."""
    port, dashboard_port, client_port = free_ports(3)
    # Not under pytest's own folder: Ray puts sockets there, whose paths may not be long.
    command = [str(RAY), "start", "--head", "--block", "--num-cpus=2", "--node-ip-address=127.0.0.1"]
    command += [f"--port={port}", f"--dashboard-port={dashboard_port}", f"--ray-client-server-port={client_port}"]
    command += ["--dashboard-host=127.0.0.1", "--disable-usage-stats"]
    log = tmp_path_factory.mktemp("cluster") / "head.log"
    with log.open("w") as output:
        with_token = environment(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN)
        head = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=with_token, start_new_session=True
        )
        try:
            deadline = time.monotonic() + 90
            while socket.socket().connect_ex(("127.0.0.1", dashboard_port)) != 0:
                assert head.poll() is None, log.read_text()
                assert time.monotonic() < deadline, f"the cluster did not start:\n{log.read_text()}"
                time.sleep(0.2)
            yield f"http://127.0.0.1:{dashboard_port}"
        finally:
            head.terminate()  # takes its processes along; `ray stop` would end every Ray of this machine
            head.wait(timeout=60)


def submit(cluster: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [str(RAY), "job", "submit", f"--address={cluster}", "--working-dir", ".", "--"]
    return subprocess.run(
        [*command, sys.executable, "jobs/annotate.py", *arguments],
        cwd=ROOT,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=280,
    )


def test_a_submitted_job_succeeds_with_the_rows_of_a_local_run(
    clips: Path, quick: str, cluster: str, tmp_path: Path
) -> None:
    local, submitted = tmp_path / "local", tmp_path / "submitted"
    emolabel.annotate(clips, local, model=quick)
    arguments = [str(clips), "-o", str(submitted), "--model", quick]
    job = submit(cluster, *arguments, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN)
    assert job.returncode == 0, job.stdout + job.stderr
    assert "succeeded" in job.stdout
    assert "unreadable" in job.stdout  # the summary table reached the job's log
    assert TOKEN not in job.stdout + job.stderr
    assert_same_labels(local, submitted)
    assert_same_inputs(local, submitted)


@pytest.mark.parametrize("token", [None, secrets.token_hex(32)], ids=["no token", "another token"])
def test_a_client_without_the_token_is_refused(cluster: str, tmp_path: Path, token: str | None) -> None:
    credentials = {} if token is None else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    job = submit(cluster, "nothing.mp4", "-o", str(tmp_path / "out"), HOME=str(tmp_path), **credentials)
    assert job.returncode != 0
    assert "Authentic" in job.stderr
    assert not (tmp_path / "out").exists()
