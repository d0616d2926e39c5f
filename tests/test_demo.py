"""The demo clips: real files, judged by the real detector."""

import shutil
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from emolabel.config import FaceSettings
from emolabel.demo import make_demo_clips
from emolabel.faces.detect import build_detector
from emolabel.types import UInt8Array

NAMES = [
    "broken.mp4", "long.mp4", "no_face.mp4", "no_sound.mp4", "short.mp4", "two_faces.mp4", "upright_phone.mp4",
]  # fmt: skip


@pytest.fixture(scope="module")
def made(clips: Path) -> dict[str, Path]:
    return {path.name: path for path in make_demo_clips(clips)}


def frames_of(path: Path, step: int) -> UInt8Array:
    with av.open(str(path)) as container:
        wanted = islice(container.decode(video=0), 0, None, step)
        return np.stack([np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90 % 4) for frame in wanted])


def test_all_clips_are_made_and_nothing_else(made: dict[str, Path]) -> None:
    assert list(made) == NAMES
    assert sorted(path.name for path in made["long.mp4"].parent.iterdir()) == NAMES


def test_clips_that_are_there_stay(clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    shutil.copytree(clips, folder)  # with their times
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    (folder / "short.mp4").write_bytes(b"somebody's own file")
    (folder / "broken.mp4").unlink()
    assert make_demo_clips(folder) == sorted(before)
    assert (folder / "short.mp4").read_bytes() == b"somebody's own file"
    assert (folder / "long.mp4").stat().st_mtime_ns == before[folder / "long.mp4"]
    assert (folder / "broken.mp4").read_bytes() == (clips / "broken.mp4").read_bytes()


@pytest.mark.parametrize(
    ("name", "shape", "n_faces"),
    [
        ("long.mp4", (360, 640), 1),
        ("short.mp4", (360, 640), 1),
        ("two_faces.mp4", (360, 640), 2),
        ("no_sound.mp4", (360, 640), 1),
        ("upright_phone.mp4", (640, 360), 1),
        ("no_face.mp4", (360, 640), 0),
    ],
)
def test_faces_are_found(made: dict[str, Path], name: str, shape: tuple[int, int], n_faces: int) -> None:
    frames = frames_of(made[name], 12)
    assert frames.shape[1:3] == shape
    assert {len(found) for found in build_detector(FaceSettings(mode="all")).detect(frames)} == {n_faces}


def test_the_camera_moves_smoothly(made: dict[str, Path]) -> None:
    frames = frames_of(made["short.mp4"], 1)[:, ::4, ::4].astype(np.float32)
    steps = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    assert np.abs(frames[0] - frames[-1]).mean() > 5 * np.median(steps) > 0
    assert steps.max() < 10


@pytest.mark.parametrize(
    ("name", "seconds"), [("long.mp4", 25), ("short.mp4", 6), ("two_faces.mp4", 5), ("no_face.mp4", 4)]
)
def test_sound_is_there_all_along(made: dict[str, Path], name: str, seconds: int) -> None:
    with av.open(str(made[name])) as container:
        rate = container.streams.audio[0].rate
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert len(samples) / rate == pytest.approx(seconds, abs=0.1)
    loudness = [float(np.sqrt(np.mean(part**2))) for part in np.array_split(samples, seconds // 2)]
    assert min(loudness) > 0.01
    assert np.abs(samples).max() <= 1


def test_no_sound_means_no_audio_stream(made: dict[str, Path]) -> None:
    with av.open(str(made["no_sound.mp4"])) as container:
        assert not container.streams.audio
        assert len(container.streams.video) == 1


def test_broken_is_an_mp4_that_cannot_be_opened(made: dict[str, Path]) -> None:
    data = made["broken.mp4"].read_bytes()
    assert data[4:8] == b"ftyp"
    assert len(data) > 10_000
    with pytest.raises(av.error.InvalidDataError):
        av.open(str(made["broken.mp4"]))
