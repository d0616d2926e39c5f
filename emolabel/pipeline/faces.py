"""Stage faces: the frames of one window become face crops, and what its rows say of the faces."""

from collections import defaultdict
from dataclasses import dataclass

from emolabel.config import FaceSettings
from emolabel.faces.assemble import FaceSummary, crop_sequence, face_summary
from emolabel.faces.crop import crop_face
from emolabel.faces.detect import FaceDetector
from emolabel.faces.track import TrackedFace, build_tracker, usable_tracks
from emolabel.sampling import FrameSampling, InputSpec, SliceSampling
from emolabel.types import CropSequence, FrameBatch, UInt8Array


@dataclass(frozen=True, eq=False)
class WindowFace:
    """One face of one window."""

    face_id: int
    summary: FaceSummary
    face: CropSequence | None
    motion: CropSequence | None


class _Branch:
    """The crops that one branch wants, kept as the frames stream by: raw frames are too big to keep."""

    def __init__(self, policy: FrameSampling | SliceSampling, first: int, n_frames: int) -> None:
        self._policy = policy
        self._first = first
        self._n_frames = n_frames
        self._wanted = frozenset((first + policy.indices(n_frames)).ravel().tolist())
        self._crops: dict[int, dict[int, UInt8Array]] = defaultdict(dict)  # track id, then frame index

    def look(self, frame_index: int, frame: UInt8Array, face: TrackedFace) -> None:
        if frame_index in self._wanted:
            crop = crop_face(frame, face.box, self._policy.crop_px, self._policy.margin, self._policy.square)
            self._crops[face.track_id][frame_index] = crop

    def sequence(self, track_id: int) -> CropSequence | None:
        """None where the face stood only in frames that this branch does not look at."""
        return crop_sequence(self._crops[track_id], self._policy, self._first, self._n_frames)


class FaceCollector:
    """Collects the faces of one window while its frames stream by."""

    def __init__(
        self, spec: InputSpec, first: int, n_frames: int, detector: FaceDetector, settings: FaceSettings
    ) -> None:
        self._detector = detector
        self._settings = settings
        # A tracker per window, not per chunk: rows must not depend on where a resumed run starts.
        self._tracker = build_tracker(settings)
        self._seen: dict[int, list[TrackedFace]] = defaultdict(list)
        self._face = _Branch(spec.face, first, n_frames) if spec.face is not None else None
        self._motion = _Branch(spec.motion, first, n_frames) if spec.motion is not None else None
        self.n_examined = 0

    def look(self, batch: FrameBatch) -> None:
        """Find the faces of the next frames, and keep their crops."""
        for index, frame, found in zip(
            batch.indices.tolist(), batch.frames, self._detector.detect(batch.frames), strict=True
        ):
            self.n_examined += 1
            for face in self._tracker.update(index, found):
                self._seen[face.track_id].append(face)
                for branch in (self._face, self._motion):
                    if branch is not None:
                        branch.look(index, frame, face)

    def faces(self) -> list[WindowFace]:
        """The faces of the window, by ascending id; empty where none was seen often enough."""
        counts = {track_id: len(seen) for track_id, seen in self._seen.items()}
        return [
            WindowFace(
                track_id,
                face_summary(self._seen[track_id]),
                self._face.sequence(track_id) if self._face is not None else None,
                self._motion.sequence(track_id) if self._motion is not None else None,
            )
            for track_id in usable_tracks(counts, self.n_examined, self._settings)
        ]
