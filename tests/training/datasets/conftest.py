"""Real labelled sets where they are, and small real files for sets that cannot be had."""

import shutil
import tempfile
import wave
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.conftest import SHARED
from training.datasets.fer2013_unpack import unpack

Make = Callable[[str], Path]


def shared_set(name: str) -> Path:
    folder = SHARED / "labelled" / name
    if not folder.is_dir():
        pytest.skip(f"a real data set is absent: no {folder}")
    return folder


@pytest.fixture(scope="session")
def shared_ravdess() -> Path:
    return shared_set("ravdess_speech")


@pytest.fixture(scope="session")
def shared_emodb() -> Path:
    return shared_set("emodb")


@pytest.fixture(scope="session")
def shared_fer2013() -> Path:
    return shared_set("fer2013")


@pytest.fixture(scope="session")
def fer2013(shared_fer2013: Path) -> Iterator[Path]:
    """The real archive, unpacked: 32,298 files, in memory where there is a disk of memory, and gone at the end."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as parent:
        folder = Path(parent) / "fer2013"
        unpack(shared_fer2013 / "fer2013_train_validation.tar.xz", folder)
        yield folder


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real video of two frames."""
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(25))
        stream.width = stream.height = 32
        for grey in (0, 255):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), grey, np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real recording of a hundredth of a second."""
    path = tmp_path_factory.mktemp("recording") / "recording.wav"
    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(16_000)
        stream.writeframes(bytes(320))
    return path


@pytest.fixture
def make(tmp_path: Path, clip: Path, recording: Path) -> Make:
    """Put a real file at a path below the test's folder: a recording for .wav, else a video."""

    def place(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(recording if path.suffix == ".wav" else clip, path)
        return path

    return place
