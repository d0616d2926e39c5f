"""Small models and clips that the tests of this wing share."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from emolabel.models.pini2017 import (
    AudioConfig,
    FaceConfig,
    MotionConfig,
    Pini2017,
    Pini2017Config,
)
from emolabel.sampling import FrameSampling, InputSpec, SliceSampling
from emolabel.types import ClipInputs, CropSequence

MakeClip = Callable[..., ClipInputs]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_clip() -> MakeClip:
    """Clips of noise that fit a spec, different for each seed."""

    def make(
        spec: InputSpec, seed: int = 0, n_crops: int = 2, *, face: bool = True, motion: bool = True, audio: bool = True
    ) -> ClipInputs:
        random = np.random.default_rng(seed)

        def crops(sampling: FrameSampling | SliceSampling | None) -> CropSequence | None:
            if sampling is None:
                return None
            pixels = random.integers(0, 256, (n_crops, sampling.crop_px, sampling.crop_px, 3), dtype=np.uint8)
            return CropSequence(pixels, sampling.indices(n_crops).astype(np.int32))

        faces, slices = crops(spec.face), crops(spec.motion)
        loudness = random.uniform(0.05, 1)
        sound = random.uniform(-loudness, loudness, spec.audio.n_samples) if spec.audio else None
        return ClipInputs(
            face=faces if face else None,
            motion=slices if motion else None,
            audio=sound.astype(np.float32) if audio and sound is not None else None,
        )

    return make


@pytest.fixture(scope="session")
def small_config() -> Pini2017Config:
    """Three branches, quick: a tiny face backbone, two slices."""
    return Pini2017Config(
        face=FaceConfig(backbone="timm:test_efficientnet", sampling=FrameSampling(count=3, crop_px=96)),
        motion=MotionConfig(sampling=SliceSampling(count=2)),
        audio=AudioConfig(),
    )


@pytest.fixture(scope="session")
def audio_model() -> Pini2017:
    """The smallest real model: sound alone, 0.8 million parameters."""
    model = Pini2017(Pini2017Config(face=None, motion=None))
    model.reset_parameters(1)
    return model.eval()
