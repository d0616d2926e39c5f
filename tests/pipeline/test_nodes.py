"""On a cluster of several nodes: jobs submitted under a token, and processes killed with SIGKILL."""

import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.clusters import LoopbackCluster
from chaos.kills import Victim, run_mixed
from tests.pipeline.compare import assert_same_inputs, assert_same_labels

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
RAY = Path(sys.executable).parent / "ray"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackCluster]:
    with LoopbackCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def submit(cluster: LoopbackCluster, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(RAY), "job", "submit", f"--address={cluster.jobs_address}", "--working-dir", ".", "--"]
    return subprocess.run(
        [*command, sys.executable, "jobs/annotate.py", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )


def test_a_submitted_job_succeeds_with_the_rows_of_a_local_run(
    folder: Path, quick: str, done: Path, cluster: LoopbackCluster, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = [str(folder), str(folder / "gone.mp4"), "-o", str(out), "--model", quick]
    job = submit(cluster, *arguments, **cluster.environment)
    assert job.returncode == 0, job.stdout + job.stderr
    assert "succeeded" in job.stdout
    assert "unreadable" in job.stdout  # the summary table reached the job's log
    assert cluster.environment["RAY_AUTH_TOKEN"] not in job.stdout + job.stderr
    assert_same_labels(done, out)
    assert_same_inputs(done, out)


@pytest.mark.parametrize("token", [None, secrets.token_hex(32)], ids=["no token", "another token"])
def test_a_client_without_the_token_is_refused(cluster: LoopbackCluster, tmp_path: Path, token: str | None) -> None:
    others = {name: value for name, value in cluster.environment.items() if not name.startswith("RAY_AUTH")}
    credentials = {} if token is None else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    job = submit(cluster, "nothing.mp4", "-o", str(tmp_path / "out"), **others | credentials | {"HOME": str(tmp_path)})
    assert job.returncode != 0
    assert "Authentic" in job.stderr
    assert not (tmp_path / "out").exists()


def test_kills_of_each_kind_lose_double_and_change_nothing(cluster: LoopbackCluster, tmp_path: Path) -> None:
    """`make chaos` kills more, and more kinds. The driver comes last: something is written by then."""
    order = [Victim.CHILD, Victim.PLAN, Victim.DECODE, Victim.NODE, Victim.DRIVER]
    toll = run_mixed(cluster, order, n_files=24, seed=3, folder=tmp_path, haste=0.3)
    assert toll.injected == len(order)
    assert toll.clean, toll
    assert toll.wasted == 0, toll
