"""Frozen values that the wings exchange. Arrays are checked when a value is made."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from emolabel.labels import N_EMOTIONS

UInt8Array = npt.NDArray[np.uint8]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]


def _expect(condition: bool, what: str, actual: object) -> None:
    if not condition:
        raise ValueError(f"expected {what}, got {actual}")


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """The video stream that is decoded (the best one, as players choose).

    Times are seconds on the container's clock: 0 is where the container starts.
    """

    codec: str
    width: int
    """Pixels, as displayed: after rotation."""
    height: int
    rotation_deg: int
    """Clockwise turn that makes the stored picture upright: 0, 90, 180 or 270."""
    n_frames_header: int | None
    """What the header claims; None where it says nothing."""
    frame_times_s: Float64Array
    """(N,) presentation times of the frames that the content really holds, strictly ascending."""
    end_s: float
    """End of the last frame: its presentation time plus its duration."""
    seekable: bool = True
    """Whether a frame can be found by its time; if not, a reader counts from the first one."""
    starts_soundly: bool = True
    """Whether the first frames decode without an error, so that their stamps could be compared with the packets'."""

    def __post_init__(self) -> None:
        times = self.frame_times_s
        _expect(times.ndim == 1 and times.dtype == np.float64, "frame_times_s (N,) float64", (times.shape, times.dtype))
        _expect(bool(np.all(np.diff(times) > 0)), "strictly ascending frame_times_s", "unsorted times")
        _expect(self.rotation_deg in (0, 90, 180, 270), "rotation 0, 90, 180 or 270", self.rotation_deg)

    @property
    def n_frames_content(self) -> int:
        """Frames counted in the content, which may differ from `n_frames_header`."""
        return len(self.frame_times_s)

    @property
    def fps(self) -> float | None:
        """Mean frames per second over the content; None for a single frame of unknown duration."""
        if self.n_frames_content == 0:
            return None
        span = self.end_s - float(self.frame_times_s[0])
        return self.n_frames_content / span if span > 0 else None

    @property
    def variable_frame_rate(self) -> bool:
        """Whether frame gaps differ by more than 2 ms beyond rounding of the time base."""
        gaps = np.diff(self.frame_times_s)
        return len(gaps) > 1 and float(gaps.max() - gaps.min()) > 0.002


@dataclass(frozen=True)
class AudioInfo:
    """The audio stream that is decoded."""

    codec: str
    sample_rate_hz: int
    n_channels: int
    start_s: float
    """Where its first packet starts on the container's clock; it may start late."""
    end_s: float
    """Where its last packet ends; it may end early."""


@dataclass(frozen=True)
class MediaInfo:
    """What a probe of one file found. `video` or `audio` is there, or both."""

    container: str
    duration_header_s: float | None
    """What the header claims."""
    video: VideoInfo | None
    audio: AudioInfo | None
    damage: str | None = None
    """What is broken in the container, in words, although a part can be read; None for a sound file."""

    def __post_init__(self) -> None:
        _expect(self.video is not None or self.audio is not None, "a video or an audio stream", "neither")

    @property
    def start_s(self) -> float:
        """Where the content starts: its first frame, or its first sound where there is no picture."""
        if self.video is not None:
            return float(self.video.frame_times_s[0])
        assert self.audio is not None
        return self.audio.start_s

    @property
    def end_s(self) -> float:
        """Where the content ends: the last frame's end; the audio's where there is no picture."""
        if self.video is not None:
            return self.video.end_s
        assert self.audio is not None
        return self.audio.end_s

    @property
    def duration_s(self) -> float:
        """Seconds of content, as counted."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Window:
    """A stretch of time that gets a label: `[start_s, end_s)`."""

    index: int
    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        _expect(self.end_s > self.start_s, "end_s > start_s", (self.start_s, self.end_s))


@dataclass(frozen=True, eq=False)
class FrameBatch:
    """Consecutive wanted frames of one video."""

    indices: Int64Array
    """(T,) index of each frame in presentation order, over the whole video."""
    frames: UInt8Array
    """(T, H, W, 3) RGB, upright."""

    def __post_init__(self) -> None:
        frames = self.frames
        _expect(frames.ndim == 4 and frames.shape[3] == 3, "frames (T, H, W, 3)", frames.shape)
        _expect(frames.dtype == np.uint8, "uint8 frames", frames.dtype)
        _expect(self.indices.shape == (len(frames),), f"indices ({len(frames)},)", self.indices.shape)


@dataclass(frozen=True, eq=False)
class AudioClip:
    """Mono sound of a stretch of time."""

    samples: Float32Array
    """(n,) in [-1, 1]; zeros where the stream has nothing."""
    sample_rate_hz: int
    covered_s: float
    """Seconds of it that the stream really holds (0: no sound there at all)."""
    damage: str | None = None
    """What could not be decoded, in words; None where all of it could."""

    def __post_init__(self) -> None:
        _expect(self.samples.ndim == 1, "samples (n,)", self.samples.shape)
        _expect(self.samples.dtype == np.float32, "float32 samples", self.samples.dtype)


@dataclass(frozen=True, eq=False)
class Detections:
    """The faces found in one frame, in pixels of that frame."""

    boxes: Float32Array
    """(n, 4) x1, y1, x2, y2; may reach over the frame's edge."""
    scores: Float32Array
    """(n,) 0-1."""

    def __post_init__(self) -> None:
        n = len(self.scores)
        _expect(self.boxes.shape == (n, 4), f"boxes ({n}, 4)", self.boxes.shape)

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, eq=False)
class CropSequence:
    """Face crops that a branch sees, without repeats: a frame used many times is stored once."""

    crops: UInt8Array
    """(U, S, S, 3) RGB."""
    index: Int32Array
    """(K,) frames, or (K, L) slices of L frames: which crop stands at each place."""

    def __post_init__(self) -> None:
        crops, index = self.crops, self.index
        square = crops.ndim == 4 and crops.shape[1] == crops.shape[2] and crops.shape[3] == 3
        _expect(square and len(crops) > 0, "crops (U, S, S, 3)", crops.shape)
        _expect(crops.dtype == np.uint8, "uint8 crops", crops.dtype)
        _expect(index.ndim in (1, 2) and index.size > 0, "index (K,) or (K, L)", index.shape)
        _expect(
            int(index.min()) >= 0 and int(index.max()) < len(crops), f"index within {len(crops)} crops", index.max()
        )


@dataclass(frozen=True, eq=False)
class ClipInputs:
    """What a model gets for one window and face. A modality that is missing is None."""

    face: CropSequence | None = None
    motion: CropSequence | None = None
    audio: Float32Array | None = None
    """(n,) mono in [-1, 1] at the model's rate."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of one window and face."""

    probabilities: Float32Array | None = None
    """(7,) in the order of `labels.EMOTIONS`, sum 1; None where the model gives no emotions."""
    face: Float32Array | None = None
    """(7,) of the face branch alone; None where that branch is absent or had nothing to see."""
    motion: Float32Array | None = None
    audio: Float32Array | None = None
    valence: float | None = None
    """-1 to 1."""
    arousal: float | None = None
    agreement: float | None = None
    """0-1: how far the members of an ensemble agree."""

    def __post_init__(self) -> None:
        for values in (self.probabilities, self.face, self.motion, self.audio):
            if values is not None:
                _expect(values.shape == (N_EMOTIONS,), f"({N_EMOTIONS},) probabilities", values.shape)
