"""Faces followed between searched frames, against the search of every frame."""

from collections.abc import Callable

import numpy as np
import pytest

from emolabel.config import FaceSettings
from emolabel.faces import follow
from emolabel.faces.cascade import MtcnnDetector, scale_down
from emolabel.faces.detect import FaceDetector, build_detector
from emolabel.faces.follow import FollowingDetector
from emolabel.faces.track import iou
from emolabel.types import Detections, UInt8Array

N = 17


@pytest.fixture(scope="module")
def following() -> FaceDetector:
    return build_detector(FaceSettings(detect_every=8))


@pytest.fixture(scope="module")
def searching() -> FaceDetector:
    return build_detector(FaceSettings(detect_every=1))


@pytest.fixture(scope="module")
def portrait(hopper: UInt8Array) -> UInt8Array:
    """A face of about 66x80 px in a picture of 187x219."""
    return scale_down(hopper[None], 219)[0]


def scene(*faces: tuple[UInt8Array, int, int]) -> UInt8Array:
    """A grey frame with pictures whose corners are at (x, y)."""
    frame = np.full((360, 640, 3), 128, np.uint8)
    for picture, x, y in faces:
        part = picture[max(0, -y) : max(0, 360 - y), max(0, -x) : max(0, 640 - x)]
        frame[max(0, y) : max(0, y) + part.shape[0], max(0, x) : max(0, x) + part.shape[1]] = part
    return frame


def assert_same(ours: list[Detections], theirs: list[Detections]) -> None:
    """The same faces. Boxes of one still face differ as much from scale to scale of the search."""
    assert [len(found) for found in ours] == [len(found) for found in theirs]
    overlaps = [iou(mine.boxes, other.boxes).max(axis=1) for mine, other in zip(ours, theirs, strict=True) if len(mine)]
    assert np.concatenate(overlaps).min() > 0.65
    assert np.concatenate(overlaps).mean() > 0.85


def test_settings_choose_the_detector() -> None:
    assert isinstance(build_detector(FaceSettings()), FollowingDetector)
    assert isinstance(build_detector(FaceSettings(detect_every=1)), MtcnnDetector)


def test_a_moving_face_is_where_it_is(following: FaceDetector, searching: FaceDetector, portrait: UInt8Array) -> None:
    frames = np.stack([scene((portrait, 10 + 25 * i, 2 * i)) for i in range(N)])
    assert_same(following.detect(frames), searching.detect(frames))


def test_a_face_that_turns_back_half_way(
    following: FaceDetector, searching: FaceDetector, portrait: UInt8Array
) -> None:
    away = [10 + 30 * min(i % 8, 8 - i % 8) for i in range(N)]  # at the searched frames it is where it was before
    frames = np.stack([scene((portrait, x, 40)) for x in away])
    assert_same(following.detect(frames), searching.detect(frames))


def test_a_face_that_is_covered_in_one_frame(
    following: FaceDetector, searching: FaceDetector, portrait: UInt8Array
) -> None:
    frames = np.stack([scene((portrait, 100, 40)) for _ in range(N)])
    frames[5] = 128
    found = following.detect(frames)
    assert [len(some) for some in found] == [1] * 5 + [0] + [1] * 11
    assert_same(found, searching.detect(frames))


def test_a_face_that_leaves_the_frame(following: FaceDetector, searching: FaceDetector, portrait: UInt8Array) -> None:
    frames = np.stack([scene((portrait, 500 + 12 * i, 60)) for i in range(N)])
    ours, theirs = following.detect(frames), searching.detect(frames)
    assert len(theirs[0]) == 1
    assert len(theirs[-1]) == 0
    assert_same(ours, theirs)


def test_a_shot_in_between(following: FaceDetector, portrait: UInt8Array) -> None:
    empty, shot = (np.full((360, 640, 3), grey, np.uint8) for grey in (0, 255))
    shot[100 : 100 + len(portrait), 400 : 400 + portrait.shape[1]] = portrait
    for first, length in ((1, 1), (4, 2)):  # shorter than the step at which empty stretches are searched
        frames = np.stack([empty] * 12)
        frames[first : first + length] = shot
        found = [len(some) for some in following.detect(frames)]
        assert found == [0] * first + [1] * length + [0] * (12 - first - length)


def test_a_face_between_empty_frames(following: FaceDetector, portrait: UInt8Array) -> None:
    without, with_face = scene(), scene((portrait, 300, 60))
    found = following.detect(np.stack([without] * 4 + [with_face] * 3 + [without] * 5))
    assert [len(some) for some in found] == [0] * 4 + [1] * 3 + [0] * 5


def test_two_biggest_faces_of_unlike_size_are_two(following: FaceDetector, portrait: UInt8Array) -> None:
    # Half-way between the big one, which leaves, and the small one, which comes, stands a third.
    small = scale_down(portrait[None], 110)[0]
    before, after = scene((portrait, 20, 20), (small, 270, 60)), scene((small, 500, 60), (small, 270, 60))
    found = following.detect(np.stack([before] * 6 + [after] * 6))
    middles = [float(some.boxes[0, [0, 2]].mean()) for some in found]
    assert max(middles[:6]) < 200, "not the biggest"


def test_between_searched_frames_only_known_faces_are_looked_for(following: FaceDetector, portrait: UInt8Array) -> None:
    one, two = scene((portrait, 10, 20)), scene((portrait, 10, 20), (portrait, 400, 60))
    found = following.detect(np.stack([one] * 4 + [two] + [one] * 4))
    assert [len(some) for some in found] == [1] * 9


@pytest.mark.parametrize(("mode", "n"), [("biggest", 1), ("all", 2)])
def test_two_faces(mode: str, n: int, portrait: UInt8Array) -> None:
    detector = build_detector(FaceSettings(mode=mode))  # type: ignore[arg-type]  # a parameter, not a literal
    small = scale_down(portrait[None], 130)[0]
    frames = np.stack([scene((portrait, 10 + i, 20), (small, 400 - i, 60)) for i in range(9)])
    found = detector.detect(frames)
    assert [len(some) for some in found] == [2] + [n] * 7 + [2]
    areas = [np.prod(some.boxes[:, 2:] - some.boxes[:, :2], axis=1).tolist() for some in found]
    assert all(sizes == sorted(sizes, reverse=True) for sizes in areas)
    assert min(sizes[0] for sizes in areas) > 0.6 * max(sizes[0] for sizes in areas)


def test_which_face_is_the_biggest_may_change(portrait: UInt8Array) -> None:
    detector = build_detector(FaceSettings(detect_every=8))
    sizes = [(219 - 8 * i, 150 + 8 * i) for i in range(9)]
    pictures = [[scale_down(portrait[None], side)[0] for side in pair] for pair in sizes]
    frames = np.stack([scene((left, 10, 20), (right, 400, 60)) for left, right in pictures])
    middles = [float(found.boxes[0, [0, 2]].mean()) for found in detector.detect(frames)]
    assert [x > 320 for x in middles] == [b > a for a, b in sizes]


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_few_frames(following: FaceDetector, portrait: UInt8Array, n: int) -> None:
    frames = np.stack([scene((portrait, 100, 40))] * 3)[:n]
    assert [len(found) for found in following.detect(frames)] == [1] * n


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (12, 700), (700, 3)])
def test_tiny_and_odd_frames_hold_no_face(following: FaceDetector, shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4, *shape, 3), dtype=np.uint8)
    assert [len(found) for found in following.detect(noise)] == [0] * 4
    for box in ([-50, -50, -10, -10], [0, 0, 1, 1], [900, 900, 950, 950], [-5, -5, 2000, 2000]):
        assert follow.view(noise[0], np.array(box, np.float32)).shape == (48, 48, 3)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("clear/face1_speech_grid_bbaf2n.mpg", 1),
        ("clear/face1_speech_grid_brbk7n.mpg", 5),
        ("local_only/crowd_street_1080p_facenet.mp4", 6),
        ("clear/face1_turning_handoverface_pexels.mp4", 9),
    ],
)
def test_biggest_face_of_real_clips(
    frames_of: Callable[[str, int], tuple[list[int], UInt8Array]],
    following: FaceDetector,
    searching: FaceDetector,
    name: str,
    step: int,
) -> None:
    _, frames = frames_of(name, step)
    pairs = [
        (ours, theirs)
        for ours, theirs in zip(following.detect(frames), searching.detect(frames), strict=True)
        if len(theirs)
    ]
    found = [iou(ours.boxes[:1], theirs.boxes[:1]).item() for ours, theirs in pairs if len(ours)]
    assert len(found) >= 0.97 * len(pairs) > 0
    assert np.mean(found) >= 0.85
