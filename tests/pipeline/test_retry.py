"""Failures that are tried again, and inputs that kill their workers."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

import emolabel
from emolabel.errors import Status
from emolabel.pipeline.annotate import Progress
from tests.pipeline.compare import labels_of

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def statuses(out: Path) -> dict[str, str]:
    inputs = emolabel.read_inputs(out)
    assert inputs["input"].is_unique
    return {Path(name).name: status for name, status in zip(inputs["input"], inputs["status"], strict=True)}


def test_what_failed_is_tried_again_and_nothing_else(
    clips: Path, quickest: str, tmp_path: Path, ray_here: None
) -> None:
    """A file that went away after it was listed, and one that came after a run that asked for it."""
    folder, away, late, out = (tmp_path / name for name in ("videos", "away", "late.mp4", "out"))
    folder.mkdir()
    for name in ("no_sound.mp4", "no_face.mp4", "broken.mp4"):
        shutil.copy(clips / name, folder)

    def hide(progress: Progress) -> None:
        with suppress(FileNotFoundError):
            (folder / "no_face.mp4").rename(away)

    first = emolabel.annotate([folder, late], out, model=quickest, workers=1, on_progress=hide)
    before = {"no_sound.mp4": "no_audio", "broken.mp4": "unreadable"}
    assert statuses(out) == before | {"no_face.mp4": "missing", "late.mp4": "missing"}
    away.rename(folder / "no_face.mp4")

    nothing = emolabel.annotate([folder, late], out, model=quickest)
    assert (nothing.n_inputs, nothing.n_failed_before) == (0, 3)
    shutil.copy(clips / "no_sound.mp4", late)  # new content: done without being asked for, and its old row goes

    again = emolabel.annotate([folder, late], out, model=quickest, workers=1, retry=[Status.MISSING])
    assert again.n_inputs == 2
    assert statuses(out) == before | {"no_face.mp4": "no_face", "late.mp4": "no_audio"}
    labels = labels_of(out)
    runs = dict(zip(labels["input"].map(os.path.basename), labels["run_id"], strict=True))
    assert runs == {"no_sound.mp4": first.run_id, "no_face.mp4": again.run_id, "late.mp4": again.run_id}


@contextmanager
def killer_of_workers_on(name: str) -> Iterator[list[int]]:
    """Kills every decoding worker at the moment in which its child has a file of this name open."""
    killed: list[int] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error, OSError):
                    if "emolabel.media.child" in process.cmdline():
                        folder = f"/proc/{process.pid}/fd"
                        if any(os.readlink(f"{folder}/{fd}").endswith(name) for fd in os.listdir(folder)):
                            worker = process.parent()
                            if worker is not None and "DecodeStage" in " ".join(worker.cmdline()):
                                worker.kill()
                                killed.append(worker.pid)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield killed
    finally:
        stop.set()
        thread.join()


def test_an_input_that_kills_its_workers_is_recorded_after_a_few_tries(
    clips: Path, quickest: str, tmp_path: Path, ray_here: None, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "videos", tmp_path / "out"
    folder.mkdir()
    shutil.copy(clips / "two_faces.mp4", folder / "poison.mp4")
    shutil.copy(clips / "no_sound.mp4", folder / "sound.mp4")
    with killer_of_workers_on("poison.mp4") as killed:
        emolabel.annotate(folder, out, model=quickest, workers=1)
    assert 1 <= len(killed) <= 6
    assert statuses(out) == {"poison.mp4": "crashed", "sound.mp4": "no_audio"}
    labels = labels_of(out)
    poisoned = labels[labels["status"] == "crashed"]
    assert set(poisoned["error"]) == {"the worker died each time it came to this input"}
    assert poisoned["window_index"].tolist() == [0]
    assert "Traceback" not in capfd.readouterr().err
