"""Sampling in time: which frames, slices and seconds of a window a model looks at.

The policies travel with a bundle (`InputSpec` in its `config.json`). All functions are pure.
Source: Pini et al. (ICMI 2017) for the middle second of audio; the rest is our reading of what it leaves open.
"""

from dataclasses import dataclass

import numpy as np

from emolabel.types import Int64Array


@dataclass(frozen=True)
class FrameSampling:
    """`count` single face crops, evenly spaced over the window."""

    count: int = 48
    crop_px: int = 160
    margin: float = 0.2
    """Part of the crop's side that lies outside the detector's box, both sides together (32 px at 160)."""
    square: bool = False
    """Cut a square of the box's area around its middle. FaceNet's aligner, and the paper with it, stretches the box."""

    def indices(self, n_frames: int) -> Int64Array:
        """(count,) frame numbers in `[0, n_frames)`, with repeats where the window is short.

        >>> FrameSampling(count=4).indices(3).tolist()
        [0, 1, 1, 2]
        """
        _check_frames(n_frames)
        frames: Int64Array = np.round(np.linspace(0, n_frames - 1, self.count)).astype(np.int64)
        return frames


@dataclass(frozen=True)
class SliceSampling:
    """`count` slices of `length` consecutive face crops, evenly spaced over the window."""

    count: int = 32
    length: int = 16
    crop_px: int = 112
    margin: float = 0.2
    square: bool = False

    def indices(self, n_frames: int) -> Int64Array:
        """(count, length) frame numbers; a window shorter than a slice repeats its last frame.

        >>> SliceSampling(count=2, length=4).indices(3).tolist()
        [[0, 1, 2, 2], [0, 1, 2, 2]]
        """
        _check_frames(n_frames)
        starts = np.round(np.linspace(0, max(n_frames - self.length, 0), self.count)).astype(np.int64)
        frames: Int64Array = np.minimum(starts[:, None] + np.arange(self.length), n_frames - 1)
        return frames


@dataclass(frozen=True)
class AudioSampling:
    """The middle `seconds` of the window, mono at `sample_rate_hz`."""

    sample_rate_hz: int = 22_050
    seconds: float = 1.0

    @property
    def n_samples(self) -> int:
        """Samples that the model gets; a shorter window is padded with zeros at its end."""
        return round(self.seconds * self.sample_rate_hz)

    def span(self, start_s: float, end_s: float) -> tuple[float, float]:
        """`[start, end)` in seconds of the sound wanted from the window `[start_s, end_s)`.

        >>> AudioSampling(seconds=1.0).span(2.0, 5.0)
        (3.0, 4.0)
        >>> AudioSampling(seconds=1.0).span(2.0, 2.5)
        (2.0, 2.5)
        """
        if end_s - start_s <= self.seconds:
            return start_s, end_s
        middle = (start_s + end_s) / 2
        return middle - self.seconds / 2, middle + self.seconds / 2


@dataclass(frozen=True)
class InputSpec:
    """What a model wants to see and hear of a window. None: it does without."""

    face: FrameSampling | None = None
    motion: SliceSampling | None = None
    audio: AudioSampling | None = None


def _check_frames(n_frames: int) -> None:
    if n_frames < 1:
        raise ValueError(f"a window needs at least one frame to sample from, got {n_frames}")
