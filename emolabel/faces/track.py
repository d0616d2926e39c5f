"""Which face is whose: detections of single frames become faces followed over time."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from emolabel.config import FaceSettings
from emolabel.types import Detections, Float32Array, Float64Array

SECOND_CHANCE_BUFFER = 0.3
"""With 0.3 as the least IoU, a face may move 0.54 of its width, and 0.86 of it in the second round; the middle of a
second face, cheek to cheek, is 1 away."""


@dataclass(frozen=True, eq=False)
class TrackedFace:
    """One face in one frame."""

    track_id: int
    """Ascending from 0 in order of first frame, then size; the same over all frames of one tracker."""
    box: Float32Array
    """(4,) x1, y1, x2, y2 in pixels; may reach over the frame's edge."""
    score: float
    """0-1."""


class FaceTracker(Protocol):
    """Follows faces over the frames of one stretch of video. One tracker per stretch: it remembers."""

    def update(self, frame_index: int, detections: Detections) -> list[TrackedFace]:
        """The faces of the next examined frame, by ascending `track_id`.

        Args:
            frame_index: greater than that of the call before; frames between them were not examined.
            detections: what was found in this frame, possibly nothing.

        Raises:
            ValueError: the frame does not come after the one before.
        """
        ...


def build_tracker(settings: FaceSettings) -> FaceTracker:
    """A new tracker for `settings.mode`."""
    if settings.mode == "all":
        return IouTracker(min_iou=settings.track_min_iou, max_missed=settings.track_max_missed)
    return BiggestFace()


class BiggestFace:
    """The biggest face of each frame, whoever it is ("keep the biggest box", Pini et al. 2017): track 0."""

    def __init__(self) -> None:
        self._last_frame = -1

    def update(self, frame_index: int, detections: Detections) -> list[TrackedFace]:
        """See `FaceTracker.update`; at most one face."""
        self._last_frame = _later(frame_index, self._last_frame)
        return [_face(0, detections, i) for i in _biggest_first(detections)[:1]]


@dataclass(frozen=True, eq=False)
class _Track:
    track_id: int
    box: Float32Array
    missed: int
    """Examined frames since it was last seen."""


class IouTracker:
    """Every face, joined to the track whose last box overlaps it most.

    Greedy: of all pairs of a living track and a face, the one with the greatest overlap is joined first. What is left
    gets a second chance with boxes grown on every side (buffered IoU, Yang et al., WACV 2023): somebody who walks past
    the camera moves most of a face's width between two examined frames. A face that overlaps no track by `min_iou`
    then starts a new one. A track lives through `max_missed` examined frames without it. A cut to another face in the
    same place goes unseen.
    """

    def __init__(self, min_iou: float = 0.3, max_missed: int = 12) -> None:
        self._min_iou = min_iou
        self._max_missed = max_missed
        self._tracks: list[_Track] = []
        self._n_started = 0
        self._last_frame = -1

    def update(self, frame_index: int, detections: Detections) -> list[TrackedFace]:
        """See `FaceTracker.update`; no two faces share a track."""
        self._last_frame = _later(frame_index, self._last_frame)
        owner = self._join(detections)
        for i in _biggest_first(detections):
            if i not in owner:
                owner[i] = self._n_started
                self._n_started += 1
        faces = sorted((_face(track_id, detections, i) for i, track_id in owner.items()), key=lambda f: f.track_id)
        seen = {face.track_id for face in faces}
        missed = [replace(track, missed=track.missed + 1) for track in self._tracks if track.track_id not in seen]
        self._tracks = [track for track in missed if track.missed <= self._max_missed]
        self._tracks += [_Track(face.track_id, face.box, missed=0) for face in faces]
        return faces

    def _join(self, detections: Detections) -> dict[int, int]:
        """Faces that continue a track: detection index to track id."""
        owner: dict[int, int] = {}
        if not self._tracks or not len(detections):
            return owner
        boxes = np.stack([track.box for track in self._tracks])
        for buffer in (0.0, SECOND_CHANCE_BUFFER):
            overlap = iou(_grown(boxes, buffer), _grown(detections.boxes, buffer))
            pairs = sorted(
                (-overlap[t, i], -detections.scores[i], self._tracks[t].track_id, int(i))
                for t, i in zip(*np.nonzero(overlap >= self._min_iou), strict=True)
            )
            for _, _, track_id, i in pairs:
                if i not in owner and track_id not in owner.values():
                    owner[i] = track_id
        return owner


def usable_tracks(n_face_frames: Mapping[int, int], n_examined: int, settings: FaceSettings) -> list[int]:
    """Tracks of a window that were seen often enough to be a face, and to say something of it.

    Args:
        n_face_frames: track id to examined frames of the window in which it was found.
        n_examined: examined frames of the window.

    Returns:
        Ascending ids of the tracks found in at least `settings.min_track_share` of the frames, and at least in one.

    >>> usable_tracks({0: 48, 1: 2, 2: 3}, n_examined=48, settings=FaceSettings(min_track_share=0.05))
    [0, 2]
    """
    least = max(1.0, settings.min_track_share * n_examined)
    return sorted(track_id for track_id, n in n_face_frames.items() if n >= least)


def iou(a: Float32Array, b: Float32Array) -> Float64Array:
    """Intersection over union of (n, 4) and (m, 4) boxes: (n, m), 0-1; 0 where a box has no area.

    >>> iou(np.array([[0, 0, 2, 2]], np.float32), np.array([[1, 0, 3, 2], [5, 5, 6, 6]], np.float32)).round(3).tolist()
    [[0.333, 0.0]]
    """
    rows, columns = a.astype(np.float64)[:, None], b.astype(np.float64)[None, :]
    low, high = np.maximum(rows[..., :2], columns[..., :2]), np.minimum(rows[..., 2:], columns[..., 2:])
    shared = _area(np.concatenate([low, high], axis=-1))
    union = _area(rows) + _area(columns) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _grown(boxes: Float32Array, buffer: float) -> Float32Array:
    """(n, 4) boxes with `buffer` times their sides added on every side."""
    extra = np.tile(boxes[:, 2:] - boxes[:, :2], 2) * np.array([-buffer, -buffer, buffer, buffer], np.float32)
    grown: Float32Array = boxes + extra
    return grown


def _area(boxes: Float64Array) -> Float64Array:
    area: Float64Array = np.prod(np.maximum(boxes[..., 2:] - boxes[..., :2], 0), axis=-1)
    return area


def _biggest_first(detections: Detections) -> list[int]:
    """Detection indices by area, then score, then place in the frame: the same for any order of detections."""
    boxes = detections.boxes.astype(np.float64)
    order = np.lexsort((boxes[:, 1], boxes[:, 0], -detections.scores, -_area(boxes)))
    return [int(i) for i in order]


def _face(track_id: int, detections: Detections, i: int) -> TrackedFace:
    return TrackedFace(track_id, detections.boxes[i], float(detections.scores[i]))


def _later(frame_index: int, last_frame: int) -> int:
    if frame_index <= last_frame:
        raise ValueError(f"frames must come in order: frame {frame_index} after frame {last_frame}")
    return frame_index
