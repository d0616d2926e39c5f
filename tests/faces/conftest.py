"""Real faces to look at."""

from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from matplotlib.cbook import get_sample_data
from PIL import Image

from emolabel.config import FaceSettings
from emolabel.faces.detect import FaceDetector, build_detector
from emolabel.types import UInt8Array


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def hopper() -> UInt8Array:
    """(600, 512, 3) portrait with one big face, its box about 174, 120, 356, 340."""
    with Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)) as image:
        return np.array(image.convert("RGB"))


@pytest.fixture(scope="session")
def detector() -> FaceDetector:
    """Searches every frame."""
    return build_detector(FaceSettings(detect_every=1))


@pytest.fixture(scope="session")
def frames_of(shared_videos: Path) -> Callable[[str, int], tuple[list[int], UInt8Array]]:
    """Every `step`-th frame of a real clip, upright, and its frame numbers."""

    def read(name: str, step: int) -> tuple[list[int], UInt8Array]:
        numbers, frames = [], []
        with av.open(str(shared_videos / name)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number % step == 0:
                    numbers.append(number)
                    frames.append(np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90 % 4))
        return numbers, np.stack(frames)

    return read
