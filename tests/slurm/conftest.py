"""A SLURM of two nodes, and what its jobs work on."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.desk import Desk
from tests.slurm.slurm_pair import DAEMONS, PATH, SlurmPair
from tests.training.conftest import make_set

__all__ = ["make_set"]

N_COPIES = 9


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmPair]:
    """A running SLURM."""
    missing = [daemon for daemon in DAEMONS if shutil.which(daemon, path=PATH) is None]
    if missing:
        pytest.skip(f"SLURM is not installed here: no {', '.join(missing)} (`make test-slurm` as root installs it)")
    with SlurmPair(tmp_path_factory.mktemp("slurm")) as pair:
        yield pair


@pytest.fixture
def node_disk() -> Iterator[Path]:
    """In place of /tmp on the nodes, empty at first; a short path, for there are Unix sockets below it."""
    # A job of a test that has failed may still be there.
    with tempfile.TemporaryDirectory(prefix="emo", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def desk(slurm: SlurmPair, tmp_path: Path, node_disk: Path) -> Desk:
    folder = tmp_path / "a desk"
    folder.mkdir()
    return Desk(slurm, folder, node_disk)


@pytest.fixture(scope="session")
def many(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of the demo's clips: work for two minutes."""
    folder = tmp_path_factory.mktemp("slurm-clips") / "videos"
    folder.mkdir()
    for i in range(N_COPIES):
        for clip in clips.iterdir():
            shutil.copy(clip, folder / f"{i}-{clip.name}")
    return folder


@pytest.fixture(scope="session")
def local_run(many: Path, quickest: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The labels of `many` by an ordinary run without SLURM."""
    out = tmp_path_factory.mktemp("slurm-local") / "out"
    command = [sys.executable, "-m", "emolabel", "annotate", str(many), "-o", str(out), "--model", quickest]
    done = subprocess.run([*command, "--window", "1"], timeout=900, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out
