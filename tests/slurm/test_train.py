"""`jobs/slurm/train.sbatch` on two nodes: stopped with notice, stopped without, and finished all the same."""

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from emolabel.models.bundle import load_bundle
from emolabel.models.ensemble.model import Ensemble
from tests.slurm.desk import Desk
from tests.training.conftest import MakeSet
from tests.training.test_run_folds import CONFIG
from training.progress import read_log

pytestmark = [pytest.mark.slurm, pytest.mark.ray, pytest.mark.slow]

FOLDS = ("fold-0", "fold-1")
N_EPOCHS = 8 + 2 + 2
"""Of the two branches and the fusion."""


def test_folds_go_on_after_each_stop(desk: Desk, make_set: MakeSet, tmp_path: Path) -> None:
    config, out = tmp_path / "tiny.toml", tmp_path / "out"
    config.write_text(CONFIG)
    job = desk.submit("train.sbatch", config, "--set", f"clips={make_set('clips', n=42)}", "-o", out)
    desk.await_work(job, lambda: n_epochs(out) >= 2)
    desk.slurm.command("scancel", "--batch", "--signal=TERM", job)  # what SLURM does before the time limit
    desk.await_output(job, "stopped before the time limit")
    assert "every fold has its checkpoint" in desk.output(job)
    noticed = n_epochs(out)
    assert noticed < 2 * N_EPOCHS

    desk.await_work(job, lambda: n_epochs(out) >= noticed + 2)
    desk.slurm.command("scontrol", "requeue", job)
    assert desk.finish(job)["Restarts"] == "2"
    told = re.findall(r"^(fold-\d +\w+ +\d+/\d+) ", desk.output(job), re.MULTILINE)
    assert len(told) == len(set(told)), "a finished epoch came again"
    for fold in FOLDS:
        epochs = [(report.stage, report.epoch) for report in read_log(out / fold)]
        assert len(epochs) == len(set(epochs)) == N_EPOCHS
    assert isinstance(load_bundle(out / "ensemble").model, Ensemble)
    rows = pq.read_table(out / "predictions.parquet").to_pylist()
    assert len({row["video_id"] for row in rows}) == len(rows) == 42


def n_epochs(out: Path) -> int:
    """Finished, of both folds."""
    return sum(len(read_log(out / fold)) for fold in FOLDS)
