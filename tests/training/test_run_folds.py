"""Folds side by side on a real Ray: all finish, one that is killed goes on from its checkpoint, a stop is a pause."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import torch

from emolabel.errors import ConfigError
from emolabel.models.bundle import create_bundle, load_bundle
from emolabel.models.ensemble.model import Ensemble
from emolabel.pipeline.cluster import ClusterSize
from tests.training.conftest import FACE_PX, RATE_HZ, MakeSet
from training.fold import train_fold
from training.progress import read_log
from training.run_folds import FoldOptions, FoldShares, share_folds
from training.settings import read_settings

ROOT = Path(__file__).resolve().parents[2]
CONFIG = f"""
name = "tiny"
primary = "clips"
model.motion = false
model.face.backbone = "compact"
model.face.sampling = {{count = 3, crop_px = {FACE_PX}}}
model.audio.sampling = {{sample_rate_hz = {RATE_HZ}}}
face = {{epochs = 8, learning_rate = 1e-3, batch_size = 8, views_per_clip = 2, train_trunk = true}}
audio = {{epochs = 2, learning_rate = 1e-3, batch_size = 8, train_trunk = true}}
fusion = {{epochs = 2, learning_rate = 5e-4, batch_size = 8}}
folds = {{count = 2, of = "all"}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG)
    return path


def start(config: Path, clips: Path, out: Path, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "jobs/train.py", str(config), "--set", f"clips={clips}", "-o", str(out), *more]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_epochs(out: Path, fold: str, n: int, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 120
    while len(read_log(out / fold)) < n:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "the fold does not train"
        time.sleep(0.02)


def workers(process: "subprocess.Popen[str]") -> Iterator[psutil.Process]:
    """The processes that train, of this job."""
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if "RayTrainWorker" in " ".join(child.cmdline()):
                yield child
        except psutil.NoSuchProcess:
            continue


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_worker_and_a_stopped_job_change_nothing(make_set: MakeSet, config: Path, tmp_path: Path) -> None:
    clips, out = make_set("clips", n=42), tmp_path / "out"
    create_bundle("untrained", tmp_path / "first", seed=1)
    begin = "--start", os.path.relpath(tmp_path / "first", ROOT)  # nothing of it is trained, so nothing is taken over
    process = start(config, clips, out, *begin)
    wait_for_epochs(out, "fold-0", 2, process)
    os.kill(next(workers(process)).pid, signal.SIGKILL)
    before = {fold: len(read_log(out / fold)) for fold in ("fold-0", "fold-1")}
    wait_for_epochs(out, "fold-1", before["fold-1"] + 1, process)
    process.terminate()
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 75, text
    assert text.splitlines()[-1].startswith("emolabel: stopped; every fold has its checkpoint"), text

    process = start(config, clips, out, *begin)
    text, _ = process.communicate(timeout=200)
    assert process.returncode == 0, text
    assert "mean of 2 folds: accuracy" in text
    told = [line.split("  loss")[0] for line in text.splitlines() if line.startswith("fold-")]
    assert not [line for line in told if line.split()[:3] == ["fold-0", "face", "1/8"]], "a finished epoch came again"
    torch.set_num_threads(1)
    for fold in (0, 1):
        undisturbed = tmp_path / f"undisturbed-{fold}"
        train_fold(read_settings(config), {"clips": clips}, fold, undisturbed)
        expected, found = (
            load_bundle(where / "bundle").model.state_dict() for where in (undisturbed, out / f"fold-{fold}")
        )
        assert all(torch.allclose(expected[key], found[key], atol=1e-4) for key in expected)
    ensemble = load_bundle(out / "ensemble")
    assert isinstance(ensemble.model, Ensemble)
    rows = pq.read_table(out / "predictions.parquet").to_pylist()
    assert len({row["video_id"] for row in rows}) == len(rows) == 42
    assert {row["fold"] for row in rows} == {0, 1}
    table = pq.read_table(out / "folds.parquet").to_pylist()
    assert [row["n_learnt"] + row["n_held_out"] for row in table] == [42, 42]

    process = start(config, clips, out, *begin)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 0, text
    assert "fold-0  face" not in text  # nothing was left to do, and Ray was not even started


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "clips"], "--set takes NAME=FOLDER"),
        (["--set", "clips=/nowhere"], "there is no folder /nowhere"),
        (["--start", "nowhere"], "no bundle 'nowhere'"),
        (["--folds", "1"], "at least two folds"),
        (["--device", "tpu"], "a device is 'auto', 'cpu' or 'cuda'"),
        (["--parallel", "0"], "--parallel must be at least 1"),
    ],
)
def test_bad_arguments_are_one_line(arguments: list[str], words: str, config: Path, tmp_path: Path) -> None:
    sets = [] if "--set" in arguments else ["--set", f"clips={tmp_path}"]
    command = [sys.executable, "jobs/train.py", str(config), *sets, *arguments, "-o", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_bad_settings_name_the_place(tmp_path: Path, config: Path) -> None:
    for text, words in (
        ("name = 3", "name: expected str"),
        (CONFIG.replace("epochs = 8", "epochs = 0"), "epochs must be at least 1"),
        (CONFIG + "\nnonsense = 1", "unknown key 'nonsense'"),
        ("= broken", "cannot read the training settings"),
        (CONFIG.replace("model.motion = false", ""), "must agree on having a stage 'motion'"),
    ):
        config.write_text(text)
        with pytest.raises(ConfigError, match=words):
            read_settings(config)


@pytest.mark.parametrize(
    ("size", "n_folds", "options", "expected"),
    [
        (ClusterSize(2, 0), 5, FoldOptions(), FoldShares(2, 1, "cpu")),
        (ClusterSize(16, 0), 5, FoldOptions(), FoldShares(5, 3, "cpu")),
        (ClusterSize(16, 0), 5, FoldOptions(parallel=2), FoldShares(2, 8, "cpu")),
        (ClusterSize(16, 0), 5, FoldOptions(cpus_per_fold=8), FoldShares(2, 8, "cpu")),
        (ClusterSize(16, 2), 5, FoldOptions(), FoldShares(2, 8, "cuda")),
        (ClusterSize(16, 2), 5, FoldOptions(device="cpu"), FoldShares(5, 3, "cpu")),
        (ClusterSize(1, 0), 5, FoldOptions(), FoldShares(1, 1, "cpu")),
    ],
)
def test_folds_share_the_cluster(size: ClusterSize, n_folds: int, options: FoldOptions, expected: FoldShares) -> None:
    assert share_folds(size, n_folds, options) == expected


def test_more_than_the_cluster_has_is_refused() -> None:
    with pytest.raises(ConfigError, match="the cluster has none"):
        share_folds(ClusterSize(2, 0), 5, FoldOptions(device="cuda"))
    with pytest.raises(ConfigError, match="the cluster has 2 CPUs"):
        share_folds(ClusterSize(2, 0), 5, FoldOptions(cpus_per_fold=4))
