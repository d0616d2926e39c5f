"""What the branches see, by hand and by invariants."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolabel.faces.assemble import FaceSummary, crop_sequence, face_summary, nearest, wanted_frames
from emolabel.faces.track import TrackedFace
from emolabel.sampling import FrameSampling, InputSpec, SliceSampling
from emolabel.types import UInt8Array

SIDE = 4


def crop(frame: int) -> UInt8Array:
    """A crop that says which frame it is from."""
    return np.full((SIDE, SIDE, 3), frame, np.uint8)


samplings = st.one_of(
    st.builds(FrameSampling, count=st.integers(1, 60)),
    st.builds(SliceSampling, count=st.integers(1, 8), length=st.integers(1, 20)),
)


def test_wanted_frames_by_hand() -> None:
    spec = InputSpec(face=FrameSampling(count=3), motion=SliceSampling(count=2, length=3))
    # Faces at 0, 4 or 5 (9 / 2 = 4.5, to even: 4), 9; slices 0-2 and 7-9; all from frame 100 on.
    assert wanted_frames(spec, first=100, n_frames=10).tolist() == [100, 101, 102, 104, 107, 108, 109]


def test_nothing_wanted() -> None:
    assert wanted_frames(InputSpec(), first=7, n_frames=10).tolist() == []


@given(st.integers(1, 200), st.integers(0, 10_000), samplings)
def test_wanted_frames_are_the_policy_within_the_window(n_frames: int, first: int, sampling: FrameSampling) -> None:
    spec = InputSpec(face=sampling) if isinstance(sampling, FrameSampling) else InputSpec(motion=sampling)
    wanted = wanted_frames(spec, first, n_frames)
    assert np.all(np.diff(wanted) > 0)
    assert set(wanted.tolist()) == {first + i for i in sampling.indices(n_frames).ravel().tolist()}
    assert first <= wanted.min() <= wanted.max() < first + n_frames


def test_crop_sequence_by_hand() -> None:
    crops = {frame: crop(frame) for frame in (99, 101, 105, 120)}  # of these 99 and 120 lie outside the window
    sequence = crop_sequence(crops, FrameSampling(count=10), first=100, n_frames=10)
    assert sequence is not None
    assert sequence.crops[:, 0, 0, 0].tolist() == [101, 105]
    # Frames 100-102 and, equally near to both, 103 take 101.
    assert sequence.index.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]


def test_slices_keep_their_shape() -> None:
    sequence = crop_sequence({2: crop(2), 3: crop(3)}, SliceSampling(count=2, length=3), first=0, n_frames=5)
    assert sequence is not None
    assert sequence.index.tolist() == [[0, 0, 0], [0, 1, 1]]


def test_a_window_without_a_crop() -> None:
    assert crop_sequence({4: crop(4)}, FrameSampling(), first=5, n_frames=10) is None


@given(st.sets(st.integers(0, 80)), st.integers(0, 50), st.integers(1, 60), samplings)
def test_each_place_shows_the_nearest_crop_of_the_window(
    frames: set[int], first: int, n_frames: int, sampling: FrameSampling
) -> None:
    sequence = crop_sequence({frame: crop(frame) for frame in frames}, sampling, first, n_frames)
    inside = [frame for frame in frames if first <= frame < first + n_frames]
    if not inside:
        assert sequence is None
        return
    assert sequence is not None
    wanted = first + sampling.indices(n_frames)
    assert sequence.index.shape == wanted.shape
    shown = sequence.crops[:, 0, 0, 0][sequence.index]
    for frame, place in zip(shown.ravel().tolist(), wanted.ravel().tolist(), strict=True):
        assert frame == min(inside, key=lambda candidate: (abs(candidate - place), candidate))
    assert np.array_equal(np.unique(sequence.index), np.arange(len(sequence.crops)))  # nothing unused


@given(st.sets(st.integers(-50, 50), min_size=1), st.lists(st.integers(-80, 80), min_size=1))
def test_nearest_is_nearest(available: set[int], wanted: list[int]) -> None:
    chosen = nearest(np.array(sorted(available)), np.array(wanted))
    assert chosen.tolist() == [min(available, key=lambda a: (abs(a - w), a)) for w in wanted]


def test_face_summary_by_hand() -> None:
    boxes = [(10, 20, 30, 60), (12, 20, 32, 50), (200, 20, 300, 60)]
    faces = [
        TrackedFace(3, np.array(box, np.float32), score) for box, score in zip(boxes, (0.99, 0.96, 0.98), strict=True)
    ]
    assert face_summary(faces) == FaceSummary(x=12, y=20, width=20, height=40, score=0.98, n_face_frames=3)


def test_no_faces_no_summary() -> None:
    with pytest.raises(ValueError, match="without faces"):
        face_summary([])
