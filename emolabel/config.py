"""Settings of a run: frozen, checked when made, each with its unit in its name."""

from dataclasses import dataclass, field
from typing import Final, Literal

from emolabel.errors import ConfigError

DEFAULT_MODEL: Final = "emolabel-1"
"""The bundle that is used where none is named; it ships with the package."""

FacesMode = Literal["biggest", "all", "whole"]
PreparedFaces = Literal["detect", "whole"]
Remainder = Literal["keep", "merge", "drop"]
Precision = Literal["float32", "bfloat16"]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True)
class WindowPolicy:
    """How a time line is cut into windows."""

    length_s: float | None = 5.0
    """None: the whole clip is one window."""
    stride_s: float | None = None
    """From one window's start to the next one's; None: the length, so that windows touch."""
    remainder: Remainder = "merge"
    """What happens to a last stretch shorter than `min_s`: kept as a window, merged into the one before, dropped."""
    min_s: float = 1.0

    def __post_init__(self) -> None:
        if self.length_s is None:
            _require(self.stride_s is None, "a stride needs a window length: give --window, or drop --stride")
            return
        _require(self.length_s > 0, f"the window length must be positive, got {self.length_s} s")
        _require(self.stride_s is None or self.stride_s > 0, f"the stride must be positive, got {self.stride_s} s")
        _require(self.min_s >= 0, f"the shortest remainder must not be negative, got {self.min_s} s")


@dataclass(frozen=True)
class FaceSettings:
    """How faces are found and followed."""

    mode: FacesMode = "biggest"
    """`biggest`: the biggest face of each frame, as in the paper. `all`: a row per track. `whole`: nothing is searched
    for, each frame is a face: pictures and videos that were cropped before."""
    min_score: float = 0.95
    """Detections below this are dropped (0-1)."""
    detect_max_side_px: int = 640
    """Detection runs on a copy scaled down to this; crops come from the full frame."""
    min_face_px: int = 20
    """Smallest face looked for, in pixels of that copy."""
    detect_every: int = 12
    """Of the frames that a model looks at, every n-th is searched as a whole; in the others, faces are looked for where
    they must be. 1: all frames are searched."""
    track_min_iou: float = 0.3
    """`all`: least overlap (intersection over union) of two boxes that are the same face."""
    track_max_missed: int = 12
    """`all`: examined frames for which a face may be out of sight and still be the same track."""
    min_track_share: float = 0.05
    """A track found in a smaller part of a window's examined frames is none: a print on a shirt that looks like a face
    in 2 frames of 48, a passer-by whose track broke. (0-1; one frame at least.)"""

    def __post_init__(self) -> None:
        modes = ("biggest", "all", "whole")
        _require(self.mode in modes, f"--faces takes 'biggest', 'all' or 'whole', got {self.mode!r}")
        _require(0 <= self.min_score <= 1, f"the lowest face score must lie in 0-1, got {self.min_score}")
        _require(self.detect_max_side_px >= 64, f"detection needs at least 64 px, got {self.detect_max_side_px}")
        _require(self.min_face_px >= 12, f"MTCNN sees no face under 12 px, got {self.min_face_px}")
        _require(self.detect_every >= 1, f"every frame or every n-th can be searched, got {self.detect_every}")
        _require(0 < self.track_min_iou <= 1, f"the least overlap must lie in 0-1, got {self.track_min_iou}")
        _require(self.track_max_missed >= 0, f"a face cannot be missed for {self.track_max_missed} frames")
        _require(0 <= self.min_track_share <= 1, f"the least share must lie in 0-1, got {self.min_track_share}")


@dataclass(frozen=True)
class DecodeLimits:
    """What one file may cost before it becomes a failure row."""

    open_timeout_s: float = 30.0
    """For opening and probing a file."""
    reply_timeout_s: float = 20.0
    """For each further batch of frames, and for each stretch of sound."""
    memory_mb: int = 4096
    """Of the decoding child."""
    max_frame_px: int = 7680 * 4320
    """Width times height of the biggest frame taken (8K)."""
    max_duration_s: float = 7 * 86_400.0
    """A longer time line is damage or an attack: it would be cut into windows without end."""
    batch_bytes: int = 128 * 2**20
    """Frames handed over at a time; at least one frame."""
    recycle_after: int = 200
    """Files after which the child is replaced: decoders leak."""
    threads: int = 1
    """Decoder threads: FFmpeg takes all cores unless told otherwise."""

    def __post_init__(self) -> None:
        _require(min(self.open_timeout_s, self.reply_timeout_s) > 0, "deadlines must be positive")
        _require(self.memory_mb >= 256, f"the decoding child needs at least 256 MB, got {self.memory_mb}")
        _require(self.threads >= 1, f"decoding needs at least one thread, got {self.threads}")


@dataclass(frozen=True)
class Settings:
    """Everything that changes what a run computes. Part of the fingerprint of an output folder."""

    windows: WindowPolicy = field(default_factory=WindowPolicy)
    faces: FaceSettings = field(default_factory=FaceSettings)
    limits: DecodeLimits = field(default_factory=DecodeLimits)
    chunk_s: float = 60.0
    """Long inputs are shared between workers in chunks of about this many seconds."""
    precision: Precision = "float32"
    """Of the part of a model that looks at pictures. `bfloat16` is quicker on processors and GPUs that have it (others
    go on in float32). Scores then differ a little between machines, and between batches."""

    def __post_init__(self) -> None:
        _require(self.chunk_s > 0, f"the chunk length must be positive, got {self.chunk_s} s")
        known = ("float32", "bfloat16")
        _require(self.precision in known, f"--precision takes 'float32' or 'bfloat16', got {self.precision!r}")
