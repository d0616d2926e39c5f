"""MTCNN with its real weights, on real pictures."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from facenet_pytorch import MTCNN

from emolabel.config import FaceSettings
from emolabel.faces.cascade import MtcnnDetector, pyramid, scale_down, suppress_nested
from emolabel.faces.detect import FaceDetector, build_detector
from emolabel.faces.track import iou
from emolabel.types import UInt8Array

HOPPER_BOX = np.array([[174, 120, 356, 340]], np.float32)


def canvas(height: int, width: int, *faces: tuple[UInt8Array, int, int]) -> UInt8Array:
    """Grey, with pictures whose top left corners are at (x, y); what reaches over an edge is cut off."""
    picture = np.full((height + 1200, width + 1200, 3), 128, np.uint8)
    for face, x, y in faces:
        picture[y + 600 : y + 600 + face.shape[0], x + 600 : x + 600 + face.shape[1]] = face
    return picture[600 : 600 + height, 600 : 600 + width]


def test_agrees_with_facenet_pytorch(hopper: UInt8Array) -> None:
    small = scale_down(hopper[None], 300)[0]
    frame = canvas(360, 640, (small, 20, 30), (scale_down(hopper[None], 120)[0], 400, 100))
    reference = MTCNN(keep_all=True, min_face_size=20, device="cpu")
    boxes, scores = reference.detect(frame)
    [ours] = build_detector(FaceSettings(min_score=0.7)).detect(frame[None])
    assert len(boxes) == 2
    np.testing.assert_allclose(ours.boxes, boxes.astype(float), atol=0.01)
    np.testing.assert_allclose(ours.scores, scores.astype(float), atol=1e-4)


def test_agrees_with_facenet_pytorch_on_video(frames_of: Callable[[str, int], tuple[list[int], UInt8Array]]) -> None:
    _, frames = frames_of("derived/faces3_walking_intel.mp4", 10)
    reference = MTCNN(keep_all=True, min_face_size=20, device="cpu")
    found = build_detector(FaceSettings(min_score=0.7, detect_every=1)).detect(frames)
    for frame, ours in zip(frames, found, strict=True):
        boxes, _ = reference.detect(frame)
        overlap = iou(ours.boxes, boxes.astype(np.float32))
        assert overlap.shape[0] == overlap.shape[1] >= 2
        # Equal scores may be settled otherwise there: hence not to the pixel.
        assert overlap.max(axis=1).min() > 0.9


def test_a_frame_is_judged_alone(detector: FaceDetector, hopper: UInt8Array) -> None:
    faces = [
        canvas(300, 400, (scale_down(hopper[None], side)[0], x, 40)) for side, x in ((250, 20), (120, 300), (90, 5))
    ]
    frames = np.stack([faces[0], np.zeros_like(faces[0]), faces[1], faces[2], faces[0]])
    together = detector.detect(frames)
    assert [len(found) for found in together] == [1, 0, 1, 1, 1]
    for frame, found in zip(frames, together, strict=True):
        [alone] = detector.detect(frame[None])
        np.testing.assert_array_equal(alone.boxes, found.boxes)
        np.testing.assert_array_equal(alone.scores, found.scores)


def test_batches_change_nothing(frames_of: Callable[[str, int], tuple[list[int], UInt8Array]]) -> None:
    _, frames = frames_of("derived/faces3_walking_intel.mp4", 6)
    alone = MtcnnDetector(FaceSettings(), frames_at_once=1).detect(frames)
    batched = MtcnnDetector(FaceSettings(), frames_at_once=4).detect(frames)
    assert sum(len(found) for found in alone) > 2 * len(frames)
    for one, other in zip(alone, batched, strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes, atol=0.01)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)


def test_biggest_face_comes_first(detector: FaceDetector, hopper: UInt8Array) -> None:
    frame = canvas(
        360, 640, *((scale_down(hopper[None], side)[0], x, 20) for side, x in ((100, 10), (330, 120), (180, 440)))
    )
    [found] = detector.detect(frame[None])
    assert len(found) == 3
    areas = np.prod(found.boxes[:, 2:] - found.boxes[:, :2], axis=1)
    assert list(areas) == sorted(areas, reverse=True)


def test_boxes_are_in_pixels_of_the_full_frame(detector: FaceDetector, hopper: UInt8Array) -> None:
    [found] = detector.detect(hopper.repeat(3, axis=0).repeat(3, axis=1)[None])
    assert iou(found.boxes, HOPPER_BOX * 3).item() > 0.85


def test_frames_that_may_not_be_written_to(detector: FaceDetector, hopper: UInt8Array) -> None:
    frozen = hopper[None].copy()
    frozen.flags.writeable = False
    [found] = detector.detect(frozen)
    assert iou(found.boxes, HOPPER_BOX).item() > 0.95


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (12, 700), (700, 3), (20, 20), (64, 64)])
def test_tiny_and_odd_frames_hold_no_face(detector: FaceDetector, shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    found = detector.detect(noise)
    assert [(item.boxes.shape, item.scores.shape) for item in found] == [((0, 4), (0,))] * 2


def test_no_frames(detector: FaceDetector) -> None:
    assert detector.detect(np.zeros((0, 360, 640, 3), np.uint8)) == []


def test_not_frames(detector: FaceDetector) -> None:
    with pytest.raises(ValueError, match=r"uint8 frames \(T, H, W, 3\)"):
        detector.detect(np.zeros((1, 360, 640), np.uint8))


@pytest.mark.parametrize("x", [-150, -90, 0, 400, 480, 560])
@pytest.mark.parametrize("y", [-150, 0, 200])
def test_faces_at_the_edge_break_nothing(hopper: UInt8Array, x: int, y: int) -> None:
    frame = canvas(360, 640, (scale_down(hopper[None], 300)[0], x, y))
    # With next to no threshold all sorts of half faces get through to the end.
    [found] = build_detector(FaceSettings(min_score=0.0)).detect(frame[None])
    assert np.isfinite(found.boxes).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    if 0 <= x <= 400 and 0 <= y <= 60:
        assert len(found) >= 1


def test_score_threshold_drops_unsure_faces(hopper: UInt8Array) -> None:
    upside_down = hopper[::-1].copy()
    scores = [d.scores for d in build_detector(FaceSettings(min_score=0.0)).detect(np.stack([hopper, upside_down]))]
    everything = np.concatenate(scores)
    least = float(np.median(everything))
    kept = build_detector(FaceSettings(min_score=least)).detect(np.stack([hopper, upside_down]))
    assert 0 < sum(len(found) for found in kept) == int((everything >= np.float32(least)).sum())


def test_smallest_face_follows_the_settings(hopper: UInt8Array) -> None:
    frame = canvas(300, 400, (scale_down(hopper[None], 100)[0], 100, 100))  # a face of 37 px
    assert len(build_detector(FaceSettings(min_face_px=20)).detect(frame[None])[0]) == 1
    assert len(build_detector(FaceSettings(min_face_px=80)).detect(frame[None])[0]) == 0


def test_pyramid_ends_at_the_shorter_side() -> None:
    # The shorter side becomes 24, 17.02 and 12.06 px; 8.6 is less than P-Net looks at.
    assert list(pyramid(40, 400, min_face_px=20)) == pytest.approx([0.6, 0.4254, 0.3016], abs=1e-4)
    assert list(pyramid(19, 400, min_face_px=20)) == []


@pytest.mark.parametrize(
    ("shape", "expected"), [((1080, 1920), (360, 640)), ((1920, 1080), (640, 360)), ((1, 5000), (1, 640))]
)
def test_scale_down_keeps_the_shape(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    assert scale_down(np.zeros((2, *shape, 3), np.uint8), 640).shape == (2, *expected, 3)


def test_scale_down_averages_and_never_enlarges() -> None:
    stripes = np.zeros((1, 4, 8, 3), np.uint8)
    stripes[:, :, ::2] = 200
    assert np.unique(scale_down(stripes, 4)).tolist() == [100]
    assert scale_down(stripes, 8) is stripes


def test_nested_boxes_are_suppressed() -> None:
    boxes = np.array([[0, 0, 99, 99], [10, 10, 49, 49], [50, 0, 149, 99], [200, 0, 299, 99]], np.float32)
    # The second lies in the first, which scores less; half of the third lies in it, which is allowed.
    assert suppress_nested(boxes, np.array([0.8, 0.9, 0.85, 0.7], np.float32), 0.7) == [1, 2, 3]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_finds_the_same(hopper: UInt8Array, detector: FaceDetector) -> None:
    faces = [
        canvas(300, 400, (scale_down(hopper[None], side)[0], x, 40)) for side, x in ((250, 20), (120, 300), (90, 5))
    ]
    frames = np.stack([*faces, np.zeros_like(faces[0])] * 20)
    for ours, theirs in zip(
        detector.detect(frames), build_detector(FaceSettings(detect_every=1), "cuda").detect(frames), strict=True
    ):
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=0.05)
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-4)
