"""Faces over time: hand-made paths, invariants, and real clips with known numbers of people."""

from collections import Counter
from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emolabel.config import FaceSettings
from emolabel.faces.detect import build_detector
from emolabel.faces.track import BiggestFace, IouTracker, TrackedFace, build_tracker, iou, usable_tracks
from emolabel.types import Detections, UInt8Array

Square = tuple[float, float, float]
"""x, y, side."""


def detections(*squares: Square, scores: list[float] | None = None) -> Detections:
    boxes = np.array([[x, y, x + side, y + side] for x, y, side in squares], np.float32).reshape(-1, 4)
    return Detections(boxes, np.array([0.99] * len(squares) if scores is None else scores, np.float32))


def ids(faces: list[TrackedFace]) -> dict[int, float]:
    """Track id to left edge."""
    return {face.track_id: float(face.box[0]) for face in faces}


def test_biggest_keeps_one_face_per_frame() -> None:
    tracker = BiggestFace()
    assert ids(tracker.update(0, detections((0, 0, 50), (100, 0, 80), (300, 0, 60)))) == {0: 100}
    assert tracker.update(3, detections()) == []
    assert ids(tracker.update(4, detections((0, 0, 50)))) == {0: 0}


def test_biggest_settles_equal_sizes_by_score_then_place() -> None:
    faces = detections((40, 0, 50), (200, 0, 50), (100, 0, 50), scores=[0.96, 0.98, 0.98])
    assert ids(BiggestFace().update(0, faces)) == {0: 100}


def test_new_tracks_are_numbered_by_frame_then_size() -> None:
    tracker = IouTracker()
    assert ids(tracker.update(0, detections((0, 0, 50), (100, 0, 80)))) == {0: 100, 1: 0}
    assert ids(tracker.update(1, detections((400, 0, 200), (0, 0, 50), (100, 0, 80)))) == {0: 100, 1: 0, 2: 400}


def test_a_track_follows_its_face() -> None:
    tracker = IouTracker()
    for frame in range(20):  # two faces of 100 px that pass each other, 130 px apart in height
        faces = tracker.update(frame, detections((30.0 * frame, 0, 100), (600 - 30.0 * frame, 130, 99)))
        assert ids(faces) == {0: 30.0 * frame, 1: 600 - 30.0 * frame}


@pytest.mark.parametrize(("moved_px", "same"), [(50, True), (80, True), (95, False)])
def test_a_face_may_move_most_of_its_width(moved_px: float, same: bool) -> None:
    tracker = IouTracker(min_iou=0.3)
    tracker.update(0, detections((0, 0, 100)))
    assert ids(tracker.update(1, detections((moved_px, 0, 100)))) == {0 if same else 1: moved_px}


def test_a_near_face_does_not_take_the_track_of_a_nearer_one() -> None:
    tracker = IouTracker()
    tracker.update(0, detections((0, 0, 100)))
    assert ids(tracker.update(1, detections((40, 0, 120), (5, 0, 100)))) == {0: 5, 1: 40}


@pytest.mark.parametrize(("missed", "same"), [(2, True), (3, False)])
def test_a_track_survives_a_short_gap(missed: int, same: bool) -> None:
    tracker = IouTracker(max_missed=2)
    tracker.update(0, detections((0, 0, 100)))
    for frame in range(1, missed + 1):
        assert tracker.update(10 * frame, detections()) == []
    assert ids(tracker.update(100, detections((10, 0, 100)))) == {0 if same else 1: 10}


@pytest.mark.parametrize("mode", ["biggest", "all"])
def test_frames_must_come_in_order(mode: str) -> None:
    tracker = build_tracker(FaceSettings(mode=mode))  # type: ignore[arg-type]  # a parameter, not a literal
    tracker.update(4, detections())
    with pytest.raises(ValueError, match="frame 4 after frame 4"):
        tracker.update(4, detections())


def test_settings_choose_the_tracker() -> None:
    assert isinstance(build_tracker(FaceSettings(mode="biggest")), BiggestFace)
    tracker = build_tracker(FaceSettings(mode="all", track_min_iou=0.9))
    tracker.update(0, detections((0, 0, 100)))
    assert ids(tracker.update(1, detections((20, 0, 100)))) == {1: 20}


squares = st.tuples(*[st.integers(0, 300).map(float)] * 2, st.integers(10, 200).map(float))
frames_of_squares = st.lists(st.lists(squares, max_size=5, unique=True), max_size=8)


@given(frames_of_squares)
def test_every_face_gets_one_track_and_no_track_two(frames: list[list[Square]]) -> None:
    tracker, started = IouTracker(), 0
    for number, frame in enumerate(frames):
        faces = tracker.update(number, detections(*frame))
        track_ids = [face.track_id for face in faces]
        assert track_ids == sorted(set(track_ids))
        assert sorted(tuple(face.box.tolist()) for face in faces) == sorted((x, y, x + s, y + s) for x, y, s in frame)
        new = [track_id for track_id in track_ids if track_id >= started]
        assert new == list(range(started, started + len(new)))
        started += len(new)


@given(frames_of_squares, st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_the_order_of_detections_does_not_matter(frames: list[list[Square]], random: Random) -> None:
    one, other = IouTracker(), IouTracker()
    for number, frame in enumerate(frames):
        scores = [0.9 + 0.0001 * (x + 301 * y) / 301 for x, y, _ in frame]
        order = list(range(len(frame)))
        random.shuffle(order)
        shuffled = detections(*(frame[i] for i in order), scores=[scores[i] for i in order])
        expected = one.update(number, detections(*frame, scores=scores))
        found = other.update(number, shuffled)
        assert [(f.track_id, f.box.tolist()) for f in expected] == [(f.track_id, f.box.tolist()) for f in found]


def test_iou_by_hand() -> None:
    a = np.array([[0, 0, 10, 10], [5, 5, 5, 9]], np.float32)
    b = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [2, 2, 7, 7]], np.float32)
    np.testing.assert_allclose(iou(a, b), [[1, 50 / 150, 0, 0.25], [0, 0, 0, 0]])


def test_usable_tracks_need_their_share_of_frames() -> None:
    settings = FaceSettings(min_track_share=0.05)
    assert usable_tracks({3: 125, 0: 6, 1: 7, 2: 1}, n_examined=125, settings=settings) == [1, 3]
    assert usable_tracks({0: 1}, n_examined=3, settings=settings) == [0]
    assert usable_tracks({0: 0}, n_examined=0, settings=FaceSettings(min_track_share=0)) == []


@pytest.mark.parametrize(
    ("name", "step", "expected"),
    [
        ("derived/two_faces_two_voices.mp4", 5, 2),
        ("derived/faces3_walking_intel.mp4", 2, 3),
        ("derived/faces2_headpose_intel.mp4", 4, 2),
        ("clear/signing_yes_noaudio_intel.mkv", 2, 1),  # and a face printed on his shirt, taken for real in one frame
        ("derived/rot90_face_speech.mp4", 10, 1),
        ("clear/face1_profile_headpose_female_intel.gif", 4, 1),
        ("clear/failing_audio_moviepy.mp4", 20, 0),
        ("clear/multistream_nasa_13013.mp4", 25, 0),
        ("clear/noface_cartoon_pyfeat.mp4", 8, 0),
    ],
)
def test_people_in_real_clips(
    frames_of: Callable[[str, int], tuple[list[int], UInt8Array]],
    name: str,
    step: int,
    expected: int,
) -> None:
    settings = FaceSettings(mode="all")
    tracker, detector = build_tracker(settings), build_detector(settings)
    numbers, frames = frames_of(name, step)
    seen: Counter[int] = Counter()
    for number, found in zip(numbers, detector.detect(frames), strict=True):
        seen.update(face.track_id for face in tracker.update(number, found))
    assert len(usable_tracks(seen, len(numbers), settings)) == expected
