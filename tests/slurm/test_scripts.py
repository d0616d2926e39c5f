"""What can be said of the batch scripts without SLURM."""

import shutil
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs.slurm.address_towards import address_towards
from jobs.slurm.ray_hook import without_client_server

SLURM = Path(__file__).resolve().parents[2] / "jobs" / "slurm"
SCRIPTS = sorted([*SLURM.glob("*.sh"), *SLURM.glob("*.sbatch"), *Path(__file__).parent.glob("*.sh")])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_syntax(script: Path) -> None:
    checked = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck() -> None:
    checked = subprocess.run(["shellcheck", "--external-sources", *map(str, SCRIPTS)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_the_way_to_this_machine_is_loopback() -> None:
    assert address_towards("127.0.0.1") == "127.0.0.1"


def test_a_name_that_nobody_has() -> None:
    with pytest.raises(socket.gaierror):
        address_towards("no-such-host.invalid")


def test_no_client_server() -> None:
    params = SimpleNamespace(ray_client_server_port=10001)
    without_client_server(params, head=True)
    assert params.ray_client_server_port is None
