"""From the faces of a window to what the branches of a model see of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from emolabel.faces.track import TrackedFace
from emolabel.sampling import FrameSampling, InputSpec, SliceSampling
from emolabel.types import CropSequence, Int64Array, UInt8Array


@dataclass(frozen=True)
class FaceSummary:
    """One track over one window, for its row."""

    x: float
    """Left edge of the median box, in pixels of the displayed frame. Each of the four is a median of its own."""
    y: float
    width: float
    height: float
    score: float
    """Median of the detector's scores: one bad frame does not move it."""
    n_face_frames: int
    """Examined frames in which the face was found."""


def wanted_frames(spec: InputSpec, first: int, n_frames: int) -> Int64Array:
    """Frames of a window that must be decoded and searched for faces.

    Args:
        spec: what the model looks at.
        first: index of the window's first frame in the video.
        n_frames: frames of the window, `[first, first + n_frames)`.

    Returns:
        (n,) ascending indices in the video, without repeats; empty where the model looks at nothing.
    """
    policies = [policy for policy in (spec.face, spec.motion) if policy is not None]
    indices = [policy.indices(n_frames).ravel() for policy in policies]
    return first + np.unique(np.concatenate([np.zeros(0, np.int64), *indices]))


def crop_sequence(
    crops: Mapping[int, UInt8Array], sampling: FrameSampling | SliceSampling, first: int, n_frames: int
) -> CropSequence | None:
    """What one branch sees of one face in the window `[first, first + n_frames)`.

    A wanted frame without a crop is replaced by the nearest frame of the window that has one, the earlier of two.

    Args:
        crops: frame index in the video to crop (S, S, 3). Frames outside the window are left alone.
        sampling: the branch's policy.

    Returns:
        The crops in use, in order of time, and where each stands: index (count,), or (count, length) for slices.
        None where the window has no crop at all.
    """
    available = np.array(sorted(frame for frame in crops if first <= frame < first + n_frames), dtype=np.int64)
    if not len(available):
        return None
    chosen = nearest(available, first + sampling.indices(n_frames))
    used, index = np.unique(chosen, return_inverse=True)
    return CropSequence(
        crops=np.stack([crops[int(frame)] for frame in used]),
        index=index.reshape(chosen.shape).astype(np.int32),
    )


def nearest(available: Int64Array, wanted: Int64Array) -> Int64Array:
    """For each wanted number the nearest available one, the smaller of two equally near.

    Args:
        available: (n,) ascending, at least one.
        wanted: any shape.

    >>> nearest(np.array([2, 6]), np.array([[0, 2], [4, 5]])).tolist()
    [[2, 2], [2, 6]]
    """
    right = np.searchsorted(available, wanted).clip(max=len(available) - 1)
    left = (right - 1).clip(min=0)
    takes_left = np.abs(wanted - available[left]) <= np.abs(available[right] - wanted)
    chosen: Int64Array = np.where(takes_left, available[left], available[right])
    return chosen


def face_summary(faces: Iterable[TrackedFace]) -> FaceSummary:
    """Summary of one track's faces in a window, one per examined frame in which it was found; at least one."""
    seen = list(faces)
    if not seen:
        raise ValueError("a track without faces has no summary")
    x1, y1, x2, y2 = np.stack([face.box for face in seen]).astype(np.float64).T
    x, y, width, height = (float(np.median(values)) for values in (x1, y1, x2 - x1, y2 - y1))
    return FaceSummary(x, y, width, height, float(np.median([face.score for face in seen])), len(seen))
