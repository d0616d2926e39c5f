"""Storage faults of each kind: clear errors or rows, nothing half-written, and the next run repairs."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from chaos.storage import FAULTS, run_faults
from chaos.store import Door
from chaos.workload import Toll, compare, total

CHOSEN = (
    "a write of labels fails half-way",
    "a file of labels/ is damaged, then removed",
    "input replaced after listing",
    "S3: 503 for 3 in 10 of PUT",
    "S3: half of the body for 3 in 10 of GET",
)


@pytest.mark.ray
@pytest.mark.slow
def test_faults(tmp_path: Path, store: Door, ray_here: None) -> None:
    """`make chaos` has all of them."""
    tolls = list(run_faults([fault for fault in FAULTS if fault.name in CHOSEN], 10, tmp_path, store))
    assert [toll.fault for toll in tolls] == list(CHOSEN)
    for toll in tolls:
        assert (toll.clean, toll.injected) == (True, 1), toll
        assert toll.wasted == 0, toll
    told = {toll.fault: " ".join(toll.notes) for toll in tolls}
    assert "cannot write to the output folder" in told["a write of labels fails half-way"]
    assert "Remove it and run again" in told["a file of labels/ is damaged, then removed"]
    assert "replaced while the job was running" in told["input replaced after listing"]


def test_enough_kinds_of_faults() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 20


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Path]:
    """Two inputs with two windows each, in two files."""
    for number in range(2):
        keys = {"video_id": [f"v{number}"] * 2, "input": [f"{number}.mp4"] * 2, "window_index": [0, 1]}
        labels = keys | {"face_id": [0, 0], "happiness": [0.25, None], "status": "ok", "error": None, "run_id": "a"}
        inputs = {"video_id": [f"v{number}"], "input": [f"{number}.mp4"], "status": ["ok"], "error": None}
        for kind, rows in (("labels", labels), ("inputs", inputs)):
            (tmp_path / "a" / kind).mkdir(parents=True, exist_ok=True)
            pd.DataFrame(rows).to_parquet(tmp_path / "a" / kind / f"part-{number}.parquet")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    yield tmp_path
    shutil.rmtree(tmp_path / "b")


def test_the_comparison_sees_what_is_lost_doubled_changed_or_damaged(output: Path) -> None:
    one, other = output / "a", output / "b"
    assert compare("none", one, other) == Toll("none")
    labels = other / "labels" / "part-0.parquet"
    intact = labels.read_bytes()

    labels.unlink()
    assert compare("a file gone", one, other) == Toll("a file gone", lost=2)
    labels.write_bytes(intact[:-20])
    assert compare("a file cut", one, other) == Toll("a file cut", lost=2, unreadable=1)
    labels.write_bytes(intact)
    shutil.copy(labels, other / "labels" / "again.parquet")
    assert compare("a file twice", one, other) == Toll("a file twice", doubled=2)
    (other / "labels" / "again.parquet").unlink()

    rows = pq.read_table(labels).to_pandas()
    for change, n_different in ((1e-6, 0), (1e-4, 1)):
        rows.assign(happiness=rows["happiness"] + change).to_parquet(labels)
        assert compare("a number", one, other) == Toll("a number", different=n_different)
    rows.assign(happiness=0.25).to_parquet(labels)
    assert compare("a value for none", one, other) == Toll("a value for none", different=1)
    rows.assign(video_id="v7").to_parquet(labels)
    assert compare("another key", one, other) == Toll("another key", lost=2, different=2)
    labels.write_bytes(intact)
    assert compare("none", one, other) == Toll("none")


def test_a_sum_of_tolls() -> None:
    tolls = [Toll("a", injected=1, lost=2), replace(Toll("b", injected=3, wasted=4), notes=("said",))]
    assert total("all", tolls) == Toll("all", injected=4, lost=2, wasted=4)
    assert not total("all", tolls).clean
    assert tolls[1].clean
