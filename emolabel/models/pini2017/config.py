"""Settings of the network: which branches, on which trunks, with which input."""

from dataclasses import dataclass, field
from typing import Final

from emolabel.models.blocks.c3d import SLICE_LENGTH, SLICE_PX
from emolabel.models.blocks.face_trunk import INCEPTION, check_backbone
from emolabel.models.blocks.normalise import AUDIO_GAIN, FIXED, RAW, PixelNorm
from emolabel.models.blocks.soundnet import Padding
from emolabel.sampling import AudioSampling, FrameSampling, InputSpec, SliceSampling


def _within(name: str, value: float, low: float, high: float) -> None:
    # Bounds are generous: they stop a damaged or hostile config from asking for all memory.
    if not low <= value <= high:
        raise ValueError(f"{name} must lie in {low:g}-{high:g}, got {value:g}")


@dataclass(frozen=True)
class FaceConfig:
    """The CNN branch: single face crops (paper, 3.1)."""

    backbone: str = INCEPTION
    """`inception_resnet_v1` as in the paper, or `timm:` and a timm model name."""
    sampling: FrameSampling = field(default_factory=FrameSampling)
    normalisation: PixelNorm = FIXED
    keep: float = 0.5
    """Share of activations that dropout keeps. The paper says 0.1-0.8 without saying where."""

    def __post_init__(self) -> None:
        _within("count", self.sampling.count, 1, 4096)
        _within("crop_px", self.sampling.crop_px, 32, 1024)
        _within("margin", self.sampling.margin, 0, 0.9)
        _within("keep", self.keep, 0.01, 1)
        check_backbone(self.backbone, self.sampling.crop_px)
        if self.normalisation.mean_cube:
            raise ValueError("a mean cube belongs to slices, not to single crops")


@dataclass(frozen=True)
class MotionConfig:
    """The C3D branch: slices of 16 face crops (paper, 3.2)."""

    sampling: SliceSampling = field(default_factory=SliceSampling)
    normalisation: PixelNorm = RAW
    keep: float = 0.5

    def __post_init__(self) -> None:
        _within("count", self.sampling.count, 1, 4096)
        _within("margin", self.sampling.margin, 0, 0.9)
        _within("keep", self.keep, 0.01, 1)
        if (self.sampling.length, self.sampling.crop_px) != (SLICE_LENGTH, SLICE_PX):
            raise ValueError(
                f"C3D takes slices of {SLICE_LENGTH} crops of {SLICE_PX} px, "
                f"got {self.sampling.length} of {self.sampling.crop_px}"
            )


@dataclass(frozen=True)
class AudioConfig:
    """The SoundNet branch: one second of sound (paper, 3.3)."""

    sampling: AudioSampling = field(default_factory=AudioSampling)
    gain: float = AUDIO_GAIN
    """Samples of -1 to 1 are multiplied by this."""
    padding: Padding = "same"
    """`same` gives the paper's 22 steps per second; `original` is how SoundNet's published weights were trained."""
    keep: float = 0.5
    """Of dropout between the two LSTM levels and behind them."""

    def __post_init__(self) -> None:
        _within("sample_rate_hz", self.sampling.sample_rate_hz, 1_000, 192_000)
        _within("n_samples", self.sampling.n_samples, 1_000, 10_000_000)
        _within("gain", self.gain, 1e-6, 1e6)
        _within("keep", self.keep, 0.01, 1)


@dataclass(frozen=True)
class FusionConfig:
    """NetVLAD per visual branch, then two dense layers (paper, 3.4)."""

    clusters: int = 8
    alpha: float = 1.0
    """Sharpness of NetVLAD's initial assignment; the paper does not give it."""
    keep: float = 0.5

    def __post_init__(self) -> None:
        _within("clusters", self.clusters, 1, 1024)
        _within("alpha", self.alpha, 1e-6, 1e6)
        _within("keep", self.keep, 0.01, 1)


@dataclass(frozen=True)
class Pini2017Config:
    """The whole network. A branch that is None is left out."""

    face: FaceConfig | None = field(default_factory=FaceConfig)
    motion: MotionConfig | None = field(default_factory=MotionConfig)
    audio: AudioConfig | None = field(default_factory=AudioConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)

    def __post_init__(self) -> None:
        if self.face is None and self.motion is None and self.audio is None:
            raise ValueError("a network needs at least one branch")

    @property
    def input_spec(self) -> InputSpec:
        """What the branches want to see and hear of a window."""
        return InputSpec(
            face=self.face.sampling if self.face else None,
            motion=self.motion.sampling if self.motion else None,
            audio=self.audio.sampling if self.audio else None,
        )


FULL: Final = Pini2017Config()
"""Submissions 3 and 4: three branches."""
SUBMISSION_1: Final = Pini2017Config(motion=None)
"""Submission 1: face and audio."""
