"""Settings of the network: which branches, on which trunks, with which input."""

from dataclasses import dataclass, field
from typing import Final, Literal

from emolabel.models.blocks.c3d import SLICE_LENGTH, SLICE_PX
from emolabel.models.blocks.face_trunk import INCEPTION, check_backbone
from emolabel.models.blocks.normalise import AUDIO_GAIN, FIXED, RAW, PixelNorm
from emolabel.models.blocks.soundnet import Padding
from emolabel.models.combine import BranchDecision, Pool, Rule, check_temperature
from emolabel.sampling import AudioSampling, FrameSampling, InputSpec, SliceSampling

AudioTrunk = Literal["soundnet", "log_mel"]
MIN_PIECE_S: Final = 0.1
MIN_SAMPLES: Final = 1_000


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
    """The audio branch: one second of sound through SoundNet (paper, 3.3), or more of it through a smaller network."""

    sampling: AudioSampling = field(default_factory=AudioSampling)
    gain: float = AUDIO_GAIN
    """Samples of -1 to 1 are multiplied by this: 256 for SoundNet; 1 is what `log_mel` is made for."""
    padding: Padding = "same"
    """Of SoundNet: `same` gives the paper's 22 steps per second; `original` is how its published weights were
    trained."""
    keep: float = 0.5
    """Of dropout between the two LSTM levels and behind them."""
    trunk: AudioTrunk = "soundnet"
    """`soundnet` as in the paper; `log_mel`: a small network over the log-mel spectrogram (`blocks/log_mel.py`)."""
    piece_s: float | None = None
    """Seconds. The sound is cut into pieces of this length, and the branch's scores and features are the means over
    them; None: all of it goes through the branch at once."""

    def __post_init__(self) -> None:
        _within("sample_rate_hz", self.sampling.sample_rate_hz, 1_000, 192_000)
        _within("n_samples", self.sampling.n_samples, MIN_SAMPLES, 10_000_000)
        _within("gain", self.gain, 1e-6, 1e6)
        _within("keep", self.keep, 0.01, 1)
        if self.piece_s is not None:
            shortest_s = max(MIN_PIECE_S, MIN_SAMPLES / self.sampling.sample_rate_hz)
            _within("piece_s", self.piece_s, shortest_s, self.sampling.seconds)
        if self.trunk == "log_mel":  # it halves the number of its steps three times
            _within("seconds", self.sampling.seconds, MIN_PIECE_S, 3600)

    @property
    def piece_samples(self) -> int:
        """Samples that go through the branch at once."""
        return self.sampling.n_samples if self.piece_s is None else round(self.piece_s * self.sampling.sample_rate_hz)


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
class DecisionConfig:
    """Branches combined at decision level, instead of by a network: a weighted mean of calibrated probabilities.

    Nothing of it is among the weights: all values travel in the bundle's `config.json`. The formulas stand in
    `emolabel.models.combine`.
    """

    face: BranchDecision | None = None
    motion: BranchDecision | None = None
    audio: BranchDecision | None = None
    rule: Rule = "mean"
    """`mean`: weighted arithmetic mean of the probabilities; `log_mean`: weighted geometric mean, renormalised."""
    temperature: float = 1.0
    """Of the fused probabilities, where more than one branch has a say; fitted on validation data."""
    pool: Pool = "logits"
    """How frames, slices and pieces become one score per branch: `logits`: mean of logits, then softmax;
    `probabilities`: mean of softmaxes."""

    def __post_init__(self) -> None:
        check_temperature(self.temperature)

    @property
    def branches(self) -> dict[str, BranchDecision]:
        """By the name of the branch."""
        named = {"face": self.face, "motion": self.motion, "audio": self.audio}
        return {name: branch for name, branch in named.items() if branch is not None}


@dataclass(frozen=True)
class Pini2017Config:
    """The whole network. A branch that is None is left out. It has either `fusion` or `decision`."""

    face: FaceConfig | None = field(default_factory=FaceConfig)
    motion: MotionConfig | None = field(default_factory=MotionConfig)
    audio: AudioConfig | None = field(default_factory=AudioConfig)
    fusion: FusionConfig | None = field(default_factory=FusionConfig)
    decision: DecisionConfig | None = None

    def __post_init__(self) -> None:
        if not self.branches:
            raise ValueError("a network needs at least one branch")
        if (self.fusion is None) == (self.decision is None):
            both = "neither" if self.fusion is None else "both"
            raise ValueError(f"a network has either a fusion network or a decision rule, got {both}")
        if self.decision is not None:
            self._check_decision(self.decision)

    @property
    def branches(self) -> tuple[str, ...]:
        """The names of its branches."""
        named = {"face": self.face, "motion": self.motion, "audio": self.audio}
        return tuple(name for name, branch in named.items() if branch is not None)

    @property
    def input_spec(self) -> InputSpec:
        """What the branches want to see and hear of a window."""
        return InputSpec(
            face=self.face.sampling if self.face else None,
            motion=self.motion.sampling if self.motion else None,
            audio=self.audio.sampling if self.audio else None,
        )

    def _check_decision(self, decision: DecisionConfig) -> None:
        given = decision.branches
        if tuple(given) != self.branches:
            raise ValueError(
                f"the decision rule must speak of the branches {', '.join(self.branches)}; "
                f"it speaks of {', '.join(given) or 'none'}"
            )
        if not any(branch.weight > 0 for branch in given.values()):
            raise ValueError("the weights of the branches must not all be 0")


FULL: Final = Pini2017Config()
"""Submissions 3 and 4: three branches."""
SUBMISSION_1: Final = Pini2017Config(motion=None)
"""Submission 1: face and audio."""
