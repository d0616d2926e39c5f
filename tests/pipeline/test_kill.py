"""The driver is killed with SIGKILL half-way; the same command again finishes, and repeats nothing."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import emolabel
from emolabel.pipeline.annotate import Progress
from tests.pipeline.compare import assert_same_inputs, assert_same_labels, labels_of

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def videos(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hundred windows of a second, and a dozen inputs that have none."""
    folder = tmp_path_factory.mktemp("kill") / "videos"
    folder.mkdir()
    for name in ("short.mp4", "no_face.mp4", "no_sound.mp4", "broken.mp4"):
        for i in range(14):
            shutil.copy(clips / name, folder / f"{i}-{name}")
    return folder


def command(folder: Path, out: Path, model: str) -> list[str]:
    arguments = ["annotate", str(folder), "-o", str(out), "--model", model, "--window", "1", "--workers", "1"]
    return [sys.executable, "-m", "emolabel", *arguments]


def written_rows(out: Path) -> int:
    return sum(pq.read_metadata(path).num_rows for path in (out / "labels").glob("*.parquet"))


def test_driver_killed_half_way(videos: Path, quickest: str, tmp_path: Path, ray_here: None) -> None:
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    emolabel.annotate(videos, undisturbed, model=quickest, window=1, workers=2)
    n_rows = written_rows(undisturbed)

    driver = subprocess.Popen(command(videos, out, quickest), start_new_session=True)
    deadline = time.monotonic() + 120
    while not (written_rows(out) and any((out / "inputs").glob("*.parquet"))):
        assert driver.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "no labels appeared"
        time.sleep(0.05)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()

    before = labels_of(out)  # every file can be read
    assert 0 < len(before) < n_rows, "killed too late to show anything"
    again = subprocess.run(command(videos, out, quickest), check=True, timeout=240, capture_output=True, text=True)
    assert "finished by earlier runs" in again.stdout
    # Nothing that was written has been computed again: the second run's windows are those that were missing.
    counts = re.search(r"^windows: (.*)$", again.stdout, re.MULTILINE)
    assert counts is not None
    assert sum(map(int, re.findall(r"\d+", counts[1]))) == n_rows - len(before)
    assert_same_labels(undisturbed, out)
    assert_same_inputs(undisturbed, out)
    assert len(list(out.glob("**/.*part*"))) == 0


def test_sigterm_writes_what_is_finished_and_says_so(videos: Path, quickest: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    driver = subprocess.Popen(command(videos, out, quickest), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not written_rows(out):
        assert driver.poll() is None, "the run ended before it could be stopped"
        assert time.monotonic() < deadline, "no labels appeared"
        time.sleep(0.05)
    driver.terminate()
    _, errors = driver.communicate(timeout=60)
    assert driver.returncode == 75, errors
    assert errors.splitlines()[-1] == (
        "emolabel: stopped. Finished work is kept: run the same command again to go on"
    ), errors
    assert written_rows(out)


def test_a_stopped_run_leaves_no_engine_behind(videos: Path, quickest: str, tmp_path: Path, ray_here: None) -> None:
    def stop(progress: Progress) -> None:
        if progress.n_windows:
            raise KeyboardInterrupt

    # The exception holds the frames of the run, as it does until a command has ended, or in a debugger.
    with pytest.raises(KeyboardInterrupt) as stopped:
        emolabel.annotate(videos, tmp_path / "out", model=quickest, window=1, workers=1, on_progress=stop)
    engines = [thread.name for thread in threading.enumerate() if thread.name.startswith("StreamingExecutor")]
    assert stopped.tb is not None
    assert not engines


def test_two_jobs_cannot_write_to_one_folder(videos: Path, quickest: str, tmp_path: Path) -> None:
    from emolabel.errors import OutputError
    from emolabel.pipeline.output import OutputFolder

    folder = OutputFolder(str(tmp_path / "out"))
    folder.create()
    with folder.locked(), pytest.raises(OutputError, match="another job is writing"):
        emolabel.annotate(videos, tmp_path / "out", model=quickest)
