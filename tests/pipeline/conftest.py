"""An undisturbed run, which several modules compare theirs with."""

import shutil
from pathlib import Path

import pytest

import emolabel


@pytest.fixture(scope="session")
def folder(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips, and a text; `gone.mp4` is asked for, but not there."""
    copy = tmp_path_factory.mktemp("runs") / "videos"
    shutil.copytree(clips, copy)
    (copy / "notes.txt").write_text("not a video")
    return copy


@pytest.fixture(scope="session")
def done(folder: Path, quick: str, tmp_path_factory: pytest.TempPathFactory, ray_here: None) -> Path:
    """An undisturbed run: two workers, batches of 16."""
    out = tmp_path_factory.mktemp("runs") / "out"
    progress = emolabel.annotate([folder, folder / "gone.mp4"], out, model=quick, workers=2)
    assert progress.n_finished == progress.n_inputs == 9
    assert progress.n_failed == 2  # broken and gone; a text file in a folder is no failure
    return out
